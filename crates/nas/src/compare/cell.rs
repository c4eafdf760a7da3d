use std::path::{Path, PathBuf};

use super::{blackbox::BlackboxConfig, retraining::Retraining};
use crate::search::Config;

/// What a file looks like.
pub const EXAMPLE: &str = r#"  preset = "paper"                 # optional, as of search --preset
  seeds = [0, 1, 2]
  baseline = "rsps"                # optional: a method or a row; the others are tested against it

  [settings]                       # of all searches, as in a search's --config
  dataset = "cifar10"
  strategy.darts.epochs = 30       # of one method: the others have no use for it
  blackbox.budget = 12000          # of all black-box methods

  [matrix]                         # optional: every combination
  strategy = ["hpe-darts", "darts", "rsps", "blackbox.random-search"]
  "strategy.hpe-darts.alpha_update" = ["bilevel", "joint", "none"]

  [runs.default]                   # optional: named settings, with every combination
  [runs.small]
  supernet.channels = 8

  [retrain]                        # optional: train every cell that is found, as `retrain` does
  recipe = "quick"
  training.epochs = 20"#;

/// Names of the files that hold a summary.
pub const SUMMARIES: [&str; 4] = ["summary.json", "summary.md", "summary.csv", "summary.tex"];

/// One search of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name of its settings.
    pub name: String,
    /// Seed.
    pub seed: u64,
    /// How it searches.
    pub search: Search,
    /// Training of what it finds.
    pub retraining: Option<Retraining>,
    /// Its folder.
    pub folder: PathBuf,
}

/// How a cell searches, every default written out.
#[derive(Clone, Debug, PartialEq)]
pub enum Search {
    /// By a supernet; an ordinary run folder.
    OneShot(Box<OneShot>),
    /// By evaluating one architecture after the other.
    Blackbox(Box<BlackboxConfig>),
}

/// A search by a supernet.
#[derive(Clone, Debug, PartialEq)]
pub struct OneShot {
    /// Its configuration.
    pub config: Config,
    /// Cell that trains or has trained the warm-up that this one goes on from, and the epochs of it.
    pub warmup: Option<(usize, usize)>,
}

impl Cell {
    /// Name and seed, for messages.
    pub fn label(&self) -> String {
        format!("{} seed {}", self.name, self.seed)
    }

    /// The search by a supernet, if it is one.
    pub fn one_shot(&self) -> Option<&OneShot> {
        if let Search::OneShot(search) = &self.search { Some(search) } else { None }
    }

    /// The same, to be changed.
    pub(super) fn one_shot_mut(&mut self) -> Option<&mut OneShot> {
        if let Search::OneShot(search) = &mut self.search { Some(search) } else { None }
    }

    /// Cell whose warm-up this one goes on from, and the epochs of it.
    pub fn warmup(&self) -> Option<(usize, usize)> {
        self.one_shot()?.warmup
    }

    /// Folder of the training of what it finds.
    pub fn retraining_folder(&self) -> PathBuf {
        self.folder.join("retrain")
    }
}

impl Search {
    /// Name of the method as in a comparison's file: a strategy, or `blackbox.` and a black-box method.
    pub fn method(&self) -> String {
        match self {
            Self::OneShot(search) => search.config.strategy.name().to_owned(),
            Self::Blackbox(config) => format!("{}{}", super::blackbox::PREFIX, config.method.name()),
        }
    }

    /// Name of the space.
    pub fn space(&self) -> &str {
        match self {
            Self::OneShot(search) => &search.config.space.name,
            Self::Blackbox(config) => &config.space,
        }
    }

    /// Folder or archive that its data is read from, if one was given.
    pub(super) fn data_dir(&self) -> Option<&Path> {
        match self {
            Self::OneShot(search) => search.config.data.dir.as_deref(),
            Self::Blackbox(config) => config.data_dir(),
        }
    }

    /// Reads its data from where it usually is.
    pub(super) fn forget_data_dir(&mut self) {
        match self {
            Self::OneShot(search) => search.config.data.dir = None,
            Self::Blackbox(config) => config.forget_data_dir(),
        }
    }

    /// Name of the data set that it searches on.
    pub fn dataset(&self) -> &'static str {
        match self {
            Self::OneShot(search) => search.config.dataset.as_str(),
            Self::Blackbox(config) => config.dataset.as_str(),
        }
    }
}
