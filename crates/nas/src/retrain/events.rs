//! What a training records; see `docs/events.md` for every field.

use serde::{Deserialize, Serialize};

use crate::{
    numbers::Number,
    run::{Fields, Phase},
};

/// What a network does on images that it is not trained on, with running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean cross-entropy, in nats.
    pub loss: Number,
    /// Top-1, in percent.
    pub accuracy: Number,
    /// Images.
    pub images: usize,
}

/// What is trained, with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainStart {
    /// [`EVENTS_VERSION`](crate::run::EVENTS_VERSION)
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Name of the recipe; single settings may be others than its own.
    pub recipe: String,
    /// Name of the space.
    pub space: String,
    /// The architecture in its notation.
    pub arch: String,
    /// Name of the data set.
    pub dataset: String,
    /// Number of classes.
    pub classes: usize,
    /// Images that train.
    pub train_images: usize,
    /// Images that validate; 0 where all train.
    pub valid_images: usize,
    /// Test images.
    pub test_images: usize,
    /// Seed.
    pub seed: u64,
    /// Phases and epochs: there is one phase.
    pub phases: Vec<Phase>,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Trainable parameters without the auxiliary head.
    pub parameters: u64,
    /// Multiply-adds of an image.
    pub multiply_adds: u64,
}

/// What an epoch has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainEpoch {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Probability of drop-path.
    pub drop_path: f64,
    /// Mean over the training images, with augmentation and the auxiliary head's part, while the network was being trained.
    pub train_loss: Number,
    /// Of the same, in percent.
    pub train_accuracy: Number,
    /// Mean over the steps of the gradient norm, before clipping.
    pub gradient_norm: Number,
    /// With running statistics; `None` where all images train.
    pub valid: Option<Measured>,
    /// Likewise, where it was measured.
    pub test: Option<Measured>,
}

macro_rules! kinds {
    ($($fields:ident = $kind:literal;)+) => {
        $(impl Fields for $fields {
            const KIND: &'static str = $kind;
        })+
    };
}

kinds! {
    RetrainStart = "retrain_start";
    TrainEpoch = "train_epoch";
}
