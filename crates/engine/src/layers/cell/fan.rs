//! The convolutions on the outgoing edges of a node: all of a kernel size read the same tensor, so they are one product.
//! The 3x3 go by Winograd or directly, as the cell says; the passes over images need not know.

use super::Cell;
use crate::buffer::Ptr;
use crate::kernels::elementwise as elem;
use crate::kernels::matmul::{Moments, Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::kernels::winograd::{self, POINTS, point_step};
use crate::layers::conv::ConvGroup;
use crate::run::{Arena, Exec, add_f64};

/// Convolutions on the outgoing edges of a node that take part in a pass.
#[derive(Clone, Debug)]
pub(super) struct Fan {
    /// `[E, O]` indices, in order; one group per kernel size.
    pub(super) ops3: Vec<usize>,
    pub(super) group3: ConvGroup,
    pub(super) ops1: Vec<usize>,
    pub(super) group1: ConvGroup,
}

impl Fan {
    /// `[E, O]` indices of all of them, the 3x3 first.
    pub(super) fn ops(&self) -> impl Iterator<Item = usize> {
        self.ops3.iter().chain(&self.ops1).copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops3.is_empty() && self.ops1.is_empty()
    }

    /// Whether the groups convolve the same operations.
    pub(super) fn same_ops(&self, other: &Fan) -> bool {
        (&self.ops3, &self.ops1) == (&other.ops3, &other.ops1)
    }
}

/// `len` where `yes`, else nothing.
fn when(yes: bool, len: usize) -> usize {
    if yes { len } else { 0 }
}

/// Room in an arena for pieces of these sizes.
fn room(sizes: &[usize]) -> usize {
    sizes.iter().map(|&s| Arena::room(s)).sum()
}

impl Cell {
    /// The convolutions that leave `node`, if there are any.
    pub(super) fn outgoing(&self, node: usize) -> Option<&Fan> {
        self.fans.get(node).filter(|f| !f.is_empty())
    }

    fn by_winograd(&self, fan: &Fan) -> bool {
        self.winograd && !fan.ops3.is_empty()
    }

    /// Distances between transform points of a block: of the node's tensor, and of the outputs of the 3x3 convolutions.
    fn point_steps(&self, fan: &Fan) -> (usize, usize) {
        let tiles = self.tiling().tiles() * self.images_per_block();
        (point_step(tiles, self.plane.padded), point_step(tiles, fan.group3.columns()))
    }
}

/// The forward pass of one chunk's images through the convolutions of a node.
pub(super) struct ForwardConvs<'a> {
    cell: &'a Cell,
    fan: &'a Fan,
    exec: Exec,
    /// Outputs are written past the caches.
    stream: bool,
    /// A value near the mean of every output channel, first of the 3x3, then of the 1x1.
    pivot: &'a [f32],
    /// Padded ReLU of the node.
    r: &'a mut [f32],
    /// Transformed ReLUs and products of a block.
    v: &'a mut [f32],
    m: &'a mut [f32],
    /// As `sums`, of a block.
    part: &'a mut [f32],
    /// Moments, `[2][columns]` of the 3x3, then of the 1x1.
    pub(super) sums: Vec<f64>,
    outputs: Vec<*mut f32>,
}

impl<'a> ForwardConvs<'a> {
    fn sizes(cell: &Cell, fan: &Fan) -> [usize; 4] {
        let (height, width) = cell.padded_size();
        let (vstep, mstep) = cell.point_steps(fan);
        let winograd = cell.by_winograd(fan);
        [
            height * width * cell.plane.padded,
            when(winograd, POINTS * vstep),
            when(winograd, POINTS * mstep),
            2 * (fan.group3.columns() + fan.group1.columns()),
        ]
    }

    /// Values that [`ForwardConvs::new`] takes from an arena.
    pub(super) fn room(cell: &Cell, fan: &Fan) -> usize {
        room(&Self::sizes(cell, fan))
    }

    pub(super) fn new<'s: 'a>(
        cell: &'a Cell,
        fan: &'a Fan,
        exec: Exec,
        stream: bool,
        pivot: &'a [f32],
        arena: &mut Arena<'s>,
    ) -> Self {
        let sizes = Self::sizes(cell, fan);
        ForwardConvs {
            cell,
            fan,
            exec,
            stream,
            pivot,
            r: arena.zeros(sizes[0]),
            v: arena.take(sizes[1]),
            m: arena.take(sizes[2]),
            part: arena.zeros(sizes[3]),
            sums: vec![0.0; sizes[3]],
            outputs: vec![],
        }
    }

