//! Passes over activations that are not convolutions: mixing, padding, pooling, sums for the backward pass.
//!
//! One image is `[H, W, channels]`, channels padded to a multiple of 16.

use crate::cpu::simd::{Isa, Simd, dispatch};

/// One summand of [`mix`]: a tensor and its scale per channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) src: *const f32,
    /// `[channels]`
    pub(crate) scale: *const f32,
}

#[inline(always)]
unsafe fn mix_generic<S: Simd>(out: *mut f32, terms: &[Term], shift: *const f32, pixels: usize, channels: usize) {
    const P: usize = 4;
    // SAFETY: the contract of `mix`.
    unsafe {
        let mut px = 0;
        while px + P <= pixels {
            let mut c = 0;
            while c < channels {
                let o = px * channels + c;
                let mut acc = [S::load(shift.add(c)); P];
                for t in terms {
                    let (src, scale) = (t.src.add(o), S::load(t.scale.add(c)));
                    for (i, acc) in acc.iter_mut().enumerate() {
                        *acc = S::fma(S::load(src.add(i * channels)), scale, *acc);
                    }
                }
                for (i, acc) in acc.into_iter().enumerate() {
                    S::store(out.add(o + i * channels), acc);
                }
                c += S::LANES;
            }
            px += P;
        }
        while px < pixels {
            let mut c = 0;
            while c < channels {
                let o = px * channels + c;
                let mut acc = S::load(shift.add(c));
                for t in terms {
                    acc = S::fma(S::load(t.src.add(o)), S::load(t.scale.add(c)), acc);
                }
                S::store(out.add(o), acc);
                c += S::LANES;
            }
            px += 1;
        }
    }
}

dispatch! {
    /// `out = shift + sum over terms of scale * src`, per channel. `out` may be one of the sources.
    mix(out: *mut f32, terms: &[Term], shift: *const f32, pixels: usize, channels: usize) = mix_generic
}

#[inline(always)]
unsafe fn pad_generic<S: Simd>(src: *const f32, height: usize, row: usize, relu: bool, dst: *mut f32, dst_row: usize) {
    // SAFETY: the contract of `pad`.
    unsafe {
        for y in 0..height {
            let (s, d) = (src.add(y * row), dst.add(y * dst_row));
            let mut k = 0;
            while k < row {
                let v = S::load(s.add(k));
                S::store(d.add(k), if relu { S::relu(v) } else { v });
                k += S::LANES;
            }
        }
    }
}

dispatch! {
    /// Copies rows of `row` values (a multiple of 16) to rows `dst_row` apart, with ReLU if asked for.
    pad(src: *const f32, height: usize, row: usize, relu: bool, dst: *mut f32, dst_row: usize) = pad_generic
}

#[inline(always)]
unsafe fn scale_shift_relu_generic<S: Simd>(
    src: *const f32,
    scale: *const f32,
    shift: *const f32,
    height: usize,
    width: usize,
    channels: usize,
    dst: *mut f32,
    dst_row: usize,
) {
    // SAFETY: the contract of `scale_shift_relu`.
    unsafe {
        for y in 0..height {
            for x in 0..width {
                let mut c = 0;
                while c < channels {
                    let v = S::load(src.add((y * width + x) * channels + c));
                    let v = S::fma(v, S::load(scale.add(c)), S::load(shift.add(c)));
                    S::store(dst.add(y * dst_row + x * channels + c), S::relu(v));
                    c += S::LANES;
                }
            }
        }
    }
}

