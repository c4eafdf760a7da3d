use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use toml::Table;

use super::{
    config::RetrainConfig,
    error::RetrainError,
    plan::Plan,
    task::{RetrainTask, Retrained},
};
use crate::{
    Here,
    data::LoadEvent,
    engines,
    run::{self, CONFIG, Executor, Observers, Setup, Task},
    search::ConfigError,
    sniff,
    supernet::MakeEngine,
    tables,
};

/// The result of a training; its presence in a run folder says that it has ended.
pub const RESULT: &str = RetrainTask::RESULT;

/// The result of a finished training.
pub type Outcome = run::Outcome<Retrained>;

/// A training that can run: the [`Executor`] of a [`RetrainTask`].
#[derive(Debug)]
pub struct Retrain(Executor<RetrainTask>);

/// What [`Retrain::resume`] finds.
pub type Resumed = run::Resumed<Retrain, Retrained>;

/// Whether the run in a folder is the training of one architecture, not a search: its configuration has a recipe.
pub fn is_retraining(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join(CONFIG)).unwrap_or_default();
    text.parse::<Table>().is_ok_and(|config| config.contains_key("recipe"))
}

impl Retrain {
    /// A new training in a new folder. `stop`: once set, it saves its state at the next step and ends with
    /// [`RunError::Interrupted`](run::RunError::Interrupted).
    ///
    /// # Errors
    /// The folder cannot be used or written to; whatever the engine refuses.
    pub fn start(
        plan: Plan,
        make: &MakeEngine,
        folder: &Path,
        observers: impl Into<Observers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, RetrainError> {
        let mut plan = plan;
        let inherited = plan.inherit()?;
        let setup = setup(&plan, observers.into(), stop)?;
        let mut task = RetrainTask::new(plan, make)?;
        task.take_over(inherited.unwrap_or_default())?;
        Ok(Self(Executor::start(task, setup, folder)?))
    }

    /// Goes on with the training in `folder` from its last checkpoint. `notify` is told how the
    /// data is being read; `make` says how engines of a plan are made.
    ///
    /// # Errors
    /// The folder holds no run, one of another version, or no usable checkpoint; everything that [`Plan::new`] refuses.
    pub fn resume(
        folder: &Path,
        here: &Here,
        notify: &mut dyn FnMut(LoadEvent),
        make: impl FnOnce(&Plan) -> MakeEngine,
        observers: impl Into<Observers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Resumed, RetrainError> {
        let observers = observers.into();
        let resumed = Executor::reopen(folder, || {
            let mut config = read(&folder.join(CONFIG))?;
            here.replace(&mut config.data.dir, &mut config.threads);
            let plan = Plan::new(config, here.home.as_deref(), notify)?;
            let (make, setup) = (make(&plan), setup(&plan, observers, stop)?);
            Ok::<_, RetrainError>((RetrainTask::new(plan, &make)?, setup))
        })?;
        Ok(resumed.map(Self))
    }

    /// Goes on with the training in `folder` to its end, or, where none stands there, with the one that `plan` plans. `notify` is told
    /// how the data is being read.
    ///
    /// # Errors
    /// As [`Retrain::resume`], [`Retrain::start`] and [`Retrain::run`]; those of `plan`.
    pub fn complete(
        folder: &Path,
        here: &Here,
        notify: &mut dyn FnMut(LoadEvent),
        plan: impl FnOnce(&mut dyn FnMut(LoadEvent)) -> Result<Plan, RetrainError>,
        observers: impl Into<Observers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Outcome, RetrainError> {
        if run::is_run(folder) {
            return match Self::resume(folder, here, notify, Plan::engines, observers, stop)? {
                Resumed::Finished(outcome) => Ok(*outcome),
                Resumed::Ready(training) => training.run(),
            };
        }
        let plan = plan(notify)?;
        let engines = plan.engines();
        Self::start(plan, &engines, folder, observers, stop)?.run()
    }

    /// Runs the training to its end.
    ///
    /// # Errors
    /// See [`Executor::run`].
    pub fn run(self) -> Result<Outcome, RetrainError> {
        self.0.run()
    }
}

/// The configuration of a run folder.
pub(super) fn read(path: &Path) -> Result<RetrainConfig, ConfigError> {
    let text = sniff::read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let mut config: RetrainConfig = toml::from_str(&text).map_err(|error| ConfigError::File {
        path: path.to_owned(),
        message: tables::told(&error),
        hint: None,
    })?;
    config.resolve()?;
    Ok(config)
}

/// What a run needs beside its task. A run that this machine has no memory for is refused.
fn setup(plan: &Plan, observers: Observers, stop: Arc<AtomicBool>) -> Result<Setup, RetrainError> {
    let config = &plan.config;
    plan.memory()?.check()?;
    Ok(Setup {
        config: config.to_toml(),
        settings: plan.decisive(),
        checkpoint_minutes: config.run.checkpoint_minutes,
        keep: config.run.keep_epochs,
        environment: engines::environment(config.threads)?,
        observers,
        stop,
    })
}
