//! SynFlow (Tanaka et al. 2020, arXiv 2006.05467), summed up to a score of a network (Abdelfattah et al. 2021, arXiv 2101.08134).

use engine::{
    EngineError, Graph,
    reference::{Reference, Stats, Tensor, Tensors},
};

use super::{Candidate, Proxy, Score, is_weight};

/// The flow of ones through the absolute weights, summed over the weights. Neither images nor labels.
#[derive(Clone, Copy, Debug)]
pub struct Synflow;

impl Proxy for Synflow {
    fn name(&self) -> &'static str {
        "synflow"
    }

    fn description(&self) -> &'static str {
        "sum of |w dR/dw|, R = summed outputs for ones with |w|, no batch normalisation (Tanaka et al. 2020)"
    }

    fn needs_images(&self) -> bool {
        false
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        candidate.in_f64(score)
    }
}

/// Sum of `|theta * dR/dtheta|` over the weights of convolutions and of the classifier. `R` is the sum of the logits for one image
/// of ones, with the absolute values of all parameters and of `w: [R, O]`, without batch normalisation.
pub fn score(network: &Reference<'_>, w: &[f64]) -> Score {
    let absolute = |t: &Tensor| Tensor { shape: t.shape.clone(), data: t.data.iter().map(|v| v.abs()).collect() };
    let tensors: Tensors = network.tensors.iter().map(|(name, t)| (name.clone(), absolute(t))).collect();
    let network = Reference { tensors: &tensors, ..network.clone() };
    let w: Vec<f64> = w.iter().map(|w| w.abs()).collect();
    let Graph { values, logits, .. } = &network.graph;
    let trace = network.trace(&vec![1.0; values[Graph::IMAGE].shape.len()], &w, Stats::Off);
    let ones = vec![1.0; values[*logits].shape.len()];
    let (_, gradient) = network.pull_back(&trace, &w, (*logits, ones), Graph::IMAGE);
    let flow = |(name, g): (&String, &Tensor)| g.data.iter().zip(&tensors[name].data).map(|(g, t)| g * t).sum::<f64>();
    Score::of(gradient.iter().filter(|(_, g)| is_weight(&g.shape)).map(flow).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::{Small, conv_chain};

    /// In a chain everything flows through every layer: each contributes R without the classifier's bias.
    #[test]
    fn every_layer_of_a_chain_carries_the_whole_flow() {
        let small = Small::new(&conv_chain());
        let network = small.network();
        let flow = score(&network, &small.w).value;
        let unbiased: Tensors = (small.tensors.iter())
            .map(|(name, t)| {
                let factor = f64::from(u8::from(!name.ends_with("bias")));
                let data = t.data.iter().map(|v| factor * v.abs()).collect();
                (name.clone(), Tensor { shape: t.shape.clone(), data })
            })
            .collect();
        let network = Reference { tensors: &unbiased, ..network };
        let ones = vec![1.0; network.graph.values[Graph::IMAGE].shape.len()];
        let r: f64 = network.trace(&ones, &small.w, Stats::Off).values[network.graph.logits].data.iter().sum();
        // Stem, a convolution of the cell in each of three stages, two of each residual block and its shortcut's, classifier. The
        // two ways through a residual block share its flow.
        let layers = 1 + 3 + 2 + 2 + 1;
        let (least, most) = (f64::from(layers - 2) * r, f64::from(layers) * r);
        assert!(least < flow && flow < most, "{flow} of {r}");
    }

    #[test]
    fn neither_signs_nor_scales_of_normalisations_matter() {
        let mut small = Small::new(&conv_chain());
        let before = score(&small.network(), &small.w);
        for (name, t) in &mut small.tensors {
            let norm = name.contains("bn");
            t.data.iter_mut().for_each(|v| *v *= if norm { 3.0 } else { -1.0 });
        }
        assert_eq!(score(&small.network(), &small.w), before);
    }
}