dispatch! {
    /// `dst = relu(scale * src + shift)` per channel, to rows `dst_row` apart.
    scale_shift_relu(src: *const f32, scale: *const f32, shift: *const f32, height: usize, width: usize, channels: usize, dst: *mut f32, dst_row: usize) = scale_shift_relu_generic
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn rows_generic<S: Simd>(
    src: *const f32,
    src_row: usize,
    count: usize,
    len: usize,
    dst: *mut f32,
    dst_row: usize,
    add: bool,
) {
    // SAFETY: the contract of `rows`.
    unsafe {
        for y in 0..count {
            let (s, d) = (src.add(y * src_row), dst.add(y * dst_row));
            let mut k = 0;
            while k < len {
                let v = S::load(s.add(k));
                S::store(d.add(k), if add { S::add(S::load(d.add(k)), v) } else { v });
                k += S::LANES;
            }
        }
    }
}

dispatch! {
    /// `dst (+)= src`, `count` rows of `len` values (a multiple of 16), `src_row` and `dst_row` apart.
    rows(src: *const f32, src_row: usize, count: usize, len: usize, dst: *mut f32, dst_row: usize, add: bool) = rows_generic
}

/// Where and how [`box_sum`] weighs: `1 / count` of the 3x3 window, before or after the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pool {
    /// `dst = sum / count`: 3x3 average pooling.
    Average,
    /// `dst += sum / count`.
    AddAverage,
    /// `dst += sum of (src / count)`: its adjoint.
    AddAdjoint,
}

/// 1 / (pixels of a window of 3 around `i` that lie in `0..n`).
fn inverse_count(i: usize, n: usize) -> f32 {
    1.0 / (1 + usize::from(i > 0) + usize::from(i + 1 < n)) as f32
}

#[inline(always)]
unsafe fn box_sum_generic<S: Simd>(
    src: *const f32,
    dst: *mut f32,
    height: usize,
    width: usize,
    channels: usize,
    pool: Pool,
    row: *mut f32,
) {
    // SAFETY: the contract of `box_sum`.
    unsafe {
        let n = width * channels;
        for y in 0..height {
            // Vertical sums of this row, in `row` with one zero pixel on each side.
            let r = row.add(channels);
            let weight = |h: usize| if pool == Pool::AddAdjoint { inverse_count(h, height) } else { 1.0 };
            let (above, below) = (y > 0, y + 1 < height);
            let (wa, wm, wb) = (
                S::splat(if above { weight(y - 1) } else { 0.0 }),
                S::splat(weight(y)),
                S::splat(if below { weight(y + 1) } else { 0.0 }),
            );
            let mut k = 0;
            while k < n {
                let p = src.add(y * n + k);
                let mut s = S::mul(S::load(p), wm);
                if above {
                    s = S::fma(S::load(p.sub(n)), wa, s);
                }
                if below {
                    s = S::fma(S::load(p.add(n)), wb, s);
                }
                S::store(r.add(k), s);
                k += S::LANES;
            }
            if pool == Pool::AddAdjoint {
                for x in 0..width {
                    let w = S::splat(inverse_count(x, width));
                    let mut c = 0;
                    while c < channels {
                        let p = r.add(x * channels + c);
                        S::store(p, S::mul(S::load(p), w));
                        c += S::LANES;
                    }
                }
            }
            let h = inverse_count(y, height);
            for x in 0..width {
                let w = S::splat(h * inverse_count(x, width));
                let mut c = 0;
                while c < channels {
                    let p = row.add(x * channels + c);
                    let s = S::add(S::load(p), S::add(S::load(p.add(channels)), S::load(p.add(2 * channels))));
                    let d = dst.add((y * width + x) * channels + c);
                    match pool {
                        Pool::Average => S::store(d, S::mul(s, w)),
                        Pool::AddAverage => S::store(d, S::fma(s, w, S::load(d))),
                        Pool::AddAdjoint => S::store(d, S::add(S::load(d), s)),
                    }
                    c += S::LANES;
                }
            }
        }
    }
}

dispatch! {
    /// 3x3 box sum of one image with the window clipped at the border. `row: [(width + 2) * channels]` scratch whose
    /// first and last pixel are zeros.
    box_sum(src: *const f32, dst: *mut f32, height: usize, width: usize, channels: usize, pool: Pool, row: *mut f32) = box_sum_generic
}

