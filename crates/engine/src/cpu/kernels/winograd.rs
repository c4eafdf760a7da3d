//! Winograd F(4x4, 3x3): forward and its exact adjoints, data and weight gradient, in the transform domain.
//!
//! `y = A^T [ (G w G^T) . (B^T d B) ] A` per 4x4 output tile (Lavin & Gray, "Fast Algorithms for Convolutional Neural
//! Networks", arXiv:1509.09308). A transformed tensor is `[36 points][tiles][channels]`; a point is `point_step` values,
//! padded so that points do not fall into the same cache sets.

use std::ops::Range;

use super::elementwise::NormGrad;
use super::matmul::{Moments, Output, Taps, conv_generic, weight_grad_generic};
use super::panel::{BLOCK, Panels};
use crate::cpu::simd::{Simd, dispatch};

/// Transform points of a tile.
pub(crate) const POINTS: usize = 36;

/// Tiles of one image and the padded image that covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Tiles down and across.
    pub(crate) down: usize,
    pub(crate) across: usize,
}

impl Tiling {
    pub(crate) fn new(height: usize, width: usize) -> Self {
        Tiling { height, width, down: height.div_ceil(4), across: width.div_ceil(4) }
    }
    pub(crate) fn tiles(&self) -> usize {
        self.down * self.across
    }
    /// Every tile and every vector of its channels.
    #[inline(always)]
    fn each<S: Simd>(&self, channels: usize) -> impl Iterator<Item = Tile> {
        let (across, vectors) = (self.across, channels / S::LANES);
        (0..self.tiles() * vectors).map(move |k| {
            let index = k / vectors;
            Tile { index, y: index / across * 4, x: index % across * 4, channel: k % vectors * S::LANES }
        })
    }
    /// Rows and columns of the padded image: border 1 above and left, enough below and right for the last tile.
    pub(crate) fn padded(&self) -> (usize, usize) {
        (4 * self.down + 2, 4 * self.across + 2)
    }
}

/// One vector of channels of one tile.
#[derive(Clone, Copy)]
struct Tile {
    /// Of the image's tiles.
    index: usize,
    /// Top left output pixel.
    y: usize,
    x: usize,
    /// First channel.
    channel: usize,
}

/// Distance between the points of a transformed tensor.
pub(crate) fn point_step(tiles: usize, channels: usize) -> usize {
    // One more cache line keeps the 36 points off each other's cache sets.
    tiles * channels + BLOCK
}

/// `B^T d`.
#[inline(always)]
unsafe fn input_1d<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: arithmetic only, features by contract.
    unsafe {
        let (two, four) = (S::splat(2.0), S::splat(4.0));
        let (m2, m4, m5) = (S::splat(-2.0), S::splat(-4.0), S::splat(-5.0));
        let a = S::fma(d[2], m4, d[4]);
        let b = S::fma(d[1], m4, d[3]);
        let c = S::sub(d[4], d[2]);
        let e = S::sub(d[3], d[1]);
        [
            S::fma(d[0], four, S::fma(d[2], m5, d[4])),
            S::add(a, b),
            S::sub(a, b),
            S::fma(e, two, c),
            S::fma(e, m2, c),
            S::fma(d[1], four, S::fma(d[3], m5, d[5])),
        ]
    }
}

/// `B x`, the adjoint of [`input_1d`].
#[inline(always)]
unsafe fn input_adjoint_1d<S: Simd>(x: [S::V; 6]) -> [S::V; 6] {
    // SAFETY: arithmetic only, features by contract.
    unsafe {
        let (two, four) = (S::splat(2.0), S::splat(4.0));
        let (m2, m4, m5) = (S::splat(-2.0), S::splat(-4.0), S::splat(-5.0));
        let (s, d) = (S::add(x[1], x[2]), S::sub(x[1], x[2]));
        let (u, v) = (S::add(x[3], x[4]), S::sub(x[3], x[4]));
        [
            S::mul(x[0], four),
            S::fma(d, m4, S::fma(v, m2, S::mul(x[5], four))),
            S::fma(x[0], m5, S::fma(s, m4, S::sub(S::splat(0.0), u))),
            S::add(d, S::fma(v, two, S::mul(x[5], m5))),
            S::add(x[0], S::add(s, u)),
            x[5],
        ]
    }
}

/// `A^T m`.
#[inline(always)]
unsafe fn output_1d<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
    // SAFETY: arithmetic only, features by contract.
    unsafe {
        let (s, d) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (u, v) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(s, u)),
            S::fma(v, S::splat(2.0), d),
            S::fma(u, S::splat(4.0), s),
            S::add(m[5], S::fma(v, S::splat(8.0), d)),
        ]
    }
}

