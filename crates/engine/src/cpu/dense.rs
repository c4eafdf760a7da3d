//! Convolutions that read the same tensor, treated as one: shared input, concatenated output channels.
//!
//! The operations that leave a node begin with the same ReLU of the same tensor, so their convolutions of one kernel size
//! are one matrix product with `edges * channels` columns forward, and one with as many rows in the data gradient.

use super::buffer::Buf;
use super::kernels::matmul::Taps;
use super::kernels::panel::{BLOCK, Panels, padded};
use super::kernels::winograd::{self, POINTS, Tiling};
use super::params::Params;
use super::plane::Plane;
use super::runtime::Exec;
use super::simd::Isa;
use super::unit::{UnitId, Units};

/// What convolutions must share to be treated as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Whether they read the ReLU of the tensor.
    pub(crate) relu: bool,
    /// Side of the window.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) from: Plane,
    pub(crate) to: Plane,
    /// By Winograd, not directly.
    pub(crate) winograd: bool,
}

impl Geometry {
    /// The taps of all outputs in an image whose rows are `width` pixels; the first tap is the image's first pixel.
    pub(crate) fn taps(&self, width: usize) -> Taps {
        Taps::square(self.kernel, self.stride, self.to.height, self.to.width, width, self.from.padded)
    }

    /// The pixel of the input under a tap of the output `(y, x)`; `None` above and left of the image.
    pub(crate) fn pixel(&self, y: usize, x: usize, tap: (usize, usize)) -> Option<(usize, usize)> {
        let along = |at: usize, tap: usize, len: usize| {
            (at * self.stride + tap).checked_sub(self.padding).filter(|&pixel| pixel < len)
        };
        Some((along(y, tap.0, self.from.height)?, along(x, tap.1, self.from.width)?))
    }

    /// The gradient of the outputs as the data gradient reads it: rows and columns of an image in which the outputs are
    /// `stride` apart, and the border above and left of the first.
    pub(crate) fn spread(&self) -> (usize, usize, usize) {
        (self.from.height + self.kernel - 1, self.from.width + self.kernel - 1, self.kernel - 1 - self.padding)
    }

    /// Whether the gradient of the outputs needs no border and no gaps.
    pub(crate) fn is_compact(&self) -> bool {
        self.kernel == 1 && self.stride == 1
    }

    pub(crate) fn tiling(&self) -> Tiling {
        Tiling::new(self.to.height, self.to.width)
    }
}

/// Weights of convolutions over one input, packed for the kernels.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    pub(crate) geometry: Geometry,
    pub(crate) members: Vec<UnitId>,
    /// Which tensor of a member it is.
    weight: usize,
    /// `[kernel^2 * stored inputs, members * padded outputs]`.
    pub(crate) panels: Panels,
    pub(crate) forward: Buf,
    /// `[kernel^2 * members * padded outputs, stored inputs]`, taps turned round (direct).
    pub(crate) back_panels: Panels,
    pub(crate) backward: Buf,
    /// Winograd: 36 times `[stored inputs, members * padded outputs]`, and 36 times its transpose.
    pub(crate) point_panels: Panels,
    pub(crate) point_forward: Buf,
    pub(crate) point_back_panels: Panels,
    pub(crate) point_backward: Buf,
    packed: bool,
    packed_backward: bool,
}

impl Dense {
    /// Of the members' tensors number `weight`.
    pub(crate) fn new(isa: Isa, geometry: Geometry, members: Vec<UnitId>, weight: usize) -> Self {
        let columns = members.len() * geometry.to.padded;
        let (taps, stored) = (geometry.kernel * geometry.kernel, geometry.from.padded);
        Dense {
            geometry,
            members,
            weight,
            panels: Panels::new(isa, taps * stored, columns),
            forward: Buf::default(),
            back_panels: Panels::new(isa, taps * columns, padded(stored)),
            backward: Buf::default(),
            point_panels: Panels::new(isa, stored, columns),
            point_forward: Buf::default(),
            point_back_panels: Panels::new(isa, columns, padded(stored)),
            point_backward: Buf::default(),
            packed: false,
            packed_backward: false,
        }
    }

