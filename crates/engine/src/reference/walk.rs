//! Forward and backward pass as a walk over the graph.

use std::ops::Range;

use super::codes::AllCodes;
use super::layers::{self, Affine, Map, Normalised, Tensor};
use super::{Tensors, random, transform};
use crate::spec::{Graph, Layer, LayerId, LayerKind, NetworkSpec, Norm, Part, Place, Transform, Unit, ValueId};
use crate::{Batch, DropPath};

/// See [`Pass::undecided`].
const NEAR_LOGITS: f64 = 1e-4;

/// Result of [`Reference::train`].
#[derive(Debug)]
pub struct Pass {
    /// As in [`crate::StepOutput`].
    pub loss: f64,
    /// Likewise.
    pub correct: usize,
    /// Samples whose two largest logits are so near (`NEAR_LOGITS`) that rounding may decide.
    pub undecided: usize,
    /// `dL/dw: [R, O]`.
    pub mixing_grad: Vec<f64>,
    /// `[R]`: sums of dL/d(output of the edge).
    pub edge_grad: Vec<f64>,
    /// `dL/domega`, zeros for what does not run.
    pub grads: Tensors,
    /// Largest gradient times largest output of an operation or normalisation (Euclidean norms): sums of products such as
    /// dL/dw may cancel to far less than that, their rounding errors do not.
    pub product_scale: f64,
    /// Running statistics after this step, for every one that was given.
    pub running: Tensors,
    /// See [`AllCodes`].
    pub codes: AllCodes,
}

/// A network and its tensors: a walk over the network's [`Graph`].
#[derive(Clone)]
pub struct Reference<'a> {
    /// The network.
    pub graph: Graph,
    /// Its weights and, where they are read, running statistics.
    pub tensors: &'a Tensors,
    /// `(threshold, slope)`: the slope that the backward pass takes at ReLU inputs other than 0 but within the threshold;
    /// `None`: that of their sign. What a gradient in f32 may differ by lies between slope 0 and 1.
    pub near_kinks: Option<(f64, f64)>,
    /// `[R, O]`: operations that run.
    pub run: Vec<bool>,
    /// See [`DropPath`].
    pub drop_path: Option<DropPath>,
    /// Whether backward passes compute the gradients of weights; else those are zeros.
    pub omega: bool,
    /// Weight of the auxiliary head's loss in training; with 0 the head does not run.
    pub auxiliary: f64,
    /// `[R]`: numbers that are added to the outputs of the edges. The engine has no such thing; their gradients it has.
    pub added: Vec<f64>,
    /// By layer, where it is a node: the rows of the edges that end in it.
    pub rows_into: Vec<Vec<usize>>,
}

/// Statistics that a forward pass normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stats {
    /// Those of the batch.
    Batch,
    /// Running statistics, and those of the batch where a normalisation has none.
    Running,
    /// None: normalisations are left out.
    Off,
}

/// What a forward pass keeps.
#[derive(Debug)]
pub struct Trace {
    /// Every value; zeros where nothing ran.
    pub values: Vec<Map>,
    /// By layer: whether it ran.
    ran: Vec<bool>,
    /// By layer, where it is a unit with batch normalisation that ran.
    norms: Vec<Option<Normalised>>,
    /// See [`AllCodes`].
    pub codes: AllCodes,
}

/// What a backward pass collects.
#[derive(Default)]
struct Gathered {
    mixing: Vec<f64>,
    edges: Vec<f64>,
    grads: Tensors,
    /// Gradient at the value that was asked for.
    at: Option<Map>,
    /// See [`Pass::product_scale`].
    largest_gradient: f64,
    largest_output: f64,
}

/// Gradients of values, where there are any yet.
struct Grads(Vec<Option<Map>>);

impl Grads {
    fn add(&mut self, value: ValueId, mut g: Map, scale: f64) {
        match &mut self.0[value] {
            Some(sum) => sum.add_scaled(&g, scale),
            none => {
                g.data.iter_mut().for_each(|g| *g *= scale);
                *none = Some(g);
            }
        }
    }
}

impl Gathered {
    fn sizes(&mut self, gradient: f64, output: f64) {
        self.largest_gradient = self.largest_gradient.max(gradient);
        self.largest_output = self.largest_output.max(output);
    }
}

