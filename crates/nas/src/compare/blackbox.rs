//! Black-box searches as cells of a comparison: their settings, and what lies in a cell's folder.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    benchmark::{self, BenchmarkDataset, Epochs},
    blackbox::{
        BlackboxError, Domain, Evaluator, Interruptible, MethodConfig, Outcome, Problem, ProxyEvaluator,
        TableEvaluator, check, methods, run_all,
    },
    data::{self, DataError, DatasetName, LoadEvent, LoadOptions, LoaderOptions, PartName, Source},
    engines,
    numbers::Number,
    paper::PAPER_BUDGET,
    proxy,
    search::{ConfigError, one_line},
    space::{self, Genotype, NetworkShape},
};

/// How the key `strategy` names a black-box method.
pub(super) const PREFIX: &str = "blackbox.";

/// Configuration of a cell, in its folder.
pub(super) const CONFIG: &str = "blackbox.toml";

/// Result of a cell, in its folder.
pub(super) const RESULT: &str = "result.json";

/// Settings that black-box searches of a comparison have in common, `[blackbox]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `evaluator` | `table` | `table`, or a name of `hpe-darts list proxies` | what an evaluation is: a training that is looked up in the NAS-Bench-201 table, or a training-free score |
/// | `budget` | 12000; with a score 100 | pays for at least one evaluation | what a run may spend: simulated seconds; with a score evaluations |
/// | `epochs` | 12 | 12 or 200 | length of a simulated training; by the table only |
/// | `images` | 64 | 2 to 4096 | training images that networks are scored on; with a score only |
/// | `channels` | those of the space's supernet | 1 to 1024 | of the networks that are scored; with a score only |
/// | `cells` | those of the space's supernet | 1 to 100 | the same |
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlackboxSettings {
    /// What an evaluation is.
    pub evaluator: Option<String>,
    /// What a run may spend.
    pub budget: Option<f64>,
    /// Length of a simulated training.
    pub epochs: Option<usize>,
    /// Images that networks are scored on.
    pub images: Option<usize>,
    /// Channels of the networks that are scored.
    pub channels: Option<usize>,
    /// Their cells.
    pub cells: Option<usize>,
}

/// Everything that determines a black-box search of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlackboxConfig {
    /// Name of the space.
    pub space: String,
    /// Data set of the trainings, or of the scores.
    pub dataset: DatasetName,
    /// Seed of everything random.
    pub seed: u64,
    /// What it may spend, in the evaluator's unit.
    pub budget: f64,
    /// What an evaluation is.
    pub evaluator: EvaluatorConfig,
    /// The method and its settings.
    pub method: MethodConfig,
}

/// What an evaluation is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum EvaluatorConfig {
    /// A simulated training of so many epochs.
    Table {
        /// 12 or 200.
        epochs: usize,
    },
    /// A training-free score.
    Proxy {
        /// Its name.
        name: String,
        /// Training images.
        images: usize,
        /// Channels of the first stage.
        channels: usize,
        /// Cells.
        cells: usize,
        /// Whether only the official files are accepted.
        verify: bool,
        /// Folder or archive of the data set.
        #[serde(skip_serializing_if = "Option::is_none")]
        dir: Option<PathBuf>,
    },
}

/// What a finished cell has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlackboxResult {
    /// What was found.
    pub genotype: Genotype,
    /// The same in the notation of the space's paper.
    pub arch: String,
    /// Its index in the space's table.
    pub index: Option<usize>,
    /// The value it had in its longest training; `None` where the method names what it has not evaluated.
    pub value: Option<Number>,
    /// Evaluations.
    pub evaluations: usize,
    /// What they cost together.
    pub spent: f64,
    /// What that is counted in.
    pub unit: String,
    /// Wall-clock seconds of this machine.
    pub seconds: f64,
}

/// What searches and checks of a comparison may use.
#[derive(Clone, Copy, Debug)]
pub struct Resources<'a> {
    /// The program's folder in the user's data directory.
    pub home: Option<&'a Path>,
    /// The NAS-Bench-201 table.
    pub table: Option<&'a benchmark::Table>,
}

/// Whether a black-box search takes a setting that is no table of a method.
pub(super) fn takes(key: &str) -> bool {
    ["space", "space.name", "dataset", "data.dir", "data.verify", "strategy"].contains(&key) || key.starts_with(PREFIX)
}

