use rand_chacha::ChaCha8Rng;

use super::{
    gamma,
    regulariser::Regulariser,
    relaxation::{Relax, softmax, softmax_backward},
};
use crate::{
    random,
    supernet::{Mask, MixingGradient, OpAt, PerOp},
};

/// The weights of an edge are a sample of a Dirichlet distribution of concentrations `ELU(alpha) + 1` (DrNAS), with the pathwise
/// gradient; without noise they are its mean.
///
/// A sample is made of gamma values, each the quantile of a uniform number, which is the noise: for a given noise the weights are
/// a smooth function of alpha, and the gradient is the derivative of that function.
#[derive(Clone, Copy, Debug)]
pub struct Dirichlet;

/// Concentrations below this one behave no differently, and their reciprocals stay finite.
const LEAST: f64 = 1e-3;

fn concentration(alpha: f64) -> f64 {
    let elu = if alpha > 0.0 { alpha } else { alpha.exp_m1() };
    (elu + 1.0).max(LEAST)
}

/// Derivative of [`concentration`].
fn slope(alpha: f64) -> f64 {
    if alpha > 0.0 { 1.0 } else { alpha.exp() }
}

/// The divergence of Kullback and Leibler of the distribution of each edge from the uniform one, summed over the edges, times a factor
/// (DrNAS, with concentrations 1 as the anchor).
#[derive(Clone, Copy, Debug)]
pub struct FromUniform {
    /// Factor.
    pub factor: f64,
}

impl Regulariser for FromUniform {
    fn add(&self, alpha: &PerOp<f64>, mask: &Mask, gradient: &mut [f64]) {
        for edge in 0..mask.edges() {
            let alive = |op: &usize| mask[(edge, *op)];
            let excess: f64 = (0..mask.ops()).filter(alive).map(|op| concentration(alpha[(edge, op)]) - 1.0).sum();
            let count = (0..mask.ops()).filter(alive).count();
            let of_sum = excess * gamma::trigamma(excess + count as f64);
            for op in (0..mask.ops()).filter(alive) {
                let a = concentration(alpha[(edge, op)]);
                let slope = slope(alpha[(edge, op)]);
                gradient[edge * mask.ops() + op] += self.factor * slope * ((a - 1.0) * gamma::trigamma(a) - of_sum);
            }
        }
    }
}

impl Dirichlet {
    /// Logarithms of the gamma values, 0 where there is none.
    fn logarithms(alpha: &PerOp<f64>, mask: &Mask, noise: &PerOp<f64>) -> PerOp<f64> {
        let values = alpha.values().iter().zip(noise.values()).zip(mask.values());
        let quantile = |((&alpha, &u), &alive)| if alive { gamma::ln_quantile(concentration(alpha), u) } else { 0.0 };
        PerOp::from_values(alpha.ops(), values.map(quantile).collect())
    }

    fn shares(logarithms: &PerOp<f64>, mask: &Mask) -> PerOp<f64> {
        let mut w = softmax(logarithms, mask);
        for at in mask.places().filter(|&at| !mask[at]) {
            w[at] = 0.0;
        }
        w
    }
}

impl Relax for Dirichlet {
    fn draw(&self, (edges, ops): (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        Some(PerOp::from_values(ops, (0..edges * ops).map(|_| random::open_unit(rng)).collect()))
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        match noise {
            Some(noise) => Self::shares(&Self::logarithms(alpha, mask, noise), mask),
            None => Self::shares(&alpha.map(|&alpha| concentration(alpha).ln()), mask),
        }
    }

    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        let logarithms = match noise {
            Some(noise) => Self::logarithms(alpha, mask, noise),
            None => alpha.map(|&alpha| concentration(alpha).ln()),
        };
        let mut gradient = gradient.w.clone();
        softmax_backward(&mut gradient, &Self::shares(&logarithms, mask), mask);
        for (i, g) in gradient.iter_mut().enumerate().filter(|(i, _)| mask.values()[*i]) {
            let (alpha, t) = (alpha.values()[i], logarithms.values()[i]);
            let a = concentration(alpha);
            *g *= slope(alpha) * if noise.is_some() { gamma::ln_quantile_slope(a, t) } else { 1.0 / a };
        }
        gradient
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        let mut w = self.weights(alpha, mask, None);
        out.iter().for_each(|&at| w[at] = 0.0);
        w
    }

