//! Shapes of activations, and what passes over them are told.

use super::kernels::elementwise::Term;
use super::kernels::panel::{BLOCK, padded};
use crate::spec::ImageShape;

/// Spatial size and channels of an activation: one image is `[height, width, padded]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels that mean something.
    pub(crate) channels: usize,
    /// Channels as stored, a multiple of 16 but for images; the surplus is zero.
    pub(crate) padded: usize,
    /// Concatenated parts of as many channels each, each padded for itself.
    pub(crate) parts: usize,
}

impl Plane {
    pub(crate) fn new(height: usize, width: usize, channels: usize) -> Self {
        Plane { height, width, channels, padded: padded(channels), parts: 1 }
    }

    /// An image as the caller gives it, without padding.
    pub(crate) fn image(shape: ImageShape) -> Self {
        Plane { padded: shape.channels, ..Plane::new(shape.height, shape.width, shape.channels) }
    }

    /// `parts` tensors of this shape, one after the other along the channels.
    pub(crate) fn concatenated(self, parts: usize) -> Self {
        Plane { channels: parts * self.channels, padded: parts * self.padded, parts, ..self }
    }

    /// One of the parts.
    pub(crate) fn part(self) -> Self {
        Plane { channels: self.channels / self.parts, padded: self.padded / self.parts, parts: 1, ..self }
    }

    /// Where a channel is stored.
    pub(crate) fn position(&self, channel: usize) -> usize {
        let part = self.part();
        channel / part.channels * part.padded + channel % part.channels
    }

    /// First channel, and number of channels, of the `BLOCK` stored channels from `stored` on.
    pub(crate) fn block(&self, stored: usize) -> (usize, usize) {
        let part = self.part();
        let (index, at) = (stored / part.padded, stored % part.padded);
        (index * part.channels + at, BLOCK.min(part.channels - at))
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
