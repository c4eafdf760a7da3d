//! Depthwise convolution of one image and its two gradients.
//!
//! Source, output and gradients are `[height, width, channels]` with any [`Pitch`], the filter is
//! `[size * size, channels]`; channels are padded to a multiple of 16. What lies beyond the border must be there as
//! zeros: the source is padded for [`forward`] and [`weight_grad`], `dy` for [`data_grad`].
//!
//! Every output is a sum in f32 over the taps of the filter, in their order. A tile of eight outputs of a row is kept in
//! registers: an input is loaded once for all of them, and the multiply-adds are independent.

use std::mem::MaybeUninit;

use super::pitch::Pitch;
use crate::cpu::simd::{Simd, dispatch};

/// Most taps in each direction.
pub(crate) const MAX_SIZE: usize = 7;

/// Geometry of a depthwise convolution, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Taps in each direction, at most [`MAX_SIZE`]. 3 and 5 are fast; others work.
    pub(crate) size: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Channels as stored, a multiple of 16.
    pub(crate) channels: usize,
}

/// `out[y][x] (+)= sum over taps of src[y * output_row + x * stride * unit + tap] * weights[tap]`: what both [`forward`]
/// and [`data_grad`] are.
#[derive(Clone, Copy)]
struct Correlation {
    height: usize,
    width: usize,
    channels: usize,
    /// Taps in each direction.
    rows: usize,
    columns: usize,
    /// Distances in the source, in values: between vertically adjacent outputs and taps, and of one step sideways.
    output_row: usize,
    tap_row: usize,
    unit: usize,
    /// Steps sideways between adjacent outputs and taps.
    stride: usize,
    dilation: usize,
    /// Distances between the weights of adjacent taps.
    weight_row: isize,
    weight_column: isize,
    out: Pitch,
    add: bool,
}

/// `T` outputs of a row. With the shape of the filter known the inputs that they share are loaded once.
#[inline(always)]
unsafe fn tile<S: Simd, const T: usize>(
    k: &Correlation,
    (columns, stride, dilation): (usize, usize, usize),
    src: *const f32,
    weights: *const MaybeUninit<S::V>,
    out: *mut f32,
) {
    // SAFETY: the contract of `correlate`.
    unsafe {
        let mut acc = [S::splat(0.0); T];
        if k.add {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = S::load(out.add(i * k.out.column));
            }
        }
        let (mut src, mut weights) = (src, weights);
        for _ in 0..k.rows {
            for column in 0..columns {
                let w = (*weights.add(column)).assume_init();
                for i in 0..T {
                    acc[i] = S::fma(S::load(src.add((i * stride + column * dilation) * k.unit)), w, acc[i]);
                }
            }
            src = src.wrapping_add(k.tap_row);
            weights = weights.add(columns);
        }
        for (i, acc) in acc.into_iter().enumerate() {
            S::store(out.add(i * k.out.column), acc);
        }
    }
}

/// All rows of one vector of channels.
#[inline(always)]
unsafe fn rows<S: Simd>(
    k: &Correlation,
    shape: (usize, usize, usize),
    src: *const f32,
    weights: *const MaybeUninit<S::V>,
    out: *mut f32,
) {
    for y in 0..k.height {
        let mut x = 0;
        macro_rules! tiles {
            ($t:literal) => {
                while k.width - x >= $t {
                    // SAFETY: the contract of `correlate`.
                    unsafe {
                        let src = src.add(y * k.output_row + x * k.stride * k.unit);
                        tile::<S, $t>(k, shape, src, weights, out.add(y * k.out.row + x * k.out.column));
                    }
                    x += $t;
                }
            };
        }
        tiles!(8);
        tiles!(4);
        tiles!(1);
    }
}

