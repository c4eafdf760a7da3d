//! What reads a source together: units that share their input and their geometry.

use super::buffer::Ptr;
use std::ops::Range;

use super::convolve::{self, Place};
use super::dense::Dense;
use super::gather::{self, Gather};
use super::output::{OutputGrad, Reading};
use super::params::Params;
use super::plane::Plane;
use super::pool::{self, PoolGroup};
use super::reduce::{self, Reduce};
use super::runtime::{Arena, Exec};
use super::separable::{self, Separable};
use super::simd::Isa;
use super::unit::{UnitId, Units};
use crate::spec::Window;

/// Writes a pixel, or its ReLU, to the last argument.
pub(super) type ReadPixel<'a> = dyn FnMut((usize, usize), bool, &mut [f32]) + 'a;

/// Units that read a source and are computed together in its passes.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    Dense(Dense),
    Separable(Separable),
    Reduce(Reduce),
    Pool(PoolGroup),
    Gather(Gather),
}

impl Group {
    pub(crate) fn members(&self) -> &[UnitId] {
        match self {
            Group::Dense(dense) => &dense.members,
            Group::Separable(separable) => &separable.pointwise.members,
            Group::Reduce(reduce) => std::slice::from_ref(&reduce.unit),
            Group::Pool(pool) => &pool.members,
            Group::Gather(gather) => std::slice::from_ref(&gather.unit),
        }
    }

    /// Members whose outputs are tensors of their own.
    pub(crate) fn outputs(&self) -> &[UnitId] {
        match self {
            Group::Pool(pool) => &pool.members[..1],
            Group::Dense(_) | Group::Separable(_) | Group::Reduce(_) | Group::Gather(_) => self.members(),
        }
    }

    /// Shape of the outputs.
    pub(crate) fn to(&self) -> Plane {
        match self {
            Group::Dense(dense) => dense.geometry.to,
            Group::Separable(separable) => separable.pointwise.geometry.to,
            Group::Reduce(reduce) => reduce.to,
            Group::Pool(pool) => pool.to,
            Group::Gather(gather) => gather.to,
        }
    }

    /// Whether it reads the source's ReLU in a border of this many zeros; `None` where it reads the source itself.
    pub(crate) fn border(&self) -> Option<(bool, usize)> {
        match self {
            Group::Dense(dense) => Some((dense.geometry.relu, dense.geometry.padding)),
            Group::Separable(separable) => Some((separable.relu, separable.window.padding)),
            // The last window of an odd side covers a pixel beyond it.
            Group::Reduce(reduce) => Some((reduce.relu, 1)),
            Group::Pool(pool) => pool.relu.then_some((true, 0)),
            Group::Gather(_) => None,
        }
    }

    /// The border of what it reads that its first tap lies in.
    pub(crate) fn padding(&self) -> usize {
        match self {
            Group::Reduce(_) => 0,
            Group::Dense(_) | Group::Separable(_) | Group::Pool(_) | Group::Gather(_) => {
                self.border().map_or(0, |(_, padding)| padding)
            }
        }
    }

