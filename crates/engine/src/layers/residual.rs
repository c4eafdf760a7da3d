//! The residual block between stages: ReLU-Conv3x3(stride 2)-BN, ReLU-Conv3x3-BN, plus a shortcut of 2x2 average
//! pooling (stride 2, partial windows average what they have) and a 1x1 convolution.

use crate::buffer::{Buf, Ptr};
use crate::codes::CodeSink;
use crate::contract::Codes;
use crate::kernels::elementwise::{self as elem, Term};
use crate::kernels::matmul::{Moments, Output, Taps};
use crate::kernels::panel::BLOCK;
use crate::layers::conv::ConvGroup;
use crate::layers::norm::Norm;
use crate::layers::stem::correlate_norm;
use crate::layers::{Mode, Plane};
use crate::params::Params;
use crate::run::{Arena, Run, add_f64, total};
use crate::simd::Isa;

/// Weights and what a forward pass leaves for the backward pass.
#[derive(Clone, Debug)]
pub(crate) struct Residual {
    from: Plane,
    to: Plane,
    conv_a: ConvGroup,
    pub(crate) norm_a: Norm,
    conv_b: ConvGroup,
    pub(crate) norm_b: Norm,
    shortcut: ConvGroup,
    /// Outputs of the convolutions before normalisation.
    ya: Buf,
    yb: Buf,
    ys: Buf,
    /// Gradient of `norm_a`'s output.
    gza: Buf,
    pub(crate) output: Buf,
}

/// 2x2 average pooling of one image, `[h, w, c]` to `[ceil(h/2), ceil(w/2), c]`.
fn halve(x: &[f32], from: Plane, to: Plane, out: &mut [f32]) {
    out.fill(0.0);
    window(from, to, |i, o, weight| {
        for (out, &x) in out[o..][..from.padded].iter_mut().zip(&x[i..][..from.padded]) {
            *out += weight * x;
        }
    });
}

/// Calls `f(offset in the source, offset in the result, 1 / window size)` for every source pixel.
fn window(from: Plane, to: Plane, mut f: impl FnMut(usize, usize, f32)) {
    for y in 0..from.height {
        let tall = 2.min(from.height - y / 2 * 2);
        for x in 0..from.width {
            let wide = 2.min(from.width - x / 2 * 2);
            let (i, o) = (y * from.width + x, y / 2 * to.width + x / 2);
            f(i * from.padded, o * from.padded, 1.0 / (tall * wide) as f32);
        }
    }
}

impl Residual {
    pub(crate) fn new(
        isa: Isa,
        from: Plane,
        channels: usize,
        name: &str,
        params: &mut Params,
        mut init: impl FnMut(usize) -> f32,
    ) -> Self {
        let to = Plane::new(from.height.div_ceil(2), from.width.div_ceil(2), channels);
        let (ci, co) = (from.channels, channels);
        let conv_a = params.add(format!("{name}.conv_a.weight"), &[co, ci, 3, 3], || init(9 * ci));
        let norm_a = Norm::affine(params, format!("{name}.bn_a"), co, to.padded);
        let conv_b = params.add(format!("{name}.conv_b.weight"), &[co, co, 3, 3], || init(9 * co));
        let norm_b = Norm::affine(params, format!("{name}.bn_b"), co, to.padded);
        let shortcut = params.add(format!("{name}.shortcut.weight"), &[co, ci, 1, 1], || init(ci));
        Residual {
            from,
            to,
            conv_a: ConvGroup::new(isa, 3, (ci, from.padded), co, false, vec![conv_a]),
            norm_a,
            conv_b: ConvGroup::new(isa, 3, (co, to.padded), co, false, vec![conv_b]),
            norm_b,
            shortcut: ConvGroup::new(isa, 1, (ci, from.padded), co, false, vec![shortcut]),
            ya: Buf::default(),
            yb: Buf::default(),
            ys: Buf::default(),
            gza: Buf::default(),
            output: Buf::default(),
        }
    }

