//! The network: stem, stages of cells, head; one training step, evaluation, codes, saved state.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;

use crate::buffer::{Buf, Ptr};
use crate::codes::CodeSink;
use crate::contract::{
    Batch, CodeDistances, Codes, Engine, Evaluation, Gradients, Normalisation, Pass, Sgd, StepOutput, TensorState,
    Vector,
};
use crate::kernels::panel::BLOCK;
use crate::kernels::winograd::{MAX_BLOCKS, Tiling};
use crate::layers::cell::{Cell, CellGrads, CellMemory, MixingGrads, Template, Wanted};
use crate::layers::head::Head;
use crate::layers::norm::Norm;
use crate::layers::residual::Residual;
use crate::layers::stem::Stem;
use crate::optim;
use crate::params::{Params, initialiser};
use crate::plane::{Mode, Plane};
use crate::run::{Partials, Run, Runtime};
use crate::{EngineError, Kernels, NetworkSpec, Stages};

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
pub(crate) struct Network {
    spec: NetworkSpec,
    runtime: Arc<Runtime>,
    partials: Partials,
    params: Params,
    stem: Stem,
    stages: Vec<Stage>,
    head: Head,
    /// Of a cell, the input included.
    nodes: usize,
}

impl fmt::Debug for Network {
    /// Without weights and activations.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Network { spec, runtime, params, .. } = self;
        let mut f = f.debug_struct("Network");
        f.field("spec", spec).field("parameters", &params.values.len()).field("runtime", runtime);
        f.finish_non_exhaustive()
    }
}

