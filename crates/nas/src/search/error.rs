use engine::EngineError;

use super::{config::ConfigError, unsuitable::Unsuitable};
use crate::{
    data::DataError,
    memory::TooLarge,
    run::{RunError, TaskError},
    space::SpaceError,
};

/// Why a search cannot start or continue. [`SearchError::hint`] says what to do about it.
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
    /// Channels that cannot be divided into the parts of which operations see one.
    #[error("strategy.{strategy}.partial = {partial} does not fit supernet.channels = {channels}: {source}")]
    PartialChannels {
        /// Name of the strategy.
        strategy: &'static str,
        /// Parts.
        partial: usize,
        /// Channels of the supernet.
        channels: usize,
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
    /// More memory than there is.
    #[error(transparent)]
    Memory(#[from] TooLarge),
    /// The run, its folder or its checkpoint.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A phase whose network or batch, which come on top of those of the search, makes no search.
    #[error("phase `{phase}`: {source}")]
    Phase {
        /// Name of the phase.
        phase: String,
        /// What is wrong.
        source: Box<SearchError>,
    },
    /// A loader ended before its epoch did.
    #[error("the data ended before the epoch did")]
    DataEnded,
}

impl SearchError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(e) => e.hint(),
            Self::Strategy { source, .. } => Some(source.hint.clone()),
            Self::Unsearchable { .. } => {
                Some("search in `nas-bench-201`; `hpe-darts describe` shows the networks of every space".to_owned())
            }
            Self::PartialChannels { partial, .. } => Some(format!(
                "let supernet.channels be a multiple of partial, {} for one, or take fewer parts",
                partial.saturating_mul(4)
            )),
            Self::TooLong { max, .. } => Some(format!(
                "shorten the phases, the warm-up first, to {max} epochs in all, or raise training.max_epochs"
            )),
            Self::Data(e) => e.hint(),
            Self::Run(e) => e.hint(),
            Self::Memory(e) => Some(e.hint()),
            Self::Phase { .. } => Some(
                "what the strategy adds in this phase comes on top of training.batch_size and supernet.cells_per_stage"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl TaskError for SearchError {
    fn of_run(&self) -> Option<&RunError> {
        if let Self::Run(error) = self { Some(error) } else { None }
    }
}
