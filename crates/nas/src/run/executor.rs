use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use engine::TensorState;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use toml::Table;

use super::{
    checkpoint::{self, Checkpoint, Moment, Position, State},
    clock::PhaseSeconds,
    environment::Environment,
    error::RunError,
    events::{EarlyEnd, End, Failed},
    folder::{RunFolder, Starting, is_starting, keeps},
    journal::Journal,
    names::{ENVIRONMENT, EVENTS, TIMING},
    observer::Notice,
    schedule::{At, Phase, Schedule},
    session::{Session, Setup, Start},
    task::{Ended, Flow, Task, TaskError},
};
use crate::{
    files::{as_text, write_atomic},
    tables::{Difference, difference},
};

/// The result of a finished run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<F> {
    /// What the task has found.
    pub found: F,
    /// Wall-clock time by phase, in the schedule's order, over all processes that worked on the run.
    pub seconds: Vec<(String, PhaseSeconds)>,
    /// The run folder.
    pub folder: PathBuf,
}

impl<F> Outcome<F> {
    /// Wall-clock seconds of the whole run.
    pub fn total_seconds(&self) -> f64 {
        self.seconds.iter().map(|(_, s)| s.total()).sum()
    }
}

/// Runs a task: the only loop over epochs and steps. Checkpoints, events and interruptions are its business.
#[derive(Debug)]
pub struct Executor<T> {
    task: T,
    session: Session,
}

/// A run that was found in a folder.
#[derive(Debug)]
pub enum Resumed<R, F> {
    /// One that can continue.
    Ready(Box<R>),
    /// One that has ended.
    Finished(Box<Outcome<F>>),
}

impl<R, F> Resumed<R, F> {
    /// The same, around what continues it.
    pub fn map<S>(self, f: impl FnOnce(R) -> S) -> Resumed<S, F> {
        match self {
            Self::Ready(run) => Resumed::Ready(Box::new(f(*run))),
            Self::Finished(outcome) => Resumed::Finished(outcome),
        }
    }
}

/// A run folder that is locked and whose checkpoint has been read: nothing in it is changed yet.
#[derive(Debug)]
pub struct Reopened {
    folder: RunFolder,
    journals: (Journal, Journal),
    saved: Checkpoint,
}

impl Reopened {
    /// Opens a run to go on with it.
    ///
    /// # Errors
    /// The folder holds no run, one that another process works on or of another version, or no usable checkpoint.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let folder = RunFolder::open(path)?;
        // Another process may be writing until the lock is taken: nothing that it writes is read before.
        let journals = (folder.journal(EVENTS)?, folder.journal(TIMING)?);
        let saved = folder.read_checkpoint()?;
        Ok(Self { folder, journals, saved })
    }
}

/// The state of a run as a checkpoint has it, to be looked at.
#[derive(Debug)]
pub struct Kept {
    folder: RunFolder,
    state: State,
    tensors: Vec<TensorState>,
    fallback: Option<String>,
}

impl Kept {
    /// The checkpoint kept at the end of `epoch`, counted from 1, or the newest one.
    ///
    /// # Errors
    /// The folder holds no run or not that checkpoint.
    pub fn open(path: &Path, epoch: Option<usize>) -> Result<Self, RunError> {
        let folder = RunFolder::open(path)?;
        let mut read = match epoch {
            Some(epoch) => folder.read_kept(epoch)?,
            None => folder.read_checkpoint()?,
        };
        // The run may be under way: for a moment its newest checkpoint has no name.
        for _ in 0..3 {
            if read.fallback.is_some() {
                std::thread::sleep(std::time::Duration::from_millis(50));
                read = folder.read_checkpoint()?;
            }
        }
        let Checkpoint { state, tensors, fallback } = read;
        Ok(Self { folder, state, tensors, fallback })
    }

    /// Why this is not the newest checkpoint but the one before it, if it is.
    pub fn fallback(&self) -> Option<&str> {
        self.fallback.as_deref()
    }

