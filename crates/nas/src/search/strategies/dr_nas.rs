//! DrNAS (Chen, Wang, Cheng, Tang, Hsieh, 2021, arXiv 2006.10355), without progressive learning.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, Dirichlet, checks},
    },
};

/// Settings of DrNAS, `[strategy.dr-nas]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 100 | >= 1 | all epochs; the authors' code for NAS-Bench-201 without progressive learning |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | concentrations start near 1, the uniform distribution; the authors' code |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrNasConfig {
    /// All epochs.
    pub epochs: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha; its weight decay is the method's pull towards the uniform distribution.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DrNasConfig {
    fn default() -> Self {
        Self { epochs: 100, alpha_init: AlphaInit::Normal(1e-3), alpha_optimiser: AdamConfig::default() }
    }
}

/// The weights of an edge are a sample of a Dirichlet distribution, anew in every step.
#[derive(Debug)]
pub struct DrNas {
    epochs: usize,
    alpha: Alpha,
}

impl ByAlpha for DrNas {
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
}

impl Strategy for DrNas {
    type Config = DrNasConfig;

    const ABOUT: &'static str =
        "weights drawn anew in every step from a Dirichlet distribution, with the pathwise gradient";

    const SOURCE: &'static str =
        "Chen, Wang, Cheng, Tang, Hsieh: DrNAS: Dirichlet Neural Architecture Search, arXiv 2006.10355";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    fn check(config: &mut DrNasConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DrNasConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        Self { epochs: config.epochs, alpha: Alpha::new(values, Dirichlet, config.alpha_optimiser.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn a_search_without_epochs_is_refused() {
        let mut config = DrNasConfig { epochs: 0, ..Default::default() };
        let error = DrNas::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "epochs = 0, expected at least 1");
    }
}
