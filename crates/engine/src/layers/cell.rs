//! A cell of mixed operations, fused: per node one pass forward and one backward over the images.
//!
//! Forward, for node `i` of an image: mix the node from its incoming operations (batch normalisation folded into the
//! mixing), then everything that its outgoing edges share (ReLU, padding, pooling, Winograd transform), then their
//! convolutions with the sums for the next normalisation. Backward, in reverse order, the adjoint of each, and the sums
//! `sum(g)` and `sum(g * (y - mean))` of the incoming operations while `g` is in cache.

use crate::buffer::{Buf, Ptr};
use crate::codes::CodeSink;
use crate::kernels::elementwise::{self as elem, Pool, Term};
use crate::kernels::matmul::{Moments, Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::kernels::winograd::{self, POINTS, Tiling, point_step};
use crate::layers::conv::ConvGroup;
use crate::layers::norm::Norm;
use crate::layers::{Mode, Plane, Terms};
use crate::network::{Codes, initialiser};
use crate::params::{ParamId, Params};
use crate::run::{Arena, Run, add_f64, total};
use crate::simd::Isa;
use crate::spec::{CellSpec, Op};

/// Convolutions on the outgoing edges of a node that take part in a pass.
#[derive(Clone, Debug)]
struct Fan {
    /// `[E, O]` indices, in order; one group per kernel size.
    ops3: Vec<usize>,
    group3: ConvGroup,
    ops1: Vec<usize>,
    group1: ConvGroup,
    /// Average pooling on any edge.
    pool: bool,
}

/// Activations that a forward pass leaves for the backward pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellMemory {
    /// Per node; that of node 0 is the input, which lives elsewhere.
    nodes: Vec<Buf>,
    /// Per node: its 3x3 average.
    pool: Vec<Buf>,
    /// `[E, O]`: outputs of the convolutions before normalisation.
    y: Vec<Buf>,
}

impl CellMemory {
    /// The output of the cell.
    pub(crate) fn output(&mut self) -> &mut Buf {
        self.nodes.last_mut().expect("a cell has nodes")
    }
}

/// Gradients with respect to the nodes, shared by all cells of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellGrads {
    nodes: Vec<Buf>,
}

impl CellGrads {
    pub(crate) fn ensure(&mut self, nodes: usize, len: usize) {
        self.nodes.resize_with(nodes, Buf::default);
        for b in &mut self.nodes {
            b.ensure(len);
        }
    }
    /// `dL/d output`: what the layer above writes.
    pub(crate) fn output(&mut self) -> &mut Buf {
        self.nodes.last_mut().expect("a cell has nodes")
    }
    /// Makes the gradient of the input that of the output, for the cell below.
    pub(crate) fn step_down(&mut self) {
        let last = self.nodes.len() - 1;
        self.nodes.swap(0, last);
    }
}

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) omega: bool,
    pub(crate) mixing: bool,
    /// The gradient of the input.
    pub(crate) input: bool,
}

/// One cell with the weights and statistics of its operations.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    spec: CellSpec,
    plane: Plane,
    winograd: bool,
    /// `[E, O]`
    weights: Vec<Option<ParamId>>,
    pub(crate) norms: Vec<Option<Norm>>,
    /// Operations that took part in the last forward pass, `[E, O]`.
    active: Vec<bool>,
    fans: Vec<Fan>,
    /// `[E, O]`: scale of an operation's term in the mixing, per channel.
    scales: Vec<Buf>,
    shift: Buf,
    zeros: Buf,
}

