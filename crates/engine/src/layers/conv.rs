//! Convolutions that read the same tensor, treated as one: shared input, concatenated output channels.
//!
//! The outgoing edges of a node begin with the same ReLU of the same tensor, so their convolutions are one matrix product
//! with `edges * channels` columns forward, and one with as many rows in the data gradient.

use crate::buffer::Buf;
use crate::kernels::panel::{BLOCK, Panels, padded};
use crate::kernels::winograd::{self, POINTS};
use crate::params::{ParamId, Params};
use crate::simd::Isa;

/// Weights of convolutions `[out, in, size, size]` over one input, packed for the kernels.
#[derive(Clone, Debug)]
pub(crate) struct ConvGroup {
    size: usize,
    inputs: usize,
    /// Channels of the input as stored: padded, except for images.
    stored: usize,
    outputs: usize,
    winograd: bool,
    pub(crate) members: Vec<ParamId>,
    /// `[size^2 * stored, members * padded outputs]`.
    pub(crate) panels: Panels,
    pub(crate) forward: Buf,
    /// `[size^2 * members * padded outputs, padded inputs]`, taps turned round (direct).
    pub(crate) back_panels: Panels,
    pub(crate) backward: Buf,
    /// Winograd: 36 times `[stored, members * padded outputs]`, and 36 times its transpose.
    pub(crate) point_panels: Panels,
    pub(crate) point_forward: Buf,
    pub(crate) point_back_panels: Panels,
    pub(crate) point_backward: Buf,
    pub(crate) packed: bool,
    packed_backward: bool,
}

impl ConvGroup {
    pub(crate) fn new(
        isa: Isa,
        size: usize,
        (inputs, stored): (usize, usize),
        outputs: usize,
        winograd: bool,
        members: Vec<ParamId>,
    ) -> Self {
        let columns = members.len() * padded(outputs);
        ConvGroup {
            size,
            inputs,
            stored,
            outputs,
            winograd,
            members,
            panels: Panels::new(isa, size * size * stored, columns),
            forward: Buf::default(),
            back_panels: Panels::new(isa, size * size * columns, padded(inputs)),
            backward: Buf::default(),
            point_panels: Panels::new(isa, stored, columns),
            point_forward: Buf::default(),
            point_back_panels: Panels::new(isa, columns, padded(inputs)),
            point_backward: Buf::default(),
            packed: false,
            packed_backward: false,
        }
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
    pub(crate) fn pack(&mut self, isa: Isa, params: &Params) {
        if std::mem::replace(&mut self.packed, true) || self.members.is_empty() {
            return;
        }
        let taps = self.size * self.size;
        self.forward.ensure(self.panels.len());
        for (m, &id) in self.members.iter().enumerate() {
            let w = params.value(id);
            for block in 0..padded(self.outputs) / BLOCK {
                let (start, step) = self.panels.block(m * padded(self.outputs) / BLOCK + block);
                let lanes = BLOCK.min(self.outputs - block * BLOCK);
                for tap in 0..taps {
                    for i in 0..self.inputs {
                        let row = &mut self.forward[start + (tap * self.stored + i) * step..][..lanes];
                        let mut from = (block * BLOCK * self.inputs + i) * taps + tap;
                        for r in row {
                            *r = w[from];
                            from += self.inputs * taps;
                        }
                    }
                }
            }
        }
        if self.winograd {
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
    pub(crate) fn pack_backward(&mut self, isa: Isa, params: &Params) {
        if std::mem::replace(&mut self.packed_backward, true) || self.members.is_empty() {
            return;
        }
        let (taps, columns) = (self.size * self.size, self.columns());
        self.backward.ensure(self.back_panels.len());
        for (m, &id) in self.members.iter().enumerate() {
            let w = params.value(id);
            for block in 0..padded(self.inputs) / BLOCK {
                let (start, step) = self.back_panels.block(block);
                let lanes = BLOCK.min(self.inputs - block * BLOCK);
                for tap in 0..taps {
                    // Direct: a convolution of dy with the taps turned round; Winograd's adjoint needs them as they are.
                    let from_tap = if self.winograd { tap } else { taps - 1 - tap };
                    for o in 0..self.outputs {
                        let k = tap * columns + m * padded(self.outputs) + o;
                        let row = &mut self.backward[start + k * step..][..lanes];
                        let mut from = (o * self.inputs + block * BLOCK) * taps + from_tap;
                        for r in row {
                            *r = w[from];
                            from += taps;
                        }
                    }
                }
            }
        }
        if self.winograd {
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
    pub(crate) fn unpack_grad(&self, dw: &[f32], params: &mut Params) {
        let taps = self.size * self.size;
        for (m, &id) in self.members.iter().enumerate() {
            let g = params.grad_mut(id);
            for block in 0..padded(self.outputs) / BLOCK {
                let (start, step) = self.panels.block(m * padded(self.outputs) / BLOCK + block);
                let lanes = BLOCK.min(self.outputs - block * BLOCK);
                for tap in 0..taps {
                    for i in 0..self.inputs {
                        let row = &dw[start + (tap * self.stored + i) * step..][..lanes];
                        let mut to = (block * BLOCK * self.inputs + i) * taps + tap;
                        for &r in row {
                            g[to] = r;
                            to += self.inputs * taps;
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_unpack_to_where_weights_were_packed_from() {
        for (inputs, outputs, stored) in [(3, 16, 3), (16, 5, 16), (20, 33, 32)] {
            let mut params = Params::default();
            let mut next = 0.0;
            let ids: Vec<_> = (0..3)
                .map(|i| {
                    params.add(i.to_string(), &[outputs, inputs, 3, 3], || {
                        next += 1.0;
                        next
                    })
                })
                .collect();
            for isa in [Isa::Portable, Isa::Avx512] {
                let mut group = ConvGroup::new(isa, 3, (inputs, stored), outputs, false, ids.clone());
                group.pack(isa, &params);
                let packed = group.forward.to_vec();
                group.unpack_grad(&packed, &mut params);
                assert_eq!(params.grads, params.values);
            }
        }
    }
}