    /// Whether the other one computes the same with the same weights.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Group::Dense(one), Group::Dense(other)) => one.is_like(other),
            (Group::Separable(one), Group::Separable(other)) => one.pointwise.is_like(&other.pointwise),
            (Group::Reduce(one), Group::Reduce(other)) => one.unit == other.unit,
            _ => false,
        }
    }

    /// The weights changed.
    pub(crate) fn invalidate(&mut self) {
        match self {
            Group::Dense(dense) => dense.invalidate(),
            Group::Separable(separable) => separable.invalidate(),
            Group::Reduce(reduce) => reduce.invalidate(),
            Group::Pool(_) | Group::Gather(_) => {}
        }
    }

    /// Packs the weights where they changed; `backward`: for a backward pass as well.
    pub(crate) fn pack(&mut self, isa: Isa, units: &Units, params: &Params, backward: bool) {
        match self {
            Group::Dense(dense) => {
                dense.pack(isa, units, params);
                if backward {
                    dense.pack_backward(isa, units, params);
                }
            }
            Group::Separable(separable) => separable.pack(isa, units, params, backward),
            Group::Reduce(reduce) => reduce.pack(units, params),
            Group::Pool(_) | Group::Gather(_) => {}
        }
    }

    /// Its convolutions, where they go by Winograd.
    pub(crate) fn winograd(&self) -> Option<&Dense> {
        match self {
            Group::Dense(dense) => Some(dense).filter(|d| d.geometry.winograd),
            Group::Separable(_) | Group::Reduce(_) | Group::Pool(_) | Group::Gather(_) => None,
        }
    }

    /// Length of its packed weight gradients.
    pub(crate) fn grad_len(&self) -> usize {
        match self {
            Group::Dense(dense) => dense.panels.len(),
            Group::Separable(separable) => separable.depthwise.len() + separable.pointwise.panels.len(),
            Group::Reduce(reduce) => reduce.panels.len(),
            Group::Pool(_) | Group::Gather(_) => 0,
        }
    }

    /// Rows of an image that [`Group::pivot`] reads; some may lie below the image.
    pub(super) fn pivot_rows(&self) -> Range<usize> {
        let y = self.to().height / 2;
        let rows = |stride: usize, padding: usize, reach: usize| {
            let first = (y * stride).saturating_sub(padding);
            first..y * stride + reach - padding
        };
        match self {
            Group::Dense(Dense { geometry: g, .. }) => rows(g.stride, g.padding, g.kernel),
            Group::Separable(separable) => {
                let Window { kernel, stride, padding, dilation, .. } = separable.window;
                rows(stride, padding, dilation * (kernel - 1) + 1)
            }
            Group::Reduce(_) => rows(2, 0, 2),
            Group::Pool(pool) => rows(pool.window.stride, 0, 1),
            Group::Gather(_) => rows(1, 0, 1),
        }
    }

    /// The output in the middle of an image of shape `from`: a value near the mean of every output channel. `read` writes
    /// a pixel, or its ReLU, to its last argument.
    pub(super) fn pivot(&self, exec: Exec, from: Plane, read: &mut ReadPixel<'_>) -> Vec<f32> {
        let (to, c) = (self.to(), from.padded);
        let (y, x) = (to.height / 2, to.width / 2);
        let mut pivot = vec![0f32; self.outputs().len() * to.padded];
        let mut patch = |relu: bool, taps: &mut dyn Iterator<Item = Option<(usize, usize)>>| {
            let mut patch = vec![];
            for pixel in taps {
                patch.resize(patch.len() + c, 0.0);
                if let Some(pixel) = pixel.filter(|&(y, x)| y < from.height && x < from.width) {
                    let start = patch.len() - c;
                    read(pixel, relu, &mut patch[start..]);
                }
            }
            patch
        };
        let square = |kernel: usize| (0..kernel).flat_map(move |y| (0..kernel).map(move |x| (y, x)));
        match self {
            Group::Dense(dense) => {
                let geometry = dense.geometry;
                let taps = patch(geometry.relu, &mut square(geometry.kernel).map(|tap| geometry.pixel(y, x, tap)));
                dense.at_one(exec, &taps, &mut pivot);
            }
            Group::Separable(separable) => {
                let Window { kernel, stride, padding, dilation, .. } = separable.window;
                let along = |at: usize, tap: usize| (at * stride + tap * dilation).checked_sub(padding);
                let mut taps = square(kernel).map(|tap| Some((along(y, tap.0)?, along(x, tap.1)?)));
                separable.at_one(exec, &patch(separable.relu, &mut taps), &mut pivot);
            }
            Group::Reduce(reduce) => {
                let taps =
                    patch(reduce.relu, &mut [0, 1].map(|shift| Some((2 * y + shift, 2 * x + shift))).into_iter());
                reduce.at_one(exec, &taps, &mut pivot);
            }
            Group::Pool(pool) => {
                let stride = pool.window.stride;
                let middle = ((y * stride).min(from.height - 1), (x * stride).min(from.width - 1));
                pivot.copy_from_slice(&patch(false, &mut [Some(middle)].into_iter()));
            }
            // Nothing normalises it.
            Group::Gather(_) => {}
        }
        pivot
    }

    /// Writes packed weight gradients to the parameters.
    pub(crate) fn unpack_grad(&self, dw: &[f32], units: &Units, params: &mut Params) {
        match self {
            Group::Dense(dense) => dense.unpack_grad(dw, units, params),
            Group::Separable(separable) => separable.unpack_grad(dw, units, params),
            Group::Reduce(reduce) => reduce.unpack_grad(dw, units, params),
            Group::Pool(_) | Group::Gather(_) => {}
        }
    }
}

