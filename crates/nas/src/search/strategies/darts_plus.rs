//! DARTS+ (Liang, Zhang, Sun, He, Huang, Zhuang, Li, 2019, arXiv 1909.06035).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Flow, Schedule},
    search::{
        ByAlpha, Candidates, Context, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, Mixture, Relaxation, SkipStop, checks},
    },
};

/// Settings of DARTS+, `[strategy.darts-plus]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | most epochs; as DARTS |
/// | `skips` | 2 | >= 1 | the search ends with the epoch after which its cell (the normal one) has so many skip connections; DARTS+ |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DartsPlusConfig {
    /// Most epochs.
    pub epochs: usize,
    /// Skip connections that end the search.
    pub skips: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DartsPlusConfig {
    fn default() -> Self {
        Self { epochs: 50, skips: 2, alpha_init: AlphaInit::Normal(1e-3), alpha_optimiser: AdamConfig::default() }
    }
}

/// First-order DARTS that ends before skip connections take over.
#[derive(Debug)]
pub struct DartsPlus {
    epochs: usize,
    stop: SkipStop,
    alpha: Alpha,
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

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }

    fn end(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        Ok(self.stop.flow(&ByAlpha::derive(self, cx)?))
    }
}

impl Strategy for DartsPlus {
    type Config = DartsPlusConfig;

    const ABOUT: &'static str = "first-order DARTS that ends before skip connections take over";

    const SOURCE: &'static str = "Liang, Zhang, Sun, He, Huang, Zhuang, Li: DARTS+: Improved Differentiable Architecture Search with Early Stopping, arXiv 1909.06035";

    // More skip connections than a cell can have: the tests want whole schedules.
    const SHORT: &'static [&'static str] = &["epochs=4", "skips=9"];

    fn check(config: &mut DartsPlusConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::at_least("skips", config.skips as f64, 1.0)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DartsPlusConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        Self { epochs: config.epochs, stop: SkipStop { skips: config.skips }, alpha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn a_search_that_would_end_at_once_is_refused() {
        let mut config = DartsPlusConfig { skips: 0, ..Default::default() };
        let error = DartsPlus::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "skips = 0, expected at least 1");
    }
}
