use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use engine::NetworkSpec;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde_json::{Value, json};

use super::{
    Event, Notice, Observer, Plan, SearchError,
    checkpoint::{self, CHECKPOINT_VERSION, EpochSums, Moment, Position, State, SweepState},
    clock::{Activity, Clock},
    journal::Journal,
    numbers::Number,
    plan::Stream,
    random::{self, Purpose},
    run_folder::RunFolder,
};
use crate::{
    data::{BatchBuf, Loader, LoaderOptions, Source},
    space::SearchSpace,
    supernet::{Mask, OpAt, PerOp, Supernet},
};

/// What a strategy sees of a search: space, mask, steps on batches, sweeps over operations, the record.
pub struct Context {
    pub(super) plan: Plan,
    pub(super) supernet: Supernet,
    pub(super) folder: RunFolder,
    pub(super) events: Journal,
    pub(super) timing: Journal,
    pub(super) clock: Clock,
    pub(super) observer: Box<dyn Observer>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) position: Position,
    pub(super) sums: EpochSums,
    pub(super) valid_batches: u64,
    pub(super) sweeps: Vec<SweepState>,
    pub(super) last_save: Instant,
    train: Option<Loader>,
    valid: Option<Loader>,
    hook: Hook,
}

/// What a call of a strategy's `begin` or `end` started from: a checkpoint inside it holds this state.
#[derive(Debug, Default)]
struct Hook {
    strategy: Value,
    events_bytes: u64,
    /// Sweeps begun in this call.
    sweeps: usize,
    /// Whether something has been changed that calling it again would change twice.
    changed: bool,
}

/// What a [`Context`] goes on from.
pub(super) struct Start {
    pub(super) position: Position,
    pub(super) sums: EpochSums,
    pub(super) valid_batches: u64,
    pub(super) sweeps: Vec<SweepState>,
    pub(super) clock: Clock,
}

impl Context {
    pub(super) fn new(
        plan: Plan,
        supernet: Supernet,
        folder: RunFolder,
        journals: (Journal, Journal),
        observer: Box<dyn Observer>,
        stop: Arc<AtomicBool>,
        start: Start,
    ) -> Self {
        let Start { position, sums, valid_batches, sweeps, clock } = start;
        let (events, timing) = journals;
        Self {
            plan,
            supernet,
            folder,
            events,
            timing,
            clock,
            observer,
            stop,
            position,
            sums,
            valid_batches,
            sweeps,
            last_save: Instant::now(),
            train: None,
            valid: None,
            hook: Hook::default(),
        }
    }

