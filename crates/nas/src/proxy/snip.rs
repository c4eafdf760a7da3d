//! SNIP (Lee et al. 2019, arXiv 1810.02340), summed up to a score of a network (Abdelfattah et al. 2021, arXiv 2101.08134).

use engine::{EngineError, TensorState};

use super::{Candidate, Proxy, Score, is_weight};

/// How much the loss at initialisation depends on the presence of each weight, summed over the weights.
#[derive(Clone, Copy, Debug)]
pub struct Snip;

impl Proxy for Snip {
    fn name(&self) -> &'static str {
        "snip"
    }

    fn description(&self) -> &'static str {
        "sum of |w dL/dw| over the weights (Lee et al. 2019; Abdelfattah et al. 2021)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        let [omega, gradient] = candidate.gradient()?;
        Ok(score(&omega, &gradient))
    }
}

/// Sum of `|theta * dL/dtheta|` over the weights of convolutions and of the classifier: the derivative of the loss with respect
/// to a mask of ones on them. Both sides hold the same tensors in the same order.
pub fn score(omega: &[TensorState], gradient: &[TensorState]) -> Score {
    let product = |(w, g): (&f32, &f32)| (f64::from(*w) * f64::from(*g)).abs();
    let tensors = omega.iter().zip(gradient).filter(|(omega, _)| is_weight(&omega.shape));
    Score::of(tensors.flat_map(|(omega, gradient)| omega.data.iter().zip(&gradient.data)).map(product).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::tensor;

    #[test]
    fn weights_of_layers_count_by_their_size() {
        let of = |conv: &[f32], norm: &[f32]| {
            [tensor("stem.conv.weight", &[2, 1, 1, 1], conv), tensor("stem.norm.weight", &[2], norm)]
        };
        let omega = of(&[0.5, -2.0], &[1.0, 1.0]);
        assert_eq!(score(&omega, &of(&[4.0, 3.0], &[9.0, 9.0])), Score::of(8.0));
        assert_eq!(score(&omega, &of(&[-4.0, -3.0], &[0.0, 0.0])), Score::of(8.0));
    }
}
