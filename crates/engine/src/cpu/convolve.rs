//! A group of convolutions over the images, forward and backward. The 3x3 go by Winograd or directly, as their geometry says;
//! the passes over images need not know.

use super::buffer::Ptr;
use super::dense::Dense;
use super::kernels::elementwise as elem;
use super::kernels::matmul::{Moments, Output, Taps};
use super::kernels::panel::{BLOCK, block_addresses};
use super::kernels::winograd::{self, POINTS, point_step};
use super::output::{OutputGrad, Reading};
use super::runtime::{Arena, Exec, add_f64, room};

/// `len` where `yes`, else nothing.
fn when(yes: bool, len: usize) -> usize {
    if yes { len } else { 0 }
}

/// Distances between transform points of a block of `images`: of the tensor, and of the convolutions' outputs.
fn point_steps(dense: &Dense, images: usize) -> (usize, usize) {
    let tiles = dense.geometry.tiling().tiles() * images;
    (point_step(tiles, dense.geometry.from.padded), point_step(tiles, dense.columns()))
}

/// The forward pass of one chunk's images through a group of convolutions.
pub(super) struct Forward<'a> {
    dense: &'a Dense,
    exec: Exec,
    /// Outputs are written past the caches.
    stream: bool,
    /// A value near the mean of every output channel.
    pivot: &'a [f32],
    /// Transformed inputs and products of a block.
    v: &'a mut [f32],
    m: &'a mut [f32],
    steps: (usize, usize),
    /// As `sums`, of a block.
    part: &'a mut [f32],
    /// Moments, `[2][columns]`.
    pub(super) sums: Vec<f64>,
    outputs: Vec<*mut f32>,
}

impl<'a> Forward<'a> {
    fn sizes(dense: &Dense, images: usize) -> [usize; 3] {
        let winograd = dense.geometry.winograd;
        let (vstep, mstep) = point_steps(dense, images);
        [when(winograd, POINTS * vstep), when(winograd, POINTS * mstep), 2 * dense.columns()]
    }

    /// Values that [`Forward::new`] takes from an arena.
    pub(super) fn room(dense: &Dense, images: usize) -> usize {
        room(&Self::sizes(dense, images))
    }

    /// `images`: the most of a block.
    pub(super) fn new<'s: 'a>(
        dense: &'a Dense,
        exec: Exec,
        images: usize,
        stream: bool,
        pivot: &'a [f32],
        arena: &mut Arena<'s>,
    ) -> Self {
        let sizes = Self::sizes(dense, images);
        Forward {
            dense,
            exec,
            stream,
            pivot,
            v: arena.take(sizes[0]),
            m: arena.take(sizes[1]),
            steps: point_steps(dense, images),
            part: arena.zeros(sizes[2]),
            sums: vec![0.0; sizes[2]],
            outputs: vec![],
        }
    }

    /// Reads image `q` of a block, the batch's image `i`.
    ///
    /// # Safety
    /// What is read is there; image `i` of every member's `y` belongs to this thread.
    pub(super) unsafe fn image(&mut self, q: usize, i: usize, Reading { src, width }: Reading, y: &[Ptr]) {
        let (dense, geometry) = (self.dense, self.dense.geometry);
        if geometry.winograd {
            let tiling = geometry.tiling();
            let (v, first) = (self.v.as_mut_ptr(), q * tiling.tiles());
            // SAFETY: the caller's contract; lengths are those of `sizes`.
            unsafe { winograd::input(self.exec.isa, src, &tiling, geometry.from.padded, v, first, self.steps.0) }
            return;
        }
        let to = geometry.to;
        self.outputs.clear();
        for &unit in &dense.members {
            self.outputs.extend((0..to.padded / BLOCK).map(|b| y[unit].0.wrapping_add(i * to.len() + b * BLOCK)));
        }
        let moments = Moments { pivot: self.pivot.as_ptr(), sums: self.part.as_mut_ptr() };
        let out = Output { step: to.padded, stream: self.stream, moments: Some(moments), ..Output::to(&self.outputs) };
        // SAFETY: as above.
        unsafe { self.exec.conv(&geometry.taps(width), src, &dense.forward, &dense.panels, &out) }
    }