/// # Safety
/// All taps of all outputs within the source, all outputs writable and apart from it.
#[inline(always)]
unsafe fn correlate<S: Simd>(k: &Correlation, src: *const f32, weights: *const f32, out: *mut f32) {
    // SAFETY: see above.
    unsafe {
        // The weights of one vector of channels: addressed by the stack pointer, which leaves registers for the rest.
        let mut packed = [MaybeUninit::<S::V>::uninit(); MAX_SIZE * MAX_SIZE];
        let mut c = 0;
        while c < k.channels {
            for (i, w) in packed[..k.rows * k.columns].iter_mut().enumerate() {
                let (row, column) = ((i / k.columns) as isize, (i % k.columns) as isize);
                w.write(S::load(weights.add(c).offset(row * k.weight_row + column * k.weight_column)));
            }
            let (src, weights, out) = (src.add(c), packed.as_ptr(), out.add(c));
            match (k.columns, k.stride, k.dilation) {
                (1, 1, 1) => rows::<S>(k, (1, 1, 1), src, weights, out),
                (2, 1, 1) => rows::<S>(k, (2, 1, 1), src, weights, out),
                (3, 1, 1) => rows::<S>(k, (3, 1, 1), src, weights, out),
                (5, 1, 1) => rows::<S>(k, (5, 1, 1), src, weights, out),
                (3, 1, 2) => rows::<S>(k, (3, 1, 2), src, weights, out),
                (5, 1, 2) => rows::<S>(k, (5, 1, 2), src, weights, out),
                (3, 2, 1) => rows::<S>(k, (3, 2, 1), src, weights, out),
                (5, 2, 1) => rows::<S>(k, (5, 2, 1), src, weights, out),
                shape => rows::<S>(k, shape, src, weights, out),
            }
            c += S::LANES;
        }
    }
}

/// Stride and dilation without their common factor, and that factor.
fn reduced(stride: usize, dilation: usize) -> (usize, usize, usize) {
    let (mut a, mut b) = (stride, dilation);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (stride / a, dilation / a, a)
}

#[inline(always)]
unsafe fn forward_generic<S: Simd>(
    filter: Filter,
    src: *const f32,
    src_pitch: Pitch,
    weights: *const f32,
    height: usize,
    width: usize,
    out: *mut f32,
    out_pitch: Pitch,
) {
    let (stride, dilation, factor) = reduced(filter.stride, filter.dilation);
    let correlation = Correlation {
        height,
        width,
        channels: filter.channels,
        rows: filter.size,
        columns: filter.size,
        output_row: filter.stride * src_pitch.row,
        tap_row: filter.dilation * src_pitch.row,
        unit: factor * src_pitch.column,
        stride,
        dilation,
        weight_row: (filter.size * filter.channels) as isize,
        weight_column: filter.channels as isize,
        out: out_pitch,
        add: false,
    };
    // SAFETY: the contract of `forward`.
    unsafe { correlate::<S>(&correlation, src, weights, out) }
}

dispatch! {
    /// `out[y][x] = sum over ky, kx of src[y * stride + ky * dilation][x * stride + kx * dilation] * weights[ky][kx]`, per
    /// channel, for `height` x `width` outputs (an image or some of its rows). `src` is the first tap of output (0, 0):
    /// the first pixel of an image padded by just what the filter needs.
    forward(filter: Filter, src: *const f32, src_pitch: Pitch, weights: *const f32, height: usize, width: usize, out: *mut f32, out_pitch: Pitch) = forward_generic
}

/// Taps that reach one phase of the source, in one direction.
struct Phase {
    /// Taps, in the order of the outputs that they lead to: `last`, `last - step`, ...
    taps: usize,
    last: usize,
    step: usize,
    /// The output that `last` leads to from the first pixel of the phase; may lie before the border.
    first: isize,
    /// Outputs between adjacent taps.
    dilation: usize,
}

impl Phase {
    /// Of the pixels `phase`, `phase + stride`, ...
    fn new(filter: Filter, pad: usize, phase: usize) -> Phase {
        let Filter { size, stride, dilation, .. } = filter;
        // Output `i` reaches pixel `p` by tap `k` where `i * stride + k * dilation = p + pad`.
        let reaches = |k: &usize| (phase + pad + stride * dilation * size - k * dilation).is_multiple_of(stride);
        let (step, dilation_of_outputs, _) = reduced(stride, dilation);
        let taps = (0..size).filter(reaches).count();
        let last = (0..size).rfind(reaches).unwrap_or(0);
        let first = (phase as isize + pad as isize - (last * dilation) as isize) / stride as isize;
        Phase { taps, last, step, first, dilation: dilation_of_outputs }
    }
}