    /// Size of the output.
    pub(crate) fn to(&self) -> Plane {
        self.to
    }

    /// The weights changed.
    pub(crate) fn invalidate(&mut self) {
        for g in [&mut self.conv_a, &mut self.conv_b, &mut self.shortcut] {
            g.invalidate();
        }
    }

    fn taps_a(&self) -> Taps {
        Taps::square(3, 2, self.to.height, self.to.width, self.from.width + 2, self.from.padded)
    }

    fn taps_b(&self) -> Taps {
        Taps::square(3, 1, self.to.height, self.to.width, self.to.width + 2, self.to.padded)
    }

    fn padded_from(&self) -> usize {
        (self.from.height + 2) * (self.from.width + 2) * self.from.padded
    }

    fn padded_to(&self) -> usize {
        (self.to.height + 2) * (self.to.width + 2) * self.to.padded
    }

    /// `relu(x)` of one image into the interior of a zeroed padded one.
    unsafe fn pad_from(&self, isa: Isa, x: *const f32, r: &mut [f32]) {
        let p = self.from;
        let row = (p.width + 2) * p.padded;
        // SAFETY: the caller's image; `r` has the padded size.
        unsafe { elem::pad(isa, x, p.height, p.width * p.padded, true, r.as_mut_ptr().add(row + p.padded), row) }
    }

    /// `relu(norm_a(ya))` of one image into the interior of a zeroed padded one.
    unsafe fn pad_middle(&self, isa: Isa, ya: *const f32, r: &mut [f32]) {
        let p = self.to;
        let row = (p.width + 2) * p.padded;
        // SAFETY: the caller's image; `r` has the padded size.
        unsafe {
            let dst = r.as_mut_ptr().add(row + p.padded);
            elem::scale_shift_relu(
                isa,
                ya,
                self.norm_a.scale.as_ptr(),
                self.norm_a.shift.as_ptr(),
                p.height,
                p.width,
                p.padded,
                dst,
                row,
            );
        }
    }