    /// Checksum of the file of tensors.
    pub fn weights_md5(&self) -> &str {
        &self.state.weights_md5
    }

    /// Where the run stood.
    pub fn position(&self) -> Position {
        self.state.position
    }

    /// The settings that made it.
    pub fn settings(&self) -> &Table {
        &self.state.settings
    }

    /// Weights, statistics and momentum.
    pub fn into_tensors(self) -> Vec<TensorState> {
        self.tensors
    }

    /// Gives a task this state.
    ///
    /// # Errors
    /// [`RunError::Mismatch`].
    pub fn restore(&self, task: &mut impl Task) -> Result<Position, RunError> {
        restore(&self.folder, task, &self.state, &self.tensors)?;
        Ok(self.state.position)
    }

    /// Refuses other settings than those it was made with.
    ///
    /// # Errors
    /// [`RunError::Mismatch`].
    pub fn same_settings(&self, settings: &Table) -> Result<(), RunError> {
        same_settings(&self.folder, settings, &self.state)
    }
}

impl<T: Task> Executor<T> {
    /// A new run in a new folder.
    ///
    /// # Errors
    /// The folder cannot be used or written to.
    pub fn start(mut task: T, setup: Setup, folder: &Path) -> Result<Self, T::Error> {
        let (folder, starting) = RunFolder::create(folder, &setup.config, &setup.environment)?;
        let journals = (folder.journal(EVENTS)?, folder.journal(TIMING)?);
        let mut session = Session::new(folder, journals, setup, Start::default());
        open_record(&mut task, &mut session, "start", json!({}))?;
        Self { task, session }.started(starting)
    }

    /// A new run in a new folder that goes on from a kept checkpoint of another run, `from`. Both must do the same up to
    /// there: the new one is then as if it had done it itself.
    ///
    /// # Errors
    /// As [`Executor::start`] and [`Kept::restore`].
    pub fn fork(mut task: T, setup: Setup, from: Kept, folder: &Path) -> Result<Self, T::Error> {
        from.restore(&mut task)?;
        let record = from.folder.file(EVENTS);
        let mut lines = fs::read(&record).map_err(|source| RunError::Open { path: record, source })?;
        lines.truncate(from.state.events_bytes as usize);
        let first = lines.iter().position(|&b| b == b'\n').map_or(lines.len(), |end| end + 1);
        let (folder, starting) = RunFolder::create(folder, &setup.config, &setup.environment)?;
        let journals = (folder.journal(EVENTS)?, folder.journal(TIMING)?);
        let epoch = from.state.position.epoch;
        let mut session = Session::new(folder, journals, setup, from.state.into());
        // A first line of its own: it describes what comes later too, which may differ.
        open_record(&mut task, &mut session, "fork", json!({ "from": as_text(from.folder.path()), "after": epoch }))?;
        session.events.append_lines(&lines[first..]).map_err(RunError::write(session.events.path()))?;
        Self { task, session }.started(starting)
    }

    /// With its first checkpoint the folder is a run.
    fn started(mut self, starting: Starting) -> Result<Self, T::Error> {
        self.save()?;
        starting.done()?;
        Ok(self)
    }

