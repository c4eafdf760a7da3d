//! GDAS (Dong, Yang, 2019, arXiv 1910.04465).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, GumbelArgmax, GumbelSoftmax, Mixture, Ramp, Relaxation, checks,
        },
    },
};

/// Settings of GDAS, `[strategy.gdas]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 250 | >= 1 | all epochs; NAS-Bench-201's code |
/// | `temperature` | [10.0, 0.1] | > 0 each | tau in the first and in the last epoch, linear between them; NAS-Bench-201's code |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | NAS-Bench-201's code |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GdasConfig {
    /// All epochs.
    pub epochs: usize,
    /// Temperature of the Gumbel softmax.
    pub temperature: Ramp,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for GdasConfig {
    fn default() -> Self {
        Self {
            epochs: 250,
            temperature: Ramp(10.0, 0.1),
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// One operation of each edge at a time, drawn by the Gumbel-max trick; the gradient goes through the Gumbel softmax.
#[derive(Debug)]
pub struct Gdas {
    epochs: usize,
    temperature: Ramp,
    judge: Mixture,
    alpha: Alpha,
}

impl Gdas {
    fn relaxation(temperature: Ramp, epoch: usize, epochs: usize, judge: &Mixture) -> GumbelArgmax {
        GumbelArgmax(GumbelSoftmax { temperature: temperature.at(epoch, epochs), judge: judge.clone() })
    }
}

impl ByAlpha for Gdas {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.epochs)])
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        self.alpha.relax_by(Self::relaxation(self.temperature, at.epoch, self.epochs, &self.judge));
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }
}

impl Strategy for Gdas {
    type Config = GdasConfig;

    const ABOUT: &'static str =
        "one operation of each edge at a time, drawn by Gumbel-max with straight-through gradients";

    const SOURCE: &'static str =
        "Dong, Yang: Searching for a Robust Neural Architecture in Four GPU Hours, arXiv 1910.04465";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "nas-bench-201",
        source: "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos: GDAS.py, GDAS.config",
        settings: &["training.nesterov = true", "training.weight_decay = 5e-4", "strategy.gdas.epochs = 250"],
    }];

    fn check(config: &mut GdasConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::positive("temperature[0]", config.temperature.0)?;
        checks::positive("temperature[1]", config.temperature.1)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &GdasConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let GdasConfig { epochs, temperature, .. } = *config;
        let values = config.alpha_init.values(candidates.offered(), rng);
        let judge = Mixture::new(candidates, Relaxation::Softmax);
        let relaxation = Self::relaxation(temperature, 0, epochs, &judge);
        Self { epochs, temperature, alpha: Alpha::new(values, relaxation, config.alpha_optimiser.clone()), judge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn tau_falls_linearly() {
        let tau = |epoch| Gdas::relaxation(Ramp(10.0, 0.1), epoch, 250, &Mixture::softmax()).0.temperature;
        assert_eq!([0, 249].map(tau), [10.0, 0.1]);
        let steps: Vec<f64> = (0..249).map(|epoch| tau(epoch) - tau(epoch + 1)).collect();
        assert!(steps.iter().all(|step| (step - 9.9 / 249.0).abs() < 1e-12), "{steps:?}");
    }

    #[test]
    fn a_temperature_of_0_is_refused() {
        let mut config = GdasConfig { temperature: Ramp(10.0, 0.0), ..Default::default() };
        let error = Gdas::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "temperature[1] = 0, expected more than 0");
    }
}
