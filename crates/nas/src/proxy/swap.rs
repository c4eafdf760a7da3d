//! SWAP-Score: sample-wise activation patterns (Peng et al. 2024, arXiv 2403.04161).

use std::collections::HashSet;

use engine::{
    EngineError,
    reference::{Code, Reference},
};

use super::{Candidate, Proxy, Score};

/// Samples that patterns are taken over: the number of the authors' code. With more almost every neuron has a pattern of its own,
/// and the score counts neurons.
const SAMPLES: usize = 16;

/// How many different patterns the neurons show over the samples. The ReLUs of branches that do not reach the output do not count.
#[derive(Clone, Copy, Debug)]
pub struct Swap;

impl Proxy for Swap {
    fn name(&self) -> &'static str {
        "swap"
    }

    fn description(&self) -> &'static str {
        "different patterns of the neurons over 16 samples, without regularisation (SWAP-NAS, Peng et al. 2024)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        candidate.in_f64(|network, w| score(network, candidate.images, w))
    }
}

/// Number of different patterns: for each ReLU input its signs over the samples. `images: [n, H, W, C]`, of which the first 16
/// count; normalised by their own statistics. Operations with `w = 0` do not count.
pub fn score(network: &Reference<'_>, images: &[f32], w: &[f64]) -> Score {
    let len = network.graph.values[engine::Graph::IMAGE].shape.len();
    let codes = network.codes(&images[..images.len().min(SAMPLES * len)], w);
    let of_ops = codes.op_relus.iter().zip(w).filter(|(_, w)| **w != 0.0).map(|(code, _)| code);
    let patterns: HashSet<u16> = of_ops.chain([&codes.outside]).flat_map(patterns).collect();
    Score::of(patterns.len() as f64)
}

/// Neuron by neuron, a bit for each sample.
fn patterns(code: &Code) -> impl Iterator<Item = u16> {
    let neurons = code.bits.first().map_or(0, Vec::len);
    (0..neurons).map(|neuron| code.bits.iter().fold(0, |pattern, sample| pattern << 1 | u16::from(sample[neuron])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::{Small, conv_chain};

    #[test]
    fn patterns_are_counted_once() {
        let of = |bits: [[bool; 4]; 3]| Code { bits: bits.map(Vec::from).to_vec(), near: vec![] };
        let (y, n) = (true, false);
        let code = of([[y, n, y, y], [y, n, y, n], [n, n, n, n]]);
        assert_eq!(patterns(&code).collect::<Vec<_>>(), [6, 0, 6, 4]);
        assert_eq!(patterns(&code).collect::<HashSet<_>>().len(), 3);
    }

    #[test]
    fn order_and_number_of_further_samples_do_not_matter() {
        let small = Small::new(&conv_chain());
        let of = |images: &[f32]| score(&small.network(), images, &small.w).value;
        let (one, len) = (of(&small.images), small.images.len() / Small::SAMPLES);
        assert!(one > 100.0 && one <= f64::from(1 << Small::SAMPLES), "{one}");
        let reversed: Vec<f32> = small.images.chunks(len).rev().flatten().copied().collect();
        assert_eq!(of(&reversed), one);
        let three: Vec<f32> = [&small.images[..], &small.images, &small.images].concat();
        assert_eq!(of(&three), of(&three[..SAMPLES * len]));
    }
}
