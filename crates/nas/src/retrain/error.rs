use std::path::PathBuf;

use engine::EngineError;

use crate::{
    data::DataError,
    memory::TooLarge,
    run::{RunError, TaskError},
    search::ConfigError,
    space::SpaceError,
};

/// Why a training cannot start or continue. [`RetrainError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetrainError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An auxiliary head for a network that has no place for it.
    #[error("network.auxiliary = {weight}: a `{space}` network has no auxiliary head")]
    NoAuxiliaryHead {
        /// Name of the space.
        space: &'static str,
        /// The weight that was given.
        weight: f64,
    },
    /// The space, the architecture or the network's size.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refuses its input.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// More memory than there is.
    #[error(transparent)]
    Memory(#[from] TooLarge),
    /// The run, its folder or its checkpoint.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A folder that is not the run folder of a training.
    #[error("{} is not the run folder of a training", .0.display())]
    NoTraining(PathBuf),
    /// A run whose weights a network cannot take over.
    #[error("cannot take over weights of {}: {why}", .run.display())]
    Inherit {
        /// The run folder.
        run: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A training in which every image trains.
    #[error("this training has no validation images: all images train")]
    NoImages,
    /// An output of the network that is not a number.
    #[error("the network's output for image {image} is not a number")]
    Output {
        /// Counted from 0.
        image: usize,
    },
    /// A loader ended before its epoch did.
    #[error("the data ended before the epoch did")]
    DataEnded,
}

impl RetrainError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) => e.hint(),
            Self::NoAuxiliaryHead { .. } => Some("network.auxiliary must be 0 in this space".to_owned()),
            Self::NoTraining(_) => Some("`hpe-darts retrain` makes one".to_owned()),
            Self::NoImages => Some("`retrain --set data.train=half` keeps a half of them for validation".to_owned()),
            Self::Data(e) => e.hint(),
            Self::Run(e) => e.hint(),
            Self::Memory(e) => Some(e.hint()),
            _ => None,
        }
    }
}

impl TaskError for RetrainError {
    fn of_run(&self) -> Option<&RunError> {
        if let Self::Run(error) = self { Some(error) } else { None }
    }
}
