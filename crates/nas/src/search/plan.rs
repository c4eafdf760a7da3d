use std::{path::Path, sync::Arc};

use engine::{Engine, EngineError, NetworkSpec, Sgd};

use super::{Config, Cosine, Schedule, SearchError, config::TrainingConfig, random};
use crate::{
    data::{self, Augmentation, Dataset, LoadEvent, LoadOptions, LoaderOptions, PartName, Source, Split},
    engines,
    space::{self, NetworkShape, SearchSpace},
    strategies::OneShot,
};

/// Loaders of one seed are told apart by these.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    /// Batches of `D_train`.
    Train = 0,
    /// Batches of `D_val` that train alpha.
    Valid = 1,
    /// Batches of `D_val` that sweeps use.
    Sweep = 2,
}

/// A configuration that has been checked against its space and its data: all that a search needs but the engine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The resolved configuration.
    pub config: Config,
    /// The search space.
    pub space: &'static dyn SearchSpace,
    /// Phases and epochs.
    pub schedule: Schedule,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Learning rate of omega.
    pub learning_rate: Cosine,
    /// `D_train`
    pub train: Source,
    /// `D_val`
    pub valid: Source,
    /// The supernet.
    pub network: NetworkSpec,
}

impl Plan {
    /// Checks the configuration and reads the data. `home`: the program's folder in the user's data
    /// directory; `notify` is told how the data is being read.
    ///
    /// # Errors
    /// Everything that can be wrong with a configuration, see [`SearchError`].
    pub fn new(
        mut config: Config,
        home: Option<&Path>,
        notify: &mut dyn FnMut(LoadEvent),
    ) -> Result<Self, SearchError> {
        let space = fit(&mut config)?;
        let strategy = Self::strategy_of(&config, space);
        let schedule = strategy.schedule();
        let (epochs, max) = (schedule.epochs(), config.training.max_epochs);
        if epochs > max {
            let phases: Vec<_> = schedule.phases.iter().map(|p| format!("{} {}", p.name, p.epochs)).collect();
            return Err(SearchError::TooLong { epochs, phases: phases.join(", "), max });
        }
        let options =
            LoadOptions { data: config.data.dir.clone(), home: home.map(Path::to_owned), verify: config.data.verify };
        let dataset = Arc::new(data::load_with(config.dataset, &options, notify)?.downsampled(config.data.downsample)?);
        let samples = dataset.train().len();
        let split = Split::choose(&config.data.split, config.dataset.as_str(), samples, config.seed)?;
        let train = Source::new(Arc::clone(&dataset), PartName::Train, split.train)?;
        let valid = Source::new(Arc::clone(&dataset), PartName::Train, split.valid)?;
        let network = space.supernet(&shape(&dataset, &config));
        network.check()?;
        let TrainingConfig { learning_rate, learning_rate_min, max_steps_per_epoch, .. } = config.training;
        let mut plan = Self {
            space,
            learning_rate: Cosine { max: learning_rate, min: learning_rate_min, epochs },
            schedule,
            steps_per_epoch: 0,
            train,
            valid,
            network,
            config,
        };
        let steps = |source: &Source| -> Result<usize, SearchError> {
            let options = plan.loader(Stream::Train);
            options.augmentation.check(source.shape())?;
            match options.steps(source.len()) {
                0 => Err(data::DataError::Batch { batch: options.batch, samples: source.len() }.into()),
                steps => Ok(steps),
            }
        };
        let whole = steps(&plan.train)?;
        steps(&plan.valid)?;
        let (batch, samples) = (strategy.valid_batch(), plan.valid.len());
        if batch > samples {
            return Err(data::DataError::Batch { batch, samples }.into());
        }
        plan.steps_per_epoch = if max_steps_per_epoch == 0 { whole } else { whole.min(max_steps_per_epoch) };
        Ok(plan)
    }

    /// The strategy, with initial alpha.
    pub(super) fn strategy(&self) -> Box<dyn OneShot> {
        Self::strategy_of(&self.config, self.space)
    }

    /// The same without the rest of a plan, from a checked configuration.
    pub(super) fn strategy_of(config: &Config, space: &dyn SearchSpace) -> Box<dyn OneShot> {
        config.strategy.build(space, &mut random::generator(config.seed, random::Purpose::Alpha, 0, 0))
    }

    /// An engine with initial weights.
    ///
    /// # Errors
    /// [`EngineError::Threads`].
    pub fn engine(&self) -> Result<Box<dyn Engine>, EngineError> {
        self.engine_with(self.config.threads)
    }

    /// The same with another number of threads (`None`: one), on which results do not depend.
    ///
    /// # Errors
    /// [`EngineError::Threads`].
    pub fn engine_with(&self, threads: Option<usize>) -> Result<Box<dyn Engine>, EngineError> {
        engines::cpu(threads.unwrap_or(1))?.build(&self.network, self.config.seed)
    }

    /// How batches are made, apart from their number.
    pub(super) fn loader(&self, stream: Stream) -> LoaderOptions {
        let augmentation = self.config.data.augmentation.unwrap_or(Augmentation::NONE);
        LoaderOptions::training(self.config.training.batch_size, augmentation, self.config.seed, stream as u64)
    }

    /// The optimiser of omega.
    pub(super) fn sgd(&self) -> Sgd {
        let t = &self.config.training;
        Sgd {
            momentum: t.momentum as f32,
            nesterov: t.nesterov,
            weight_decay: t.weight_decay as f32,
            clip_norm: (t.clip_norm > 0.0).then_some(t.clip_norm as f32),
        }
    }
}

/// Checks the strategy's settings against the space and writes out what the space decides of them.
pub(crate) fn fit(config: &mut Config) -> Result<&'static dyn SearchSpace, SearchError> {
    let space = space::find(&config.space)?;
    let strategy = config.strategy.name();
    config.strategy.check(space).map_err(|source| SearchError::Strategy { strategy, source })?;
    Ok(space)
}

fn shape(dataset: &Dataset, config: &Config) -> NetworkShape {
    NetworkShape {
        image: dataset.shape(),
        classes: dataset.classes().len(),
        channels: config.supernet.channels,
        cells_per_stage: config.supernet.cells_per_stage,
    }
}
