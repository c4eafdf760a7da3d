use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Table;

use super::{error::ConfigError, folder};
use crate::{
    data::{Augmentation, DatasetName, FolderConfig, SplitChoice},
    limits::{AtMost, ClipNorm},
    run::Keep,
    search::{
        OpSets,
        strategies::{STRATEGIES, StrategyConfig},
    },
};

/// Everything that determines a search.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `space` | | | table, see [`SpaceConfig`] |
/// | `dataset` | `digits` | a name of `hpe-darts list datasets` | data set |
/// | `seed` | 0 | | of everything random: initial weights, data order, augmentation, samples |
/// | `threads` | all cores | 1 to 1024 | results do not depend on it |
/// | `data` | | | table, see [`DataConfig`] |
/// | `supernet` | | | table, see [`SupernetConfig`] |
/// | `training` | | | table, see [`TrainingConfig`] |
/// | `run` | | | table, see [`RunConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Search space and operations.
    pub space: SpaceConfig,
    /// The data set.
    pub dataset: DatasetName,
    /// Seed of everything random.
    pub seed: u64,
    /// Worker threads of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Where the data is and what is done to it.
    pub data: DataConfig,
    /// Size of the supernet.
    pub supernet: SupernetConfig,
    /// Training of omega.
    pub training: TrainingConfig,
    /// Care of the run folder.
    pub run: RunConfig,
    /// The strategy and its settings.
    pub strategy: StrategyConfig,
}

/// Search space, `space = NAME` or `[space]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `name` | `nas-bench-201` | a name of `hpe-darts list spaces` | search space; where it is all there is to say, `space = NAME` |
/// | `ops` | all of the space | a list of its operations, one with weights among them; or such a list for each edge: by target, then source, the normal cell first | the others do not exist; RobustDARTS' S1 to S3 are in `configs/` |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceConfig {
    /// Name of the space.
    pub name: String,
    /// Operations, if not all.
    pub ops: Option<OpSets>,
}

impl From<&str> for SpaceConfig {
    fn from(name: &str) -> Self {
        Self { name: name.to_owned(), ops: None }
    }
}

/// As [`SpaceConfig`] is written as a table.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpaceTable {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ops: Option<OpSets>,
}

impl Serialize for SpaceConfig {
    /// A name by itself, where nothing else is to be said.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.ops {
            None => serializer.serialize_str(&self.name),
            Some(_) => SpaceTable { name: Some(self.name.clone()), ops: self.ops.clone() }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SpaceConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = SpaceConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a space, or a table of `name` and `ops`")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<SpaceConfig, E> {
        Ok(SpaceConfig::from(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<SpaceConfig, A::Error> {
        let SpaceTable { name, ops } = SpaceTable::deserialize(MapAccessDeserializer::new(table))?;
        Ok(SpaceConfig { name: name.unwrap_or_else(|| Config::default().space.name), ops })
    }
}

/// Data, `[data]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `dir` | where `data fetch` puts it | a path | folder or archive of the data set |
/// | `verify` | true | | only the official files are accepted |
/// | `split` | `auto` | `auto`, `benchmark`, `first-half`, `half`, `folder`, a share such as 0.8, a file | `D_train` and `D_val`; `auto`: NAS-Bench-201's own on CIFAR-10, `train` and `val` of own pictures where there is a folder `val` (`folder`), else a random half |
/// | `downsample` | 1 | >= 1, divides the images' sides | blocks of so many pixels squared are averaged into one: 2 makes CIFAR's images 16x16, for faster searches |
/// | `folder` | | | table, see [`FolderConfig`] |
/// | `augmentation` | | | table, see [`Augmentation`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder or archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Whether sizes and checksums must be the official ones.
    pub verify: bool,
    /// Which images train omega and which alpha.
    pub split: SplitChoice,
    /// Side of the blocks of pixels that are averaged into one.
    pub downsample: usize,
    /// How own pictures are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderConfig>,
    /// Random changes of the images of both halves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}

/// Size of the supernet, `[supernet]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `channels` | 16 | 1 to 1024 | `C`, channels of the first stage; NAS-Bench-201 |
/// | `cells_per_stage` | 5 (demo: 1) | 1 to 100 | `N`; NAS-Bench-201 |
/// | `stem_stride` | 1; own pictures from 64 pixels on 2 | 1 or 2 | stride of the stem's convolution; 2 takes a quarter of the time |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupernetConfig {
    /// Channels of the first stage.
    pub channels: usize,
    /// Cells of each stage.
    pub cells_per_stage: usize,
    /// Stride of the stem's convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem_stride: Option<usize>,
}

/// Training of omega by SGD, `[training]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `batch_size` | 64 | 1 to the images of each half | DARTS |
/// | `learning_rate` | 0.025 | > 0 | in the first epoch; DARTS |
/// | `learning_rate_min` | 0.001 | 0 to `learning_rate` | after the last epoch, one cosine over all epochs between; DARTS |
/// | `momentum` | 0.9 | [0, 1) | DARTS |
/// | `nesterov` | false | | NAS-Bench-201's own code: true |
/// | `weight_decay` | 3e-4 | >= 0 | DARTS |
/// | `clip_norm` | 5.0 | > 0, or `none` | largest gradient norm; DARTS |
/// | `max_steps_per_epoch` | `all` | >= 1, or `all` | bound on the batches of an epoch, for trials |
/// | `max_epochs` | 500 | >= 1 | a longer schedule is refused as a slip of the keyboard |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingConfig {
    /// Images of a batch.
    pub batch_size: usize,
    /// Learning rate in the first epoch.
    pub learning_rate: f64,
    /// Learning rate after the last epoch.
    pub learning_rate_min: f64,
    /// Momentum factor.
    pub momentum: f64,
    /// Nesterov's form of momentum.
    pub nesterov: bool,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Largest gradient norm.
    pub clip_norm: ClipNorm,
    /// Bound on the batches of an epoch.
    pub max_steps_per_epoch: AtMost,
    /// Bound on the epochs of the schedule.
    pub max_epochs: usize,
}

