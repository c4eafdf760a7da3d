//! The whole network in f64 with obvious loops, forward and hand-derived backward, sharing no code with the engine:
//! driven by a [`NetworkSpec`] and named tensors.

mod layers;

use std::collections::BTreeMap;

use hpe_darts_engine::{Batch, NetworkSpec, Op, Sgd, TensorState};
pub(crate) use layers::Tensor;
use layers::{Affine, Map, Normalised, Pool};

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

/// A network: its specification and its tensors.
pub(crate) struct Reference<'a> {
    pub(crate) spec: &'a NetworkSpec,
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

/// ReLU, convolution, batch normalisation: what the forward pass keeps.
struct Unit {
    x: Map,
    norm: Normalised,
}

struct OpTape {
    unit: Option<Unit>,
    out: Map,
}

struct CellTape {
    nodes: Vec<Map>,
    ops: Vec<Option<OpTape>>,
}

struct ReduceTape {
    x: Map,
    a: Unit,
    b: Unit,
    pooled: Map,
}

struct StageTape {
    reduce: Option<ReduceTape>,
    cells: Vec<CellTape>,
}

struct Tape {
    images: Map,
    stem: Normalised,
    stages: Vec<StageTape>,
    head: Normalised,
    pooled: Vec<f64>,
    logits: Vec<f64>,
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

/// Where one convolution with its batch normalisation lives.
struct Names {
    conv: String,
    bn: String,
}

fn unit_names(prefix: &str, op: Op) -> Names {
    let kind = if op == Op::Conv1x1 { "conv1x1" } else { "conv3x3" };
    Names { conv: format!("{prefix}.{kind}.weight"), bn: format!("{prefix}.{kind}.bn") }
}

fn reduce_names(stage: usize, which: &str) -> Names {
    let prefix = format!("stages.{stage}.reduce");
    Names { conv: format!("{prefix}.conv_{which}.weight"), bn: format!("{prefix}.bn_{which}") }
}

fn shortcut_name(stage: usize) -> String {
    format!("stages.{stage}.reduce.shortcut.weight")
}

impl<'a> Reference<'a> {
    pub(crate) fn new(spec: &'a NetworkSpec, tensors: &'a Tensors) -> Self {
        Self { spec, tensors, near_kinks: None }
    }

    /// Forward and backward pass with batch statistics.
    pub(crate) fn train(&self, batch: Batch<'_>, w: &[f64]) -> Pass {
        let tape = self.forward(batch.images, w, Stats::Batch);
        let (loss, correct, dlogits) = layers::cross_entropy(&tape.logits, batch.labels, self.spec.classes);
        let Gathered { mixing: mixing_grad, grads, largest_gradient, largest_output } =
            self.backward(&tape, w, &dlogits);
        let undecided = tape.logits.chunks(self.spec.classes).filter(|row| undecided(row)).count();
        Pass {
            loss,
            correct,
            undecided,
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
        let (loss, correct, _) = layers::cross_entropy(&tape.logits, batch.labels, self.spec.classes);
        (loss, correct)
    }

    /// Codes of a forward pass with batch statistics.
    pub(crate) fn codes(&self, images: &[f32], w: &[f64]) -> AllCodes {
        self.forward(images, w, Stats::Batch).codes
    }

    fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor `{name}`"))
    }

    fn affine(&self, bn: &str) -> Affine<'_> {
        let scale = self.tensors.get(&format!("{bn}.weight"))?;
        Some((&scale.data, &self.get(&format!("{bn}.bias")).data))
    }

    /// Running statistics, and those of the batch where a normalisation has none.
    fn batch_norm(&self, bn: &str, y: &Map, stats: Stats) -> Normalised {
        let running = match (stats, self.tensors.get(&format!("{bn}.running_mean"))) {
            (Stats::Running, Some(mean)) => {
                Some((mean.data.as_slice(), self.get(&format!("{bn}.running_var")).data.as_slice()))
            }
            _ => None,
        };
        layers::batch_norm(y, self.affine(bn), running)
    }

    fn unit(&self, names: &Names, x: &Map, stride: usize, stats: Stats) -> Unit {
        let y = layers::conv(&layers::relu(x), self.get(&names.conv), stride);
        Unit { x: x.clone(), norm: self.batch_norm(&names.bn, &y, stats) }
    }

