//! SDARTS, DARTS smoothed by perturbations (Chen, Hsieh, 2020, arXiv 2002.05283).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, EarlyStop, EarlyStopConfig, Mixture, Perturbation, Ramp, Relaxation, checks,
            perturb, perturb_against,
        },
    },
};

/// Steps of the adversarial form in the source.
const PGD_STEPS: usize = 7;

/// Settings of SDARTS, `[strategy.sdarts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; as DARTS |
/// | `perturbation` | `random` (SDARTS-RS) | `adversarial`: by what makes the loss of the batch largest (SDARTS-ADV) | SDARTS |
/// | `pgd_steps` | 7 | >= 1 | of `adversarial`: steps of projected gradient ascent; SDARTS |
/// | `epsilon` | [0.03, 0.3] | >= 0 each | largest change of a weight, in the first and in the last epoch, linear between them; SDARTS |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `early_stop` | | | table, see [`EarlyStopConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SdartsConfig {
    /// All epochs.
    pub epochs: usize,
    /// How the weights are perturbed.
    pub perturbation: Perturbation,
    /// Steps of the adversarial form.
    pub pgd_steps: usize,
    /// Largest change of a weight.
    pub epsilon: Ramp,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// When the search ends before its last epoch.
    pub early_stop: EarlyStopConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for SdartsConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            perturbation: Perturbation::Random,
            pgd_steps: PGD_STEPS,
            epsilon: Ramp(0.03, 0.3),
            alpha_init: AlphaInit::Normal(1e-3),
            early_stop: EarlyStopConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// First-order DARTS whose omega is trained with perturbed weights.
#[derive(Debug)]
pub struct Sdarts {
    config: SdartsConfig,
    alpha: Alpha,
    stop: EarlyStop,
}

impl ByAlpha for Sdarts {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.config.epochs)])
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
        let gradient = cx.mixing_gradient(&self.alpha.mixing(cx.mask(), None))?;
        self.alpha.descend(cx.mask(), None, &gradient);
        let mut w = self.alpha.weights(cx.mask());
        let SdartsConfig { epochs, perturbation, pgd_steps, epsilon, .. } = self.config;
        let (epsilon, mask, mut rng) = (epsilon.at(at.epoch, epochs), cx.mask().clone(), cx.step_rng());
        match perturbation {
            Perturbation::Random => perturb(&mut w, &mask, epsilon, &mut rng),
            Perturbation::Adversarial => perturb_against(&mut w, &mask, epsilon, pgd_steps, &mut rng, |w| {
                Ok::<_, SearchError>(cx.gradient_ahead(&w.map(|&w| w as f32).into())?.w)
            })?,
        }
        cx.omega_step(&w.map(|&w| w as f32).into())
    }
}

impl Strategy for Sdarts {
    type Config = SdartsConfig;

    const ABOUT: &'static str =
        "first-order DARTS whose network is trained with weights perturbed at random or against it";

    const SOURCE: &'static str = "Chen, Hsieh: Stabilizing Differentiable Architecture Search via Perturbation-based Regularization, arXiv 2002.05283";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    fn check(config: &mut SdartsConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::at_least("pgd_steps", config.pgd_steps as f64, 1.0)?;
        if config.perturbation == Perturbation::Random && config.pgd_steps != PGD_STEPS {
            return Err(Unsuitable::new(
                format!("pgd_steps = {} has no effect with perturbation = \"random\"", config.pgd_steps),
                "omit pgd_steps, or set perturbation = \"adversarial\"",
            ));
        }
        checks::at_least("epsilon[0]", config.epsilon.0, 0.0)?;
        checks::at_least("epsilon[1]", config.epsilon.1, 0.0)?;
        config.early_stop.check(candidates, 0, config.epochs)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &SdartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        let stop = EarlyStop::new(&config.early_stop, candidates);
        Self { config: config.clone(), alpha, stop }
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
