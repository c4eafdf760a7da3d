//! The two matrix kernels that all convolutions come down to.
//!
//! [`conv`]: `out[p][column] (+)= sum over taps of src[p][tap] * weights[tap][column]`, for a direct convolution (taps are
//! a few contiguous segments of the padded NHWC image), a 1x1 convolution or one Winograd point.
//! [`weight_grad`]: `dw[tap][column] += sum over p of src[p][tap] * dy[p][column]`, the same geometry turned round.

use super::panel::{BLOCK, Panels};
use crate::cpu::simd::{Simd, dispatch};

/// Positions `p` on a grid and the input values (taps) that belong to each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    /// Grid of output positions.
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Distance in the source between vertically and horizontally adjacent positions, in values.
    pub(crate) row: usize,
    pub(crate) column: usize,
    /// Number of contiguous segments, the distance between them and their length, in values.
    pub(crate) segments: usize,
    pub(crate) segment_step: usize,
    pub(crate) segment_len: usize,
}

impl Taps {
    /// Taps of a `size` x `size` convolution with the given stride over a padded image whose rows are `padded_width`
    /// pixels of `channels` values.
    pub(crate) fn square(
        size: usize,
        stride: usize,
        height: usize,
        width: usize,
        padded_width: usize,
        channels: usize,
    ) -> Self {
        Taps {
            height,
            width,
            row: stride * padded_width * channels,
            column: stride * channels,
            segments: size,
            segment_step: padded_width * channels,
            segment_len: size * channels,
        }
    }

    /// `rows` contiguous vectors of `len` values, `step` apart.
    pub(crate) fn rows(rows: usize, step: usize, len: usize) -> Self {
        Taps { height: 1, width: rows, row: 0, column: step, segments: 1, segment_step: 0, segment_len: len }
    }

    /// Number of taps.
    pub(crate) fn len(&self) -> usize {
        self.segments * self.segment_len
    }
}

/// Sums for batch normalisation, taken while the outputs are in registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    /// `[columns]`, a value near each column's mean: `(y - pivot)` is summed, so that a large mean does not cancel.
    pub(crate) pivot: *const f32,
    /// `[2][columns]`, to which `sum(y - pivot)` and `sum((y - pivot)^2)` are added.
    pub(crate) sums: *mut f32,
}

/// Output of [`conv`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output<'a> {
    /// Per block of 16 columns, the address of position 0.
    pub(crate) blocks: &'a [*mut f32],
    /// Distance between positions, in values.
    pub(crate) step: usize,
    /// Add to what is there.
    pub(crate) accumulate: bool,
    /// Write past the caches, where nobody reads it soon; blocks then start at multiples of 64 bytes, and a
    /// [`crate::cpu::simd::fence`] must follow.
    pub(crate) stream: bool,
    pub(crate) moments: Option<Moments>,
}

impl<'a> Output<'a> {
    /// One position, overwritten; other fields by `..`.
    pub(crate) fn to(blocks: &'a [*mut f32]) -> Self {
        Output { blocks, step: 0, accumulate: false, stream: false, moments: None }
    }
}

/// Pointers to the first tap of `M` consecutive positions; advances the cursor.
#[inline(always)]
unsafe fn positions<const M: usize>(
    taps: &Taps,
    x: &mut usize,
    at: &mut *const f32,
    row_start: &mut *const f32,
) -> [*const f32; M] {
    let mut p = [*at; M];
    for p in &mut p {
        *p = *at;
        *x += 1;
        // SAFETY: stays within the source, or one row past its end where it is not read.
        if *x == taps.width {
            *x = 0;
            *row_start = row_start.wrapping_add(taps.row);
            *at = *row_start;
        } else {
            *at = at.wrapping_add(taps.column);
        }
    }
    p
}

#[inline(always)]
unsafe fn accumulate<S: Simd, const M: usize, const N: usize>(
    taps: &Taps,
    src: &[*const f32; M],
    mut w: *const f32,
    acc: &mut [[S::V; N]; M],
) {
    for segment in 0..taps.segments {
        let offset = segment * taps.segment_step;
        for k in 0..taps.segment_len {
            // SAFETY: the caller's contract: taps within the source, `len * N * LANES` weights.
            unsafe {
                let mut b = [S::splat(0.0); N];
                for (n, b) in b.iter_mut().enumerate() {
                    *b = S::load(w.add(n * S::LANES));
                }
                for m in 0..M {
                    let a = S::splat(*src[m].add(offset + k));
                    for n in 0..N {
                        acc[m][n] = S::fma(a, b[n], acc[m][n]);
                    }
                }
                w = w.add(N * S::LANES);
            }
        }
    }
}