#[inline(always)]
unsafe fn data_grad_generic<S: Simd>(
    filter: Filter,
    pad: usize,
    dy: *const f32,
    dy_pitch: Pitch,
    weights: *const f32,
    height: usize,
    width: usize,
    dr: *mut f32,
    dr_pitch: Pitch,
    add: bool,
) {
    let Filter { size, stride, channels, .. } = filter;
    for phase_y in 0..stride.min(height) {
        for phase_x in 0..stride.min(width) {
            let (v, h) = (Phase::new(filter, pad, phase_y), Phase::new(filter, pad, phase_x));
            // Without taps in one direction the phase is zero.
            let (rows, columns) = if v.taps * h.taps == 0 { (0, 0) } else { (v.taps, h.taps) };
            let correlation = Correlation {
                height: (height - phase_y).div_ceil(stride),
                width: (width - phase_x).div_ceil(stride),
                channels,
                rows,
                columns,
                output_row: dy_pitch.row,
                tap_row: v.dilation * dy_pitch.row,
                unit: dy_pitch.column,
                stride: 1,
                dilation: h.dilation,
                weight_row: -((v.step * size * channels) as isize),
                weight_column: -((h.step * channels) as isize),
                out: Pitch { row: stride * dr_pitch.row, column: stride * dr_pitch.column },
                add,
            };
            if rows == 0 && add {
                continue;
            }
            let start = v.first * dy_pitch.row as isize + h.first * dy_pitch.column as isize;
            // SAFETY: the contract of `data_grad`; wrapping, since a phase without taps reads nothing.
            unsafe {
                let dr = dr.add(phase_y * dr_pitch.row + phase_x * dr_pitch.column);
                let weights = weights.add((v.last * size + h.last) * channels);
                correlate::<S>(&correlation, dy.wrapping_offset(start), weights, dr);
            }
        }
    }
}

dispatch! {
    /// The adjoint of [`forward`] over a source of `height` x `width` pixels padded by `pad` on all sides: `dr` is the
    /// gradient of the pixels inside the padding, `dr (+)= sum over outputs and taps of dy * weights`. Some of its rows can
    /// be had by themselves, from a multiple of the stride on, with `dy` moved on by that many outputs.
    ///
    /// `dy` is output (0, 0). Around the outputs lie zeros, as far as outputs would reach the image: `ceil(pad / stride)`
    /// pixels on each side for a filter that keeps the size, `pad = dilation * (size - 1) / 2`.
    data_grad(filter: Filter, pad: usize, dy: *const f32, dy_pitch: Pitch, weights: *const f32, height: usize, width: usize, dr: *mut f32, dr_pitch: Pitch, add: bool) = data_grad_generic
}

/// What all passes of [`weight_grad`] over some rows share.
#[derive(Clone, Copy)]
struct Products {
    height: usize,
    width: usize,
    channels: usize,
    /// Distances in the source, in values: between vertically adjacent outputs and taps, horizontally adjacent outputs
    /// and taps.
    output_row: usize,
    tap_row: usize,
    output_column: usize,
    tap_column: usize,
    dy: Pitch,
    /// Horizontally adjacent taps of every `phases`-th output coincide.
    phases: usize,
}

/// Adds to the gradient of `R` x `K` taps, `T` outputs at a time, every `STRIDE` taps apart within a phase.
#[inline(always)]
unsafe fn products<S: Simd, const R: usize, const K: usize, const STRIDE: usize, const T: usize>(
    p: &Products,
    src: *const f32,
    dy: *const f32,
    dw: *mut f32,
    dw_row: usize,
) {
    // SAFETY: the contract of `weight_grad`.
    unsafe {
        let mut acc = [[S::splat(0.0); K]; R];
        for y in 0..p.height {
            for phase in 0..p.phases.min(p.width) {
                let mut s = src.add(y * p.output_row + phase * p.output_column);
                let mut g = dy.add(y * p.dy.row + phase * p.dy.column);
                let (next, width) = (p.phases * p.dy.column, (p.width - phase).div_ceil(p.phases));
                let mut x = 0;
                macro_rules! outputs {
                    ($t:expr) => {
                        while width - x >= $t {
                            let mut v = [S::splat(0.0); $t];
                            for (i, v) in v.iter_mut().enumerate() {
                                *v = S::load(g.wrapping_add(i * next));
                            }
                            for r in 0..R {
                                for (i, &v) in v.iter().enumerate() {
                                    for k in 0..K {
                                        let at = s.add(r * p.tap_row + (i * STRIDE + k) * p.tap_column);
                                        acc[r][k] = S::fma(S::load(at), v, acc[r][k]);
                                    }
                                }
                            }
                            // Wrapping: one step past the last output, where nothing is read.
                            s = s.wrapping_add($t * STRIDE * p.tap_column);
                            g = g.wrapping_add($t * next);
                            x += $t;
                        }
                    };
                }
                outputs!(T);
                outputs!(1);
            }
        }
        for (r, acc) in acc.into_iter().enumerate() {
            for (k, acc) in acc.into_iter().enumerate() {
                let d = dw.add(r * dw_row + k * p.channels);
                S::store(d, S::add(S::load(d), acc));
            }
        }
    }
}

