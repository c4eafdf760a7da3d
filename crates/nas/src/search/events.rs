use serde::{Deserialize, Serialize};

use super::{At, Phase, numbers::Number};
use crate::{
    space::Genotype,
    strategies::parts::{ImportanceTable, Sweep},
    supernet::PerOp,
};

/// Version of the format of `events.jsonl`.
pub const EVENTS_VERSION: u32 = 1;

/// A line of `events.jsonl`. Nothing in it depends on the machine's speed or the time of day, so that the file of a
/// resumed search equals that of one that was never stopped; see `docs/events.md` for every field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// First line.
    RunStart(Box<RunStart>),
    /// A sweep over the operations.
    Importance {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Name of the phase.
        phase: String,
        /// What it was for.
        sweep: Sweep,
        /// What came out.
        #[serde(flatten)]
        table: ImportanceTable,
    },
    /// Alpha was decayed.
    SoftPrune {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Name of the phase.
        phase: String,
        /// Factor on alpha (Eq. 7).
        factor: f64,
        /// Decayed operations of each edge, least important first.
        decayed: Vec<Vec<String>>,
    },
    /// Operations were removed.
    HardPrune {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Name of the phase.
        phase: String,
        /// Removed operations of each edge, least important first.
        removed: Vec<Vec<String>>,
        /// Operations left on each edge.
        left: Vec<Vec<String>>,
    },
    /// An epoch has ended.
    Epoch(Box<EpochEnd>),
    /// The architecture was chosen.
    Derive {
        /// The architecture.
        genotype: Genotype,
        /// In the notation of the space's paper.
        arch: String,
        /// Index in the space's tabular benchmark.
        index: Option<usize>,
    },
    /// The search was stopped by an error; a resumed search takes this line away again.
    Failed {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1; 0 outside of steps.
        step: usize,
        /// What.
        message: String,
    },
    /// Last line of a finished search.
    End {
        /// Epochs.
        epochs: usize,
        /// Steps of omega.
        steps: usize,
    },
}

/// What is searched, with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// [`EVENTS_VERSION`]
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Name of the strategy.
    pub strategy: String,
    /// Name of the space.
    pub space: String,
    /// Name of the data set.
    pub dataset: String,
    /// Number of classes.
    pub classes: usize,
    /// Images of `D_train`.
    pub train_images: usize,
    /// Images of `D_val`.
    pub valid_images: usize,
    /// Seed.
    pub seed: u64,
    /// Edges as `to<-from`, in the order of the rows of alpha.
    pub edges: Vec<String>,
    /// Operations in the order of the columns of alpha.
    pub ops: Vec<String>,
    /// Phases and epochs.
    pub phases: Vec<Phase>,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Trainable parameters of the supernet.
    pub parameters: usize,
}

/// What an epoch has come to. Accuracies are top-1 in percent, losses mean cross-entropies in nats, all of the supernet
/// while it was being trained, with the augmentation of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochEnd {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Learning rate of omega.
    pub learning_rate: f64,
    /// Mean over the batches of `D_train`.
    pub supernet_train_loss: Number,
    /// On the batches of `D_train`.
    pub supernet_train_accuracy: Number,
    /// On the batches of `D_val` that trained alpha; `None` if none did.
    pub supernet_valid_loss: Option<Number>,
    /// On the batches of `D_val` that trained alpha; `None` if none did.
    pub supernet_valid_accuracy: Option<Number>,
    /// Mean over the steps of the gradient norm of omega, before clipping.
    pub gradient_norm: Number,
    /// Architecture parameters, `[E, O]`.
    pub alpha: PerOp<f64>,
    /// Mixing weights, `[E, O]`.
    pub weights: PerOp<f64>,
    /// Trainable parameters of what is alive.
    pub parameters: usize,
}

impl Event {
    /// [`Event::Importance`] of an epoch.
    pub fn importance(at: &At, sweep: Sweep, table: ImportanceTable) -> Self {
        Self::Importance { epoch: at.epoch + 1, phase: at.name.clone(), sweep, table }
    }

    /// [`Event::SoftPrune`] of an epoch.
    pub fn soft_prune(at: &At, factor: f64, decayed: Vec<Vec<String>>) -> Self {
        Self::SoftPrune { epoch: at.epoch + 1, phase: at.name.clone(), factor, decayed }
    }

    /// [`Event::HardPrune`] of an epoch.
    pub fn hard_prune(at: &At, removed: Vec<Vec<String>>, left: Vec<Vec<String>>) -> Self {
        Self::HardPrune { epoch: at.epoch + 1, phase: at.name.clone(), removed, left }
    }
}