impl Cell {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        spec: &CellSpec,
        plane: Plane,
        name: &str,
        alive: &[bool],
        affine: bool,
        winograd: bool,
        params: &mut Params,
        seed: u64,
    ) -> Self {
        let (ops, c) = (spec.ops.len(), plane.channels);
        let mut weights = vec![None; alive.len()];
        let mut norms = vec![None; alive.len()];
        for eo in (0..alive.len()).filter(|&eo| alive[eo]) {
            let (module, size) = match spec.ops[eo % ops] {
                Op::Conv1x1 => ("conv1x1", 1),
                Op::Conv3x3 => ("conv3x3", 3),
                Op::None | Op::Skip | Op::AvgPool3x3 => continue,
            };
            let name = format!("{name}.edges.{}.{module}", eo / ops);
            let mut init = initialiser(seed, &name);
            weights[eo] = Some(params.add(format!("{name}.weight"), &[c, c, size, size], || init(c * size * size)));
            norms[eo] = Some(if affine {
                Norm::affine(params, format!("{name}.bn"), c, plane.padded)
            } else {
                Norm::plain(format!("{name}.bn"), c, plane.padded)
            });
        }
        Cell {
            spec: spec.clone(),
            plane,
            winograd,
            weights,
            norms,
            active: vec![],
            fans: vec![],
            scales: vec![Buf::zeros(plane.padded); alive.len()],
            shift: Buf::zeros(plane.padded),
            zeros: Buf::zeros(plane.padded),
        }
    }

    /// Drops an operation; returns its parameters.
    pub(crate) fn remove_op(&mut self, eo: usize, memory: &mut CellMemory) -> Vec<ParamId> {
        let norm = self.norms[eo].take();
        if let Some(y) = memory.y.get_mut(eo) {
            *y = Buf::default();
        }
        self.weights[eo].take().into_iter().chain(norm.iter().flat_map(Norm::params)).collect()
    }

    /// The weights changed.
    pub(crate) fn invalidate(&mut self) {
        for f in &mut self.fans {
            f.group3.invalidate();
            f.group1.invalidate();
        }
    }

    /// Packs the weights of the operations in `active`, `[E, O]`.
    pub(crate) fn prepare(&mut self, isa: Isa, active: &[bool], params: &Params, backward: bool) {
        if self.active != active {
            self.active = active.to_vec();
            self.fans = (0..self.spec.nodes - 1).map(|node| self.fan(isa, node)).collect();
        }
        for f in &mut self.fans {
            for group in [&mut f.group3, &mut f.group1] {
                group.pack(isa, params);
                if backward {
                    group.pack_backward(isa, params);
                }
            }
        }
    }

    fn fan(&self, isa: Isa, node: usize) -> Fan {
        let out = |op: Op| -> Vec<usize> {
            let ops = self.spec.ops.len();
            (0..self.active.len())
                .filter(|&eo| {
                    self.active[eo] && self.spec.edges[eo / ops].from == node && self.spec.ops[eo % ops] == op
                })
                .collect()
        };
        let group = |size: usize, winograd: bool, ops: &[usize]| {
            let members = ops.iter().filter_map(|&eo| self.weights[eo]).collect();
            let c = self.plane.channels;
            ConvGroup::new(isa, size, (c, self.plane.padded), c, winograd, members)
        };
        let (ops3, ops1) = (out(Op::Conv3x3), out(Op::Conv1x1));
        Fan {
            group3: group(3, self.winograd, &ops3),
            group1: group(1, false, &ops1),
            ops3,
            ops1,
            pool: !out(Op::AvgPool3x3).is_empty(),
        }
    }

    fn ensure(&self, memory: &mut CellMemory, n: usize) {
        let len = n * self.plane.len();
        memory.nodes.resize_with(self.spec.nodes, Buf::default);
        memory.pool.resize_with(self.spec.nodes, Buf::default);
        memory.y.resize_with(self.active.len(), Buf::default);
        memory.nodes[1..].iter_mut().for_each(|b| b.ensure(len));
        for (fan, pool) in self.fans.iter().zip(&mut memory.pool) {
            if fan.pool {
                pool.ensure(len);
            }
            for &eo in fan.ops3.iter().chain(&fan.ops1) {
                memory.y[eo].ensure(len);
            }
        }
    }

    /// Incoming operations of a node that take part: `[E, O]` index, source node, operation.
    fn incoming(&self, node: usize) -> Vec<(usize, usize, Op)> {
        let ops = self.spec.ops.len();
        (0..self.active.len())
            .filter(|&eo| self.active[eo] && self.spec.edges[eo / ops].to == node)
            .map(|eo| (eo, self.spec.edges[eo / ops].from, self.spec.ops[eo % ops]))
            .filter(|&(_, _, op)| op != Op::None)
            .collect()
    }

    fn tiling(&self) -> Tiling {
        Tiling::new(self.plane.height, self.plane.width)
    }

    /// Rows and columns of a padded image.
    fn padded_size(&self) -> (usize, usize) {
        if self.winograd { self.tiling().padded() } else { (self.plane.height + 2, self.plane.width + 2) }
    }

    /// Images whose tiles are multiplied together: few tiles make a slow product.
    fn images_per_block(&self) -> usize {
        if self.winograd { (16 / self.tiling().tiles()).max(1) } else { 1 }
    }

    /// Terms and shift that mix node `node`.
    fn mixing(&mut self, node: usize, x: &[Ptr], pool: &[Ptr], y: &[Ptr], w: &[f32]) -> Terms {
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
        let source = |&(eo, from, op): &(usize, usize, Op)| match op {
            Op::Skip => x[from],
            Op::AvgPool3x3 => pool[from],
            Op::Conv1x1 | Op::Conv3x3 | Op::None => y[eo],
        };
        Terms(incoming.iter().map(|t| Term { src: source(t).0, scale: self.scales[t.0].as_ptr() }).collect())
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
        let pool: Vec<Ptr> = memory.pool.iter_mut().map(Buf::ptr).collect();
        let y: Vec<Ptr> = memory.y.iter_mut().map(Buf::ptr).collect();
        for node in 0..self.spec.nodes {
            let terms = self.mixing(node, &x, &pool, &y, w);
            self.forward_node(run, node, &terms, &x, &pool, &y, params, mode);
        }
        if let Some(sink) = codes {
            self.add_codes(run, sink, &x, &pool, &y);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn forward_node(
        &mut self,
        run: Run<'_>,
        node: usize,
        terms: &Terms,
        x: &[Ptr],
        pool: &[Ptr],
        y: &[Ptr],
        params: &Params,
        mode: Mode,
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
        let scratch = [hp * wp * c, (p.width + 2) * c, 2 * (cols1 + cols3), wino(POINTS * vstep), wino(POINTS * mstep)];
        let interior = (wp + 1) * c;
        let pivot = self.pivot(run, node, terms, x[node]);
        let this = &*self;
        let sums = run.each_chunk(scratch.iter().map(|&s| Arena::room(s)).sum(), |images, arena| {
            let r = arena.zeros(scratch[0]);
            let row = arena.zeros(scratch[1]);
            let part = arena.take(scratch[2]);
            let v = arena.take(scratch[3]);
            let m = arena.take(scratch[4]);
            let mut total = vec![0f64; scratch[2]];
            let (mut here, mut blocks) = (vec![], vec![]);
            let mut first = images.start;
            while first < images.end {
                let count = per.min(images.end - first);
                part.fill(0.0);
                for q in 0..count {
                    let o = (first + q) * len;
                    // SAFETY: images of a chunk belong to this thread: it alone writes their part of node, pool and y;
                    // the terms' sources were written by earlier passes. Lengths are those of `ensure` and `scratch`.
                    unsafe {
                        let xi = x[node].at(o);
                        if node > 0 {
                            terms.at(o, &mut here);
                            elem::mix(exec.isa, xi, &here, this.shift.as_ptr(), p.pixels(), c);
                        }
                        let Some(fan) = fan else { continue };
                        if fan.pool {
                            elem::box_sum(
                                exec.isa,
                                xi,
                                pool[node].at(o),
                                p.height,
                                p.width,
                                c,
                                Pool::Average,
                                row.as_mut_ptr(),
                            );
                        }
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
    /// the middle pixel of the first image.
    fn pivot(&self, run: Run<'_>, node: usize, terms: &Terms, x: Ptr) -> Vec<f32> {
        let Some(fan) = self.fans.get(node) else { return vec![] };
        let (p, c) = (self.plane, self.plane.padded);
        let (cols3, cols1) = (fan.group3.columns(), fan.group1.columns());
        let mut pivot = vec![0f32; cols3 + cols1];
        let (row, column) = (p.height / 2, p.width / 2);
        let mut patch = Buf::zeros(9 * c);
        let mut pixel = Buf::zeros(c);
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

    fn add_codes(&self, run: Run<'_>, sink: &mut CodeSink, x: &[Ptr], pool: &[Ptr], y: &[Ptr]) {
        let ones = vec![1.0; self.plane.padded];
        for node in 0..self.spec.nodes {
            let out: Vec<_> = (node + 1..self.spec.nodes)
                .flat_map(|to| self.incoming(to))
                .filter(|&(_, from, _)| from == node)
                .collect();
            let of = |f: &dyn Fn(Op) -> bool| -> Vec<usize> {
                out.iter().filter(|&&(_, _, op)| f(op)).map(|&(eo, _, _)| eo).collect()
            };
            match sink.kind() {
                Codes::ReluInputs => sink.add_ops(run, x[node], &ones, &self.zeros, self.plane, &of(&Op::is_conv)),
                Codes::OpOutputs => {
                    sink.add_ops(run, x[node], &ones, &self.zeros, self.plane, &of(&|op| op == Op::Skip));
                    sink.add_ops(run, pool[node], &ones, &self.zeros, self.plane, &of(&|op| op == Op::AvgPool3x3));
                    for eo in of(&Op::is_conv) {
                        let norm = self.norms[eo].as_ref().expect("a convolution has a norm");
                        sink.add_ops(run, y[eo], &norm.scale, &norm.shift, self.plane, &[eo]);
                    }
                }
            }
        }
    }

    /// Backward pass after [`Cell::forward`]. `grads.output()` holds `dL/d output`; `dL/d input` is left in `grads` for
    /// [`CellGrads::step_down`], `dL/dw` is added to `mixing: [E, O]`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &mut self,
        run: Run<'_>,
        memory: &mut CellMemory,
        input: Ptr,
        grads: &mut CellGrads,
        w: &[f32],
        params: &mut Params,
        want: Wanted,
        mixing: &mut [f64],
    ) {
        let mut x: Vec<Ptr> = memory.nodes.iter_mut().map(Buf::ptr).collect();
        x[0] = input;
        let pool: Vec<Ptr> = memory.pool.iter_mut().map(Buf::ptr).collect();
        let y: Vec<Ptr> = memory.y.iter_mut().map(Buf::ptr).collect();
        let g: Vec<Ptr> = grads.nodes.iter_mut().map(Buf::ptr).collect();
        for node in (0..self.spec.nodes).rev() {
            let convs = self.fans.get(node).is_some_and(|f| f.group3.columns() + f.group1.columns() > 0);
            if node == 0 && !want.input && !(want.omega && convs) {
                break;
            }
            let sums = self.backward_node(run, node, &x, &pool, &y, &g, w, params, want);
            self.set_grads(run, node, &sums, w, params, want, mixing);
        }
    }

    /// Operations whose correlation with `g` the backward pass of `node` needs.
    fn correlated(&self, node: usize, want: Wanted) -> Vec<(usize, usize, Op)> {
        self.incoming(node).into_iter().filter(|&(_, _, op)| op.is_conv() || want.mixing).collect()
    }

    /// Turns the sums of a node into `dL/dw` and the coefficients of its incoming normalisations.
    #[allow(clippy::too_many_arguments)]
    fn set_grads(
        &mut self,
        run: Run<'_>,
        node: usize,
        sums: &[f64],
        w: &[f32],
        params: &mut Params,
        want: Wanted,
        mixing: &mut [f64],
    ) {
        let c = self.plane.padded;
        let count = (run.n * self.plane.pixels()) as f64;
        for (i, (eo, _, _)) in self.correlated(node, want).into_iter().enumerate() {
            let gy = &sums[(1 + i) * c..(2 + i) * c];
            mixing[eo] += match self.norms[eo].as_mut() {
                Some(norm) => norm.backward(params, &sums[..c], gy, f64::from(w[eo]), count, want.omega),
                None => gy.iter().sum(),
            };
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn backward_node(
        &mut self,
        run: Run<'_>,
        node: usize,
        x: &[Ptr],
        pool: &[Ptr],
        y: &[Ptr],
        g: &[Ptr],
        w: &[f32],
        params: &mut Params,
        want: Wanted,
    ) -> Vec<f64> {
        let (skips, pools) = self.pass_through(node, g, w);
        let (p, exec) = (self.plane, run.exec);
        let (c, len) = (p.padded, p.len());
        let (hp, wp) = self.padded_size();
        let (tiling, per) = (self.tiling(), self.images_per_block());
        let nt = tiling.tiles() * per;
        let fan = self.fans.get(node);
        let (cols3, cols1) = fan.map_or((0, 0), |f| (f.group3.columns(), f.group1.columns()));
        let (convs, winograd) = (cols1 + cols3 > 0, self.winograd && cols3 > 0);
        // Node 0 of the first cell needs no gradient of its own.
        let own = node > 0 || want.input;
        let (vstep, zstep) = (point_step(nt, c), point_step(nt, cols3));
        let correlated: Vec<_> = if node > 0 { self.correlated(node, want) } else { vec![] };
        let against = Terms(
            correlated
                .iter()
                .map(|&(eo, from, op)| {
                    let src = match op {
                        Op::Skip => x[from],
                        Op::AvgPool3x3 => pool[from],
                        Op::Conv1x1 | Op::Conv3x3 | Op::None => y[eo],
                    };
                    let mean = self.norms[eo].as_ref().map_or(self.zeros.as_ptr(), |n| n.mean.as_ptr());
                    Term { src: src.0, scale: mean }
                })
                .collect(),
        );
        let when = |yes: bool, len: usize| if yes { len } else { 0 };
        let scratch = [
            when(convs, hp * wp * c),                                                              // r
            when(cols3 > 0, hp * wp * cols3),                                                      // dy3
            when(cols1 > 0, p.pixels() * cols1),                                                   // dy1
            when(convs, per * len),                                                                // dr
            when(!pools.is_empty(), len),                                                          // pooled gradient
            (p.width + 2) * c,                                                                     // row
            (1 + correlated.len()) * c,                                                            // sums
            when(winograd, POINTS * vstep),                                                        // v
            when(winograd, POINTS * zstep),                                                        // z
            when(winograd, POINTS * vstep),                                                        // dv
            when(winograd, hp * wp * c),                                                           // dr, padded
            when(winograd && want.omega, fan.map_or(0, |f| POINTS * f.group3.point_panels.len())), // du
        ];
        let dw3_len = fan.map_or(0, |f| f.group3.panels.len());
        let dw_len = when(want.omega, dw3_len + fan.map_or(0, |f| f.group1.panels.len()));
        let interior = (wp + 1) * c;
        let this = &*self;
        let sums = run.each_chunk_sum(scratch.iter().map(|&s| Arena::room(s)).sum(), dw_len, |images, arena, dw| {
            let r = arena.zeros(scratch[0]);
            let dy3 = arena.zeros(scratch[1]);
            let dy1 = arena.take(scratch[2]);
            let dr = arena.take(scratch[3]);
            let pooled = arena.take(scratch[4]);
            let row = arena.zeros(scratch[5]);
            let part = arena.take(scratch[6]);
            let v = arena.take(scratch[7]);
            let z = arena.take(scratch[8]);
            let dv = arena.take(scratch[9]);
            let drp = arena.take(scratch[10]);
            let du = arena.zeros(scratch[11]);
            let mut total = vec![0f64; scratch[6]];
            let mut here = vec![];
            let mut first = images.start;
            while first < images.end {
                let count = per.min(images.end - first);
                if let (Some(fan), true) = (fan, convs) {
                    for q in 0..count {
                        let o = (first + q) * len;
                        let dr = &mut dr[q * len..][..len];
                        // SAFETY: images of a chunk belong to this thread: it alone writes their part of g; nodes, y and
                        // the other g were written by earlier passes. Lengths are those of `ensure` and `scratch`.
                        unsafe {
                            elem::pad(
                                exec.isa,
                                x[node].at(o),
                                p.height,
                                p.width * c,
                                true,
                                r.as_mut_ptr().add(interior),
                                wp * c,
                            );
                            let dy3_at = dy3.as_mut_ptr().wrapping_add((wp + 1) * cols3);
                            for (k, &eo) in fan.ops3.iter().enumerate() {
                                this.norm_grad(run, eo, o, g, y, dy3_at.add(k * c), (wp * cols3, cols3));
                            }
                            for (k, &eo) in fan.ops1.iter().enumerate() {
                                this.norm_grad(run, eo, o, g, y, dy1.as_mut_ptr().add(k * c), (p.width * cols1, cols1));
                            }
                            if cols1 > 0 {
                                let group = &fan.group1;
                                if want.omega {
                                    let taps = Taps::square(1, 1, p.height, p.width, wp, c);
                                    let dw1 = dw[dw3_len..].as_mut_ptr();
                                    exec.weight_grad(
                                        &taps,
                                        r.as_ptr().add(interior),
                                        dy1.as_ptr(),
                                        (p.width * cols1, cols1),
                                        &group.panels,
                                        dw1,
                                    );
                                }
                                if own {
                                    let taps = Taps::rows(p.pixels(), cols1, cols1);
                                    this.data_grad(run, &taps, dy1, group, dr, false);
                                }
                            }
                            if winograd {
                                if want.omega {
                                    winograd::input(
                                        exec.isa,
                                        r.as_ptr(),
                                        &tiling,
                                        c,
                                        v.as_mut_ptr(),
                                        q * tiling.tiles(),
                                        vstep,
                                    );
                                }
                                winograd::output_adjoint(
                                    exec.isa,
                                    dy3.as_ptr(),
                                    &tiling,
                                    cols3,
                                    z.as_mut_ptr(),
                                    q * tiling.tiles(),
                                    zstep,
                                );
                            } else if cols3 > 0 {
                                let group = &fan.group3;
                                if want.omega {
                                    let taps = Taps::square(3, 1, p.height, p.width, wp, c);
                                    exec.weight_grad(
                                        &taps,
                                        r.as_ptr(),
                                        dy3_at,
                                        (wp * cols3, cols3),
                                        &group.panels,
                                        dw.as_mut_ptr(),
                                    );
                                }
                                if own {
                                    let taps = Taps::square(3, 1, p.height, p.width, wp, cols3);
                                    this.data_grad(run, &taps, dy3, group, dr, cols1 > 0);
                                }
                            }
                        }
                    }
                    if winograd {
                        let (group, tiles) = (&fan.group3, count * tiling.tiles());
                        // SAFETY: as above.
                        unsafe {
                            if want.omega {
                                winograd::multiply_grad(
                                    exec.isa,
                                    v.as_ptr(),
                                    vstep,
                                    z.as_ptr(),
                                    zstep,
                                    &group.point_panels,
                                    du.as_mut_ptr(),
                                    tiles,
                                );
                            }
                            if own {
                                let u = group.point_backward.as_ptr();
                                winograd::multiply(
                                    exec.isa,
                                    z.as_ptr(),
                                    zstep,
                                    u,
                                    &group.point_back_panels,
                                    dv.as_mut_ptr(),
                                    vstep,
                                    tiles,
                                );
                            }
                        }
                    }
                }
                for q in (0..count).filter(|_| own) {
                    let o = (first + q) * len;
                    // SAFETY: as above.
                    unsafe {
                        let gi = g[node].at(o);
                        // The output node's gradient is the caller's.
                        if node + 1 < this.spec.nodes {
                            skips.at(o, &mut here);
                            elem::mix(exec.isa, gi, &here, this.zeros.as_ptr(), p.pixels(), c);
                            if !pools.is_empty() {
                                pools.at(o, &mut here);
                                elem::mix(exec.isa, pooled.as_mut_ptr(), &here, this.zeros.as_ptr(), p.pixels(), c);
                                elem::box_sum(
                                    exec.isa,
                                    pooled.as_ptr(),
                                    gi,
                                    p.height,
                                    p.width,
                                    c,
                                    Pool::Adjoint,
                                    row.as_mut_ptr(),
                                );
                            }
                            let xi = x[node].at(o);
                            if winograd {
                                drp.fill(0.0);
                                winograd::input_adjoint(
                                    exec.isa,
                                    dv.as_ptr(),
                                    &tiling,
                                    c,
                                    drp.as_mut_ptr(),
                                    q * tiling.tiles(),
                                    vstep,
                                );
                                elem::add_where_positive(
                                    exec.isa,
                                    gi,
                                    xi,
                                    drp.as_ptr().add(interior),
                                    p.height,
                                    p.width * c,
                                    wp * c,
                                );
                            }
                            if cols1 > 0 || (cols3 > 0 && !winograd) {
                                elem::add_where_positive(
                                    exec.isa,
                                    gi,
                                    xi,
                                    dr[q * len..].as_ptr(),
                                    p.height,
                                    p.width * c,
                                    p.width * c,
                                );
                            }
                        }
                        if node > 0 {
                            against.at(o, &mut here);
                            elem::correlate(exec.isa, gi, &here, p.pixels(), c, part.as_mut_ptr());
                            add_f64(&mut total, part);
                        }
                    }
                }
                first += count;
            }
            if let (Some(fan), true, true) = (fan, winograd, want.omega) {
                // SAFETY: lengths as the panels say.
                unsafe {
                    winograd::weights_adjoint(
                        exec.isa,
                        du.as_ptr(),
                        &fan.group3.point_panels,
                        dw.as_mut_ptr(),
                        &fan.group3.panels,
                    )
                }
            }
            total
        });
        if let (Some(fan), true) = (fan, dw_len > 0) {
            run.sum_partials(dw_len, |dw| {
                fan.group3.unpack_grad(&dw[..dw3_len], params);
                fan.group1.unpack_grad(&dw[dw3_len..], params);
            });
        }
        total(&sums)
    }

    /// Terms of the gradient that reaches `node` through skip connections, and through pooling before its adjoint.
    fn pass_through(&mut self, node: usize, g: &[Ptr], w: &[f32]) -> (Terms, Terms) {
        let (mut skips, mut pools) = (Terms::default(), Terms::default());
        for (to, g) in g.iter().enumerate().skip(node + 1) {
            for (eo, from, op) in self.incoming(to) {
                let list = match op {
                    Op::Skip if from == node => &mut skips,
                    Op::AvgPool3x3 if from == node => &mut pools,
                    _ => continue,
                };
                self.scales[eo].fill(w[eo]);
                list.0.push(Term { src: g.0, scale: self.scales[eo].as_ptr() });
            }
        }
        (skips, pools)
    }

    /// `dy` of a convolution's output, before normalisation, of the image at `o`.
    #[allow(clippy::too_many_arguments)]
    unsafe fn norm_grad(
        &self,
        run: Run<'_>,
        eo: usize,
        o: usize,
        g: &[Ptr],
        y: &[Ptr],
        dst: *mut f32,
        step: (usize, usize),
    ) {
        let (p, norm) = (self.plane, self.norms[eo].as_ref().expect("a convolution has a norm"));
        let to = self.spec.edges[eo / self.spec.ops.len()].to;
        // SAFETY: the caller's: image `o` of g and y, room for an image at `dst`.
        unsafe {
            elem::norm_grad(
                run.exec.isa,
                g[to].at(o),
                y[eo].at(o),
                norm.grad(),
                p.height,
                p.width,
                p.padded,
                dst,
                step.0,
                step.1,
            );
        }
    }

    /// `dr (+)= dy * transposed weights`, for one image.
    unsafe fn data_grad(
        &self,
        run: Run<'_>,
        taps: &Taps,
        dy: &[f32],
        group: &ConvGroup,
        dr: &mut [f32],
        accumulate: bool,
    ) {
        let blocks: Vec<*mut f32> = (0..self.plane.padded / BLOCK).map(|b| dr[b * BLOCK..].as_mut_ptr()).collect();
        let out = Output { blocks: &blocks, step: self.plane.padded, accumulate, moments: None };
        // SAFETY: the caller's: `dy` holds the taps, `dr` an image.
        unsafe { run.exec.conv(taps, dy.as_ptr(), &group.backward, &group.back_panels, &out) }
    }
}

/// Addresses of the column blocks of operations `ops` at offset `o`.
fn outputs(blocks: &mut Vec<*mut f32>, y: &[Ptr], ops: &[usize], o: usize, channels: usize) {
    blocks.clear();
    for &eo in ops {
        blocks.extend((0..channels / BLOCK).map(|b| y[eo].0.wrapping_add(o + b * BLOCK)));
    }
}
