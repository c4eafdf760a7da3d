//! DARTS- (Chu, Wang, Zhang, Lu, Wei, Yan, 2021, arXiv 2009.01027).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, EarlyStop, EarlyStopConfig, Mixture, Ramp, Relax, Relaxation,
            checks,
        },
    },
    space::OpName,
    supernet::{Mask, MixingGradient, OpAt, PerOp},
};

/// Settings of DARTS-, `[strategy.darts-minus]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; the authors' code |
/// | `beta` | [1.0, 0.0] | >= 0 each | weight of the skip connection beside each edge, in the first and in the last epoch, linear between them; the authors' code |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `early_stop` | | | table, see [`EarlyStopConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DartsMinusConfig {
    /// All epochs.
    pub epochs: usize,
    /// Weight of the skip connection beside each edge.
    pub beta: Ramp,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// When the search ends before its last epoch.
    pub early_stop: EarlyStopConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DartsMinusConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            beta: Ramp(1.0, 0.0),
            alpha_init: AlphaInit::Normal(1e-3),
            early_stop: EarlyStopConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// Softmax weights; in a step, `skip_connect` has `beta` more, which stands for a skip connection beside the edge.
#[derive(Clone, Debug)]
struct Beside {
    mixture: Mixture,
    skip: usize,
    beta: f64,
}

/// What is "drawn" is what the skip connection adds: the supernet is judged and the cell derived without it.
impl Relax for Beside {
    fn draw(&self, (edges, ops): (usize, usize), _rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        let mut added = PerOp::filled(edges, ops, 0.0);
        (0..edges).for_each(|edge| added[(edge, self.skip)] = self.beta);
        Some(added)
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        let mut w = self.mixture.weights(alpha, mask, None);
        if let Some(added) = noise {
            mask.alive().for_each(|at| w[at] += added[at]);
        }
        w
    }

    /// Beta is a number beside alpha: it has no part in the gradient.
    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        _noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        self.mixture.pull_back(alpha, mask, None, gradient)
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.mixture.weights_without(alpha, mask, out)
    }

    fn remove(&self, alpha: &mut PerOp<f64>, mask: &Mask, ops: &[OpAt]) {
        self.mixture.remove(alpha, mask, ops);
    }
}

/// First-order DARTS with a skip connection beside each edge that fades away.
#[derive(Debug)]
pub struct DartsMinus {
    epochs: usize,
    beta: Ramp,
    beside: Beside,
    alpha: Alpha,
    stop: EarlyStop,
}

impl ByAlpha for DartsMinus {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.epochs)])
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn early_stop(&self) -> Option<&EarlyStop> {
        Some(&self.stop)
    }

    fn early_stop_mut(&mut self) -> Option<&mut EarlyStop> {
        Some(&mut self.stop)
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        self.alpha.relax_by(Beside { beta: self.beta.at(at.epoch, self.epochs), ..self.beside.clone() });
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }
}

impl Strategy for DartsMinus {
    type Config = DartsMinusConfig;

    const ABOUT: &'static str = "first-order DARTS with a skip connection beside each edge that fades away";

    const SOURCE: &'static str = "Chu, Wang, Zhang, Lu, Wei, Yan: DARTS-: Robustly Stepping out of Performance Collapse Without Indicators, arXiv 2009.01027";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "darts",
        source: "Meituan-AutoML/DARTS-, src/search",
        settings: &["strategy.darts-minus.epochs = 50", "data.split = \"first-half\""],
    }];

    fn check(config: &mut DartsMinusConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        if candidates.column(OpName::SKIP_CONNECT).is_none() {
            return Err(Unsuitable::new(
                "no edge has `skip_connect`, which lends its place to the skip connection beside the edge",
                "add `skip_connect` to space.ops, or search with another strategy, say darts",
            ));
        }
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::at_least("beta[0]", config.beta.0, 0.0)?;
        checks::at_least("beta[1]", config.beta.1, 0.0)?;
        config.early_stop.check(candidates, 0, config.epochs)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DartsMinusConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let beside = Beside {
            mixture: Mixture::new(candidates, Relaxation::Softmax),
            skip: candidates.column(OpName::SKIP_CONNECT).unwrap_or_default(),
            beta: config.beta.0,
        };
        let alpha = Alpha::new(values, beside.clone(), config.alpha_optimiser.clone());
        let stop = EarlyStop::new(&config.early_stop, candidates);
        Self { epochs: config.epochs, beta: config.beta, beside, alpha, stop }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::{search::OpSets, space::NasBench201};

    #[test]
    fn beta_is_beside_the_shares_and_has_no_part_in_the_gradient() {
        let mut mask = Mask::filled(6, 5, true);
        mask[(3, 1)] = false;
        let beside = Beside { mixture: Mixture::softmax(), skip: 1, beta: 0.7 };
        let alpha = PerOp::filled(6, 5, 0.0);
        let added = beside.draw((6, 5), &mut ChaCha8Rng::seed_from_u64(1));
        let w = beside.weights(&alpha, &mask, added.as_ref());
        assert_eq!((w[(0, 0)], w[(0, 1)], w[(3, 1)]), (0.2, 0.2 + 0.7, 0.0));
        assert_eq!(beside.weights(&alpha, &mask, None)[(0, 1)], 0.2);
        // L = sum of c w: finite differences through the weights of a step.
        let c: Vec<f64> = (0..30).map(|i| f64::from(i % 7) - 2.5).collect();
        let gradient = MixingGradient { w: c.clone(), edges: vec![0.0; 6] };
        let analytic = beside.pull_back(&alpha, &mask, added.as_ref(), &gradient);
        let loss = |alpha: &PerOp<f64>| -> f64 {
            beside.weights(alpha, &mask, added.as_ref()).values().iter().zip(&c).map(|(w, c)| w * c).sum()
        };
        for at in mask.alive() {
            let (mut up, mut down) = (alpha.clone(), alpha.clone());
            up[at] += 1e-6;
            down[at] -= 1e-6;
            let numeric = (loss(&up) - loss(&down)) / 2e-6;
            assert!((numeric - analytic[at.0 * 5 + at.1]).abs() < 1e-8, "{at:?}: {numeric}");
        }
    }

    #[test]
    fn without_skip_connect_it_is_refused() {
        let ops = OpSets::All(vec![OpName::NONE, OpName::NOR_CONV_3X3]);
        let candidates = Candidates::new(&NasBench201, Some(&ops)).unwrap();
        let error = DartsMinus::check(&mut DartsMinusConfig::default(), &candidates).unwrap_err();
        assert!(error.why.starts_with("no edge has `skip_connect`"), "{error}");
    }
}
