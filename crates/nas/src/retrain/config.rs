use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::recipe::RECIPES;
use crate::{
    data::{Augmentation, DatasetName, FolderConfig, SplitChoice, SplitValue},
    limits::{AtMost, ClipNorm},
    run::CONFIG,
    search::{self, ConfigError, RunConfig, folder},
    space::{self, SearchSpace, Size},
};

/// Everything that determines the training of an architecture.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `arch` | | an architecture in its space's notation | what is trained |
/// | `space` | that of `arch` | a name of `hpe-darts list spaces` | search space |
/// | `recipe` | `quick` | a name of `hpe-darts list recipes` | where the other settings are from |
/// | `dataset` | `digits` | a name of `hpe-darts list datasets` | data set |
/// | `seed` | 0 | | of everything random: initial weights, data order, augmentation, drop-path |
/// | `threads` | all cores | 1 to 1024 | results do not depend on it |
/// | `data` | | | table, see [`RetrainDataConfig`] |
/// | `network` | | | table, see [`NetworkConfig`] |
/// | `training` | | | table, see [`RetrainTrainingConfig`] |
/// | `inherit` | none | | table, see [`Inherit`] |
/// | `run` | | | table, see [`RunConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainConfig {
    /// The architecture in its space's notation.
    pub arch: String,
    /// Name of its space.
    pub space: String,
    /// Name of the recipe.
    pub recipe: String,
    /// The data set.
    pub dataset: DatasetName,
    /// Seed of everything random.
    pub seed: u64,
    /// Worker threads of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Where the data is and what is done to it.
    pub data: RetrainDataConfig,
    /// The network around the cells.
    pub network: NetworkConfig,
    /// Schedule and optimiser.
    pub training: RetrainTrainingConfig,
    /// Weights of a supernet to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inherit: Option<Inherit>,
    /// Care of the run folder.
    pub run: RunConfig,
}

/// Data, `[data]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `dir` | where `data fetch` puts it | a path | folder or archive of the data set |
/// | `verify` | true | | only the official files are accepted |
/// | `train` | `all` | `all`, or a split of a search: `benchmark`, `first-half`, `half`, `folder`, a file | images that train; with a split its second half is validated on after every epoch |
/// | `downsample` | 1 | >= 1, divides the images' sides | blocks of so many pixels squared are averaged into one |
/// | `folder` | | | table, see [`FolderConfig`] |
/// | `augmentation` | | | table, see [`Augmentation`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainDataConfig {
    /// Folder or archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// Whether sizes and checksums must be the official ones.
    pub verify: bool,
    /// Images that train.
    pub train: TrainOn,
    /// Side of the blocks of pixels that are averaged into one.
    pub downsample: usize,
    /// How own pictures are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderConfig>,
    /// Random changes of the training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}

/// Images that train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SplitValue", into = "SplitValue")]
pub enum TrainOn {
    /// All training images; there is no validation.
    #[default]
    All,
    /// The first part of a split; the second one validates.
    Split(SplitChoice),
}

impl TryFrom<SplitValue> for TrainOn {
    type Error = String;

    fn try_from(given: SplitValue) -> Result<Self, String> {
        match given {
            SplitValue::Text(text) if text == "all" => Ok(Self::All),
            given => SplitChoice::try_from(given).map(Self::Split),
        }
    }
}

impl From<TrainOn> for SplitValue {
    fn from(on: TrainOn) -> Self {
        match on {
            TrainOn::All => Self::Text("all".to_owned()),
            TrainOn::Split(split) => split.into(),
        }
    }
}

/// The network around the cells, `[network]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `size` | `network` | `supernet` | whose channels and cells are the default: the network's or the supernet's in the space's paper |
/// | `channels` | nas-bench-201 16; darts 36, `supernet` 16 | 1 to 1024 | `C`, channels of the first cells |
/// | `cells` | nas-bench-201 5; darts 20, `supernet` 8 | 1 to 1000 | `N`: of each stage, or of the whole network in the DARTS space |
/// | `stem_stride` | 1; own pictures from 64 pixels on 2 | 1 or 2 | stride of the stem's convolution |
/// | `auxiliary` | 0 | >= 0 | weight of the auxiliary head's loss, 0: no head; DARTS 0.4 |
/// | `drop_path` | 0 | [0, 1) | probability that drop-path rises to linearly; DARTS 0.2 |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Whose size is the default.
    pub size: SizeOf,
    /// Channels of the first cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Cells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<usize>,
    /// Stride of the stem's convolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stem_stride: Option<usize>,
    /// Weight of the auxiliary head's loss.
    pub auxiliary: f64,
    /// Probability of drop-path in the end.
    pub drop_path: f64,
}