    /// `x: [n, H, W, padded]`; the result is `output`.
    pub(crate) fn forward(
        &mut self,
        run: Run<'_>,
        x: Ptr,
        params: &Params,
        mode: Mode,
        mut codes: Option<&mut CodeSink>,
    ) {
        let (f, t, exec) = (self.from, self.to, run.exec());
        for g in [&mut self.conv_a, &mut self.conv_b, &mut self.shortcut] {
            g.pack(exec.isa, params);
        }
        for b in [&mut self.ya, &mut self.yb, &mut self.ys, &mut self.output] {
            b.ensure(run.n * t.len());
        }
        let (ya, yb, ys, out) = (self.ya.ptr(), self.yb.ptr(), self.ys.ptr(), self.output.ptr());
        let count = (run.n * t.pixels()) as f64;
        let blocks = |y: Ptr, i: usize| -> Vec<*mut f32> {
            (0..t.padded / BLOCK).map(|b| y.0.wrapping_add(i * t.len() + b * BLOCK)).collect()
        };
        // First convolution and shortcut. The pivot: the output at the middle pixel of the first image.
        let middle = (t.height / 2, t.width / 2);
        let pivot = |group: &ConvGroup, taps: Taps, r: &[f32]| {
            let mut pivot = vec![0f32; t.padded];
            let blocks: Vec<*mut f32> = pivot.chunks_mut(BLOCK).map(<[f32]>::as_mut_ptr).collect();
            let o = Output::to(&blocks);
            let at = middle.0 * taps.row + middle.1 * taps.column;
            // SAFETY: one position inside the padded image.
            unsafe {
                exec.conv(&Taps { height: 1, width: 1, ..taps }, r[at..].as_ptr(), &group.forward, &group.panels, &o)
            }
            pivot
        };
        let this = &*self;
        let mut r = Buf::zeros(this.padded_from());
        // SAFETY: image 0, written by the layer before.
        unsafe { this.pad_from(exec.isa, x.0, &mut r) }
        let pivot_a = pivot(&this.conv_a, this.taps_a(), &r);
        let half_len = t.pixels() * f.padded;
        let room = Arena::room(this.padded_from()) + Arena::room(half_len) + Arena::room(2 * t.padded);
        let sums = run.each_chunk(room, |chunk, arena| {
            let r = arena.zeros(this.padded_from());
            let half = arena.take(half_len);
            let part = arena.take(2 * t.padded);
            let mut sums = vec![0f64; 2 * t.padded];
            for i in chunk {
                part.fill(0.0);
                // SAFETY: images of a chunk belong to this thread; x is only read.
                unsafe {
                    let xi = x.at(i * f.len());
                    this.pad_from(exec.isa, xi, r);
                    let moments = Moments { pivot: pivot_a.as_ptr(), sums: part.as_mut_ptr() };
                    let (b, s) = (blocks(ya, i), blocks(ys, i));
                    let o = Output { step: t.padded, moments: Some(moments), ..Output::to(&b) };
                    exec.conv(&this.taps_a(), r.as_ptr(), &this.conv_a.forward, &this.conv_a.panels, &o);
                    halve(std::slice::from_raw_parts(xi, f.len()), f, t, half);
                    let taps = Taps::rows(t.pixels(), f.padded, f.padded);
                    let o = Output { step: t.padded, ..Output::to(&s) };
                    exec.conv(&taps, half.as_ptr(), &this.shortcut.forward, &this.shortcut.panels, &o);
                }
                add_f64(&mut sums, part);
            }
            sums
        });
        set(&mut self.norm_a, params, &sums, &pivot_a, count, mode);
        // Second convolution.
        let this = &*self;
        let mut r = Buf::zeros(this.padded_to());
        // SAFETY: image 0, just written.
        unsafe { this.pad_middle(exec.isa, ya.0, &mut r) }
        let pivot_b = pivot(&this.conv_b, this.taps_b(), &r);
        let sums = run.each_chunk(Arena::room(this.padded_to()) + Arena::room(2 * t.padded), |chunk, arena| {
            let r = arena.zeros(this.padded_to());
            let part = arena.take(2 * t.padded);
            let mut sums = vec![0f64; 2 * t.padded];
            for i in chunk {
                part.fill(0.0);
                // SAFETY: images of a chunk belong to this thread.
                unsafe {
                    this.pad_middle(exec.isa, ya.at(i * t.len()), r);
                    let moments = Moments { pivot: pivot_b.as_ptr(), sums: part.as_mut_ptr() };
                    let b = blocks(yb, i);
                    let o = Output { step: t.padded, moments: Some(moments), ..Output::to(&b) };
                    exec.conv(&this.taps_b(), r.as_ptr(), &this.conv_b.forward, &this.conv_b.panels, &o);
                }
                add_f64(&mut sums, part);
            }
            sums
        });
        set(&mut self.norm_b, params, &sums, &pivot_b, count, mode);
        // Sum with the shortcut.
        let this = &*self;
        let ones = vec![1f32; t.padded];
        run.each_chunk(0, |chunk, _| {
            for i in chunk {
                let o = i * t.len();
                // SAFETY: images of a chunk belong to this thread.
                unsafe {
                    let terms = [
                        Term { src: yb.at(o), scale: this.norm_b.scale.as_ptr() },
                        Term { src: ys.at(o), scale: ones.as_ptr() },
                    ];
                    elem::mix(exec.isa, out.at(o), &terms, this.norm_b.shift.as_ptr(), t.pixels(), t.padded);
                }
            }
        });
        if let Some(sink) = codes.as_mut().filter(|s| s.kind() == Codes::ReluInputs) {
            let (ones, zeros) = (vec![1f32; f.padded], vec![0f32; f.padded]);
            sink.add_outside(run, x, &ones, &zeros, f);
            sink.add_outside(run, ya, &self.norm_a.scale, &self.norm_a.shift, t);
        }
    }