/// `A y`, the adjoint of [`output_1d`].
#[inline(always)]
unsafe fn output_adjoint_1d<S: Simd>(y: [S::V; 4]) -> [S::V; 6] {
    // SAFETY: arithmetic only, features by contract.
    unsafe {
        let (e, o) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let e2 = S::fma(y[2], S::splat(4.0), y[0]);
        let o2 = S::fma(y[3], S::splat(4.0), y[1]);
        [y[0], S::add(e, o), S::sub(e, o), S::fma(o2, S::splat(2.0), e2), S::fma(o2, S::splat(-2.0), e2), y[3]]
    }
}

/// `G g`.
#[inline(always)]
unsafe fn weight_1d<S: Simd>(g: [S::V; 3]) -> [S::V; 6] {
    // SAFETY: arithmetic only, features by contract.
    unsafe {
        let s = S::add(g[0], g[2]);
        let q = S::fma(g[2], S::splat(4.0), g[0]);
        let (sixth, small) = (S::splat(-1.0 / 6.0), S::splat(1.0 / 24.0));
        [
            S::mul(g[0], S::splat(0.25)),
            S::mul(S::add(s, g[1]), sixth),
            S::mul(S::sub(s, g[1]), sixth),
            S::mul(S::fma(g[1], S::splat(2.0), q), small),
            S::mul(S::fma(g[1], S::splat(-2.0), q), small),
            g[2],
        ]
    }
}

/// `G^T x`, the adjoint of [`weight_1d`].
#[inline(always)]
unsafe fn weight_adjoint_1d<S: Simd>(x: [S::V; 6]) -> [S::V; 3] {
    // SAFETY: arithmetic only, features by contract.
    unsafe {
        let (s, q) = (S::add(x[1], x[2]), S::sub(x[2], x[1]));
        let (u, v) = (S::add(x[3], x[4]), S::sub(x[3], x[4]));
        let (sixth, twelfth, small) = (S::splat(1.0 / 6.0), S::splat(1.0 / 12.0), S::splat(1.0 / 24.0));
        let minus = S::splat(-1.0 / 6.0);
        [
            S::fma(x[0], S::splat(0.25), S::fma(s, minus, S::mul(u, small))),
            S::fma(q, sixth, S::mul(v, twelfth)),
            S::fma(s, minus, S::fma(u, sixth, x[5])),
        ]
    }
}

/// `L x L^T` of a square `x` of `$from` rows, `$to` rows in the result: `$at` are its entries, `$one` maps a column by `L`.
/// A macro, because a closure would not be compiled for the instruction set of the kernel around it.
macro_rules! both_ways {
    ($s:ident, $from:literal to $to:literal, $one:ident, |$i:ident, $j:ident| $at:expr) => {{
        let mut rows = [[$s::splat(0.0); $from]; $to];
        for $j in 0..$from {
            let mut column = [$s::splat(0.0); $from];
            for $i in 0..$from {
                column[$i] = $at;
            }
            let column = $one::<$s>(column);
            for i in 0..$to {
                rows[i][$j] = column[i];
            }
        }
        let mut out = [[$s::splat(0.0); $to]; $to];
        for i in 0..$to {
            out[i] = $one::<$s>(rows[i]);
        }
        out
    }};
}

