//! The whole network in f64 with obvious loops, forward and hand-derived backward, sharing no code with the engine:
//! driven by a network's [`Graph`] and named tensors.

mod layers;
mod transform;

use std::collections::BTreeMap;

use hpe_darts_engine::{Batch, Graph, Layer, LayerKind, NetworkSpec, Norm, Part, Place, Sgd, TensorState, Unit};
pub(crate) use layers::Tensor;
use layers::{Affine, Map, Normalised};

/// Tensors by dotted name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Converts what [`hpe_darts_engine::Engine::state`] or `tensors` returned.
pub(crate) fn tensors(state: &[TensorState]) -> Tensors {
    let widen =
        |t: &TensorState| Tensor { shape: t.shape.clone(), data: t.data.iter().copied().map(f64::from).collect() };
    state.iter().map(|t| (t.name.clone(), widen(t))).collect()
}

/// Binary codes of one place in the network, appended over cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Code {
    /// Per sample.
    pub(crate) bits: Vec<Vec<bool>>,
    /// Per sample: bits whose value before the threshold is nearer to 0 than rounding in f32 may move it (`NEAR`), exact
    /// zeros excepted: they come from structure (a dead node), not from rounding.
    pub(crate) near: Vec<usize>,
}

/// See [`Code::near`].
pub(crate) const NEAR: f64 = 1e-5;
/// See [`Pass::undecided`].
const NEAR_LOGITS: f64 = 1e-4;

impl Code {
    fn append(&mut self, x: &Map) {
        self.bits.resize(x.n, Vec::new());
        self.near.resize(x.n, 0);
        for n in 0..x.n {
            self.bits[n].extend(x.sample(n).iter().map(|&v| v > 0.0));
            self.near[n] += x.sample(n).iter().filter(|v| **v != 0.0 && v.abs() < NEAR).count();
        }
    }

    pub(crate) fn hamming(&self, i: usize, j: usize) -> usize {
        self.bits[i].iter().zip(&self.bits[j]).filter(|(a, b)| a != b).count()
    }
}

/// All codes of one forward pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AllCodes {
    /// Outputs of the operations, `[E, O]`; empty for `none` and operations that are not alive.
    pub(crate) op_outputs: Vec<Code>,
    /// Inputs of the ReLUs in front of the convolutions, `[E, O]`; empty for other operations.
    pub(crate) op_relus: Vec<Code>,
    /// Inputs of the other ReLUs: residual blocks, head.
    pub(crate) outside: Code,
}

impl AllCodes {
    /// The codes of all ReLU inputs.
    pub(crate) fn relus(&self) -> impl Iterator<Item = &Code> {
        self.op_relus.iter().chain([&self.outside])
    }
}

/// Result of [`Reference::train`].
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) loss: f64,
    pub(crate) correct: usize,
    /// Samples whose two largest logits are so near (`NEAR_LOGITS`) that rounding may decide.
    pub(crate) undecided: usize,
    /// `dL/dw: [E, O]`.
    pub(crate) mixing_grad: Vec<f64>,
    /// `dL/domega`.
    pub(crate) grads: Tensors,
    /// Largest gradient times largest output of an operation or normalisation (Euclidean norms): sums of products such as
    /// dL/dw may cancel to far less than that, their rounding errors do not.
    pub(crate) product_scale: f64,
    /// Running statistics after this step, for every one that was given.
    pub(crate) running: Tensors,
    pub(crate) codes: AllCodes,
}

/// A network and its tensors: a walk over the network's [`Graph`] (without an auxiliary head).
#[derive(Clone)]
pub(crate) struct Reference<'a> {
    pub(crate) graph: Graph,
    pub(crate) tensors: &'a Tensors,
    /// `(threshold, slope)`: the slope that the backward pass takes at ReLU inputs other than 0 but within the threshold;
    /// `None`: that of their sign. What a gradient in f32 may differ by lies between slope 0 and 1.
    pub(crate) near_kinks: Option<(f64, f64)>,
}

/// Statistics that a forward pass normalises with.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Stats {
    Batch,
    Running,
}

/// What a forward pass keeps.
struct Tape {
    /// Every value.
    values: Vec<Map>,
    /// By layer, where it is a unit with batch normalisation.
    norms: Vec<Option<Normalised>>,
    codes: AllCodes,
}

/// What a backward pass collects.
#[derive(Default)]
struct Gathered {
    mixing: Vec<f64>,
    grads: Tensors,
    /// See [`Pass::product_scale`].
    largest_gradient: f64,
    largest_output: f64,
}

impl Gathered {
    fn sizes(&mut self, gradient: f64, output: f64) {
        self.largest_gradient = self.largest_gradient.max(gradient);
        self.largest_output = self.largest_output.max(output);
    }
}

