//! 3x3 pooling of one image with padding 1 and stride 1 or 2, where only pixels that exist count, and its gradients.
//!
//! Images are `[height, width, channels]` with any [`Pitch`], channels padded to a multiple of 16; nothing beyond the
//! border is read. Gradients are added to.

use super::matmul::Moments;
use super::pitch::Pitch;
use crate::cpu::simd::{Simd, dispatch};

/// The source of a pooling and its stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// 1 or 2.
    pub(crate) stride: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels as stored, a multiple of 16.
    pub(crate) channels: usize,
}

impl Window {
    /// Height and width of the output.
    pub(crate) fn outputs(&self) -> (usize, usize) {
        (self.height.div_ceil(self.stride), self.width.div_ceil(self.stride))
    }
}

/// 1 / (pixels of a window of 3 around `i` that lie in `0..n`).
fn share(i: usize, n: usize) -> f32 {
    const SHARES: [f32; 3] = [1.0, 0.5, 1.0 / 3.0];
    SHARES[usize::from(i > 0) + usize::from(i + 1 < n)]
}

/// What becomes of the values of a window.
trait Reduce {
    unsafe fn join<S: Simd>(a: S::V, b: S::V) -> S::V;
    /// What stands for a column beyond the border, next to `edge`.
    unsafe fn beyond<S: Simd>(edge: S::V) -> S::V;
    unsafe fn finish<S: Simd>(v: S::V, share: f32) -> S::V;
}

