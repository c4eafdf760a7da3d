use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use tempfile::TempDir;

use super::{
    config::Config,
    error::SearchError,
    launch::setup,
    parts::{Criterion, Importance, ImportanceConfig, ImportanceTable},
    plan::Plan,
    task::SearchTask,
};
use crate::{
    Here,
    data::LoadEvent,
    run::{At, CONFIG, Kept, Observers, RunError, Session},
    supernet::{MakeEngine, Mask, OpAt},
};

/// The supernet of a run as a checkpoint has it, to be measured. Nothing in the run folder changes.
#[derive(Debug)]
pub struct Study {
    task: SearchTask,
    session: Session,
    /// Where the session of the study writes, gone with it.
    _scratch: TempDir,
}

impl Study {
    /// The newest checkpoint of `run`, or the one kept at the end of `epoch` (counted from 1; see `run.keep_epochs`).
    /// The other arguments are those of [`super::Search::resume`].
    ///
    /// # Errors
    /// As there, and where no checkpoint of that epoch is kept.
    pub fn open(
        run: &Path,
        epoch: Option<usize>,
        here: &Here,
        notify: &mut dyn FnMut(LoadEvent),
        make: impl FnOnce(&Plan) -> MakeEngine,
        observers: impl Into<Observers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SearchError> {
        let kept = Kept::open(run, epoch)?;
        let mut config = Config::read(&run.join(CONFIG))?;
        here.replace(&mut config.data.dir, &mut config.threads);
        let plan = Plan::new(config, here.home.as_deref(), notify)?;
        let (make, setup) = (make(&plan), setup(&plan, observers.into(), stop)?);
        kept.same_settings(&setup.settings)?;
        let mut task = SearchTask::new(plan, make)?;
        let position = kept.restore(&mut task)?;
        let scratch = tempfile::tempdir().map_err(RunError::write(std::env::temp_dir()))?;
        let session = Session::scratch(&scratch.path().join("study"), setup, position)?;
        Ok(Self { task, session, _scratch: scratch })
    }

    /// Configuration, space and data of the run.
    pub fn plan(&self) -> &Plan {
        self.task.plan()
    }

    /// Epochs that the supernet has been trained for; the last one may be incomplete.
    pub fn epochs(&self) -> usize {
        self.session.position().epoch
    }

    /// Operations that are alive, `[E, O]`.
    pub fn mask(&self) -> &Mask {
        self.task.mask()
    }

    /// The importance of every alive operation. `sample` chooses the images: equal samples of `D_val` make equal
    /// images, whatever is measured on them.
    ///
    /// # Errors
    /// As [`Importance::measure`].
    pub fn importance(
        &mut self,
        by: &Criterion,
        config: &ImportanceConfig,
        sample: usize,
    ) -> Result<ImportanceTable, SearchError> {
        self.session.skip_sweeps(sample);
        let at = At { epoch: self.epochs(), phase: 0, name: String::new(), within: 0, length: 0 };
        let (strategy, mut cx) = self.task.parts(&mut self.session, &at);
        let without = |mask: &Mask, out: &[OpAt]| strategy.weights_without(mask, out);
        Importance::new(by, config).measure(&mut cx, &without)
    }
}