/// A group in the forward pass of a piece's images.
pub(super) enum Forward<'a> {
    Dense(convolve::Forward<'a>),
    Separable(separable::Forward<'a>, UnitId),
    Reduce(reduce::Forward<'a>),
    Pool(pool::Forward<'a>),
    Gather(&'a Gather),
}

impl<'a> Forward<'a> {
    /// Values that [`Forward::new`] takes from an arena; `images`: the most of a block.
    pub(super) fn room(group: &Group, images: usize) -> usize {
        match group {
            Group::Dense(of) => convolve::Forward::room(of, images),
            Group::Separable(of) => separable::Forward::room(of),
            Group::Reduce(of) => reduce::Forward::room(of),
            Group::Pool(of) => pool::Forward::room(of),
            Group::Gather(_) => 0,
        }
    }

    /// `stream`: outputs are written past the caches. `pivot`: a value near the mean of every output channel.
    pub(super) fn new<'s: 'a>(
        group: &'a Group,
        exec: Exec,
        images: usize,
        stream: bool,
        pivot: &'a [f32],
        arena: &mut Arena<'s>,
    ) -> Self {
        match group {
            Group::Dense(of) => Forward::Dense(convolve::Forward::new(of, exec, images, stream, pivot, arena)),
            Group::Separable(of) => {
                Forward::Separable(separable::Forward::new(of, exec, stream, pivot, arena), of.pointwise.members[0])
            }
            Group::Reduce(of) => Forward::Reduce(reduce::Forward::new(of, exec, stream, pivot, arena)),
            Group::Pool(of) => Forward::Pool(pool::Forward::new(of, exec, pivot, arena)),
            Group::Gather(of) => Forward::Gather(of),
        }
    }

    /// Reads image `q` of a block, the batch's image `i`.
    ///
    /// # Safety
    /// What is read is there; image `i` of every member's `y` belongs to this thread.
    pub(super) unsafe fn image(&mut self, q: usize, i: usize, reading: Reading, y: &[Ptr]) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Forward::Dense(group) => group.image(q, i, reading, y),
                Forward::Separable(group, unit) => group.image(reading, y[*unit].at(i * group.len())),
                Forward::Reduce(group) => group.image(reading, y[group.unit()].at(i * group.len())),
                Forward::Pool(group) => group.image(reading, y[group.unit()].at(i * group.len())),
                Forward::Gather(group) => group.image(reading, y[group.unit].at(i * group.to.len())),
            }
        }
    }

    /// Ends a block of `count` images, the first of which is the batch's image `i`.
    ///
    /// # Safety
    /// As [`Forward::image`], of all images of the block.
    pub(super) unsafe fn block(&mut self, count: usize, i: usize, y: &[Ptr]) {
        if let Forward::Dense(group) = self {
            // SAFETY: the caller's contract.
            unsafe { group.block(count, i, y) }
        }
    }

    /// Moments, `[2][members][stored channels]`.
    pub(super) fn sums(self) -> Vec<f64> {
        match self {
            Forward::Dense(group) => group.sums,
            Forward::Separable(group, _) => group.sums(),
            Forward::Reduce(group) => group.sums(),
            Forward::Pool(group) => group.sums,
            Forward::Gather(group) => vec![0.0; 2 * group.to.padded],
        }
    }
}

/// A group in the backward pass of a piece's images.
pub(super) enum Backward<'a> {
    Dense(convolve::Backward<'a>),
    Separable(separable::Backward<'a>),
    Reduce(reduce::Backward<'a>),
    Pool(pool::Backward<'a>),
    Gather(gather::Backward<'a>),
}

impl<'a> Backward<'a> {
    /// Values that [`Backward::new`] takes from an arena; `images`: the most of a block; `apart`: with a [`Place`].
    pub(super) fn room(group: &Group, omega: bool, images: usize, apart: bool) -> usize {
        match group {
            Group::Dense(of) => convolve::Backward::room(of, omega, images, apart),
            Group::Separable(of) => separable::Backward::room(of),
            Group::Reduce(of) => reduce::Backward::room(of),
            Group::Pool(of) => pool::Backward::room(of),
            Group::Gather(of) => gather::Backward::room(of),
        }
    }

    /// `outputs`: of each member. `wanted`: the gradients of the weights, and that of the source. `place`: where Winograd's
    /// tensors of the image go, if its weight gradients are [`convolve::Transformed::weight_grads`].
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new<'s: 'a>(
        group: &'a Group,
        exec: Exec,
        outputs: &'a [OutputGrad],
        wanted: (bool, bool),
        images: usize,
        arena: &mut Arena<'s>,
        place: Option<Place>,
    ) -> Self {
        match group {
            Group::Dense(of) => {
                Backward::Dense(convolve::Backward::new(of, exec, outputs, wanted, images, arena, place))
            }
            Group::Separable(of) => Backward::Separable(separable::Backward::new(of, exec, outputs[0], wanted, arena)),
            Group::Reduce(of) => Backward::Reduce(reduce::Backward::new(of, exec, outputs[0], wanted, arena)),
            Group::Pool(of) => Backward::Pool(pool::Backward::new(of, exec, outputs, wanted.1, arena)),
            Group::Gather(of) => Backward::Gather(gather::Backward::new(of, exec, outputs[0], wanted.1, arena)),
        }
    }

    /// Reads image `q` of a block, the batch's image `i`. The gradient of what is read is written, or added where
    /// `accumulate`, to `dr`, and the image's packed weight gradients to `dw`, but for Winograd's. True where there was one to
    /// write to `dr`.
    ///
    /// # Safety
    /// Where weight gradients are wanted what is read is there; `dr` has room for an image; nobody writes the outputs and
    /// their gradients.
    pub(super) unsafe fn image(
        &mut self,
        q: usize,
        i: usize,
        reading: Reading,
        dr: (*mut f32, bool),
        dw: &mut [f32],
    ) -> bool {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Backward::Dense(group) => group.image(q, i, reading, dr, dw),
                Backward::Separable(group) => group.image(i, reading, dr, dw),
                Backward::Reduce(group) => group.image(i, reading, dr, dw),
                Backward::Pool(group) => group.image(i, reading, dr),
                Backward::Gather(group) => group.image(i, dr),
            }
        }
    }

    /// Ends a block of `count` images.
    pub(super) fn block(&mut self, count: usize) {
        if let Backward::Dense(group) = self {
            group.block(count);
        }
    }

    /// Adds what [`Backward::block`] has left for image `q` of the block to `dr`.
    ///
    /// # Safety
    /// `dr` holds an image.
    pub(super) unsafe fn add_products(&mut self, q: usize, dr: *mut f32) {
        if let Backward::Dense(group) = self {
            // SAFETY: the caller's contract.
            unsafe { group.add_products(q, dr) }
        }
    }

    /// Ends a chunk: Winograd's packed weight gradients, to `dw`.
    pub(super) fn finish(self, dw: &mut [f32]) {
        if let Backward::Dense(group) = self {
            group.finish(dw);
        }
    }
}
