//! Winograd F(4x4, 3x3): forward and its exact adjoints, data and weight gradient, in the transform domain.
//!
//! `y = A^T [ (G w G^T) . (B^T d B) ] A` per 4x4 output tile (Lavin & Gray, "Fast Algorithms for Convolutional Neural
//! Networks", arXiv:1509.09308). A transformed tensor is `[36 points][tiles][channels]`; a point is `point_step` values,
//! padded so that points do not fall into the same cache sets.

use super::matmul::{Moments, Output, Taps, conv_generic, weight_grad_generic};
use super::panel::{BLOCK, Panels};
use crate::simd::{Simd, dispatch};

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
    /// Rows and columns of the padded image: border 1 above and left, enough below and right for the last tile.
    pub(crate) fn padded(&self) -> (usize, usize) {
        (4 * self.down + 2, 4 * self.across + 2)
    }
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

#[inline(always)]
unsafe fn weights_generic<S: Simd>(w: *const f32, from: &Panels, u: *mut f32, to: &Panels) {
    let inputs = to.k;
    // SAFETY: the contract of `weights`.
    unsafe {
        for b in 0..to.columns / BLOCK {
            let ((f, fstep), (t, tstep)) = (from.block(b), to.block(b));
            for a in 0..inputs {
                let mut lane = 0;
                while lane < BLOCK {
                    let tap = |i: usize| S::load(w.add(f + (i * inputs + a) * fstep + lane));
                    let mut rows = [[S::splat(0.0); 3]; 6];
                    for j in 0..3 {
                        let column = weight_1d::<S>([tap(j), tap(3 + j), tap(6 + j)]);
                        for i in 0..6 {
                            rows[i][j] = column[i];
                        }
                    }
                    for (i, row) in rows.into_iter().enumerate() {
                        let r = weight_1d::<S>(row);
                        for (j, r) in r.into_iter().enumerate() {
                            S::store(u.add((i * 6 + j) * to.len() + t + a * tstep + lane), r);
                        }
                    }
                    lane += S::LANES;
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
                let mut lane = 0;
                while lane < BLOCK {
                    let point = |p: usize| S::load(du.add(p * from.len() + f + a * fstep + lane));
                    let mut rows = [[S::splat(0.0); 6]; 3];
                    for j in 0..6 {
                        let c = weight_adjoint_1d::<S>([
                            point(j),
                            point(6 + j),
                            point(12 + j),
                            point(18 + j),
                            point(24 + j),
                            point(30 + j),
                        ]);
                        for i in 0..3 {
                            rows[i][j] = c[i];
                        }
                    }
                    for (i, row) in rows.into_iter().enumerate() {
                        let r = weight_adjoint_1d::<S>(row);
                        for (j, r) in r.into_iter().enumerate() {
                            S::store(dw.add(t + ((i * 3 + j) * inputs + a) * tstep + lane), r);
                        }
                    }
                    lane += S::LANES;
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
        for ty in 0..tiling.down {
            for tx in 0..tiling.across {
                let t = first + ty * tiling.across + tx;
                let mut c = 0;
                while c < channels {
                    let d = src.add(ty * 4 * row + tx * 4 * channels + c);
                    let mut m = [[S::splat(0.0); 6]; 6];
                    for j in 0..6 {
                        let at = |i: usize| S::load(d.add(i * row + j * channels));
                        let q = input_1d::<S>([at(0), at(1), at(2), at(3), at(4), at(5)]);
                        for i in 0..6 {
                            m[i][j] = q[i];
                        }
                    }
                    for (i, m) in m.into_iter().enumerate() {
                        let q = input_1d::<S>(m);
                        for (j, q) in q.into_iter().enumerate() {
                            S::store(v.add((i * 6 + j) * step + t * channels + c), q);
                        }
                    }
                    c += S::LANES;
                }
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
    let row = tiling.padded().1 * channels;
    // SAFETY: the contract of `input_adjoint`.
    unsafe {
        for ty in 0..tiling.down {
            for tx in 0..tiling.across {
                let t = first + ty * tiling.across + tx;
                let mut c = 0;
                while c < channels {
                    let d = dst.add(ty * 4 * row + tx * 4 * channels + c);
                    let mut m = [[S::splat(0.0); 6]; 6];
                    for j in 0..6 {
                        let at = |i: usize| S::load(x.add((i * 6 + j) * step + t * channels + c));
                        let q = input_adjoint_1d::<S>([at(0), at(1), at(2), at(3), at(4), at(5)]);
                        for i in 0..6 {
                            m[i][j] = q[i];
                        }
                    }
                    for (i, m) in m.into_iter().enumerate() {
                        let q = input_adjoint_1d::<S>(m);
                        for (j, q) in q.into_iter().enumerate() {
                            let d = d.add(i * row + j * channels);
                            S::store(d, S::add(S::load(d), q));
                        }
                    }
                    c += S::LANES;
                }
            }
        }
    }
}

dispatch! {
    /// Adds `B x B^T` of every tile into a padded image: the adjoint of [`input`]. The image must start as zeros.
    input_adjoint(x: *const f32, tiling: &Tiling, channels: usize, dst: *mut f32, first: usize, step: usize) = input_adjoint_generic
}

#[inline(always)]
unsafe fn output_adjoint_generic<S: Simd>(
    dy: *const f32,
    tiling: &Tiling,
    channels: usize,
    z: *mut f32,
    first: usize,
    step: usize,
) {
    let row = tiling.padded().1 * channels;
    // SAFETY: the contract of `output_adjoint`.
    unsafe {
        for ty in 0..tiling.down {
            for tx in 0..tiling.across {
                let t = first + ty * tiling.across + tx;
                let mut c = 0;
                while c < channels {
                    // The border of 1 is skipped: outputs start at padded position (1, 1).
                    let d = dy.add((ty * 4 + 1) * row + (tx * 4 + 1) * channels + c);
                    let mut m = [[S::splat(0.0); 4]; 6];
                    for j in 0..4 {
                        let at = |i: usize| S::load(d.add(i * row + j * channels));
                        let q = output_adjoint_1d::<S>([at(0), at(1), at(2), at(3)]);
                        for i in 0..6 {
                            m[i][j] = q[i];
                        }
                    }
                    for (i, m) in m.into_iter().enumerate() {
                        let q = output_adjoint_1d::<S>(m);
                        for (j, q) in q.into_iter().enumerate() {
                            S::store(z.add((i * 6 + j) * step + t * channels + c), q);
                        }
                    }
                    c += S::LANES;
                }
            }
        }
    }
}

dispatch! {
    /// `Z = A dy A^T` of every tile of a padded gradient image (zeros outside the image): the adjoint of [`output`].
    output_adjoint(dy: *const f32, tiling: &Tiling, channels: usize, z: *mut f32, first: usize, step: usize) = output_adjoint_generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn output_generic<S: Simd>(
    m: *const f32,
    columns: usize,
    tiling: &Tiling,
    channels: usize,
    y: *mut f32,
    first: usize,
    step: usize,
    moments: Option<(Moments, usize)>,
) {
    let row = tiling.width * channels;
    let mut c = 0;
    // SAFETY: the contract of `output`.
    unsafe {
        while c < channels {
            let (mut s1, mut s2) = (S::splat(0.0), S::splat(0.0));
            let pivot = moments.map_or(S::splat(0.0), |(p, _)| S::load(p.pivot.add(c)));
            for ty in 0..tiling.down {
                for tx in 0..tiling.across {
                    let t = first + ty * tiling.across + tx;
                    let mut q = [[S::splat(0.0); 6]; 4];
                    for j in 0..6 {
                        let at = |i: usize| S::load(m.add((i * 6 + j) * step + t * columns + c));
                        let r = output_1d::<S>([at(0), at(1), at(2), at(3), at(4), at(5)]);
                        for i in 0..4 {
                            q[i][j] = r[i];
                        }
                    }
                    let rows = 4.min(tiling.height - ty * 4);
                    let cols = 4.min(tiling.width - tx * 4);
                    for (i, q) in q.into_iter().enumerate() {
                        let r = output_1d::<S>(q);
                        for (j, r) in r.into_iter().enumerate() {
                            if i < rows && j < cols {
                                S::store(y.add((ty * 4 + i) * row + (tx * 4 + j) * channels + c), r);
                                let d = S::sub(r, pivot);
                                s1 = S::add(s1, d);
                                s2 = S::fma(d, d, s2);
                            }
                        }
                    }
                }
            }
            if let Some((p, stride)) = moments {
                let a = p.sums.add(c);
                S::store(a, S::add(S::load(a), s1));
                let b = a.add(stride);
                S::store(b, S::add(S::load(b), s2));
            }
            c += S::LANES;
        }
    }
}

dispatch! {
    /// `y = A^T m A` for one image: tiles `first..` of `m: [36][tiles][columns]`, `channels` of the columns, to `y: [H, W, channels]`.
    /// `moments`: where to add the sums, and the distance from the sums to the sums of squares.
    output(m: *const f32, columns: usize, tiling: &Tiling, channels: usize, y: *mut f32, first: usize, step: usize, moments: Option<(Moments, usize)>) = output_generic
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
            let out = Output { blocks: &blocks[..n], step: panels.columns, accumulate: false, moments: None };
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
) {
    let taps = Taps::rows(tiles, panels.k, panels.k);
    for p in 0..POINTS {
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
            );
        }
    }
}

dispatch! {
    /// `dU[p] += V[p]^T * Z[p]` for the 36 points.
    multiply_grad(v: *const f32, vstep: usize, z: *const f32, zstep: usize, panels: &Panels, du: *mut f32, tiles: usize) = multiply_grad_generic
}