impl<'a> Reference<'a> {
    pub(crate) fn new(spec: &NetworkSpec, tensors: &'a Tensors) -> Self {
        Self { graph: spec.graph().unwrap(), tensors, near_kinks: None }
    }

    /// Forward and backward pass with batch statistics.
    pub(crate) fn train(&self, batch: Batch<'_>, w: &[f64]) -> Pass {
        let tape = self.forward(batch.images, w, Stats::Batch);
        let logits = &tape.values[self.graph.logits];
        let (loss, correct, dlogits) = layers::cross_entropy(&logits.data, batch.labels, logits.c);
        let Gathered { mixing: mixing_grad, grads, largest_gradient, largest_output } =
            self.backward(&tape, w, dlogits);
        Pass {
            loss,
            correct,
            undecided: logits.data.chunks(logits.c).filter(|row| undecided(row)).count(),
            mixing_grad,
            grads,
            product_scale: largest_gradient * largest_output,
            running: self.running_after(&tape),
            codes: tape.codes,
        }
    }

    /// Loss and correctly classified samples.
    pub(crate) fn evaluate(&self, batch: Batch<'_>, w: &[f64], stats: Stats) -> (f64, usize) {
        let tape = self.forward(batch.images, w, stats);
        let logits = &tape.values[self.graph.logits];
        let (loss, correct, _) = layers::cross_entropy(&logits.data, batch.labels, logits.c);
        (loss, correct)
    }

    /// Codes of a forward pass with batch statistics.
    pub(crate) fn codes(&self, images: &[f32], w: &[f64]) -> AllCodes {
        self.forward(images, w, Stats::Batch).codes
    }

