//! Fused CPU engine for cell-based supernets: forward, hand-derived backward, optimiser.
//!
//! The engine knows cells, edges and operations, and nothing of search methods: the caller passes the
//! mixing weights `w: [E, O]` in and gets the loss and `dL/dw: [E, O]` out. A discrete network is the same
//! thing with one operation alive on each edge.

mod error;
mod network;
mod spec;

pub use error::EngineError;
pub use network::{
    Batch, CodeDistances, Codes, Distances, Evaluation, Gradients, Kernels, Network, Normalisation, Options, Sgd,
    StepOutput, TensorState,
};
pub use spec::{CellSpec, Edge, ImageShape, NetworkSpec, Op};
