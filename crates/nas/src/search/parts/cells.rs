use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{checks, paths::path};
use crate::{
    numbers::Number,
    run::{At, Fields, Sweep},
    search::{Unsuitable, context::Context, error::SearchError, genotype},
    space::Genotype,
    supernet::OpAt,
};

/// How a cell is chosen among several at the end of a search.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `cells` | 100 | >= 1 | cells that are compared; NAS-Bench-201's code |
/// | `images` | 512 | >= 1 | images of `D_val` in the one batch that all are measured on, without augmentation; NAS-Bench-201's code |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CellsConfig {
    /// Cells that are compared.
    pub cells: usize,
    /// Images of the batch.
    pub images: usize,
}

impl Default for CellsConfig {
    fn default() -> Self {
        Self { cells: 100, images: 512 }
    }
}

impl CellsConfig {
    /// Refuses what compares nothing.
    ///
    /// # Errors
    /// Name and value.
    pub fn check(&self) -> Result<(), Unsuitable> {
        checks::at_least("evaluation.cells", self.cells as f64, 1.0)?;
        checks::at_least("evaluation.images", self.images as f64, 1.0)
    }
}

/// The cell that has the highest accuracy with the weights of the supernet; of equal ones that with the lowest loss.
#[derive(Clone, Debug)]
pub struct BestCell {
    config: CellsConfig,
    best: Option<Vec<OpAt>>,
}

impl BestCell {
    /// None yet.
    pub fn new(config: &CellsConfig) -> Self {
        Self { config: config.clone(), best: None }
    }

    /// Images of `D_val` in one batch.
    pub fn images(&self) -> usize {
        self.config.images
    }

    /// Cells that are to be compared.
    pub fn count(&self) -> usize {
        self.config.cells
    }

    /// A generator to draw cells with at the end of an epoch.
    pub fn rng(cx: &Context<'_>) -> ChaCha8Rng {
        // One place after the last step of the epoch, which no step draws from.
        cx.step_rng()
    }

    /// Measures the cells on the same batch and keeps the best one.
    ///
    /// # Errors
    /// A loss that is not a number; an interruption; whatever the engine refuses.
    pub fn choose(&mut self, cells: &[Vec<OpAt>], at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let batch = cx.valid_sample(self.config.images)?;
        let paths: Vec<_> = cells.iter().map(|cell| path(cell, cx.mask())).collect();
        let what = "accuracy of cells".to_owned();
        let sweep = Sweep { what, count: cells.len(), sums: 2 * cells.len(), activity: "cells" };
        let sums = cx.sweep(&sweep, |supernet, i, sums| {
            let result = supernet.evaluate_mixing(batch.as_batch(), &paths[i])?;
            sums[2 * i] = result.correct as f64;
            sums[2 * i + 1] = result.loss;
            Ok(())
        })?;
        let scores: Vec<(f64, f64)> = sums.chunks_exact(2).map(|of| (of[0], of[1])).collect();
        if scores.iter().any(|(_, loss)| loss.is_nan()) {
            return Err(cx.not_finite("the loss of a cell", f64::NAN));
        }
        let better = |a: (f64, f64), b: (f64, f64)| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1);
        let best = (0..scores.len()).reduce(|best, i| if better(scores[i], scores[best]) { i } else { best });
        self.best = best.map(|best| cells[best].clone());
        let space = cx.space();
        let text = |cell: &Vec<OpAt>| Ok(space.text(&genotype(space, cell)?)?);
        let images = batch.len();
        cx.record(&CellsCompared {
            epoch: at.epoch + 1,
            phase: at.name.clone(),
            images,
            cells: cells.iter().map(text).collect::<Result<_, SearchError>>()?,
            accuracy: scores.iter().map(|(correct, _)| Number(100.0 * correct / images as f64)).collect(),
            loss: scores.iter().map(|(_, loss)| Number(*loss)).collect(),
        })
    }

    /// The best cell. A search that has compared none has chosen no edge, which is the error.
    ///
    /// # Errors
    /// A choice that makes no cell of the space.
    pub fn derive(&self, cx: &Context<'_>) -> Result<Genotype, SearchError> {
        genotype(cx.space(), self.best.as_deref().unwrap_or_default())
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!(self.best)
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// What is not one.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.best = Deserialize::deserialize(state).map_err(|e| format!("the best cell: {e}"))?;
        Ok(())
    }
}

/// Cells were compared with the weights of the supernet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellsCompared {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Images that they were measured on.
    pub images: usize,
    /// In the notation of the space's paper.
    pub cells: Vec<String>,
    /// Top-1, in percent, cell by cell.
    pub accuracy: Vec<Number>,
    /// Mean cross-entropy, in nats, cell by cell.
    pub loss: Vec<Number>,
}

impl Fields for CellsCompared {
    const KIND: &'static str = "cells";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_to_compare_is_refused() {
        assert_eq!(CellsConfig::default().check(), Ok(()));
        let error = CellsConfig { images: 0, ..Default::default() }.check().unwrap_err();
        assert_eq!(error.why, "evaluation.images = 0, expected at least 1");
    }
}
