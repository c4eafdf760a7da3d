use std::{path::Path, sync::Arc};

use engine::{Cost, ImageShape, NetworkSpec, Sgd};
use toml::Table;

use super::{
    config::{RetrainConfig, TrainOn},
    error::RetrainError,
};
use crate::{
    data::{self, Augmentation, DataError, Dataset, LoadEvent, LoadOptions, LoaderOptions, PartName, Source, Split},
    engines,
    learning_rate::Cosine,
    memory::MemoryNeed,
    run::Schedule,
    search::cpu_engines,
    space::{self, Genotype, NetworkShape, SearchSpace, Size},
    supernet::MakeEngine,
};

/// Images of a batch of an evaluation, of this size: 256, fewer of large ones, for which a few keep every thread busy.
pub(super) fn evaluation_batch(image: ImageShape) -> usize {
    ((1 << 21) / (image.height * image.width).max(1)).clamp(1, 256)
}

/// A configuration that has been checked against its space and its data: all that a training needs but the engine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The resolved configuration.
    pub config: RetrainConfig,
    /// The search space.
    pub space: &'static dyn SearchSpace,
    /// What is trained.
    pub genotype: Genotype,
    /// The network.
    pub network: NetworkSpec,
    /// Parameters and multiply-adds, without an auxiliary head.
    pub cost: Cost,
    /// One phase.
    pub schedule: Schedule,
    /// Images that train.
    pub train: Source,
    /// Images that validate, if any do.
    pub valid: Option<Source>,
    /// Test images.
    pub test: Source,
    /// Of the split, if there is one.
    fingerprint: Option<String>,
    /// What is odd about the split.
    remark: Option<String>,
}

impl Plan {
    /// Checks the configuration and reads the data. `home`: the program's folder in the user's data
    /// directory; `notify` is told how the data is being read.
    ///
    /// # Errors
    /// Everything that can be wrong with a configuration, see [`RetrainError`].
    pub fn new(
        config: RetrainConfig,
        home: Option<&Path>,
        notify: &mut dyn FnMut(LoadEvent),
    ) -> Result<Self, RetrainError> {
        let plan = Self::with(config, |config| load(config, home, notify))?;
        plan.remark.clone().map(LoadEvent::Remark).into_iter().for_each(notify);
        Ok(plan)
    }

    /// The same with data that `read` gives for the configuration.
    ///
    /// # Errors
    /// As [`Plan::new`]; those of `read`.
    pub(crate) fn with(
        config: RetrainConfig,
        read: impl FnOnce(&RetrainConfig) -> Result<Arc<Dataset>, DataError>,
    ) -> Result<Self, RetrainError> {
        let space = space::find(&config.space)?;
        let genotype = space.parse(&config.arch)?;
        let dataset = read(&config)?;
        let (mut fingerprint, mut remark) = (None, None);
        let (train, valid) = match &config.data.train {
            TrainOn::All => {
                dataset.several_classes()?;
                (Source::all(Arc::clone(&dataset), PartName::Train), None)
            }
            TrainOn::Split(choice) => {
                let split = Split::choose(choice, &dataset, config.seed)?;
                remark = split.classes(&dataset)?;
                fingerprint = Some(split.fingerprint());
                let source = |indices| Source::new(Arc::clone(&dataset), PartName::Train, indices);
                (source(split.train)?, Some(source(split.valid)?))
            }
        };
        let Size { channels, cells } = config.network.size(space);
        let (image, classes) = (dataset.shape(), dataset.classes().len());
        let stem_stride = config.network.stem_stride.unwrap_or(1);
        let shape = NetworkShape { image, classes, channels, cells, stem_stride };
        let mut network = space.network(&genotype, &shape)?;
        let weight = config.network.auxiliary;
        if weight > 0.0 {
            let block = space.auxiliary_block(cells);
            network.auxiliary = Some(block.ok_or(RetrainError::NoAuxiliaryHead { space: space.name(), weight })?);
        }
        network.check()?;
        let cost = network.graph()?.cost();
        let schedule = Schedule::new([("training", config.training.epochs)]);
        let test = Source::all(Arc::clone(&dataset), PartName::Test);
        let plan = Self { space, genotype, cost, schedule, train, valid, test, network, config, fingerprint, remark };
        let loader = plan.loader();
        loader.augmentation.check(plan.train.shape())?;
        for source in [Some(&plan.train), plan.valid.as_ref(), Some(&plan.test)].into_iter().flatten() {
            if source.is_empty() {
                return Err(DataError::Batch { batch: loader.batch, samples: 0 }.into());
            }
        }
        Ok(plan)
    }

    /// Makes CPU engines with the configuration's threads.
    pub fn engines(&self) -> MakeEngine {
        cpu_engines(self.config.threads)
    }

    /// What the training takes of memory beside its images.
    ///
    /// # Errors
    /// What the engine refuses.
    pub fn memory(&self) -> Result<MemoryNeed, RetrainError> {
        let engines = engines::cpu(self.config.threads.unwrap_or(1))?;
        let images = [Some(&self.train), self.valid.as_ref(), Some(&self.test)].into_iter().flatten().map(Source::len);
        let batch = self.config.training.batch_size.min(self.train.len());
        let evaluate = images.max().unwrap_or(0).min(evaluation_batch(self.network.image));
        Ok(MemoryNeed::of(&*engines, &self.network, batch, evaluate, 1)?)
    }

    /// How the training batches are made; the last one of an epoch may be smaller.
    pub(super) fn loader(&self) -> LoaderOptions {
        let augmentation = self.config.data.augmentation.unwrap_or(Augmentation::NONE);
        let options = LoaderOptions::training(self.config.training.batch_size, augmentation, self.config.seed, 0);
        LoaderOptions { drop_last: false, ..options }
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.config.training.max_steps_per_epoch.of(self.loader().steps(self.train.len()))
    }

    /// Learning rate, constant within an epoch.
    pub(super) fn learning_rate(&self) -> Cosine {
        let t = &self.config.training;
        Cosine { max: t.learning_rate, min: t.learning_rate_min, epochs: t.epochs }
    }

    /// Probability of drop-path in an epoch, counted from 0: it rises linearly, as in DARTS.
    pub(super) fn drop_path(&self, epoch: usize) -> f64 {
        self.config.network.drop_path * epoch as f64 / self.config.training.epochs as f64
    }

    /// The settings that decide what comes out, with what the split file and a folder of pictures held.
    pub(crate) fn decisive(&self) -> Table {
        let mut table = self.config.decisive();
        if let Some(fingerprint) = &self.fingerprint {
            table.insert("split".to_owned(), fingerprint.clone().into());
        }
        if let Some(pictures) = self.train.dataset().fingerprint() {
            table.insert("pictures".to_owned(), pictures.into());
        }
        table
    }

    /// The optimiser.
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
    config: &RetrainConfig,
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