/// Whose size a network has by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SizeOf {
    /// The network that the space's paper trains in the end.
    #[default]
    Network,
    /// Its supernet.
    Supernet,
}

/// Schedule and optimiser, `[training]`: SGD, one cosine over the epochs.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 15 | >= 1 | |
/// | `batch_size` | 96 | >= 1 | the last batch of an epoch may be smaller |
/// | `learning_rate` | 0.1 | > 0 | in the first epoch |
/// | `learning_rate_min` | 0 | 0 to `learning_rate` | after the last epoch |
/// | `momentum` | 0.9 | [0, 1) | |
/// | `nesterov` | true | | |
/// | `weight_decay` | 5e-4 | >= 0 | |
/// | `clip_norm` | 5.0 | > 0, or `none` | largest gradient norm |
/// | `max_steps_per_epoch` | `all` | >= 1, or `all` | bound on the batches of an epoch, for trials |
/// | `test_every` | 0 | >= 0 | epochs between measurements on the test images, for curves; 0: only after the last epoch. Nothing is chosen by them |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainTrainingConfig {
    /// Epochs.
    pub epochs: usize,
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
    /// Epochs between measurements on the test images.
    pub test_every: usize,
}

/// Weights of a search's supernet that a training starts from, `[inherit]`: those of the operations of the architecture, of
/// stem, classifier and what else both networks have. Normalisations that only the trained network has are new.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `run` | | a run folder | the search |
/// | `epoch` | the newest checkpoint | an epoch that is kept | see `run.keep_epochs` |
/// | `weights_md5` | written at the start | | checksum of the weights that were taken over |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inherit {
    /// Run folder of the search.
    pub run: PathBuf,
    /// The end of an epoch, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<usize>,
    /// Of the file of weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_md5: Option<String>,
}

impl Default for RetrainConfig {
    fn default() -> Self {
        Self {
            arch: String::new(),
            space: space::all()[0].name().to_owned(),
            recipe: RECIPES[0].name.to_owned(),
            dataset: DatasetName::Digits,
            seed: 0,
            threads: None,
            data: RetrainDataConfig::default(),
            network: NetworkConfig::default(),
            training: RetrainTrainingConfig::default(),
            inherit: None,
            run: RunConfig::default(),
        }
    }
}

impl Default for RetrainDataConfig {
    fn default() -> Self {
        Self { dir: None, verify: true, train: TrainOn::All, downsample: 1, folder: None, augmentation: None }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { size: SizeOf::Network, channels: None, cells: None, stem_stride: None, auxiliary: 0.0, drop_path: 0.0 }
    }
}

impl Default for RetrainTrainingConfig {
    fn default() -> Self {
        Self {
            epochs: 15,
            batch_size: 96,
            learning_rate: 0.1,
            learning_rate_min: 0.0,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
            clip_norm: ClipNorm::At(5.0),
            max_steps_per_epoch: AtMost::All,
            test_every: 0,
        }
    }
}

impl NetworkConfig {
    /// Channels and cells of a network of the space.
    pub fn size(&self, space: &dyn SearchSpace) -> Size {
        let usual = match self.size {
            SizeOf::Network => space.network_size(),
            SizeOf::Supernet => space.supernet_size(),
        };
        Size { channels: self.channels.unwrap_or(usual.channels), cells: self.cells.unwrap_or(usual.cells) }
    }
}

impl RetrainConfig {
    /// As TOML, every default written out.
    pub fn to_toml(&self) -> String {
        // Plain structs of numbers, strings and tables, paths checked: only a fault of the program can keep them from being written.
        toml::to_string(self).unwrap_or_else(|e| panic!("a configuration that cannot be written: {e}"))
    }

