//! What a network is, for everybody who computes, counts, draws or exports one.
//!
//! ```text
//! a space ──► NetworkSpec ──graph()──► Graph ──► engines, cost, names of tensors, reference network, PyTorch, drawings
//!             cells, blocks, head      values, layers
//! ```
//!
//! A [`NetworkSpec`] says what a network is made of; [`Graph`] is the same network as values and layers, with shapes and
//! names. Nothing else spells a network out. A new operation is a variant of [`Op`] with its line in `lower` (`op.rs`).

mod build;
mod cost;
mod graph;
mod network;
mod op;
mod shape;
mod stages;
mod transform;

pub use cost::{Cost, CostTable};
pub use graph::{Graph, Init, Layer, LayerId, LayerKind, Norm, Parameter, Part, Place, Unit, Value, ValueId, Weight};
pub use network::{Block, BlockKind, CellBlock, CellOutput, CellSpec, Edge, Head, NetworkSpec, OpNorm, Preprocess};
pub use op::Op;
pub use shape::ImageShape;
pub use stages::Stages;
pub use transform::{Gather, Transform, Window};
