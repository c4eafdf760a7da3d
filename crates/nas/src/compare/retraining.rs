use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::{
    data::DatasetName,
    retrain::{Request, RetrainConfig},
    search::ConfigError,
    space::Genotype,
    tables::{self, Difference},
};

/// How what a cell finds is trained: `[retrain]` of a comparison's file, for one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Retraining {
    /// Name of the recipe; `None`: the first.
    recipe: Option<String>,
    /// Data set, that of the search unless the file says otherwise.
    dataset: String,
    /// Folder or archive of the data.
    data: Option<PathBuf>,
    seed: u64,
    threads: usize,
    set: Vec<String>,
}

/// The settings of `[retrain]`.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    recipe: Option<String>,
    dataset: Option<String>,
    set: Vec<(String, Value)>,
}

impl Settings {
    /// Of settings by dotted key.
    pub(super) fn new(settings: Vec<(String, Value)>, faults: &mut Vec<String>) -> Self {
        let mut own = Self { recipe: None, dataset: None, set: Vec::new() };
        for (key, value) in settings {
            let place = match key.as_str() {
                "recipe" => &mut own.recipe,
                "dataset" => &mut own.dataset,
                "threads" => {
                    faults.push(format!("retrain: threads = {value}, but threads are divided among the jobs (--jobs)"));
                    continue;
                }
                _ => {
                    own.set.push((key, value));
                    continue;
                }
            };
            match value {
                Value::String(name) => *place = Some(name),
                other => faults.push(format!("retrain: {key} = {other}, expected a name")),
            }
        }
        own
    }

    /// For a cell that searches on `dataset`, read from `dir`; `data`: where every data set is.
    pub(super) fn of(
        &self,
        dataset: &str,
        dir: Option<&Path>,
        data: Option<&Path>,
        seed: u64,
        threads: usize,
    ) -> Retraining {
        let own = self.dataset.as_deref().unwrap_or(dataset);
        let same = dir.filter(|_| own == dataset);
        let set = self.set.iter().filter(|(key, _)| data.is_none() || key != "data.dir");
        Retraining {
            recipe: self.recipe.clone(),
            dataset: own.to_owned(),
            data: data.or(same).filter(|_| !is_built_in(own)).map(Path::to_owned),
            seed,
            threads,
            set: set.map(|(key, value)| format!("{key}={value}")).collect(),
        }
    }
}

/// Whether the program carries the data set of this name, which then has no place.
pub(super) fn is_built_in(dataset: &str) -> bool {
    dataset.parse().is_ok_and(DatasetName::is_built_in)
}

impl Retraining {
    /// Threads of a training.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// The configuration of the training of a genotype, every default written out.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(super) fn config(&self, genotype: &Genotype) -> Result<RetrainConfig, ConfigError> {
        Request {
            recipe: self.recipe.clone(),
            dataset: Some(self.dataset.clone()),
            data: self.data.clone(),
            seed: Some(self.seed),
            threads: Some(self.threads),
            set: self.set.clone(),
            ..Request::new(genotype.clone())
        }
        .resolve()
    }
}

/// What decides the result of a training and is not the same in a configuration and in that of a run folder, as TOML. The data may have
/// moved.
pub(super) fn difference(now: &RetrainConfig, there: &str) -> Option<Difference> {
    let decisive = |text: &str| {
        let mut table: Table = text.parse().unwrap_or_default();
        table.remove("threads");
        table.remove("run");
        if let Some(Value::Table(data)) = table.get_mut("data") {
            data.remove("dir");
        }
        table
    };
    tables::differences(&decisive(&now.to_toml()), &decisive(there)).into_iter().next()
}
