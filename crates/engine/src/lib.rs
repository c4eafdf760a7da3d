//! Fused CPU engine for cell-based supernets: forward, hand-derived backward, optimiser.
//!
//! The engine knows cells, edges and operations, and nothing of search methods: the caller passes the
//! mixing weights `w: [E, O]` in and gets the loss and `dL/dw: [E, O]` out. A discrete network is the same
//! thing with one operation alive on each edge. What any engine promises is in [`contract`]; this crate's own is made by
//! [`CpuEngines`].

mod buffer;
mod codes;
pub mod contract;
mod cpu;
mod error;
mod kernels;
mod optim;
mod params;
mod run;
mod simd;
mod spec;

pub use contract::{
    Batch, CodeDistances, Codes, Distances, DropPath, Engine, EngineInfo, Engines, Evaluation, Gradients,
    Normalisation, Pass, Sgd, StepOutput, TensorState, Vector,
};
pub use cpu::CpuEngines;
pub use error::EngineError;
pub use kernels::peak::peak_gflops;
pub use run::{Kernels, Options};
pub use simd::Isa;
pub use spec::*;