    /// Goes on with a run from its last checkpoint. `task` is one that has just been made.
    ///
    /// # Errors
    /// Other settings than it was made with; a checkpoint that does not fit; a record that has lost lines.
    pub fn resume(mut task: T, setup: Setup, run: Reopened) -> Result<Self, T::Error> {
        let Reopened { folder, journals: (mut events, mut timing), saved } = run;
        folder.sweep_up()?;
        timing.close_line().map_err(RunError::write(timing.path()))?;
        let state = saved.state;
        same_settings(&folder, &setup.settings, &state)?;
        restore(&folder, &mut task, &state, &saved.tensors)?;
        if events.bytes() < state.events_bytes {
            let path = folder.path().to_owned();
            return Err(RunError::Record { path, found: events.bytes(), expected: state.events_bytes }.into());
        }
        events.truncate(state.events_bytes).map_err(RunError::write(events.path()))?;
        let position = state.position;
        let step = if let Moment::Step(step) = position.moment { step } else { 0 } + 1;
        let mut session = Session::new(folder, (events, timing), setup, state.into());
        let before = fs::read(session.folder.file(ENVIRONMENT)).ok();
        let before = before.and_then(|text| serde_json::from_slice::<Environment>(&text).ok());
        let other_bits = before.and_then(|before| before.other_bits(&session.setup.environment));
        let mut details = json!({ "step": step, "fallback": saved.fallback });
        if let Some(warning) = &other_bits {
            details["environment"] = json!(session.setup.environment);
            session.notice(Notice::Warning(warning));
        }
        session.log("resume", details)?;
        if let Some(why) = saved.fallback {
            let path = session.folder.path().to_owned();
            checkpoint::discard_newest(&path).map_err(RunError::write(&path))?;
            let warning = format!("the newest checkpoint cannot be used ({why}); going on from the one before it");
            session.notice(Notice::Warning(&warning));
        }
        // A process that was killed between saving and keeping has left that to this one.
        if position.moment == Moment::Begin && position.epoch > 0 && !keeps(session.folder.path(), position.epoch) {
            session.keep()?;
        }
        Ok(Self { task, session })
    }

    /// Goes on with the run in a folder, or says what it has come to. `make` makes its task and setup, of the configuration that
    /// the folder keeps; the folder is locked by then, but for a run that has not come to its first checkpoint, which starts anew.
    ///
    /// # Errors
    /// As [`Executor::start`], [`Reopened::open`] and [`Executor::resume`]; those of `make`.
    pub fn reopen(
        folder: &Path,
        make: impl FnOnce() -> Result<(T, Setup), T::Error>,
    ) -> Result<Resumed<Self, T::Found>, T::Error>
    where
        T::Found: DeserializeOwned,
    {
        if let Some(outcome) = finished(folder, T::RESULT)? {
            return Ok(Resumed::Finished(Box::new(outcome)));
        }
        let reopened = if is_starting(folder) { None } else { Some(Reopened::open(folder)?) };
        let (task, setup) = make()?;
        let executor = match reopened {
            Some(reopened) => Self::resume(task, setup, reopened)?,
            None => Self::start(task, setup, folder)?,
        };
        Ok(Resumed::Ready(Box::new(executor)))
    }

    /// Runs the task to its end.
    ///
    /// # Errors
    /// [`RunError::Interrupted`] after the stop flag was set, everything saved; [`RunError::NotFinite`];
    /// [`RunError::Write`]; those of the task. The last checkpoint is good in every case.
    pub fn run(mut self) -> Result<Outcome<T::Found>, T::Error> {
        if !self.session.events.is_locked() {
            let warning =
                "the run folder's file system has no locks: see to it that no second process works on this run";
            self.session.notice(Notice::Warning(warning));
        }
        self.go().inspect_err(|error| {
            if matches!(error.of_run(), None | Some(RunError::NotFinite { .. } | RunError::Steps { .. })) {
                let Position { epoch, moment } = self.session.position;
                let step = if let Moment::Step(step) = moment { step + 1 } else { 0 };
                // The error itself is what matters.
                let _ = self.session.record(&Failed { epoch: epoch + 1, step, message: error.to_string() });
            }
        })
    }

    fn go(&mut self) -> Result<Outcome<T::Found>, T::Error> {
        let schedule = self.task.schedule().clone();
        let Position { epoch, moment } = self.session.position;
        let step = if let Moment::Step(step) = moment { step } else { 0 };
        let folder = self.session.folder.path().to_owned();
        let steps = schedule.at(epoch).map_or(0, |at| self.task.steps(at.phase));
        self.session.notice(Notice::Started { folder: &folder, schedule: &schedule, steps, epoch, step });
        while let Some(at) = schedule.at(self.session.position.epoch) {
            self.epoch(&at)?;
        }
        self.finish(&schedule)
    }

