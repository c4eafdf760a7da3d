use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use engine::TensorState;
use serde_json::{Value, json};
use toml::Table;

use super::{
    checkpoint::{self, CHECKPOINT_VERSION, Moment, Position, Progress, State, SweepState},
    clock::{CHECKPOINTS, Clock},
    environment::Environment,
    error::RunError,
    events::{Event, Fields},
    folder::RunFolder,
    journal::Journal,
    keep::Keep,
    names::{EVENTS, TIMING},
    observer::{Notice, Observers},
};
use crate::{files, numbers::Number};

/// What a run is started with, apart from its task.
#[derive(Debug)]
pub struct Setup {
    /// `config.toml`.
    pub config: String,
    /// The settings that decide what comes out: a run is resumed with the same ones only.
    pub settings: Table,
    /// Longest time between checkpoints inside an epoch.
    pub checkpoint_minutes: f64,
    /// Which checkpoints of the ends of epochs are kept.
    pub keep: Keep,
    /// What it is computed by.
    pub environment: Environment,
    /// Who follows it.
    pub observers: Observers,
    /// Once set, the run saves its state at the next step and ends with [`RunError::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

/// What a run goes on from.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) position: Position,
    pub(super) progress: Progress,
    pub(super) sweeps: Vec<SweepState>,
    pub(super) clock: Clock,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            position: Position { epoch: 0, moment: Moment::Begin },
            progress: Progress::default(),
            sweeps: Vec::new(),
            clock: Clock::new(Default::default()),
        }
    }
}

impl From<State> for Start {
    fn from(state: State) -> Self {
        let State { position, progress, sweeps, seconds, .. } = state;
        Self { position, progress, sweeps, clock: Clock::new(seconds) }
    }
}

/// The run as its task sees it: position, record, sweeps that can be interrupted, time.
pub struct Session {
    pub(super) folder: RunFolder,
    pub(super) events: Journal,
    pub(super) timing: Journal,
    pub(super) clock: Clock,
    pub(super) setup: Setup,
    pub(super) position: Position,
    pub(super) progress: Progress,
    /// Steps of the weights since the executor looked last.
    pub(super) made: usize,
    sweeps: Vec<SweepState>,
    last_save: Instant,
    hook: Hook,
}

/// What a call of a task's `begin` or `end` started from: a checkpoint inside it holds this state.
#[derive(Debug, Default)]
struct Hook {
    task: Value,
    events_bytes: u64,
    /// Sweeps begun in this call.
    sweeps: usize,
    /// Whether something has been changed that calling it again would change twice.
    changed: bool,
}

/// A number of evaluations one after the other, see [`Session::sweep`].
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What is measured, for messages.
    pub what: String,
    /// Evaluations.
    pub count: usize,
    /// Numbers that they add to, which start at 0.
    pub sums: usize,
    /// What the time is booked as.
    pub activity: &'static str,
}

impl Session {
    pub(super) fn new(folder: RunFolder, (events, timing): (Journal, Journal), setup: Setup, start: Start) -> Self {
        let Start { position, progress, sweeps, clock } = start;
        Self {
            folder,
            events,
            timing,
            clock,
            setup,
            position,
            progress,
            made: 0,
            sweeps,
            last_save: Instant::now(),
            hook: Hook::default(),
        }
    }

