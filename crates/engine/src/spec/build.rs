//! Specification to [`Graph`]: where the macro network is spelled out, once.

use super::graph::{Graph, Layer, LayerKind, Norm, Part, Place, Unit, Value, ValueId, Weight};
use super::network::{BlockKind, CellBlock, CellOutput, CellSpec, Head, MAX_CHANNELS, NetworkSpec, Preprocess, fail};
use super::op::{Lowered, Op, StepNorm, lower};
use super::shape::ImageShape;
use super::transform::{Gather, Transform, Window};
use crate::EngineError;

impl NetworkSpec {
    /// Values and layers of the network.
    ///
    /// # Errors
    /// [`EngineError::Spec`] with the part that does not fit.
    pub fn graph(&self) -> Result<Graph, EngineError> {
        self.check_parts()?;
        graph(self)
    }
}

fn graph(spec: &NetworkSpec) -> Result<Graph, EngineError> {
    let mut b = Builder { spec, values: vec![], layers: vec![], part: Part::Stem };
    let image = b.value(spec.image, None);
    let conv3 = Transform::Conv(window(3, spec.stem_stride, 1));
    let stem = b.unit(Names::split("stem", "conv", "bn"), false, conv3, spec.stem_channels, image)?;
    // Outputs of the two blocks before.
    let mut outputs = [stem, stem];
    let mut auxiliary = None;
    for (i, block) in spec.blocks.iter().enumerate() {
        b.part = Part::Block(i);
        let output = match &block.kind {
            BlockKind::Residual { channels } => b.residual(&block.name, *channels, outputs[1])?,
            BlockKind::Cell(cell) => b.cell(&block.name, cell, outputs)?,
        };
        outputs = [outputs[1], output];
        auxiliary = auxiliary.or((spec.auxiliary == Some(i)).then_some(output));
    }
    b.part = Part::Head;
    let logits = b.head(outputs[1])?;
    b.part = Part::Auxiliary;
    let auxiliary_logits = auxiliary.map(|x| b.auxiliary(x)).transpose()?;
    let blocks = spec.blocks.iter().map(|block| block.name.clone()).collect();
    let graph = Graph::new((spec.rows, spec.ops.clone()), blocks, b.values, b.layers, logits, auxiliary_logits);
    if graph.cost().is_saturated() {
        return fail("the network is too large to count its multiply-adds".to_owned());
    }
    Ok(graph)
}

fn window(kernel: usize, stride: usize, padding: usize) -> Window {
    Window { kernel, stride, padding, dilation: 1, partial: false }
}

/// Names of a unit, its normalisation and the stream of its initial values.
struct Names {
    unit: String,
    norm: Option<String>,
    stream: String,
}

impl Names {
    /// A unit that stands for itself: its normalisation is `{name}.bn`.
    fn own(name: String) -> Self {
        Self { norm: Some(format!("{name}.bn")), stream: name.clone(), unit: name }
    }

    /// One of several units of a module that draw from one stream.
    fn split(module: &str, unit: &str, norm: &str) -> Self {
        Self { norm: Some(format!("{module}.{norm}")), ..Self::without_norm(module, unit) }
    }

    fn without_norm(module: &str, unit: &str) -> Self {
        Self { unit: format!("{module}.{unit}"), norm: None, stream: module.to_owned() }
    }
}

/// What a unit is a part of.
#[derive(Clone, Copy)]
enum Of {
    Network,
    Operation(Place),
    /// Of the edge of a row, whatever its operations are.
    Edge(usize),
}

/// What the edges that leave a node read: all of it, what the operations see, and what goes by them with partial channels.
#[derive(Clone, Copy)]
struct Leaving {
    node: ValueId,
    operations: ValueId,
    bypass: Option<ValueId>,
}

struct Builder<'a> {
    spec: &'a NetworkSpec,
    values: Vec<Value>,
    layers: Vec<Layer>,
    part: Part,
}

