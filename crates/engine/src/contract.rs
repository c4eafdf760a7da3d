//! What any engine promises: the trait that searches run on, and the factory that makes engines.
//!
//! An engine computes a [`NetworkSpec`]; the caller never sees where its weights live or how a pass is run. Between them
//! pass the mixing weights `w: [E, O]`, a mask of what is run, batches, and named tensors. "Bit-identical" is promised
//! per engine and instruction set ([`EngineInfo`]); the laws in `tests/suite/conformance` hold every engine to the
//! rest.

use std::fmt;

use crate::{EngineError, NetworkSpec};

/// A mini-batch.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// `[n, H, W, C]`, normalised.
    pub images: &'a [f32],
    /// `[n]` class indices.
    pub labels: &'a [u32],
}

/// How the operations take part in a pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pass<'a> {
    /// Mixing weights `[E, O]`, row-major. Entries of operations that are not alive are ignored.
    pub w: &'a [f32],
    /// `[E, O]`: an operation that is not run costs nothing although it is alive, as if its weight were 0, and its
    /// gradients are 0. `None`: all that are alive run.
    pub run: Option<&'a [bool]>,
    /// Drops whole paths at random, in any pass that has it. `None`: none.
    pub drop_path: Option<DropPath>,
    /// Weight of the auxiliary head's cross-entropy in the loss of a training step (DARTS: 0.4). With 0, and outside
    /// training steps, that head costs nothing. Ignored by a network that has none.
    pub auxiliary: f32,
}

impl<'a> Pass<'a> {
    /// Everything that is alive but an auxiliary head, mixed by `w: [E, O]`.
    pub fn new(w: &'a [f32]) -> Self {
        Self { w, run: None, drop_path: None, auxiliary: 0.0 }
    }

    /// The same pass with this run mask, `[E, O]`.
    pub fn only(self, run: &'a [bool]) -> Self {
        Self { run: Some(run), ..self }
    }
}

/// Drop-path (Larsson et al. 2017, as DARTS retrains): the output of each operation but the identity (`skip_connect` of
/// stride 1) is 0 for a sample with probability `rate`, and is scaled by `1 / (1 - rate)` otherwise, independently for
/// each cell, edge and operation.
///
/// What is drawn depends on the seed, the name of the layer that makes the output, and the sample's position in the batch
/// only: sample `i` is dropped where the `i`-th number of ChaCha8, seeded with `seed`, in the stream that the name's 64-bit
/// FNV-1a hash numbers, is below the rate; a number is the upper 24 of 32 bits, over 2^24.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPath {
    /// Probability in `[0, 1)`.
    pub rate: f32,
    /// What the choice is drawn from.
    pub seed: u64,
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
    /// Mean cross-entropy over the batch, in nats; with [`Pass::auxiliary`] times that of the auxiliary head added.
    pub loss: f64,
    /// Correctly classified samples (top-1).
    pub correct: usize,
    /// `dL/dw`, `[E, O]` row-major; zeros where not asked for and for operations that are not alive or not run.
    pub mixing_grad: Vec<f64>,
    /// `[E]`: sum of `dL/d(output of the edge)` over samples, pixels, channels and cells, the gradient of a number that
    /// is added to the edge's output. Methods that run one operation of an edge, and whose weights for the others are 0
    /// but carry gradients (GDAS), need it. Zeros where `dL/dw` is not asked for.
    pub edge_grad: Vec<f64>,
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
    /// (input of the ReLU > 0) of every ReLU of the network but an auxiliary head's; of an operation that is not run, or has
    /// `w = 0`, that of the ReLU at its beginning, whose input is there all the same.
    ReluInputs,
}

/// Pairwise Hamming distances between the binary codes of the samples of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeDistances {
    /// Samples `n`.
    pub samples: usize,
    /// Per `(edge, op)`, `[E, O]` row-major, summed over all cells. `None` for an operation without a code.
    /// For [`Codes::OpOutputs`] the code of the output; for [`Codes::ReluInputs`] those of the ReLUs in front of its convolutions.
    pub ops: Vec<Option<Distances>>,
    /// For [`Codes::ReluInputs`]: the ReLUs outside the operations (residual blocks, preprocess layers, head). `None`
    /// otherwise, and where there is none.
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

/// A named tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorState {
    /// Dotted name, stable across versions; weights, running statistics and momentum have different prefixes.
    pub name: String,
    /// Sizes, row-major; convolution weights are `[out, in, kh, kw]`.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f32>,
}

/// A vector with one entry per trainable parameter, kept by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vector {
    /// The weights.
    Omega,
    /// `dL/domega` of the last step that computed it.
    Gradient,
    /// The optimiser's momentum.
    Momentum,
    /// A copy under a number of the caller's choice; it exists once [`Engine::combine`] has written it, and is no part of
    /// [`Engine::state`].
    Saved(u8),
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

/// A network with its weights omega, its batch-normalisation statistics and its optimiser.
pub trait Engine: fmt::Debug + Send {
    /// The network; its `alive` mask is the current one.
    fn spec(&self) -> &NetworkSpec;