impl<'a> Reference<'a> {
    /// Everything runs, without drop-path and without the auxiliary head.
    ///
    /// # Panics
    /// Where the specification describes no network.
    pub fn new(spec: &NetworkSpec, tensors: &'a Tensors) -> Self {
        let graph = spec.graph().expect("a network");
        Self {
            near_kinks: None,
            run: vec![true; spec.mixing_len()],
            drop_path: None,
            omega: true,
            auxiliary: 0.0,
            added: vec![0.0; spec.rows],
            rows_into: rows_into(&graph),
            graph,
            tensors,
        }
    }

    /// Forward and backward pass with batch statistics.
    pub fn train(&self, batch: Batch<'_>, w: &[f64]) -> Pass {
        let tape = self.forward(batch.images, w, Stats::Batch, true);
        let entropy = |value: ValueId| {
            let logits = &tape.values[value];
            layers::cross_entropy(&logits.data, batch.labels, logits.c)
        };
        let (mut loss, correct, dlogits) = entropy(self.graph.logits);
        let mut seeds = vec![(self.graph.logits, dlogits)];
        if let Some(value) = self.graph.auxiliary_logits.filter(|_| self.auxiliary != 0.0) {
            let (auxiliary, _, d) = entropy(value);
            loss += self.auxiliary * auxiliary;
            seeds.push((value, d.iter().map(|g| self.auxiliary * g).collect()));
        }
        let layers = 0..self.graph.layers.len();
        let to = self.backward(&tape, w, seeds, layers, None);
        let logits = &tape.values[self.graph.logits];
        Pass {
            loss,
            correct,
            undecided: logits.data.chunks(logits.c).filter(|row| undecided(row)).count(),
            mixing_grad: to.mixing,
            edge_grad: to.edges,
            grads: to.grads,
            product_scale: to.largest_gradient * to.largest_output,
            running: self.running_after(&tape),
            codes: tape.codes,
        }
    }

    /// Loss and correctly classified samples.
    pub fn evaluate(&self, batch: Batch<'_>, w: &[f64], stats: Stats) -> (f64, usize) {
        let logits = self.logits(batch.images, w, stats);
        let (loss, correct, _) = layers::cross_entropy(&logits, batch.labels, logits.len() / batch.labels.len());
        (loss, correct)
    }

    /// `[n, classes]`.
    pub fn logits(&self, images: &[f32], w: &[f64], stats: Stats) -> Vec<f64> {
        self.forward(images, w, stats, false).values.swap_remove(self.graph.logits).data
    }

    /// A forward pass with everything in it but an auxiliary head. `images: [n, H, W, C]`.
    ///
    /// # Panics
    /// Where `w: [R, O]` or the tensors are not those of the network.
    pub fn trace(&self, images: &[f32], w: &[f64], stats: Stats) -> Trace {
        self.forward(images, w, stats, false)
    }

    /// Gradients of `sum(seed * value)` of the value `of`: at the value `at`, and of all weights (zeros where there is no way)
    /// in between. `trace`: with statistics of the batch, or with none.
    pub fn pull_back(&self, trace: &Trace, w: &[f64], (of, seed): (ValueId, Vec<f64>), at: ValueId) -> (Map, Tensors) {
        let layer = |value: ValueId| self.graph.values[value].layer.map_or(0, |layer| layer + 1);
        let to = self.backward(trace, w, vec![(of, seed)], layer(at)..layer(of), Some(at));
        (to.at.unwrap_or_else(|| Map::zeros_like(&trace.values[at])), to.grads)
    }

    /// Codes of a forward pass with batch statistics.
    pub fn codes(&self, images: &[f32], w: &[f64]) -> AllCodes {
        self.forward(images, w, Stats::Batch, false).codes
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    fn weights(&self, unit: &Unit) -> Vec<&Tensor> {
        unit.weights.iter().map(|w| self.get(&w.name)).collect()
    }

    fn affine(&self, norm: &Norm) -> Affine<'_> {
        let part = |part| self.get(&format!("{}.{part}", norm.name)).data.as_slice();
        norm.affine.then(|| (part("weight"), part("bias")))
    }

    fn batch_norm(&self, norm: &Norm, y: &Map, stats: Stats) -> Normalised {
        let part = |part| self.get(&format!("{}.{part}", norm.name)).data.as_slice();
        let running = (norm.affine && stats == Stats::Running).then(|| (part("running_mean"), part("running_var")));
        layers::batch_norm(y, self.affine(norm), running)
    }

    fn index(&self, place: Place) -> usize {
        place.row * self.graph.ops.len() + place.op
    }