    /// Ends a block of `count` images, the first of which is the batch's image `i`.
    ///
    /// # Safety
    /// As [`Forward::image`], of all images of the block.
    pub(super) unsafe fn block(&mut self, count: usize, i: usize, y: &[Ptr]) {
        let (dense, to) = (self.dense, self.dense.geometry.to);
        if dense.geometry.winograd {
            let (c, len, isa) = (to.padded, to.len(), self.exec.isa);
            let (tiling, (vstep, mstep), columns) = (dense.geometry.tiling(), self.steps, dense.columns());
            let (v, u, m) = (self.v.as_ptr(), dense.point_forward.as_ptr(), self.m.as_mut_ptr());
            // SAFETY: the caller's contract; lengths are those of `sizes`.
            unsafe {
                winograd::multiply(isa, v, vstep, u, &dense.point_panels, m, mstep, count * tiling.tiles());
                for q in 0..count {
                    for (k, &unit) in dense.members.iter().enumerate() {
                        let pivot = self.pivot[k * c..].as_ptr();
                        let moments = Moments { pivot, sums: self.part[k * c..].as_mut_ptr() };
                        let (to, first) = (y[unit].at((i + q) * len), q * tiling.tiles());
                        let m = self.m[k * c..].as_ptr();
                        winograd::output(isa, m, columns, &tiling, c, to, self.stream, first, mstep, moments, columns);
                    }
                }
            }
        }
        add_f64(&mut self.sums, self.part);
        self.part.fill(0.0);
    }
}

/// The backward pass of one chunk's images through a group of convolutions.
pub(super) struct Backward<'a> {
    dense: &'a Dense,
    exec: Exec,
    /// Of each member.
    outputs: &'a [OutputGrad],
    /// Weight gradients are wanted.
    omega: bool,
    /// The source's gradient is wanted.
    own: bool,
    /// `dy` of the members side by side, in the layout of [`super::dense::Geometry::spread`] (direct).
    dy: &'a mut [f32],
    /// Transformed inputs, transformed `dy`, products of a block, and the sum of the weight gradients.
    v: &'a mut [f32],
    z: &'a mut [f32],
    dv: &'a mut [f32],
    du: &'a mut [f32],
    steps: (usize, usize),
    /// The chunk's weight gradients, packed.
    dw: &'a mut [f32],
    /// Images and blocks that have added to the weight gradients.
    images: usize,
    blocks: usize,
}

impl<'a> Backward<'a> {
    fn sizes(dense: &Dense, omega: bool, images: usize) -> [usize; 5] {
        let (winograd, columns) = (dense.geometry.winograd, dense.columns());
        let (vstep, zstep) = point_steps(dense, images);
        let (height, width, _) = dense.geometry.spread();
        [
            when(!winograd, height * width * columns),
            when(winograd, POINTS * vstep),
            when(winograd, POINTS * zstep),
            when(winograd, POINTS * vstep),
            when(winograd && omega, POINTS * dense.point_panels.len()),
        ]
    }

