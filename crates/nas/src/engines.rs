//! The one place that chooses which engine computes.

use engine::{CpuEngines, EngineError, Engines, Options};

pub use engine::{Kernels, peak_gflops};

/// Engines on the processor with `threads` threads, on which results do not depend, and the fastest kernels.
///
/// # Errors
/// [`EngineError::Threads`], [`EngineError::Simd`].
pub fn cpu(threads: usize) -> Result<Box<dyn Engines>, EngineError> {
    cpu_with(threads, Kernels::Auto)
}

/// The same with a choice of kernels.
///
/// # Errors
/// As [`cpu`].
pub fn cpu_with(threads: usize, kernels: Kernels) -> Result<Box<dyn Engines>, EngineError> {
    Ok(Box::new(CpuEngines::new(Options { threads, kernels })?))
}
