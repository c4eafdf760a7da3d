//! Backward pass of a cell.

use super::{Cell, CellGrads, CellMemory, Wanted};
use crate::buffer::{Buf, Ptr};
use crate::kernels::elementwise::{self as elem, Pool, Term};
use crate::kernels::matmul::{Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::kernels::winograd::{self, POINTS, point_step};
use crate::layers::Terms;
use crate::layers::conv::ConvGroup;
use crate::params::Params;
use crate::run::{Arena, Run, add_f64, total};
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
        let y: Vec<Ptr> = memory.y.iter_mut().map(Buf::ptr).collect();
        let g: Vec<Ptr> = grads.nodes.iter_mut().map(Buf::ptr).collect();
        for node in (0..self.spec.nodes).rev() {
            let convs = self.fans.get(node).is_some_and(|f| f.group3.columns() + f.group1.columns() > 0);
            let needed = node > 0 || want.input || want.mixing || (want.omega && convs);
            if !needed {
                break;
            }
            let sums = self.backward_node(run, node, &x, &y, &g, w, params, want, mixing);
            self.set_grads(run, node, &sums, w, params, want, mixing);
        }
    }

    /// Turns the sums of a node into `dL/dw` of its incoming convolutions and the coefficients of their normalisations.
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
        for (i, eo) in self.normalised(node).into_iter().enumerate() {
            let gy = &sums[(1 + i) * c..(2 + i) * c];
            let norm = self.norms[eo].as_mut().expect("a convolution has a norm");
            mixing[eo] += norm.backward(params, &sums[..c], gy, f64::from(w[eo]), count, want.omega);
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
        mixing: &mut [f64],
    ) -> Vec<f64> {
        let PassThrough { skips, skip_ops, pools, pool_ops } = self.pass_through(node, g, w);
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
        let normalised = if node > 0 { self.normalised(node) } else { vec![] };
        let against = Terms(
            normalised
                .iter()
                .map(|&eo| {
                    let norm = self.norms[eo].as_ref().expect("a convolution has a norm");
                    Term { src: y[eo].0, scale: norm.mean.as_ptr() }
                })
                .collect(),
        );
        // dL/dw of skip connections and pooling is taken at their source, where both factors are in cache.
        let unscaled = |t: &Terms| Terms(t.0.iter().map(|t| Term { scale: self.zeros.as_ptr(), ..*t }).collect());
        let (skip_dots, pool_dots) = (unscaled(&skips), unscaled(&pools));
        let dots = if want.mixing { skip_ops.len() + pool_ops.len() } else { 0 };
        let own_sums = if node > 0 { (1 + normalised.len()) * c } else { 0 };
        let when = |yes: bool, len: usize| if yes { len } else { 0 };
        let scratch = [
            when(convs, hp * wp * c),                                                              // r
            when(cols3 > 0, hp * wp * cols3),                                                      // dy3
            when(cols1 > 0, p.pixels() * cols1),                                                   // dy1
            when(convs, per * len),                                                                // dr
            when(!pools.is_empty(), len),                                                          // pooled gradient
            (p.width + 2) * c,                                                                     // row
            own_sums.max((1 + skip_ops.len().max(pool_ops.len())) * c),                            // sums
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
            let mut total = vec![0f64; own_sums + dots];
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
                for q in 0..count {
                    let o = (first + q) * len;
                    // SAFETY: as above.
                    unsafe {
                        let (xi, gi) = (x[node].at(o), g[node].at(o));
                        let (own_total, dot_total) = total.split_at_mut(own_sums);
                        if dots > 0 {
                            let (skip_total, pool_total) = dot_total.split_at_mut(skip_ops.len());
                            skip_dots.at(o, &mut here);
                            this.dots(run, xi, &here, part, skip_total);
                            if !pools.is_empty() {
                                let (to, row) = (pooled.as_mut_ptr(), row.as_mut_ptr());
                                elem::box_sum(exec.isa, xi, to, p.height, p.width, c, Pool::Average, row);
                                pool_dots.at(o, &mut here);
                                this.dots(run, pooled.as_ptr(), &here, part, pool_total);
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
                                elem::mix(exec.isa, pooled.as_mut_ptr(), &here, this.zeros.as_ptr(), p.pixels(), c);
                                let (from, row) = (pooled.as_ptr(), row.as_mut_ptr());
                                elem::box_sum(exec.isa, from, gi, p.height, p.width, c, Pool::AddAdjoint, row);
                            }
                            if winograd {
                                drp.fill(0.0);
                                let (dv, tile) = (dv.as_ptr(), q * tiling.tiles());
                                winograd::input_adjoint(exec.isa, dv, &tiling, c, drp.as_mut_ptr(), tile, vstep);
                                let drp = drp.as_ptr().add(interior);
                                elem::add_where_positive(exec.isa, gi, xi, drp, p.height, p.width * c, wp * c);
                            }
                            if cols1 > 0 || (cols3 > 0 && !winograd) {
                                let dr = dr[q * len..].as_ptr();
                                elem::add_where_positive(exec.isa, gi, xi, dr, p.height, p.width * c, p.width * c);
                            }
                        }
                        if node > 0 {
                            against.at(o, &mut here);
                            elem::correlate(exec.isa, gi, &here, p.pixels(), c, part.as_mut_ptr());
                            add_f64(own_total, part);
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
        let mut sums = total(&sums);
        for (dot, &eo) in sums.split_off(own_sums).into_iter().zip(skip_ops.iter().chain(&pool_ops)) {
            mixing[eo] += dot;
        }
        sums
    }

    /// Adds `sum(x * src)` of each term to `totals`, for one image.
    unsafe fn dots(&self, run: Run<'_>, x: *const f32, terms: &[Term], part: &mut [f32], totals: &mut [f64]) {
        let (p, c) = (self.plane, self.plane.padded);
        // SAFETY: the caller's: images at the addresses, room for the sums.
        unsafe { elem::correlate(run.exec.isa, x, terms, p.pixels(), c, part.as_mut_ptr()) }
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
