use std::{path::Path, sync::Arc};

use engine::{EngineError, NetworkSpec, Sgd};
use toml::Table;

use super::{
    candidates::Candidates,
    config::{Config, TrainingConfig},
    error::SearchError,
    one_shot::OneShot,
    trainer::{Stream, loader},
};
use crate::{
    data::{self, Augmentation, BatchSetting, DataError, Dataset, LoadEvent, LoadOptions, PartName, Source, Split},
    engines,
    learning_rate::Cosine,
    memory::MemoryNeed,
    random::{self, Purpose},
    run::Schedule,
    space::{self, NetworkShape, SearchSpace, Size},
    supernet::MakeEngine,
};

/// A configuration that has been checked against its space and its data: all that a search needs but the engine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The resolved configuration.
    pub config: Config,
    /// Space and operations.
    pub candidates: Candidates,
    /// Phases and epochs.
    pub schedule: Schedule,
    /// Steps of an epoch of the first phase.
    pub steps_per_epoch: usize,
    /// Learning rate of omega.
    pub learning_rate: Cosine,
    /// `D_train`
    pub train: Source,
    /// `D_val`
    pub valid: Source,
    /// Of the split.
    fingerprint: String,
    /// What is odd about the split.
    remark: Option<String>,
    /// The supernet.
    pub network: NetworkSpec,
}

impl Plan {
    /// Checks the configuration and reads the data. `home`: the program's folder in the user's data
    /// directory; `notify` is told how the data is being read.
    ///
    /// # Errors
    /// Everything that can be wrong with a configuration, see [`SearchError`].
    pub fn new(config: Config, home: Option<&Path>, notify: &mut dyn FnMut(LoadEvent)) -> Result<Self, SearchError> {
        let plan = Self::with(config, |config| load(config, home, notify))?;
        plan.remark.clone().map(LoadEvent::Remark).into_iter().for_each(notify);
        Ok(plan)
    }

    /// The same with data that `read` gives for the checked configuration.
    ///
    /// # Errors
    /// As [`Plan::new`]; those of `read`.
    pub(crate) fn with(
        mut config: Config,
        read: impl FnOnce(&Config) -> Result<Arc<Dataset>, DataError>,
    ) -> Result<Self, SearchError> {
        let candidates = fit(&mut config)?;
        let strategy = Self::strategy_of(&config, &candidates);
        let schedule = strategy.schedule();
        let (epochs, max) = (schedule.epochs(), config.training.max_epochs);
        if epochs > max {
            let phases: Vec<_> = schedule.phases.iter().map(|p| format!("{} {}", p.name, p.epochs)).collect();
            return Err(SearchError::TooLong { epochs, phases: phases.join(", "), max });
        }
        let dataset = read(&config)?;
        let split = Split::choose(&config.data.split, &dataset, config.seed)?;
        let remark = split.classes(&dataset)?;
        let fingerprint = split.fingerprint();
        let train = Source::new(Arc::clone(&dataset), PartName::Train, split.train)?;
        let valid = Source::new(Arc::clone(&dataset), PartName::Train, split.valid)?;
        let network = candidates.supernet(&shape(&dataset, &config))?;
        network.check()?;
        let network = NetworkSpec { partial: strategy.partial_channels(0), ..network };
        let TrainingConfig { learning_rate, learning_rate_min, batch_size, .. } = config.training;
        let mut plan = Self {
            candidates,
            learning_rate: Cosine { max: learning_rate, min: learning_rate_min, epochs },
            schedule,
            steps_per_epoch: 0,
            train,
            valid,
            fingerprint,
            remark,
            network,
            config,
        };
        // All of them are told at once, so that nobody changes one to be told of the next.
        let mut too_large = Vec::new();
        for phase in 0..plan.schedule.phases.len() {
            let batch = plan.batch_of(phase, &*strategy);
            match plan.too_few(batch)? {
                Some(samples) if batch > batch_size => {
                    return Err(plan.in_phase(phase, DataError::Batch { batch, samples }.into()));
                }
                Some(samples) if too_large.is_empty() => {
                    let key = "training.batch_size".to_owned();
                    too_large.push(BatchSetting { key, batch: batch_size, samples });
                }
                _ => {}
            }
            let network = plan.network_of(phase, &*strategy, &plan.schedule);
            let network = network.map_err(|e| plan.in_phase(phase, e))?;
            network.check().map_err(|e| plan.no_network(phase, network.partial, e))?;
        }
        let samples = plan.valid.len();
        if let Some((key, batch)) = strategy.valid_batch().filter(|(_, batch)| *batch > samples) {
            let key = format!("strategy.{}.{key}", plan.config.strategy.name());
            too_large.push(BatchSetting { key, batch, samples });
        }
        if !too_large.is_empty() {
            return Err(DataError::BatchSettings { settings: too_large }.into());
        }
        plan.steps_per_epoch = plan.steps_of(plan.batch_of(plan.schedule.at(0).map_or(0, |at| at.phase), &*strategy));
        Ok(plan)
    }