    fn forward(&self, images: &[f32], w: &[f64], stats: Stats) -> Tape {
        let spec = self.spec;
        assert_eq!(w.len(), spec.mixing_len());
        let image = spec.image;
        let mut x = Map::zeros(images.len() / image.len(), image.height, image.width, image.channels);
        x.data = images.iter().copied().map(f64::from).collect();
        let images = x;
        let mut codes = AllCodes {
            op_outputs: vec![Code::default(); spec.mixing_len()],
            op_relus: vec![Code::default(); spec.mixing_len()],
            outside: Code::default(),
        };

        let y = layers::conv(&images, self.get("stem.conv.weight"), 1);
        let stem = self.batch_norm("stem.bn", &y, stats);
        let mut x = stem.out.clone();
        let mut stages = Vec::new();
        for s in 0..spec.stages {
            let mut reduce = None;
            if s > 0 {
                let a = self.unit(&reduce_names(s, "a"), &x, 2, stats);
                let b = self.unit(&reduce_names(s, "b"), &a.norm.out, 1, stats);
                codes.outside.append(&a.x);
                codes.outside.append(&b.x);
                let pooled = layers::avg_pool(&x, Pool::Avg2x2Stride2);
                let mut out = layers::conv(&pooled, self.get(&shortcut_name(s)), 1);
                out.add_scaled(&b.norm.out, 1.0);
                reduce = Some(ReduceTape { x, a, b, pooled });
                x = out;
            }
            let mut cells = Vec::new();
            for k in 0..spec.cells_per_stage {
                let cell = self.cell(&format!("stages.{s}.cells.{k}"), x, w, stats, &mut codes);
                x = cell.nodes[spec.cell.nodes - 1].clone();
                cells.push(cell);
            }
            stages.push(StageTape { reduce, cells });
        }
        let head = self.batch_norm("head.bn", &x, stats);
        codes.outside.append(&head.out);
        let pooled = layers::global_average(&layers::relu(&head.out));
        let logits = layers::linear(&pooled, self.get("head.linear.weight"), self.get("head.linear.bias"));
        Tape { images, stem, stages, head, pooled, logits, codes }
    }

    fn cell(&self, prefix: &str, x: Map, w: &[f64], stats: Stats, codes: &mut AllCodes) -> CellTape {
        let cell = &self.spec.cell;
        let mut nodes = vec![Map::zeros_like(&x); cell.nodes];
        nodes[0] = x;
        let mut ops: Vec<Option<OpTape>> = (0..self.spec.mixing_len()).map(|_| None).collect();
        for t in 1..cell.nodes {
            for (e, edge) in cell.edges.iter().enumerate().filter(|(_, edge)| edge.to == t) {
                for (o, &op) in cell.ops.iter().enumerate() {
                    let i = e * cell.ops.len() + o;
                    if !self.spec.alive[i] || op == Op::None {
                        continue;
                    }
                    let input = &nodes[edge.from];
                    let mut unit = None;
                    let out = match op {
                        Op::None | Op::Skip => input.clone(),
                        Op::AvgPool3x3 => layers::avg_pool(input, Pool::Avg3x3),
                        Op::Conv1x1 | Op::Conv3x3 => {
                            codes.op_relus[i].append(input);
                            let made = self.unit(&unit_names(&format!("{prefix}.edges.{e}"), op), input, 1, stats);
                            let out = made.norm.out.clone();
                            unit = Some(made);
                            out
                        }
                    };
                    codes.op_outputs[i].append(&out);
                    nodes[t].add_scaled(&out, w[i]);
                    ops[i] = Some(OpTape { unit, out });
                }
            }
        }
        CellTape { nodes, ops }
    }

    fn backward(&self, tape: &Tape, w: &[f64], dlogits: &[f64]) -> Gathered {
        let mut to = Gathered { mixing: vec![0.0; self.spec.mixing_len()], ..Gathered::default() };
        let (dpooled, dweight, dbias) = layers::linear_backward(&tape.pooled, self.get("head.linear.weight"), dlogits);
        to.grads.insert("head.linear.weight".into(), dweight);
        to.grads.insert("head.linear.bias".into(), dbias);
        let head_in = &tape.head.out;
        let g = layers::relu_backward(head_in, &layers::global_average_backward(head_in, &dpooled), self.near_kinks);
        let mut g = self.batch_norm_backward("head.bn", &tape.head, &g, &mut to);
        for (s, stage) in tape.stages.iter().enumerate().rev() {
            for (k, cell) in stage.cells.iter().enumerate().rev() {
                g = self.cell_backward(&format!("stages.{s}.cells.{k}"), cell, w, g, &mut to);
            }
            if let Some(reduce) = &stage.reduce {
                g = self.reduce_backward(s, reduce, &g, &mut to);
            }
        }
        let g = self.batch_norm_backward("stem.bn", &tape.stem, &g, &mut to);
        let (_, dweight) = layers::conv_backward(&tape.images, self.get("stem.conv.weight"), 1, &g);
        to.grads.insert("stem.conv.weight".into(), dweight);
        to
    }

