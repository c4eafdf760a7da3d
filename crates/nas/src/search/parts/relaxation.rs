use std::fmt;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::dropout::SkipDropout;
use crate::search::Candidates;
use crate::supernet::{Mask, MixingGradient, OpAt, PerOp};

/// How the mixing weights `w: [E, O]` follow from `alpha: [E, O]`, step by step: what is random is drawn, it decides on
/// weights and on what is run, and the gradient is pulled back through both.
pub trait Relax: fmt::Debug + Send {
    /// What is random in one step, `[E, O]`; `None` where nothing is.
    fn draw(&self, shape: (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>>;

    /// Mixing weights, 0 for operations that are not alive; without noise those that the supernet is judged with.
    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64>;

    /// Operations that a step with this noise runs, `[E, O]`; by default, and for `None`, all that are alive. One that is
    /// alive but not run costs nothing and has neither output nor gradient.
    fn run(&self, _alpha: &PerOp<f64>, _mask: &Mask, _noise: Option<&PerOp<f64>>) -> Option<Mask> {
        None
    }

    /// `dL/dalpha: [E, O]` from the gradient of a step with this noise; 0 for operations that are not alive.
    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64>;

    /// Mixing weights without noise and with some operations taken out.
    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64>;

    /// Operations go for good; `mask` is the one before.
    fn remove(&self, alpha: &mut PerOp<f64>, mask: &Mask, ops: &[OpAt]);
}

/// A [`Relaxation`] with what becomes of the others when an operation goes, and skip connections that are dropped at random.
#[derive(Clone, Debug, Default)]
pub struct Mixture {
    /// Operations that there are on each edge, `[E, O]`; `None`: all.
    pub offered: Option<Mask>,
    /// How w follows from alpha.
    pub relaxation: Relaxation,
    /// What becomes of the other weights of an edge.
    pub removal: Removal,
    /// Factors on w while training.
    pub dropout: Option<SkipDropout>,
}

impl Mixture {
    /// Of the operations that there are; those that go take their share of the weights along.
    pub fn new(candidates: &Candidates, relaxation: Relaxation) -> Self {
        Self { relaxation, offered: Some(candidates.offered().clone()), ..Self::default() }
    }

    /// Softmax of all operations.
    pub fn softmax() -> Self {
        Self { relaxation: Relaxation::Softmax, ..Self::default() }
    }

    /// Operations that have a share of the weights of their edge where the weights are shares, `[E, O]`: those that are
    /// alive, or all that there were ([`Removal::Zero`]).
    fn sharers(&self, alive: &Mask) -> Mask {
        match (self.removal, &self.offered) {
            (Removal::Renormalise, _) => alive.clone(),
            (Removal::Zero, Some(offered)) => offered.clone(),
            (Removal::Zero, None) => alive.map(|_| true),
        }
    }
}

impl Relax for Mixture {
    fn draw(&self, shape: (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        self.dropout?.draw(shape, rng)
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        let mut w = self.relaxation.weights(alpha, mask, &self.sharers(mask));
        if let Some(factors) = noise {
            w.values_mut().iter_mut().zip(factors.values()).for_each(|(w, factor)| *w *= factor);
        }
        w
    }

    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        let mut gradient = gradient.w.clone();
        if let Some(factors) = noise {
            gradient.iter_mut().zip(factors.values()).for_each(|(g, factor)| *g *= factor);
        }
        self.relaxation.backward(alpha, mask, &self.sharers(mask), &gradient)
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        let mut w = self.weights(alpha, mask, None);
        out.iter().for_each(|&at| self.removal.take_out(&mut w, at));
        w
    }

    /// What is left is rescaled where that is wanted and alpha is the weight itself.
    fn remove(&self, alpha: &mut PerOp<f64>, mask: &Mask, ops: &[OpAt]) {
        if self.relaxation == Relaxation::Raw {
            let w = self.weights_without(alpha, mask, ops);
            for at in mask.alive().filter(|at| !ops.contains(at)) {
                alpha[at] = w[at];
            }
        }
    }
}

/// How the mixing weights `w: [E, O]` follow from `alpha: [E, O]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relaxation {
    /// `w = alpha`. An alpha of 0 takes an operation out, which Eq. 7 of HPE-DARTS relies on.
    #[default]
    Raw,
    /// `w = softmax(alpha)` over the operations of an edge (Eq. 3 of HPE-DARTS, Eq. 2 of DARTS).
    Softmax,
}

/// What becomes of the other weights of an edge when one of its operations is taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// They stay what they are (VP-DARTS, DARTS-PT).
    #[default]
    Zero,
    /// They are scaled so that their sum stays what it was.
    Renormalise,
}

impl Relaxation {
    /// `w: [E, O]`, zero for operations that are not alive.
    ///
    /// With [`Relaxation::Softmax`] the shares of an edge's `sharers` sum to 1. With [`Relaxation::Raw`] they have no part
    /// here: alpha itself is rescaled when an operation goes.
    pub fn weights(self, alpha: &PerOp<f64>, mask: &Mask, sharers: &Mask) -> PerOp<f64> {
        let mut w = match self {
            Self::Raw => alpha.clone(),
            Self::Softmax => softmax(alpha, sharers),
        };
        for at in mask.places().filter(|&at| !mask[at]) {
            w[at] = 0.0;
        }
        w
    }

