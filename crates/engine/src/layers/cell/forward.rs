//! Forward pass of a cell.

use super::fan::ForwardConvs;
use super::{Cell, CellMemory};
use crate::buffer::{Buf, Ptr};
use crate::codes::{CodeSink, Slots};
use crate::contract::Codes;
use crate::kernels::elementwise::{self as elem, Pool, Term};
use crate::kernels::matmul::{Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::layers::{Mode, Terms};
use crate::params::Params;
use crate::run::{Arena, Run, blocks, total};
use crate::spec::Op;

/// Values of a batch's tensor from which on it is written past the caches: it would not stay there until it is read.
const STREAM: usize = 1 << 18;

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
        let (p, exec) = (self.plane, run.exec());
        let (c, len) = (p.padded, p.len());
        let pooled_code = codes.is_some_and(|(jobs, _)| jobs.iter().any(|j| j.code == Code::Pooled));
        let z_len = if pooled.is_empty() && !pooled_code { 0 } else { len };
        let row_len = (p.width + 2) * c;
        let pivot = self.pivot(run, node, plain, pooled, x[node]);
        let stream = run.n * len >= STREAM;
        let this = &*self;
        let fan = this.outgoing(node);
        let room = Arena::room(row_len) + Arena::room(z_len) + fan.map_or(0, |f| ForwardConvs::room(this, f));
        let sums = run.each_chunk(room, |images, arena| {
            let row = arena.zeros(row_len);
            let z = arena.take(z_len);
            let mut convs = fan.map(|f| ForwardConvs::new(this, f, exec, stream, &pivot, arena));
            let mut here = vec![];
            for block in blocks(images, this.images_per_block()) {
                for (q, image) in block.clone().enumerate() {
                    let o = image * len;
                    // SAFETY: images of a chunk belong to this thread: it alone writes their part of node and y;
                    // the terms' sources were written by earlier passes. Lengths are those of `ensure`.
                    unsafe {
                        let xi = x[node].at(o);
                        let (z, row) = (z.as_mut_ptr(), row.as_mut_ptr());
                        if node > 0 {
                            plain.at(o, &mut here);
                            elem::mix(exec.isa, xi, &here, this.shift.as_ptr(), p.pixels(), c);
                            if !pooled.is_empty() {
                                pooled.at(o, &mut here);
                                elem::mix(exec.isa, z, &here, this.zeros.as_ptr(), p.pixels(), c);
                                elem::box_sum(exec.isa, z, xi, p.height, p.width, c, Pool::AddAverage, row);
                            }
                        }
                        for (slot, job) in codes.iter().flat_map(|(jobs, _)| jobs.iter().enumerate()) {
                            let (src, norm) = match job.code {
                                Code::Conv(eo) => (y[eo].at(o).cast_const(), this.norms[eo].as_ref()),
                                Code::Node => (xi.cast_const(), None),
                                Code::Pooled => {
                                    elem::box_sum(exec.isa, xi, z, p.height, p.width, c, Pool::Average, row);
                                    (z.cast_const(), None)
                                }
                            };
                            let (scale, shift) =
                                norm.map_or((&this.ones[..], &this.zeros[..]), |n| (&n.scale[..], &n.shift[..]));
                            let code = codes.expect("there are jobs").1.at(slot, image);
                            elem::positive_code(exec.isa, src, scale.as_ptr(), shift.as_ptr(), p.pixels(), c, code);
                        }
                        if let Some(convs) = &mut convs {
                            convs.image(q, xi, y, o);
                        }
                    }
                }
                if let Some(convs) = &mut convs {
                    // SAFETY: as above.
                    unsafe { convs.block(block.len(), y, block.start * len) }
                }
            }
            convs.map_or(vec![], |c| c.sums)
        });
        let Some(fan) = self.fans.get(node).filter(|f| !f.is_empty()) else { return };
        let sums = total(&sums);
        let count = (run.n * p.pixels()) as f64;
        let (cols3, cols1) = (fan.group3.columns(), fan.group1.columns());
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
        let Some(fan) = self.outgoing(node) else { return vec![] };
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
                    elem::mix(run.exec().isa, pixel.as_mut_ptr(), &here, self.shift.as_ptr(), 1, c);
                } else {
                    pixel.copy_from_slice(std::slice::from_raw_parts(x.at(o), c));
                }
                elem::pad(run.exec().isa, pixel.as_ptr(), 1, c, true, patch[(dy * 3 + dx) * c..].as_mut_ptr(), c);
            }
        }
        for (group, taps, src, start) in
            [(&fan.group3, Taps::rows(1, 0, 9 * c), 0, 0), (&fan.group1, Taps::rows(1, 0, c), 4 * c, cols3)]
        {
            let end = start + group.columns();
            let blocks: Vec<*mut f32> = pivot[start..end].chunks_mut(BLOCK).map(<[f32]>::as_mut_ptr).collect();
            let out = Output::to(&blocks);
            // SAFETY: the patch holds the taps of one position; the blocks cover the group's columns.
            unsafe { run.exec().conv(&taps, patch[src..].as_ptr(), &group.forward, &group.panels, &out) }
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
