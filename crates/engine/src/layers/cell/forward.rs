//! Forward pass of a cell.

use super::{Cell, CellMemory};
use crate::buffer::{Buf, Ptr};
use crate::codes::{CodeSink, Slots};
use crate::kernels::elementwise::{self as elem, Pool, Term};
use crate::kernels::matmul::{Moments, Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::kernels::winograd::{self, POINTS, point_step};
use crate::layers::{Mode, Terms};
use crate::network::Codes;
use crate::params::Params;
use crate::run::{Arena, Run, add_f64, total};
use crate::spec::Op;

impl Cell {
    /// Shift and terms that mix node `node`: those added as they are, and those whose sum is pooled first (pooling is
    /// linear, so one pass serves all edges and no pooled tensor is kept).
    fn mixing(&mut self, node: usize, x: &[Ptr], y: &[Ptr], w: &[f32]) -> (Terms, Terms) {
        self.shift.fill(0.0);
        let incoming = self.incoming(node);
        for &(eo, _, _) in &incoming {
            if let Some(norm) = &self.norms[eo] {
                for c in 0..self.plane.channels {
                    self.scales[eo][c] = w[eo] * norm.scale[c];
                    self.shift[c] += w[eo] * norm.shift[c];
                }
            } else {
                self.scales[eo].fill(w[eo]);
            }
        }
        let (mut plain, mut pooled) = (Terms::default(), Terms::default());
        for (eo, from, op) in incoming {
            let (list, src) = match op {
                Op::Skip => (&mut plain, x[from]),
                Op::AvgPool3x3 => (&mut pooled, x[from]),
                Op::Conv1x1 | Op::Conv3x3 | Op::None => (&mut plain, y[eo]),
            };
            list.0.push(Term { src: src.0, scale: self.scales[eo].as_ptr() });
        }
        (plain, pooled)
    }

    /// Forward pass. `input: [n, H, W, padded]`, `w: [E, O]`; the output is `memory.output()`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward(
        &mut self,
        run: Run<'_>,
        memory: &mut CellMemory,
        input: Ptr,
        w: &[f32],
        params: &Params,
        mode: Mode,
        codes: Option<&mut CodeSink>,
    ) {
        self.ensure(memory, run.n);
        let mut x: Vec<Ptr> = memory.nodes.iter_mut().map(Buf::ptr).collect();
        x[0] = input;
        let y: Vec<Ptr> = memory.y.iter_mut().map(Buf::ptr).collect();
        let mut codes = codes;
        for node in 0..self.spec.nodes {
            let terms = self.mixing(node, &x, &y, w);
            let jobs = codes.as_ref().map_or(vec![], |sink| self.code_jobs(sink.kind(), node));
            let slots = codes.as_mut().map(|sink| sink.slots(jobs.len(), self.plane));
            self.forward_node(run, node, &terms, &x, &y, params, mode, slots.map(|s| (&jobs[..], s)));
            if let Some(sink) = &mut codes {
                sink.add_ops(run, self.plane, jobs.iter().map(|j| &j.targets[..]));
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn forward_node(
        &mut self,
        run: Run<'_>,
        node: usize,
        (plain, pooled): &(Terms, Terms),
        x: &[Ptr],
        y: &[Ptr],
        params: &Params,
        mode: Mode,
        codes: Option<(&[CodeJob], Slots)>,
    ) {
        let (p, exec) = (self.plane, run.exec);
        let (c, len) = (p.padded, p.len());
        let (hp, wp) = self.padded_size();
        let (tiling, per) = (self.tiling(), self.images_per_block());
        let fan = self.fans.get(node);
        let (cols3, cols1) = fan.map_or((0, 0), |f| (f.group3.columns(), f.group1.columns()));
        let nt = tiling.tiles() * per;
        let (vstep, mstep) = (point_step(nt, c), point_step(nt, cols3));
        let winograd = self.winograd && cols3 > 0;
        let wino = |len: usize| if winograd { len } else { 0 };
        let pooled_code = codes.is_some_and(|(jobs, _)| jobs.iter().any(|j| j.code == Code::Pooled));
        let z_len = if pooled.is_empty() && !pooled_code { 0 } else { len };
        let scratch =
            [hp * wp * c, (p.width + 2) * c, 2 * (cols1 + cols3), wino(POINTS * vstep), wino(POINTS * mstep), z_len];
        let interior = (wp + 1) * c;
        let pivot = self.pivot(run, node, plain, pooled, x[node]);
        let this = &*self;
        let sums = run.each_chunk(scratch.iter().map(|&s| Arena::room(s)).sum(), |images, arena| {
            let r = arena.zeros(scratch[0]);
            let row = arena.zeros(scratch[1]);
            let part = arena.take(scratch[2]);
            let v = arena.take(scratch[3]);
            let m = arena.take(scratch[4]);
            let z = arena.take(scratch[5]);
            let mut total = vec![0f64; scratch[2]];
            let (mut here, mut blocks) = (vec![], vec![]);
            let mut first = images.start;
            while first < images.end {
                let count = per.min(images.end - first);
                part.fill(0.0);
                for q in 0..count {
                    let o = (first + q) * len;
                    // SAFETY: images of a chunk belong to this thread: it alone writes their part of node and y;
                    // the terms' sources were written by earlier passes. Lengths are those of `ensure` and `scratch`.
                    unsafe {
                        let xi = x[node].at(o);
                        if node > 0 {
                            plain.at(o, &mut here);
                            elem::mix(exec.isa, xi, &here, this.shift.as_ptr(), p.pixels(), c);
                            if !pooled.is_empty() {
                                pooled.at(o, &mut here);
                                elem::mix(exec.isa, z.as_mut_ptr(), &here, this.zeros.as_ptr(), p.pixels(), c);
                                let (z, row) = (z.as_ptr(), row.as_mut_ptr());
                                elem::box_sum(exec.isa, z, xi, p.height, p.width, c, Pool::AddAverage, row);
                            }
                        }
                        for (slot, job) in codes.iter().flat_map(|(jobs, _)| jobs.iter().enumerate()) {
                            let (src, norm) = match job.code {
                                Code::Conv(eo) => (y[eo].at(o).cast_const(), this.norms[eo].as_ref()),
                                Code::Node => (xi.cast_const(), None),
                                Code::Pooled => {
                                    let (z, row) = (z.as_mut_ptr(), row.as_mut_ptr());
                                    elem::box_sum(exec.isa, xi, z, p.height, p.width, c, Pool::Average, row);
                                    (z.cast_const(), None)
                                }
                            };
                            let (scale, shift) =
                                norm.map_or((&this.ones[..], &this.zeros[..]), |n| (&n.scale[..], &n.shift[..]));
                            let code = codes.expect("there are jobs").1.at(slot, first + q);
                            elem::positive_code(exec.isa, src, scale.as_ptr(), shift.as_ptr(), p.pixels(), c, code);
                        }
                        let Some(fan) = fan else { continue };
                        if cols1 + cols3 > 0 {
                            elem::pad(exec.isa, xi, p.height, p.width * c, true, r.as_mut_ptr().add(interior), wp * c);
                        }
                        if cols1 > 0 {
                            let taps = Taps::square(1, 1, p.height, p.width, wp, c);
                            outputs(&mut blocks, y, &fan.ops1, o, c);
                            let moments =
                                Moments { pivot: pivot[cols3..].as_ptr(), sums: part[2 * cols3..].as_mut_ptr() };
                            let out = Output { blocks: &blocks, step: c, accumulate: false, moments: Some(moments) };
                            exec.conv(&taps, r.as_ptr().add(interior), &fan.group1.forward, &fan.group1.panels, &out);
                        }
                        if winograd {
                            winograd::input(
                                exec.isa,
                                r.as_ptr(),
                                &tiling,
                                c,
                                v.as_mut_ptr(),
                                q * tiling.tiles(),
                                vstep,
                            );
                        } else if cols3 > 0 {
                            let taps = Taps::square(3, 1, p.height, p.width, wp, c);
                            outputs(&mut blocks, y, &fan.ops3, o, c);
                            let moments = Moments { pivot: pivot.as_ptr(), sums: part.as_mut_ptr() };
                            let out = Output { blocks: &blocks, step: c, accumulate: false, moments: Some(moments) };
                            exec.conv(&taps, r.as_ptr(), &fan.group3.forward, &fan.group3.panels, &out);
                        }
                    }
                }
                if let (true, Some(fan)) = (winograd, fan) {
                    let (points, tiles) = (&fan.group3.point_panels, count * tiling.tiles());
                    // SAFETY: as above.
                    unsafe {
                        winograd::multiply(
                            exec.isa,
                            v.as_ptr(),
                            vstep,
                            fan.group3.point_forward.as_ptr(),
                            points,
                            m.as_mut_ptr(),
                            mstep,
                            tiles,
                        );
                        for q in 0..count {
                            for (k, &eo) in fan.ops3.iter().enumerate() {
                                let moments =
                                    Moments { pivot: pivot[k * c..].as_ptr(), sums: part[k * c..].as_mut_ptr() };
                                winograd::output(
                                    exec.isa,
                                    m[k * c..].as_ptr(),
                                    cols3,
                                    &tiling,
                                    c,
                                    y[eo].at((first + q) * len),
                                    q * tiling.tiles(),
                                    mstep,
                                    Some((moments, cols3)),
                                );
                            }
                        }
                    }
                }
                add_f64(&mut total, part);
                first += count;
            }
            total
        });
        let Some(fan) = self.fans.get(node) else { return };
        let sums = total(&sums);
        let count = (run.n * p.pixels()) as f64;
        for (ops, start, cols) in [(&fan.ops3, 0, cols3), (&fan.ops1, cols3, cols1)] {
            for (k, &eo) in ops.iter().enumerate() {
                let norm = self.norms[eo].as_mut().expect("a convolution has a norm");
                if mode == Mode::Running {
                    norm.set_running(params);
                    continue;
                }
                let at = 2 * start + k * c;
                norm.set_batch(
                    params,
                    &sums[at..],
                    &sums[at + cols..],
                    &pivot[start + k * c..],
                    count,
                    mode == Mode::Train,
                );
            }
        }
    }

    /// A value near the mean of every output channel of the node's convolutions (first the 3x3, then the 1x1): theirs at
    /// the middle pixel of the first image, with pooling left out (it hardly moves a mean).
    fn pivot(&self, run: Run<'_>, node: usize, plain: &Terms, pooled: &Terms, x: Ptr) -> Vec<f32> {
        let Some(fan) = self.fans.get(node) else { return vec![] };
        let (p, c) = (self.plane, self.plane.padded);
        let (cols3, cols1) = (fan.group3.columns(), fan.group1.columns());
        let mut pivot = vec![0f32; cols3 + cols1];
        let (row, column) = (p.height / 2, p.width / 2);
        let mut patch = Buf::zeros(9 * c);
        let mut pixel = Buf::zeros(c);
        let terms = Terms(plain.0.iter().chain(&pooled.0).copied().collect());
        let mut here = vec![];
        for (dy, dx) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let (Some(h), Some(w)) = ((row + dy).checked_sub(1), (column + dx).checked_sub(1)) else { continue };
            if h >= p.height || w >= p.width {
                continue;
            }
            let o = (h * p.width + w) * c;
            // SAFETY: a pixel of image 0; its sources were written by earlier passes.
            unsafe {
                if node > 0 {
                    terms.at(o, &mut here);
                    elem::mix(run.exec.isa, pixel.as_mut_ptr(), &here, self.shift.as_ptr(), 1, c);
                } else {
                    pixel.copy_from_slice(std::slice::from_raw_parts(x.at(o), c));
                }
                elem::pad(run.exec.isa, pixel.as_ptr(), 1, c, true, patch[(dy * 3 + dx) * c..].as_mut_ptr(), c);
            }
        }
        for (group, taps, src, start) in
            [(&fan.group3, Taps::rows(1, 0, 9 * c), 0, 0), (&fan.group1, Taps::rows(1, 0, c), 4 * c, cols3)]
        {
            let end = start + group.columns();
            let blocks: Vec<*mut f32> = pivot[start..end].chunks_mut(BLOCK).map(<[f32]>::as_mut_ptr).collect();
            let out = Output { blocks: &blocks, step: 0, accumulate: false, moments: None };
            // SAFETY: the patch holds the taps of one position; the blocks cover the group's columns.
            unsafe { run.exec.conv(&taps, patch[src..].as_ptr(), &group.forward, &group.panels, &out) }
        }
        pivot
    }

    /// Codes that the pass of `node` can take while their values are in cache: of the convolutions that end there, and
    /// of the node itself, which outgoing operations share.
    fn code_jobs(&self, kind: Codes, node: usize) -> Vec<CodeJob> {
        let outgoing = |wanted: &dyn Fn(Op) -> bool| -> Vec<usize> {
            let to = (node + 1..self.spec.nodes).flat_map(|to| self.incoming(to));
            to.filter(|&(_, from, op)| from == node && wanted(op)).map(|(eo, _, _)| eo).collect()
        };
        let mut jobs = vec![];
        match kind {
            // Also where `w = 0`: the ReLU is there, whether its convolution is skipped or not.
            Codes::ReluInputs => jobs.push(CodeJob { code: Code::Node, targets: self.convolutions_from(node) }),
            Codes::OpOutputs => {
                jobs.extend(
                    self.normalised(node).into_iter().map(|eo| CodeJob { code: Code::Conv(eo), targets: vec![eo] }),
                );
                jobs.push(CodeJob { code: Code::Node, targets: outgoing(&|op| op == Op::Skip) });
                jobs.push(CodeJob { code: Code::Pooled, targets: outgoing(&|op| op == Op::AvgPool3x3) });
            }
        }
        jobs.retain(|j| !j.targets.is_empty());
        jobs
    }
}

/// A binary code that the pass of a node takes, and the `[E, O]` indices it counts for.
struct CodeJob {
    code: Code,
    targets: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    /// Output of a convolution that ends in the node, after normalisation.
    Conv(usize),
    /// The node.
    Node,
    /// The node's 3x3 average.
    Pooled,
}

/// Addresses of the column blocks of operations `ops` at offset `o`.
fn outputs(blocks: &mut Vec<*mut f32>, y: &[Ptr], ops: &[usize], o: usize, channels: usize) {
    blocks.clear();
    for &eo in ops {
        blocks.extend((0..channels / BLOCK).map(|b| y[eo].0.wrapping_add(o + b * BLOCK)));
    }
}
