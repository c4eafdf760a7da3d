use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    config::Config,
    error::SearchError,
    plan::Plan,
    task::{Found, SearchTask},
};
use crate::{
    Here,
    data::LoadEvent,
    engines,
    run::{self, CONFIG, Executor, Kept, Observers, Setup, Task},
    supernet::MakeEngine,
};

/// The result of a search; its presence in a run folder says that the search has ended.
pub const GENOTYPE: &str = SearchTask::RESULT;

/// The result of a finished search.
pub type Outcome = run::Outcome<Found>;

/// A search that can run: the [`Executor`] of a [`SearchTask`].
#[derive(Debug)]
pub struct Search(Executor<SearchTask>);

/// What [`Search::resume`] finds.
pub type Resumed = run::Resumed<Search, Found>;

impl Search {
    /// A new search in a new folder. `stop`: once set, the search saves its state at the next step and ends with
    /// [`RunError::Interrupted`](run::RunError::Interrupted).
    ///
    /// # Errors
    /// The folder cannot be used or written to; whatever the engine refuses.
    pub fn start(
        plan: Plan,
        make: MakeEngine,
        folder: &Path,
        observers: impl Into<Observers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SearchError> {
        let setup = setup(&plan, observers.into(), stop)?;
        Ok(Self(Executor::start(SearchTask::new(plan, make)?, setup, folder)?))
    }

    /// A new search in a new folder that goes on from the end of an epoch of another run, `(folder, epoch counted from 1)`,
    /// which keeps its checkpoint. Both must do the same up to there: the new one is then as if it had done it itself.
    ///
    /// # Errors
    /// As [`Search::start`] and [`Search::resume`].
    pub fn fork(
        plan: Plan,
        make: MakeEngine,
        (from, epoch): (&Path, usize),
        folder: &Path,
        observers: impl Into<Observers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SearchError> {
        let from = Kept::open(from, Some(epoch))?;
        let setup = setup(&plan, observers.into(), stop)?;
        Ok(Self(Executor::fork(SearchTask::new(plan, make)?, setup, from, folder)?))
    }

    /// Goes on with the search in `folder` from its last checkpoint. `notify` is told how the
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
    ) -> Result<Resumed, SearchError> {
        let observers = observers.into();
        let resumed = Executor::reopen(folder, || {
            let mut config = Config::read(&folder.join(CONFIG))?;
            here.replace(&mut config.data.dir, &mut config.threads);
            let plan = Plan::new(config, here.home.as_deref(), notify)?;
            let (make, setup) = (make(&plan), setup(&plan, observers, stop)?);
            Ok::<_, SearchError>((SearchTask::new(plan, make)?, setup))
        })?;
        Ok(resumed.map(Self))
    }

    /// Runs the search to its end.
    ///
    /// # Errors
    /// See [`Executor::run`].
    pub fn run(self) -> Result<Outcome, SearchError> {
        self.0.run()
    }
}

/// The result of the search in `run`, if it has ended. Needs neither its data nor its checkpoints.
///
/// # Errors
/// A file of the run that cannot be read.
pub fn finished(run: &Path) -> Result<Option<Outcome>, SearchError> {
    Ok(run::finished(run, GENOTYPE)?)
}

/// Whether the search in a folder is past the end of `epoch`, counted from 1, so that it comes no more to keeping it.
pub fn is_past(folder: &Path, epoch: usize) -> bool {
    folder.join(GENOTYPE).exists() || run::is_past(folder, epoch)
}

/// What a run needs beside its task. A run that this machine has no memory for is refused.
pub(super) fn setup(plan: &Plan, observers: Observers, stop: Arc<AtomicBool>) -> Result<Setup, SearchError> {
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