    /// The others share what is left.
    fn remove(&self, _alpha: &mut PerOp<f64>, _mask: &Mask, _ops: &[OpAt]) {}
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn gradient(w: Vec<f64>) -> MixingGradient {
        MixingGradient { w, edges: vec![0.0; 2] }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let alpha = PerOp::from_values(3, vec![0.2, -0.3, 0.5, 3.9, 0.1, -2.4]);
        let mut mask = Mask::filled(2, 3, true);
        mask[(1, 1)] = false;
        let c = vec![0.7, -1.1, 0.4, 0.3, 0.9, 1.3];
        let drawn = Dirichlet.draw((2, 3), &mut ChaCha8Rng::seed_from_u64(5));
        for noise in [None, drawn.as_ref()] {
            let analytic = Dirichlet.pull_back(&alpha, &mask, noise, &gradient(c.clone()));
            let loss = |alpha: &PerOp<f64>| -> f64 {
                let w = Dirichlet.weights(alpha, &mask, noise);
                assert!(w.rows().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
                w.values().iter().zip(&c).map(|(w, c)| c * w).sum()
            };
            for at in mask.places() {
                let (mut up, mut down) = (alpha.clone(), alpha.clone());
                up[at] += 1e-5;
                down[at] -= 1e-5;
                let numeric = if mask[at] { (loss(&up) - loss(&down)) / 2e-5 } else { 0.0 };
                let analytic = analytic[at.0 * 3 + at.1];
                assert!((numeric - analytic).abs() < 1e-5, "{at:?}: {numeric} {analytic}");
            }
        }
    }

    #[test]
    fn samples_have_the_mean_of_the_distribution_and_gradients_that_of_its_moments() {
        // Concentrations 1.4, 1, 0.6 of sum 3.
        let alpha = PerOp::from_values(3, vec![0.4, 0.0, 0.6_f64.ln()]);
        let mask = Mask::filled(1, 3, true);
        let (a, sum, draws) = ([1.4, 1.0, 0.6], 3.0, 20_000);
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let (mut means, mut slope, mut square) = ([0.0; 3], 0.0, 0.0);
        for _ in 0..draws {
            let noise = Dirichlet.draw((1, 3), &mut rng);
            let w = Dirichlet.weights(&alpha, &mask, noise.as_ref());
            means.iter_mut().zip(w.values()).for_each(|(mean, w)| *mean += w / f64::from(draws));
            // Of the square of the first weight.
            let of = MixingGradient { w: vec![2.0 * w[(0, 0)], 0.0, 0.0], edges: vec![0.0] };
            let g = Dirichlet.pull_back(&alpha, &mask, noise.as_ref(), &of)[0];
            slope += g / f64::from(draws);
            square += g * g / f64::from(draws);
        }
        // A weight has a standard deviation below 0.25: five standard errors.
        assert!(means.iter().zip(a).all(|(mean, a)| (mean - a / sum).abs() < 0.009), "{means:?}");
        // E[w^2] = a (a + 1) / (s (s + 1)), with s the sum of the concentrations.
        let second = |a: f64| a * (a + 1.0) / ((a + 1.6) * (a + 2.6));
        let expected = (second(1.4 + 1e-6) - second(1.4 - 1e-6)) / 2e-6;
        let error = ((square - slope * slope) / f64::from(draws)).sqrt();
        assert!((slope - expected).abs() < 5.0 * error && error < 0.01, "{slope} {expected} {error}");
    }

    #[test]
    fn the_pull_to_the_uniform_distribution_agrees_with_finite_differences_and_pytorch() {
        let mut mask = Mask::filled(2, 3, true);
        let alpha = PerOp::from_values(3, vec![0.2, -0.3, 0.5, 0.9, 0.1, -0.4]);
        let pull = |alpha: &PerOp<f64>, mask: &Mask| {
            let mut gradient = vec![0.0; 6];
            FromUniform { factor: 0.7 }.add(alpha, mask, &mut gradient);
            gradient
        };
        // tests/pytorch/make_relaxations.py, "divergence from uniform"; PyTorch's trigamma function is good to ten digits.
        for (ours, torch) in pull(&alpha, &mask).iter().zip(FROM_UNIFORM) {
            assert!((ours - torch).abs() < 1e-9, "{ours} {torch}");
        }
        mask[(1, 0)] = false;
        let penalty = |alpha: &PerOp<f64>| -> f64 {
            let edge = |(alpha, alive): (&[f64], &[bool])| {
                let a: Vec<f64> =
                    alpha.iter().zip(alive).filter(|(_, alive)| **alive).map(|(&a, _)| concentration(a)).collect();
                let sum: f64 = a.iter().sum();
                let each = |&a: &f64| (a - 1.0) * (gamma::digamma(a) - gamma::digamma(sum)) - gamma::ln_gamma(a);
                gamma::ln_gamma(sum) - gamma::ln_gamma(a.len() as f64) + a.iter().map(each).sum::<f64>()
            };
            0.7 * alpha.rows().zip(mask.rows()).map(edge).sum::<f64>()
        };
        let analytic = pull(&alpha, &mask);
        for at in mask.places() {
            let (mut up, mut down) = (alpha.clone(), alpha.clone());
            up[at] += 1e-6;
            down[at] -= 1e-6;
            let numeric = (penalty(&up) - penalty(&down)) / 2e-6;
            assert!((numeric - analytic[at.0 * 3 + at.1]).abs() < 1e-8, "{at:?}: {numeric}");
        }
    }

    #[test]
    fn extreme_alphas_stay_numbers() {
        let alpha = PerOp::from_values(3, vec![-800.0, 40.0, -8.0]);
        let mask = Mask::filled(1, 3, true);
        let noise = Dirichlet.draw((1, 3), &mut ChaCha8Rng::seed_from_u64(7));
        let w = Dirichlet.weights(&alpha, &mask, noise.as_ref());
        let g = Dirichlet.pull_back(&alpha, &mask, noise.as_ref(), &gradient(vec![1.0, -1.0, 0.5]));
        assert!(w.values().iter().chain(&g).all(|v| v.is_finite()), "{w:?} {g:?}");
    }

    const FROM_UNIFORM: [f64; 6] = [
        0.07347866504750411,
        -0.4253090825302681,
        0.2232266265422156,
        0.28660450183855835,
        -0.0464869544192259,
        -0.5682359153760324,
    ];
}
