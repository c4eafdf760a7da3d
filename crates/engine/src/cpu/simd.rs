//! Vectors of f32 behind one trait, chosen at run time.
//!
//! A kernel is written once, generic over [`Simd`] and `#[inline(always)]`; the macro [`dispatch!`] compiles it under
//! `#[target_feature]` for each instruction set of the architecture (AVX-512, AVX2 + FMA; NEON; portable) and picks by [`Isa`]. A plain `cargo build --release`
//! therefore reaches full speed on every machine.

use std::fmt;
use std::str::FromStr;

use crate::error::EngineError;

/// Instruction set that the kernels use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust, vectorised by the compiler for the build's target.
    Portable,
    /// 8 lanes in two registers, every AArch64.
    Neon,
    /// 8 lanes, x86-64 with AVX2 and FMA.
    Avx2,
    /// 16 lanes, x86-64 with AVX-512 F, VL, BW, DQ.
    Avx512,
}

impl Isa {
    /// The best instruction set of this machine; the environment variable `HPE_DARTS_SIMD` (`portable`, `neon`,
    /// `avx2`, `avx512`) asks for a lesser one.
    ///
    /// # Errors
    /// [`EngineError::Simd`] for a wish that is unknown or that this machine cannot run.
    pub fn detect() -> Result<Self, EngineError> {
        let available = Self::available();
        let Some(wish) = std::env::var_os("HPE_DARTS_SIMD").filter(|w| !w.is_empty()) else {
            return Ok(*available.last().unwrap_or(&Isa::Portable));
        };
        let known = wish.to_str().and_then(|w| w.parse().ok()).filter(|isa| available.contains(isa));
        known.ok_or_else(|| {
            let names: Vec<String> = available.iter().map(ToString::to_string).collect();
            EngineError::Simd { wish: wish.to_string_lossy().into_owned(), available: names.join(", ") }
        })
    }

    /// Every instruction set that this machine can run, slowest first.
    pub fn available() -> &'static [Isa] {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("lzcnt")
            {
                let wide = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq");
                return if wide { &[Isa::Portable, Isa::Avx2, Isa::Avx512] } else { &[Isa::Portable, Isa::Avx2] };
            }
            &[Isa::Portable]
        }
        #[cfg(target_arch = "aarch64")]
        {
            &[Isa::Portable, Isa::Neon]
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            &[Isa::Portable]
        }
    }

    /// Values of f32 in one vector of the kernels.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Isa::Portable | Isa::Neon | Isa::Avx2 => 8,
            Isa::Avx512 => 16,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = ();
    fn from_str(s: &str) -> Result<Self, ()> {
        [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512].into_iter().find(|i| i.to_string() == s).ok_or(())
    }
}

/// One vector of f32. Loads and stores are unaligned.
///
/// # Safety
/// Every method may only run where the instruction set of the implementor exists, and pointers must be valid for
/// `LANES` values.
pub(crate) trait Simd: Copy {
    type V: Copy;
    const LANES: usize;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// As `store`, past the caches; `p` is aligned to a vector. [`fence`] follows the last one.
    unsafe fn stream(p: *mut f32, v: Self::V);
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `max(a, 0)`; NaN stays NaN, so that a broken network is noticed.
    unsafe fn relu(a: Self::V) -> Self::V;
    /// The greater; NaN where either is, as in [`Self::relu`].
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `v` where `x > 0`, else 0.
    unsafe fn where_positive(x: Self::V, v: Self::V) -> Self::V;
    /// Bit `i` set where lane `i` is greater than 0.
    unsafe fn positive_bits(x: Self::V) -> u32;
}

/// Orders what was streamed before what this thread writes next: threads that synchronise with it then see it.
pub(crate) fn fence() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// `[f32; 8]`, left to the compiler.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

