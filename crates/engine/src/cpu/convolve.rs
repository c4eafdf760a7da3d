//! A group of convolutions over the images, forward and backward. The 3x3 go by Winograd or directly, as their geometry says;
//! the passes over images need not know.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Buf, Ptr};
use super::dense::Dense;
use super::kernels::elementwise as elem;
use super::kernels::matmul::{Moments, Output, Taps};
use super::kernels::panel::{BLOCK, block_addresses};
use super::kernels::winograd::{self, POINTS, point_step};
use super::output::{OutputGrad, Reading};
use super::pieces::{Run, add_f64};
use super::runtime::{Arena, Exec, room};

/// `len` where `yes`, else nothing.
fn when(yes: bool, len: usize) -> usize {
    if yes { len } else { 0 }
}

/// Distances between transform points of a block of `images`: of the tensor, and of the convolutions' outputs.
fn point_steps(dense: &Dense, images: usize) -> (usize, usize) {
    let tiles = dense.geometry.tiling().tiles() * images;
    (point_step(tiles, dense.geometry.from.padded), point_step(tiles, dense.columns()))
}

/// The forward pass of a piece's images through a group of convolutions.
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
    /// As `sums`, of an image.
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
        self.add_part();
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
                    self.add_part();
                }
            }
        }
    }

    /// Ends an image.
    fn add_part(&mut self) {
        add_f64(&mut self.sums, self.part);
        self.part.fill(0.0);
    }
}

/// Transformed inputs and gradients of a whole batch. Where threads take images one by one, the weight gradients wait until all
/// images of a block are there: products of the few tiles of one would be another sum.
#[derive(Clone, Copy)]
pub(super) struct Transformed<'a> {
    run: Run<'a>,
    /// Images of a block at most, blocks of a chunk.
    per: usize,
    blocks: usize,
    steps: (usize, usize),
    /// `[chunks][blocks]` of inputs and gradients, then `[chunks]` of products.
    start: Ptr,
}

/// Where an image lies in its block.
#[derive(Clone, Copy)]
pub(super) struct Place {
    v: Ptr,
    z: Ptr,
    q: usize,
}

impl<'a> Transformed<'a> {
    /// Of blocks of `per` images, in [`Transformed::room`] at `start`.
    pub(super) fn new(dense: &Dense, run: Run<'a>, per: usize, start: Ptr) -> Self {
        let blocks = (0..run.chunks()).map(|c| run.chunk(c).len().div_ceil(per)).max().unwrap_or(0);
        Transformed { run, per, blocks, steps: point_steps(dense, per), start }
    }

    fn block_len(&self) -> usize {
        POINTS * (self.steps.0 + self.steps.1)
    }

    /// Values of a batch.
    pub(super) fn room(&self, dense: &Dense) -> usize {
        self.run.chunks() * (self.blocks * self.block_len() + POINTS * dense.point_panels.len())
    }

    /// Inputs and gradients of a block.
    fn block(&self, chunk: usize, block: usize) -> (Ptr, Ptr) {
        let v = self.start.0.wrapping_add((chunk * self.blocks + block) * self.block_len());
        (Ptr(v), Ptr(v.wrapping_add(POINTS * self.steps.0)))
    }

    /// Of the batch's image `i`.
    pub(super) fn place(&self, i: usize) -> Place {
        let chunk = self.run.chunk_of(i);
        let within = i - self.run.chunk(chunk).start;
        let (v, z) = self.block(chunk, within / self.per);
        Place { v, z, q: within % self.per }
    }

    /// The weight gradients of every chunk, to `at` of its sums.
    pub(super) fn weight_grads(&self, dense: &Dense, chunks: &mut [Buf], at: Range<usize>) {
        let (isa, tiles, panels) = (self.run.exec().isa, dense.geometry.tiling().tiles(), &dense.point_panels);
        let products = |chunk: usize| {
            let first = self.run.chunks() * self.blocks * self.block_len() + chunk * POINTS * panels.len();
            self.start.0.wrapping_add(first)
        };
        let jobs: Vec<_> = (0..self.run.chunks()).flat_map(|c| (0..POINTS).map(move |p| (c, p))).collect();
        jobs.into_par_iter().for_each(|(chunk, point)| {
            let images = self.run.chunk(chunk).len();
            for block in 0..images.div_ceil(self.per) {
                let count = self.per.min(images - block * self.per);
                let (v, z) = self.block(chunk, block);
                let (vstep, zstep) = self.steps;
                let (du, points) = (products(chunk), point..point + 1);
                // SAFETY: every image of the block was transformed; a point of a chunk is this job's alone.
                unsafe {
                    winograd::multiply_grad(isa, v.0, vstep, z.0, zstep, panels, du, count * tiles, block > 0, points)
                }
            }
        });
        chunks[..self.run.chunks()].par_iter_mut().enumerate().for_each(|(chunk, sums)| {
            let dw = sums[at.clone()].as_mut_ptr();
            // SAFETY: lengths as the panels say.
            unsafe { winograd::weights_adjoint(isa, products(chunk), panels, dw, &dense.panels) }
        });
    }
}