#[inline(always)]
unsafe fn correlate_generic<S: Simd>(g: *const f32, terms: &[Term], pixels: usize, channels: usize, sums: *mut f32) {
    // SAFETY: the contract of `correlate`.
    unsafe {
        let mut c = 0;
        while c < channels {
            let (mut a, mut b) = (S::splat(0.0), S::splat(0.0));
            let mut px = 0;
            while px + 2 <= pixels {
                a = S::add(a, S::load(g.add(px * channels + c)));
                b = S::add(b, S::load(g.add((px + 1) * channels + c)));
                px += 2;
            }
            if px < pixels {
                a = S::add(a, S::load(g.add(px * channels + c)));
            }
            S::store(sums.add(c), S::add(a, b));
            c += S::LANES;
        }
        for (i, group) in terms.chunks(4).enumerate() {
            let sums = sums.add((1 + 4 * i) * channels);
            macro_rules! group {
                ($n:literal) => {{
                    let mut c = 0;
                    while c < channels {
                        let mut means = [S::splat(0.0); $n];
                        for (m, t) in means.iter_mut().zip(group) {
                            *m = S::load(t.scale.add(c));
                        }
                        let mut acc = [[S::splat(0.0); 2]; $n];
                        let mut px = 0;
                        while px < pixels {
                            for half in 0..2 {
                                if px + half < pixels {
                                    let o = (px + half) * channels + c;
                                    let gv = S::load(g.add(o));
                                    for (n, t) in group.iter().enumerate().take($n) {
                                        acc[n][half] =
                                            S::fma(gv, S::sub(S::load(t.src.add(o)), means[n]), acc[n][half]);
                                    }
                                }
                            }
                            px += 2;
                        }
                        for (n, acc) in acc.into_iter().enumerate() {
                            S::store(sums.add(n * channels + c), S::add(acc[0], acc[1]));
                        }
                        c += S::LANES;
                    }
                }};
            }
            match group.len() {
                1 => group!(1),
                2 => group!(2),
                3 => group!(3),
                _ => group!(4),
            }
        }
    }
}

dispatch! {
    /// `sums[0] = sum of g`, `sums[1 + i] = sum of g * (src_i - scale_i)`, over the pixels of one image, per channel.
    /// `sums: [1 + terms][channels]` is overwritten.
    correlate(g: *const f32, terms: &[Term], pixels: usize, channels: usize, sums: *mut f32) = correlate_generic
}

/// Coefficients of the backward pass of batch normalisation, `[channels]` each: `dy = a * g + b * (y - mean) + d`.
/// Centred, so that a mean much larger than the deviation does not cancel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormGrad {
    pub(crate) a: *const f32,
    pub(crate) b: *const f32,
    pub(crate) d: *const f32,
    pub(crate) mean: *const f32,
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn norm_grad_generic<S: Simd>(
    g: *const f32,
    y: *const f32,
    coefficients: NormGrad,
    height: usize,
    width: usize,
    channels: usize,
    dst: *mut f32,
    dst_row: usize,
    dst_column: usize,
) {
    // SAFETY: the contract of `norm_grad`.
    unsafe {
        let mut c = 0;
        while c < channels {
            let load = |p: *const f32| S::load(p.add(c));
            let NormGrad { a, b, d, mean } = coefficients;
            let (a, b, d, mean) = (load(a), load(b), load(d), load(mean));
            for h in 0..height {
                let o = h * width * channels + c;
                let (g, y, dst) = (g.add(o), y.add(o), dst.add(h * dst_row + c));
                for x in 0..width {
                    let centred = S::sub(S::load(y.add(x * channels)), mean);
                    let v = S::fma(S::load(g.add(x * channels)), a, S::fma(centred, b, d));
                    S::store(dst.add(x * dst_column), v);
                }
            }
            c += S::LANES;
        }
    }
}

dispatch! {
    /// `dst = a * g + b * (y - mean) + d` per channel, to a padded image whose pixels are `dst_column` apart.
    norm_grad(g: *const f32, y: *const f32, coefficients: NormGrad, height: usize, width: usize, channels: usize, dst: *mut f32, dst_row: usize, dst_column: usize) = norm_grad_generic
}

