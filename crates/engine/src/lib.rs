//! Networks of cells and the engine that computes them: forward, hand-derived backward, optimiser.
//!
//! The crate knows cells, edges and operations, and nothing of search methods: the caller passes the
//! mixing weights `w: [R, O]` in and gets the loss and `dL/dw: [R, O]` out. A discrete network is the same
//! thing with one operation alive on each edge. A [`NetworkSpec`] says what a network is, its [`Graph`] is what everyone
//! walks; what any engine promises is in [`contract`]; this crate's own is made by [`CpuEngines`].
//!
//! A network of one cell with one edge, that learns to mix a convolution and a skip connection:
//!
//! ```
//! use hpe_darts_engine::*;
//!
//! let edges = vec![Edge { from: 0, to: 1 }];
//! let cell = CellSpec { inputs: 1, nodes: 2, edges, stride: 1, auxiliary_skips: false, output: CellOutput::LastNode };
//! let place = CellBlock { cell: 0, first_row: 0, channels: 4, preprocess: vec![Preprocess::None] };
//! let spec = NetworkSpec {
//!     image: ImageShape { height: 8, width: 8, channels: 3 },
//!     classes: 2,
//!     ops: vec![Op::Conv3x3, Op::Skip],
//!     cells: vec![cell],
//!     rows: 1,
//!     stem_channels: 4,
//!     stem_stride: 1,
//!     blocks: vec![Block { name: "cell".to_owned(), kind: BlockKind::Cell(place) }],
//!     head: Head::NormRelu,
//!     auxiliary: None,
//!     norm: OpNorm { affine: false, pools: false },
//!     partial: 1,
//!     alive: vec![true; 2],
//! };
//! let mut network = CpuEngines::new(Options { threads: 1, kernels: Kernels::Auto })?.build(&spec, 0)?;
//!
//! // Two images, a dark one of class 0 and a bright one of class 1.
//! let images: Vec<f32> = [-1.0, 1.0].iter().flat_map(|&v| [v; 8 * 8 * 3]).collect();
//! let batch = Batch { images: &images, labels: &[0, 1] };
//! let sgd = Sgd { momentum: 0.9, weight_decay: 3e-4, clip_norm: Some(5.0), nesterov: false };
//! let mut losses = vec![];
//! for _ in 0..20 {
//!     let step = network.train_step(batch, Pass::new(&[0.5, 0.5]), Gradients::Both)?;
//!     assert_eq!(step.mixing_grad.len(), spec.mixing_len()); // dL/dw: [E, O]
//!     network.sgd_step(&sgd, 0.1);
//!     losses.push(step.loss);
//! }
//! assert!(losses[19] < losses[0] / 2.0, "{losses:?}");
//! # Ok::<(), EngineError>(())
//! ```

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
