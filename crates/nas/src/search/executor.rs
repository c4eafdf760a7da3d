use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use engine::{EngineError, TensorState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use toml::Table;

use super::{
    At, Config, Context, Event, Notice, Observer, PhaseSeconds, Plan, RunError, Schedule, SearchError,
    checkpoint::{self, Checkpoint, EpochSums, Moment, Position, State},
    clock::Clock,
    config::keys::{self, Difference},
    context::Start,
    events::{EVENTS_VERSION, EpochEnd, RunStart},
    journal::Journal,
    numbers::Number,
    plan::fit,
    run_folder::{CONFIG, EVENTS, GENOTYPE, RunFolder, Starting, TIMING, is_starting, keeps},
};
use crate::{
    data::LoadEvent,
    files::write_atomic,
    space::Genotype,
    strategies::OneShot,
    supernet::{Engine, Supernet},
};

#[cfg(test)]
mod tests;

/// The result of a finished search.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The chosen architecture.
    pub genotype: Genotype,
    /// The same in the notation of the space's paper.
    pub arch: String,
    /// Its index in the space's tabular benchmark.
    pub index: Option<usize>,
    /// Wall-clock time by phase, in the schedule's order, over all processes that worked on the run.
    pub seconds: Vec<(String, PhaseSeconds)>,
    /// The run folder.
    pub folder: PathBuf,
}

impl Outcome {
    /// Wall-clock seconds of the whole search.
    pub fn total_seconds(&self) -> f64 {
        self.seconds.iter().map(|(_, s)| s.total()).sum()
    }
}

/// `genotype.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    genotype: Genotype,
    arch: String,
    index: Option<usize>,
}

/// What [`Executor::resume`] finds.
#[derive(Debug)]
pub enum Resumed {
    /// A search that can go on.
    Ready(Box<Executor>),
    /// A search that has ended.
    Finished(Outcome),
}

/// Runs a strategy: the only loop over epochs and steps. Checkpoints, events and interruptions are its business.
#[derive(Debug)]
pub struct Executor {
    strategy: Box<dyn OneShot>,
    cx: Context,
}