    /// Reads image `q` of a block: `x` is the node, `o` the offset of the image in `y: [E, O]`.
    ///
    /// # Safety
    /// `x` holds an image; the image at `o` of every `y` belongs to this thread.
    pub(super) unsafe fn image(&mut self, q: usize, x: *const f32, y: &[Ptr], o: usize) {
        let (cell, fan, p) = (self.cell, self.fan, self.cell.plane);
        let (c, width) = (p.padded, cell.padded_size().1);
        let interior = (width + 1) * c;
        // SAFETY: the caller's contract; lengths are those of `sizes`.
        unsafe {
            elem::pad(self.exec.isa, x, p.height, p.width * c, true, self.r.as_mut_ptr().add(interior), width * c);
            let columns3 = fan.group3.columns();
            if !fan.ops1.is_empty() {
                let taps = Taps::square(1, 1, p.height, p.width, width, c);
                self.direct(&fan.group1, &fan.ops1, columns3, &taps, interior, y, o);
            }
            if cell.by_winograd(fan) {
                let (tiling, (vstep, _)) = (cell.tiling(), cell.point_steps(fan));
                let first = q * tiling.tiles();
                winograd::input(self.exec.isa, self.r.as_ptr(), &tiling, c, self.v.as_mut_ptr(), first, vstep);
            } else if columns3 > 0 {
                let taps = Taps::square(3, 1, p.height, p.width, width, c);
                self.direct(&fan.group3, &fan.ops3, 0, &taps, 0, y, o);
            }
        }
    }

    /// One group over the image in `r`; `start` is its first column among all.
    #[allow(clippy::too_many_arguments)]
    unsafe fn direct(
        &mut self,
        group: &ConvGroup,
        ops: &[usize],
        start: usize,
        taps: &Taps,
        src: usize,
        y: &[Ptr],
        o: usize,
    ) {
        let c = self.cell.plane.padded;
        self.outputs.clear();
        for &eo in ops {
            self.outputs.extend((0..c / BLOCK).map(|b| y[eo].0.wrapping_add(o + b * BLOCK)));
        }
        let moments = Moments { pivot: self.pivot[start..].as_ptr(), sums: self.part[2 * start..].as_mut_ptr() };
        let out = Output { step: c, stream: self.stream, moments: Some(moments), ..Output::to(&self.outputs) };
        // SAFETY: the contract of `image`.
        unsafe { self.exec.conv(taps, self.r[src..].as_ptr(), &group.forward, &group.panels, &out) }
    }

