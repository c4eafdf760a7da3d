//! ENAS (Pham, Guan, Zoph, Le, Dean, 2018, arXiv 1802.03268), as in NAS-Bench-201's code.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    numbers::Number,
    run::{At, Fields, Flow, Schedule, Sweep},
    search::{
        Candidates, Context, OneShot, Published, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, BestCell, CellsConfig, Controller, ControllerConfig, Drawn, checks, equal_shares, path},
    },
    space::Genotype,
    supernet::{Mask, Mixing, PerOp},
};

/// Settings of ENAS, `[strategy.enas]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 250 | >= 1 | all epochs; NAS-Bench-201's code |
/// | `controller_steps` | 50 | >= 1 | steps of the controller after each epoch; NAS-Bench-201's code |
/// | `cells_per_step` | 20 | >= 1 | cells that a step is the mean of; NAS-Bench-201's code |
/// | `entropy_weight` | 1e-4 | >= 0 | factor of the entropy of a cell's decisions, in nats, in its reward; NAS-Bench-201's code |
/// | `baseline_decay` | 0.99 | [0, 1) | share of the old baseline that a reward leaves; NAS-Bench-201's code |
/// | `temperature` | 5.0 | > 0 | what the controller's logits are divided by; NAS-Bench-201's code |
/// | `tanh_constant` | 2.5 | > 0 | bound on its logits after that; NAS-Bench-201's code |
/// | `clip_norm` | 5.0 | > 0 | largest norm of its gradient; NAS-Bench-201's code |
/// | `controller_learning_rate` | 1e-3 | > 0 | of Adam; NAS-Bench-201's code |
/// | `controller_betas` | [0.0, 0.999] | [0, 1) each | of Adam; NAS-Bench-201's code |
/// | `controller_epsilon` | 1e-3 | > 0 | of Adam; NAS-Bench-201's code |
/// | `evaluation` | | | table, see [`CellsConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EnasConfig {
    /// All epochs.
    pub epochs: usize,
    /// Steps of the controller after each epoch.
    pub controller_steps: usize,
    /// Cells that a step is the mean of.
    pub cells_per_step: usize,
    /// Factor of the entropy in a reward.
    pub entropy_weight: f64,
    /// Share of the old baseline that a reward leaves.
    pub baseline_decay: f64,
    /// What logits are divided by.
    pub temperature: f64,
    /// Bound on the logits.
    pub tanh_constant: f64,
    /// Largest gradient norm of the controller.
    pub clip_norm: f64,
    /// Step size of the controller's optimiser.
    pub controller_learning_rate: f64,
    /// Decay of its running means.
    pub controller_betas: [f64; 2],
    /// Added to the root of its second moment.
    pub controller_epsilon: f64,
    /// How the cell is chosen in the end.
    pub evaluation: CellsConfig,
}

impl Default for EnasConfig {
    fn default() -> Self {
        Self {
            epochs: 250,
            controller_steps: 50,
            cells_per_step: 20,
            entropy_weight: 1e-4,
            baseline_decay: 0.99,
            temperature: 5.0,
            tanh_constant: 2.5,
            clip_norm: 5.0,
            controller_learning_rate: 1e-3,
            controller_betas: [0.0, 0.999],
            controller_epsilon: 1e-3,
            evaluation: CellsConfig::default(),
        }
    }
}

impl EnasConfig {
    fn controller(&self) -> ControllerConfig {
        ControllerConfig {
            temperature: self.temperature,
            tanh_constant: self.tanh_constant,
            baseline_decay: self.baseline_decay,
            clip_norm: self.clip_norm,
            adam: AdamConfig {
                learning_rate: self.controller_learning_rate,
                betas: self.controller_betas,
                weight_decay: 0.0,
                epsilon: self.controller_epsilon,
            },
        }
    }
}

/// Omega is trained by cells that a controller draws, the controller by the accuracy that its cells have with these weights; of
/// cells that it draws in the end the best is taken.
#[derive(Debug)]
pub struct Enas {
    config: EnasConfig,
    controller: Controller,
    best: BestCell,
}

/// The controller was trained; means over the cells that it drew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ControllerTrained {
    /// Epoch, counted from 1.
    epoch: usize,
    /// Name of the phase.
    phase: String,
    /// Cells that were drawn.
    cells: usize,
    /// Their top-1 accuracy on a batch of `D_val`, in percent.
    accuracy: Number,
    /// Entropy of the decisions for a cell, in nats.
    entropy: Number,
    /// Running mean of the rewards after the last step: accuracy, from 0 to 1, and weighted entropy.
    baseline: Number,
}

impl Fields for ControllerTrained {
    const KIND: &'static str = "controller";
}

/// Accuracies, 0 to 1, of cells on one batch.
fn accuracies(cells: &[Drawn], cx: &mut Context<'_>) -> Result<Vec<f64>, SearchError> {
    let batch = cx.valid_sample(cx.batch_size())?;
    let paths: Vec<Mixing> = cells.iter().map(|drawn| path(&drawn.cell, cx.mask())).collect();
    let what = "rewards of cells".to_owned();
    let sweep = Sweep { what, count: cells.len(), sums: cells.len(), activity: "controller" };
    cx.sweep(&sweep, |supernet, i, sums| {
        sums[i] = supernet.evaluate_mixing(batch.as_batch(), &paths[i])?.correct as f64 / batch.len() as f64;
        Ok(())
    })
}