#[inline(always)]
unsafe fn weight_grad_generic<S: Simd>(
    filter: Filter,
    src: *const f32,
    src_pitch: Pitch,
    dy: *const f32,
    dy_pitch: Pitch,
    height: usize,
    width: usize,
    dw: *mut f32,
) {
    let Filter { size, stride, dilation, channels } = filter;
    // A few rows at a time: source and dy then stay in the first-level cache where the taps take several passes.
    let per = (8192 / (16 * width * (stride * stride + 1)).max(1)).clamp(1, height.max(1));
    let (reduced_stride, phases, _) = reduced(stride, dilation);
    let (tap_row, tap_column) = (dilation * src_pitch.row, dilation * src_pitch.column);
    let mut row = 0;
    while row < height {
        let p = Products {
            height: per.min(height - row),
            width,
            channels,
            output_row: stride * src_pitch.row,
            tap_row,
            output_column: stride * src_pitch.column,
            tap_column,
            dy: dy_pitch,
            phases,
        };
        let mut c = 0;
        while c < channels {
            // SAFETY: the contract of `weight_grad`.
            unsafe {
                let (src, dy) = (src.add(row * p.output_row + c), dy.add(row * dy_pitch.row + c));
                let dw_row = size * channels;
                macro_rules! taps {
                    ($rows:literal x $columns:literal, $stride:literal, $t:literal, from $first:literal) => {{
                        let (src, dw) = (src.add($first * tap_row), dw.add($first * dw_row + c));
                        products::<S, $rows, $columns, $stride, $t>(&p, src, dy, dw, dw_row);
                    }};
                }
                macro_rules! five {
                    ($stride:literal) => {
                        if S::LANES == 16 {
                            taps!(5 x 5, $stride, 4, from 0);
                        } else {
                            taps!(2 x 5, $stride, 2, from 0);
                            taps!(2 x 5, $stride, 2, from 2);
                            taps!(1 x 5, $stride, 2, from 4);
                        }
                    };
                }
                match (size, reduced_stride) {
                    (3, 1) => taps!(3 x 3, 1, 4, from 0),
                    (3, 2) => taps!(3 x 3, 2, 4, from 0),
                    (5, 1) => five!(1),
                    (5, 2) => five!(2),
                    _ => {
                        // One tap at a time: outputs are then the taps' distance apart by definition.
                        let p = Products { tap_column: p.output_column, phases: 1, ..p };
                        for k in 0..size * size {
                            let src = src.add(k / size * tap_row + k % size * tap_column);
                            products::<S, 1, 1, 1, 4>(&p, src, dy, dw.add(k * channels + c), 0);
                        }
                    }
                }
            }
            c += S::LANES;
        }
        row += per;
    }
}

dispatch! {
    /// `dw[ky][kx] += sum over outputs of src[y * stride + ky * dilation][x * stride + kx * dilation] * dy[y][x]`, per
    /// channel. `src` as in [`forward`], `dy` of `height` x `width` outputs, `dw: [size * size, channels]`.
    ///
    /// Sums are in f32. The products of some rows, at most 256 or one row, are summed from zero and then added to `dw`, so
    /// that the error does not grow with the size of the image: below `8 * f32::EPSILON` of the sum of absolute products in
    /// the tests.
    weight_grad(filter: Filter, src: *const f32, src_pitch: Pitch, dy: *const f32, dy_pitch: Pitch, height: usize, width: usize, dw: *mut f32) = weight_grad_generic
}

#[cfg(test)]
mod tests;