    /// Whether the other one convolves the same with the same weights.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.geometry, &self.members, self.weight) == (other.geometry, &other.members, other.weight)
    }

    /// The outputs at one position, from the taps of it: `[kernel^2, stored inputs]`.
    pub(super) fn at_one(&self, exec: Exec, taps: &[f32], out: &mut [f32]) {
        exec.conv_at_one(taps, &self.forward, &self.panels, out);
    }

    /// Output columns of all members.
    pub(crate) fn columns(&self) -> usize {
        self.panels.columns
    }

    /// The weights changed.
    pub(crate) fn invalidate(&mut self) {
        self.packed = false;
        self.packed_backward = false;
    }

    /// Packs the weights for the forward pass, where they changed.
    pub(crate) fn pack(&mut self, isa: Isa, units: &Units, params: &Params) {
        if std::mem::replace(&mut self.packed, true) {
            return;
        }
        let Geometry { from, to, kernel, winograd, .. } = self.geometry;
        let (taps, inputs) = (kernel * kernel, from.channels);
        let positions: Vec<usize> = (0..inputs).map(|i| from.position(i)).collect();
        self.forward.ensure(self.panels.len());
        for (m, &unit) in self.members.iter().enumerate() {
            let w = params.value(units[unit].weights[self.weight]);
            for block in 0..to.padded / BLOCK {
                let (start, step) = self.panels.block(m * to.padded / BLOCK + block);
                let lanes = BLOCK.min(to.channels - block * BLOCK);
                for tap in 0..taps {
                    for (i, position) in positions.iter().enumerate() {
                        let row = &mut self.forward[start + (tap * from.padded + position) * step..][..lanes];
                        let mut at = (block * BLOCK * inputs + i) * taps + tap;
                        for r in row {
                            *r = w[at];
                            at += inputs * taps;
                        }
                    }
                }
            }
        }
        if winograd {
            self.point_forward.ensure(POINTS * self.point_panels.len());
            // SAFETY: the buffers have the lengths that the panels say.
            unsafe {
                winograd::weights(
                    isa,
                    self.forward.as_ptr(),
                    &self.panels,
                    self.point_forward.as_mut_ptr(),
                    &self.point_panels,
                );
            }
        }
    }

    /// Packs the weights for the data gradient, where they changed.
    pub(crate) fn pack_backward(&mut self, isa: Isa, units: &Units, params: &Params) {
        if std::mem::replace(&mut self.packed_backward, true) {
            return;
        }
        let Geometry { from, to, kernel, winograd, .. } = self.geometry;
        let (taps, columns) = (kernel * kernel, self.columns());
        self.backward.ensure(self.back_panels.len());
        for (m, &unit) in self.members.iter().enumerate() {
            let w = params.value(units[unit].weights[self.weight]);
            for block in 0..from.padded / BLOCK {
                let (start, step) = self.back_panels.block(block);
                let (first, lanes) = from.block(block * BLOCK);
                for tap in 0..taps {
                    // Direct: a convolution of dy with the taps turned round; Winograd's adjoint needs them as they are.
                    let from_tap = if winograd { tap } else { taps - 1 - tap };
                    for o in 0..to.channels {
                        let k = tap * columns + m * to.padded + o;
                        let row = &mut self.backward[start + k * step..][..lanes];
                        let mut at = (o * from.channels + first) * taps + from_tap;
                        for r in row {
                            *r = w[at];
                            at += taps;
                        }
                    }
                }
            }
        }
        if winograd {
            self.point_backward.ensure(POINTS * self.point_back_panels.len());
            // SAFETY: the buffers have the lengths that the panels say.
            unsafe {
                winograd::weights(
                    isa,
                    self.backward.as_ptr(),
                    &self.back_panels,
                    self.point_backward.as_mut_ptr(),
                    &self.point_back_panels,
                );
            }
        }
    }

    /// Writes a packed weight gradient (layout of `forward`) to the parameters.
    pub(crate) fn unpack_grad(&self, dw: &[f32], units: &Units, params: &mut Params) {
        let Geometry { from, to, kernel, .. } = self.geometry;
        let (taps, inputs) = (kernel * kernel, from.channels);
        let positions: Vec<usize> = (0..inputs).map(|i| from.position(i)).collect();
        for (m, &unit) in self.members.iter().enumerate() {
            let g = params.grad_mut(units[unit].weights[self.weight]);
            for block in 0..to.padded / BLOCK {
                let (start, step) = self.panels.block(m * to.padded / BLOCK + block);
                let lanes = BLOCK.min(to.channels - block * BLOCK);
                for tap in 0..taps {
                    for (i, position) in positions.iter().enumerate() {
                        let row = &dw[start + (tap * from.padded + position) * step..][..lanes];
                        let mut at = (block * BLOCK * inputs + i) * taps + tap;
                        for &r in row {
                            g[at] = r;
                            at += inputs * taps;
                        }
                    }
                }
            }
        }
    }
}
