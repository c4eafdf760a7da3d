use super::{regulariser::Regulariser, relaxation::softmax};
use crate::supernet::{Mask, PerOp};

/// Beta decay (Ye et al. 2022): the mean over the edges of `logsumexp(alpha)` times a factor. Its gradient pulls on
/// every alpha with the operation's share of its edge.
#[derive(Clone, Copy, Debug)]
pub struct BetaDecay {
    /// Factor, lambda.
    pub factor: f64,
}

impl Regulariser for BetaDecay {
    fn add(&self, alpha: &PerOp<f64>, mask: &Mask, gradient: &mut [f64]) {
        let shares = softmax(alpha, mask);
        let edges = mask.edges() as f64;
        for ((g, share), _) in gradient.iter_mut().zip(shares.values()).zip(mask.values()).filter(|(_, alive)| **alive)
        {
            *g += self.factor * share / edges;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_agrees_with_finite_differences_and_pytorch() {
        let values = vec![0.2, -0.3, 0.5, 0.9, 0.1, -0.4];
        let mut mask = Mask::filled(2, 3, true);
        let gradient = |alpha: &PerOp<f64>, mask: &Mask| {
            let mut gradient = vec![0.0; 6];
            BetaDecay { factor: 25.0 }.add(alpha, mask, &mut gradient);
            gradient
        };
        let alpha = PerOp::from_values(3, values);
        // tests/pytorch/make_relaxations.py, "beta decay".
        for (ours, torch) in gradient(&alpha, &mask).iter().zip(BETA_DECAY) {
            assert!((ours - torch).abs() < 1e-12, "{ours} {torch}");
        }
        mask[(1, 0)] = false;
        let penalty = |alpha: &PerOp<f64>| -> f64 {
            let alive = |(row, alive): (&[f64], &[bool])| {
                row.iter().zip(alive).filter(|(_, alive)| **alive).map(|(a, _)| a.exp()).sum::<f64>().ln()
            };
            25.0 * alpha.rows().zip(mask.rows()).map(alive).sum::<f64>() / 2.0
        };
        let analytic = gradient(&alpha, &mask);
        for at in mask.places() {
            let (mut up, mut down) = (alpha.clone(), alpha.clone());
            up[at] += 1e-6;
            down[at] -= 1e-6;
            let numeric = (penalty(&up) - penalty(&down)) / 2e-6;
            assert!((numeric - analytic[at.0 * 3 + at.1]).abs() < 1e-7, "{at:?}: {numeric}");
        }
    }

    const BETA_DECAY: [f64; 6] = [
        4.2281303388162845,
        2.5644906837532413,
        5.707378977430473,
        7.25958817987168,
        3.261943236779369,
        1.9784685833489535,
    ];
}
