//! A pass over a batch.

use super::buffer::Ptr;
use super::paths::Paths;
use super::pieces::Run;

/// What the passes over a batch share.
pub(super) struct Cx<'a> {
    pub(super) run: Run<'a>,
    /// Mixing weights, `[R, O]`.
    pub(super) w: &'a [f32],
    /// Where each source is read, and written where it is.
    pub(super) x: Vec<Ptr>,
    /// The output of each unit before normalisation.
    pub(super) y: Vec<Ptr>,
    /// What drop-path does.
    pub(super) paths: Paths,
    /// The gradient of each source.
    pub(super) g: Vec<Ptr>,
}
