//! Backward pass of a cell.

use super::fan::BackwardConvs;
use super::{Cell, CellGrads, CellMemory, MixingGrads, Wanted};
use crate::buffer::{Buf, Ptr};
use crate::kernels::elementwise::{self as elem, Pool, Term};
use crate::layers::Terms;
use crate::params::Params;
use crate::run::{Arena, Exec, Run, add_f64, blocks, total};
use crate::spec::Op;

/// Gradients that reach a node through skip connections, and through pooling before its adjoint: terms over the target
/// nodes' gradients, and the `[E, O]` index of each.
#[derive(Default)]
struct PassThrough {
    skips: Terms,
    skip_ops: Vec<usize>,
    pools: Terms,
    pool_ops: Vec<usize>,
}

impl Cell {
    /// Backward pass after [`Cell::forward`]. `grads.output()` holds `dL/d output`; `dL/d input` is left in `grads` for
    /// [`CellGrads::step_down`], the gradients of the mixing are added to `mixing`.
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
        mixing: &mut MixingGrads,
    ) {
        let mut x: Vec<Ptr> = memory.nodes.iter_mut().map(Buf::ptr).collect();
        x[0] = input;
        let y: Vec<Ptr> = memory.y.iter_mut().map(Buf::ptr).collect();
        let g: Vec<Ptr> = grads.nodes.iter_mut().map(Buf::ptr).collect();
        for node in (0..self.spec.nodes).rev() {
            let convs = self.outgoing(node).is_some();
            let needed = node > 0 || want.input || want.mixing || (want.omega && convs);
            if !needed {
                break;
            }
            let sums = self.backward_node(run, node, &x, &y, &g, w, params, want, mixing);
            self.set_grads(run, node, &sums, w, params, want, mixing);
        }
    }

    /// Turns the sums of a node into `dL/dw` of its incoming convolutions and the coefficients of their normalisations.
    /// What is added to an edge's output reaches the node as it is, so the sum of the node's gradient is the edge's.
    #[allow(clippy::too_many_arguments)]
    fn set_grads(
        &mut self,
        run: Run<'_>,
        node: usize,
        sums: &[f64],
        w: &[f32],
        params: &mut Params,
        want: Wanted,
        mixing: &mut MixingGrads,
    ) {
        let c = self.plane.padded;
        let count = (run.n * self.plane.pixels()) as f64;
        if node > 0 {
            let sum: f64 = sums[..self.plane.channels].iter().sum();
            for (edge, total) in self.spec.edges.iter().zip(&mut mixing.per_edge) {
                *total += if edge.to == node { sum } else { 0.0 };
            }
        }
        for (i, eo) in self.normalised(node).into_iter().enumerate() {
            let gy = &sums[(1 + i) * c..(2 + i) * c];
            let norm = self.norms[eo].as_mut().expect("a convolution has a norm");
            mixing.per_op[eo] += norm.backward(params, &sums[..c], gy, f64::from(w[eo]), count, want.omega);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn backward_node(
        &mut self,
        run: Run<'_>,
        node: usize,
        x: &[Ptr],
        y: &[Ptr],
        g: &[Ptr],
        w: &[f32],
        params: &mut Params,
        want: Wanted,
        mixing: &mut MixingGrads,
    ) -> Vec<f64> {
        let PassThrough { skips, skip_ops, pools, pool_ops } = self.pass_through(node, g, w);
        let (p, exec) = (self.plane, run.exec());
        let (c, len) = (p.padded, p.len());
        // Node 0 of the first cell needs no gradient of its own.
        let own = node > 0 || want.input;
        let normalised = if node > 0 { self.normalised(node) } else { vec![] };
        let against =
            Terms(normalised.iter().map(|&eo| Term { src: y[eo].0, scale: self.norm(eo).mean.as_ptr() }).collect());
        // dL/dw of skip connections and pooling is taken at their source, where both factors are in cache.
        let unscaled = |t: &Terms| Terms(t.0.iter().map(|t| Term { scale: self.zeros.as_ptr(), ..*t }).collect());
        let (skip_dots, pool_dots) = (unscaled(&skips), unscaled(&pools));
        let dots = if want.mixing { skip_ops.len() + pool_ops.len() } else { 0 };
        let own_sums = if node > 0 { (1 + normalised.len()) * c } else { 0 };
        let this = &*self;
        // Without weight gradients and one of its own, a node's convolutions have nothing to do.
        let fan = this.outgoing(node).filter(|_| want.omega || own);
        let dw_len = fan.filter(|_| want.omega).map_or(0, BackwardConvs::grad_len);
        let pooled_len = if pools.is_empty() { 0 } else { len };
        let row_len = (p.width + 2) * c;
        let part_len = own_sums.max((1 + skip_ops.len().max(pool_ops.len())) * c);
        let room = [pooled_len, row_len, part_len].map(Arena::room).iter().sum::<usize>()
            + fan.map_or(0, |f| BackwardConvs::room(this, f, want.omega));
        let sums = run.each_chunk_sum(room, dw_len, |images, arena, dw| {
            let pooled = arena.take(pooled_len);
            let row = arena.zeros(row_len);
            let part = arena.take(part_len);
            let mut convs = fan.map(|f| BackwardConvs::new(this, f, exec, want.omega, own, arena, dw));
            let mut total = vec![0f64; own_sums + dots];
            let mut here = vec![];
            for block in blocks(images, this.images_per_block()) {
                if let Some(convs) = &mut convs {
                    for (q, image) in block.clone().enumerate() {
                        let o = image * len;
                        // SAFETY: nodes, y and the gradients of later nodes were written by earlier passes.
                        unsafe { convs.image(q, x[node].at(o), g, y, o) }
                    }
                    convs.block(block.len());
                }
                for (q, image) in block.enumerate() {
                    let o = image * len;
                    // SAFETY: images of a chunk belong to this thread: it alone writes their part of the node's
                    // gradient; the rest as above. Lengths are those of `ensure`.
                    unsafe {
                        let (xi, gi) = (x[node].at(o), g[node].at(o));
                        let (pooled, row) = (pooled.as_mut_ptr(), row.as_mut_ptr());
                        let (own_total, dot_total) = total.split_at_mut(own_sums);
                        if dots > 0 {
                            let (skip_total, pool_total) = dot_total.split_at_mut(skip_ops.len());
                            skip_dots.at(o, &mut here);
                            this.dots(run, xi, &here, part, skip_total);
                            if !pools.is_empty() {
                                elem::box_sum(exec.isa, xi, pooled, p.height, p.width, c, Pool::Average, row);
                                pool_dots.at(o, &mut here);
                                this.dots(run, pooled, &here, part, pool_total);
                            }
                        }
                        if !own {
                            continue;
                        }
                        // The output node's gradient is the caller's.
                        if node + 1 < this.spec.nodes {
                            skips.at(o, &mut here);
                            elem::mix(exec.isa, gi, &here, this.zeros.as_ptr(), p.pixels(), c);
                            if !pools.is_empty() {
                                pools.at(o, &mut here);
                                elem::mix(exec.isa, pooled, &here, this.zeros.as_ptr(), p.pixels(), c);
                                elem::box_sum(exec.isa, pooled, gi, p.height, p.width, c, Pool::AddAdjoint, row);
                            }
                            if let Some(convs) = &mut convs {
                                convs.add_grad(q, gi, xi);
                            }
                        }
                        if node > 0 {
                            against.at(o, &mut here);
                            elem::correlate(exec.isa, gi, &here, p.pixels(), c, part.as_mut_ptr());
                            add_f64(own_total, part);
                        }
                    }
                }
            }
            if let Some(convs) = convs {
                convs.finish();
            }
            total
        });
        if let (Some(fan), true) = (fan, dw_len > 0) {
            let dw3_len = fan.group3.panels.len();
            run.sum_partials(dw_len, |dw| {
                fan.group3.unpack_grad(&dw[..dw3_len], params);
                fan.group1.unpack_grad(&dw[dw3_len..], params);
            });
        }
        let mut sums = total(&sums);
        for (dot, &eo) in sums.split_off(own_sums).into_iter().zip(skip_ops.iter().chain(&pool_ops)) {
            mixing.per_op[eo] += dot;
        }
        sums
    }

    /// Adds `sum(x * src)` of each term to `totals`, for one image.
    unsafe fn dots(&self, run: Run<'_>, x: *const f32, terms: &[Term], part: &mut [f32], totals: &mut [f64]) {
        let (p, c) = (self.plane, self.plane.padded);
        // SAFETY: the caller's: images at the addresses, room for the sums.
        unsafe { elem::correlate(run.exec().isa, x, terms, p.pixels(), c, part.as_mut_ptr()) }
        for (total, sums) in totals.iter_mut().zip(part[c..].chunks_exact(c)) {
            *total += sums.iter().map(|&s| f64::from(s)).sum::<f64>();
        }
    }

    /// What reaches `node` through skip connections and pooling.
    fn pass_through(&mut self, node: usize, g: &[Ptr], w: &[f32]) -> PassThrough {
        let mut through = PassThrough::default();
        for (to, g) in g.iter().enumerate().skip(node + 1) {
            for (eo, from, op) in self.incoming(to) {
                let (terms, ops) = match op {
                    Op::Skip if from == node => (&mut through.skips, &mut through.skip_ops),
                    Op::AvgPool3x3 if from == node => (&mut through.pools, &mut through.pool_ops),
                    _ => continue,
                };
                self.scales[eo].fill(w[eo]);
                terms.0.push(Term { src: g.0, scale: self.scales[eo].as_ptr() });
                ops.push(eo);
            }
        }
        through
    }

    /// `dy` of a convolution's output, before normalisation, of the image at `o`.
    ///
    /// # Safety
    /// `g` and `y` have an image at `o`, `dst` room for one whose rows and pixels are `step` apart.
    #[allow(clippy::too_many_arguments)]
    pub(super) unsafe fn norm_grad(
        &self,
        exec: Exec,
        eo: usize,
        o: usize,
        g: &[Ptr],
        y: &[Ptr],
        dst: *mut f32,
        step: (usize, usize),
    ) {
        let p = self.plane;
        // SAFETY: the caller's contract.
        unsafe {
            let (g, y) = (g[self.target(eo)].at(o), y[eo].at(o));
            let grad = self.norm(eo).grad();
            elem::norm_grad(exec.isa, g, y, grad, p.height, p.width, p.padded, dst, step.0, step.1);
        }
    }
}