    /// The search space.
    pub fn space(&self) -> &'static dyn SearchSpace {
        self.plan.space
    }

    /// Operations that are alive, `[E, O]`.
    pub fn mask(&self) -> &Mask {
        self.supernet.mask()
    }

    /// The supernet's network, with the operations that are alive.
    pub fn spec(&self) -> &NetworkSpec {
        self.supernet.spec()
    }

    /// Images of a batch.
    pub fn batch_size(&self) -> usize {
        self.plan.config.training.batch_size
    }

    /// Epoch, counted from 0.
    pub fn epoch_index(&self) -> u64 {
        self.position.epoch as u64
    }

    /// `D_val`
    pub fn valid_source(&self) -> Source {
        self.plan.valid.clone()
    }

    /// How batches for a sweep are made: as those of training, with random numbers of their own.
    pub fn sweep_loader(&self) -> LoaderOptions {
        self.plan.loader(Stream::Sweep)
    }

    /// A seed for the images of the next sweep of this epoch.
    pub fn sweep_seed(&self) -> u64 {
        let half = u64::from(self.position.moment == Moment::End) << 32;
        let place = half + self.hook.sweeps as u64;
        random::generator(self.plan.config.seed, Purpose::Sweep, self.position.epoch, place).next_u64()
    }

    /// A generator for what is drawn in the current step.
    pub fn step_rng(&self) -> ChaCha8Rng {
        random::generator(self.plan.config.seed, Purpose::Step, self.position.epoch, self.sums.steps as u64)
    }

    /// Names of operations, edge by edge.
    pub fn op_names(&self, ops: &[OpAt]) -> Vec<Vec<String>> {
        let names = self.plan.space.ops();
        let on = |edge| ops.iter().filter(move |(e, _)| *e == edge).map(|&(_, op)| names[op].to_string());
        (0..self.mask().edges()).map(|edge| on(edge).collect()).collect()
    }

    /// Names of the operations that are alive, edge by edge.
    pub fn ops_left(&self) -> Vec<Vec<String>> {
        self.op_names(&self.mask().alive().collect::<Vec<_>>())
    }

    /// Trains omega on the next batch of `D_train` with mixing weights `w: [E, O]`.
    ///
    /// # Errors
    /// [`SearchError::NotFinite`]; what loader and engine refuse.
    pub fn omega_step(&mut self, w: &PerOp<f32>) -> Result<(), SearchError> {
        self.train_step(w, false).map(drop)
    }

    /// Trains omega on the next batch of `D_train` and returns `dL/dw: [E, O]` of the same pass.
    ///
    /// # Errors
    /// As [`Context::omega_step`].
    pub fn joint_step(&mut self, w: &PerOp<f32>) -> Result<Vec<f64>, SearchError> {
        self.train_step(w, true)
    }

    /// `dL/dw: [E, O]` on the next batch of `D_val`. Omega stays what it is.
    ///
    /// # Errors
    /// As [`Context::omega_step`].
    pub fn mixing_gradient(&mut self, w: &PerOp<f32>) -> Result<Vec<f64>, SearchError> {
        let began = Instant::now();
        let batch = self.next_valid()?;
        let output = self.supernet.mixing_gradient(batch.as_batch(), w)?;
        self.clock.book(Activity::Alpha, began);
        if !output.loss.is_finite() {
            return Err(self.not_finite("the validation loss", output.loss));
        }
        self.sums.valid_loss += output.loss * batch.len() as f64;
        self.sums.valid_correct += output.correct;
        self.sums.valid_images += batch.len();
        Ok(output.mixing_grad)
    }

    fn train_step(&mut self, w: &PerOp<f32>, joint: bool) -> Result<Vec<f64>, SearchError> {
        let began = Instant::now();
        let batch = self.next_train()?;
        let lr = self.plan.learning_rate.at(self.position.epoch) as f32;
        let (output, norm) = self.supernet.omega_step(batch.as_batch(), w, joint, &self.plan.sgd(), lr)?;
        self.clock.book(Activity::Omega, began);
        for (what, value) in [("the training loss", output.loss), ("the gradient norm", norm)] {
            if !value.is_finite() {
                return Err(self.not_finite(what, value));
            }
        }
        self.sums.train_loss += output.loss * batch.len() as f64;
        self.sums.train_correct += output.correct;
        self.sums.train_images += batch.len();
        self.sums.gradient_norm += norm;
        self.sums.steps += 1;
        Ok(output.mixing_grad)
    }

    fn next_train(&mut self) -> Result<BatchBuf, SearchError> {
        let loader = match &mut self.train {
            Some(loader) => loader,
            none => {
                let options = self.plan.loader(Stream::Train);
                none.insert(Loader::epoch(&self.plan.train, &options, self.position.epoch as u64, self.sums.steps)?)
            }
        };
        loader.next().ok_or(SearchError::DataEnded)
    }

    fn next_valid(&mut self) -> Result<BatchBuf, SearchError> {
        let loader = match &mut self.valid {
            Some(loader) => loader,
            none => {
                let options = self.plan.loader(Stream::Valid);
                none.insert(Loader::cycle(&self.plan.valid, &options, self.valid_batches)?)
            }
        };
        let batch = loader.next().ok_or(SearchError::DataEnded)?;
        self.valid_batches += 1;
        Ok(batch)
    }

    /// Removes operations in every cell for good.
    pub fn remove(&mut self, ops: &[OpAt]) {
        self.hook.changed = true;
        ops.iter().for_each(|&at| self.supernet.remove(at));
    }

    /// `count` evaluations of the supernet one after the other, each adding to `sums` values that start at 0. Between two
    /// of them the sweep may be interrupted, and it goes on there when the strategy is called again after a resume;
    /// so `evaluate(supernet, i, sums)` may begin with any `i`.
    ///
    /// # Errors
    /// Those of `evaluate`; [`SearchError::Interrupted`]; [`SearchError::Write`].
    pub fn sweep(
        &mut self,
        what: String,
        count: usize,
        sums: usize,
        mut evaluate: impl FnMut(&mut Supernet, usize, &mut [f64]) -> Result<(), SearchError>,
    ) -> Result<Vec<f64>, SearchError> {
        let index = self.hook.sweeps;
        self.hook.sweeps += 1;
        if self.sweeps.len() <= index {
            self.sweeps.push(SweepState { done: 0, sums: vec![Number(0.0); sums] });
        }
        let mut done = self.sweeps[index].done;
        let mut values: Vec<f64> = self.sweeps[index].sums.iter().map(|n| n.0).collect();
        values.resize(sums, 0.0);
        while done < count {
            let began = Instant::now();
            evaluate(&mut self.supernet, done, &mut values)?;
            self.clock.book(Activity::Importance, began);
            done += 1;
            self.observer.notice(Notice::Sweep { what: &what, done, of: count });
            if (self.stopped() || self.due()) && !self.hook.changed {
                self.sweeps[index] = SweepState { done, sums: values.iter().copied().map(Number).collect() };
                let (strategy, events) = (self.hook.strategy.clone(), self.hook.events_bytes);
                self.save(strategy, events)?;
                if self.stopped() {
                    return Err(SearchError::Interrupted);
                }
            }
        }
        self.sweeps[index] = SweepState { done, sums: values.iter().copied().map(Number).collect() };
        Ok(values)
    }

    /// Writes a line of `events.jsonl`.
    ///
    /// # Errors
    /// [`SearchError::Write`].
    pub fn record(&mut self, event: Event) -> Result<(), SearchError> {
        self.events.append(&event).map_err(SearchError::write(self.events.path()))?;
        self.observer.notice(Notice::Event(&event));
        Ok(())
    }

    /// The error of a quantity that has left the numbers, here and now.
    pub fn not_finite(&self, what: &str, value: f64) -> SearchError {
        let step = if matches!(self.position.moment, Moment::Step(_)) { self.sums.steps + 1 } else { 0 };
        SearchError::NotFinite { what: what.to_owned(), value, epoch: self.position.epoch + 1, step }
    }

    /// Before a call of the strategy's `begin` or `end`.
    pub(super) fn open_hook(&mut self, strategy: Value) {
        self.hook = Hook { strategy, events_bytes: self.events.bytes(), sweeps: 0, changed: false };
    }

    /// Goes on as if `count` sweeps had been made in this call: the next one draws other images.
    pub(super) fn skip_sweeps(&mut self, count: usize) {
        self.hook.sweeps = count;
        self.sweeps.resize(count, SweepState::default());
    }

    /// After it: its sweeps are no longer needed.
    pub(super) fn close_hook(&mut self) {
        self.sweeps.clear();
    }

    /// After the last step of an epoch.
    pub(super) fn close_epoch(&mut self) {
        self.train = None;
        self.sums = EpochSums::default();
        self.position = Position { epoch: self.position.epoch + 1, moment: Moment::Begin };
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether a checkpoint inside the epoch is due.
    pub(super) fn due(&self) -> bool {
        self.last_save.elapsed().as_secs_f64() >= 60.0 * self.plan.config.run.checkpoint_minutes
    }

    /// Writes a checkpoint of the current position with this state of the strategy and this length of `events.jsonl`.
    pub(super) fn save(&mut self, strategy: Value, events_bytes: u64) -> Result<(), SearchError> {
        let began = Instant::now();
        self.events.sync().map_err(SearchError::write(self.events.path()))?;
        let state = State {
            version: CHECKPOINT_VERSION,
            position: self.position,
            valid_batches: self.valid_batches,
            strategy,
            mask: self.supernet.mask().clone(),
            sums: self.sums.clone(),
            sweeps: self.sweeps.clone(),
            settings: Some(self.plan.config.decisive().table()),
            events_bytes,
            seconds: self.clock.seconds().clone(),
            weights_md5: String::new(),
        };
        let written = checkpoint::write(self.folder.path(), state, &self.supernet.state());
        written.map_err(SearchError::write(checkpoint::folder(self.folder.path())))?;
        self.clock.book(Activity::Checkpoints, began);
        self.last_save = Instant::now();
        self.observer.notice(Notice::Saved);
        Ok(())
    }

    /// Writes a line of `timing.jsonl`: seconds since 1970, the epoch counted from 1, and what is given.
    pub(super) fn log(&mut self, event: &str, mut fields: Value) -> Result<(), SearchError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut line = json!({ "event": event, "unix_seconds": now.as_secs_f64(), "epoch": self.position.epoch + 1 });
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object_mut()) {
            line.append(fields);
        }
        self.timing.append(&line).map_err(|e: io::Error| SearchError::write(self.timing.path())(e))
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("folder", &self.folder)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