macro_rules! lanes {
    (|$i:ident| $e:expr) => {{
        let mut r = [0f32; 8];
        for ($i, r) in r.iter_mut().enumerate() {
            *r = $e;
        }
        r
    }};
}

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 8] {
        // SAFETY: valid for 8 values by contract.
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 8]) {
        // SAFETY: valid for 8 values by contract.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: [f32; 8]) {
        // SAFETY: valid for 8 values by contract.
        unsafe { Self::store(p, v) }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanes!(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanes!(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanes!(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        // Not mul_add: without the FMA feature that is a library call.
        lanes!(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn relu(a: [f32; 8]) -> [f32; 8] {
        lanes!(|i| if a[i] < 0.0 { 0.0 } else { a[i] })
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanes!(|i| if a[i] > b[i] || a[i].is_nan() { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn where_positive(x: [f32; 8], v: [f32; 8]) -> [f32; 8] {
        lanes!(|i| if x[i] > 0.0 { v[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn positive_bits(x: [f32; 8]) -> u32 {
        let mut m = 0;
        for (i, &x) in x.iter().enumerate() {
            m |= u32::from(x > 0.0) << i;
        }
        m
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// 8 lanes, AVX2 + FMA.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;
    /// 16 lanes, AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    // SAFETY of every block below: the trait's contract, features present and pointers valid for LANES values.
    macro_rules! simd {
        ($t:ty, $v:ty, $lanes:literal, $load:ident, $store:ident, $stream:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident,
         relu: |$ra:ident| $relu:expr, max: |$ma:ident, $mb:ident| $max:expr, positive: |$px:ident, $pv:ident| $pos:expr, bits: |$bx:ident| $bits:expr) => {
            impl Simd for $t {
                type V = $v;
                const LANES: usize = $lanes;
                #[inline(always)]
                unsafe fn load(p: *const f32) -> $v {
                    // SAFETY: see above.
                    unsafe { $load(p) }
                }
                #[inline(always)]
                unsafe fn store(p: *mut f32, v: $v) {
                    // SAFETY: see above.
                    unsafe { $store(p, v) }
                }
                #[inline(always)]
                unsafe fn stream(p: *mut f32, v: $v) {
                    // SAFETY: see above; aligned by contract.
                    unsafe { $stream(p, v) }
                }
                #[inline(always)]
                unsafe fn splat(x: f32) -> $v {
                    // SAFETY: see above.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn add(a: $v, b: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                unsafe fn sub(a: $v, b: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $sub(a, b) }
                }
                #[inline(always)]
                unsafe fn mul(a: $v, b: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $mul(a, b) }
                }
                #[inline(always)]
                unsafe fn fma(a: $v, b: $v, c: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                unsafe fn relu($ra: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $relu }
                }
                #[inline(always)]
                unsafe fn max($ma: $v, $mb: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $max }
                }
                #[inline(always)]
                unsafe fn where_positive($px: $v, $pv: $v) -> $v {
                    // SAFETY: see above.
                    unsafe { $pos }
                }
                #[inline(always)]
                unsafe fn positive_bits($bx: $v) -> u32 {
                    // SAFETY: see above.
                    unsafe { $bits }
                }
            }
        };
    }
    // The second operand of max is returned where one of them is NaN, so the value comes second.
    simd!(Avx2, __m256, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_stream_ps, _mm256_set1_ps, _mm256_add_ps, _mm256_sub_ps,
        _mm256_mul_ps, _mm256_fmadd_ps,
        relu: |a| _mm256_max_ps(_mm256_setzero_ps(), a),
        max: |a, b| _mm256_blendv_ps(_mm256_max_ps(a, b), a, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a)),
        positive: |x, v| _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps()), v),
        bits: |x| _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, _mm256_setzero_ps())) as u32);
    simd!(Avx512, __m512, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_stream_ps, _mm512_set1_ps, _mm512_add_ps, _mm512_sub_ps,
        _mm512_mul_ps, _mm512_fmadd_ps,
        relu: |a| _mm512_max_ps(_mm512_setzero_ps(), a),
        max: |a, b| _mm512_mask_mov_ps(_mm512_max_ps(a, b), _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a), a),
        positive: |x, v| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps()), v),
        bits: |x| u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps())));
}
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Simd;
    use std::arch::aarch64::*;

    /// 8 lanes as two registers of 4. AArch64 has 32 of them, so the kernels find as many vectors as with AVX2.
    #[derive(Clone, Copy)]
    pub(crate) struct Neon;

    macro_rules! both {
        ($f:ident, $($v:ident),+) => {
            float32x4x2_t($f($($v.0),+), $f($($v.1),+))
        };
    }

    // SAFETY of every block below: NEON is part of the target, pointers are valid for LANES values by the trait's contract.
    impl Simd for Neon {
        type V = float32x4x2_t;
        const LANES: usize = 8;
        #[inline(always)]
        unsafe fn load(p: *const f32) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { float32x4x2_t(vld1q_f32(p), vld1q_f32(p.add(4))) }
        }
        #[inline(always)]
        unsafe fn store(p: *mut f32, v: float32x4x2_t) {
            // SAFETY: see above.
            unsafe {
                vst1q_f32(p, v.0);
                vst1q_f32(p.add(4), v.1);
            }
        }
        #[inline(always)]
        unsafe fn stream(p: *mut f32, v: float32x4x2_t) {
            // SAFETY: see above.
            unsafe { Self::store(p, v) }
        }
        #[inline(always)]
        unsafe fn splat(x: f32) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { float32x4x2_t(vdupq_n_f32(x), vdupq_n_f32(x)) }
        }
        #[inline(always)]
        unsafe fn add(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { both!(vaddq_f32, a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { both!(vsubq_f32, a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { both!(vmulq_f32, a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: float32x4x2_t, b: float32x4x2_t, c: float32x4x2_t) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { both!(vfmaq_f32, c, a, b) }
        }
        #[inline(always)]
        unsafe fn relu(a: float32x4x2_t) -> float32x4x2_t {
            // SAFETY: see above.
            unsafe { Self::max(a, Self::splat(0.0)) }
        }
        #[inline(always)]
        unsafe fn max(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t {
            // SAFETY: see above. FMAX gives NaN where either is.
            unsafe { both!(vmaxq_f32, a, b) }
        }
        #[inline(always)]
        unsafe fn where_positive(x: float32x4x2_t, v: float32x4x2_t) -> float32x4x2_t {
            #[inline(always)]
            unsafe fn half(x: float32x4_t, v: float32x4_t) -> float32x4_t {
                // SAFETY: see above.
                unsafe { vreinterpretq_f32_u32(vandq_u32(vcgtzq_f32(x), vreinterpretq_u32_f32(v))) }
            }
            // SAFETY: see above.
            unsafe { both!(half, x, v) }
        }
        #[inline(always)]
        unsafe fn positive_bits(x: float32x4x2_t) -> u32 {
            #[inline(always)]
            unsafe fn half(x: float32x4_t, weights: [u32; 4]) -> u32 {
                // SAFETY: see above; the weights are four values.
                unsafe { vaddvq_u32(vandq_u32(vcgtzq_f32(x), vld1q_u32(weights.as_ptr()))) }
            }
            // SAFETY: see above.
            unsafe { half(x.0, [1, 2, 4, 8]) | half(x.1, [16, 32, 64, 128]) }
        }
    }
}
#[cfg(target_arch = "aarch64")]
pub(crate) use arm::Neon;

/// Defines `$name(isa, args)` that runs the generic kernel `$generic::<S>(args)` compiled for `isa`.
macro_rules! dispatch {
    ($(#[$doc:meta])* $name:ident ( $($arg:ident : $ty:ty),* $(,)? ) = $generic:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As the generic kernel; `isa` must be available on this machine.
        #[allow(clippy::too_many_arguments)]
        pub(crate) unsafe fn $name(isa: $crate::cpu::simd::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: the features are on; the rest is the caller's contract.
                unsafe { $generic::<$crate::cpu::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,popcnt,lzcnt")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: the features are on; the rest is the caller's contract.
                unsafe { $generic::<$crate::cpu::simd::Avx2>($($arg),*) }
            }
            // SAFETY: `isa` is available by contract.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::simd::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::simd::Isa::Avx2 => avx2($($arg),*),
                    // NEON is part of the target: no function of its own.
                    #[cfg(target_arch = "aarch64")]
                    $crate::cpu::simd::Isa::Neon => $generic::<$crate::cpu::simd::Neon>($($arg),*),
                    _ => $generic::<$crate::cpu::simd::Portable>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use dispatch;
