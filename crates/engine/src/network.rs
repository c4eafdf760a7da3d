//! The network: stem, stages of cells, head; one training step, evaluation, codes, saved state.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::buffer::Buf;
use crate::codes::CodeSink;
use crate::kernels::panel::BLOCK;
use crate::kernels::winograd::{MAX_BLOCKS, Tiling};
use crate::layers::cell::{Cell, CellGrads, CellMemory, Template, Wanted};
use crate::layers::head::{Head, Score};
use crate::layers::norm::Norm;
use crate::layers::residual::Residual;
use crate::layers::stem::Stem;
use crate::layers::{Mode, Plane};
use crate::optim::{self, Sgd};
use crate::params::Params;
use crate::run::{Exec, Run, RunMemory};
use crate::simd::Isa;
use crate::{EngineError, NetworkSpec, Stages};

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

/// A stage: the residual block in front (but for the first) and its cells.
#[derive(Debug)]
struct Stage {
    plane: Plane,
    reduce: Option<Residual>,
    cells: Vec<Cell>,
    /// Activations per cell. A pass that keeps nothing uses the first, and `spare` for the output in turn.
    memory: Vec<CellMemory>,
    spare: Buf,
    grads: CellGrads,
}

/// A network with its weights `omega`, batch-normalisation statistics and optimiser state.
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
    exec: Exec,
    pool: Arc<ThreadPool>,
    memory: RunMemory,
    params: Params,
    stem: Stem,
    stages: Vec<Stage>,
    head: Head,
    /// Of a cell, the input included.
    nodes: usize,
}

/// Uniform in +-1/sqrt(fan in), PyTorch's default for convolutions and linear layers. Each tensor has a stream of its
/// own, so that its values depend on the seed and its name only, not on which others exist.
pub(crate) fn initialiser(seed: u64, name: &str) -> impl FnMut(usize) -> f32 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // FNV-1a.
    rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)));
    move |fan_in| {
        let unit = f64::from(rng.next_u32() >> 8) / f64::from(1 << 24);
        ((2.0 * unit - 1.0) / (fan_in as f64).sqrt()) as f32
    }
}