/// One panel of `N` vectors of columns over all positions.
#[inline(always)]
unsafe fn conv_panel<S: Simd, const N: usize>(
    taps: &Taps,
    src: *const f32,
    weights: *const f32,
    out: &[*mut f32; N],
    Output { step, accumulate: add, stream, .. }: Output<'_>,
    moments: Option<([*const f32; N], [*mut f32; N], usize)>,
) {
    // SAFETY: the contract of `conv`.
    unsafe {
        let total = taps.height * taps.width;
        let (mut x, mut at, mut row_start) = (0, src, src);
        let mut done = 0;
        let mut pivot = [S::splat(0.0); N];
        let (mut s1, mut s2) = ([S::splat(0.0); N], [S::splat(0.0); N]);
        if let Some((p, _, _)) = moments {
            for n in 0..N {
                pivot[n] = S::load(p[n]);
            }
        }
        macro_rules! block {
            ($m:literal) => {{
                let p = positions::<$m>(taps, &mut x, &mut at, &mut row_start);
                let mut acc = [[S::splat(0.0); N]; $m];
                if add {
                    for m in 0..$m {
                        for n in 0..N {
                            acc[m][n] = S::load(out[n].add((done + m) * step));
                        }
                    }
                }
                accumulate::<S, $m, N>(taps, &p, weights, &mut acc);
                for m in 0..$m {
                    for n in 0..N {
                        let to = out[n].add((done + m) * step);
                        if stream {
                            S::stream(to, acc[m][n]);
                        } else {
                            S::store(to, acc[m][n]);
                        }
                    }
                }
                if moments.is_some() {
                    for m in 0..$m {
                        for n in 0..N {
                            let d = S::sub(acc[m][n], pivot[n]);
                            s1[n] = S::add(s1[n], d);
                            s2[n] = S::fma(d, d, s2[n]);
                        }
                    }
                }
                done += $m;
            }};
        }
        if S::LANES == 16 {
            while N < 3 && done + 12 <= total && done + 16 != total {
                block!(12);
            }
            while done + 8 <= total {
                block!(8);
            }
        } else {
            while done + 6 <= total {
                block!(6);
            }
        }
        while done + 4 <= total {
            block!(4);
        }
        while done < total {
            block!(1);
        }
        if let Some((_, sums, columns)) = moments {
            for n in 0..N {
                S::store(sums[n], S::add(S::load(sums[n]), s1[n]));
                let q = sums[n].add(columns);
                S::store(q, S::add(S::load(q), s2[n]));
            }
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn conv_generic<S: Simd>(
    taps: &Taps,
    src: *const f32,
    weights: *const f32,
    panels: &Panels,
    out: &Output<'_>,
) {
    let blocks = panels.columns / BLOCK;
    let mut b = 0;
    // SAFETY: the contract of `conv`.
    unsafe {
        while b < blocks {
            let w = weights.add(panels.block(b).0);
            let moment = |c: usize| out.moments.map(|m| (m.pivot.add(c), m.sums.add(c)));
            if S::LANES == BLOCK && panels.blocks == 3 {
                let m = out.moments.map(|m| {
                    let at = [0, 1, 2].map(|i| (b + i) * BLOCK);
                    (at.map(|c| m.pivot.add(c)), at.map(|c| m.sums.add(c)), panels.columns)
                });
                let o = [out.blocks[b], out.blocks[b + 1], out.blocks[b + 2]];
                conv_panel::<S, 3>(taps, src, w, &o, *out, m);
                b += 3;
            } else if S::LANES == BLOCK && panels.blocks == 2 && b + 2 <= blocks {
                let m = moment(b * BLOCK).zip(moment((b + 1) * BLOCK));
                let m = m.map(|(x, y)| ([x.0, y.0], [x.1, y.1], panels.columns));
                conv_panel::<S, 2>(taps, src, w, &[out.blocks[b], out.blocks[b + 1]], *out, m);
                b += 2;
            } else if S::LANES == BLOCK {
                let m = moment(b * BLOCK).map(|x| ([x.0], [x.1], panels.columns));
                conv_panel::<S, 1>(taps, src, w, &[out.blocks[b]], *out, m);
                b += 1;
            } else {
                let m = moment(b * BLOCK).zip(moment(b * BLOCK + S::LANES));
                let m = m.map(|(x, y)| ([x.0, y.0], [x.1, y.1], panels.columns));
                let o = out.blocks[b];
                conv_panel::<S, 2>(taps, src, w, &[o, o.add(S::LANES)], *out, m);
                b += 1;
            }
        }
    }
}

dispatch! {
    /// `out (+)= taps(src) * weights`; `weights` packed as `panels` says. `src` is the first tap of position 0.
    /// All taps, outputs and moments must be valid; outputs must not overlap the source.
    conv(taps: &Taps, src: *const f32, weights: *const f32, panels: &Panels, out: &Output<'_>) = conv_generic
}

/// `M` consecutive taps of one segment against `N` vectors of columns, over `rows` rows of positions.
#[inline(always)]
unsafe fn grad_block<S: Simd, const M: usize, const N: usize>(
    taps: &Taps,
    src: *const f32,
    dy: *const f32,
    dy_row: usize,
    dy_column: usize,
    rows: usize,
    dw: *mut f32,
    add: bool,
) {
    // SAFETY: the contract of `weight_grad`.
    unsafe {
        let mut acc = [[S::splat(0.0); N]; M];
        if add {
            for m in 0..M {
                for n in 0..N {
                    acc[m][n] = S::load(dw.add((m * N + n) * S::LANES));
                }
            }
        }
        for y in 0..rows {
            let (mut a, mut g) = (src.add(y * taps.row), dy.add(y * dy_row));
            for _ in 0..taps.width {
                let mut v = [S::splat(0.0); N];
                for (n, v) in v.iter_mut().enumerate() {
                    *v = S::load(g.add(n * S::LANES));
                }
                for m in 0..M {
                    let x = S::splat(*a.add(m));
                    for n in 0..N {
                        acc[m][n] = S::fma(x, v[n], acc[m][n]);
                    }
                }
                a = a.wrapping_add(taps.column);
                g = g.wrapping_add(dy_column);
            }
        }
        for m in 0..M {
            for n in 0..N {
                S::store(dw.add((m * N + n) * S::LANES), acc[m][n]);
            }
        }
    }
}

#[inline(always)]
unsafe fn grad_panel<S: Simd, const N: usize>(
    taps: &Taps,
    src: *const f32,
    dy: *const f32,
    dy_row: usize,
    dy_column: usize,
    rows: usize,
    dw: *mut f32,
    add: bool,
) {
    let width = N * S::LANES;
    for segment in 0..taps.segments {
        let mut k = 0;
        macro_rules! block {
            ($m:literal) => {{
                // SAFETY: the contract of `weight_grad`.
                unsafe {
                    grad_block::<S, $m, N>(
                        taps,
                        src.add(segment * taps.segment_step + k),
                        dy,
                        dy_row,
                        dy_column,
                        rows,
                        dw.add((segment * taps.segment_len + k) * width),
                        add,
                    );
                }
                k += $m;
            }};
        }
        if S::LANES == 16 {
            while N < 3 && k + 12 <= taps.segment_len && k + 16 != taps.segment_len {
                block!(12);
            }
            while k + 8 <= taps.segment_len {
                block!(8);
            }
        } else {
            while k + 6 <= taps.segment_len {
                block!(6);
            }
        }
        while k + 4 <= taps.segment_len {
            block!(4);
        }
        while k < taps.segment_len {
            block!(1);
        }
    }
}

#[inline(always)]
pub(crate) unsafe fn weight_grad_generic<S: Simd>(
    taps: &Taps,
    src: *const f32,
    dy: *const f32,
    dy_row: usize,
    dy_column: usize,
    panels: &Panels,
    dw: *mut f32,
    accumulate: bool,
) {
    // A few rows at a time: source and dy then stay in the first-level cache for all taps and columns.
    let per = (16 * 1024 / 4 / (taps.width * (taps.column + dy_column)).max(1)).clamp(1, taps.height.max(1));
    let blocks = panels.columns / BLOCK;
    let mut row = 0;
    while row < taps.height {
        let rows = per.min(taps.height - row);
        let mut b = 0;
        // SAFETY: the contract of `weight_grad`.
        unsafe {
            let (s, g) = (src.add(row * taps.row), dy.add(row * dy_row));
            while b < blocks {
                let w = dw.add(panels.block(b).0);
                let g = g.add(b * BLOCK);
                if S::LANES == BLOCK && panels.blocks == 3 {
                    grad_panel::<S, 3>(taps, s, g, dy_row, dy_column, rows, w, accumulate || row > 0);
                    b += 3;
                } else if S::LANES == BLOCK && panels.blocks == 2 && b + 2 <= blocks {
                    grad_panel::<S, 2>(taps, s, g, dy_row, dy_column, rows, w, accumulate || row > 0);
                    b += 2;
                } else if S::LANES == BLOCK {
                    grad_panel::<S, 1>(taps, s, g, dy_row, dy_column, rows, w, accumulate || row > 0);
                    b += 1;
                } else {
                    grad_panel::<S, 2>(taps, s, g, dy_row, dy_column, rows, w, accumulate || row > 0);
                    b += 1;
                }
            }
        }
        row += rows;
    }
}

dispatch! {
    /// `dw (+)= taps(src)^T * dy`; `dw` packed as `panels` says, `dy` `[columns]` per position with the given distances.
    weight_grad(taps: &Taps, src: *const f32, dy: *const f32, dy_row: usize, dy_column: usize, panels: &Panels, dw: *mut f32, accumulate: bool) = weight_grad_generic
}