    /// Ends a block of `count` images whose first lies at `o`.
    ///
    /// # Safety
    /// As [`ForwardConvs::image`], of all images of the block.
    pub(super) unsafe fn block(&mut self, count: usize, y: &[Ptr], o: usize) {
        let (cell, fan, isa) = (self.cell, self.fan, self.exec.isa);
        if cell.by_winograd(fan) {
            let (c, len) = (cell.plane.padded, cell.plane.len());
            let (tiling, (vstep, mstep)) = (cell.tiling(), cell.point_steps(fan));
            let (group, columns) = (&fan.group3, fan.group3.columns());
            let (v, u, m) = (self.v.as_ptr(), group.point_forward.as_ptr(), self.m.as_mut_ptr());
            // SAFETY: the caller's contract; lengths are those of `sizes`.
            unsafe {
                winograd::multiply(isa, v, vstep, u, &group.point_panels, m, mstep, count * tiling.tiles());
                for q in 0..count {
                    for (k, &eo) in fan.ops3.iter().enumerate() {
                        let pivot = self.pivot[k * c..].as_ptr();
                        let moments = Moments { pivot, sums: self.part[k * c..].as_mut_ptr() };
                        let (to, first) = (y[eo].at(o + q * len), q * tiling.tiles());
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

/// The backward pass of one chunk's images through the convolutions of a node.
pub(super) struct BackwardConvs<'a> {
    cell: &'a Cell,
    fan: &'a Fan,
    exec: Exec,
    /// Weight gradients are wanted.
    omega: bool,
    /// The node's gradient is wanted.
    own: bool,
    r: &'a mut [f32],
    /// `dy` of the 3x3, padded (direct), and of the 1x1.
    dy3: &'a mut [f32],
    dy1: &'a mut [f32],
    /// Gradient of the ReLU's output, per image of a block.
    dr: &'a mut [f32],
    /// Transformed ReLUs, transformed `dy`, products of a block, and the sum of the weight gradients.
    v: &'a mut [f32],
    z: &'a mut [f32],
    dv: &'a mut [f32],
    du: &'a mut [f32],
    /// The chunk's weight gradients, packed: 3x3, then 1x1.
    dw: &'a mut [f32],
    /// Images and blocks that have added to the weight gradients.
    images: usize,
    blocks: usize,
}

impl<'a> BackwardConvs<'a> {
    fn sizes(cell: &Cell, fan: &Fan, omega: bool) -> [usize; 8] {
        let (p, (height, width)) = (cell.plane, cell.padded_size());
        let (columns3, columns1) = (fan.group3.columns(), fan.group1.columns());
        let (vstep, zstep) = cell.point_steps(fan);
        let winograd = cell.by_winograd(fan);
        [
            height * width * p.padded,
            when(!winograd, height * width * columns3),
            p.pixels() * columns1,
            cell.images_per_block() * p.len(),
            when(winograd, POINTS * vstep),
            when(winograd, POINTS * zstep),
            when(winograd, POINTS * vstep),
            when(winograd && omega, POINTS * fan.group3.point_panels.len()),
        ]
    }

    /// Values that [`BackwardConvs::new`] takes from an arena.
    pub(super) fn room(cell: &Cell, fan: &Fan, omega: bool) -> usize {
        room(&Self::sizes(cell, fan, omega))
    }

    /// Length of the packed weight gradients.
    pub(super) fn grad_len(fan: &Fan) -> usize {
        fan.group3.panels.len() + fan.group1.panels.len()
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn new<'s: 'a>(
        cell: &'a Cell,
        fan: &'a Fan,
        exec: Exec,
        omega: bool,
        own: bool,
        arena: &mut Arena<'s>,
        dw: &'a mut [f32],
    ) -> Self {
        let sizes = Self::sizes(cell, fan, omega);
        BackwardConvs {
            cell,
            fan,
            exec,
            omega,
            own,
            r: arena.zeros(sizes[0]),
            dy3: arena.zeros(sizes[1]),
            dy1: arena.take(sizes[2]),
            dr: arena.take(sizes[3]),
            v: arena.take(sizes[4]),
            z: arena.take(sizes[5]),
            dv: arena.take(sizes[6]),
            du: arena.take(sizes[7]),
            dw,
            images: 0,
            blocks: 0,
        }
    }

    /// Reads image `q` of a block at offset `o`: the node `x`, gradients `g` of the nodes, outputs `y` of the operations.
    ///
    /// # Safety
    /// `x` holds an image; `g` and `y` have one at `o` that nobody writes.
    pub(super) unsafe fn image(&mut self, q: usize, x: *const f32, g: &[Ptr], y: &[Ptr], o: usize) {
        let (cell, fan, p, exec) = (self.cell, self.fan, self.cell.plane, self.exec);
        let (c, width) = (p.padded, cell.padded_size().1);
        let interior = (width + 1) * c;
        let (columns3, columns1) = (fan.group3.columns(), fan.group1.columns());
        let (dw3, dw1) = self.dw.split_at_mut(when(self.omega, fan.group3.panels.len()));
        let winograd = cell.by_winograd(fan);
        let accumulate = self.images > 0;
        // SAFETY: the caller's contract; lengths are those of `sizes`.
        unsafe {
            let (r, dr) = (self.r.as_mut_ptr(), self.dr[q * p.len()..].as_mut_ptr());
            if self.omega {
                elem::pad(exec.isa, x, p.height, p.width * c, true, r.add(interior), width * c);
            }
            if columns1 > 0 {
                let row = p.width * columns1;
                for (k, &eo) in fan.ops1.iter().enumerate() {
                    cell.norm_grad(exec, eo, o, g, y, self.dy1[k * c..].as_mut_ptr(), (row, columns1));
                }
                let dy = self.dy1.as_ptr();
                if self.omega {
                    let taps = Taps::square(1, 1, p.height, p.width, width, c);
                    let (src, dw) = (r.add(interior), dw1.as_mut_ptr());
                    exec.weight_grad(&taps, src, dy, (row, columns1), &fan.group1.panels, dw, accumulate);
                }
                if self.own {
                    let taps = Taps::rows(p.pixels(), columns1, columns1);
                    data_grad(exec, c, &taps, dy, &fan.group1, dr, false);
                }
            }
            if winograd {
                let (tiling, (vstep, zstep)) = (cell.tiling(), cell.point_steps(fan));
                let first = q * tiling.tiles();
                if self.omega {
                    winograd::input(exec.isa, r, &tiling, c, self.v.as_mut_ptr(), first, vstep);
                }
                for (k, &eo) in fan.ops3.iter().enumerate() {
                    let (g, y, norm) = (g[cell.target(eo)].at(o), y[eo].at(o), cell.norm(eo).grad());
                    let z = self.z[k * c..].as_mut_ptr();
                    winograd::output_adjoint(exec.isa, g, y, norm, &tiling, c, z, columns3, first, zstep);
                }
            } else if columns3 > 0 {
                let row = width * columns3;
                for (k, &eo) in fan.ops3.iter().enumerate() {
                    let dy = self.dy3[row + columns3 + k * c..].as_mut_ptr();
                    cell.norm_grad(exec, eo, o, g, y, dy, (row, columns3));
                }
                if self.omega {
                    let taps = Taps::square(3, 1, p.height, p.width, width, c);
                    let (dy, dw) = (self.dy3[row + columns3..].as_ptr(), dw3.as_mut_ptr());
                    exec.weight_grad(&taps, r, dy, (row, columns3), &fan.group3.panels, dw, accumulate);
                }
                if self.own {
                    let taps = Taps::square(3, 1, p.height, p.width, width, columns3);
                    data_grad(exec, c, &taps, self.dy3.as_ptr(), &fan.group3, dr, columns1 > 0);
                }
            }
        }
        self.images += 1;
    }

    /// Ends a block of `count` images.
    pub(super) fn block(&mut self, count: usize) {
        let (cell, fan, isa) = (self.cell, self.fan, self.exec.isa);
        if !cell.by_winograd(fan) {
            return;
        }
        let (tiles, (vstep, zstep)) = (count * cell.tiling().tiles(), cell.point_steps(fan));
        let (v, z, group) = (self.v.as_ptr(), self.z.as_ptr(), &fan.group3);
        // SAFETY: lengths are those of `sizes`; `image` filled the block.
        unsafe {
            if self.omega {
                let (panels, du) = (&group.point_panels, self.du.as_mut_ptr());
                winograd::multiply_grad(isa, v, vstep, z, zstep, panels, du, tiles, self.blocks > 0);
            }
            if self.own {
                let (u, dv) = (group.point_backward.as_ptr(), self.dv.as_mut_ptr());
                winograd::multiply(isa, z, zstep, u, &group.point_back_panels, dv, vstep, tiles);
            }
        }
        self.blocks += 1;
    }

    /// Adds the gradient that reaches the node of image `q` of the block, `x`, through its convolutions, to `gx`.
    ///
    /// # Safety
    /// `x` and `gx` hold an image, `gx` belongs to this thread.
    pub(super) unsafe fn add_grad(&mut self, q: usize, gx: *mut f32, x: *const f32) {
        let (cell, fan, p, isa) = (self.cell, self.fan, self.cell.plane, self.exec.isa);
        let dr = &mut self.dr[q * p.len()..][..p.len()];
        // SAFETY: the caller's contract; lengths are those of `sizes`.
        unsafe {
            if cell.by_winograd(fan) {
                if fan.ops1.is_empty() {
                    dr.fill(0.0);
                }
                let (tiling, (vstep, _)) = (cell.tiling(), cell.point_steps(fan));
                let first = q * tiling.tiles();
                winograd::input_adjoint(isa, self.dv.as_ptr(), &tiling, p.padded, dr.as_mut_ptr(), first, vstep);
            }
            let row = p.width * p.padded;
            elem::add_where_positive(isa, gx, x, dr.as_ptr(), p.height, row, row);
        }
    }

    /// Ends the chunk: its weight gradients are complete.
    pub(super) fn finish(self) {
        let group = &self.fan.group3;
        if self.omega && self.cell.by_winograd(self.fan) {
            let (du, dw) = (self.du.as_ptr(), self.dw.as_mut_ptr());
            // SAFETY: lengths as the panels say.
            unsafe { winograd::weights_adjoint(self.exec.isa, du, &group.point_panels, dw, &group.panels) }
        }
    }
}

/// `dr (+)= dy * transposed weights`, for one image of `c` channels.
unsafe fn data_grad(
    exec: Exec,
    c: usize,
    taps: &Taps,
    dy: *const f32,
    group: &ConvGroup,
    dr: *mut f32,
    accumulate: bool,
) {
    let blocks: Vec<*mut f32> = (0..c / BLOCK).map(|b| dr.wrapping_add(b * BLOCK)).collect();
    let out = Output { step: c, accumulate, ..Output::to(&blocks) };
    // SAFETY: the caller's: `dy` holds the taps, `dr` an image.
    unsafe { exec.conv(taps, dy, &group.backward, &group.back_panels, &out) }
}