    /// The terms of a mix that run: value, its place in w, what drop-path makes of each sample.
    fn terms(
        &self,
        layer: &Layer,
        weights: &[Option<Place>],
        n: usize,
    ) -> Vec<(ValueId, Option<usize>, Option<Vec<f64>>)> {
        let terms = layer.inputs.iter().zip(weights).map(|(&x, &place)| {
            // The input of an identity is made by something else than the operation.
            let maker = self.graph.maker(x).filter(|l| place.is_some() && l.unit().is_some_and(|u| u.place == place));
            let factors = self.drop_path.zip(maker).map(|(drop, layer)| random::path_factors(drop, &layer.name, n));
            (x, place.map(|p| self.index(p)), factors)
        });
        terms.filter(|(_, place, _)| place.is_none_or(|i| self.run[i])).collect()
    }

    fn forward(&self, images: &[f32], w: &[f64], stats: Stats, training: bool) -> Trace {
        let graph = &self.graph;
        assert_eq!(w.len(), graph.rows * graph.ops.len());
        let image = graph.values[Graph::IMAGE].shape;
        let n = images.len() / image.len();
        let zeros = |value: ValueId| {
            let shape = graph.values[value].shape;
            Map::zeros(n, shape.height, shape.width, shape.channels)
        };
        let mut values: Vec<_> = (0..graph.values.len()).map(zeros).collect();
        values[Graph::IMAGE].data = images.iter().copied().map(f64::from).collect();
        let mut norms: Vec<_> = graph.layers.iter().map(|_| None).collect();
        let mut ran = vec![false; graph.layers.len()];
        let mut codes = AllCodes::new(w.len());
        for (id, layer) in graph.layers.iter().enumerate() {
            if layer.part == Part::Auxiliary && !(training && self.auxiliary != 0.0) {
                continue;
            }
            let made = match &layer.kind {
                LayerKind::Unit(unit) => {
                    let x = &values[layer.inputs[0]];
                    let is_there = graph.values[layer.inputs[0]].layer.is_none_or(|maker| ran[maker]);
                    if unit.relu && is_there {
                        unit.place.map_or(&mut codes.outside, |p| &mut codes.op_relus[self.index(p)]).append(x);
                    }
                    if unit.place.is_some_and(|p| !self.run[self.index(p)]) {
                        continue;
                    }
                    let x = if unit.relu { layers::relu(x) } else { x.clone() };
                    if let Transform::MaxPool(window) = unit.transform {
                        codes.maxima.extend(layers::maxima(&x, window));
                    }
                    let y = transform::forward(
                        unit.transform,
                        &x,
                        &self.weights(unit),
                        graph.values[layer.output].shape.channels,
                    );
                    let norm = unit.norm.as_ref().filter(|_| stats != Stats::Off);
                    norms[id] = norm.map(|norm| self.batch_norm(norm, &y, stats));
                    norms[id].as_ref().map_or(y, |normalised| normalised.out.clone())
                }
                LayerKind::Mix { weights, .. } => {
                    let mut sum = zeros(layer.output);
                    for (x, place, factors) in self.terms(layer, weights, n) {
                        if let Some(i) = place {
                            codes.op_outputs[i].append(&values[x]);
                        }
                        sum.add_scaled(&values[x].by_sample(factors.as_deref()), place.map_or(1.0, |i| w[i]));
                    }
                    let added: f64 = self.rows_into[id].iter().map(|&row| self.added[row]).sum();
                    sum.map(|v| v + added)
                }
                LayerKind::Concat => Map::concat(&layer.inputs.iter().map(|&x| &values[x]).collect::<Vec<_>>()),
            };
            let shape = graph.values[layer.output].shape;
            assert_eq!((made.h, made.w, made.c), (shape.height, shape.width, shape.channels), "{}", layer.name);
            values[layer.output] = made;
            ran[id] = true;
        }
        Trace { values, ran, norms, codes }
    }

