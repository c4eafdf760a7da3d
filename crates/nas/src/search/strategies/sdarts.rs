//! SDARTS-RS, DARTS smoothed by random perturbations (Chen, Hsieh, 2020, arXiv 2002.05283).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, Mixture, Ramp, Relaxation, checks, perturb},
    },
};

/// Settings of SDARTS-RS, `[strategy.sdarts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; as DARTS |
/// | `epsilon` | [0.03, 0.3] | >= 0 each | largest change of a weight by the noise, in the first and in the last epoch, linear between them; SDARTS |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SdartsConfig {
    /// All epochs.
    pub epochs: usize,
    /// Largest change of a weight.
    pub epsilon: Ramp,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for SdartsConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            epsilon: Ramp(0.03, 0.3),
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// First-order DARTS whose omega is trained with perturbed weights.
#[derive(Debug)]
pub struct Sdarts {
    epochs: usize,
    epsilon: Ramp,
    alpha: Alpha,
}

impl ByAlpha for Sdarts {
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
        let gradient = cx.mixing_gradient(&self.alpha.mixing(cx.mask(), None))?;
        self.alpha.descend(cx.mask(), None, &gradient);
        let mut w = self.alpha.weights(cx.mask());
        perturb(&mut w, cx.mask(), self.epsilon.at(at.epoch, self.epochs), &mut cx.step_rng());
        cx.omega_step(&w.map(|&w| w as f32).into())
    }
}

impl Strategy for Sdarts {
    type Config = SdartsConfig;

    const ABOUT: &'static str = "first-order DARTS whose network is trained with randomly perturbed weights";

    const SOURCE: &'static str = "Chen, Hsieh: Stabilizing Differentiable Architecture Search via Perturbation-based Regularization, arXiv 2002.05283";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    fn check(config: &mut SdartsConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::at_least("epsilon[0]", config.epsilon.0, 0.0)?;
        checks::at_least("epsilon[1]", config.epsilon.1, 0.0)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &SdartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        Self { epochs: config.epochs, epsilon: config.epsilon, alpha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn epsilon_grows_and_is_not_negative() {
        let SdartsConfig { epochs, epsilon, .. } = SdartsConfig::default();
        assert_eq!([0, 49].map(|epoch| epsilon.at(epoch, epochs)), [0.03, 0.3]);
        let mut config = SdartsConfig { epsilon: Ramp(0.03, -0.3), ..Default::default() };
        let error = Sdarts::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "epsilon[1] = -0.3, expected at least 0");
    }
}
