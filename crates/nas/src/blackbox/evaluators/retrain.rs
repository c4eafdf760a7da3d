use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use toml::{Table, Value};

use crate::{
    Here,
    blackbox::{
        domain::Domain,
        error::BlackboxError,
        evaluator::{Evaluation, Evaluator, Levels},
    },
    checksum,
    data::LoadEvent,
    retrain::{Outcome, Plan, Request, Retrain, RetrainConfig, RetrainError, TrainOn},
    run::{Observer, RunError},
    search::ConfigError,
    space::{Genotype, SpaceError},
};

/// What a lower fidelity has of the epochs of the next one: BOHB's `eta` in NAS-Bench-201.
const ETA: usize = 3;

/// Fidelities, the whole training included, as BOHB has rungs.
const FIDELITIES: u32 = 3;

/// Follows the trainings of an evaluator, and may stop them.
pub struct Follow<'a> {
    /// The observer of the next training.
    pub observer: &'a (dyn Fn() -> Box<dyn Observer> + Sync),
    /// Once set, the training saves its state at the next step and the evaluation ends with [`BlackboxError::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

impl fmt::Debug for Follow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("stop", &self.stop).finish_non_exhaustive()
    }
}

/// A training from scratch: its value is the accuracy in percent on the images that validate, after the last epoch; one whose loss or
/// gradient leaves the numbers has the value -inf.
///
/// Fidelities are numbers of epochs, each with a schedule of its own: all of them, a third, a ninth. The cost is their number, which a
/// machine's load does not change: a search that is repeated, or goes on after it was stopped, spends the same. Every training has the
/// same seed and is a run folder below the search's, `trainings/ARCHITECTURE-epochsN`, the index in the space's table in the place of
/// the architecture or the beginning of the MD5 of its notation. A training that stands there is gone on with, or has ended.
#[derive(Debug)]
pub struct RetrainEvaluator<'a> {
    /// Of some architecture.
    plan: Plan,
    home: Option<PathBuf>,
    epochs: Vec<usize>,
    folder: PathBuf,
    follow: Follow<'a>,
}

impl RetrainEvaluator<'_> {
    /// What its costs are counted in.
    pub const UNIT: &'static str = "epochs";

    /// A request for any architecture of a space, to be filled in.
    ///
    /// # Errors
    /// [`BlackboxError::Space`].
    pub fn request(domain: &Domain) -> Result<Request, BlackboxError> {
        Ok(Request::new(domain.genotype(&vec![0; domain.variables().len()])?))
    }

    /// The configuration that all trainings have in common. Where the request does not say what validates, it is what measures the
    /// importance in a search: `data.train = auto`.
    ///
    /// # Errors
    /// [`BlackboxError::Retrain`]; [`BlackboxError::NoValidation`]; weights of a supernet to start from.
    pub fn configure(request: &Request) -> Result<RetrainConfig, BlackboxError> {
        let set = std::iter::once("data.train=auto".to_owned()).chain(request.set.iter().cloned()).collect();
        let config = Request { set, ..request.clone() }.resolve()?;
        if config.data.train == TrainOn::All {
            return Err(BlackboxError::NoValidation);
        }
        match config.inherit {
            Some(_) => Err(ConfigError::Whole("inherit.run is set, but an evaluation trains from scratch".to_owned()))?,
            None => Ok(config),
        }
    }
}