impl Network {
    /// A network with PyTorch's default initialisation (uniform in +-1/sqrt(fan in)) drawn from `seed`; a tensor's
    /// values depend on the seed and its name only.
    ///
    /// # Errors
    /// [`EngineError::Spec`], [`EngineError::Unsupported`], [`EngineError::Threads`].
    pub fn new(spec: &NetworkSpec, seed: u64, options: Options) -> Result<Self, EngineError> {
        spec.check()?;
        let (layout, template) = parts(spec)?;
        let threads = options.threads;
        let fail = |why: String| EngineError::Threads { threads, why };
        if threads == 0 {
            return Err(fail("at least 1 is needed".to_owned()));
        }
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("engine-{i}"));
        let pool = pool.build().map_err(|e| fail(e.to_string()))?;
        let exec = Exec { isa: Isa::detect()?, reference: options.kernels == Kernels::Reference };
        let mut params = Params::default();
        let mut plane = Plane::new(spec.image.height, spec.image.width, spec.stem_channels);
        let stem = Stem::new(exec.isa, plane, spec.image.channels, &mut params, initialiser(seed, "stem"));
        let mut stages = vec![];
        for s in 0..layout.stages {
            let mut reduce = None;
            if s > 0 {
                let name = format!("stages.{s}.reduce");
                let block =
                    Residual::new(exec.isa, plane, 2 * plane.channels, &name, &mut params, initialiser(seed, &name));
                plane = block.to();
                reduce = Some(block);
            }
            let winograd = use_winograd(options.kernels, template.edges.len(), plane);
            let cells = (0..layout.cells_per_stage).map(|k| {
                let name = format!("stages.{s}.cells.{k}");
                Cell::new(&template, plane, &name, &spec.alive, spec.norm.affine, winograd, &mut params, seed)
            });
            let cells: Vec<_> = cells.collect();
            let memory = vec![CellMemory::default(); cells.len()];
            stages.push(Stage { plane, reduce, cells, memory, spare: Buf::default(), grads: CellGrads::default() });
        }
        let head = Head::new(plane, spec.classes, &mut params, initialiser(seed, "head"));
        let memory = RunMemory::new(threads);
        Ok(Network {
            spec: spec.clone(),
            exec,
            pool: Arc::new(pool),
            memory,
            params,
            stem,
            stages,
            head,
            nodes: template.nodes,
        })
    }

    /// Checks that there are kernels for everything in a network.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] with the first thing that there are none for.
    pub fn supports(spec: &NetworkSpec) -> Result<(), EngineError> {
        parts(spec).map(drop)
    }

    /// The specification; its `alive` mask is the current one.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Instruction set of the kernels.
    pub fn isa(&self) -> Isa {
        self.exec.isa
    }

    /// Number of trainable parameters (weights, scales and shifts, classifier).
    pub fn parameters(&self) -> usize {
        self.params.values.len()
    }

    /// Removes an operation from an edge for good, in every cell: it costs nothing from here on and its memory is freed.
    pub fn remove_op(&mut self, edge: usize, op: usize) {
        let eo = edge * self.spec.ops.len() + op;
        if !std::mem::replace(&mut self.spec.alive[eo], false) {
            return;
        }
        let mut gone = vec![];
        for stage in &mut self.stages {
            for (cell, memory) in stage.cells.iter_mut().zip(&mut stage.memory) {
                gone.extend(cell.remove_op(eo, memory));
            }
        }
        self.params.remove(&gone);
    }

    fn check_images(&self, images: &[f32], n: usize) -> Result<(), EngineError> {
        let expected = n * self.spec.image.len();
        if n == 0 || images.len() != expected {
            let expected = expected.max(self.spec.image.len());
            return Err(EngineError::Shape { what: "the batch of images", got: images.len(), expected });
        }
        Ok(())
    }

    fn check_weights(&self, w: &[f32]) -> Result<(), EngineError> {
        let expected = self.spec.mixing_len();
        if w.len() != expected {
            return Err(EngineError::Shape { what: "the mixing weights", got: w.len(), expected });
        }
        Ok(())
    }

    fn check_labels(&self, labels: &[u32]) -> Result<(), EngineError> {
        let classes = self.spec.classes;
        match labels.iter().position(|&l| l as usize >= classes) {
            Some(sample) => Err(EngineError::Label { sample, label: labels[sample], classes }),
            None => Ok(()),
        }
    }

    /// Operations that a pass computes: those alive, without those of weight 0 unless `zeros`.
    fn active(&self, w: &[f32], zeros: bool) -> Vec<bool> {
        self.spec.alive.iter().zip(w).map(|(&alive, &w)| alive && (zeros || w != 0.0)).collect()
    }

    /// Packs the weights of all cells.
    fn prepare(&mut self, active: &[bool], backward: bool) {
        let (isa, params) = (self.exec.isa, &self.params);
        let mut cells: Vec<&mut Cell> = self.stages.iter_mut().flat_map(|s| &mut s.cells).collect();
        cells.par_iter_mut().with_max_len(1).for_each(|c| c.prepare(isa, active, params, backward));
    }

    /// Forward pass up to the last cell; `keep`: for a backward pass.
    fn forward(
        &mut self,
        images: &[f32],
        n: usize,
        w: &[f32],
        mode: Mode,
        keep: bool,
        mut codes: Option<&mut CodeSink>,
    ) {
        let Self { exec, memory, params, stem, stages, .. } = self;
        let run = Run { exec: *exec, n, memory };
        stem.forward(run, images, params, mode);
        let mut x = stem.output.ptr();
        for stage in stages {
            if let Some(reduce) = &mut stage.reduce {
                reduce.forward(run, x, params, mode, codes.as_deref_mut());
                x = reduce.output.ptr();
            }
            for (k, cell) in stage.cells.iter_mut().enumerate() {
                let memory = &mut stage.memory[if keep { k } else { 0 }];
                cell.forward(run, memory, x, w, params, mode, codes.as_deref_mut());
                x = if keep {
                    memory.output().ptr()
                } else {
                    std::mem::swap(memory.output(), &mut stage.spare);
                    stage.spare.ptr()
                };
            }
        }
    }

    /// Output of the last cell after [`Network::forward`].
    fn features(&mut self, keep: bool) -> crate::buffer::Ptr {
        let stage = self.stages.last_mut().expect("a network has stages");
        match (stage.memory.last_mut(), &mut stage.reduce) {
            (Some(memory), _) if keep => memory.output().ptr(),
            (Some(_), _) => stage.spare.ptr(),
            (None, Some(reduce)) => reduce.output.ptr(),
            (None, None) => self.stem.output.ptr(),
        }
    }

    /// Forward and backward pass on one batch with the batch's own statistics; running statistics are updated.
    /// `w: [E, O]` row-major; entries of operations that are not alive are ignored.
    /// The gradients of omega are kept for [`Network::sgd_step`].
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Label`]. A loss that is not finite is returned as it is.
    pub fn train_step(&mut self, batch: Batch<'_>, w: &[f32], gradients: Gradients) -> Result<StepOutput, EngineError> {
        self.check_images(batch.images, batch.labels.len())?;
        self.check_labels(batch.labels)?;
        self.check_weights(w)?;
        let pool = Arc::clone(&self.pool);
        Ok(pool.install(|| self.step(batch, w, gradients)))
    }

    fn step(&mut self, batch: Batch<'_>, w: &[f32], gradients: Gradients) -> StepOutput {
        let n = batch.labels.len();
        let want = Wanted { omega: gradients != Gradients::Mixing, mixing: gradients != Gradients::Omega, input: true };
        let active = self.active(w, want.mixing);
        self.prepare(&active, true);
        self.forward(batch.images, n, w, Mode::Train, true, None);
        let x = self.features(true);
        let nodes = self.nodes;
        for stage in &mut self.stages {
            stage.grads.ensure(nodes, n * stage.plane.len());
        }
        let Self { exec, memory, params, stem, stages, head, .. } = self;
        let run = Run { exec: *exec, n, memory };
        let Score { loss, correct } = head.forward(run, x, batch.labels, params, Mode::Train);
        if want.omega {
            params.grads.fill(0.0);
        }
        let mut mixing_grad = vec![0.0; w.len()];
        let last = stages.last_mut().expect("a network has stages");
        head.backward(run, x, last.grads.output().ptr(), params, want.omega);
        for s in (0..stages.len()).rev() {
            let (below, rest) = stages.split_at_mut(s);
            let stage = &mut rest[0];
            let below_output = match below.last_mut().map(|b| (b.memory.last_mut(), &mut b.reduce)) {
                Some((Some(memory), _)) => memory.output().ptr(),
                Some((None, Some(reduce))) => reduce.output.ptr(),
                Some((None, None)) | None => stem.output.ptr(),
            };
            for k in (0..stage.cells.len()).rev() {
                let input = match (k, &mut stage.reduce) {
                    (0, Some(reduce)) => reduce.output.ptr(),
                    (0, None) => below_output,
                    _ => stage.memory[k - 1].output().ptr(),
                };
                let want = Wanted { input: want.omega || s > 0 || k > 0, ..want };
                let Stage { cells, memory, grads, .. } = stage;
                cells[k].backward(run, &mut memory[k], input, grads, w, params, want, &mut mixing_grad);
                grads.step_down();
            }
            let g = stage.grads.output().ptr();
            if let (Some(reduce), Some(b)) = (&mut stage.reduce, below.last_mut()) {
                reduce.backward(run, below_output, g, b.grads.output().ptr(), params, want.omega);
            } else if want.omega {
                stem.backward(run, batch.images, g, params);
            }
        }
        if !want.mixing {
            mixing_grad.fill(0.0);
        }
        StepOutput { loss, correct, mixing_grad }
    }

    /// One optimiser step with the gradients of omega of the last [`Network::train_step`] that computed them. Returns the gradient norm before clipping.
    pub fn sgd_step(&mut self, sgd: &Sgd, lr: f32) -> f64 {
        let pool = Arc::clone(&self.pool);
        let norm = pool.install(|| optim::step(&mut self.params, sgd, lr));
        self.invalidate();
        norm
    }

    /// The weights changed: packed copies are stale.
    fn invalidate(&mut self) {
        self.stem.invalidate();
        for stage in &mut self.stages {
            stage.reduce.iter_mut().for_each(Residual::invalidate);
            stage.cells.iter_mut().for_each(Cell::invalidate);
        }
    }

    /// Forward pass that keeps nothing. Operations with `w = 0` are skipped.
    ///
    /// # Errors
    /// [`EngineError::Shape`], [`EngineError::Label`], and [`EngineError::Spec`] for running statistics of a network
    /// that has none (a supernet).
    pub fn evaluate(&mut self, batch: Batch<'_>, w: &[f32], norm: Normalisation) -> Result<Evaluation, EngineError> {
        self.check_images(batch.images, batch.labels.len())?;
        self.check_labels(batch.labels)?;
        self.check_weights(w)?;
        let mode = match norm {
            Normalisation::Batch => Mode::Batch,
            Normalisation::Running if self.spec.norm.affine => Mode::Running,
            Normalisation::Running => {
                let why = "a supernet has no running statistics, evaluate it with those of the batch";
                return Err(EngineError::Spec(why.to_owned()));
            }
        };
        let pool = Arc::clone(&self.pool);
        Ok(pool.install(|| {
            let active = self.active(w, false);
            self.prepare(&active, false);
            self.forward(batch.images, batch.labels.len(), w, mode, false, None);
            let x = self.features(false);
            let run = Run { exec: self.exec, n: batch.labels.len(), memory: &self.memory };
            let Score { loss, correct } = self.head.forward(run, x, batch.labels, &self.params, mode);
            Evaluation { loss, correct }
        }))
    }

    /// Forward pass with batch statistics that compares the binary codes of the samples. `images: [n, H, W, C]`.
    ///
    /// # Errors
    /// [`EngineError::Shape`].
    pub fn code_distances(&mut self, images: &[f32], w: &[f32], codes: Codes) -> Result<CodeDistances, EngineError> {
        let n = images.len() / self.spec.image.len();
        self.check_images(images, n)?;
        self.check_weights(w)?;
        let pool = Arc::clone(&self.pool);
        Ok(pool.install(|| {
            let active = self.active(w, false);
            self.prepare(&active, false);
            let mut sink = CodeSink::new(codes, n, w.len());
            self.forward(images, n, w, Mode::Batch, false, Some(&mut sink));
            if codes == Codes::ReluInputs {
                let x = self.features(false);
                let run = Run { exec: self.exec, n, memory: &self.memory };
                self.head.add_codes(run, x, &self.params, &mut sink);
            }
            sink.finish()
        }))
    }

    /// Gradients of the last training step by parameter name (the names of [`Network::state`]'s weights).
    pub fn gradients(&self) -> Vec<TensorState> {
        self.tensors("", &self.params.grads)
    }

    fn tensors(&self, prefix: &str, from: &[f32]) -> Vec<TensorState> {
        self.params
            .iter()
            .map(|(name, shape, range)| TensorState {
                name: format!("{prefix}{name}"),
                shape: shape.to_vec(),
                data: from[range].to_vec(),
            })
            .collect()
    }

    fn norms(&mut self) -> Vec<&mut Norm> {
        let mut norms = vec![&mut self.stem.norm];
        for stage in &mut self.stages {
            if let Some(r) = &mut stage.reduce {
                norms.extend([&mut r.norm_a, &mut r.norm_b]);
            }
            norms.extend(stage.cells.iter_mut().flat_map(|c| c.norms.iter_mut().flatten()));
        }
        norms.push(&mut self.head.norm);
        norms
    }

    /// Everything that a later [`Network::load_state`] needs to go on bit-identically: weights, running statistics, momentum.
    pub fn state(&mut self) -> Vec<TensorState> {
        let mut state = self.tensors("", &self.params.values);
        state.extend(self.tensors("momentum.", &self.params.momentum));
        for norm in self.norms() {
            if let Some(r) = &norm.running {
                for (what, data) in [("running_mean", &r.mean), ("running_var", &r.var)] {
                    let name = format!("{}.{what}", norm.name);
                    state.push(TensorState { name, shape: vec![data.len()], data: data.clone() });
                }
            }
        }
        state
    }

    /// Restores a saved state. The alive mask must already be that of the saved network.
    ///
    /// # Errors
    /// [`EngineError::State`] for a missing, surplus or misshapen tensor; the network is then unchanged.
    pub fn load_state(&mut self, tensors: &[TensorState]) -> Result<(), EngineError> {
        let fail = |why: String| Err(EngineError::State(why));
        let own = self.state();
        let mut by_name = std::collections::HashMap::new();
        for t in tensors {
            if by_name.insert(t.name.as_str(), t).is_some() {
                return fail(format!("tensor {} is there twice", t.name));
            }
        }
        for o in &own {
            let Some(t) = by_name.remove(o.name.as_str()) else {
                return fail(format!("tensor {} is missing", o.name));
            };
            if t.shape != o.shape || t.data.len() != o.data.len() {
                return fail(format!("tensor {} has shape {:?}, expected {:?}", o.name, t.shape, o.shape));
            }
        }
        if let Some(name) = by_name.keys().min() {
            return fail(format!("tensor {name} does not belong to this network"));
        }
        let by_name: std::collections::HashMap<_, _> = tensors.iter().map(|t| (t.name.as_str(), &t.data)).collect();
        let places: Vec<_> = self.params.iter().map(|(name, _, range)| (name.to_owned(), range)).collect();
        for (name, range) in places {
            self.params.values[range.clone()].copy_from_slice(by_name[name.as_str()]);
            self.params.momentum[range].copy_from_slice(by_name[format!("momentum.{name}").as_str()]);
        }
        for norm in self.norms() {
            if let Some(r) = &mut norm.running {
                r.mean.copy_from_slice(by_name[format!("{}.running_mean", norm.name).as_str()]);
                r.var.copy_from_slice(by_name[format!("{}.running_var", norm.name).as_str()]);
            }
        }
        self.invalidate();
        Ok(())
    }
}

/// Stages and cell of a network that consists of what there are kernels for.
fn parts(spec: &NetworkSpec) -> Result<(Stages, Template), EngineError> {
    let layout = Stages::of(spec).ok_or_else(|| {
        EngineError::Unsupported("a network of other blocks than stages of one cell with one input".to_owned())
    })?;
    let template =
        Template::of(&layout).map_err(|op| EngineError::Unsupported(format!("the operation `{}`", op.name())))?;
    Ok((layout, template))
}

/// Whether the 3x3 convolutions of a stage run as Winograd.
fn use_winograd(kernels: Kernels, edges: usize, plane: Plane) -> bool {
    let fits = edges * plane.padded / BLOCK <= MAX_BLOCKS;
    match kernels {
        Kernels::Direct | Kernels::Reference => false,
        Kernels::Winograd => fits,
        Kernels::Auto => {
            let covered = 16 * Tiling::new(plane.height, plane.width).tiles();
            fits && plane.height >= 8 && plane.width >= 8 && 10 * plane.pixels() >= 7 * covered
        }
    }
}