#[inline(always)]
unsafe fn weights_generic<S: Simd>(w: *const f32, from: &Panels, u: *mut f32, to: &Panels) {
    let inputs = to.k;
    // SAFETY: the contract of `weights`.
    unsafe {
        for b in 0..to.columns / BLOCK {
            let ((f, fstep), (t, tstep)) = (from.block(b), to.block(b));
            for a in 0..inputs {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let tap = w.add(f + a * fstep + lane);
                    let points =
                        both_ways!(S, 3 to 6, weight_1d, |i, j| S::load(tap.add((3 * i + j) * inputs * fstep)));
                    for (p, &v) in points.as_flattened().iter().enumerate() {
                        S::store(u.add(p * to.len() + t + a * tstep + lane), v);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// `U = G w G^T`: from a packed `[9 * inputs, columns]` matrix to 36 packed `[inputs, columns]` matrices.
    weights(w: *const f32, from: &Panels, u: *mut f32, to: &Panels) = weights_generic
}

#[inline(always)]
unsafe fn weights_adjoint_generic<S: Simd>(du: *const f32, from: &Panels, dw: *mut f32, to: &Panels) {
    let inputs = from.k;
    // SAFETY: the contract of `weights_adjoint`.
    unsafe {
        for b in 0..from.columns / BLOCK {
            let ((f, fstep), (t, tstep)) = (from.block(b), to.block(b));
            for a in 0..inputs {
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let du = du.add(f + a * fstep + lane);
                    let taps =
                        both_ways!(S, 6 to 3, weight_adjoint_1d, |i, j| S::load(du.add((6 * i + j) * from.len())));
                    for (i, &v) in taps.as_flattened().iter().enumerate() {
                        S::store(dw.add(t + (i * inputs + a) * tstep + lane), v);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// `dw = G^T dU G`, overwriting `dw`: the adjoint of [`weights`].
    weights_adjoint(du: *const f32, from: &Panels, dw: *mut f32, to: &Panels) = weights_adjoint_generic
}

#[inline(always)]
unsafe fn input_generic<S: Simd>(
    src: *const f32,
    tiling: &Tiling,
    channels: usize,
    v: *mut f32,
    first: usize,
    step: usize,
) {
    let row = tiling.padded().1 * channels;
    // SAFETY: the contract of `input`.
    unsafe {
        for tile in tiling.each::<S>(channels) {
            let d = src.add(tile.y * row + tile.x * channels + tile.channel);
            let points = both_ways!(S, 6 to 6, input_1d, |i, j| S::load(d.add(i * row + j * channels)));
            let v = v.add((first + tile.index) * channels + tile.channel);
            for (p, &q) in points.as_flattened().iter().enumerate() {
                S::store(v.add(p * step), q);
            }
        }
    }
}

dispatch! {
    /// `V = B^T d B` of every tile of one padded image `[padded height][padded width][channels]`, written to tiles
    /// `first..` of `v: [36][tiles][channels]`.
    input(src: *const f32, tiling: &Tiling, channels: usize, v: *mut f32, first: usize, step: usize) = input_generic
}

#[inline(always)]
unsafe fn input_adjoint_generic<S: Simd>(
    x: *const f32,
    tiling: &Tiling,
    channels: usize,
    dst: *mut f32,
    first: usize,
    step: usize,
) {
    let row = tiling.width * channels;
    // SAFETY: the contract of `input_adjoint`; only pixels of the image are touched.
    unsafe {
        for tile in tiling.each::<S>(channels) {
            let x = x.add((first + tile.index) * channels + tile.channel);
            let pixels = both_ways!(S, 6 to 6, input_adjoint_1d, |i, j| S::load(x.add((6 * i + j) * step)));
            // Pixel (0, 0) of the result is one above and left of the tile's outputs: a border that the image lacks.
            let d = dst.wrapping_add(tile.y * row + tile.x * channels + tile.channel);
            for (i, pixels) in pixels.into_iter().enumerate() {
                for (j, q) in pixels.into_iter().enumerate() {
                    let (y, x) = (tile.y + i, tile.x + j);
                    if y >= 1 && y <= tiling.height && x >= 1 && x <= tiling.width {
                        let d = d.wrapping_add(i * row + j * channels).wrapping_sub(row + channels);
                        S::store(d, S::add(S::load(d), q));
                    }
                }
            }
        }
    }
}

dispatch! {
    /// Adds `B x B^T` of every tile to `dst: [H, W, channels]`: the adjoint of [`input`] after padding.
    input_adjoint(x: *const f32, tiling: &Tiling, channels: usize, dst: *mut f32, first: usize, step: usize) = input_adjoint_generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn output_adjoint_generic<S: Simd>(
    g: *const f32,
    y: *const f32,
    coefficients: NormGrad,
    tiling: &Tiling,
    channels: usize,
    z: *mut f32,
    columns: usize,
    first: usize,
    step: usize,
) {
    let row = tiling.width * channels;
    // SAFETY: the contract of `output_adjoint`; only pixels of the image are read.
    unsafe {
        for tile in tiling.each::<S>(channels) {
            let load = |p: *const f32| S::load(p.add(tile.channel));
            let NormGrad { a, b, d, mean } = coefficients;
            let (a, b, d, mean) = (load(a), load(b), load(d), load(mean));
            let o = tile.y * row + tile.x * channels + tile.channel;
            let (g, y) = (g.add(o), y.add(o));
            let (rows, cols) = (tiling.height - tile.y, tiling.width - tile.x);
            macro_rules! transformed {
                ($inside:expr) => {
                    both_ways!(S, 4 to 6, output_adjoint_1d, |i, j| {
                        if $inside(i, j) {
                            let at = i * row + j * channels;
                            S::fma(S::load(g.add(at)), a, S::fma(S::sub(S::load(y.add(at)), mean), b, d))
                        } else {
                            S::splat(0.0)
                        }
                    })
                };
            }
            let whole = rows >= 4 && cols >= 4;
            let points = if whole { transformed!(|_, _| true) } else { transformed!(|i, j| i < rows && j < cols) };
            let z = z.add((first + tile.index) * columns + tile.channel);
            for (p, &q) in points.as_flattened().iter().enumerate() {
                S::store(z.add(p * step), q);
            }
        }
    }
}

dispatch! {
    /// `Z = A dy A^T` of every tile, `dy = a * g + b * (y - mean) + d` per channel (see [`NormGrad`]): the adjoint of
    /// [`output`] after that of the normalisation. `g, y: [H, W, channels]`; `z` as `m` in [`output`].
    output_adjoint(g: *const f32, y: *const f32, coefficients: NormGrad, tiling: &Tiling, channels: usize, z: *mut f32, columns: usize, first: usize, step: usize) = output_adjoint_generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn output_generic<S: Simd>(
    m: *const f32,
    columns: usize,
    tiling: &Tiling,
    channels: usize,
    y: *mut f32,
    stream: bool,
    first: usize,
    step: usize,
    moments: Moments,
    squares: usize,
) {
    let row = tiling.width * channels;
    // Past the caches in whole cache lines only.
    let stream = stream && S::LANES == BLOCK;
    // SAFETY: the contract of `output`; only pixels of the image are written.
    unsafe {
        for tile in tiling.each::<S>(channels) {
            let m = m.add((first + tile.index) * columns + tile.channel);
            let pixels = both_ways!(S, 6 to 4, output_1d, |i, j| S::load(m.add((6 * i + j) * step)));
            let (rows, cols) = (tiling.height - tile.y, tiling.width - tile.x);
            let y = y.add(tile.y * row + tile.x * channels + tile.channel);
            let pivot = S::load(moments.pivot.add(tile.channel));
            let (sum, square) = (moments.sums.add(tile.channel), moments.sums.add(squares + tile.channel));
            let (mut s1, mut s2) = (S::load(sum), S::load(square));
            for (i, pixels) in pixels.into_iter().enumerate() {
                for (j, q) in pixels.into_iter().enumerate() {
                    if i < rows && j < cols {
                        let to = y.add(i * row + j * channels);
                        if stream {
                            S::stream(to, q);
                        } else {
                            S::store(to, q);
                        }
                        let d = S::sub(q, pivot);
                        s1 = S::add(s1, d);
                        s2 = S::fma(d, d, s2);
                    }
                }
            }
            S::store(sum, s1);
            S::store(square, s2);
        }
    }
}

dispatch! {
    /// `y = A^T m A` for one image: tiles `first..` of `m: [36][tiles][columns]`, `channels` of the columns, to
    /// `y: [H, W, channels]`. `stream`: past the caches (`y` then aligned to 64 bytes; a `fence` must follow). `squares`: distance from the sums
    /// of `moments` to the sums of squares.
    output(m: *const f32, columns: usize, tiling: &Tiling, channels: usize, y: *mut f32, stream: bool, first: usize, step: usize, moments: Moments, squares: usize) = output_generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn multiply_generic<S: Simd>(
    v: *const f32,
    vstep: usize,
    u: *const f32,
    panels: &Panels,
    m: *mut f32,
    mstep: usize,
    tiles: usize,
) {
    let taps = Taps::rows(tiles, panels.k, panels.k);
    let mut blocks = [std::ptr::null_mut(); MAX_BLOCKS];
    // SAFETY: the contract of `multiply`.
    unsafe {
        for p in 0..POINTS {
            let n = panels.columns / BLOCK;
            for (b, o) in blocks[..n].iter_mut().enumerate() {
                *o = m.add(p * mstep + b * BLOCK);
            }
            let out = Output { step: panels.columns, ..Output::to(&blocks[..n]) };
            conv_generic::<S>(&taps, v.add(p * vstep), u.add(p * panels.len()), panels, &out);
        }
    }
}

/// Most column blocks of one multiplication.
pub(crate) const MAX_BLOCKS: usize = 256;

dispatch! {
    /// `M[p] = V[p] * U[p]` for the 36 points: `[tiles, k] x [k, columns]`, at most [`MAX_BLOCKS`] column blocks.
    multiply(v: *const f32, vstep: usize, u: *const f32, panels: &Panels, m: *mut f32, mstep: usize, tiles: usize) = multiply_generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn multiply_grad_generic<S: Simd>(
    v: *const f32,
    vstep: usize,
    z: *const f32,
    zstep: usize,
    panels: &Panels,
    du: *mut f32,
    tiles: usize,
    accumulate: bool,
    points: Range<usize>,
) {
    let taps = Taps::rows(tiles, panels.k, panels.k);
    for p in points {
        // SAFETY: the contract of `multiply_grad`.
        unsafe {
            weight_grad_generic::<S>(
                &taps,
                v.add(p * vstep),
                z.add(p * zstep),
                0,
                panels.columns,
                panels,
                du.add(p * panels.len()),
                accumulate,
            );
        }
    }
}

dispatch! {
    /// `dU[p] (+)= V[p]^T * Z[p]` for some of the 36 points.
    multiply_grad(v: *const f32, vstep: usize, z: *const f32, zstep: usize, panels: &Panels, du: *mut f32, tiles: usize, accumulate: bool, points: Range<usize>) = multiply_grad_generic
}
