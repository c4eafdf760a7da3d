//! DARTS, first order (Liu, Simonyan, Yang, 2019, arXiv 1806.09055).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    OneShot, Strategy, Unsuitable, alpha_shape, genotype,
    parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, Relaxation, Removal},
};
use crate::{
    search::{At, Context, Schedule, SearchError},
    space::{Genotype, SearchSpace},
    supernet::OpAt,
};

/// Settings of first-order DARTS, `[strategy.darts]`.
///
/// | name | default | range | source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | 3.1 |
/// | `warmup_epochs` | 0 | < `epochs`; alpha is not trained in them | used by successors of DARTS |
/// | `alpha_init` | `normal(1e-3)` | `constant` | the authors' code |
/// | `alpha_optimiser` | | table, see [`AdamConfig`] | 3.1 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DartsConfig {
    /// All epochs.
    pub epochs: usize,
    /// Epochs at the start in which omega alone is trained.
    pub warmup_epochs: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DartsConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            warmup_epochs: 0,
            alpha_init: AlphaInit::Normal(1e-3),
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
}

impl OneShot for Darts {
    fn schedule(&self) -> Schedule {
        Schedule::new([("warm-up", self.warmup_epochs), ("search", self.epochs - self.warmup_epochs)])
    }

    fn begin(&mut self, _at: &At, _cx: &mut Context) -> Result<(), SearchError> {
        Ok(())
    }

    fn step(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError> {
        let update = if at.epoch < self.warmup_epochs { AlphaUpdate::None } else { AlphaUpdate::Bilevel };
        update.step(&mut self.alpha, None, cx)
    }

    fn end(&mut self, _at: &At, _cx: &mut Context) -> Result<(), SearchError> {
        Ok(())
    }

    /// The operation of the largest alpha of each edge; of equal ones the first.
    fn derive(&mut self, cx: &mut Context) -> Result<Genotype, SearchError> {
        let chosen: Vec<OpAt> = self.alpha.values().rows().map(largest).enumerate().collect();
        genotype(cx.space(), &chosen)
    }

    fn architecture(&self) -> &Alpha {
        &self.alpha
    }

    fn architecture_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }
}

impl Strategy for Darts {
    type Config = DartsConfig;

    const ABOUT: &'static str = "first-order bilevel training of softmax weights; the largest of each edge wins";

    const SOURCE: &'static str = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, arXiv 1806.09055";

    fn check(config: &mut DartsConfig, _space: &dyn SearchSpace) -> Result<(), Unsuitable> {
        if config.epochs <= config.warmup_epochs {
            return Err(Unsuitable::new(
                format!(
                    "warmup_epochs = {} leave no epoch of {} to train alpha in",
                    config.warmup_epochs, config.epochs
                ),
                "warmup_epochs must be less than epochs",
            ));
        }
        match config.alpha_optimiser.fault() {
            Some(fault) => Err(Unsuitable::new(format!("alpha_optimiser: {fault}"), "omit it to use the default")),
            None => Ok(()),
        }
    }

    fn new(config: &DartsConfig, space: &dyn SearchSpace, rng: &mut ChaCha8Rng) -> Self {
        let (shape, adam) = (alpha_shape(space), config.alpha_optimiser.clone());
        Self {
            epochs: config.epochs,
            warmup_epochs: config.warmup_epochs,
            alpha: Alpha::new(config.alpha_init, shape, Relaxation::Softmax, Removal::Zero, adam, rng),
        }
    }
}

fn largest(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, op| if row[op] > row[best] { op } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn the_first_of_equal_values_wins() {
        assert_eq!(largest(&[0.1, 0.3, -0.2, 0.3]), 1);
        assert_eq!(largest(&[-1.0]), 0);
    }

    #[test]
    fn a_warm_up_without_a_search_is_refused() {
        let check = |epochs, warmup_epochs| {
            Darts::check(&mut DartsConfig { epochs, warmup_epochs, ..Default::default() }, &NasBench201)
        };
        assert_eq!(check(50, 49), Ok(()));
        assert_eq!(check(50, 50).unwrap_err().why, "warmup_epochs = 50 leave no epoch of 50 to train alpha in");
    }
}
