use std::time::Instant;

use engine::{NetworkSpec, StepOutput};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{
    error::SearchError,
    trainer::{Stream, Trainer},
};
use crate::{
    data::{Augmentation, BatchBuf, Loader, LoaderOptions, Order, Source},
    random::{self, Purpose},
    run::{At, Fields, Moment, Session, Sweep},
    space::SearchSpace,
    supernet::{Mask, Mixing, MixingGradient, OpAt, Supernet},
};

/// What a strategy sees of a search: space, mask, steps on batches, sweeps over operations, the record.
#[derive(Debug)]
pub struct Context<'a> {
    trainer: &'a mut Trainer,
    session: &'a mut Session,
    at: &'a At,
}

impl<'a> Context<'a> {
    pub(super) fn new(trainer: &'a mut Trainer, session: &'a mut Session, at: &'a At) -> Self {
        Self { trainer, session, at }
    }

    /// The search space.
    pub fn space(&self) -> &'static dyn SearchSpace {
        self.trainer.space
    }

    /// Operations that are alive, `[E, O]`.
    pub fn mask(&self) -> &Mask {
        self.trainer.supernet.mask()
    }

    /// The supernet's network, with the operations that are alive.
    pub fn spec(&self) -> &NetworkSpec {
        self.trainer.spec()
    }

    /// Images of a batch.
    pub fn batch_size(&self) -> usize {
        self.trainer.batch
    }

    /// Epoch, counted from 0.
    pub fn epoch_index(&self) -> u64 {
        self.session.position().epoch as u64
    }

    /// `D_val`
    pub fn valid_source(&self) -> Source {
        self.trainer.valid.clone()
    }

    /// How batches for a sweep are made: as those of training, with random numbers of their own.
    pub fn sweep_loader(&self) -> LoaderOptions {
        self.trainer.loader(Stream::Sweep)
    }

    /// A seed for the images of the next sweep of this epoch.
    pub fn sweep_seed(&self) -> u64 {
        let half = u64::from(self.session.position().moment == Moment::End) << 32;
        let place = half + self.session.sweeps_begun() as u64;
        random::generator(self.trainer.seed, Purpose::Sweep, self.epoch_index(), place).next_u64()
    }

    /// One batch of so many images of `D_val`, without augmentation; others in every sweep.
    ///
    /// # Errors
    /// What the loader refuses.
    pub fn valid_sample(&self, images: usize) -> Result<BatchBuf, SearchError> {
        let source = self.valid_source().subset(images, self.sweep_seed());
        let (order, augmentation) = (Order::Sequential, Augmentation::NONE);
        let options = LoaderOptions { batch: source.len(), order, augmentation, ..self.sweep_loader() };
        Ok(Loader::single(&source, &options, self.epoch_index(), 0)?)
    }

    /// A generator for what is drawn in the current step.
    pub fn step_rng(&self) -> ChaCha8Rng {
        let step = self.trainer.sums.steps as u64;
        random::generator(self.trainer.seed, Purpose::Step, self.epoch_index(), step)
    }

    /// Names of operations, edge by edge.
    pub fn op_names(&self, ops: &[OpAt]) -> Vec<Vec<String>> {
        let names = self.trainer.space.ops();
        let on = |edge| ops.iter().filter(move |(e, _)| *e == edge).map(|&(_, op)| names[op].to_string());
        (0..self.mask().edges()).map(|edge| on(edge).collect()).collect()
    }

    /// Names of the operations that are alive, edge by edge.
    pub fn ops_left(&self) -> Vec<Vec<String>> {
        self.op_names(&self.mask().alive().collect::<Vec<_>>())
    }

    /// Trains omega on the next batch of `D_train`.
    ///
    /// # Errors
    /// A loss or gradient that is not a number; what loader and engine refuse.
    pub fn omega_step(&mut self, mixing: &Mixing) -> Result<(), SearchError> {
        self.train_step(mixing, false).map(drop)
    }

    /// Trains omega on the next batch of `D_train` and returns the gradient of the mixing weights from the same pass.
    ///
    /// # Errors
    /// As [`Context::omega_step`].
    pub fn joint_step(&mut self, mixing: &Mixing) -> Result<MixingGradient, SearchError> {
        self.train_step(mixing, true)
    }

    /// The gradient of the mixing weights on the next batch of `D_val`. Omega stays what it is.
    ///
    /// # Errors
    /// As [`Context::omega_step`].
    pub fn mixing_gradient(&mut self, mixing: &Mixing) -> Result<MixingGradient, SearchError> {
        let began = Instant::now();
        let (output, images) = self.trainer.mixing_gradient(mixing)?;
        self.took_gradient(began, output, images)
    }

    /// The gradient of the mixing weights on the next batch of `D_val` after a virtual step of omega on the next batch of
    /// `D_train`, differentiated through that step; see [`Supernet::unrolled_gradient`]. The step of omega that follows is on the
    /// same batch of `D_train`.
    ///
    /// # Errors
    /// As [`Context::omega_step`].
    pub fn unrolled_gradient(&mut self, mixing: &Mixing) -> Result<MixingGradient, SearchError> {
        let began = Instant::now();
        let (output, images) = self.trainer.unrolled_gradient(mixing, self.at)?;
        self.took_gradient(began, output, images)
    }

    /// The gradient of the mixing weights on the batch of `D_train` that the step of omega that follows is on.
    ///
    /// # Errors
    /// As [`Context::omega_step`].
    pub fn gradient_ahead(&mut self, mixing: &Mixing) -> Result<MixingGradient, SearchError> {
        let began = Instant::now();
        let output = self.trainer.gradient_ahead(mixing, self.at)?;
        self.session.book("alpha", began);
        if !output.loss.is_finite() {
            return Err(self.not_finite("the training loss", output.loss));
        }
        Ok(output.into())
    }

    fn took_gradient(
        &mut self,
        began: Instant,
        output: StepOutput,
        images: usize,
    ) -> Result<MixingGradient, SearchError> {
        self.session.book("alpha", began);
        if !output.loss.is_finite() {
            return Err(self.not_finite("the validation loss", output.loss));
        }
        let sums = &mut self.trainer.sums;
        sums.valid_loss += output.loss * images as f64;
        sums.valid_correct += output.correct;
        sums.valid_images += images;
        Ok(output.into())
    }

    fn train_step(&mut self, mixing: &Mixing, joint: bool) -> Result<MixingGradient, SearchError> {
        let began = Instant::now();
        let (output, norm, images) = self.trainer.omega_step(mixing, joint, self.at)?;
        self.session.book("omega", began);
        for (what, value) in [("the training loss", output.loss), ("the gradient norm", norm)] {
            if !value.is_finite() {
                return Err(self.not_finite(what, value));
            }
        }
        let sums = &mut self.trainer.sums;
        sums.train_loss += output.loss * images as f64;
        sums.train_correct += output.correct;
        sums.train_images += images;
        sums.gradient_norm += norm;
        sums.steps += 1;
        self.session.stepped();
        Ok(output.into())
    }

    /// Removes operations in every cell for good.
    pub fn remove(&mut self, ops: &[OpAt]) {
        self.session.changed();
        ops.iter().for_each(|&at| self.trainer.supernet.remove(at));
    }

    /// Evaluations of the supernet one after the other, each adding to values that start at 0; see [`Session::sweep`].
    ///
    /// # Errors
    /// Those of `evaluate`; an interruption; a checkpoint that cannot be written.
    pub fn sweep(
        &mut self,
        sweep: &Sweep,
        evaluate: impl FnMut(&mut Supernet, usize, &mut [f64]) -> Result<(), SearchError>,
    ) -> Result<Vec<f64>, SearchError> {
        self.session.sweep(sweep, &mut self.trainer.supernet, evaluate, |supernet| supernet.state())
    }

    /// Writes a line of `events.jsonl`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record<F: Fields>(&mut self, fields: &F) -> Result<(), SearchError> {
        Ok(self.session.record(fields)?)
    }

    /// The error of a quantity that has left the numbers, here and now.
    pub fn not_finite(&self, what: &str, value: f64) -> SearchError {
        self.session.not_finite(what, value).into()
    }
}