impl Builder<'_> {
    fn value(&mut self, shape: ImageShape, layer: Option<usize>) -> ValueId {
        self.values.push(Value { shape, layer });
        self.values.len() - 1
    }

    fn layer(&mut self, name: String, inputs: Vec<ValueId>, shape: ImageShape, kind: LayerKind) -> ValueId {
        let output = self.value(shape, Some(self.layers.len()));
        self.layers.push(Layer { name, part: self.part, inputs, output, kind });
        output
    }

    fn shape(&self, value: ValueId) -> ImageShape {
        self.values[value].shape
    }

    /// A unit outside the operations: its normalisation, where it has one, has scale and shift.
    fn unit(
        &mut self,
        names: Names,
        relu: bool,
        transform: Transform,
        channels: usize,
        input: ValueId,
    ) -> Result<ValueId, EngineError> {
        self.unit_of(names, relu, transform, channels, input, true, Of::Network)
    }

    #[allow(clippy::too_many_arguments)]
    fn unit_of(
        &mut self,
        names: Names,
        relu: bool,
        transform: Transform,
        channels: usize,
        input: ValueId,
        affine: bool,
        of: Of,
    ) -> Result<ValueId, EngineError> {
        let from = self.shape(input);
        let Some(shape) = output_shape(transform, from, channels) else {
            return fail(format!("an image of {} x {} is too small for `{}`", from.height, from.width, names.unit));
        };
        if transform == Transform::FactorizedReduce && channels < 2 {
            return fail(format!("`{}` has {channels} channel, expected at least 2", names.unit));
        }
        let weights = weights(transform, &names, from, channels);
        let norm = names.norm.map(|name| Norm { name, channels: shape.channels, affine });
        let (place, beside) = match of {
            Of::Network => (None, None),
            Of::Operation(place) => (Some(place), None),
            Of::Edge(row) => (None, Some(row)),
        };
        let unit = Unit { relu, transform, weights, norm, place, beside };
        Ok(self.layer(names.unit, vec![input], shape, LayerKind::Unit(unit)))
    }

    fn residual(&mut self, name: &str, channels: usize, x: ValueId) -> Result<ValueId, EngineError> {
        let conv = |stride| Transform::Conv(window(3, stride, 1));
        let a = self.unit(Names::split(name, "conv_a", "bn_a"), true, conv(2), channels, x)?;
        let b = self.unit(Names::split(name, "conv_b", "bn_b"), true, conv(1), channels, a)?;
        let pool = Transform::AvgPool(Window { partial: true, ..window(2, 2, 0) });
        let pooled = self.unit(Names::without_norm(name, "pool"), false, pool, self.shape(x).channels, x)?;
        let point = Transform::Conv(window(1, 1, 0));
        let shortcut = self.unit(Names::without_norm(name, "shortcut"), false, point, channels, pooled)?;
        let sum = LayerKind::Mix { weights: vec![None, None], zeros: vec![], rows: vec![] };
        Ok(self.layer(format!("{name}.sum"), vec![b, shortcut], self.shape(b), sum))
    }

    fn cell(&mut self, name: &str, block: &CellBlock, before: [ValueId; 2]) -> Result<ValueId, EngineError> {
        let cell = &self.spec.cells[block.cell];
        let mut nodes = vec![];
        for (i, &preprocess) in block.preprocess.iter().enumerate() {
            let x = before[before.len() - cell.inputs + i];
            let transform = match preprocess {
                Preprocess::None => None,
                Preprocess::Conv1x1 => Some(Transform::Conv(window(1, 1, 0))),
                Preprocess::FactorizedReduce => Some(Transform::FactorizedReduce),
            };
            nodes.push(match transform {
                None => x,
                Some(transform) => {
                    let names = Names::own(format!("{name}.preprocess.{i}"));
                    self.unit_of(names, true, transform, block.channels, x, self.spec.norm.affine, Of::Network)?
                }
            });
        }
        let input = self.shape(nodes[0]);
        for &node in &nodes {
            let (shape, expected) = (self.shape(node), ImageShape { channels: block.channels, ..input });
            if shape != expected {
                return fail(format!(
                    "an input of block `{name}` is {} x {} x {}, expected {} x {} x {}",
                    shape.height, shape.width, shape.channels, expected.height, expected.width, expected.channels
                ));
            }
        }
        let shape = ImageShape {
            height: input.height.div_ceil(cell.stride),
            width: input.width.div_ceil(cell.stride),
            channels: block.channels,
        };
        // What the edges that leave a node read.
        let mut read = vec![];
        for node in 0..cell.nodes {
            if node >= cell.inputs {
                nodes.push(self.node(name, block, cell, node, &read, shape)?);
            }
            read.push(self.leaving(name, block, cell, node, nodes[node])?);
        }
        match cell.output {
            CellOutput::LastNode => Ok(nodes[cell.nodes - 1]),
            CellOutput::Concat(last) => {
                let parts = nodes.split_off(cell.nodes - last);
                let channels = block.channels * parts.len();
                if channels > MAX_CHANNELS {
                    return fail(format!(
                        "block `{name}` puts out {channels} channels, expected at most {MAX_CHANNELS}"
                    ));
                }
                let shape = ImageShape { channels, ..shape };
                Ok(self.layer(format!("{name}.concat"), parts, shape, LayerKind::Concat))
            }
        }
    }

    /// With partial channels the part of a node that its operations see, and the one that goes by them, as the edges that
    /// leave it read it. They are there whatever is alive.
    fn leaving(
        &mut self,
        name: &str,
        block: &CellBlock,
        cell: &CellSpec,
        node: usize,
        x: ValueId,
    ) -> Result<Leaving, EngineError> {
        let seen = block.channels / self.spec.partial;
        if self.spec.partial == 1 || cell.edges.iter().all(|edge| edge.from != node) {
            return Ok(Leaving { node: x, operations: x, bypass: None });
        }
        let mut slice = |part: &str, first: usize, channels: usize| {
            let names = Names::without_norm(&format!("{name}.nodes.{node}"), part);
            self.unit(names, false, Transform::Gather(Gather::Slice { first }), channels, x)
        };
        let operations = slice("partial", 0, seen)?;
        let mut bypass = slice("bypass", seen, block.channels - seen)?;
        if node < cell.inputs && cell.stride == 2 {
            let pool = Transform::MaxPool(Window { partial: true, ..window(2, 2, 0) });
            let names = Names::without_norm(&format!("{name}.nodes.{node}"), "bypass_pool");
            bypass = self.unit(names, false, pool, block.channels - seen, bypass)?;
        }
        Ok(Leaving { node: x, operations, bypass: Some(bypass) })
    }

    /// A node of which the operations make some channels: the sum over the edges is linear, so that what they make and what
    /// goes by them is summed apart, and added where the shuffle of each edge would carry its channels. No edge is put
    /// together by itself.
    fn shuffled(&mut self, name: &str, parts: [ValueId; 2], shape: ImageShape) -> Result<Vec<ValueId>, EngineError> {
        let mut first = 0;
        let mut shuffled = vec![];
        for (part, what) in parts.into_iter().zip(["partial_sum", "bypass_sum"]) {
            let shuffle = Transform::Gather(Gather::Shuffle { groups: self.spec.partial, first });
            let names = Names::without_norm(name, &format!("{what}.shuffle"));
            shuffled.push(self.unit(names, false, shuffle, shape.channels, part)?);
            first += self.shape(part).channels;
        }
        Ok(shuffled)
    }

    fn node(
        &mut self,
        name: &str,
        block: &CellBlock,
        cell: &CellSpec,
        node: usize,
        nodes: &[Leaving],
        shape: ImageShape,
    ) -> Result<ValueId, EngineError> {
        let (mut inputs, mut weights, mut zeros, mut rows) = (vec![], vec![], vec![], vec![]);
        // What goes by an operation has its weight.
        let mut bypass = (vec![], vec![]);
        let mut auxiliary = vec![];
        for (e, edge) in cell.edges.iter().enumerate().filter(|(_, edge)| edge.to == node) {
            let stride = if edge.from < cell.inputs { cell.stride } else { 1 };
            rows.push(block.first_row + e);
            if cell.auxiliary_skips {
                let name = format!("{name}.edges.{e}.auxiliary_skip");
                auxiliary.push(self.auxiliary_skip(name, stride, block, block.first_row + e, nodes[edge.from].node)?);
            }
            for (o, &op) in self.spec.ops.iter().enumerate() {
                let place = Place { row: block.first_row + e, op: o };
                if !self.spec.alive[place.row * self.spec.ops.len() + o] {
                    continue;
                }
                let mut x = nodes[edge.from].operations;
                if let Some(value) = nodes[edge.from].bypass {
                    bypass.0.push(value);
                    bypass.1.push(Some(place));
                }
                match lower(op, stride) {
                    Lowered::Zero => {
                        zeros.push((x, place));
                        continue;
                    }
                    Lowered::Identity => {}
                    Lowered::Steps(steps) => {
                        for step in steps {
                            let mut unit = format!("{name}.edges.{e}.{}", op.name());
                            if !step.name.is_empty() {
                                unit = format!("{unit}.{}", step.name);
                            }
                            let mut names = Names::own(unit);
                            let mut affine = self.spec.norm.affine;
                            if step.norm == StepNorm::AsPools {
                                names.norm = names.norm.filter(|_| self.spec.norm.pools);
                                affine = false;
                            }
                            let channels = block.channels / self.spec.partial;
                            x = self.unit_of(
                                names,
                                step.relu,
                                step.transform,
                                channels,
                                x,
                                affine,
                                Of::Operation(place),
                            )?;
                        }
                    }
                }
                inputs.push(x);
                weights.push(Some(place));
            }
        }
        let name = format!("{name}.nodes.{node}");
        if self.spec.partial == 1 {
            inputs.extend(&auxiliary);
            weights.resize(inputs.len(), None);
            return Ok(self.layer(name, inputs, shape, LayerKind::Mix { weights, zeros, rows }));
        }
        let channels = shape.channels / self.spec.partial;
        let seen = ImageShape { channels, ..shape };
        let rest = ImageShape { channels: shape.channels - channels, ..shape };
        let sum = |weights, zeros| LayerKind::Mix { weights, zeros, rows: vec![] };
        let parts = [
            self.layer(format!("{name}.partial_sum"), inputs, seen, sum(weights, zeros)),
            self.layer(format!("{name}.bypass_sum"), bypass.0, rest, sum(bypass.1, vec![])),
        ];
        let mut parts = self.shuffled(&name, parts, shape)?;
        parts.append(&mut auxiliary);
        let weights = vec![None; parts.len()];
        Ok(self.layer(name, parts, shape, LayerKind::Mix { weights, zeros: vec![], rows }))
    }

    /// What an edge passes on beside its operations: all channels, with partial ones as well.
    fn auxiliary_skip(
        &mut self,
        name: String,
        stride: usize,
        block: &CellBlock,
        row: usize,
        x: ValueId,
    ) -> Result<ValueId, EngineError> {
        let (channels, affine) = (block.channels, self.spec.norm.affine);
        match lower(Op::Skip, stride) {
            Lowered::Steps(steps) => steps.into_iter().try_fold(x, |x, step| {
                self.unit_of(Names::own(name.clone()), step.relu, step.transform, channels, x, affine, Of::Edge(row))
            }),
            Lowered::Identity | Lowered::Zero => Ok(x),
        }
    }

    fn head(&mut self, mut x: ValueId) -> Result<ValueId, EngineError> {
        let channels = self.shape(x).channels;
        let relu = match self.spec.head {
            Head::Plain => false,
            Head::NormRelu => {
                let names = Names { unit: "head.bn".to_owned(), ..Names::split("head", "", "bn") };
                x = self.unit(names, false, Transform::Identity, channels, x)?;
                true
            }
        };
        let pooled = self.unit(Names::without_norm("head", "pool"), relu, Transform::GlobalAvgPool, channels, x)?;
        self.unit(Names::without_norm("head", "linear"), false, Transform::Linear, self.spec.classes, pooled)
    }

    /// The auxiliary head of DARTS (`AuxiliaryHeadCIFAR` in its `model.py`).
    fn auxiliary(&mut self, x: ValueId) -> Result<ValueId, EngineError> {
        let name = "auxiliary";
        let ImageShape { height, width, .. } = self.shape(x);
        if !(8..=10).contains(&height) || !(8..=10).contains(&width) {
            return fail(format!("an auxiliary head on an image of {height} x {width}, expected 8 x 8 to 10 x 10"));
        }
        let pool = Transform::AvgPool(window(5, 3, 0));
        let x = self.unit(Names::without_norm(name, "pool"), true, pool, self.shape(x).channels, x)?;
        let point = Transform::Conv(window(1, 1, 0));
        let x = self.unit(Names::split(name, "conv_a", "bn_a"), false, point, 128, x)?;
        let square = Transform::Conv(window(2, 1, 0));
        let x = self.unit(Names::split(name, "conv_b", "bn_b"), true, square, 768, x)?;
        self.unit(Names::without_norm(name, "linear"), true, Transform::Linear, self.spec.classes, x)
    }
}