impl<'a> RetrainEvaluator<'a> {
    /// Reads the data and checks configuration and space. `home`: the program's folder in the user's data directory; `notify` is told
    /// how the data is being read; `folder`: that of the search. Nothing is written.
    ///
    /// # Errors
    /// Everything that [`Plan::new`] refuses; more memory than there is.
    pub fn new(
        config: RetrainConfig,
        home: Option<&Path>,
        notify: &mut dyn FnMut(LoadEvent),
        folder: &Path,
        follow: Follow<'a>,
    ) -> Result<Self, BlackboxError> {
        let plan = Plan::new(config, home, notify)?;
        let (domain, epochs) = (Domain::new(plan.space), fidelities(plan.config.training.epochs));
        let evaluator = Self { plan, home: home.map(Path::to_owned), epochs, folder: folder.to_owned(), follow };
        // No network takes much more than the largest of those with one operation everywhere.
        for op in 0..domain.variables().iter().map(|v| v.categories).max().unwrap_or(0) {
            let choice = domain.variables().iter().map(|v| op.min(v.categories - 1)).collect();
            let plan = evaluator.plan(&domain.genotype(&choice)?, evaluator.levels().last())?;
            plan.memory()?.check().map_err(RetrainError::from)?;
        }
        Ok(evaluator)
    }

    /// What its values depend on, as TOML: the configuration without what belongs to an architecture or a machine.
    pub fn settings(&self) -> Table {
        let mut settings = self.plan.decisive();
        settings.retain(|key, _| !["arch", "space"].contains(&key));
        // The data may have moved.
        if let Some(Value::Table(data)) = settings.get_mut("data") {
            data.remove("dir");
        }
        Table::from_iter([("retrain".to_owned(), settings.into())])
    }

    /// Epochs of its fidelities, the fewest first.
    pub fn epochs(&self) -> &[usize] {
        &self.epochs
    }

    /// The run folder of a training.
    ///
    /// # Errors
    /// A genotype that is not one of the space.
    pub fn run_folder(&self, genotype: &Genotype, level: usize) -> Result<PathBuf, SpaceError> {
        let space = self.plan.space;
        let name = match space.table_index(genotype) {
            Some(index) => index.to_string(),
            None => checksum::of_bytes(space.text(genotype)?.as_bytes())[..16].to_owned(),
        };
        Ok(self.folder.join("trainings").join(format!("{name}-epochs{}", self.epochs[level])))
    }

    fn plan(&self, genotype: &Genotype, level: usize) -> Result<Plan, RetrainError> {
        let mut config = self.plan.config.clone();
        config.arch = self.plan.space.text(genotype)?;
        config.training.epochs = self.epochs[level];
        Plan::with(config, |_| Ok(Arc::clone(self.plan.train.dataset())))
    }

    fn train(&self, genotype: &Genotype, level: usize) -> Result<Outcome, RetrainError> {
        let RetrainConfig { data, threads, .. } = &self.plan.config;
        let here = Here { home: self.home.clone(), data: data.dir.clone(), threads: *threads };
        let Follow { observer, stop } = &self.follow;
        let folder = self.run_folder(genotype, level)?;
        let plan = |_: &mut dyn FnMut(LoadEvent)| self.plan(genotype, level);
        Retrain::complete(&folder, &here, &mut |_| {}, plan, observer(), Arc::clone(stop))
    }
}

/// Numbers of epochs, the fewest first.
fn fidelities(epochs: usize) -> Vec<usize> {
    (0..FIDELITIES).rev().map(|rung| epochs / ETA.pow(rung)).filter(|&epochs| epochs > 0).collect()
}

impl Evaluator for RetrainEvaluator<'_> {
    fn levels(&self) -> Levels {
        Levels { count: self.epochs.len(), usual: self.epochs.len() - 1 }
    }

    fn unit(&self) -> &'static str {
        Self::UNIT
    }

    fn costs(&self, level: usize) -> (f64, f64) {
        let epochs = self.epochs[level] as f64;
        (epochs, epochs)
    }

    fn evaluate(&self, genotype: &Genotype, level: usize) -> Result<Evaluation, BlackboxError> {
        let value = match self.train(genotype, level) {
            Ok(outcome) => outcome.found.last_valid.ok_or(RetrainError::NoImages)?.accuracy.0,
            Err(RetrainError::Run(RunError::NotFinite { .. })) => f64::NEG_INFINITY,
            Err(RetrainError::Run(RunError::Interrupted)) => return Err(BlackboxError::Interrupted),
            Err(error) => return Err(error.into()),
        };
        Ok(Evaluation { value, cost: self.costs(level).0 })
    }
}
