#![allow(unused_variables, clippy::unimplemented)] // being built
use crate::{EngineError, NetworkSpec};

/// Which convolution kernels run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The fastest of the others for each shape.
    #[default]
    Auto,
    /// Direct convolution.
    Direct,
    /// Winograd F(4x4, 3x3) for every 3x3 convolution of stride 1.
    Winograd,
    /// Plain loops with f64 sums.
    Reference,
}

/// How a network runs, none of which changes what it computes beyond rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Worker threads, at least 1. Results do not depend on it.
    pub threads: usize,
    /// Convolution kernels.
    pub kernels: Kernels,
}

/// A mini-batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// `[n, H, W, C]`, normalised.
    pub images: &'a [f32],
    /// `[n]` class indices.
    pub labels: &'a [u32],
}

/// Which gradients a step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// `dL/domega` only: operations with `w = 0` are skipped.
    Omega,
    /// `dL/dw` only: no weight gradients.
    Mixing,
    /// Both from one backward pass.
    Both,
}

/// What a training step returns.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutput {
    /// Mean cross-entropy over the batch, in nats.
    pub loss: f64,
    /// Correctly classified samples (top-1).
    pub correct: usize,
    /// `dL/dw`, `[E, O]` row-major; zeros where not asked for and for operations that are not alive.
    pub mixing_grad: Vec<f64>,
}

/// What an evaluation pass returns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy over the batch, in nats.
    pub loss: f64,
    /// Correctly classified samples (top-1).
    pub correct: usize,
}

/// Statistics that batch normalisation uses in an evaluation pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalisation {
    /// Those of the batch itself. Running statistics are neither used nor changed.
    Batch,
    /// Running statistics.
    Running,
}

/// Which binary codes a pass compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// (output of the operation > 0) of every operation with `w != 0`, after batch normalisation, before mixing.
    OpOutputs,
    /// (input of the ReLU > 0) of every ReLU of the network.
    ReluInputs,
}

/// Pairwise Hamming distances between the binary codes of the samples of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeDistances {
    /// Samples `n`.
    pub samples: usize,
    /// Per `(edge, op)`, `[E, O]` row-major, summed over all cells. `None` where there is no code.
    /// For [`Codes::OpOutputs`] the code of the output; for [`Codes::ReluInputs`] that of the ReLU in front of a convolution.
    pub ops: Vec<Option<Distances>>,
    /// For [`Codes::ReluInputs`]: the ReLUs outside the cells (residual blocks, head). `None` otherwise.
    pub outside: Option<Distances>,
}

/// Summed distances of one or more codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distances {
    /// Total code length in bits, the largest distance there can be.
    pub bits: u64,
    /// `[n, n]`, symmetric, zero diagonal.
    pub hamming: Vec<u32>,
}

/// SGD with momentum as PyTorch defines it: `g = clip(grad) + wd * p; v = momentum * v + g; p -= lr * (g + momentum * v)`
/// with Nesterov, `p -= lr * v` without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum factor.
    pub momentum: f32,
    /// Nesterov's form.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// Largest gradient norm over all parameters; a larger one is scaled down. `None`: no clipping.
    pub clip_norm: Option<f32>,
}

/// A named tensor of a saved network.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorState {
    /// Dotted name, stable across versions; weights, running statistics and momentum have different prefixes.
    pub name: String,
    /// Sizes, row-major; convolution weights are `[out, in, kh, kw]`.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f32>,
}

/// A network with its weights `omega`, batch-normalisation statistics and optimiser state.
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
}

impl Network {
    /// A network with PyTorch's default initialisation (uniform in +-1/sqrt(fan in)) drawn from `seed`.
    ///
    /// # Errors
    /// [`EngineError::Spec`], [`EngineError::Threads`].
    pub fn new(spec: &NetworkSpec, seed: u64, options: Options) -> Result<Self, EngineError> {
        unimplemented!()
    }

    /// The specification; its `alive` mask is the current one.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Number of trainable parameters (weights, scales and shifts, classifier).
    pub fn parameters(&self) -> usize {
        unimplemented!()
    }

    /// Removes an operation from an edge for good, in every cell: it costs nothing from here on and its memory is freed.
    pub fn remove_op(&mut self, edge: usize, op: usize) {
        unimplemented!()
    }

    /// Forward and backward pass on one batch with the batch's own statistics; running statistics are updated.
    /// `w: [E, O]` row-major; entries of operations that are not alive are ignored.
    /// The gradients of omega are kept for [`Network::sgd_step`].
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Label`]. A loss that is not finite is returned as it is.
    pub fn train_step(&mut self, batch: Batch<'_>, w: &[f32], gradients: Gradients) -> Result<StepOutput, EngineError> {
        unimplemented!()
    }

    /// One optimiser step with the gradients of the last [`Network::train_step`]. Returns the gradient norm before clipping.
    pub fn sgd_step(&mut self, sgd: &Sgd, lr: f32) -> f64 {
        unimplemented!()
    }

    /// Forward pass that keeps nothing. Operations with `w = 0` are skipped.
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Label`].
    pub fn evaluate(&mut self, batch: Batch<'_>, w: &[f32], norm: Normalisation) -> Result<Evaluation, EngineError> {
        unimplemented!()
    }

    /// Forward pass with batch statistics that compares the binary codes of the samples. `images: [n, H, W, C]`.
    ///
    /// # Errors
    /// [`EngineError::Shape`].
    pub fn code_distances(&mut self, images: &[f32], w: &[f32], codes: Codes) -> Result<CodeDistances, EngineError> {
        unimplemented!()
    }

    /// Gradients of the last training step by parameter name (the names of [`Network::state`]'s weights).
    pub fn gradients(&self) -> Vec<TensorState> {
        unimplemented!()
    }

    /// Everything that a later [`Network::load_state`] needs to go on bit-identically: weights, running statistics, momentum.
    pub fn state(&self) -> Vec<TensorState> {
        unimplemented!()
    }

    /// Restores a saved state. The alive mask must already be that of the saved network.
    ///
    /// # Errors
    /// [`EngineError::State`] for a missing, surplus or misshapen tensor; the network is then unchanged.
    pub fn load_state(&mut self, tensors: &[TensorState]) -> Result<(), EngineError> {
        unimplemented!()
    }
}
