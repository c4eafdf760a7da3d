//! The one place that chooses which engine computes.

use engine::{CpuEngines, EngineError, Engines, NetworkSpec, Options};

pub use engine::{Kernels, peak_gflops};

use crate::run::Environment;

/// Checks that the engines can compute a network.
///
/// # Errors
/// [`EngineError::Unsupported`].
pub fn supports(spec: &NetworkSpec) -> Result<(), EngineError> {
    CpuEngines::supports(spec)
}

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

/// This process on this machine, with the engine that `threads` of it run.
///
/// # Errors
/// [`EngineError::Simd`].
pub(crate) fn environment(threads: Option<usize>) -> Result<Environment, EngineError> {
    let info = cpu(1)?.info();
    Ok(Environment::here(info.engine, &info.kernels, &info.instruction_set, threads))
}