    /// Values that [`Backward::new`] takes from an arena.
    pub(super) fn room(dense: &Dense, omega: bool, images: usize) -> usize {
        room(&Self::sizes(dense, omega, images))
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn new<'s: 'a>(
        dense: &'a Dense,
        exec: Exec,
        outputs: &'a [OutputGrad],
        (omega, own): (bool, bool),
        images: usize,
        arena: &mut Arena<'s>,
        dw: &'a mut [f32],
    ) -> Self {
        let sizes = Self::sizes(dense, omega, images);
        // Gaps and borders stay zero; without them every value is written.
        let compact = dense.geometry.is_compact();
        Backward {
            dense,
            exec,
            outputs,
            omega,
            own,
            dy: if compact { arena.take(sizes[0]) } else { arena.zeros(sizes[0]) },
            v: arena.take(sizes[1]),
            z: arena.take(sizes[2]),
            dv: arena.take(sizes[3]),
            du: arena.take(sizes[4]),
            steps: point_steps(dense, images),
            dw,
            images: 0,
            blocks: 0,
        }
    }

    /// Reads image `q` of a block, the batch's image `i`, and what [`OutputGrad`] says. The gradient of what is read is
    /// written, or added where `accumulate`, to `dr`, but for Winograd's. True where it was.
    ///
    /// # Safety
    /// Where weight gradients are wanted what is read is there; `dr` has room for an image; nobody writes the outputs and
    /// their gradients.
    pub(super) unsafe fn image(
        &mut self,
        q: usize,
        i: usize,
        Reading { src, width }: Reading,
        dr: *mut f32,
        accumulate: bool,
    ) -> bool {
        let (dense, geometry, exec) = (self.dense, self.dense.geometry, self.exec);
        let (from, to, columns) = (geometry.from, geometry.to, dense.columns());
        let o = i * to.len();
        let add = self.images > 0;
        self.images += 1;
        // SAFETY: the caller's contract; lengths are those of `sizes`.
        unsafe {
            if geometry.winograd {
                let (tiling, (vstep, zstep)) = (geometry.tiling(), self.steps);
                let first = q * tiling.tiles();
                if self.omega {
                    winograd::input(exec.isa, src, &tiling, from.padded, self.v.as_mut_ptr(), first, vstep);
                }
                for (k, out) in self.outputs.iter().enumerate() {
                    let (g, y, z) = (out.g.at(o), out.y.at(o), self.z[k * to.padded..].as_mut_ptr());
                    winograd::output_adjoint(exec.isa, g, y, out.norm, &tiling, to.padded, z, columns, first, zstep);
                }
                return false;
            }
            let (_, spread, border) = geometry.spread();
            let (row, column) = (geometry.stride * spread * columns, geometry.stride * columns);
            let first = (border * spread + border) * columns;
            let direct = geometry.is_compact() && matches!(self.outputs, [one] if one.direct);
            if !direct {
                for (k, out) in self.outputs.iter().enumerate() {
                    let (g, y) = (out.g.at(o), out.y.at(o));
                    let dy = self.dy[first + k * to.padded..].as_mut_ptr();
                    elem::norm_grad(exec.isa, g, y, out.norm, to.height, to.width, to.padded, dy, row, column);
                }
            }
            let dy = if direct { self.outputs[0].g.at(o).cast_const() } else { self.dy.as_ptr() };
            if self.omega {
                let (taps, dw) = (geometry.taps(width), self.dw.as_mut_ptr());
                exec.weight_grad(&taps, src, dy.wrapping_add(first), (row, column), &dense.panels, dw, add);
            }
            if self.own {
                let taps = if geometry.is_compact() {
                    Taps::rows(from.pixels(), columns, columns)
                } else {
                    Taps::square(geometry.kernel, 1, from.height, from.width, spread, columns)
                };
                let blocks = block_addresses(dr, from.padded);
                let out = Output { step: from.padded, accumulate, ..Output::to(&blocks) };
                exec.conv(&taps, dy, &dense.backward, &dense.back_panels, &out);
            }
        }
        self.own
    }

    /// Ends a block of `count` images.
    pub(super) fn block(&mut self, count: usize) {
        let (dense, isa) = (self.dense, self.exec.isa);
        if !dense.geometry.winograd {
            return;
        }
        let (tiles, (vstep, zstep)) = (count * dense.geometry.tiling().tiles(), self.steps);
        let (v, z) = (self.v.as_ptr(), self.z.as_ptr());
        // SAFETY: lengths are those of `sizes`; `image` filled the block.
        unsafe {
            if self.omega {
                let (panels, du) = (&dense.point_panels, self.du.as_mut_ptr());
                winograd::multiply_grad(isa, v, vstep, z, zstep, panels, du, tiles, self.blocks > 0);
            }
            if self.own {
                let (u, dv) = (dense.point_backward.as_ptr(), self.dv.as_mut_ptr());
                winograd::multiply(isa, z, zstep, u, &dense.point_back_panels, dv, vstep, tiles);
            }
        }
        self.blocks += 1;
    }

    /// Adds what [`Backward::block`] has left for image `q` of the block to `dr`.
    ///
    /// # Safety
    /// `dr` holds an image.
    pub(super) unsafe fn add_products(&mut self, q: usize, dr: *mut f32) {
        let geometry = self.dense.geometry;
        if geometry.winograd && self.own {
            let tiling = geometry.tiling();
            let (dv, first) = (self.dv.as_ptr(), q * tiling.tiles());
            // SAFETY: the caller's contract; `block` filled the products.
            unsafe {
                winograd::input_adjoint(self.exec.isa, dv, &tiling, geometry.from.padded, dr, first, self.steps.0)
            }
        }
    }

    /// Ends the chunk: its weight gradients are complete.
    pub(super) fn finish(self) {
        let dense = self.dense;
        if self.omega && dense.geometry.winograd {
            let (du, dw) = (self.du.as_ptr(), self.dw.as_mut_ptr());
            // SAFETY: lengths as the panels say.
            unsafe { winograd::weights_adjoint(self.exec.isa, du, &dense.point_panels, dw, &dense.panels) }
        }
    }
}