#[inline(always)]
unsafe fn add_where_positive_generic<S: Simd>(
    dst: *mut f32,
    x: *const f32,
    v: *const f32,
    height: usize,
    row: usize,
    v_row: usize,
) {
    // SAFETY: the contract of `add_where_positive`.
    unsafe {
        for h in 0..height {
            let (d, x, v) = (dst.add(h * row), x.add(h * row), v.add(h * v_row));
            let mut k = 0;
            while k < row {
                let add = S::where_positive(S::load(x.add(k)), S::load(v.add(k)));
                S::store(d.add(k), S::add(S::load(d.add(k)), add));
                k += S::LANES;
            }
        }
    }
}

dispatch! {
    /// `dst += v where x > 0`: the backward pass of ReLU, rows of `row` values, `v` in rows `v_row` apart.
    add_where_positive(dst: *mut f32, x: *const f32, v: *const f32, height: usize, row: usize, v_row: usize) = add_where_positive_generic
}

#[inline(always)]
unsafe fn positive_code_generic<S: Simd>(
    src: *const f32,
    scale: *const f32,
    shift: *const f32,
    pixels: usize,
    channels: usize,
    code: *mut u16,
) {
    // SAFETY: the contract of `positive_code`.
    unsafe {
        for c in (0..channels).step_by(16) {
            let mut coefficients = [(S::splat(0.0), S::splat(0.0)); 2];
            for (i, (a, b)) in coefficients[..16 / S::LANES].iter_mut().enumerate() {
                (*a, *b) = (S::load(scale.add(c + i * S::LANES)), S::load(shift.add(c + i * S::LANES)));
            }
            for px in 0..pixels {
                let o = px * channels + c;
                let mut bits = 0;
                for (i, &(a, b)) in coefficients[..16 / S::LANES].iter().enumerate() {
                    let v = S::fma(S::load(src.add(o + i * S::LANES)), a, b);
                    bits |= S::positive_bits(v) << (i * S::LANES);
                }
                *code.add(o / 16) = bits as u16;
            }
        }
    }
}

dispatch! {
    /// One bit per value, `scale * src + shift > 0`.
    positive_code(src: *const f32, scale: *const f32, shift: *const f32, pixels: usize, channels: usize, code: *mut u16) = positive_code_generic
}

#[inline(always)]
unsafe fn hamming_generic<S: Simd>(a: *const u64, others: *const u64, words: usize, count: usize, out: *mut u32) {
    // SAFETY: the contract of `hamming`.
    unsafe {
        let a = std::slice::from_raw_parts(a, words);
        for j in 0..count {
            let b = std::slice::from_raw_parts(others.add(j * words), words);
            let d: u64 = a.iter().zip(b).map(|(a, b)| u64::from((a ^ b).count_ones())).sum();
            *out.add(j) += d as u32;
        }
    }
}

dispatch! {
    /// As [`hamming`], without the instruction that counts the bits of a whole vector.
    hamming_by_isa(a: *const u64, others: *const u64, words: usize, count: usize, out: *mut u32) = hamming_generic
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512vpopcntdq")]
unsafe fn hamming_vpopcnt(a: *const u64, others: *const u64, words: usize, count: usize, out: *mut u32) {
    // SAFETY: the contract of `hamming`; the features are on.
    unsafe { hamming_generic::<crate::cpu::simd::Avx512>(a, others, words, count, out) }
}

/// Adds the Hamming distances between one code and `count` others, each `words` long.
///
/// # Safety
/// `a` holds `words` words, `others` `count` times as many, `out` `count` values; `isa` is available.
pub(crate) unsafe fn hamming(isa: Isa, a: *const u64, others: *const u64, words: usize, count: usize, out: *mut u32) {
    // SAFETY: the caller's contract; the instruction was detected.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 && is_x86_feature_detected!("avx512vpopcntdq") {
            return hamming_vpopcnt(a, others, words, count, out);
        }
        hamming_by_isa(isa, a, others, words, count, out);
    }
}
