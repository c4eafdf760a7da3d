//! SETN (Dong, Yang, 2019, arXiv 1910.05733).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    run::{At, Flow, Schedule},
    search::{
        Candidates, Context, OneShot, Published, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, BestCell, CellsConfig, Mixture, Paths, Relaxation, checks, path},
    },
    space::Genotype,
    supernet::{Mask, OpAt, PerOp},
};

/// Settings of SETN, `[strategy.setn]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 250 | >= 1 | all epochs; NAS-Bench-201's code |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | NAS-Bench-201's code |
/// | `evaluation` | | | table, see [`CellsConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetnConfig {
    /// All epochs.
    pub epochs: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// How the cell is chosen in the end.
    pub evaluation: CellsConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for SetnConfig {
    fn default() -> Self {
        Self {
            epochs: 250,
            alpha_init: AlphaInit::Normal(1e-3),
            evaluation: CellsConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// Omega is trained by cells drawn uniformly, alpha by the mixture of all operations; of the most probable cells the best is taken.
#[derive(Debug)]
pub struct Setn {
    epochs: usize,
    paths: Paths,
    best: BestCell,
    alpha: Alpha,
}

impl OneShot for Setn {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.epochs)])
    }

    fn valid_batch(&self) -> Option<(&'static str, usize)> {
        Some(("evaluation.images", self.best.images()))
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let gradient = cx.mixing_gradient(&self.alpha.mixing(cx.mask(), None))?;
        self.alpha.descend(cx.mask(), None, &gradient);
        let cell = self.paths.uniform(cx.mask(), &mut cx.step_rng());
        cx.omega_step(&path(&cell, cx.mask()))
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        if at.ends_phase() {
            let shares = self.alpha.weights(cx.mask());
            let cells = self.paths.most_probable(cx.mask(), &shares, self.best.count());
            self.best.choose(&cells, at, cx)?;
        }
        Ok(Flow::Go)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        self.best.derive(cx)
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn weights_without(&self, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.alpha.weights_without(mask, out)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        Some(self.alpha.values().clone())
    }

    fn state(&self) -> Value {
        let mut state = self.alpha.state();
        state["best"] = self.best.state();
        state
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)?;
        self.best.restore(&state["best"])
    }
}

impl Strategy for Setn {
    type Config = SetnConfig;

    const ABOUT: &'static str =
        "random cells train the weights, their mixture alpha; the best of the 100 most probable is taken";

    const SOURCE: &'static str =
        "Dong, Yang: One-Shot Neural Architecture Search via Self-Evaluated Template Network, arXiv 1910.05733";

    const SHORT: &'static [&'static str] = &["epochs=4", "evaluation.cells=12", "evaluation.images=64"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "nas-bench-201",
        source: "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos: SETN.py, SETN.config",
        settings: &[
            "training.nesterov = true",
            "training.weight_decay = 5e-4",
            "training.clip_norm = \"none\"",
            "strategy.setn.epochs = 250",
        ],
    }];

    fn check(config: &mut SetnConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        config.evaluation.check()?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &SetnConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        Self {
            epochs: config.epochs,
            paths: Paths::new(candidates.space()),
            best: BestCell::new(&config.evaluation),
            alpha: Alpha::new(values, mixture, config.alpha_optimiser.clone()),
        }
    }
}