/// Care of the run folder, `[run]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `checkpoint_minutes` | 3.0 | > 0 | longest time between checkpoints inside an epoch; one is written after every epoch anyway |
/// | `keep_epochs` | `last` | `best` (of a search the lowest training loss; of a training the best validation accuracy, where there is one), `every(5)`, `true`: every one, `false`: as `last` | checkpoints of ends of epochs that stay in `epochs/N/`, for `hpe-darts importance RUN --epoch N` and `evaluate RUN --epoch N` |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Minutes between checkpoints inside an epoch.
    pub checkpoint_minutes: f64,
    /// Which checkpoints of the ends of epochs stay.
    pub keep_epochs: Keep,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            space: SpaceConfig::from("nas-bench-201"),
            dataset: DatasetName::Digits,
            seed: 0,
            threads: None,
            data: DataConfig::default(),
            supernet: SupernetConfig::default(),
            training: TrainingConfig::default(),
            run: RunConfig::default(),
            strategy: (STRATEGIES[0].config)(),
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { dir: None, verify: true, split: SplitChoice::Auto, downsample: 1, folder: None, augmentation: None }
    }
}

impl Default for SupernetConfig {
    fn default() -> Self {
        Self { channels: 16, cells_per_stage: 5, stem_stride: None }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            batch_size: 64,
            learning_rate: 0.025,
            learning_rate_min: 0.001,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 3e-4,
            clip_norm: ClipNorm::At(5.0),
            max_steps_per_epoch: AtMost::All,
            max_epochs: 500,
        }
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { checkpoint_minutes: 3.0, keep_epochs: Keep::Last }
    }
}

impl Config {
    /// As TOML, every default written out.
    pub fn to_toml(&self) -> String {
        // Plain structs of numbers, strings and tables, paths checked: only a fault of the program can keep them from being written.
        toml::to_string(self).unwrap_or_else(|e| panic!("a configuration that cannot be written: {e}"))
    }

    /// As a table.
    pub(crate) fn table(&self) -> Table {
        // As in `to_toml`.
        Table::try_from(self).unwrap_or_else(|e| panic!("a configuration that is no table: {e}"))
    }

    /// The settings that decide what comes out: threads and the care of the folder have no part in it.
    pub(crate) fn decisive(&self) -> Self {
        Self { threads: None, run: RunConfig::default(), ..self.clone() }
    }

    /// What images of this data set usually go through, at the size that they have here.
    pub(super) fn usual_augmentation(&self) -> Augmentation {
        folder::at_size(self.dataset.default_augmentation(), self.data.downsample, self.data.folder.as_ref())
    }

    /// Writes out what depends on a folder of own pictures.
    pub(super) fn settle_folder(&mut self) -> Result<(), ConfigError> {
        let data = &mut self.data;
        folder::settle(self.dataset, data.dir.as_deref(), data.downsample, &mut data.folder)
    }

    /// Writes out what depends on the machine and the data set, and checks every number.
    pub(super) fn resolve(&mut self) -> Result<(), ConfigError> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = *self.threads.get_or_insert_with(cores);
        self.settle_folder()?;
        let usual = self.usual_augmentation();
        self.data.augmentation.get_or_insert(usual);
        if let Some(dir) = &mut self.data.dir {
            folder::absolute("data.dir", dir)?;
        }
        if let SplitChoice::File(path) = &mut self.data.split {
            folder::absolute("data.split", path)?;
        }
        let t = &self.training;
        let counts = [
            ("threads", threads),
            ("data.downsample", self.data.downsample),
            ("supernet.channels", self.supernet.channels),
            ("supernet.cells_per_stage", self.supernet.cells_per_stage),
            ("training.batch_size", t.batch_size),
            ("training.max_epochs", t.max_epochs),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::range(key, 0, "at least 1"));
        }
        // Beyond these a slip of the keyboard would end in a failed allocation, not in a message.
        let limits = [
            ("threads", threads, 1024),
            ("supernet.channels", self.supernet.channels, 1024),
            ("supernet.cells_per_stage", self.supernet.cells_per_stage, 100),
        ];
        let stride = &mut self.supernet.stem_stride;
        *stride = stride.or(folder::usual_stem_stride(self.data.folder.as_ref()));
        folder::check_stem_stride("supernet.stem_stride", *stride)?;
        if let Some((key, count, most)) = limits.iter().find(|(_, count, most)| count > most) {
            return Err(ConfigError::range(key, count, &format!("at most {most}")));
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let checks = [
            ("training.learning_rate", t.learning_rate, positive(t.learning_rate), "more than 0"),
            (
                "training.learning_rate_min",
                t.learning_rate_min,
                (0.0..=t.learning_rate).contains(&t.learning_rate_min),
                "0 to training.learning_rate",
            ),
            ("training.momentum", t.momentum, (0.0..1.0).contains(&t.momentum), "at least 0 and less than 1"),
            ("training.weight_decay", t.weight_decay, t.weight_decay == 0.0 || positive(t.weight_decay), "at least 0"),
            (
                "run.checkpoint_minutes",
                self.run.checkpoint_minutes,
                positive(self.run.checkpoint_minutes),
                "more than 0",
            ),
        ];
        match checks.iter().find(|(_, _, fits, _)| !fits) {
            Some((key, value, _, expected)) => Err(ConfigError::range(key, value, expected)),
            None => Ok(()),
        }
    }
}
