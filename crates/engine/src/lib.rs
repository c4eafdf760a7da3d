//! Fused CPU engine for cell-based supernets: forward, hand-derived backward, optimiser.
//!
//! The engine knows cells, edges and operations, and nothing of search methods: the caller passes the
//! mixing weights `w: [E, O]` in and gets the loss and `dL/dw: [E, O]` out. A discrete network is the same
//! thing with one operation alive on each edge.

mod buffer;
mod codes;
mod error;
mod kernels;
mod layers;
mod network;
mod optim;
mod params;
mod run;
mod simd;
mod spec;

pub use error::EngineError;
pub use kernels::peak::peak_gflops;
pub use network::{
    Batch, CodeDistances, Codes, Distances, Evaluation, Gradients, Kernels, Network, Normalisation, Options,
    StepOutput, TensorState,
};
pub use optim::Sgd;
pub use simd::Isa;
pub use spec::*;
