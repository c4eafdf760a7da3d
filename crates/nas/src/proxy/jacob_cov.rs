//! Correlation of the Jacobians of the samples (Mellor et al. 2020, arXiv 2006.04647v1; as Abdelfattah et al. 2021, arXiv 2101.08134).

use engine::{
    EngineError, Graph,
    reference::{Reference, Stats},
};

use super::{Candidate, Proxy, Score};
use crate::eigen::eigenvalues;

/// Added to every eigenvalue.
const EPSILON: f64 = 1e-5;

/// How little the gradients of the output with respect to different samples resemble each other.
#[derive(Clone, Copy, Debug)]
pub struct JacobCov;

impl Proxy for JacobCov {
    fn name(&self) -> &'static str {
        "jacob-cov"
    }

    fn description(&self) -> &'static str {
        "-sum of log l + 1/l over the eigenvalues l of the correlation of the samples' Jacobians (Mellor et al. 2020)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        candidate.in_f64(|network, w| score(network, candidate.images, w))
    }
}

/// `-sum(log(l + k) + 1 / (l + k))` over the eigenvalues `l` of the correlation matrix `[n, n]` of the gradients of the summed
/// logits with respect to each image, k = 1e-5. Normalised by the batch's statistics. `-inf` where a gradient is constant.
pub fn score(network: &Reference<'_>, images: &[f32], w: &[f64]) -> Score {
    let network = Reference { omega: false, ..network.clone() };
    let trace = network.trace(images, w, Stats::Batch);
    let logits = network.graph.logits;
    let ones = vec![1.0; trace.values[logits].data.len()];
    let (jacobian, _) = network.pull_back(&trace, w, (logits, ones), Graph::IMAGE);
    let rows: Vec<Vec<f64>> = (0..jacobian.n).map(|n| standardised(jacobian.sample(n))).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let correlations: Vec<f64> = rows.iter().flat_map(|a| rows.iter().map(|b| dot(a, b))).collect();
    if correlations.iter().any(|c| !c.is_finite()) {
        return Score::of(f64::NEG_INFINITY);
    }
    let of = |l: f64| (l + EPSILON).ln() + 1.0 / (l + EPSILON);
    Score::of(-eigenvalues(correlations, rows.len()).into_iter().map(of).sum::<f64>())
}

/// With mean 0 and length 1.
fn standardised(row: &[f64]) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let length = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt();
    row.iter().map(|v| (v - mean) / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::{Small, conv_chain};

    #[test]
    fn the_order_of_the_samples_does_not_matter_but_equal_ones_do() {
        let small = Small::new(&conv_chain());
        let of = |images: &[f32]| score(&small.network(), images, &small.w).value;
        let (one, len) = (of(&small.images), small.images.len() / Small::SAMPLES);
        let reversed: Vec<f32> = small.images.chunks(len).rev().flatten().copied().collect();
        assert!((of(&reversed) - one).abs() < 1e-6 * one.abs(), "{} {one}", of(&reversed));
        let mut twice = small.images.clone();
        twice.copy_within(..len, len);
        assert!(of(&twice) < one - 1e4, "{} {one}", of(&twice));
    }

    #[test]
    fn a_network_that_does_not_see_its_input_ranks_lowest() {
        let small = Small::new(&[0; 6]);
        assert_eq!(score(&small.network(), &small.images, &small.w).value, f64::NEG_INFINITY);
    }
}