impl Network {
    /// See [`crate::contract::Engines::build`].
    pub(crate) fn new(spec: &NetworkSpec, seed: u64, runtime: Arc<Runtime>) -> Result<Self, EngineError> {
        spec.check()?;
        let (layout, template) = parts(spec)?;
        let exec = runtime.exec;
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
            let winograd = use_winograd(runtime.kernels, template.edges.len(), plane);
            let cells = (0..layout.cells_per_stage).map(|k| {
                let name = format!("stages.{s}.cells.{k}");
                Cell::new(&template, plane, &name, &spec.alive, spec.norm.affine, winograd, &mut params, seed)
            });
            let cells: Vec<_> = cells.collect();
            let memory = vec![CellMemory::default(); cells.len()];
            stages.push(Stage { plane, reduce, cells, memory, spare: Buf::default(), grads: CellGrads::default() });
        }
        let head = Head::new(plane, spec.classes, &mut params, initialiser(seed, "head"));
        let (spec, nodes) = (spec.clone(), template.nodes);
        Ok(Network { spec, runtime, partials: Partials::default(), params, stem, stages, head, nodes })
    }

    /// See [`crate::CpuEngines::supports`].
    pub(crate) fn supports(spec: &NetworkSpec) -> Result<(), EngineError> {
        parts(spec).map(drop)
    }

    fn check_images(&self, images: &[f32], n: usize) -> Result<(), EngineError> {
        let expected = n * self.spec.image.len();
        if n == 0 || images.len() != expected {
            let expected = expected.max(self.spec.image.len());
            return Err(EngineError::Shape { what: "the batch of images", got: images.len(), expected });
        }
        Ok(())
    }

    fn check_pass(&self, pass: Pass<'_>) -> Result<(), EngineError> {
        let expected = self.spec.mixing_len();
        let run = pass.run.map_or(expected, <[bool]>::len);
        for (what, got) in [("the mixing weights", pass.w.len()), ("the run mask", run)] {
            if got != expected {
                return Err(EngineError::Shape { what, got, expected });
            }
        }
        if pass.drop_path.is_some() {
            return Err(EngineError::Unsupported("drop-path".to_owned()));
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

    /// Operations that a pass computes: those alive that are to be run, without those of weight 0 unless `zeros`.
    fn active(&self, pass: Pass<'_>, zeros: bool) -> Vec<bool> {
        let runs = |eo: usize| pass.run.is_none_or(|run| run[eo]) && (zeros || pass.w[eo] != 0.0);
        self.spec.alive.iter().enumerate().map(|(eo, &alive)| alive && runs(eo)).collect()
    }

    /// The mode of an evaluation pass.
    fn mode(&self, norm: Normalisation) -> Result<Mode, EngineError> {
        match norm {
            Normalisation::Batch => Ok(Mode::Batch),
            Normalisation::Running if self.spec.norm.affine => Ok(Mode::Running),
            Normalisation::Running => {
                let why = "a supernet has no running statistics; evaluate it with those of the batch";
                Err(EngineError::Spec(why.to_owned()))
            }
        }
    }

    /// Packs the weights of all cells.
    fn prepare(&mut self, active: &[bool], backward: bool) {
        let (isa, params) = (self.runtime.exec.isa, &self.params);
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
        let Self { runtime, partials, params, stem, stages, .. } = self;
        let run = Run { runtime, partials, n };
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
    fn features(&mut self, keep: bool) -> Ptr {
        let stage = self.stages.last_mut().expect("a network has stages");
        match (stage.memory.last_mut(), &mut stage.reduce) {
            (Some(memory), _) if keep => memory.output().ptr(),
            (Some(_), _) => stage.spare.ptr(),
            (None, Some(reduce)) => reduce.output.ptr(),
            (None, None) => self.stem.output.ptr(),
        }
    }

    fn step(&mut self, batch: Batch<'_>, pass: Pass<'_>, gradients: Gradients) -> StepOutput {
        let (n, w) = (batch.labels.len(), pass.w);
        let want = Wanted { omega: gradients != Gradients::Mixing, mixing: gradients != Gradients::Omega, input: true };
        let active = self.active(pass, want.mixing);
        self.prepare(&active, true);
        self.forward(batch.images, n, w, Mode::Train, true, None);
        let x = self.features(true);
        let nodes = self.nodes;
        for stage in &mut self.stages {
            stage.grads.ensure(nodes, n * stage.plane.len());
        }
        let Self { runtime, partials, params, stem, stages, head, .. } = self;
        let run = Run { runtime, partials, n };
        let Evaluation { loss, correct } = head.forward(run, x, batch.labels, params, Mode::Train);
        if want.omega {
            params.grads.fill(0.0);
        }
        let mut mixing = MixingGrads::zeros(self.spec.rows, w.len());
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
                cells[k].backward(run, &mut memory[k], input, grads, w, params, want, &mut mixing);
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
            mixing.fill(0.0);
        }
        let MixingGrads { per_op: mixing_grad, per_edge: edge_grad } = mixing;
        StepOutput { loss, correct, mixing_grad, edge_grad }
    }

    /// The weights changed: packed copies are stale.
    fn invalidate(&mut self) {
        self.stem.invalidate();
        for stage in &mut self.stages {
            stage.reduce.iter_mut().for_each(Residual::invalidate);
            stage.cells.iter_mut().for_each(Cell::invalidate);
        }
    }

    /// Output of the last cell of a forward pass that keeps nothing, and the run it is part of.
    fn forward_only(
        &mut self,
        images: &[f32],
        n: usize,
        pass: Pass<'_>,
        mode: Mode,
        codes: Option<&mut CodeSink>,
    ) -> Ptr {
        let active = self.active(pass, false);
        self.prepare(&active, false);
        self.forward(images, n, pass.w, mode, false, codes);
        self.features(false)
    }

    fn named(&self, prefix: &str, from: &[f32]) -> Vec<TensorState> {
        self.params
            .iter()
            .map(|(name, shape, range)| TensorState {
                name: format!("{prefix}{name}"),
                shape: shape.to_vec(),
                data: from[range].to_vec(),
            })
            .collect()
    }

    fn norms(&self) -> Vec<&Norm> {
        let mut norms = vec![&self.stem.norm];
        for stage in &self.stages {
            norms.extend(stage.reduce.iter().flat_map(|r| [&r.norm_a, &r.norm_b]));
            norms.extend(stage.cells.iter().flat_map(|c| c.norms.iter().flatten()));
        }
        norms.push(&self.head.norm);
        norms
    }

    fn norms_mut(&mut self) -> Vec<&mut Norm> {
        let mut norms = vec![&mut self.stem.norm];
        for stage in &mut self.stages {
            norms.extend(stage.reduce.iter_mut().flat_map(|r| [&mut r.norm_a, &mut r.norm_b]));
            norms.extend(stage.cells.iter_mut().flat_map(|c| c.norms.iter_mut().flatten()));
        }
        norms.push(&mut self.head.norm);
        norms
    }
}

impl Engine for Network {
    fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    fn parameters(&self) -> usize {
        self.params.values.len()
    }

    fn remove_op(&mut self, edge: usize, op: usize) {
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

    fn train_step(
        &mut self,
        batch: Batch<'_>,
        pass: Pass<'_>,
        gradients: Gradients,
    ) -> Result<StepOutput, EngineError> {
        self.check_images(batch.images, batch.labels.len())?;
        self.check_labels(batch.labels)?;
        self.check_pass(pass)?;
        let runtime = Arc::clone(&self.runtime);
        Ok(runtime.install(|| self.step(batch, pass, gradients)))
    }

    fn sgd_step(&mut self, sgd: &Sgd, lr: f32) -> f64 {
        let norm = self.runtime.install(|| optim::step(&mut self.params, sgd, lr));
        self.invalidate();
        norm
    }

    fn evaluate(&mut self, batch: Batch<'_>, pass: Pass<'_>, norm: Normalisation) -> Result<Evaluation, EngineError> {
        let n = batch.labels.len();
        self.check_images(batch.images, n)?;
        self.check_labels(batch.labels)?;
        self.check_pass(pass)?;
        let mode = self.mode(norm)?;
        let runtime = Arc::clone(&self.runtime);
        Ok(runtime.install(|| {
            let x = self.forward_only(batch.images, n, pass, mode, None);
            let run = Run { runtime: &runtime, partials: &self.partials, n };
            self.head.forward(run, x, batch.labels, &self.params, mode)
        }))
    }

    fn logits(&mut self, images: &[f32], pass: Pass<'_>, norm: Normalisation) -> Result<Vec<f32>, EngineError> {
        let n = images.len() / self.spec.image.len();
        self.check_images(images, n)?;
        self.check_pass(pass)?;
        let mode = self.mode(norm)?;
        let runtime = Arc::clone(&self.runtime);
        Ok(runtime.install(|| {
            let x = self.forward_only(images, n, pass, mode, None);
            let run = Run { runtime: &runtime, partials: &self.partials, n };
            self.head.logits(run, x, &self.params, mode).into_iter().map(|l| l as f32).collect()
        }))
    }

    fn code_distances(&mut self, images: &[f32], pass: Pass<'_>, codes: Codes) -> Result<CodeDistances, EngineError> {
        let n = images.len() / self.spec.image.len();
        self.check_images(images, n)?;
        self.check_pass(pass)?;
        let runtime = Arc::clone(&self.runtime);
        Ok(runtime.install(|| {
            let mut sink = CodeSink::new(codes, n, pass.w.len());
            let x = self.forward_only(images, n, pass, Mode::Batch, Some(&mut sink));
            if codes == Codes::ReluInputs {
                let run = Run { runtime: &runtime, partials: &self.partials, n };
                self.head.add_codes(run, x, &self.params, &mut sink);
            }
            sink.finish()
        }))
    }

    fn state(&self) -> Vec<TensorState> {
        let mut state = self.named("", &self.params.values);
        state.extend(self.named("momentum.", &self.params.momentum));
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

    fn load_state(&mut self, tensors: &[TensorState]) -> Result<(), EngineError> {
        let fail = |why: String| Err(EngineError::State(why));
        let mut by_name = HashMap::new();
        for t in tensors {
            if by_name.insert(t.name.as_str(), t).is_some() {
                return fail(format!("tensor {} occurs twice", t.name));
            }
        }
        for o in &self.state() {
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
        let by_name: HashMap<_, _> = tensors.iter().map(|t| (t.name.as_str(), &t.data)).collect();
        let places: Vec<_> = self.params.iter().map(|(name, _, range)| (name.to_owned(), range)).collect();
        for (name, range) in places {
            self.params.values[range.clone()].copy_from_slice(by_name[name.as_str()]);
            self.params.momentum[range].copy_from_slice(by_name[format!("momentum.{name}").as_str()]);
        }
        for norm in self.norms_mut() {
            if let Some(r) = &mut norm.running {
                r.mean.copy_from_slice(by_name[format!("{}.running_mean", norm.name).as_str()]);
                r.var.copy_from_slice(by_name[format!("{}.running_var", norm.name).as_str()]);
            }
        }
        self.invalidate();
        Ok(())
    }

    fn tensors(&self, vector: Vector) -> Result<Vec<TensorState>, EngineError> {
        Ok(self.named("", self.params.vector(vector)?))
    }

    fn combine(&mut self, to: Vector, terms: &[(f32, Vector)]) -> Result<(), EngineError> {
        self.params.combine(to, terms)?;
        if to == Vector::Omega {
            self.invalidate();
        }
        Ok(())
    }

    fn norm(&self, vector: Vector) -> Result<f64, EngineError> {
        let values = self.params.vector(vector)?;
        Ok(self.runtime.install(|| optim::norm(values)))
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
