use std::{io, path::PathBuf};

use engine::EngineError;

use super::{config::ConfigError, run_folder::RunError};
use crate::{data::DataError, space::SpaceError, strategies::Unsuitable};

/// Why a search cannot start or go on. [`SearchError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A configuration that the strategy or the space cannot work with.
    #[error("strategy {strategy}: {source}")]
    Strategy {
        /// Name of the strategy.
        strategy: &'static str,
        /// What does not fit.
        source: Unsuitable,
    },
    /// More epochs than the configuration allows.
    #[error("the schedule has {epochs} epochs ({phases}), more than training.max_epochs = {max} allows")]
    TooLong {
        /// Epochs of the schedule.
        epochs: usize,
        /// Its phases.
        phases: String,
        /// The bound.
        max: usize,
    },
    /// A space whose supernet the engine cannot compute.
    #[error("search space {space}: {source}")]
    Unsearchable {
        /// Name of the space.
        space: &'static str,
        /// What the engine says.
        source: EngineError,
    },
    /// The search space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refuses its input.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The run folder or its checkpoint.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Training has left the numbers.
    #[error("{what} is {value} in epoch {epoch}{} (counted from 1)", in_step(*.step))]
    NotFinite {
        /// Which quantity.
        what: String,
        /// Its value.
        value: f64,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1; 0 outside of steps.
        step: usize,
    },
    /// A loader ended before its epoch did.
    #[error("the data ended before the epoch did")]
    DataEnded,
    /// The stop flag was set; the state is saved.
    #[error("interrupted")]
    Interrupted,
}

/// The step of an epoch as a part of a message; nothing outside of steps.
fn in_step(step: usize) -> String {
    if step == 0 { String::new() } else { format!(", step {step}") }
}

impl SearchError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) => e.hint(),
            Self::Strategy { source, .. } => Some(source.hint.clone()),
            Self::Unsearchable { .. } => Some(
                "search in `nas-bench-201`; `hpe-darts describe` shows the networks of every space".to_owned(),
            ),
            Self::TooLong { max, .. } => {
                Some(format!("shorten the phases, the warm-up first, to {max} epochs together, or raise training.max_epochs"))
            }
            Self::Data(e) => e.hint(),
            Self::Run(e) => e.hint(),
            Self::Write { .. } => {
                Some("the last checkpoint is intact: make room or choose another folder, then `hpe-darts resume`".to_owned())
            }
            Self::NotFinite { .. } => Some(
                "the last good checkpoint is kept; a lower `--set training.learning_rate=...` in a new search usually helps"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    pub(crate) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }
}