    /// `dL/dalpha` from `dL/dw` (both `[E, O]`); zero for operations that are not alive.
    pub fn backward(self, alpha: &PerOp<f64>, mask: &Mask, sharers: &Mask, mixing_grad: &[f64]) -> Vec<f64> {
        let alive = mask.values().iter().zip(mixing_grad).map(|(&alive, &g)| if alive { g } else { 0.0 });
        let mut gradient: Vec<f64> = alive.collect();
        if self == Self::Softmax {
            softmax_backward(&mut gradient, &softmax(alpha, sharers), mask);
        }
        gradient
    }
}

impl Removal {
    /// Takes one operation out of `w: [E, O]`.
    pub fn take_out(self, w: &mut PerOp<f64>, (edge, op): OpAt) {
        let before: f64 = w.row(edge).iter().sum();
        w[(edge, op)] = 0.0;
        if self == Self::Renormalise {
            let after: f64 = w.row(edge).iter().sum();
            // A sum that is not positive has no share to hand out.
            if before > 0.0 && after > 0.0 {
                for o in 0..w.ops() {
                    w[(edge, o)] *= before / after;
                }
            }
        }
    }
}

/// Turns the gradient of shares `w: [E, O]` that a softmax made into that of what it was taken of; 0 for operations that are
/// not alive.
pub(super) fn softmax_backward(gradient: &mut [f64], w: &PerOp<f64>, mask: &Mask) {
    for ((g, w), alive) in gradient.chunks_exact_mut(w.ops()).zip(w.rows()).zip(mask.rows()) {
        let mean: f64 = g.iter().zip(w).map(|(g, w)| g * w).sum();
        for ((g, w), &alive) in g.iter_mut().zip(w).zip(alive) {
            *g = if alive { w * (*g - mean) } else { 0.0 };
        }
    }
}

/// Shares that sum to 1 over the sharers of an edge.
pub(super) fn softmax(alpha: &PerOp<f64>, sharers: &Mask) -> PerOp<f64> {
    let mut w = alpha.clone();
    for (w, shares) in w.rows_mut().zip(sharers.rows()) {
        let largest = (0..w.len()).filter(|&o| shares[o]).map(|o| w[o]).fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = (0..w.len()).map(|o| if shares[o] { (w[o] - largest).exp() } else { 0.0 }).collect();
        let sum: f64 = shares.iter().sum();
        w.iter_mut().zip(shares).for_each(|(w, share)| *w = share / sum);
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> (PerOp<f64>, Mask) {
        let mut mask = Mask::filled(2, 3, true);
        mask[(1, 0)] = false;
        (PerOp::from_values(3, vec![0.2, -0.3, 0.5, 0.9, 0.1, -0.4]), mask)
    }

    #[test]
    fn raw_weights_are_alpha_where_alive() {
        let (alpha, mask) = case();
        let w = Relaxation::Raw.weights(&alpha, &mask, &mask);
        assert_eq!(w.values(), [0.2, -0.3, 0.5, 0.0, 0.1, -0.4]);
    }

    #[test]
    fn softmax_shares_sum_to_one_over_what_counts() {
        let (alpha, mask) = case();
        let mut offered = Mask::filled(2, 3, true);
        let sum = |removal, offered: &Mask| {
            let mixture =
                Mixture { relaxation: Relaxation::Softmax, removal, offered: Some(offered.clone()), dropout: None };
            mixture.weights(&alpha, &mask, None).row(1).iter().sum::<f64>()
        };
        assert!((sum(Removal::Renormalise, &offered) - 1.0).abs() < 1e-15);
        let dead = 0.9_f64.exp();
        let all = dead + 0.1_f64.exp() + (-0.4_f64).exp();
        assert!((sum(Removal::Zero, &offered) - (1.0 - dead / all)).abs() < 1e-15);
        // What never was there has no share.
        offered[(1, 0)] = false;
        assert!((sum(Removal::Zero, &offered) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (alpha, mask) = case();
        // L = sum of c * w^2, so dL/dw = 2 c w.
        let c = [0.7, -1.1, 0.4, 0.3, 0.9, 1.3];
        for relaxation in [Relaxation::Raw, Relaxation::Softmax] {
            for sharers in [Mask::filled(2, 3, true), mask.clone()] {
                let loss = |alpha: &PerOp<f64>| -> f64 {
                    let w = relaxation.weights(alpha, &mask, &sharers);
                    w.values().iter().zip(c).map(|(w, c)| c * w * w).sum()
                };
                let w = relaxation.weights(&alpha, &mask, &sharers);
                let mixing: Vec<f64> = w.values().iter().zip(c).map(|(w, c)| 2.0 * c * w).collect();
                let gradient = relaxation.backward(&alpha, &mask, &sharers, &mixing);
                for at in mask.places() {
                    let step = 1e-6;
                    let (mut up, mut down) = (alpha.clone(), alpha.clone());
                    up[at] += step;
                    down[at] -= step;
                    let numeric = if mask[at] { (loss(&up) - loss(&down)) / (2.0 * step) } else { 0.0 };
                    let analytic = gradient[at.0 * 3 + at.1];
                    assert!(
                        (numeric - analytic).abs() < 1e-9,
                        "{relaxation:?} {sharers:?} {at:?}: {numeric} {analytic}"
                    );
                }
            }
        }
    }

    #[test]
    fn taking_out_with_renormalisation_keeps_the_sum() {
        let mut w = PerOp::from_values(3, vec![0.2, 0.3, 0.5]);
        Removal::Renormalise.take_out(&mut w, (0, 0));
        assert!((w.values().iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert_eq!(w[(0, 0)], 0.0);
        let mut w = PerOp::from_values(3, vec![0.2, 0.3, 0.5]);
        Removal::Zero.take_out(&mut w, (0, 0));
        assert_eq!(w.values(), [0.0, 0.3, 0.5]);
    }
}