    fn epoch(&mut self, at: &At) -> Result<(), T::Error> {
        let session = &mut self.session;
        session.clock.enter(&at.name);
        self.task.enter(at)?;
        if session.position.moment == Moment::Begin {
            session.open_hook(self.task.state());
            self.task.begin(at, session)?;
            session.close_hook();
            session.position.moment = Moment::Step(0);
            self.pause()?;
        }
        while let Moment::Step(step) = self.session.position.moment {
            if step == self.task.steps(at.phase) {
                self.session.position.moment = Moment::End;
                break;
            }
            self.session.made = 0;
            let report = self.task.step(at, &mut self.session)?;
            if self.session.made != 1 {
                let made = self.session.made;
                return Err(RunError::Steps { epoch: at.epoch + 1, step: step + 1, made }.into());
            }
            self.session.progress.steps += 1;
            self.session.position.moment = Moment::Step(step + 1);
            let (loss, accuracy) = (report.loss, report.accuracy);
            self.session.notice(Notice::Step { at, done: step + 1, loss, accuracy });
            self.pause()?;
        }
        self.session.open_hook(self.task.state());
        let Ended { flow, quality } = self.task.end(at, &mut self.session)?;
        self.session.close_hook();
        self.close_epoch(at, flow, quality)?;
        self.save()?;
        self.session.keep()?;
        self.interrupted()
    }

    /// Goes to where the next epoch begins.
    fn close_epoch(&mut self, at: &At, flow: Flow, quality: f64) -> Result<(), T::Error> {
        let (next, early) = match flow {
            Flow::Go => (at.epoch + 1, None),
            Flow::NextPhase(reason) => (at.epoch + at.length - at.within, Some((false, reason))),
            Flow::Finish(reason) => (self.task.schedule().epochs(), Some((true, reason))),
        };
        let session = &mut self.session;
        if let Some((finished, reason)) = early {
            let phase = at.name.clone();
            session.record(&EarlyEnd { epoch: at.epoch + 1, phase, finished, reason })?;
        }
        let seconds = json!({ "phase": at.name, "seconds": session.clock.seconds() });
        session.log("epoch", seconds)?;
        session.position = Position { epoch: next, moment: Moment::Begin };
        session.progress.epochs += 1;
        if quality.is_finite() && session.progress.best.is_none_or(|(_, best)| quality > best) {
            session.progress.best = Some((next, quality));
        }
        Ok(())
    }

    /// Saves where that is due or asked for; ends the run where it is asked to.
    fn pause(&mut self) -> Result<(), T::Error> {
        if self.session.stopped() || self.session.due() {
            self.save()?;
        }
        self.interrupted()
    }

    fn interrupted(&self) -> Result<(), T::Error> {
        if self.session.stopped() { Err(RunError::Interrupted.into()) } else { Ok(()) }
    }

    fn save(&mut self) -> Result<(), T::Error> {
        let bytes = self.session.events.bytes();
        Ok(self.session.save(self.task.state(), &self.task.tensors(), bytes)?)
    }

    fn finish(&mut self, schedule: &Schedule) -> Result<Outcome<T::Found>, T::Error> {
        let found = self.task.finish(&mut self.session)?;
        let session = &mut self.session;
        session.record(&End { epochs: session.progress.epochs, steps: session.progress.steps })?;
        session.events.sync().map_err(RunError::write(session.events.path()))?;
        let seconds = json!({ "seconds": session.clock.seconds() });
        session.log("end", seconds)?;
        let path = session.folder.file(T::RESULT);
        write_atomic(&path, |w| Ok(serde_json::to_writer_pretty(w, &found)?)).map_err(RunError::write(&path))?;
        Ok(outcome(found, session.folder.path(), schedule, session.clock.seconds()))
    }
}