    /// The settings that decide what comes out, as a table: threads and the care of the folder have no part in it.
    pub(super) fn decisive(&self) -> Table {
        let decisive = Self { threads: None, run: RunConfig::default(), ..self.clone() };
        Table::try_from(decisive).unwrap_or_else(|e| panic!("a configuration that is no table: {e}"))
    }

    /// Channels and cells of a network that takes over weights are those of the supernet, where they are not set.
    pub(super) fn size_of_supernet(&mut self) {
        let Some(inherit) = &self.inherit else { return };
        // Whatever is wrong with that file is said when the weights are read.
        if let Ok(search) = search::Config::read(&inherit.run.join(CONFIG)) {
            self.network.channels.get_or_insert(search.supernet.channels);
            self.network.cells.get_or_insert(search.supernet.cells_per_stage);
            self.network.stem_stride = self.network.stem_stride.or(search.supernet.stem_stride);
        }
    }

    /// Writes out what depends on a folder of own pictures.
    pub(super) fn settle_folder(&mut self) -> Result<(), ConfigError> {
        let data = &mut self.data;
        folder::settle(self.dataset, data.dir.as_deref(), data.downsample, &mut data.folder)
    }

    /// Writes out what depends on machine, space and data set, and checks every number.
    pub(super) fn resolve(&mut self) -> Result<(), ConfigError> {
        let space = space::find(&self.space).map_err(|e| ConfigError::Whole(e.to_string()))?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = *self.threads.get_or_insert_with(cores);
        if let Some(inherit) = &mut self.inherit {
            folder::absolute("inherit.run", &mut inherit.run)?;
        }
        self.size_of_supernet();
        let Size { channels, cells } = self.network.size(space);
        (self.network.channels, self.network.cells) = (Some(channels), Some(cells));
        self.settle_folder()?;
        let stride = &mut self.network.stem_stride;
        *stride = stride.or(folder::usual_stem_stride(self.data.folder.as_ref()));
        folder::check_stem_stride("network.stem_stride", *stride)?;
        if let Some(dir) = &mut self.data.dir {
            folder::absolute("data.dir", dir)?;
        }
        if let TrainOn::Split(SplitChoice::File(path)) = &mut self.data.train {
            folder::absolute("data.train", path)?;
        }
        let t = &self.training;
        let counts = [
            ("threads", threads, 1024),
            ("data.downsample", self.data.downsample, usize::MAX),
            ("network.channels", channels, 1024),
            ("network.cells", cells, 1000),
            ("training.epochs", t.epochs, 100_000),
            ("training.batch_size", t.batch_size, 1 << 20),
        ];
        if let Some((key, count, most)) = counts.into_iter().find(|(_, count, most)| !(1..=*most).contains(count)) {
            return Err(ConfigError::range(
                key,
                count,
                &if count == 0 { "at least 1".to_owned() } else { format!("at most {most}") },
            ));
        }
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x == 0.0 || positive(x);
        let range = 0.0..=t.learning_rate;
        let checks = [
            ("training.learning_rate", t.learning_rate, positive(t.learning_rate), "more than 0"),
            (
                "training.learning_rate_min",
                t.learning_rate_min,
                range.contains(&t.learning_rate_min),
                "0 to training.learning_rate",
            ),
            ("training.momentum", t.momentum, (0.0..1.0).contains(&t.momentum), "at least 0 and less than 1"),
            ("training.weight_decay", t.weight_decay, not_negative(t.weight_decay), "at least 0"),
            ("network.auxiliary", self.network.auxiliary, not_negative(self.network.auxiliary), "at least 0"),
            (
                "network.drop_path",
                self.network.drop_path,
                (0.0..1.0).contains(&self.network.drop_path),
                "at least 0 and less than 1",
            ),
            (
                "run.checkpoint_minutes",
                self.run.checkpoint_minutes,
                positive(self.run.checkpoint_minutes),
                "more than 0",
            ),
        ];
        match checks.into_iter().find(|(_, _, fits, _)| !fits) {
            Some((key, value, _, expected)) => Err(ConfigError::range(key, value, expected)),
            None => Ok(()),
        }
    }
}
