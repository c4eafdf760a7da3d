//! The machine's own speed limit, to hold the kernels against.

use std::time::Instant;

use rayon::prelude::*;

use crate::cpu::simd::{Isa, Simd, dispatch};
use crate::error::EngineError;

/// Independent chains: more than latency times ports of any processor, few enough for 16 registers.
const CHAINS: usize = 12;

#[inline(always)]
unsafe fn chains_generic<S: Simd>(steps: usize, result: *mut f32) {
    // SAFETY: the contract of `chains`.
    unsafe {
        let (a, b) = (S::splat(std::hint::black_box(0.999_999)), S::splat(std::hint::black_box(1e-6)));
        let mut acc = [a; CHAINS];
        for _ in 0..steps {
            for v in &mut acc {
                *v = S::fma(*v, a, b);
            }
        }
        let mut sum = acc[0];
        for v in &acc[1..] {
            sum = S::add(sum, *v);
        }
        S::store(result, sum);
    }
}

dispatch! {
    /// `steps` multiply-adds on each of [`CHAINS`] vectors; `result` takes a vector.
    chains(steps: usize, result: *mut f32) = chains_generic
}

/// Multiply-adds that `threads` threads can do, in GFLOP/s (two operations each): the median of several short runs from
/// registers, with the instruction set that the kernels use.
///
/// # Errors
/// [`EngineError::Simd`], [`EngineError::Threads`].
pub fn peak_gflops(threads: usize) -> Result<f64, EngineError> {
    const STEPS: usize = 4_000_000;
    let isa = Isa::detect()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| EngineError::Threads { threads, why: e.to_string() })?;
    let mut rates: Vec<f64> = (0..7)
        .map(|_| {
            let start = Instant::now();
            pool.install(|| {
                (0..threads).into_par_iter().with_max_len(1).for_each(|_| {
                    let mut result = [0f32; 16];
                    // SAFETY: `isa` was detected; the result holds the widest vector.
                    unsafe { chains(isa, STEPS, result.as_mut_ptr()) }
                    std::hint::black_box(result);
                });
            });
            (2 * threads * STEPS * CHAINS * isa.lanes()) as f64 / start.elapsed().as_secs_f64() / 1e9
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    Ok(rates[rates.len() / 2])
}
