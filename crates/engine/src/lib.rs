//! Networks of cells and the engine that computes them: forward, hand-derived backward, optimiser.
//!
//! The crate knows cells, edges and operations, and nothing of search methods: the caller passes the
//! mixing weights `w: [R, O]` in and gets the loss and `dL/dw: [R, O]` out. A discrete network is the same
//! thing with one operation alive on each edge. A [`NetworkSpec`] says what a network is, its [`Graph`] is what everyone
//! walks; what any engine promises is in [`contract`]; this crate's own is made by [`CpuEngines`].

mod allocator;
pub mod contract;
mod cpu;
mod error;
pub mod reference;
mod spec;

pub use allocator::ExitWithoutMemory;
pub use contract::{
    Batch, CodeDistances, Codes, Distances, DropPath, Engine, EngineInfo, Engines, Evaluation, Gradients, Memory,
    Normalisation, Pass, Sgd, StepOutput, TensorState, Vector,
};
pub use cpu::{CpuEngines, Isa, Kernels, Options, peak_gflops};
pub use error::EngineError;
pub use spec::*;