    /// An error, told with the phase whose it is.
    fn in_phase(&self, phase: usize, source: SearchError) -> SearchError {
        SearchError::Phase { phase: self.schedule.phases[phase].name.clone(), source: Box::new(source) }
    }

    /// The error of a phase whose network the engine refuses.
    fn no_network(&self, phase: usize, partial: usize, source: EngineError) -> SearchError {
        if partial == 1 {
            return self.in_phase(phase, source.into());
        }
        let (strategy, channels) = (self.config.strategy.name(), self.config.supernet.channels);
        SearchError::PartialChannels { strategy, partial, channels, source }
    }

    /// The images of the smaller half, if they do not fill a batch of this size.
    fn too_few(&self, batch: usize) -> Result<Option<usize>, SearchError> {
        let options = loader(batch, self.augmentation(), self.config.seed, Stream::Train);
        options.augmentation.check(self.train.shape())?;
        let least = self.train.len().min(self.valid.len());
        Ok((options.steps(least) == 0).then_some(least))
    }

    /// The strategy, with initial alpha.
    pub(super) fn strategy(&self) -> Box<dyn OneShot> {
        Self::strategy_of(&self.config, &self.candidates)
    }

    /// The same without the rest of a plan, from a checked configuration.
    fn strategy_of(config: &Config, candidates: &Candidates) -> Box<dyn OneShot> {
        config.strategy.build(candidates, &mut random::generator(config.seed, Purpose::Alpha, 0, 0))
    }

    /// The settings that decide what comes out, with what a split file and a folder of pictures held.
    pub(super) fn decisive(&self) -> Table {
        let mut table = self.config.decisive().table();
        table.insert("split".to_owned(), self.fingerprint.clone().into());
        if let Some(pictures) = self.train.dataset().fingerprint() {
            table.insert("pictures".to_owned(), pictures.into());
        }
        table
    }

    /// Makes CPU engines with the configuration's threads.
    pub fn engines(&self) -> MakeEngine {
        cpu_engines(self.config.threads)
    }