    /// Given `g = dL/d output`, writes `dL/dx` to `gx` and the gradients of the parameters where `omega`.
    pub(crate) fn backward(&mut self, run: Run<'_>, x: Ptr, g: Ptr, gx: Ptr, params: &mut Params, omega: bool) {
        let (t, exec) = (self.to, run.exec());
        for group in [&mut self.conv_a, &mut self.conv_b, &mut self.shortcut] {
            group.pack_backward(exec.isa, params);
        }
        self.gza.ensure(run.n * t.len());
        let (ya, yb, gza) = (self.ya.ptr(), self.yb.ptr(), self.gza.ptr());
        correlate_norm(run, t, g, yb, &mut self.norm_b, params, omega);
        // Second convolution: its weight gradient, and the gradient before the ReLU.
        let this = &*self;
        let row = (t.width + 2) * t.padded;
        let dw_len = if omega { this.conv_b.panels.len() } else { 0 };
        let room = 2 * Arena::room(this.padded_to()) + Arena::room(t.len());
        run.each_chunk_sum(room, dw_len, |chunk, arena, dw| {
            let start = chunk.start;
            let r = arena.zeros(this.padded_to());
            let dy = arena.zeros(this.padded_to());
            let dz = arena.take(t.len());
            for i in chunk {
                let o = i * t.len();
                // SAFETY: images of a chunk belong to this thread; g and y are only read.
                unsafe {
                    this.pad_middle(exec.isa, ya.at(o), r);
                    let inner = dy.as_mut_ptr().add(row + t.padded);
                    elem::norm_grad(
                        exec.isa,
                        g.at(o),
                        yb.at(o),
                        this.norm_b.grad(),
                        t.height,
                        t.width,
                        t.padded,
                        inner,
                        row,
                        t.padded,
                    );
                    if omega {
                        exec.weight_grad(
                            &this.taps_b(),
                            r.as_ptr(),
                            inner,
                            (row, t.padded),
                            &this.conv_b.panels,
                            dw.as_mut_ptr(),
                            i > start,
                        );
                    }
                    let blocks: Vec<_> = (0..t.padded / BLOCK).map(|b| dz[b * BLOCK..].as_mut_ptr()).collect();
                    let out = Output { step: t.padded, ..Output::to(&blocks) };
                    exec.conv(&this.taps_b(), dy.as_ptr(), &this.conv_b.backward, &this.conv_b.back_panels, &out);
                    let gz = std::slice::from_raw_parts_mut(gza.at(o), t.len());
                    gz.fill(0.0);
                    // The ReLU's input is positive where its output, in `r`, is.
                    for h in 0..t.height {
                        let at = h * t.width * t.padded;
                        let z = r.as_ptr().add((h + 1) * row + t.padded);
                        elem::add_where_positive(
                            exec.isa,
                            gz[at..].as_mut_ptr(),
                            z,
                            dz[at..].as_ptr(),
                            1,
                            t.width * t.padded,
                            0,
                        );
                    }
                }
            }
        });
        if omega {
            run.sum_partials(dw_len, |dw| self.conv_b.unpack_grad(dw, params));
        }
        correlate_norm(run, t, gza, ya, &mut self.norm_a, params, omega);
        self.backward_input(run, x, g, gx, params, omega);
    }

