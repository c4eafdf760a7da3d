use std::path::PathBuf;

use super::cell::EXAMPLE;
use crate::{
    blackbox::BlackboxError,
    data::DataError,
    files::shown,
    retrain::RetrainError,
    run::RunError,
    search::{ConfigError, SearchError},
};

/// What is wrong with a comparison.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file does not describe a comparison.
    #[error("{}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Several faults, all found before anything was begun.
    #[error("{} faults; nothing was begun:{}", .0.len(), listed(.0))]
    Several(Vec<CompareError>),
    /// Settings that make no search.
    #[error("{name}: {source}")]
    Config {
        /// Name of the settings.
        name: String,
        /// What is wrong.
        source: ConfigError,
    },
    /// A setting that a black-box method has no use for.
    #[error("{name}: {key} has no effect on a black-box method")]
    NoEffect {
        /// Name of the settings.
        name: String,
        /// The dotted key.
        key: String,
    },
    /// A run folder of the comparison holds a search with other settings.
    #[error("{} holds a search with other settings than {name} has now: {key} was {there}, now {now}", .path.display())]
    OtherSettings {
        /// The run folder.
        path: PathBuf,
        /// Name of the settings.
        name: String,
        /// Dotted key of a setting that differs.
        key: String,
        /// Its value in the run.
        there: String,
        /// Its value in the file.
        now: String,
    },
    /// The output folder, or one in it, cannot be used.
    #[error("cannot write into {}: {source}", shown(.path))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of a cell.
    #[error("cannot use {}: {why}", shown(.path))]
    CellFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A search failed.
    #[error("{name}: {source}")]
    Search {
        /// Name and seed.
        name: String,
        /// Why.
        source: SearchError,
    },
    /// A black-box search failed.
    #[error("{name}: {source}")]
    Blackbox {
        /// Name and seed.
        name: String,
        /// Why.
        source: BlackboxError,
    },
    /// The training of what a search has found failed.
    #[error("{name}, retraining: {source}")]
    Retrain {
        /// Name and seed.
        name: String,
        /// Why.
        source: RetrainError,
    },
}

fn listed(faults: &[CompareError]) -> String {
    let line = |fault: &CompareError| {
        let hint = fault.hint().filter(|hint| !hint.contains('\n'));
        format!("\n- {fault}{}", hint.map(|hint| format!(" ({hint})")).unwrap_or_default())
    };
    faults.iter().map(line).collect()
}

impl CompareError {
    /// One fault as it is, several as one error, each said once; `None` where there is none.
    pub(super) fn of(faults: Vec<Self>) -> Option<Self> {
        let mut said = Vec::new();
        let mut different: Vec<Self> = Vec::new();
        for fault in faults {
            let text = fault.to_string();
            if !said.contains(&text) {
                said.push(text);
                different.push(fault);
            }
        }
        if different.len() > 1 { Some(Self::Several(different)) } else { different.pop() }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::Several(_) => None,
            Self::File { .. } => Some(format!("a comparison looks like this:\n{EXAMPLE}")),
            Self::Config { source, .. } => source.hint(),
            Self::NoEffect { .. } => Some(
                "black-box methods take space, dataset, data.dir, data.verify and [blackbox]; what one-shot methods have in common \
                 belongs into [settings], where it does not count for the others"
                    .to_owned(),
            ),
            Self::OtherSettings { .. } => {
                Some("choose another --out, rename the changed settings, or move that folder away".to_owned())
            }
            Self::Folder { .. } => Some("choose another --out".to_owned()),
            Self::CellFile { .. } => Some("move that folder away; the same command makes it anew".to_owned()),
            Self::Search { source, .. } => source.hint(),
            Self::Blackbox { source, .. } => source.hint(),
            Self::Retrain { source, .. } => source.hint(),
        }
    }

    /// Whether the user has stopped the search.
    pub fn is_interruption(&self) -> bool {
        let run = |error: &RunError| matches!(error, RunError::Interrupted);
        match self {
            Self::Blackbox { source, .. } => matches!(source, BlackboxError::Interrupted),
            Self::Search { source: SearchError::Run(error), .. } => run(error),
            Self::Retrain { source: RetrainError::Run(error), .. } => run(error),
            _ => false,
        }
    }

    /// Whether the same may go well the next time: a file system or a memory that was full may not be so any more. What is computed
    /// comes out the same each time, a loss that is not a number too.
    pub fn may_pass(&self) -> bool {
        let run = |error: &RunError| {
            matches!(error, RunError::Write { .. } | RunError::Create { .. } | RunError::Open { .. })
        };
        match self {
            Self::Search { source, .. } => match source {
                SearchError::Run(error) => run(error),
                SearchError::Data(error) => matches!(error, DataError::Io { .. }),
                SearchError::Memory(_) => true,
                _ => false,
            },
            Self::Retrain { source, .. } => match source {
                RetrainError::Run(error) => run(error),
                RetrainError::Data(error) => matches!(error, DataError::Io { .. }),
                RetrainError::Memory(_) => true,
                _ => false,
            },
            Self::Blackbox { source: BlackboxError::Data(error), .. } => matches!(error, DataError::Io { .. }),
            Self::CellFile { .. } => true,
            _ => false,
        }
    }
}
