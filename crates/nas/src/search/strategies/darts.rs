//! DARTS, first order (Liu, Simonyan, Yang, 2019, arXiv 1806.09055).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use serde_json::Value;

use crate::{
    run::{At, Schedule},
    search::{
        Candidates, Context, OneShot, SearchError, Strategy, Unsuitable, column, genotype,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, Incoming, Mixture, Relaxation},
    },
    space::{Genotype, OpName},
    supernet::{Mask, OpAt, PerOp},
};

/// Settings of first-order DARTS, `[strategy.darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; DARTS, 3.1 |
/// | `warmup_epochs` | 0 | < `epochs` | epochs at the start without training of alpha, as successors of DARTS have them |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | the authors' code |
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

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let update = if at.epoch < self.warmup_epochs { AlphaUpdate::None } else { AlphaUpdate::Bilevel };
        update.step(&mut self.alpha, cx)
    }

    /// The operation of the largest alpha of each edge; of equal ones the first. Where the space keeps fewer edges of a node
    /// than there are, `none` is never chosen, and the edges stay whose operation has the largest weights.
    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        let nodes = Incoming::of(cx.space());
        let never = column(cx.space(), OpName::NONE).filter(|_| !nodes.is_empty());
        let chosen = |(row, alive): (&[f64], &[bool])| {
            let allowed = |op: usize| alive[op] && Some(op) != never;
            largest(&(0..row.len()).map(|op| if allowed(op) { row[op] } else { f64::NEG_INFINITY }).collect::<Vec<_>>())
        };
        let rows = self.alpha.values().rows().zip(cx.mask().rows());
        let mut chosen: Vec<OpAt> = rows.map(chosen).enumerate().collect();
        let w = self.alpha.weights(cx.mask());
        let dropped: Vec<usize> = nodes.into_iter().flat_map(|node| node.dropped(|row| w[chosen[row]])).collect();
        chosen.retain(|(row, _)| !dropped.contains(row));
        genotype(cx.space(), &chosen)
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        Some(self.alpha.values().clone())
    }

    fn state(&self) -> Value {
        self.alpha.state()
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)
    }
}

impl Strategy for Darts {
    type Config = DartsConfig;

    const ABOUT: &'static str = "first-order bilevel training of softmax weights; the largest of each edge wins";

    const SOURCE: &'static str = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, arXiv 1806.09055";

    const SHORT: &'static [&'static str] = &["epochs=6", "warmup_epochs=1"];

    fn check(config: &mut DartsConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
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

    fn new(config: &DartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        Self {
            epochs: config.epochs,
            warmup_epochs: config.warmup_epochs,
            alpha: Alpha::new(values, mixture, config.alpha_optimiser.clone()),
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
            Darts::check(
                &mut DartsConfig { epochs, warmup_epochs, ..Default::default() },
                &Candidates::all(&NasBench201),
            )
        };
        assert_eq!(check(50, 49), Ok(()));
        assert_eq!(check(50, 50).unwrap_err().why, "warmup_epochs = 50 leave no epoch of 50 to train alpha in");
    }
}
