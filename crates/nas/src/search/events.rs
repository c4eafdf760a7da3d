//! What a search records; see `docs/events.md` for every field.

use serde::{Deserialize, Serialize};

use crate::{
    numbers::Number,
    run::{Fields, Phase},
    space::Genotype,
    supernet::PerOp,
};

/// What is searched, with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// [`EVENTS_VERSION`](crate::run::EVENTS_VERSION)
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
    /// Operations of each edge where a search does not have all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered: Option<Vec<Vec<String>>>,
    /// Phases and epochs.
    pub phases: Vec<Phase>,
    /// Steps of an epoch of the first phase.
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
    /// Architecture parameters, `[E, O]`; `None` where a strategy has none of that shape.
    pub alpha: Option<PerOp<f64>>,
    /// Mixing weights, `[E, O]`.
    pub weights: PerOp<f64>,
    /// Trainable parameters of what is alive.
    pub parameters: usize,
}

/// The architecture was chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Derive {
    /// The architecture.
    pub genotype: Genotype,
    /// In the notation of the space's paper.
    pub arch: String,
    /// Index in the space's tabular benchmark.
    pub index: Option<usize>,
}

impl Fields for RunStart {
    const KIND: &'static str = "run_start";
}

impl Fields for EpochEnd {
    const KIND: &'static str = "epoch";
}

impl Fields for Derive {
    const KIND: &'static str = "derive";
}
