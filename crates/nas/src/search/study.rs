use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use engine::EngineError;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Config, Context, Observer, Plan, SearchError,
    checkpoint::Checkpoint,
    executor::{self, open},
    run_folder::{CONFIG, EVENTS, RunFolder, TIMING},
};
use crate::{
    data::LoadEvent,
    strategies::{
        OneShot,
        parts::{Criterion, Cut, Importance, ImportanceConfig, ImportanceTable},
    },
    supernet::{Engine, Mask},
};

/// The supernet of a run as a checkpoint has it, to be measured. Nothing in the run folder changes.
pub struct Study {
    cx: Context,
    strategy: Box<dyn OneShot>,
    /// Where the context of the study writes, gone with it.
    _scratch: TempDir,
}

impl Study {
    /// The newest checkpoint of `run`, or the one kept at the end of `epoch` (counted from 1; see `run.keep_epochs`).
    /// The other arguments are those of [`super::Executor::resume`].
    ///
    /// # Errors
    /// As there, and where no checkpoint of that epoch is kept.
    pub fn open(
        run: &Path,
        epoch: Option<usize>,
        home: Option<&Path>,
        notify: &mut dyn FnMut(LoadEvent),
        engine: impl FnOnce(&Plan) -> Result<Box<dyn Engine>, EngineError>,
        observer: Box<dyn Observer>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SearchError> {
        let folder = RunFolder::open(run)?;
        let saved = match epoch {
            Some(epoch) => folder.read_kept(epoch)?,
            None => folder.read_checkpoint()?,
        };
        let config = Config::read(&folder.file(CONFIG))?;
        let plan = Plan::new(config, home, notify)?;
        let Checkpoint { state, tensors, .. } = saved;
        executor::same_settings(&folder, &plan.config, &state)?;
        let (strategy, supernet) = executor::restored(&folder, &plan, &state, &tensors, engine)?;
        let scratch = tempfile::tempdir().map_err(SearchError::write(std::env::temp_dir()))?;
        let (folder, _) = RunFolder::create(&scratch.path().join("study"), &plan.config)?;
        let journals = (open(&folder, EVENTS)?, open(&folder, TIMING)?);
        let mut cx = Context::new(plan, supernet, folder, journals, observer, stop, executor::start_of(state));
        cx.clock.enter("study");
        Ok(Self { cx, strategy, _scratch: scratch })
    }

    /// Configuration, space and data of the run.
    pub fn plan(&self) -> &Plan {
        &self.cx.plan
    }

    /// Epochs that the supernet has been trained for; the last one may be incomplete.
    pub fn epochs(&self) -> usize {
        self.cx.position.epoch
    }

    /// Operations that are alive, `[E, O]`.
    pub fn mask(&self) -> &Mask {
        self.cx.mask()
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
        cut: Cut,
        sample: usize,
    ) -> Result<ImportanceTable, SearchError> {
        self.cx.open_hook(Value::Null);
        self.cx.skip_sweeps(sample);
        let table = Importance::new(by, config).measure(&mut self.cx, self.strategy.architecture(), cut);
        self.cx.close_hook();
        table
    }
}

impl std::fmt::Debug for Study {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Study").field("cx", &self.cx).field("strategy", &self.strategy).finish_non_exhaustive()
    }
}
