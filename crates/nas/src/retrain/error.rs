use std::path::PathBuf;

use engine::EngineError;

use crate::{
    data::{DataError, PictureProblem},
    files::shown,
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
    /// Neither a folder nor a file.
    #[error("there is no file or folder {}", shown(.0))]
    NoSuchPath(PathBuf),
    /// A training whose newest checkpoint is damaged.
    #[error("the newest checkpoint of {} is damaged: {why}", shown(.run))]
    Damaged {
        /// The run folder.
        run: PathBuf,
        /// What is wrong with it.
        why: String,
    },
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
    /// The folder of a search where that of a training is expected.
    #[error("{} is the folder of a search: its weights are those of a supernet, not of a network", .0.display())]
    Search(PathBuf),
    /// An epoch of a file, which has one state only.
    #[error("{} has no epochs to choose from", .0.display())]
    OneEpoch(PathBuf),
    /// The description of a trained network.
    #[error("cannot use the model description {}: {why}", .path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Weights that are not those of the network that its description describes.
    #[error("the weights in {} do not fit the model: {why}", .path.display())]
    Weights {
        /// The folder or file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A network for images that no picture can be made into.
    #[error("pictures cannot be given to this network: one {0}")]
    Pictures(PictureProblem),
    /// A training in which every image trains.
    #[error("this training has no validation images: all images train")]
    NoImages,
    /// An output of the network that is not a number.
    #[error("the network's output for image {image} is not a number")]
    Output {
        /// Counted from 0.
        image: usize,
    },
    /// The same for a picture.
    #[error("the network's output for {} is not a number", .0.display())]
    PictureOutput(PathBuf),
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
            Self::NoSuchPath(_) => Some("give the folder of a training, or a .safetensors file of an export".to_owned()),
            Self::Damaged { run, .. } => Some(format!(
                "`hpe-darts resume {0}` goes on from the one before it (of a training that has ended after {1} was moved away); --epoch N takes one that was kept",
                shown(run),
                shown(run.join("result.json")),
            )),
            Self::NoTraining(_) => Some("`hpe-darts retrain` makes one".to_owned()),
            Self::Search(run) => {
                Some(format!("`hpe-darts retrain {}` trains what it has found, in a folder of its own", run.display()))
            }
            Self::OneEpoch(_) => Some("--epoch is for the run folder of a training".to_owned()),
            Self::Model { .. } => {
                Some("restore it as the training or the export wrote it, or train the network again".to_owned())
            }
            Self::Weights { .. } => Some("weights and model description must be of the same training".to_owned()),
            Self::NoImages => Some("`retrain --set data.train=half` keeps a half of them for validation, `data.train=folder` those in a folder val".to_owned()),
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