    /// Layers that run, in order.
    fn layers(&self) -> impl DoubleEndedIterator<Item = (usize, &Layer)> {
        self.graph.layers.iter().enumerate().filter(|(_, l)| l.part != Part::Auxiliary)
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

    /// Running statistics, and those of the batch where a normalisation has none.
    fn batch_norm(&self, norm: &Norm, y: &Map, stats: Stats) -> Normalised {
        let part = |part| self.get(&format!("{}.{part}", norm.name)).data.as_slice();
        let running = (norm.affine && stats == Stats::Running).then(|| (part("running_mean"), part("running_var")));
        layers::batch_norm(y, self.affine(norm), running)
    }

    fn index(&self, place: Place) -> usize {
        place.row * self.graph.ops.len() + place.op
    }

    fn forward(&self, images: &[f32], w: &[f64], stats: Stats) -> Tape {
        let graph = &self.graph;
        let len = graph.rows * graph.ops.len();
        assert_eq!(w.len(), len);
        let image = graph.values[Graph::IMAGE].shape;
        let n = images.len() / image.len();
        let mut values: Vec<_> = graph
            .values
            .iter()
            .map(|value| Map::zeros(n, value.shape.height, value.shape.width, value.shape.channels))
            .collect();
        values[Graph::IMAGE].data = images.iter().copied().map(f64::from).collect();
        let mut norms: Vec<_> = graph.layers.iter().map(|_| None).collect();
        let mut codes = AllCodes {
            op_outputs: vec![Code::default(); len],
            op_relus: vec![Code::default(); len],
            outside: Code::default(),
        };
        for (id, layer) in self.layers() {
            let made = match &layer.kind {
                LayerKind::Unit(unit) => {
                    let x = &values[layer.inputs[0]];
                    let y = if unit.relu {
                        unit.place.map_or(&mut codes.outside, |p| &mut codes.op_relus[self.index(p)]).append(x);
                        transform::forward(unit.transform, &layers::relu(x), &self.weights(unit))
                    } else {
                        transform::forward(unit.transform, x, &self.weights(unit))
                    };
                    match &unit.norm {
                        None => y,
                        Some(norm) => {
                            let normalised = self.batch_norm(norm, &y, stats);
                            let out = normalised.out.clone();
                            norms[id] = Some(normalised);
                            out
                        }
                    }
                }
                LayerKind::Mix { weights, .. } => {
                    let mut sum = Map::zeros_like(&values[layer.output]);
                    for (&x, &place) in layer.inputs.iter().zip(weights) {
                        let place = place.map(|p| self.index(p));
                        if let Some(i) = place {
                            codes.op_outputs[i].append(&values[x]);
                        }
                        sum.add_scaled(&values[x], place.map_or(1.0, |i| w[i]));
                    }
                    sum
                }
                LayerKind::Concat => Map::concat(&layer.inputs.iter().map(|&x| &values[x]).collect::<Vec<_>>()),
            };
            let shape = graph.values[layer.output].shape;
            assert_eq!((made.h, made.w, made.c), (shape.height, shape.width, shape.channels), "{}", layer.name);
            values[layer.output] = made;
        }
        Tape { values, norms, codes }
    }

    fn backward(&self, tape: &Tape, w: &[f64], dlogits: Vec<f64>) -> Gathered {
        let mut to = Gathered { mixing: vec![0.0; w.len()], ..Gathered::default() };
        // A value that nothing reads has gradient 0.
        let mut grads: Vec<_> = tape.values.iter().map(Map::zeros_like).collect();
        grads[self.graph.logits].data = dlogits;
        for (id, layer) in self.layers().rev() {
            let g = grads[layer.output].clone();
            match &layer.kind {
                LayerKind::Unit(unit) => {
                    let x = layer.inputs[0];
                    let dx = self.unit_backward(unit, &tape.values[x], tape.norms[id].as_ref(), g, &mut to);
                    grads[x].add_scaled(&dx, 1.0);
                }
                LayerKind::Mix { weights, .. } => {
                    for (&x, &place) in layer.inputs.iter().zip(weights) {
                        let mut weight = 1.0;
                        if let Some(place) = place {
                            let i = self.index(place);
                            to.sizes(g.norm(), tape.values[x].norm());
                            to.mixing[i] += g.dot(&tape.values[x]);
                            weight = w[i];
                        }
                        grads[x].add_scaled(&g, weight);
                    }
                }
                LayerKind::Concat => {
                    let mut channel = 0;
                    for &x in &layer.inputs {
                        grads[x].add_scaled(&g.channels(channel, tape.values[x].c), 1.0);
                        channel += tape.values[x].c;
                    }
                }
            }
        }
        to
    }

    fn unit_backward(&self, unit: &Unit, x: &Map, kept: Option<&Normalised>, mut g: Map, to: &mut Gathered) -> Map {
        if let (Some(norm), Some(kept)) = (&unit.norm, kept) {
            g = self.batch_norm_backward(norm, kept, &g, to);
        }
        let weights = self.weights(unit);
        let (mut dx, dweights) = if unit.relu {
            transform::backward(unit.transform, &layers::relu(x), &weights, &g)
        } else {
            transform::backward(unit.transform, x, &weights, &g)
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
        to.sizes(layers::gradient_before_centring(kept, affine, g).norm(), kept.xhat.norm());
        if affine.is_some() {
            to.grads.insert(format!("{}.weight", norm.name), Tensor::vector(dscale));
            to.grads.insert(format!("{}.bias", norm.name), Tensor::vector(dshift));
        }
        dy
    }

    /// `0.9 * running + 0.1 * batch` for every running statistic.
    fn running_after(&self, tape: &Tape) -> Tensors {
        let mut after = Tensors::new();
        for (id, layer) in self.layers() {
            let Some(norm) = layer.unit().and_then(|u| u.norm.as_ref()).filter(|n| n.affine) else { continue };
            let Some(kept) = &tape.norms[id] else { continue };
            for (statistic, batch) in [("running_mean", &kept.mean), ("running_var", &kept.unbiased_var)] {
                let name = format!("{}.{statistic}", norm.name);
                // The tests of gradients give none.
                if let Some(running) = self.tensors.get(&name) {
                    let mixed = running.data.iter().zip(batch).map(|(r, b)| 0.9 * r + 0.1 * b).collect();
                    after.insert(name, Tensor::vector(mixed));
                }
            }
        }
        after
    }
}

fn undecided(logits: &[f64]) -> bool {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter().filter(|v| top - **v < NEAR_LOGITS).count() > 1
}

/// One step of SGD as PyTorch defines it, on the weights in `tensors` that have a gradient; momentum under
/// `momentum.` + name, 0 where absent. Returns the gradient norm before clipping.
pub(crate) fn sgd_step(tensors: &mut Tensors, grads: &Tensors, sgd: &Sgd, lr: f64) -> f64 {
    let norm = grads.values().flat_map(|g| &g.data).map(|g| g * g).sum::<f64>().sqrt();
    let clip = sgd.clip_norm.map_or(1.0, |max| (f64::from(max) / norm).min(1.0));
    let (momentum, decay) = (f64::from(sgd.momentum), f64::from(sgd.weight_decay));
    for (name, grad) in grads {
        let slot = format!("momentum.{name}");
        let mut velocity = tensors.remove(&slot).unwrap_or_else(|| Tensor::zeros_like(grad));
        let p = tensors.get_mut(name).expect("a gradient of a weight");
        for ((p, v), g) in p.data.iter_mut().zip(&mut velocity.data).zip(&grad.data) {
            let g = clip * g + decay * *p;
            *v = momentum * *v + g;
            *p -= lr * if sgd.nesterov { g + momentum * *v } else { *v };
        }
        tensors.insert(slot, velocity);
    }
    norm
}