    /// Through some of the layers. `seeds`: gradients of values; `at`: the value whose gradient is kept.
    fn backward(
        &self,
        tape: &Trace,
        w: &[f64],
        seeds: Vec<(ValueId, Vec<f64>)>,
        layers: Range<LayerId>,
        at: Option<ValueId>,
    ) -> Gathered {
        let mut to = Gathered { mixing: vec![0.0; w.len()], edges: vec![0.0; self.graph.rows], ..Gathered::default() };
        to.grads.extend(self.graph.parameters().map(|p| (p.name.clone(), Tensor::zeros(p.shape))));
        // None: 0, for nothing has read the value.
        let mut grads = Grads(tape.values.iter().map(|_| None).collect());
        for (value, seed) in seeds {
            grads.0[value] = Some(Map { data: seed, ..tape.values[value] });
        }
        for (id, layer) in layers.clone().zip(&self.graph.layers[layers]).rev().filter(|(id, _)| tape.ran[*id]) {
            let g = match grads.0[layer.output].take() {
                Some(g) => g,
                // The sizes of what has no gradient count as well.
                None if self.omega => Map::zeros_like(&tape.values[layer.output]),
                None => continue,
            };
            match &layer.kind {
                LayerKind::Unit(unit) => {
                    let x = layer.inputs[0];
                    let dx = self.unit_backward(unit, &tape.values[x], tape.norms[id].as_ref(), g, &mut to);
                    grads.add(x, dx, 1.0);
                }
                LayerKind::Mix { weights, .. } => {
                    self.rows_into[id].iter().for_each(|&row| to.edges[row] += g.sum());
                    for (x, place, factors) in self.terms(layer, weights, g.n) {
                        let g = g.by_sample(factors.as_deref());
                        if let Some(i) = place {
                            to.sizes(g.norm(), tape.values[x].norm());
                            to.mixing[i] += g.dot(&tape.values[x]);
                        }
                        grads.add(x, g, place.map_or(1.0, |i| w[i]));
                    }
                }
                LayerKind::Concat => {
                    let mut channel = 0;
                    for &x in &layer.inputs {
                        grads.add(x, g.channels(channel, tape.values[x].c), 1.0);
                        channel += tape.values[x].c;
                    }
                }
            }
        }
        to.at = at.and_then(|at| grads.0[at].take());
        to
    }

    fn unit_backward(&self, unit: &Unit, x: &Map, kept: Option<&Normalised>, mut g: Map, to: &mut Gathered) -> Map {
        if let (Some(norm), Some(kept)) = (&unit.norm, kept) {
            g = self.batch_norm_backward(norm, kept, &g, to);
        }
        let weights = self.weights(unit);
        let (mut dx, dweights) = if unit.relu {
            transform::backward(unit.transform, &layers::relu(x), &weights, &g, self.omega)
        } else {
            transform::backward(unit.transform, x, &weights, &g, self.omega)
        };
        to.grads.extend(unit.weights.iter().map(|w| w.name.clone()).zip(dweights));
        if unit.relu {
            dx = layers::relu_backward(x, &dx, self.near_kinks);
        }
        dx
    }

    fn batch_norm_backward(&self, norm: &Norm, kept: &Normalised, g: &Map, to: &mut Gathered) -> Map {
        let affine = self.affine(norm);
        let (dy, dscale, dshift) = layers::batch_norm_backward(kept, affine, g);
        if self.omega {
            to.sizes(layers::gradient_before_centring(kept, affine, g).norm(), kept.xhat.norm());
        }
        if affine.is_some() {
            to.grads.insert(format!("{}.weight", norm.name), Tensor::vector(dscale));
            to.grads.insert(format!("{}.bias", norm.name), Tensor::vector(dshift));
        }
        dy
    }

    /// `0.9 * running + 0.1 * batch` for every running statistic of what ran, the others as they are.
    fn running_after(&self, tape: &Trace) -> Tensors {
        let mut after = Tensors::new();
        for (id, layer) in self.graph.layers.iter().enumerate() {
            let Some(norm) = layer.unit().and_then(|u| u.norm.as_ref()).filter(|n| n.affine) else { continue };
            let batch = tape.norms[id].as_ref().map(|kept| [&kept.mean, &kept.unbiased_var]);
            for (i, statistic) in ["running_mean", "running_var"].into_iter().enumerate() {
                let name = format!("{}.{statistic}", norm.name);
                // The tests of gradients give none.
                let Some(mut running) = self.tensors.get(&name).cloned() else { continue };
                if let Some(batch) = batch {
                    running.data.iter_mut().zip(batch[i]).for_each(|(r, b)| *r = 0.9 * *r + 0.1 * b);
                }
                after.insert(name, running);
            }
        }
        after
    }
}

/// By layer, where it is a node of a cell: the rows of the edges that end in it, whether something is alive there or not.
fn rows_into(graph: &Graph) -> Vec<Vec<usize>> {
    let rows = graph.layers.iter().map(|layer| match &layer.kind {
        LayerKind::Mix { rows, .. } => rows.clone(),
        LayerKind::Unit(_) | LayerKind::Concat => vec![],
    });
    rows.collect()
}

fn undecided(logits: &[f64]) -> bool {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter().filter(|v| top - **v < NEAR_LOGITS).count() > 1
}
