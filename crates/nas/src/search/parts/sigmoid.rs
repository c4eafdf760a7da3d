use rand_chacha::ChaCha8Rng;

use super::{regulariser::Regulariser, relaxation::Relax};
use crate::supernet::{Mask, MixingGradient, OpAt, PerOp};

/// `w = sigmoid(alpha)`, every operation by itself (FairDARTS).
#[derive(Clone, Copy, Debug)]
pub struct Sigmoid;

/// The zero-one loss of FairDARTS: minus the mean of `(sigmoid(alpha) - 0.5)^2` over the operations, times a factor; it
/// drives every weight to 0 or to 1.
#[derive(Clone, Copy, Debug)]
pub struct ZeroOne {
    /// Its factor, `w01`.
    pub factor: f64,
}

fn sigmoid(alpha: f64) -> f64 {
    1.0 / (1.0 + (-alpha).exp())
}

impl Relax for Sigmoid {
    fn draw(&self, _shape: (usize, usize), _rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        None
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, _noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        let values = alpha.values().iter().zip(mask.values());
        let w = values.map(|(&alpha, &alive)| if alive { sigmoid(alpha) } else { 0.0 });
        PerOp::from_values(alpha.ops(), w.collect())
    }

    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        let w = self.weights(alpha, mask, noise);
        w.values().iter().zip(&gradient.w).map(|(w, g)| g * w * (1.0 - w)).collect()
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        let mut w = self.weights(alpha, mask, None);
        out.iter().for_each(|&at| w[at] = 0.0);
        w
    }

    fn remove(&self, _alpha: &mut PerOp<f64>, _mask: &Mask, _ops: &[OpAt]) {}
}

impl Regulariser for ZeroOne {
    fn add(&self, alpha: &PerOp<f64>, mask: &Mask, gradient: &mut [f64]) {
        let count = mask.alive().count() as f64;
        for (i, g) in gradient.iter_mut().enumerate().filter(|(i, _)| mask.values()[*i]) {
            let s = sigmoid(alpha.values()[i]);
            *g -= self.factor * 2.0 * (s - 0.5) * s * (1.0 - s) / count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // tests/pytorch/make_relaxations.py, "zero-one loss" and "sigmoid gradient".
    const ZERO_ONE: [f64; 6] = [
        -0.04111580073105527,
        0.060660306592627056,
        -0.09592799142053456,
        -0.14450062541045305,
        -0.020764036202446427,
        0.07903590271368093,
    ];
    const SIGMOID: [f64; 6] = [
        0.17326160089830195,
        -0.26890414285982045,
        0.0940014848806378,
        0.061650092202679044,
        0.2244384361736028,
        0.3123389694639879,
    ];

    #[test]
    fn gradients_agree_with_pytorch_and_finite_differences() {
        let alpha = PerOp::from_values(3, vec![0.2, -0.3, 0.5, 0.9, 0.1, -0.4]);
        let mask = Mask::filled(2, 3, true);
        let of_w = vec![0.7, -1.1, 0.4, 0.3, 0.9, 1.3];
        let gradient = MixingGradient { w: of_w.clone(), edges: vec![0.0; 2] };
        let mut penalty = vec![0.0; 6];
        ZeroOne { factor: 10.0 }.add(&alpha, &mask, &mut penalty);
        let pulled = Sigmoid.pull_back(&alpha, &mask, None, &gradient);
        let loss = |alpha: &PerOp<f64>| -> f64 {
            let w = Sigmoid.weights(alpha, &mask, None);
            let zero_one: f64 = w.values().iter().map(|w| (w - 0.5).powi(2)).sum::<f64>() / 6.0;
            w.values().iter().zip(&of_w).map(|(w, c)| w * c).sum::<f64>() - 10.0 * zero_one
        };
        for at in mask.places() {
            let i = at.0 * 3 + at.1;
            assert!((penalty[i] - ZERO_ONE[i]).abs() < 1e-12 && (pulled[i] - SIGMOID[i]).abs() < 1e-12, "{at:?}");
            let (mut up, mut down) = (alpha.clone(), alpha.clone());
            up[at] += 1e-6;
            down[at] -= 1e-6;
            let numeric = (loss(&up) - loss(&down)) / 2e-6;
            assert!((numeric - penalty[i] - pulled[i]).abs() < 1e-8, "{at:?}: {numeric}");
        }
    }
}