impl Executor {
    /// A new search in a new folder. `stop`: once set, the search saves its state at the next step and ends with
    /// [`SearchError::Interrupted`].
    ///
    /// # Errors
    /// [`SearchError::Run`] where the folder cannot be used; [`SearchError::Write`].
    pub fn start(
        plan: Plan,
        engine: Box<dyn Engine>,
        folder: &Path,
        observer: Box<dyn Observer>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SearchError> {
        let (folder, starting) = RunFolder::create(folder, &plan.config)?;
        let journals = (open(&folder, EVENTS)?, open(&folder, TIMING)?);
        let strategy = plan.strategy();
        let start = Start {
            position: Position { epoch: 0, moment: Moment::Begin },
            sums: EpochSums::default(),
            valid_batches: 0,
            sweeps: Vec::new(),
            clock: Clock::new(BTreeMap::new()),
        };
        let mut cx = Context::new(plan, Supernet::new(engine), folder, journals, observer, stop, start);
        open_record(&mut cx, "start", json!({}))?;
        Self { strategy, cx }.started(starting)
    }

    /// A new search in a new folder that goes on from the end of an epoch of another run, `(folder, epoch counted from 1)`,
    /// which keeps its checkpoint. Both must do the same up to there: the new one is then as if it had done it itself.
    ///
    /// # Errors
    /// As [`Executor::start`] and [`Executor::resume`].
    pub fn fork(
        plan: Plan,
        engine: impl FnOnce(&Plan) -> Result<Box<dyn Engine>, EngineError>,
        (from, epoch): (&Path, usize),
        folder: &Path,
        observer: Box<dyn Observer>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SearchError> {
        let source = RunFolder::open(from)?;
        let Checkpoint { state, tensors, .. } = source.read_kept(epoch)?;
        let (strategy, supernet) = restored(&source, &plan, &state, &tensors, engine)?;
        let record = source.file(EVENTS);
        let mut lines = fs::read(&record).map_err(|source| RunError::Open { path: record, source })?;
        lines.truncate(state.events_bytes as usize);
        let first = lines.iter().position(|&b| b == b'\n').map_or(lines.len(), |end| end + 1);
        let (folder, starting) = RunFolder::create(folder, &plan.config)?;
        let (events, timing) = (open(&folder, EVENTS)?, open(&folder, TIMING)?);
        let mut cx = Context::new(plan, supernet, folder, (events, timing), observer, stop, start_of(state));
        // A first line of its own: it describes what comes later too, which may differ.
        open_record(&mut cx, "fork", json!({ "from": from, "after": epoch }))?;
        cx.events.append_lines(&lines[first..]).map_err(SearchError::write(cx.events.path()))?;
        Self { strategy, cx }.started(starting)
    }

    /// With its first checkpoint the folder is a run.
    fn started(mut self, starting: Starting) -> Result<Self, SearchError> {
        self.save()?;
        starting.done()?;
        Ok(self)
    }

    /// Goes on with the search in `folder` from its last checkpoint. `home`: the program's folder in the user's data
    /// directory; `notify` is told how the data is being read; `engine` makes the engine of a plan, with any weights.
    ///
    /// # Errors
    /// [`SearchError::Run`] where the folder holds no run, one of a newer version, or no usable checkpoint; everything that
    /// [`Plan::new`] refuses.
    pub fn resume(
        folder: &Path,
        home: Option<&Path>,
        notify: &mut dyn FnMut(LoadEvent),
        engine: impl FnOnce(&Plan) -> Result<Box<dyn Engine>, EngineError>,
        observer: Box<dyn Observer>,
        stop: Arc<AtomicBool>,
    ) -> Result<Resumed, SearchError> {
        if let Some(outcome) = finished(folder)? {
            return Ok(Resumed::Finished(outcome));
        }
        let path = folder;
        let folder = RunFolder::open(path)?;
        let read_config = || Config::read(&folder.file(CONFIG)).map_err(SearchError::from);
        if is_starting(path) {
            let plan = Plan::new(read_config()?, home, notify)?;
            let engine = engine(&plan)?;
            return Ok(Resumed::Ready(Box::new(Self::start(plan, engine, path, observer, stop)?)));
        }
        // Another process may be writing until the lock is taken: nothing that it writes is read before.
        let (mut events, mut timing) = (open(&folder, EVENTS)?, open(&folder, TIMING)?);
        let saved = folder.read_checkpoint()?;
        let plan = Plan::new(read_config()?, home, notify)?;
        folder.sweep_up()?;
        timing.close_line().map_err(SearchError::write(timing.path()))?;
        let state = saved.state;
        same_settings(&folder, &plan.config, &state)?;
        let (strategy, supernet) = restored(&folder, &plan, &state, &saved.tensors, engine)?;
        if events.bytes() < state.events_bytes {
            let path = folder.path().to_owned();
            return Err(RunError::Record { path, found: events.bytes(), expected: state.events_bytes }.into());
        }
        events.truncate(state.events_bytes).map_err(SearchError::write(events.path()))?;
        let (step, position) = (state.sums.steps + 1, state.position);
        let mut cx = Context::new(plan, supernet, folder, (events, timing), observer, stop, start_of(state));
        cx.log("resume", json!({ "step": step, "fallback": saved.fallback }))?;
        if let Some(why) = saved.fallback {
            let path = cx.folder.path().to_owned();
            checkpoint::discard_newest(&path).map_err(SearchError::write(&path))?;
            let warning = format!("the newest checkpoint cannot be used ({why}); going on from the one before it");
            cx.observer.notice(Notice::Warning(&warning));
        }
        let executor = Self { strategy, cx };
        // A process that was killed between saving and keeping has left that to this one.
        if position.moment == Moment::Begin && position.epoch > 0 && !keeps(path, position.epoch) {
            executor.keep()?;
        }
        Ok(Resumed::Ready(Box::new(executor)))
    }

    /// Runs the search to its end.
    ///
    /// # Errors
    /// [`SearchError::Interrupted`] after the stop flag was set, everything saved; [`SearchError::NotFinite`];
    /// [`SearchError::Write`]. The last checkpoint is good in every case.
    pub fn run(mut self) -> Result<Outcome, SearchError> {
        self.search().inspect_err(|error| {
            if matches!(error, SearchError::NotFinite { .. } | SearchError::Engine(_) | SearchError::Data(_)) {
                let step = if let Moment::Step(step) = self.cx.position.moment { step + 1 } else { 0 };
                let event = Event::Failed { epoch: self.cx.position.epoch + 1, step, message: error.to_string() };
                // The error itself is what matters.
                let _ = self.cx.record(event);
            }
        })
    }

    fn search(&mut self) -> Result<Outcome, SearchError> {
        let schedule = self.cx.plan.schedule.clone();
        let Position { epoch, moment } = self.cx.position;
        let step = if let Moment::Step(step) = moment { step } else { 0 };
        let (folder, steps) = (self.cx.folder.path().to_owned(), self.cx.plan.steps_per_epoch);
        self.cx.observer.notice(Notice::Started { folder: &folder, schedule: &schedule, steps, epoch, step });
        while let Some(at) = schedule.at(self.cx.position.epoch) {
            self.epoch(&at)?;
        }
        self.finish()
    }

    fn epoch(&mut self, at: &At) -> Result<(), SearchError> {
        self.cx.clock.enter(&at.name);
        if self.cx.position.moment == Moment::Begin {
            self.cx.open_hook(self.strategy.state());
            self.strategy.begin(at, &mut self.cx)?;
            self.cx.close_hook();
            self.cx.position.moment = Moment::Step(0);
            self.pause()?;
        }
        while let Moment::Step(step) = self.cx.position.moment {
            if step == self.cx.plan.steps_per_epoch {
                self.cx.position.moment = Moment::End;
                break;
            }
            self.strategy.step(at, &mut self.cx)?;
            debug_assert_eq!(self.cx.sums.steps, step + 1, "a strategy's step is one step of omega");
            self.cx.position.moment = Moment::Step(step + 1);
            self.report(at, step + 1);
            self.pause()?;
        }
        self.cx.open_hook(self.strategy.state());
        self.strategy.end(at, &mut self.cx)?;
        self.cx.close_hook();
        let end = self.epoch_end(at);
        self.cx.record(Event::Epoch(Box::new(end)))?;
        let seconds = json!({ "phase": at.name, "seconds": self.cx.clock.seconds() });
        self.cx.log("epoch", seconds)?;
        self.cx.close_epoch();
        self.save()?;
        self.keep()?;
        self.interrupted()
    }

    /// Keeps the checkpoint of the end of an epoch, which has just been saved, where that is asked for.
    fn keep(&self) -> Result<(), SearchError> {
        let run = self.cx.folder.path();
        match self.cx.plan.config.run.keep_epochs {
            true => checkpoint::keep(run, self.cx.position.epoch).map_err(SearchError::write(checkpoint::kept(run))),
            false => Ok(()),
        }
    }

    fn report(&mut self, at: &At, done: usize) {
        let sums = &self.cx.sums;
        let images = sums.train_images.max(1) as f64;
        let (loss, accuracy) = (sums.train_loss / images, 100.0 * sums.train_correct as f64 / images);
        self.cx.observer.notice(Notice::Step { at, done, loss, accuracy });
    }

    fn epoch_end(&self, at: &At) -> EpochEnd {
        let sums = &self.cx.sums;
        let mean = |sum: f64, count: usize| Number(sum / count.max(1) as f64);
        let percent = |correct: usize, images: usize| mean(100.0 * correct as f64, images);
        let valid = (sums.valid_images > 0).then_some(sums.valid_images);
        EpochEnd {
            epoch: at.epoch + 1,
            phase: at.name.clone(),
            learning_rate: self.cx.plan.learning_rate.at(at.epoch),
            supernet_train_loss: mean(sums.train_loss, sums.train_images),
            supernet_train_accuracy: percent(sums.train_correct, sums.train_images),
            supernet_valid_loss: valid.map(|images| mean(sums.valid_loss, images)),
            supernet_valid_accuracy: valid.map(|images| percent(sums.valid_correct, images)),
            gradient_norm: mean(sums.gradient_norm, sums.steps),
            alpha: self.strategy.architecture().values().clone(),
            weights: self.strategy.architecture().weights(self.cx.mask()),
            parameters: self.cx.supernet.parameters(),
        }
    }

    /// Saves where that is due or asked for; ends the search where it is asked to.
    fn pause(&mut self) -> Result<(), SearchError> {
        if self.cx.stopped() || self.cx.due() {
            self.save()?;
        }
        self.interrupted()
    }

    fn interrupted(&self) -> Result<(), SearchError> {
        if self.cx.stopped() { Err(SearchError::Interrupted) } else { Ok(()) }
    }

    fn save(&mut self) -> Result<(), SearchError> {
        let bytes = self.cx.events.bytes();
        self.cx.save(self.strategy.state(), bytes)
    }

    fn finish(&mut self) -> Result<Outcome, SearchError> {
        let genotype = self.strategy.derive(&mut self.cx)?;
        let space = self.cx.plan.space;
        let found = Found { arch: space.text(&genotype)?, index: space.table_index(&genotype), genotype };
        let Found { genotype, arch, index } = &found;
        self.cx.record(Event::Derive { genotype: genotype.clone(), arch: arch.clone(), index: *index })?;
        let epochs = self.cx.plan.schedule.epochs();
        self.cx.record(Event::End { epochs, steps: epochs * self.cx.plan.steps_per_epoch })?;
        self.cx.events.sync().map_err(SearchError::write(self.cx.events.path()))?;
        let seconds = json!({ "seconds": self.cx.clock.seconds() });
        self.cx.log("end", seconds)?;
        let path = self.cx.folder.file(GENOTYPE);
        write_atomic(&path, |w| Ok(serde_json::to_writer_pretty(w, &found)?)).map_err(SearchError::write(&path))?;
        Ok(outcome(found, self.cx.folder.path(), &self.cx.plan.schedule, self.cx.clock.seconds()))
    }
}

/// Refuses to go on with other settings than the checkpoint was made with. The data may have moved.
pub(super) fn same_settings(folder: &RunFolder, config: &Config, state: &State) -> Result<(), SearchError> {
    let placeless = |mut table: Table| {
        table.get_mut("data").and_then(toml::Value::as_table_mut).and_then(|data| data.remove("dir"));
        table
    };
    let Some(settings) = state.settings.clone().map(placeless) else { return Ok(()) };
    match keys::difference(&settings, &config.decisive().table()) {
        Some(Difference { key, one, other }) => {
            let why = format!("{key} is {other}, it was made with {one}");
            Err(RunError::Mismatch { path: folder.path().to_owned(), why }.into())
        }
        None => Ok(()),
    }
}

/// Strategy and supernet as a checkpoint has them.
pub(super) fn restored(
    folder: &RunFolder,
    plan: &Plan,
    state: &State,
    tensors: &[TensorState],
    engine: impl FnOnce(&Plan) -> Result<Box<dyn Engine>, EngineError>,
) -> Result<(Box<dyn OneShot>, Supernet), SearchError> {
    let mismatch = |why: String| RunError::Mismatch { path: folder.path().to_owned(), why };
    let mut strategy = plan.strategy();
    strategy.restore(&state.strategy).map_err(mismatch)?;
    let steps = match state.position.moment {
        Moment::Step(step) => step,
        Moment::Begin => 0,
        Moment::End => plan.steps_per_epoch,
    };
    if state.position.epoch > plan.schedule.epochs() || steps > plan.steps_per_epoch || state.sums.steps != steps {
        return Err(mismatch(format!("it stands at {:?}", state.position)).into());
    }
    let mut supernet = Supernet::new(engine(plan)?);
    supernet.restore(&state.mask, tensors).map_err(|e| mismatch(e.to_string()))?;
    Ok((strategy, supernet))
}

/// What a context goes on from.
pub(super) fn start_of(state: State) -> Start {
    Start {
        position: state.position,
        sums: state.sums,
        valid_batches: state.valid_batches,
        sweeps: state.sweeps,
        clock: Clock::new(state.seconds),
    }
}

pub(super) fn open(folder: &RunFolder, name: &str) -> Result<Journal, SearchError> {
    let path = folder.file(name);
    Journal::open(&path).map_err(|source| RunError::Open { path, source }.into())
}

/// The result of the search in `run`, if it has ended. Needs neither its data nor its checkpoints.
///
/// # Errors
/// A file of the run that cannot be read.
pub fn finished(run: &Path) -> Result<Option<Outcome>, SearchError> {
    let broken = |path: &Path, source| RunError::Open { path: path.to_owned(), source };
    let path = run.join(GENOTYPE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&e.kind()) => return Ok(None),
        Err(e) => return Err(broken(&path, e).into()),
    };
    let found: Found = serde_json::from_slice(&text).map_err(|e| broken(&path, e.into()))?;
    let mut config = Config::read(&run.join(CONFIG))?;
    let space = fit(&mut config)?;
    let path = run.join(TIMING);
    let timing = fs::read_to_string(&path).map_err(|e| broken(&path, e))?;
    let booked = |line: &str| serde_json::from_str::<Booked>(line).ok()?.seconds;
    let seconds = timing.lines().rev().find_map(booked).unwrap_or_default();
    Ok(Some(outcome(found, run, &Plan::strategy_of(&config, space).schedule(), &seconds)))
}

/// A line of `timing.jsonl`.
#[derive(Deserialize)]
struct Booked {
    seconds: Option<BTreeMap<String, PhaseSeconds>>,
}

fn outcome(found: Found, run: &Path, schedule: &Schedule, seconds: &BTreeMap<String, PhaseSeconds>) -> Outcome {
    let of = |name: &String| (name.clone(), seconds.get(name).copied().unwrap_or_default());
    Outcome {
        genotype: found.genotype,
        arch: found.arch,
        index: found.index,
        seconds: schedule.phases.iter().filter(|p| p.epochs > 0).map(|p| of(&p.name)).collect(),
        folder: run.to_owned(),
    }
}

/// Enters the phase that a search in a new folder begins with and writes the first line of each journal.
fn open_record(cx: &mut Context, how: &str, details: Value) -> Result<(), SearchError> {
    if let Some(next) = cx.plan.schedule.at(cx.position.epoch) {
        cx.clock.enter(&next.name);
    }
    cx.log(how, details)?;
    let start = run_start(cx);
    cx.record(Event::RunStart(Box::new(start)))
}

fn run_start(cx: &Context) -> RunStart {
    let Plan { config, space, schedule, steps_per_epoch, train, valid, network, .. } = &cx.plan;
    RunStart {
        version: EVENTS_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        strategy: config.strategy.name().to_owned(),
        space: space.name().to_owned(),
        dataset: config.dataset.as_str().to_owned(),
        classes: network.classes,
        train_images: train.len(),
        valid_images: valid.len(),
        seed: config.seed,
        edges: space.edge_names(),
        ops: space.ops().iter().map(ToString::to_string).collect(),
        phases: schedule.phases.clone(),
        steps_per_epoch: *steps_per_epoch,
        parameters: cx.supernet.parameters(),
    }
}
