//! SNAS (Xie, Zheng, Liu, Lin, 2019, arXiv 1812.09926).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, GumbelSoftmax, Mixture, Ramp, Relaxation, checks},
    },
};

/// Settings of SNAS, `[strategy.snas]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 150 | >= 1 | all epochs; SNAS |
/// | `temperature` | [1.0, 0.33] | > 0 each | of the Gumbel softmax in the first and in the last epoch, linear between them; ConfigurableOptimizer |
/// | `alpha_update` | `joint` | `bilevel` (ConfigurableOptimizer), `none` | alpha and omega are trained by one loss; SNAS |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnasConfig {
    /// All epochs.
    pub epochs: usize,
    /// Temperature of the Gumbel softmax.
    pub temperature: Ramp,
    /// How alpha is trained.
    pub alpha_update: AlphaUpdate,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for SnasConfig {
    fn default() -> Self {
        Self {
            epochs: 150,
            temperature: Ramp(1.0, 0.33),
            alpha_update: AlphaUpdate::Joint,
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// Weights are a sample of the Gumbel softmax of alpha, anew in every step.
#[derive(Debug)]
pub struct Snas {
    config: SnasConfig,
    judge: Mixture,
    alpha: Alpha,
}

impl Snas {
    fn relaxation(config: &SnasConfig, epoch: usize, judge: &Mixture) -> GumbelSoftmax {
        GumbelSoftmax { temperature: config.temperature.at(epoch, config.epochs), judge: judge.clone() }
    }
}

impl ByAlpha for Snas {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.config.epochs)])
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        self.alpha.relax_by(Self::relaxation(&self.config, at.epoch, &self.judge));
        self.config.alpha_update.step(&mut self.alpha, cx)
    }
}

impl Strategy for Snas {
    type Config = SnasConfig;

    const ABOUT: &'static str =
        "weights drawn anew in every step from the Gumbel softmax of alpha, all trained by one loss";

    const SOURCE: &'static str = "Xie, Zheng, Liu, Lin: SNAS: Stochastic Neural Architecture Search, arXiv 1812.09926";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    fn check(config: &mut SnasConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::positive("temperature[0]", config.temperature.0)?;
        checks::positive("temperature[1]", config.temperature.1)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &SnasConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let judge = Mixture::new(candidates, Relaxation::Softmax);
        let alpha = Alpha::new(values, Self::relaxation(config, 0, &judge), config.alpha_optimiser.clone());
        Self { config: config.clone(), judge, alpha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn the_temperature_falls_and_must_be_positive() {
        let mut config = SnasConfig::default();
        let temperature = |epoch| Snas::relaxation(&config, epoch, &Mixture::softmax()).temperature;
        assert_eq!([0, 149].map(temperature), [1.0, 0.33]);
        config.temperature = Ramp(-1.0, 0.33);
        let error = Snas::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "temperature[0] = -1, expected more than 0");
    }
}
