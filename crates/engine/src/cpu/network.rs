//! The network: one training step, evaluation, codes, saved state.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::again::Again;
use super::backward::{MixingGrads, Wanted};
use super::buffer::{Buf, Ptr};
use super::buffers::Buffers;
use super::codes::CodeSink;
use super::group::Group;
use super::head::Head;
use super::norm::Norm;
use super::optim;
use super::params::Params;
use super::pass::Cx;
use super::paths::Paths;
use super::pieces::{Partials, Run};
use super::plan::{self, Origin, Plan, Relus};
use super::plane::Mode;
use super::runtime::Runtime;
use super::unit::Units;
use crate::contract::{
    Batch, CodeDistances, Codes, DropPath, Engine, Evaluation, Gradients, Normalisation, Pass, Sgd, StepOutput,
    TensorState, Vector,
};
use crate::{EngineError, NetworkSpec};

/// A network with its weights `omega`, batch-normalisation statistics and optimiser state.
pub(crate) struct Network {
    spec: NetworkSpec,
    runtime: Arc<Runtime>,
    partials: Mutex<Partials>,
    params: Params,
    units: Units,
    relus: Relus,
    /// Of the operations that took part last.
    plan: Plan,
    head: Head,
    auxiliary: Head,
    /// Values and outputs, see [`Buffers`], and gradients.
    buffers: Vec<Buf>,
    grads: Vec<Buf>,
    /// Room for binary codes.
    codes: Vec<u64>,
    /// The last pass, while its values are those of the weights.
    again: Option<Again>,
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
        let graph = spec.graph()?;
        let mut params = Params::default();
        let units = Units::new(&graph, &plan::planes(&graph), &mut params);
        let relus = plan::relus(&graph);
        let plan = Plan::new(&graph, &units, &spec.alive, &relus, runtime.exec.isa, runtime.kernels)?;
        units.initialise(&graph, &mut params, seed);
        Ok(Network {
            spec: spec.clone(),
            runtime,
            partials: Mutex::default(),
            params,
            units,
            relus,
            plan,
            head: Head::default(),
            auxiliary: Head::auxiliary(),
            buffers: vec![],
            grads: vec![],
            codes: vec![],
            again: None,
        })
    }

    /// See [`crate::CpuEngines::supports`].
    pub(crate) fn supports(spec: &NetworkSpec) -> Result<(), EngineError> {
        plan::supports(&spec.graph()?)
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
        match pass.drop_path {
            Some(DropPath { rate, .. }) if !(0.0..1.0).contains(&rate) => Err(EngineError::Rate { rate }),
            _ => Ok(()),
        }
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

    /// Plans the passes for the operations in `active`, with an auxiliary head or without, and packs their weights.
    fn prepare(&mut self, active: &[bool], auxiliary: bool, backward: bool) -> Result<(), EngineError> {
        let Runtime { exec, kernels, .. } = *self.runtime;
        let auxiliary = self.spec.auxiliary.filter(|_| auxiliary);
        if self.plan.active != active || self.plan.classified(true).is_some() != auxiliary.is_some() {
            let graph = NetworkSpec { alive: active.to_vec(), auxiliary, ..self.spec.clone() }.graph()?;
            let plan = Plan::new(&graph, &self.units, active, &self.relus, exec.isa, kernels)?;
            let old = std::mem::replace(&mut self.plan, plan);
            self.plan.take_packed(old);
        }
        let (units, params) = (&self.units, &self.params);
        let mut all: Vec<&mut Group> = self.plan.sources.iter_mut().flat_map(|s| &mut s.groups).collect();
        self.runtime.install(|| {
            all.par_iter_mut().with_max_len(1).for_each(|group| group.pack(exec.isa, units, params, backward));
        });
        Ok(())
    }

    /// Where the sources and outputs of a pass over `n` images lie; `keep`: for a backward pass.
    fn places(&mut self, images: &[f32], n: usize, keep: bool) -> (Vec<Ptr>, Vec<Ptr>) {
        let Buffers { sources, units, lens } = if keep { &self.plan.keep } else { &self.plan.pass };
        if self.buffers.len() < lens.len() {
            self.buffers.resize_with(lens.len(), Buf::default);
        }
        for (buffer, len) in self.buffers.iter_mut().zip(lens).filter(|(_, len)| **len > 0) {
            buffer.ensure(n * len);
        }
        let mut ptr = |buffer: &Option<usize>| buffer.map_or(Ptr::NONE, |b| self.buffers[b].ptr());
        let y: Vec<Ptr> = units.iter().map(&mut ptr).collect();
        let mut x: Vec<Ptr> = sources.iter().map(&mut ptr).collect();
        for (id, source) in self.plan.sources.iter().enumerate() {
            match source.origin {
                Origin::Image => x[id] = Ptr(images.as_ptr().cast_mut()),
                Origin::Unit { of: Some(of), stored: false, .. } => x[id] = x[of],
                Origin::Unit { unit, stored: false, .. } => x[id] = y[unit],
                Origin::Unit { .. } | Origin::Mix { .. } | Origin::Concat(_) => {}
            }
        }
        (x, y)
    }

    fn step(&mut self, batch: Batch<'_>, pass: Pass<'_>, gradients: Gradients) -> StepOutput {
        self.again = None;
        let (n, w) = (batch.labels.len(), pass.w);
        let want = Wanted { omega: gradients != Gradients::Mixing, mixing: gradients != Gradients::Omega };
        let (x, y) = self.places(batch.images, n, true);
        self.grads.resize_with(self.plan.grad_lens.len(), Buf::default);
        self.grads.iter_mut().zip(&self.plan.grad_lens).for_each(|(buffer, len)| buffer.ensure(n * len));
        let g = self.plan.grads.iter().map(|b| b.map_or(Ptr::NONE, |b| self.grads[b].ptr())).collect();
        let Self { runtime, partials, params, units, plan, head, auxiliary, .. } = self;
        let paths = Paths::new(plan, units, pass.drop_path, n);
        let cx = Cx { run: Run { runtime, partials, n }, w, x, y, paths, g };
        for id in 0..plan.sources.len() {
            plan.forward(&cx, id, units, params, Mode::Train, None, None);
        }
        let Evaluation { mut loss, correct } = head.evaluate(&cx, plan, units, params, batch.labels, 1.0);
        let second = plan.classified(true).is_some();
        if second {
            let weight = f64::from(pass.auxiliary);
            loss += weight * auxiliary.evaluate(&cx, plan, units, params, batch.labels, weight).loss;
        }
        if want.omega {
            params.grads.fill(0.0);
        }
        let mut mixing = MixingGrads { per_op: vec![0.0; w.len()], per_edge: vec![0.0; self.spec.rows] };
        let heads = std::iter::once(&*head).chain(second.then_some(&*auxiliary));
        let from_heads: Vec<_> = heads.map(|head| head.backward(n, plan, units, params, want.omega)).collect();
        for id in (0..plan.sources.len()).rev() {
            let classifier = from_heads.iter().find(|(of, _)| *of == id).map(|(_, gradient)| &gradient[..]);
            plan.backward(&cx, id, classifier, units, params, want, &mut mixing);
        }
        if !want.mixing {
            mixing.per_op.fill(0.0);
            mixing.per_edge.fill(0.0);
        }
        StepOutput { loss, correct, mixing_grad: mixing.per_op, edge_grad: mixing.per_edge }
    }

    /// The weights changed: packed copies and values are stale.
    fn invalidate(&mut self) {
        self.again = None;
        self.plan.sources.iter_mut().flat_map(|s| &mut s.groups).for_each(Group::invalidate);
    }

    /// A forward pass that keeps nothing, and what `f` makes of it.
    fn forward_only<T: Send>(
        &mut self,
        images: &[f32],
        n: usize,
        pass: Pass<'_>,
        mode: Mode,
        mut codes: Option<&mut CodeSink>,
        f: impl FnOnce(&mut Head, &Cx<'_>, &Plan, &Units, &Params) -> T + Send,
    ) -> Result<T, EngineError> {
        let mut again = self.begin(images, n, pass, mode, codes.as_ref().map(|sink| sink.kind()))?;
        let runtime = Arc::clone(&self.runtime);
        Ok(runtime.install(|| {
            let keep = again.as_ref().is_some_and(|again| again.kept);
            let (x, y) = self.places(images, n, keep);
            let Self { runtime, partials, params, units, plan, head, .. } = self;
            let paths = Paths::new(plan, units, pass.drop_path, n);
            let cx = Cx { run: Run { runtime, partials, n }, w: pass.w, x, y, paths, g: vec![] };
            let first = again.as_mut().map_or(0, |again| again.begin(plan, pass.w, codes.as_deref_mut(), n));
            for id in first..plan.sources.len() {
                let taken = again.as_mut().and_then(|again| again.of(id));
                plan.forward(&cx, id, units, params, mode, codes.as_deref_mut(), taken);
            }
            let out = f(head, &cx, plan, units, params);
            self.again = again;
            out
        }))
    }

    /// Plans a forward pass: from the beginning, or on from the last one, if that saw the same images, and if there is room
    /// for all values, which training has made.
    fn begin(
        &mut self,
        images: &[f32],
        n: usize,
        pass: Pass<'_>,
        mode: Mode,
        codes: Option<Codes>,
    ) -> Result<Option<Again>, EngineError> {
        let active = self.active(pass, false);
        let last = self.again.take();
        // Of an operation that takes no part its first ReLU alone counts.
        let exact = pass.drop_path.is_some() || codes == Some(Codes::ReluInputs);
        if exact || self.grads.is_empty() {
            return self.prepare(&active, false, false).map(|()| None);
        }
        let Some(mut again) = last.filter(|last| last.is_like(images, mode)) else {
            return self.prepare(&active, false, false).map(|()| Some(Again::new(images, mode, pass.w)));
        };
        let held = self.plan.active.iter().zip(&active).all(|(held, active)| *held || !active);
        if !(again.kept && held) {
            self.prepare(&again.with(&active, &self.spec.alive), false, false)?;
            let lens = &self.plan.keep.lens;
            let room = lens.len() <= self.buffers.len()
                && self.buffers.iter().zip(lens).all(|(buffer, len)| buffer.holds(n * len));
            if !room || self.plan.is_mixed(&self.units) {
                return self.prepare(&active, false, false).map(|()| Some(Again::new(images, mode, pass.w)));
            }
            again.keep();
        }
        Ok(Some(again))
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

    fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.units.iter().filter_map(|u| u.norm.as_ref())
    }
}

impl Engine for Network {
    fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    fn install(&self, work: &mut (dyn FnMut() + Send)) {
        self.runtime.install(work);
    }

    fn parameters(&self) -> usize {
        self.params.values.len()
    }

    fn remove_op(&mut self, edge: usize, op: usize) {
        let eo = edge * self.spec.ops.len() + op;
        if !std::mem::replace(&mut self.spec.alive[eo], false) {
            return;
        }
        self.again = None;
        self.units.remove(eo, &mut self.params);
        // What is left is planned with the next pass; nothing of what took part is kept.
        (self.buffers, self.grads) = (vec![], vec![]);
        self.relus.values_mut().for_each(|(ops, _)| ops.retain(|&op| op != eo));
        self.plan.active.clear();
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
        self.prepare(&self.active(pass, gradients != Gradients::Omega), pass.auxiliary != 0.0, true)?;
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
        self.forward_only(batch.images, n, pass, mode, None, |head, cx, plan, units, params| {
            head.evaluate(cx, plan, units, params, batch.labels, 1.0)
        })
    }

    fn logits(&mut self, images: &[f32], pass: Pass<'_>, norm: Normalisation) -> Result<Vec<f32>, EngineError> {
        let n = images.len() / self.spec.image.len();
        self.check_images(images, n)?;
        self.check_pass(pass)?;
        let mode = self.mode(norm)?;
        let logits = self.forward_only(images, n, pass, mode, None, |head, cx, plan, units, params| {
            head.logits(cx, plan, units, params)
        })?;
        Ok(logits.into_iter().map(|l| l as f32).collect())
    }

    fn code_distances(&mut self, images: &[f32], pass: Pass<'_>, codes: Codes) -> Result<CodeDistances, EngineError> {
        let n = images.len() / self.spec.image.len();
        self.check_images(images, n)?;
        self.check_pass(pass)?;
        let mut sink = CodeSink::new(codes, n, pass.w.len(), std::mem::take(&mut self.codes));
        self.forward_only(images, n, pass, Mode::Batch, Some(&mut sink), |_, _, _, _, _| ())?;
        let (distances, room) = sink.finish();
        self.codes = room;
        Ok(distances)
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
        for norm in self.units.iter_mut().filter_map(|u| u.norm.as_mut()) {
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