    /// What the search takes of memory beside its images: in the phase that takes most.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn memory(&self) -> Result<MemoryNeed, SearchError> {
        let strategy = self.strategy();
        let engines = engines::cpu(self.config.threads.unwrap_or(1))?;
        let mut most = MemoryNeed::default();
        for phase in 0..self.schedule.phases.len() {
            let batch = self.batch_of(phase, &*strategy);
            let network = self.network_of(phase, &*strategy, &self.schedule)?;
            let alone = strategy.valid_batch().map_or(batch, |(_, own)| own.max(batch));
            // Batches of `D_train` and of `D_val`.
            let need = MemoryNeed::of(&*engines, &network, batch, alone, 2)?;
            most = if need.total > most.total { need } else { most };
        }
        Ok(most)
    }

    /// Random changes of the images of `D_train` and `D_val`.
    pub(super) fn augmentation(&self) -> Augmentation {
        self.config.data.augmentation.unwrap_or(Augmentation::NONE)
    }

    /// Images of a batch of a phase.
    pub(super) fn batch_of(&self, phase: usize, strategy: &dyn OneShot) -> usize {
        self.config.training.batch_size.saturating_add(strategy.phase(phase).added_images)
    }

    /// Steps of an epoch with batches of this size.
    pub(super) fn steps_of(&self, batch: usize) -> usize {
        let options = loader(batch, self.augmentation(), self.config.seed, Stream::Train);
        self.config.training.max_steps_per_epoch.of(options.steps(self.train.len()))
    }

    /// The supernet of a phase.
    ///
    /// # Errors
    /// A size that makes no network of the space.
    pub(super) fn network_of(
        &self,
        phase: usize,
        strategy: &dyn OneShot,
        schedule: &Schedule,
    ) -> Result<NetworkSpec, SearchError> {
        let runs = |&p: &usize| schedule.phases[p].epochs > 0;
        let added = (0..=phase).rev().filter(runs).find_map(|p| strategy.phase(p).added_cells);
        let network = match added {
            None => self.network.clone(),
            Some(added) => {
                let shape = shape(self.train.dataset(), &self.config);
                self.candidates.supernet(&NetworkShape { cells: shape.cells.saturating_add(added), ..shape })?
            }
        };
        Ok(NetworkSpec { partial: strategy.partial_channels(phase), ..network })
    }

    /// The optimiser of omega.
    pub(super) fn sgd(&self) -> Sgd {
        let t = &self.config.training;
        Sgd {
            momentum: t.momentum as f32,
            nesterov: t.nesterov,
            weight_decay: t.weight_decay as f32,
            clip_norm: t.clip_norm.norm().map(|norm| norm as f32),
        }
    }
}

/// Reads the data of a configuration.
///
/// # Errors
/// [`DataError`].
pub(crate) fn load(
    config: &Config,
    home: Option<&Path>,
    notify: &mut dyn FnMut(LoadEvent),
) -> Result<Arc<Dataset>, DataError> {
    let options = LoadOptions {
        data: config.data.dir.clone(),
        home: home.map(Path::to_owned),
        verify: config.data.verify,
        folder: config.data.folder.unwrap_or_default(),
        threads: config.threads.unwrap_or(1),
    };
    Ok(Arc::new(data::load_with(config.dataset, &options, notify)?.downsampled(config.data.downsample)?))
}

/// Makes CPU engines with a number of threads (`None`: one), on which results do not depend.
pub fn cpu_engines(threads: Option<usize>) -> MakeEngine {
    Box::new(move |network, seed| engines::cpu(threads.unwrap_or(1))?.build(network, seed))
}

/// Checks the strategy's settings against space and operations and writes out what these decide of them.
pub(crate) fn fit(config: &mut Config) -> Result<Candidates, SearchError> {
    let space = space::find(&config.space.name)?;
    supported(space)?;
    let candidates = Candidates::new(space, config.space.ops.as_ref())?;
    let strategy = config.strategy.name();
    config.strategy.check(&candidates).map_err(|source| SearchError::Strategy { strategy, source })?;
    Ok(candidates)
}

/// Checks that the engine has kernels for the space's supernet.
fn supported(space: &'static dyn SearchSpace) -> Result<(), SearchError> {
    let image = data::ImageShape { height: 32, width: 32, channels: 3 };
    let Size { channels, cells } = space.supernet_size();
    let supernet = space.supernet(&NetworkShape { image, classes: 10, channels, cells, stem_stride: 1 })?;
    engines::supports(&supernet).map_err(|source| SearchError::Unsearchable { space: space.name(), source })
}

fn shape(dataset: &Dataset, config: &Config) -> NetworkShape {
    NetworkShape {
        image: dataset.shape(),
        classes: dataset.classes().len(),
        channels: config.supernet.channels,
        cells: config.supernet.cells_per_stage,
        stem_stride: config.supernet.stem_stride.unwrap_or(1),
    }
}
