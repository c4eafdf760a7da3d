//! DARTS, first order (Liu, Simonyan, Yang, 2019, arXiv 1806.09055).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, EarlyStop, EarlyStopConfig, Mixture, Relaxation, checks},
    },
};

/// Settings of first-order DARTS, `[strategy.darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; DARTS, 3.1 |
/// | `warmup_epochs` | 0 | < `epochs` | epochs at the start without training of alpha, as successors of DARTS have them |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | the authors' code |
/// | `early_stop` | | | table, see [`EarlyStopConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DartsConfig {
    /// All epochs.
    pub epochs: usize,
    /// Epochs at the start in which omega alone is trained.
    pub warmup_epochs: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// When the search ends before its last epoch.
    pub early_stop: EarlyStopConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DartsConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            warmup_epochs: 0,
            alpha_init: AlphaInit::Normal(1e-3),
            early_stop: EarlyStopConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// Softmax over the operations of an edge, bilevel training, the largest alpha wins.
#[derive(Debug)]
pub struct Darts {
    epochs: usize,
    warmup_epochs: usize,
    alpha: Alpha,
    stop: EarlyStop,
}

impl ByAlpha for Darts {
    fn schedule(&self) -> Schedule {
        Schedule::new([("warm-up", self.warmup_epochs), ("search", self.epochs - self.warmup_epochs)])
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

    fn trains_alpha(&self, at: &At) -> bool {
        at.epoch >= self.warmup_epochs
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let update = if self.trains_alpha(at) { AlphaUpdate::Bilevel } else { AlphaUpdate::None };
        update.step(&mut self.alpha, cx)
    }
}

impl Strategy for Darts {
    type Config = DartsConfig;

    const ABOUT: &'static str = "first-order bilevel training of softmax weights; the largest of each edge wins";

    const SOURCE: &'static str = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, arXiv 1806.09055";

    const SHORT: &'static [&'static str] = &["epochs=6", "warmup_epochs=1"];

    const PUBLISHED: &'static [Published] = &[
        Published {
            space: "nas-bench-201",
            source: "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos: DARTS-V1.py, DARTS.config",
            settings: &["training.nesterov = true", "training.weight_decay = 5e-4", "strategy.darts.epochs = 50"],
        },
        Published {
            space: "darts",
            source: "quark0/darts, cnn/train_search.py",
            settings: &["strategy.darts.epochs = 50", "data.split = \"first-half\""],
        },
    ];

    fn check(config: &mut DartsConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::warmup(config.warmup_epochs, config.epochs)?;
        config.early_stop.check(candidates, config.warmup_epochs, config.epochs)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let stop = EarlyStop::new(&config.early_stop, candidates);
        Self {
            epochs: config.epochs,
            warmup_epochs: config.warmup_epochs,
            alpha: Alpha::new(values, mixture, config.alpha_optimiser.clone()),
            stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn a_warm_up_without_a_search_is_refused() {
        let check = |epochs, warmup_epochs| {
            Darts::check(
                &mut DartsConfig { epochs, warmup_epochs, ..Default::default() },
                &Candidates::all(&NasBench201),
            )
        };
        assert_eq!(check(50, 49), Ok(()));
        assert_eq!(check(50, 50).unwrap_err().why, "warmup_epochs = 50 leave no epoch of 50 to train alpha in");
    }
}
