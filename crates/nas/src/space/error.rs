use std::fmt;

use crate::suggest;

/// What is wrong with a search space's name, an architecture or a genotype.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// No space has this name.
    #[error("unknown search space `{given}`, expected {known}{}", did_you_mean(*.nearest))]
    UnknownSpace {
        /// The name that was given.
        given: String,
        /// The known name nearest to it.
        nearest: Option<&'static str>,
        /// All known names.
        known: String,
    },
    /// No operation has this name.
    #[error("unknown operation `{given}`, expected {known}{}", did_you_mean(*.nearest))]
    UnknownOp {
        /// The name that was given.
        given: String,
        /// The known name nearest to it.
        nearest: Option<&'static str>,
        /// All known names.
        known: String,
    },
    /// An architecture string that cannot be read.
    #[error(transparent)]
    Arch(#[from] ArchError),
    /// An index that no architecture has.
    #[error("architecture index {index} is out of range, expected 0..={max}")]
    Index {
        /// The index that was given, which may be no number of the machine.
        index: String,
        /// The largest index there is.
        max: usize,
    },
    /// An operation number that no operation has.
    #[error("operation {op} on edge {edge} is out of range, expected 0..={max}")]
    OpIndex {
        /// Edge.
        edge: usize,
        /// The operation number that was given.
        op: usize,
        /// The largest there is.
        max: usize,
    },
    /// More different architectures asked for than there are.
    #[error("{asked} different architectures were requested, but the space has {available}")]
    Sample {
        /// How many were asked for.
        asked: usize,
        /// How many there are.
        available: usize,
    },
    /// A number of cells that the space's networks cannot have.
    #[error("a `{space}` network of {cells} cells, expected {}", span(*.min, *.max))]
    Cells {
        /// Name of the space.
        space: &'static str,
        /// The number that was given.
        cells: usize,
        /// The smallest.
        min: usize,
        /// The largest.
        max: usize,
    },
    /// Images that the space's networks cannot halve as often as they do.
    #[error("a `{space}` network for images of {height} x {width}, expected at least {min} x {min}")]
    Image {
        /// Name of the space.
        space: &'static str,
        /// Height that was given, in pixels.
        height: usize,
        /// Width that was given, in pixels.
        width: usize,
        /// The smallest height and width.
        min: usize,
    },
    /// A form of other programs that does not say which architecture it means.
    #[error("{0}")]
    Foreign(String),
    /// The notation of another space than the one that is asked for.
    #[error("that is an architecture of the space {given}, expected one of {expected}")]
    OtherSpace {
        /// The space whose notation it is.
        given: &'static str,
        /// The one that is asked for.
        expected: &'static str,
    },
    /// A text that no space recognises.
    #[error("`{given}` is not an architecture, expected {expected}")]
    Unrecognised {
        /// The text.
        given: String,
        /// What the spaces' notations look like.
        expected: String,
    },
    /// Operations for a search that make none.
    #[error("space.ops: {0}")]
    OpSet(String),
    /// A genotype that is not one of its space.
    #[error("genotype: {0}")]
    Genotype(String),
}

/// Where an architecture string or a genotype stops making sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ArchError {
    /// What is being read.
    pub what: &'static str,
    /// Position of the first character that does not fit, counted from 1.
    pub position: usize,
    /// What stands there; `None` at the end of the string.
    pub found: Option<String>,
    /// What would have been right.
    pub expected: String,
    /// A known name near to what was found.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for ArchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, character {}: ", self.what, self.position)?;
        match &self.found {
            Some(found) => write!(f, "found `{found}`")?,
            None => write!(f, "the string ends")?,
        }
        write!(f, ", expected {}{}", self.expected, did_you_mean(self.nearest))
    }
}

fn span(min: usize, max: usize) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |n| format!("; {}", suggest::did_you_mean(n)))
}