impl BlackboxConfig {
    /// Of settings by dotted key, the last one counts, all of them ones that it takes.
    ///
    /// # Errors
    /// [`BlackboxError::Config`].
    pub(super) fn resolve(
        method: &str,
        set: &[&(String, Value)],
        seed: u64,
        data: Option<&Path>,
    ) -> Result<Self, BlackboxError> {
        let entry = methods::find(method)?;
        let own = format!("{PREFIX}{method}.");
        let of_method = set.iter().filter_map(|(key, value)| Some(format!("{}={value}", key.strip_prefix(&own)?)));
        let method = entry.configure(&of_method.collect::<Vec<_>>())?;
        let last = |name: &str| set.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value);
        let mut common = Table::new();
        for (key, value) in set {
            if let Some(key) = key.strip_prefix(PREFIX).filter(|key| !key.contains('.')) {
                common.insert(key.to_owned(), value.clone());
            }
        }
        let whole = |e: toml::de::Error| ConfigError::Whole(format!("[blackbox]: {}", one_line(&e)));
        let settings = BlackboxSettings::deserialize(common).map_err(whole)?;
        let text = |key: &str| match last(key) {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(ConfigError::range(key, other, "a name")),
            None => Ok(None),
        };
        let named = text("space.name")?.or(text("space")?);
        let space = space::find(named.as_deref().unwrap_or(space::all()[0].name()))?;
        let dir = data.map(Path::to_owned).or(text("data.dir")?.map(PathBuf::from));
        let verify = match last("data.verify") {
            Some(Value::Boolean(verify)) => *verify,
            Some(other) => Err(ConfigError::range("data.verify", other, "true or false"))?,
            None => true,
        };
        let dataset = text("dataset")?.map(|given| named_dataset(&given)).transpose()?;
        let evaluator = settings.evaluator.as_deref().unwrap_or("table");
        let simulated = evaluator == "table";
        let evaluator = if simulated {
            EvaluatorConfig::Table { epochs: settings.epochs.unwrap_or(12) }
        } else {
            let score =
                proxy::find(evaluator).map_err(|e| ConfigError::Whole(format!("blackbox.evaluator: {e}, or table")))?;
            let size = space.supernet_size();
            EvaluatorConfig::Proxy {
                name: score.name().to_owned(),
                images: settings.images.unwrap_or(64),
                channels: settings.channels.unwrap_or(size.channels),
                cells: settings.cells.unwrap_or(size.cells),
                verify,
                dir,
            }
        };
        let usual = if simulated { (DatasetName::Cifar10, PAPER_BUDGET) } else { (DatasetName::Digits, 100.0) };
        let config = Self {
            space: space.name().to_owned(),
            dataset: dataset.unwrap_or(usual.0),
            seed,
            budget: settings.budget.unwrap_or(usual.1),
            evaluator,
            method,
        };
        config.in_range()?;
        Ok(config)
    }

    /// Folder or archive that its images are read from, if one was given.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        if let EvaluatorConfig::Proxy { dir, .. } = &self.evaluator { dir.as_deref() } else { None }
    }

    /// Reads them from where they usually are.
    pub(super) fn forget_data_dir(&mut self) {
        if let EvaluatorConfig::Proxy { dir, .. } = &mut self.evaluator {
            *dir = None;
        }
    }

    fn in_range(&self) -> Result<(), ConfigError> {
        let count = |key: &str, value: usize, low: usize, high: usize| match (low..=high).contains(&value) {
            true => Ok(()),
            false => Err(ConfigError::range(key, value, &format!("{low} to {high}"))),
        };
        match &self.evaluator {
            EvaluatorConfig::Table { epochs: 12 | 200 } => self.benchmark().map(drop),
            EvaluatorConfig::Table { epochs } => Err(ConfigError::range("blackbox.epochs", epochs, "12 or 200")),
            EvaluatorConfig::Proxy { images, channels, cells, .. } => {
                count("blackbox.images", *images, 2, 4096)?;
                count("blackbox.channels", *channels, 1, 1024)?;
                count("blackbox.cells", *cells, 1, 100)
            }
        }
    }

    /// Settings among `keys` that its evaluator has no use for.
    pub(super) fn unused<'a>(&self, mut keys: impl Iterator<Item = &'a String>) -> Option<&'a String> {
        let idle: &[&str] = match self.evaluator {
            EvaluatorConfig::Table { .. } => {
                &["blackbox.images", "blackbox.channels", "blackbox.cells", "data.dir", "data.verify"]
            }
            EvaluatorConfig::Proxy { .. } => &["blackbox.epochs"],
        };
        keys.find(|key| idle.contains(&key.as_str()))
    }

    /// What the settings of the search of the paper's Table 1 would be, with the method's own defaults.
    pub(super) fn usual(&self) -> Option<Self> {
        let method = methods::find(self.method.name()).ok()?.configure(&[]).ok()?;
        Some(Self { method, budget: PAPER_BUDGET, evaluator: EvaluatorConfig::Table { epochs: 12 }, ..self.clone() })
    }

    /// As a table, every default written out.
    pub(super) fn table(&self) -> Table {
        Table::try_from(self).unwrap_or_else(|e| panic!("settings that are no table: {e}"))
    }

    /// What decides the result: the data may have moved.
    pub(super) fn decisive(&self) -> Table {
        let mut config = self.clone();
        if let EvaluatorConfig::Proxy { dir, verify, .. } = &mut config.evaluator {
            (*dir, *verify) = (None, true);
        }
        config.table()
    }

    /// Data set of the table.
    fn benchmark(&self) -> Result<BenchmarkDataset, ConfigError> {
        let names = BenchmarkDataset::ALL.map(BenchmarkDataset::name);
        let own = BenchmarkDataset::ALL.into_iter().find(|d| d.name() == self.dataset.as_str());
        own.ok_or_else(|| ConfigError::unknown("data set of the NAS-Bench-201 table", self.dataset.as_str(), names))
    }

    /// Checks everything that its run needs.
    ///
    /// # Errors
    /// A space or a table that does not have what it needs, data that cannot be read, a budget that pays for no evaluation.
    pub(super) fn check(
        &self,
        resources: Resources<'_>,
        threads: usize,
        notify: &mut dyn FnMut(LoadEvent),
    ) -> Result<(), BlackboxError> {
        self.with_evaluator(resources, threads, notify, |problem, evaluator| {
            check(&self.method, problem, evaluator, self.budget, (self.seed, 1))
        })
    }

    /// Runs it; `stop`: ends it.
    ///
    /// # Errors
    /// As [`BlackboxConfig::check`]; [`BlackboxError::Interrupted`].
    pub(super) fn run(
        &self,
        resources: Resources<'_>,
        threads: usize,
        notify: &mut dyn FnMut(LoadEvent),
        stop: &AtomicBool,
    ) -> Result<BlackboxResult, BlackboxError> {
        let began = std::time::Instant::now();
        self.with_evaluator(resources, threads, notify, |problem, evaluator| {
            let unit = evaluator.unit();
            let evaluator = Interruptible { evaluator, stop };
            let mut outcomes =
                run_all(&self.method, problem, &evaluator, self.budget, (self.seed, 1), 1, &|| ())?.into_iter();
            let Outcome { genotype, arch, index, value, spent, trials, .. } =
                outcomes.next().ok_or(BlackboxError::NoRuns)?;
            let (evaluations, seconds) = (trials.len(), began.elapsed().as_secs_f64());
            Ok(BlackboxResult { genotype, arch, index, value, evaluations, spent, unit: unit.to_owned(), seconds })
        })
    }

    fn with_evaluator<R>(
        &self,
        resources: Resources<'_>,
        threads: usize,
        notify: &mut dyn FnMut(LoadEvent),
        then: impl FnOnce(&Problem, &dyn Evaluator) -> Result<R, BlackboxError>,
    ) -> Result<R, BlackboxError> {
        let domain = Arc::new(Domain::new(space::find(&self.space)?));
        let problem = |levels| Problem { domain: Arc::clone(&domain), levels };
        match &self.evaluator {
            EvaluatorConfig::Table { epochs } => {
                TableEvaluator::check(&domain)?;
                let table = resources.table.ok_or(BlackboxError::NotImported)?;
                let epochs = if *epochs == 12 { Epochs::Twelve } else { Epochs::TwoHundred };
                let evaluator = TableEvaluator::new(&domain, table, self.benchmark()?, epochs)?;
                then(&problem(evaluator.levels()), &evaluator)
            }
            EvaluatorConfig::Proxy { name, images, channels, cells, verify, dir } => {
                let proxy = proxy::find(name).map_err(|e| ConfigError::Whole(e.to_string()))?;
                let options = LoadOptions {
                    data: dir.clone(),
                    home: resources.home.map(Path::to_owned),
                    verify: *verify,
                    threads,
                    ..LoadOptions::default()
                };
                let dataset = Arc::new(data::load_with(self.dataset, &options, notify)?);
                let shape = NetworkShape {
                    image: dataset.shape(),
                    classes: dataset.classes().len(),
                    channels: *channels,
                    cells: *cells,
                    stem_stride: 1,
                };
                let samples = dataset.train().len();
                if *images > samples {
                    return Err(DataError::Batch { batch: *images, samples }.into());
                }
                let source = Source::all(dataset, PartName::Train).subset(*images, self.seed);
                let batch = data::Loader::single(&source, &LoaderOptions::evaluation(*images), 0, 0)?;
                let engines = engines::cpu(threads)?;
                let inputs = if proxy.needs_images() {
                    (batch.images().to_vec(), batch.labels().to_vec())
                } else {
                    Default::default()
                };
                let evaluator = ProxyEvaluator::new(&domain, proxy, shape, inputs, self.seed, &*engines)?;
                then(&problem(evaluator.levels()), &evaluator)
            }
        }
    }
}

fn named_dataset(given: &str) -> Result<DatasetName, ConfigError> {
    let names = DatasetName::ALL.map(DatasetName::as_str);
    given.parse().map_err(|_| ConfigError::unknown("data set", given, names))
}