/// Size of a transform's output; `None` where the image is too small.
fn output_shape(transform: Transform, from: ImageShape, channels: usize) -> Option<ImageShape> {
    let (height, width) = match transform {
        Transform::Identity | Transform::Gather(_) => (from.height, from.width),
        Transform::FactorizedReduce => (from.height.div_ceil(2), from.width.div_ceil(2)),
        Transform::GlobalAvgPool => (1, 1),
        Transform::Linear if from.pixels() > 1 => return None,
        Transform::Linear => (1, 1),
        Transform::Conv(w) | Transform::Separable(w) | Transform::AvgPool(w) | Transform::MaxPool(w) => {
            (w.outputs(from.height)?, w.outputs(from.width)?)
        }
    };
    Some(ImageShape { height, width, channels })
}

fn weights(transform: Transform, names: &Names, from: ImageShape, channels: usize) -> Vec<Weight> {
    let weight = |part: &str, shape: &[usize], fan_in: usize| Weight {
        name: format!("{}.{part}", names.unit),
        shape: shape.to_vec(),
        fan_in,
        stream: names.stream.clone(),
    };
    let (c, d) = (from.channels, channels);
    match transform {
        Transform::Identity
        | Transform::AvgPool(_)
        | Transform::MaxPool(_)
        | Transform::GlobalAvgPool
        | Transform::Gather(_) => vec![],
        Transform::Conv(w) => vec![weight("weight", &[d, c, w.kernel, w.kernel], c * w.kernel * w.kernel)],
        Transform::Separable(w) => vec![
            weight("depthwise.weight", &[c, 1, w.kernel, w.kernel], w.kernel * w.kernel),
            weight("pointwise.weight", &[d, c, 1, 1], c),
        ],
        Transform::FactorizedReduce => {
            vec![weight("first.weight", &[d / 2, c, 1, 1], c), weight("second.weight", &[d - d / 2, c, 1, 1], c)]
        }
        Transform::Linear => {
            vec![weight("weight", &[d, c], c), weight("bias", &[d], c)]
        }
    }
}
