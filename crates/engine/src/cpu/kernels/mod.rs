//! Kernels: one generic source each, compiled for every instruction set ([`crate::cpu::simd`]), and plain reference loops.

// Register blocks are indexed by row and column; kernels take what they need as plain arguments.
#![allow(clippy::needless_range_loop, clippy::too_many_arguments)]

pub(crate) mod depthwise;
pub(crate) mod elementwise;
#[cfg(test)]
mod factorized_reduce;
pub(crate) mod matmul;
pub(crate) mod panel;
pub(crate) mod peak;
pub(crate) mod pitch;
pub(crate) mod pool;
pub(crate) mod reference;
#[cfg(test)]
mod testing;
pub(crate) mod winograd;
