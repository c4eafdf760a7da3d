//! beta-DARTS (Ye, Li, Li, Chen, Fan, Ouyang, 2022, arXiv 2203.01665).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, BetaDecay, EarlyStop, EarlyStopConfig, Mixture, Relaxation,
            checks,
        },
    },
};

/// Settings of beta-DARTS, `[strategy.beta-darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 0: 100, in the DARTS space 50 | >= 0 | all epochs; the authors' code |
/// | `lambda` | 50.0 | >= 0 | factor of beta decay that the last epoch ends with; it rises linearly from 0; the authors' code |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | the authors' code |
/// | `early_stop` | | | table, see [`EarlyStopConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BetaDartsConfig {
    /// All epochs; 0: those of the source for the space.
    pub epochs: usize,
    /// Factor of beta decay in the end.
    pub lambda: f64,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// When the search ends before its last epoch.
    pub early_stop: EarlyStopConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for BetaDartsConfig {
    fn default() -> Self {
        Self {
            epochs: 0,
            lambda: 50.0,
            alpha_init: AlphaInit::Normal(1e-3),
            early_stop: EarlyStopConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// First-order DARTS with beta decay.
#[derive(Debug)]
pub struct BetaDarts {
    epochs: usize,
    lambda: f64,
    alpha: Alpha,
    stop: EarlyStop,
}

impl BetaDarts {
    /// Factor of beta decay in an epoch, counted from 0.
    fn factor(&self, epoch: usize) -> f64 {
        self.lambda * epoch as f64 / self.epochs as f64
    }
}

impl ByAlpha for BetaDarts {
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
        self.alpha.regularise_by(BetaDecay { factor: self.factor(at.epoch) });
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }
}

impl Strategy for BetaDarts {
    type Config = BetaDartsConfig;

    const ABOUT: &'static str =
        "first-order DARTS with a growing penalty that keeps the weights of an edge close together";

    const SOURCE: &'static str = "Ye, Li, Li, Chen, Fan, Ouyang: beta-DARTS: Beta-Decay Regularization for Differentiable Architecture Search, arXiv 2203.01665";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    const PUBLISHED: &'static [Published] = &[
        Published {
            space: "nas-bench-201",
            source: "Sunshine-Ye/Beta-DARTS, nasbench201/train_search.py",
            settings: &["strategy.beta-darts.epochs = 100", "data.split = \"first-half\""],
        },
        Published {
            space: "darts",
            source: "Sunshine-Ye/Beta-DARTS, sota/cnn",
            settings: &[
                "strategy.beta-darts.epochs = 50",
                "data.split = \"first-half\"",
                Published::DARTS_WITHOUT_NONE,
            ],
        },
    ];

    fn check(config: &mut BetaDartsConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::epochs(&mut config.epochs, candidates, [100, 50]);
        checks::at_least("lambda", config.lambda, 0.0)?;
        config.early_stop.check(candidates, 0, config.epochs)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &BetaDartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        let stop = EarlyStop::new(&config.early_stop, candidates);
        Self { epochs: config.epochs, lambda: config.lambda, alpha, stop }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn lambda_rises_linearly_from_0_to_50() {
        let (mut config, candidates) = (BetaDartsConfig::default(), Candidates::all(&NasBench201));
        BetaDarts::check(&mut config, &candidates).unwrap();
        let method = BetaDarts::new(&config, &candidates, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!([0, 1, 50, 99, 100].map(|epoch| method.factor(epoch)), [0.0, 0.5, 25.0, 49.5, 50.0]);
    }

    #[test]
    fn a_negative_lambda_is_refused() {
        let mut config = BetaDartsConfig { lambda: -1.0, ..Default::default() };
        let error = BetaDarts::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "lambda = -1, expected at least 0");
    }
}