/// The backward pass of a piece's images through a group of convolutions.
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
    /// Where what is transformed goes, if not to `v` and `z`.
    place: Option<Place>,
    /// Blocks that have added to the weight gradients.
    blocks: usize,
}

impl<'a> Backward<'a> {
    fn sizes(dense: &Dense, omega: bool, images: usize, apart: bool) -> [usize; 5] {
        let (winograd, columns) = (dense.geometry.winograd, dense.columns());
        let (vstep, zstep) = point_steps(dense, images);
        let (height, width, _) = dense.geometry.spread();
        [
            when(!winograd, height * width * columns),
            when(winograd && !apart, POINTS * vstep),
            when(winograd && !apart, POINTS * zstep),
            when(winograd, POINTS * vstep),
            when(winograd && omega && !apart, POINTS * dense.point_panels.len()),
        ]
    }

    /// Values that [`Backward::new`] takes from an arena; `apart`: with a [`Place`].
    pub(super) fn room(dense: &Dense, omega: bool, images: usize, apart: bool) -> usize {
        room(&Self::sizes(dense, omega, images, apart))
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn new<'s: 'a>(
        dense: &'a Dense,
        exec: Exec,
        outputs: &'a [OutputGrad],
        (omega, own): (bool, bool),
        images: usize,
        arena: &mut Arena<'s>,
        place: Option<Place>,
    ) -> Self {
        let sizes = Self::sizes(dense, omega, images, place.is_some());
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
            place,
            blocks: 0,
        }
    }

    /// Transformed inputs and gradients, and the tile of them that is image `q`'s first.
    fn transformed(&mut self, q: usize) -> (*mut f32, *mut f32, usize) {
        let tiles = self.dense.geometry.tiling().tiles();
        match self.place {
            Some(Place { v, z, q: first }) => (v.0, z.0, (first + q) * tiles),
            None => (self.v.as_mut_ptr(), self.z.as_mut_ptr(), q * tiles),
        }
    }

    /// Reads image `q` of a block, the batch's image `i`, and what [`OutputGrad`] says. The gradient of what is read is
    /// written, or added where `accumulate`, to `dr`, and the image's packed weight gradients to `dw`, but for Winograd's. True
    /// where there was one to write to `dr`.
    ///
    /// # Safety
    /// Where weight gradients are wanted what is read is there; `dr` has room for an image; nobody writes the outputs and
    /// their gradients.
    pub(super) unsafe fn image(
        &mut self,
        q: usize,
        i: usize,
        Reading { src, width }: Reading,
        (dr, accumulate): (*mut f32, bool),
        dw: &mut [f32],
    ) -> bool {
        let (dense, geometry, exec) = (self.dense, self.dense.geometry, self.exec);
        let (from, to, columns) = (geometry.from, geometry.to, dense.columns());
        let o = i * to.len();
        // SAFETY: the caller's contract; lengths are those of `sizes`.
        unsafe {
            if geometry.winograd {
                let (tiling, (vstep, zstep)) = (geometry.tiling(), self.steps);
                let (v, z, first) = self.transformed(q);
                if self.omega {
                    winograd::input(exec.isa, src, &tiling, from.padded, v, first, vstep);
                }
                for (k, out) in self.outputs.iter().enumerate() {
                    let (g, y, z) = (out.g.at(o), out.y.at(o), z.add(k * to.padded));
                    out.norm_of(i, to.padded, |norm| {
                        winograd::output_adjoint(exec.isa, g, y, norm, &tiling, to.padded, z, columns, first, zstep);
                    });
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
                    out.norm_of(i, to.padded, |norm| {
                        elem::norm_grad(exec.isa, g, y, norm, to.height, to.width, to.padded, dy, row, column);
                    });
                }
            }
            let dy = if direct { self.outputs[0].g.at(o).cast_const() } else { self.dy.as_ptr() };
            if self.omega {
                let (taps, dy) = (geometry.taps(width), dy.wrapping_add(first));
                exec.weight_grad(&taps, src, dy, (row, column), &dense.panels, dw);
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
        let (v, z, first) = self.transformed(0);
        // SAFETY: lengths are those of `sizes`; `image` filled the block.
        unsafe {
            if self.omega && self.place.is_none() {
                let (panels, du) = (&dense.point_panels, self.du.as_mut_ptr());
                winograd::multiply_grad(isa, v, vstep, z, zstep, panels, du, tiles, self.blocks > 0, 0..POINTS);
            }
            if self.own {
                let (u, dv, z) = (dense.point_backward.as_ptr(), self.dv.as_mut_ptr(), z.add(first * dense.columns()));
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

    /// Ends a chunk: Winograd's packed weight gradients, to `dw`.
    pub(super) fn finish(self, dw: &mut [f32]) {
        let dense = self.dense;
        if self.omega && dense.geometry.winograd {
            let du = self.du.as_ptr();
            // SAFETY: lengths as the panels say.
            unsafe { winograd::weights_adjoint(self.exec.isa, du, &dense.point_panels, dw.as_mut_ptr(), &dense.panels) }
        }
    }
}
