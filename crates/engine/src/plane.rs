//! Shapes of activations, and what passes over them are told.

use crate::kernels::elementwise::Term;

/// Spatial size and channels of an activation: one image is `[height, width, padded]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels that mean something.
    pub(crate) channels: usize,
    /// Channels as stored, a multiple of 16; the surplus is zero.
    pub(crate) padded: usize,
}

impl Plane {
    pub(crate) fn new(height: usize, width: usize, channels: usize) -> Self {
        Plane { height, width, channels, padded: crate::kernels::panel::padded(channels) }
    }
    /// Pixels of an image.
    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }
    /// Values of an image as stored.
    pub(crate) fn len(&self) -> usize {
        self.pixels() * self.padded
    }
    /// Bits of the binary code of an image.
    pub(crate) fn bits(&self) -> u64 {
        (self.pixels() * self.channels) as u64
    }
}

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Batch statistics; running statistics move.
    Train,
    /// Batch statistics; running statistics stay.
    Batch,
    /// Running statistics.
    Running,
}

/// A [`Term`] list that crosses threads: it only reads tensors that no thread writes to during the pass, or the own images.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms(pub(crate) Vec<Term>);

// SAFETY: addresses only; each pass says why its accesses are disjoint.
unsafe impl Send for Terms {}
// SAFETY: as above.
unsafe impl Sync for Terms {}

impl Terms {
    /// The terms moved on by `offset` values, into `out`.
    pub(crate) fn at(&self, offset: usize, out: &mut Vec<Term>) {
        out.clear();
        // wrapping: addresses only; the kernels' contracts say what is read.
        out.extend(self.0.iter().map(|t| Term { src: t.src.wrapping_add(offset), scale: t.scale }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