    /// A session at `position` in a folder that is thrown away: to measure what a run has come to without changing it.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn scratch(folder: &std::path::Path, setup: Setup, position: Position) -> Result<Self, RunError> {
        let (folder, _) = RunFolder::create(folder, &setup.config, &setup.environment)?;
        let journals = (folder.journal(EVENTS)?, folder.journal(TIMING)?);
        let mut session = Self::new(folder, journals, setup, Start { position, ..Start::default() });
        session.clock.enter("study");
        Ok(session)
    }

    /// Where the run stands.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Number of sweeps begun in this call of the task's `begin` or `end`.
    pub fn sweeps_begun(&self) -> usize {
        self.hook.sweeps
    }

    /// A step of the weights has been made.
    pub fn stepped(&mut self) {
        self.made += 1;
    }

    /// Something has been changed that calling `begin` or `end` again would change twice: no checkpoint may be made before
    /// it returns.
    pub fn changed(&mut self) {
        self.hook.changed = true;
    }

    /// Books the time since `began` as that of an activity.
    pub fn book(&mut self, activity: &str, began: Instant) {
        self.clock.book(activity, began);
    }

    /// Writes a line of `events.jsonl`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn record<F: Fields>(&mut self, fields: &F) -> Result<(), RunError> {
        let event = Event::new(fields);
        self.events.append(&event).map_err(RunError::write(self.events.path()))?;
        self.notice(Notice::Event(&event));
        Ok(())
    }

    /// Writes a file of the task's own into the run folder, whole or not at all.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.folder.file(name);
        files::write_atomic(&path, |w| w.write_all(bytes)).map_err(RunError::write(path))
    }

    /// Tells whoever follows the run what its result cannot say.
    pub fn warn(&mut self, text: &str) {
        self.notice(Notice::Warning(text));
    }

    /// The error of a quantity that has left the numbers, here and now.
    pub fn not_finite(&self, what: &str, value: f64) -> RunError {
        let step = if let Moment::Step(step) = self.position.moment { Some(step + 1) } else { None };
        RunError::NotFinite { what: what.to_owned(), value, epoch: self.position.epoch + 1, step }
    }

    /// Evaluations one after the other: `evaluate(bench, i, sums)` is called with every `i` below the count. Between two of them
    /// the run may be interrupted, and it goes on there when the task's `begin` or `end` is called again after a resume; so
    /// it may begin with any `i`. `tensors`: those of the task as they are, for a checkpoint.
    ///
    /// # Errors
    /// Those of `evaluate`; [`RunError::Interrupted`]; [`RunError::Write`].
    pub fn sweep<B, E: From<RunError>>(
        &mut self,
        sweep: &Sweep,
        bench: &mut B,
        mut evaluate: impl FnMut(&mut B, usize, &mut [f64]) -> Result<(), E>,
        tensors: impl Fn(&mut B) -> Vec<TensorState>,
    ) -> Result<Vec<f64>, E> {
        let index = self.hook.sweeps;
        self.hook.sweeps += 1;
        if self.sweeps.len() <= index {
            self.sweeps.push(SweepState { done: 0, sums: vec![Number(0.0); sweep.sums] });
        }
        let mut done = self.sweeps[index].done;
        let mut values: Vec<f64> = self.sweeps[index].sums.iter().map(|n| n.0).collect();
        values.resize(sweep.sums, 0.0);
        let so_far = |done, values: &[f64]| SweepState { done, sums: values.iter().copied().map(Number).collect() };
        while done < sweep.count {
            let began = Instant::now();
            evaluate(bench, done, &mut values)?;
            self.clock.book(sweep.activity, began);
            done += 1;
            self.notice(Notice::Sweep { what: &sweep.what, done, of: sweep.count });
            if (self.stopped() || self.due()) && !self.hook.changed {
                self.sweeps[index] = so_far(done, &values);
                let (task, events) = (self.hook.task.clone(), self.hook.events_bytes);
                self.save(task, &tensors(bench), events)?;
                if self.stopped() {
                    return Err(RunError::Interrupted.into());
                }
            }
        }
        self.sweeps[index] = so_far(done, &values);
        Ok(values)
    }

    /// Goes on as if `count` sweeps had been made in this call: the next one draws other images.
    pub fn skip_sweeps(&mut self, count: usize) {
        self.hook = Hook { sweeps: count, ..Hook::default() };
        self.sweeps.clear();
        self.sweeps.resize(count, SweepState::default());
    }

    /// Before a call of the task's `begin` or `end`.
    pub(super) fn open_hook(&mut self, task: Value) {
        self.hook = Hook { task, events_bytes: self.events.bytes(), sweeps: 0, changed: false };
    }

    /// After it: its sweeps are no longer needed.
    pub(super) fn close_hook(&mut self) {
        self.sweeps.clear();
    }

    pub(super) fn notice(&mut self, notice: Notice<'_>) {
        self.setup.observers.notice(notice);
    }

    pub(super) fn stopped(&self) -> bool {
        self.setup.stop.load(Ordering::Relaxed)
    }

    /// Whether a checkpoint inside the epoch is due.
    pub(super) fn due(&self) -> bool {
        self.last_save.elapsed().as_secs_f64() >= 60.0 * self.setup.checkpoint_minutes
    }

    /// Writes a checkpoint of the current position with this state of the task and this length of `events.jsonl`.
    pub(super) fn save(&mut self, task: Value, tensors: &[TensorState], events_bytes: u64) -> Result<(), RunError> {
        let began = Instant::now();
        self.events.sync().map_err(RunError::write(self.events.path()))?;
        let state = State {
            version: CHECKPOINT_VERSION,
            position: self.position,
            progress: self.progress,
            task,
            sweeps: self.sweeps.clone(),
            settings: self.setup.settings.clone(),
            events_bytes,
            seconds: self.clock.seconds().clone(),
            weights_md5: String::new(),
        };
        let written = checkpoint::write(self.folder.path(), state, tensors);
        written.map_err(RunError::write(checkpoint::folder(self.folder.path())))?;
        self.clock.book(CHECKPOINTS, began);
        self.last_save = Instant::now();
        self.notice(Notice::Saved);
        Ok(())
    }

    /// Keeps the checkpoint of the end of an epoch, which has just been saved, where the policy wants it.
    pub(super) fn keep(&self) -> Result<(), RunError> {
        let (run, epoch, best) = (self.folder.path(), self.position.epoch, self.progress.best.map(|(epoch, _)| epoch));
        if !self.setup.keep.wants(epoch, best) {
            return Ok(());
        }
        let failed = || RunError::write(checkpoint::kept(run));
        checkpoint::keep(run, epoch).map_err(failed())?;
        if self.setup.keep == Keep::Best {
            for other in checkpoint::epochs_kept(run).map_err(failed())?.into_iter().filter(|&e| e != epoch) {
                checkpoint::forget(run, other).map_err(failed())?;
            }
        }
        Ok(())
    }

    /// Writes a line of `timing.jsonl`: seconds since 1970, the epoch counted from 1, and what is given.
    pub(super) fn log(&mut self, event: &str, mut fields: Value) -> Result<(), RunError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut line = json!({ "event": event, "unix_seconds": now.as_secs_f64(), "epoch": self.position.epoch + 1 });
        if let (Some(line), Some(fields)) = (line.as_object_mut(), fields.as_object_mut()) {
            line.append(fields);
        }
        self.timing.append(&line).map_err(|e: io::Error| RunError::write(self.timing.path())(e))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("folder", &self.folder)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
