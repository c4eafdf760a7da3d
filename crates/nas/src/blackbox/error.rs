use std::path::PathBuf;

use engine::EngineError;

use crate::{
    benchmark::Column, data::DataError, files::shown, retrain::RetrainError, run::RunError, search::ConfigError,
    space::SpaceError,
};

/// A budget that pays for more is a mistake: no table has as many architectures.
pub const MAX_EVALUATIONS: usize = 1_000_000;

/// Why a black-box search cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlackboxError {
    /// The method's name or settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A space without a table.
    #[error("the space `{space}` has no table of results, expected `nas-bench-201`")]
    NoTable {
        /// The space.
        space: &'static str,
    },
    /// A proxy whose value for one network depends on the others.
    #[error(
        "the proxy `{proxy}` ranks networks among each other, and a search is told the value of one after the other"
    )]
    Composite {
        /// The proxy.
        proxy: &'static str,
    },
    /// A search whose values are looked up in a table that is not there.
    #[error("the NAS-Bench-201 table, which its evaluations are looked up in, is not imported or cannot be read")]
    NotImported,
    /// A table that lacks what a simulation reads.
    #[error("the table has no column `{column}`, which the simulation of a training needs")]
    MissingColumn {
        /// The column.
        column: Column,
    },
    /// A training that takes no time, of which no budget would ever be spent.
    #[error("index {index}, column `{column}`: {seconds} seconds, expected more than 0")]
    NoTime {
        /// The architecture's index.
        index: usize,
        /// The column.
        column: Column,
        /// What the table has.
        seconds: f64,
    },
    /// A budget that does not pay for every evaluation.
    #[error(
        "a budget of {budget} {unit}, expected at least {dearest:.1}: an evaluation costs {cheapest:.1} to {dearest:.1} {unit}"
    )]
    Budget {
        /// What was given.
        budget: f64,
        /// What it is counted in.
        unit: &'static str,
        /// The least that an evaluation costs.
        cheapest: f64,
        /// The most.
        dearest: f64,
    },
    /// A budget for more evaluations than a run may have.
    #[error(
        "a budget of {budget} {unit}, expected at most {most:.0}, which pays for {MAX_EVALUATIONS} of the cheapest evaluations"
    )]
    TooMuch {
        /// What was given.
        budget: f64,
        /// What it is counted in.
        unit: &'static str,
        /// The largest there may be.
        most: f64,
    },
    /// No runs.
    #[error("0 runs, expected at least 1")]
    NoRuns,
    /// Seeds that no number holds.
    #[error("{runs} runs from seed {seed} on, expected seeds of at most {}", u64::MAX)]
    Seeds {
        /// The first one.
        seed: u64,
        /// How many.
        runs: usize,
    },
    /// A genotype that is not one of the space, or makes no network.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The engine cannot compute a network.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The images that networks are scored on.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A training from scratch.
    #[error(transparent)]
    Retrain(Box<RetrainError>),
    /// Trainings that leave no images to compare architectures on.
    #[error("data.train = all: every image trains, and the test images choose no architecture")]
    NoValidation,
    /// A folder that the search cannot begin in.
    #[error("output folder {} exists and is not the folder of a black-box search", shown(.0))]
    Foreign(PathBuf),
    /// The folder of a search with other settings.
    #[error("{} holds a search with other settings: {difference}", shown(.folder))]
    OtherSettings {
        /// The folder.
        folder: PathBuf,
        /// The first one that differs by its dotted key, its value there and the one that is asked for.
        difference: String,
    },
    /// A file of a search's folder that does not read as it was written.
    #[error("{}, line {line}: {why}", shown(.path))]
    Record {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The folder of a search cannot be read or written to.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The user has stopped it. What is recorded is saved.
    #[error("interrupted")]
    Interrupted,
}

impl From<RetrainError> for BlackboxError {
    fn from(error: RetrainError) -> Self {
        Self::Retrain(Box::new(error))
    }
}

impl BlackboxError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::NotImported => Some(
                "import it once: hpe-darts table import FILE.csv; a training-free score as evaluator does without"
                    .to_owned(),
            ),
            Self::Retrain(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::NoTable { .. } => Some("--proxy NAME and --retrain evaluate without a table".to_owned()),
            Self::NoValidation => Some("data.train=half keeps a half of the training images for validation".to_owned()),
            Self::Foreign(_) | Self::OtherSettings { .. } => {
                Some("give the settings that it was begun with, or another folder with --out".to_owned())
            }
            Self::Record { .. } => Some("restore the file, or begin anew in another folder with --out".to_owned()),
            Self::Composite { proxy } => {
                Some(format!("`hpe-darts score --proxy {proxy} --sample N` ranks N architectures"))
            }
            Self::MissingColumn { .. } => Some("import the table again with that column".to_owned()),
            _ => None,
        }
    }
}