    fn batch_norm_backward(&self, bn: &str, kept: &Normalised, g: &Map, to: &mut Gathered) -> Map {
        let affine = self.affine(bn);
        let (dy, dscale, dshift) = layers::batch_norm_backward(kept, affine, g);
        to.sizes(layers::gradient_before_centring(kept, affine, g).norm(), kept.xhat.norm());
        if affine.is_some() {
            to.grads.insert(format!("{bn}.weight"), Tensor::vector(dscale));
            to.grads.insert(format!("{bn}.bias"), Tensor::vector(dshift));
        }
        dy
    }

    fn unit_backward(&self, names: &Names, unit: &Unit, stride: usize, g: &Map, to: &mut Gathered) -> Map {
        let dy = self.batch_norm_backward(&names.bn, &unit.norm, g, to);
        let (dr, dweight) = layers::conv_backward(&layers::relu(&unit.x), self.get(&names.conv), stride, &dy);
        to.grads.insert(names.conv.clone(), dweight);
        layers::relu_backward(&unit.x, &dr, self.near_kinks)
    }

    fn reduce_backward(&self, s: usize, tape: &ReduceTape, g: &Map, to: &mut Gathered) -> Map {
        let da = self.unit_backward(&reduce_names(s, "b"), &tape.b, 1, g, to);
        let mut dx = self.unit_backward(&reduce_names(s, "a"), &tape.a, 2, &da, to);
        let (dpooled, dweight) = layers::conv_backward(&tape.pooled, self.get(&shortcut_name(s)), 1, g);
        to.grads.insert(shortcut_name(s), dweight);
        dx.add_scaled(&layers::avg_pool_backward(&tape.x, Pool::Avg2x2Stride2, &dpooled), 1.0);
        dx
    }

    fn cell_backward(&self, prefix: &str, tape: &CellTape, w: &[f64], g: Map, to: &mut Gathered) -> Map {
        let cell = &self.spec.cell;
        let mut node_grads = vec![Map::zeros_like(&g); cell.nodes];
        node_grads[cell.nodes - 1] = g;
        for t in (1..cell.nodes).rev() {
            let g = node_grads[t].clone();
            for (e, edge) in cell.edges.iter().enumerate().filter(|(_, edge)| edge.to == t) {
                for (o, &op) in cell.ops.iter().enumerate() {
                    let i = e * cell.ops.len() + o;
                    let Some(kept) = &tape.ops[i] else { continue };
                    to.sizes(g.norm(), kept.out.norm());
                    to.mixing[i] += g.dot(&kept.out);
                    let g = g.map(|v| v * w[i]);
                    let dx = match (op, &kept.unit) {
                        (Op::AvgPool3x3, _) => layers::avg_pool_backward(&tape.nodes[edge.from], Pool::Avg3x3, &g),
                        (_, Some(unit)) => {
                            self.unit_backward(&unit_names(&format!("{prefix}.edges.{e}"), op), unit, 1, &g, to)
                        }
                        _ => g,
                    };
                    node_grads[edge.from].add_scaled(&dx, 1.0);
                }
            }
        }
        node_grads.swap_remove(0)
    }

    /// `0.9 * running + 0.1 * batch` for every running statistic.
    fn running_after(&self, tape: &Tape) -> Tensors {
        let mut norms = vec![("stem.bn".to_string(), &tape.stem), ("head.bn".to_string(), &tape.head)];
        for (s, stage) in tape.stages.iter().enumerate() {
            if let Some(reduce) = &stage.reduce {
                norms.push((reduce_names(s, "a").bn, &reduce.a.norm));
                norms.push((reduce_names(s, "b").bn, &reduce.b.norm));
            }
            for (k, cell) in stage.cells.iter().enumerate() {
                for (i, op) in cell.ops.iter().enumerate() {
                    let (e, o) = (i / self.spec.cell.ops.len(), i % self.spec.cell.ops.len());
                    if let Some(unit) = op.as_ref().and_then(|op| op.unit.as_ref()) {
                        let prefix = format!("stages.{s}.cells.{k}.edges.{e}");
                        norms.push((unit_names(&prefix, self.spec.cell.ops[o]).bn, &unit.norm));
                    }
                }
            }
        }
        let mut after = Tensors::new();
        for (bn, norm) in norms {
            for (statistic, batch) in [("running_mean", &norm.mean), ("running_var", &norm.unbiased_var)] {
                let name = format!("{bn}.{statistic}");
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
