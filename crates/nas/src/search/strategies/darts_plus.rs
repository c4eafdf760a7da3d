//! DARTS+ (Liang, Zhang, Sun, He, Huang, Zhuang, Li, 2019, arXiv 1909.06035).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, EarlyStop, EarlyStopConfig, Mixture, Relaxation, StopRule,
            checks,
        },
    },
};

/// Settings of DARTS+, `[strategy.darts-plus]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | most epochs; as DARTS |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `early_stop` | | | table, see [`EarlyStopConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DartsPlusConfig {
    /// Most epochs.
    pub epochs: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// When the search ends before its last epoch.
    pub early_stop: EarlyStopConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DartsPlusConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            alpha_init: AlphaInit::Normal(1e-3),
            early_stop: EarlyStopConfig { rule: StopRule::Skips, ..Default::default() },
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// First-order DARTS that ends before skip connections take over.
#[derive(Debug)]
pub struct DartsPlus {
    epochs: usize,
    alpha: Alpha,
    stop: EarlyStop,
}

impl ByAlpha for DartsPlus {
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

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }
}

impl Strategy for DartsPlus {
    type Config = DartsPlusConfig;

    const ABOUT: &'static str = "first-order DARTS that ends before skip connections take over";

    const SOURCE: &'static str = "Liang, Zhang, Sun, He, Huang, Zhuang, Li: DARTS+: Improved Differentiable Architecture Search with Early Stopping, arXiv 1909.06035";

    // More skip connections than a cell can have: the tests want whole schedules.
    const SHORT: &'static [&'static str] = &["epochs=4", "early_stop.skips=9"];

    fn check(config: &mut DartsPlusConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        if config.early_stop.rule == StopRule::None {
            return Err(Unsuitable::new(
                "early_stop.rule = \"none\": without an early end DARTS+ is DARTS",
                "choose a rule, or search with --strategy darts",
            ));
        }
        config.early_stop.check(candidates, 0, config.epochs)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DartsPlusConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        Self { epochs: config.epochs, alpha, stop: EarlyStop::new(&config.early_stop, candidates) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    fn refusal(early_stop: EarlyStopConfig) -> Unsuitable {
        let mut config = DartsPlusConfig { early_stop, ..Default::default() };
        DartsPlus::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err()
    }

    #[test]
    fn a_search_that_would_end_at_once_or_never_early_is_refused() {
        let usual = DartsPlusConfig::default().early_stop;
        let error = refusal(EarlyStopConfig { skips: 0, ..usual });
        assert_eq!(error.why, "early_stop.skips = 0, expected at least 1");
        let error = refusal(EarlyStopConfig::default());
        assert_eq!(error.hint, "choose a rule, or search with --strategy darts");
    }
}