    /// Runs something else on the engine's threads, once, before it returns. An engine without threads of its own runs it where
    /// it is called.
    fn install(&self, work: &mut (dyn FnMut() + Send)) {
        work();
    }

    /// Number of trainable parameters (weights, scales and shifts, classifier) of what is alive.
    fn parameters(&self) -> usize;

    /// Removes an operation from an edge for good, in every cell: it costs nothing from here on and its memory is freed.
    fn remove_op(&mut self, edge: usize, op: usize);

    /// Forward and backward pass on one batch with the batch's own statistics; running statistics are updated.
    /// The gradients of omega are kept for [`Engine::sgd_step`].
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Label`], [`EngineError::Unsupported`]. A loss that is not finite is
    /// returned as it is.
    fn train_step(&mut self, batch: Batch<'_>, pass: Pass<'_>, gradients: Gradients)
    -> Result<StepOutput, EngineError>;

    /// One optimiser step with the gradients of omega of the last [`Engine::train_step`] that computed them. Returns the
    /// gradient norm before clipping.
    fn sgd_step(&mut self, sgd: &Sgd, lr: f32) -> f64;

    /// Forward pass that keeps nothing. Operations with `w = 0` are skipped.
    ///
    /// # Errors
    /// As [`Engine::train_step`], and [`EngineError::Spec`] for running statistics of a network that has none (a
    /// supernet).
    fn evaluate(&mut self, batch: Batch<'_>, pass: Pass<'_>, norm: Normalisation) -> Result<Evaluation, EngineError>;

    /// The same pass without labels: `[n, classes]`, before softmax. `images: [n, H, W, C]`.
    ///
    /// # Errors
    /// As [`Engine::evaluate`].
    fn logits(&mut self, images: &[f32], pass: Pass<'_>, norm: Normalisation) -> Result<Vec<f32>, EngineError>;

    /// Forward pass with batch statistics that compares the binary codes of the samples. `images: [n, H, W, C]`.
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Unsupported`].
    fn code_distances(&mut self, images: &[f32], pass: Pass<'_>, codes: Codes) -> Result<CodeDistances, EngineError>;

    /// Everything that a later [`Engine::load_state`] needs to go on bit-identically: weights, running statistics,
    /// momentum.
    fn state(&self) -> Vec<TensorState>;

    /// Restores a saved state. The alive mask must already be that of the saved network.
    ///
    /// # Errors
    /// [`EngineError::State`] for a missing, surplus or misshapen tensor; the network is then unchanged.
    fn load_state(&mut self, tensors: &[TensorState]) -> Result<(), EngineError>;

    /// The tensors of a vector, by the names of the weights.
    ///
    /// # Errors
    /// [`EngineError::NoVector`].
    fn tensors(&self, vector: Vector) -> Result<Vec<TensorState>, EngineError>;

    /// `to = sum of factor * vector` over the terms, which may contain `to`; no terms make it 0. A step along a gradient
    /// is `combine(Omega, &[(1.0, Omega), (-epsilon, Gradient)])`.
    ///
    /// # Errors
    /// [`EngineError::NoVector`]; nothing is then changed.
    fn combine(&mut self, to: Vector, terms: &[(f32, Vector)]) -> Result<(), EngineError>;

    /// Euclidean norm.
    ///
    /// # Errors
    /// [`EngineError::NoVector`].
    fn norm(&self, vector: Vector) -> Result<f64, EngineError>;
}

/// Bytes that a network takes, beside the batches that it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weights, their gradients and momentum, and what the engine makes of them for its kernels.
    pub weights: u64,
    /// What a pass over a batch leaves for the backward pass, or needs to the end.
    pub activations: u64,
    /// Gradients of activations, sums and other room that passes work in.
    pub work: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.activations).saturating_add(self.work)
    }
}

/// What computes: recorded with a run, because bits are promised only for the same engine and instruction set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInfo {
    /// Name of the engine.
    pub engine: &'static str,
    /// Instruction set of its kernels.
    pub instruction_set: String,
    /// Which of its kernels run.
    pub kernels: String,
    /// Worker threads; results do not depend on them.
    pub threads: usize,
}

/// Makes engines that share one set of resources: one pool of threads, however many networks.
pub trait Engines: fmt::Debug + Send + Sync {
    /// A network with PyTorch's default initialisation (uniform in +-1/sqrt(fan in)) drawn from `seed`; a tensor's values
    /// depend on the seed and its name only.
    ///
    /// # Errors
    /// [`EngineError::Spec`], [`EngineError::Unsupported`].
    fn build(&self, spec: &NetworkSpec, seed: u64) -> Result<Box<dyn Engine>, EngineError>;

    /// What a network will take once it has trained on batches of `train` images (0: it never does) and has been run on
    /// batches of `evaluate`, counted without taking it.
    ///
    /// # Errors
    /// As [`Engines::build`].
    fn memory(&self, spec: &NetworkSpec, train: usize, evaluate: usize) -> Result<Memory, EngineError>;

    /// What its engines compute with.
    fn info(&self) -> EngineInfo;
}