impl Enas {
    /// Steps of the controller on cells that it draws; what came of them.
    fn teach(
        &self,
        controller: &mut Controller,
        rng: &mut ChaCha8Rng,
        at: &At,
        cx: &mut Context<'_>,
    ) -> Result<ControllerTrained, SearchError> {
        let EnasConfig { controller_steps, cells_per_step, entropy_weight, .. } = self.config;
        let (mut accuracy, mut entropy) = (0.0, 0.0);
        for _ in 0..controller_steps {
            let cells: Vec<Drawn> = (0..cells_per_step).map(|_| controller.draw(cx.mask(), rng)).collect();
            let measured = accuracies(&cells, cx)?;
            accuracy += measured.iter().sum::<f64>();
            entropy += cells.iter().map(|drawn| drawn.entropy).sum::<f64>();
            let reward = |(drawn, accuracy): (Drawn, f64)| {
                let reward = accuracy + entropy_weight * drawn.entropy;
                (drawn, reward)
            };
            controller.learn(&cells.into_iter().zip(measured).map(reward).collect::<Vec<_>>());
        }
        let cells = controller_steps * cells_per_step;
        Ok(ControllerTrained {
            epoch: at.epoch + 1,
            phase: at.name.clone(),
            cells,
            accuracy: Number(100.0 * accuracy / cells as f64),
            entropy: Number(entropy / cells as f64),
            baseline: Number(controller.baseline().unwrap_or_default()),
        })
    }
}

impl OneShot for Enas {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.config.epochs)])
    }

    fn valid_batch(&self) -> Option<(&'static str, usize)> {
        Some(("evaluation.images", self.best.images()))
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let drawn = self.controller.draw(cx.mask(), &mut cx.step_rng());
        cx.omega_step(&path(&drawn.cell, cx.mask()))
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        let mut rng = BestCell::rng(cx);
        // An interruption in a later step leaves the controller as it was.
        let mut controller = self.controller.clone();
        let trained = self.teach(&mut controller, &mut rng, at, cx)?;
        if at.ends_phase() {
            let cells: Vec<_> = (0..self.best.count()).map(|_| controller.draw(cx.mask(), &mut rng).cell).collect();
            self.best.choose(&cells, at, cx)?;
        }
        self.controller = controller;
        cx.record(&trained)?;
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
        json!({ "controller": self.controller.state(), "best": self.best.state() })
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.controller.restore(&state["controller"])?;
        self.best.restore(&state["best"])
    }
}

impl Strategy for Enas {
    type Config = EnasConfig;

    const ABOUT: &'static str =
        "every batch trains a cell that a controller draws, which learns from the accuracy of its cells";

    const SOURCE: &'static str =
        "Pham, Guan, Zoph, Le, Dean: Efficient Neural Architecture Search via Parameter Sharing, arXiv 1802.03268";

    const SHORT: &'static [&'static str] =
        &["epochs=4", "controller_steps=2", "cells_per_step=3", "evaluation.cells=6", "evaluation.images=64"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "nas-bench-201",
        source: "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos: ENAS.py, ENAS.config",
        settings: &[
            "training.batch_size = 128",
            "training.learning_rate = 0.05",
            "training.learning_rate_min = 0.0005",
            "training.nesterov = true",
            "training.weight_decay = 2.5e-4",
            "strategy.enas.epochs = 250",
        ],
    }];

    fn check(config: &mut EnasConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::at_least("controller_steps", config.controller_steps as f64, 1.0)?;
        checks::at_least("cells_per_step", config.cells_per_step as f64, 1.0)?;
        checks::at_least("entropy_weight", config.entropy_weight, 0.0)?;
        for (name, value) in [
            ("temperature", config.temperature),
            ("tanh_constant", config.tanh_constant),
            ("clip_norm", config.clip_norm),
        ] {
            checks::positive(name, value)?;
        }
        if !(0.0..1.0).contains(&config.baseline_decay) {
            let why = format!("baseline_decay = {}, expected at least 0 and less than 1", config.baseline_decay);
            return Err(Unsuitable::new(why, "omit it to use the default"));
        }
        if let Some(fault) = config.controller().adam.fault() {
            return Err(Unsuitable::new(format!("controller_{fault}"), "omit it to use the default"));
        }
        config.evaluation.check()
    }

    fn new(config: &EnasConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let controller = Controller::new(config.controller(), candidates, rng);
        Self { config: config.clone(), controller, best: BestCell::new(&config.evaluation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn settings_of_the_controller_out_of_range_are_named() {
        let why =
            |config: EnasConfig| Enas::check(&mut config.clone(), &Candidates::all(&NasBench201)).unwrap_err().why;
        let usual = EnasConfig::default;
        assert_eq!(why(EnasConfig { temperature: 0.0, ..usual() }), "temperature = 0, expected more than 0");
        assert_eq!(
            why(EnasConfig { baseline_decay: 1.0, ..usual() }),
            "baseline_decay = 1, expected at least 0 and less than 1"
        );
        assert_eq!(
            why(EnasConfig { controller_learning_rate: 0.0, ..usual() }),
            "controller_learning_rate = 0, expected > 0"
        );
        assert_eq!(why(EnasConfig { controller_steps: 0, ..usual() }), "controller_steps = 0, expected at least 1");
    }
}
