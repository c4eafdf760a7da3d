use std::path::PathBuf;

use crate::search::{Config, ConfigError, SearchError};

/// What a file looks like.
pub const EXAMPLE: &str = r#"  preset = "paper"                 # optional, as of search --preset
  seeds = [0, 1, 2]

  [settings]                       # of all searches, as in a search's --config
  dataset = "cifar10"

  [matrix]                         # optional: every combination
  "strategy.hpe-darts.alpha_update" = ["bilevel", "joint", "none"]

  [runs.few-images]                # optional: named settings, with every combination
  strategy.hpe-darts.importance.images = 640"#;

/// Names of the files that hold a summary: as JSON, and for people.
pub const SUMMARIES: [&str; 2] = ["summary.json", "summary.md"];

/// One search of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name of its settings.
    pub name: String,
    /// Seed.
    pub seed: u64,
    /// Its configuration, every default written out.
    pub config: Config,
    /// Its run folder.
    pub folder: PathBuf,
    /// Cell that trains or has trained the warm-up that this one goes on from, and the epochs of it.
    pub warmup: Option<(usize, usize)>,
}

impl Cell {
    /// Name and seed, for messages.
    pub fn label(&self) -> String {
        format!("{} seed {}", self.name, self.seed)
    }
}

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
    /// Settings that make no search.
    #[error("{name}: {source}")]
    Config {
        /// Name of the settings.
        name: String,
        /// What is wrong.
        source: ConfigError,
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
    /// A search failed.
    #[error("{name}: {source}")]
    Search {
        /// Name and seed.
        name: String,
        /// Why.
        source: SearchError,
    },
}

impl CompareError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => None,
            Self::File { .. } => Some(format!("a comparison looks like this:\n{EXAMPLE}")),
            Self::Config { source, .. } => source.hint(),
            Self::OtherSettings { .. } => {
                Some("choose another --out, rename the changed settings, or move that folder away".to_owned())
            }
            Self::Search { source, .. } => source.hint(),
        }
    }
}
