//! How far apart the pixels of an image lie.

/// Distances between vertically and horizontally adjacent pixels, in values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pitch {
    pub(crate) row: usize,
    pub(crate) column: usize,
}
