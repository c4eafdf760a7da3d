use engine::{NetworkSpec, Sgd, StepOutput};
use serde::{Deserialize, Serialize};

use super::error::SearchError;
use crate::{
    data::{Augmentation, BatchBuf, Loader, LoaderOptions, Source},
    learning_rate::Cosine,
    run::At,
    space::SearchSpace,
    supernet::{Mixing, Supernet},
};

/// Loaders of one seed are told apart by these.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    /// Batches of `D_train`.
    Train = 0,
    /// Batches of `D_val` that train alpha.
    Valid = 1,
    /// Batches of `D_val` that sweeps use.
    Sweep = 2,
}

/// How the batches of a stream are made.
pub(super) fn loader(batch: usize, augmentation: Augmentation, seed: u64, stream: Stream) -> LoaderOptions {
    LoaderOptions::training(batch, augmentation, seed, stream as u64)
}

/// Sums over the steps of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochSums {
    pub(super) train_loss: f64,
    pub(super) train_correct: usize,
    pub(super) train_images: usize,
    pub(super) valid_loss: f64,
    pub(super) valid_correct: usize,
    pub(super) valid_images: usize,
    pub(super) gradient_norm: f64,
    pub(super) steps: usize,
}

/// Learning rate of omega.
#[derive(Clone, Copy, Debug)]
pub(super) enum LearningRate {
    /// One cosine over all epochs.
    Whole(Cosine),
    /// One over the epochs of the phase.
    OfPhase(Cosine),
}

impl LearningRate {
    pub(super) fn at(self, at: &At) -> f64 {
        match self {
            Self::Whole(cosine) => cosine.at(at.epoch),
            Self::OfPhase(cosine) => cosine.at(at.within),
        }
    }
}

/// The supernet and the data, and the training of the one with the other.
pub(super) struct Trainer {
    pub(super) space: &'static dyn SearchSpace,
    pub(super) seed: u64,
    pub(super) train: Source,
    pub(super) valid: Source,
    pub(super) augmentation: Augmentation,
    pub(super) sgd: Sgd,
    pub(super) batch: usize,
    pub(super) learning_rate: LearningRate,
    pub(super) supernet: Supernet,
    pub(super) sums: EpochSums,
    /// Batches of `D_val` that alpha has been trained on since the start of the search.
    pub(super) valid_batches: u64,
    pub(super) train_loader: Option<Loader>,
    /// A batch of `D_train` that has been looked at and that the next step of omega takes.
    pub(super) train_ahead: Option<BatchBuf>,
    pub(super) valid_loader: Option<Loader>,
}

impl Trainer {
    pub(super) fn loader(&self, stream: Stream) -> LoaderOptions {
        loader(self.batch, self.augmentation, self.seed, stream)
    }

    pub(super) fn spec(&self) -> &NetworkSpec {
        self.supernet.spec()
    }

    /// One step of omega on the next batch of `D_train`; the output, the gradient's norm and the images of the batch.
    pub(super) fn omega_step(
        &mut self,
        mixing: &Mixing,
        with_mixing: bool,
        at: &At,
    ) -> Result<(StepOutput, f64, usize), SearchError> {
        let batch = self.next_train(at.epoch)?;
        let lr = self.learning_rate.at(at) as f32;
        let (output, norm) = self.supernet.omega_step(batch.as_batch(), mixing, with_mixing, &self.sgd, lr)?;
        Ok((output, norm, batch.len()))
    }

    /// The gradient of the mixing weights on the next batch of `D_val`, and the images of the batch.
    pub(super) fn mixing_gradient(&mut self, mixing: &Mixing) -> Result<(StepOutput, usize), SearchError> {
        let batch = self.next_valid()?;
        Ok((self.supernet.mixing_gradient(batch.as_batch(), mixing)?, batch.len()))
    }

    /// The gradient of the mixing weights on the next batch of `D_val`, through a virtual step of omega on the next batch of
    /// `D_train`, which remains the next one; and the images of the former.
    pub(super) fn unrolled_gradient(&mut self, mixing: &Mixing, at: &At) -> Result<(StepOutput, usize), SearchError> {
        let train = self.next_train(at.epoch)?;
        let valid = self.next_valid()?;
        let lr = self.learning_rate.at(at) as f32;
        let (first, second) = (train.as_batch(), valid.as_batch());
        let output = self.supernet.unrolled_gradient(first, second, mixing, &self.sgd, lr)?;
        self.train_ahead = Some(train);
        Ok((output, valid.len()))
    }

    /// The gradient of the mixing weights on the next batch of `D_train`, which remains the next one.
    pub(super) fn gradient_ahead(&mut self, mixing: &Mixing, at: &At) -> Result<StepOutput, SearchError> {
        let batch = self.next_train(at.epoch)?;
        let output = self.supernet.mixing_gradient(batch.as_batch(), mixing)?;
        self.train_ahead = Some(batch);
        Ok(output)
    }

    fn next_train(&mut self, epoch: usize) -> Result<BatchBuf, SearchError> {
        if let Some(batch) = self.train_ahead.take() {
            return Ok(batch);
        }
        let options = self.loader(Stream::Train);
        let loader = match &mut self.train_loader {
            Some(loader) => loader,
            none => none.insert(Loader::epoch(&self.train, &options, epoch as u64, self.sums.steps)?),
        };
        Ok(loader.next().ok_or(SearchError::DataEnded)??)
    }

    fn next_valid(&mut self) -> Result<BatchBuf, SearchError> {
        let options = self.loader(Stream::Valid);
        let loader = match &mut self.valid_loader {
            Some(loader) => loader,
            none => none.insert(Loader::cycle(&self.valid, &options, self.valid_batches)?),
        };
        let batch = loader.next().ok_or(SearchError::DataEnded)??;
        self.valid_batches += 1;
        Ok(batch)
    }

    /// After the last step of an epoch.
    pub(super) fn close_epoch(&mut self) {
        self.train_loader = None;
        self.train_ahead = None;
        self.sums = EpochSums::default();
    }
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("space", &self.space.name()).field("seed", &self.seed).finish_non_exhaustive()
    }
}
