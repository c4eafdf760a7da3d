//! RSPS, random search with parameter sharing (Li, Talwalkar, 2019, arXiv 1902.07638).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    run::{At, Flow, Schedule},
    search::{
        Candidates, Context, OneShot, Published, SearchError, Strategy, Unsuitable,
        parts::{BestCell, CellsConfig, Paths, checks, equal_shares, path},
    },
    space::Genotype,
    supernet::{Mask, PerOp},
};

/// Settings of random search with parameter sharing, `[strategy.rsps]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 250 | >= 1 | all epochs; NAS-Bench-201's code |
/// | `evaluation` | | | table, see [`CellsConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RspsConfig {
    /// All epochs.
    pub epochs: usize,
    /// How the cell is chosen in the end.
    pub evaluation: CellsConfig,
}

impl Default for RspsConfig {
    fn default() -> Self {
        Self { epochs: 250, evaluation: CellsConfig::default() }
    }
}

/// Every batch trains one cell drawn at random; in the end the best of some cells drawn at random is taken.
#[derive(Debug)]
pub struct Rsps {
    epochs: usize,
    paths: Paths,
    best: BestCell,
}

impl OneShot for Rsps {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.epochs)])
    }

    fn valid_batch(&self) -> Option<(&'static str, usize)> {
        Some(("evaluation.images", self.best.images()))
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let cell = self.paths.uniform(cx.mask(), &mut cx.step_rng());
        cx.omega_step(&path(&cell, cx.mask()))
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        if at.ends_phase() {
            let mut rng = BestCell::rng(cx);
            let cells: Vec<_> = (0..self.best.count()).map(|_| self.paths.uniform(cx.mask(), &mut rng)).collect();
            self.best.choose(&cells, at, cx)?;
        }
        Ok(Flow::Go)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        self.best.derive(cx)
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        equal_shares(mask)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        None
    }

    fn state(&self) -> Value {
        self.best.state()
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.best.restore(state)
    }
}

impl Strategy for Rsps {
    type Config = RspsConfig;

    const ABOUT: &'static str =
        "random search with parameter sharing: every batch trains a random cell, the best of 100 is taken";

    const SOURCE: &'static str =
        "Li, Talwalkar: Random Search and Reproducibility for Neural Architecture Search, arXiv 1902.07638";

    const SHORT: &'static [&'static str] = &["epochs=4", "evaluation.cells=12", "evaluation.images=64"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "nas-bench-201",
        source: "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos: RANDOM-NAS.py, RANDOM.config",
        settings: &["training.nesterov = true", "training.weight_decay = 5e-4", "strategy.rsps.epochs = 250"],
    }];

    fn check(config: &mut RspsConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        config.evaluation.check()
    }

    fn new(config: &RspsConfig, candidates: &Candidates, _rng: &mut ChaCha8Rng) -> Self {
        let best = BestCell::new(&config.evaluation);
        Self { epochs: config.epochs, paths: Paths::new(candidates.space()), best }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn the_supernet_is_judged_with_equal_shares() {
        let candidates = Candidates::all(&NasBench201);
        let method = Rsps::new(&RspsConfig::default(), &candidates, &mut ChaCha8Rng::seed_from_u64(1));
        let mut mask = candidates.offered().clone();
        mask.row_mut(1).copy_from_slice(&[false, true, true, false, false]);
        let w = method.weights(&mask);
        assert_eq!((w.row(0), w.row(1)), (&[0.2; 5][..], &[0.0, 0.5, 0.5, 0.0, 0.0][..]));
    }
}