    /// First convolution and shortcut: their weight gradients, and `dL/dx`.
    fn backward_input(&mut self, run: Run<'_>, x: Ptr, g: Ptr, gx: Ptr, params: &mut Params, omega: bool) {
        let (f, t, exec) = (self.from, self.to, run.exec());
        let (ya, gza) = (self.ya.ptr(), self.gza.ptr());
        let this = &*self;
        // The data gradient of a convolution of stride 2 is one of stride 1 over dy spread out with zeros between.
        let spread_row = (f.width + 2) * t.padded;
        let spread_len = (f.height + 2) * spread_row;
        let half_len = t.pixels() * f.padded;
        let (dwa_len, dws_len) = if omega { (this.conv_a.panels.len(), this.shortcut.panels.len()) } else { (0, 0) };
        let room = [this.padded_from(), spread_len, f.len(), half_len, half_len];
        run.each_chunk_sum(room.iter().map(|&r| Arena::room(r)).sum(), dwa_len + dws_len, |chunk, arena, dw| {
            let start = chunk.start;
            let r = arena.zeros(room[0]);
            let dy = arena.zeros(room[1]);
            let dr = arena.take(room[2]);
            let half = arena.take(room[3]);
            let dhalf = arena.take(room[4]);
            for i in chunk {
                let o = i * t.len();
                // SAFETY: images of a chunk belong to this thread; x, g and y are only read.
                unsafe {
                    let xi = std::slice::from_raw_parts(x.at(i * f.len()), f.len());
                    let gxi = std::slice::from_raw_parts_mut(gx.at(i * f.len()), f.len());
                    let inner = dy.as_mut_ptr().add(spread_row + t.padded);
                    let step = (2 * spread_row, 2 * t.padded);
                    elem::norm_grad(
                        exec.isa,
                        gza.at(o),
                        ya.at(o),
                        this.norm_a.grad(),
                        t.height,
                        t.width,
                        t.padded,
                        inner,
                        step.0,
                        step.1,
                    );
                    if omega {
                        this.pad_from(exec.isa, xi.as_ptr(), r);
                        let dwa = dw.as_mut_ptr();
                        exec.weight_grad(&this.taps_a(), r.as_ptr(), inner, step, &this.conv_a.panels, dwa, i > start);
                        halve(xi, f, t, half);
                        let taps = Taps {
                            height: t.height,
                            width: t.width,
                            row: t.width * f.padded,
                            ..Taps::rows(1, f.padded, f.padded)
                        };
                        let gstep = (t.width * t.padded, t.padded);
                        exec.weight_grad(
                            &taps,
                            half.as_ptr(),
                            g.at(o),
                            gstep,
                            &this.shortcut.panels,
                            dw[dwa_len..].as_mut_ptr(),
                            i > start,
                        );
                    }
                    let taps = Taps::square(3, 1, f.height, f.width, f.width + 2, t.padded);
                    let blocks: Vec<_> = (0..f.padded / BLOCK).map(|b| dr[b * BLOCK..].as_mut_ptr()).collect();
                    let out = Output { step: f.padded, ..Output::to(&blocks) };
                    exec.conv(&taps, dy.as_ptr(), &this.conv_a.backward, &this.conv_a.back_panels, &out);
                    let taps = Taps::rows(t.pixels(), t.padded, t.padded);
                    let blocks: Vec<_> = (0..f.padded / BLOCK).map(|b| dhalf[b * BLOCK..].as_mut_ptr()).collect();
                    let out = Output { step: f.padded, ..Output::to(&blocks) };
                    exec.conv(&taps, g.at(o), &this.shortcut.backward, &this.shortcut.back_panels, &out);
                    window(f, t, |i, o, weight| {
                        for (gx, &d) in gxi[i..][..f.padded].iter_mut().zip(&dhalf[o..][..f.padded]) {
                            *gx = weight * d;
                        }
                    });
                    let row = f.width * f.padded;
                    elem::add_where_positive(exec.isa, gxi.as_mut_ptr(), xi.as_ptr(), dr.as_ptr(), f.height, row, row);
                }
            }
        });
        if omega {
            run.sum_partials(dwa_len + dws_len, |dw| {
                self.conv_a.unpack_grad(&dw[..dwa_len], params);
                self.shortcut.unpack_grad(&dw[dwa_len..], params);
            });
        }
    }
}

/// Statistics of a convolution's output.
fn set(norm: &mut Norm, params: &Params, sums: &[Vec<f64>], pivot: &[f32], count: f64, mode: Mode) {
    if mode == Mode::Running {
        norm.set_running(params);
    } else {
        let sums = total(sums);
        let padded = sums.len() / 2;
        norm.set_batch(params, &sums, &sums[padded..], pivot, count, mode == Mode::Train);
    }
}