// SAFETY of the blocks below: the instruction set exists by the contract of the kernels.
struct Max;
impl Reduce for Max {
    #[inline(always)]
    unsafe fn join<S: Simd>(a: S::V, b: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { S::max(a, b) }
    }
    #[inline(always)]
    unsafe fn beyond<S: Simd>(edge: S::V) -> S::V {
        edge
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(v: S::V, _: f32) -> S::V {
        v
    }
}

struct Average;
impl Reduce for Average {
    #[inline(always)]
    unsafe fn join<S: Simd>(a: S::V, b: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { S::add(a, b) }
    }
    #[inline(always)]
    unsafe fn beyond<S: Simd>(_: S::V) -> S::V {
        // SAFETY: see above.
        unsafe { S::splat(0.0) }
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(v: S::V, share: f32) -> S::V {
        // SAFETY: see above.
        unsafe { S::mul(v, S::splat(share)) }
    }
}

/// Columns are reduced once each and then joined, three at a time.
#[inline(always)]
unsafe fn pool<S: Simd, R: Reduce, const STRIDE: usize>(
    window: Window,
    src: *const f32,
    src_pitch: Pitch,
    out: *mut f32,
    out_pitch: Pitch,
    moments: Option<Moments>,
) {
    let Window { height, width, channels, .. } = window;
    let (rows, columns) = (height.div_ceil(STRIDE), width.div_ceil(STRIDE));
    // SAFETY: the contract of the kernels.
    unsafe {
        let mut c = 0;
        while c < channels {
            let pivot = moments.map_or(S::splat(0.0), |m| S::load(m.pivot.add(c)));
            let mut total = [S::splat(0.0); 2];
            for y in 0..rows {
                let (mut sum, mut squares) = (S::splat(0.0), S::splat(0.0));
                let centre = y * STRIDE;
                let (above, below) = (centre > 0, centre + 1 < height);
                let src = src.add(centre * src_pitch.row + c);
                let share_of_rows = share(centre, height);
                macro_rules! column {
                    ($x:expr) => {{
                        let at = src.add($x * src_pitch.column);
                        let mut v = S::load(at);
                        if above {
                            v = R::join::<S>(v, S::load(at.sub(src_pitch.row)));
                        }
                        if below {
                            v = R::join::<S>(v, S::load(at.add(src_pitch.row)));
                        }
                        v
                    }};
                }
                let mut next = column!(0);
                let mut before = R::beyond::<S>(next);
                for x in 0..columns {
                    let centre = x * STRIDE;
                    let middle = if STRIDE == 1 { next } else { column!(centre) };
                    let after = if centre + 1 < width { column!(centre + 1) } else { R::beyond::<S>(middle) };
                    let v = R::join::<S>(R::join::<S>(before, middle), after);
                    let v = R::finish::<S>(v, share_of_rows * share(centre, width));
                    S::store(out.add(y * out_pitch.row + x * out_pitch.column + c), v);
                    let d = S::sub(v, pivot);
                    sum = S::add(sum, d);
                    squares = S::fma(d, d, squares);
                    before = if STRIDE == 1 { middle } else { after };
                    next = after;
                }
                // By rows: the error does not grow with the size of the image.
                total = [S::add(total[0], sum), S::add(total[1], squares)];
            }
            if let Some(m) = moments {
                for (to, v) in [m.sums.add(c), m.sums.add(channels + c)].into_iter().zip(total) {
                    S::store(to, S::add(S::load(to), v));
                }
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn max_generic<S: Simd>(
    window: Window,
    src: *const f32,
    src_pitch: Pitch,
    out: *mut f32,
    out_pitch: Pitch,
    moments: Option<Moments>,
) {
    // SAFETY: the contract of `max`.
    unsafe {
        match window.stride {
            1 => pool::<S, Max, 1>(window, src, src_pitch, out, out_pitch, moments),
            _ => pool::<S, Max, 2>(window, src, src_pitch, out, out_pitch, moments),
        }
    }
}

dispatch! {
    /// Max pooling of `src` into `out` of [`Window::outputs`]; NaN where a pixel of the window is.
    /// `moments`: sums over the outputs are added.
    max(window: Window, src: *const f32, src_pitch: Pitch, out: *mut f32, out_pitch: Pitch, moments: Option<Moments>) = max_generic
}

#[inline(always)]
unsafe fn average_generic<S: Simd>(
    window: Window,
    src: *const f32,
    src_pitch: Pitch,
    out: *mut f32,
    out_pitch: Pitch,
    moments: Option<Moments>,
) {
    // SAFETY: the contract of `average`.
    unsafe {
        match window.stride {
            1 => pool::<S, Average, 1>(window, src, src_pitch, out, out_pitch, moments),
            _ => pool::<S, Average, 2>(window, src, src_pitch, out, out_pitch, moments),
        }
    }
}

dispatch! {
    /// Average pooling of `src` into `out` of [`Window::outputs`], over the pixels that exist.
    /// `moments`: sums over the outputs are added.
    average(window: Window, src: *const f32, src_pitch: Pitch, out: *mut f32, out_pitch: Pitch, moments: Option<Moments>) = average_generic
}

/// `g` where the first of the greatest of three values is, 0 in the other two places.
#[inline(always)]
unsafe fn to_greatest<S: Simd>([a, b, c]: [S::V; 3], g: S::V) -> [S::V; 3] {
    // SAFETY: the instruction set exists by the contract of the kernels.
    unsafe {
        let not_a = S::where_positive(S::sub(S::max(b, c), a), g);
        let to_c = S::where_positive(S::sub(c, b), not_a);
        [S::sub(g, not_a), S::sub(not_a, to_c), to_c]
    }
}

/// The first greatest value in row-major order lies in the first row whose own greatest is the greatest of all, at the
/// first place where that row has it. So a gradient goes to a row and then to a column.
#[inline(always)]
unsafe fn max_grad_strided<S: Simd, const STRIDE: usize>(
    window: Window,
    src: *const f32,
    src_pitch: Pitch,
    dy: *const f32,
    dy_pitch: Pitch,
    dsrc: *mut f32,
    dsrc_pitch: Pitch,
) {
    let Window { height, width, channels, .. } = window;
    let (rows, columns) = (height.div_ceil(STRIDE), width.div_ceil(STRIDE));
    let zero = || {
        // SAFETY: the instruction set exists by contract.
        unsafe { S::splat(0.0) }
    };
    // SAFETY: the contract of `max_grad`.
    unsafe {
        let mut c = 0;
        while c < channels {
            for y in 0..rows {
                let centre = y * STRIDE;
                // A row beyond the border repeats the middle one, which wins or loses in its place.
                let (above, below) = (centre > 0, centre + 1 < height);
                let row_of = [if above { centre - 1 } else { centre }, centre, if below { centre + 1 } else { centre }];
                let exists = [above, true, below];
                let s = row_of.map(|r| src.add(r * src_pitch.row + c));
                let d = row_of.map(|r| dsrc.add(r * dsrc_pitch.row + c));
                let add = |r: usize, x: usize, v: S::V| {
                    let at = d[r].add(x * dsrc_pitch.column);
                    S::store(at, S::add(S::load(at), v));
                };
                // The columns of the window, the first repeated where it has no left neighbour.
                let mut v = s.map(|s| [S::load(s); 3]);
                // What awaits the columns left of the centre and at it.
                let mut pending = [[zero(); 2]; 3];
                for x in 0..columns {
                    let centre = x * STRIDE;
                    let mut greatest = [zero(); 3];
                    for r in 0..3 {
                        let [_, b, c] = v[r];
                        let middle = if STRIDE == 1 { c } else { S::load(s[r].add(centre * src_pitch.column)) };
                        let after = if centre + 1 < width {
                            S::load(s[r].add((centre + 1) * src_pitch.column))
                        } else {
                            middle
                        };
                        v[r] = if STRIDE == 1 { [b, middle, after] } else { [c, middle, after] };
                        greatest[r] = S::max(S::max(v[r][0], v[r][1]), v[r][2]);
                    }
                    let g = S::load(dy.add(y * dy_pitch.row + x * dy_pitch.column + c));
                    let mut g = to_greatest::<S>(greatest, g);
                    if !above {
                        g[1] = S::add(g[0], g[1]);
                    }
                    for r in 0..3 {
                        if exists[r] {
                            let [left, middle, right] = to_greatest::<S>(v[r], g[r]);
                            let [a, b] = pending[r];
                            let middle = if x > 0 {
                                add(r, centre - 1, S::add(a, left));
                                S::add(b, middle)
                            } else {
                                S::add(left, middle)
                            };
                            if STRIDE == 1 {
                                pending[r] = [middle, right];
                            } else {
                                add(r, centre, middle);
                                pending[r] = [right, zero()];
                            }
                        }
                    }
                }
                let last = (columns - 1) * STRIDE + STRIDE - 1;
                for r in 0..3 {
                    if exists[r] && last < width {
                        add(r, last, pending[r][0]);
                    }
                }
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn max_grad_generic<S: Simd>(
    window: Window,
    src: *const f32,
    src_pitch: Pitch,
    dy: *const f32,
    dy_pitch: Pitch,
    dsrc: *mut f32,
    dsrc_pitch: Pitch,
) {
    // SAFETY: the contract of `max_grad`.
    unsafe {
        match window.stride {
            1 => max_grad_strided::<S, 1>(window, src, src_pitch, dy, dy_pitch, dsrc, dsrc_pitch),
            _ => max_grad_strided::<S, 2>(window, src, src_pitch, dy, dy_pitch, dsrc, dsrc_pitch),
        }
    }
}

dispatch! {
    /// `dsrc += ` the gradient of [`max`], whose source is `src`: each `dy` to the first greatest pixel of its window in
    /// row-major order.
    max_grad(window: Window, src: *const f32, src_pitch: Pitch, dy: *const f32, dy_pitch: Pitch, dsrc: *mut f32, dsrc_pitch: Pitch) = max_grad_generic
}

#[inline(always)]
unsafe fn average_grad_strided<S: Simd, const STRIDE: usize>(
    window: Window,
    dy: *const f32,
    dy_pitch: Pitch,
    dsrc: *mut f32,
    dsrc_pitch: Pitch,
) {
    let Window { height, width, channels, .. } = window;
    let (rows, columns) = (height.div_ceil(STRIDE), width.div_ceil(STRIDE));
    // SAFETY: the contract of `average_grad`.
    unsafe {
        let mut c = 0;
        while c < channels {
            for row in 0..height {
                // The outputs whose windows reach this row: one, two next to each other, or three.
                let first = row.saturating_sub(1).div_ceil(STRIDE);
                let end = ((row + 1) / STRIDE + 1).min(rows);
                let weights = [0, 1, 2].map(|i| S::splat(share((first + i) * STRIDE, height)));
                let dy = dy.add(first * dy_pitch.row + c);
                macro_rules! column {
                    ($x:expr) => {{
                        let at = dy.add($x * dy_pitch.column);
                        let mut v = S::mul(S::load(at), weights[0]);
                        for i in 1..3 {
                            if first + i < end {
                                v = S::fma(S::load(at.add(i * dy_pitch.row)), weights[i], v);
                            }
                        }
                        S::mul(v, S::splat(share($x * STRIDE, width)))
                    }};
                }
                let dsrc = dsrc.add(row * dsrc_pitch.row + c);
                let (mut before, mut middle) = (S::splat(0.0), column!(0));
                for x in 0..columns {
                    let after = if x + 1 < columns { column!(x + 1) } else { S::splat(0.0) };
                    let at = dsrc.add(x * STRIDE * dsrc_pitch.column);
                    if STRIDE == 1 {
                        S::store(at, S::add(S::load(at), S::add(S::add(before, middle), after)));
                    } else {
                        S::store(at, S::add(S::load(at), middle));
                        if x * STRIDE + 1 < width {
                            let at = at.add(dsrc_pitch.column);
                            S::store(at, S::add(S::load(at), S::add(middle, after)));
                        }
                    }
                    (before, middle) = (middle, after);
                }
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn average_grad_generic<S: Simd>(
    window: Window,
    dy: *const f32,
    dy_pitch: Pitch,
    dsrc: *mut f32,
    dsrc_pitch: Pitch,
) {
    // SAFETY: the contract of `average_grad`.
    unsafe {
        match window.stride {
            1 => average_grad_strided::<S, 1>(window, dy, dy_pitch, dsrc, dsrc_pitch),
            _ => average_grad_strided::<S, 2>(window, dy, dy_pitch, dsrc, dsrc_pitch),
        }
    }
}

dispatch! {
    /// `dsrc += ` the adjoint of [`average`] of `dy`.
    average_grad(window: Window, dy: *const f32, dy_pitch: Pitch, dsrc: *mut f32, dsrc_pitch: Pitch) = average_grad_generic
}

#[cfg(test)]
mod tests;
