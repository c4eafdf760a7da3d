use std::{fmt::Display, io, path::PathBuf};

use crate::{data::DataError, suggest};

/// What is wrong with a configuration. [`ConfigError::hint`] says what may have been meant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file does not describe a search.
    #[error("configuration {}: {message}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        message: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// A name that nothing has.
    #[error("unknown {what} `{given}`, expected {known}")]
    Unknown {
        /// What is named.
        what: &'static str,
        /// The name that was given.
        given: String,
        /// The known names.
        known: String,
        /// The known name nearest to it.
        nearest: Option<String>,
    },
    /// A strategy without published settings for the space.
    #[error("no settings of strategy {strategy} for space {space} have been published")]
    Unpublished {
        /// Name of the strategy.
        strategy: &'static str,
        /// Name of the space.
        space: String,
        /// Spaces that it has some for.
        spaces: Vec<&'static str>,
        /// Strategies that have some for the space.
        strategies: Vec<&'static str>,
    },
    /// A setting on the command line that does not fit.
    #[error("--set {given}: {why}")]
    Set {
        /// The argument.
        given: String,
        /// What is wrong.
        why: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// A value out of range.
    #[error("{key} = {value}, expected {expected}")]
    Range {
        /// The dotted key.
        key: String,
        /// The value.
        value: String,
        /// The range.
        expected: String,
    },
    /// What data options say.
    #[error("{0}")]
    Data(DataError),
    /// The layers together do not describe a search.
    #[error("configuration: {0}")]
    Whole(String),
}

impl ConfigError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { nearest, .. } => nearest.as_deref().map(suggest::did_you_mean),
            Self::Data(error) => error.hint(),
            Self::File { hint, .. } | Self::Set { hint, .. } => hint.clone(),
            Self::Unpublished { spaces, strategies, .. } => Some(match spaces.first() {
                Some(space) => format!("it has some for `--space {space}`"),
                None => format!(
                    "choose another preset (`hpe-darts list presets`); this one is for {}",
                    strategies.join(", ")
                ),
            }),
            _ => None,
        }
    }

    pub(crate) fn range(key: &str, value: impl Display, expected: &str) -> Self {
        Self::Range { key: key.to_owned(), value: value.to_string(), expected: expected.to_owned() }
    }

    pub(crate) fn unknown<'a>(
        what: &'static str,
        given: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Self {
        Self::Unknown {
            what,
            given: given.to_owned(),
            nearest: suggest::nearest(given, known.clone()).map(str::to_owned),
            known: suggest::one_of(known),
        }
    }
}