/// Refuses to continue with other settings than the checkpoint was made with. The data may have moved.
fn same_settings(folder: &RunFolder, now: &Table, state: &State) -> Result<(), RunError> {
    let placeless = |table: &Table| {
        let mut table = table.clone();
        table.get_mut("data").and_then(toml::Value::as_table_mut).and_then(|data| data.remove("dir"));
        table
    };
    let (then, now) = (placeless(&state.settings), placeless(now));
    match difference(&then, &now) {
        Some(Difference { key, one, other }) => {
            let why = format!("{key} is {other}, it was made with {one}");
            Err(RunError::Mismatch { path: folder.path().to_owned(), why })
        }
        None => Ok(()),
    }
}

/// Gives a task that has just been made the state of a checkpoint.
fn restore(folder: &RunFolder, task: &mut impl Task, state: &State, tensors: &[TensorState]) -> Result<(), RunError> {
    let mismatch = |why: String| RunError::Mismatch { path: folder.path().to_owned(), why };
    let schedule = task.schedule();
    let steps = schedule.at(state.position.epoch).map_or(0, |at| task.steps(at.phase));
    let within = match state.position.moment {
        Moment::Step(step) => step <= steps,
        Moment::Begin | Moment::End => true,
    };
    if state.position.epoch > schedule.epochs() || !within {
        return Err(mismatch(format!("it stands at {:?}", state.position)));
    }
    task.restore(state.position, &state.task, tensors).map_err(mismatch)
}

/// The result of the run in `folder`, a file called `result`, if it has ended. Needs neither its data nor its checkpoints, nor
/// settings that this version knows.
///
/// # Errors
/// A file of the run that cannot be read.
pub fn finished<F: DeserializeOwned>(run: &Path, result: &str) -> Result<Option<Outcome<F>>, RunError> {
    let broken = |path: &Path, source| RunError::Open { path: path.to_owned(), source };
    let path = run.join(result);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(e) => return Err(broken(&path, e)),
    };
    let found: F = serde_json::from_slice(&text).map_err(|e| broken(&path, e.into()))?;
    // The first line of the record holds the schedule.
    let path = run.join(EVENTS);
    let record = fs::read_to_string(&path).map_err(|e| broken(&path, e))?;
    let first = record.lines().next().unwrap_or_default();
    let Recorded { phases } = serde_json::from_str(first).map_err(|e| broken(&path, e.into()))?;
    let path = run.join(TIMING);
    let timing = fs::read_to_string(&path).map_err(|e| broken(&path, e))?;
    let booked = |line: &str| serde_json::from_str::<Booked>(line).ok()?.seconds;
    let seconds = timing.lines().rev().find_map(booked).unwrap_or_default();
    Ok(Some(outcome(found, run, &Schedule { phases }, &seconds)))
}

/// What the result needs of the first line of the record.
#[derive(Deserialize)]
struct Recorded {
    phases: Vec<Phase>,
}

/// A line of `timing.jsonl`.
#[derive(Deserialize)]
struct Booked {
    seconds: Option<BTreeMap<String, PhaseSeconds>>,
}

fn outcome<F>(found: F, run: &Path, schedule: &Schedule, seconds: &BTreeMap<String, PhaseSeconds>) -> Outcome<F> {
    let of = |name: &String| (name.clone(), seconds.get(name).cloned().unwrap_or_default());
    Outcome {
        found,
        seconds: schedule.phases.iter().filter(|p| p.epochs > 0).map(|p| of(&p.name)).collect(),
        folder: run.to_owned(),
    }
}

/// Enters the phase that a run in a new folder begins with and writes the first line of each journal.
fn open_record<T: Task>(task: &mut T, session: &mut Session, how: &str, details: Value) -> Result<(), T::Error> {
    if let Some(next) = task.schedule().at(session.position.epoch) {
        session.clock.enter(&next.name);
    }
    session.log(how, details)?;
    task.opened(session)
}
