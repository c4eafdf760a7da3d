//! Gradient norm at initialisation (Abdelfattah et al. 2021, arXiv 2101.08134, section 3.2).

use engine::{EngineError, TensorState};

use super::{Candidate, Proxy, Score, is_weight};

/// Sum of the Euclidean norms of the gradients of the weights at initialisation, layer by layer.
#[derive(Clone, Copy, Debug)]
pub struct GradNorm;

impl Proxy for GradNorm {
    fn name(&self) -> &'static str {
        "grad-norm"
    }

    fn description(&self) -> &'static str {
        "sum of the layers' gradient norms (Abdelfattah et al. 2021)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        let [_, gradient] = candidate.gradient()?;
        Ok(score(&gradient))
    }
}

/// Sum of the Euclidean norms of `dL/dtheta` over the tensors that are weights of convolutions and of the classifier.
pub fn score(gradient: &[TensorState]) -> Score {
    let norm = |t: &TensorState| t.data.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
    Score::of(gradient.iter().filter(|t| is_weight(&t.shape)).map(norm).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::tensor;

    #[test]
    fn norms_are_taken_layer_by_layer() {
        // |(3, 4)| + |(5, 12)|; scale and shift of a normalisation are no weights of a layer.
        let gradient = [
            tensor("stem.conv.weight", &[2, 1, 1, 1], &[3.0, -4.0]),
            tensor("stem.norm.weight", &[2], &[100.0, 100.0]),
            tensor("classifier.weight", &[2, 1], &[-5.0, 12.0]),
            tensor("classifier.bias", &[2], &[100.0, 100.0]),
        ];
        assert_eq!(score(&gradient), Score::of(18.0));
    }
}
