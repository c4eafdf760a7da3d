//! The nodes of a network.

use std::collections::{HashMap, HashSet};

use engine::{Graph, Layer, LayerKind, Norm, TensorState, Transform, Unit, ValueId, Window};

use super::proto::{Attribute, Node, Tensor};
use crate::{data::Normalisation, export::ExportError, retrain::Trained};

/// A convolution, apart from its weights.
struct Conv {
    stride: usize,
    dilation: usize,
    groups: usize,
    /// Above, left, below, right.
    pads: [usize; 4],
}

/// Scale and shift by channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

/// Makes nodes and tensors, in an order in which they can be computed.
pub(super) struct Builder<'a> {
    graph: &'a Graph,
    weights: HashMap<&'a str, &'a TensorState>,
    /// Whether batch normalisation goes into the convolution before it.
    fold: bool,
    input: &'static str,
    output: &'static str,
    /// Names of the values, by their ids.
    values: HashMap<ValueId, String>,
    /// Values that have been through a ReLU, by name: several units may read one.
    rectified: HashMap<String, String>,
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(trained: &'a Trained, fold: bool, input: &'static str, output: &'static str) -> Self {
        Self {
            graph: trained.graph(),
            weights: trained.tensors().iter().map(|t| (t.name.as_str(), t)).collect(),
            fold,
            input,
            output,
            values: HashMap::from([(Graph::IMAGE, input.to_owned())]),
            rectified: HashMap::new(),
            nodes: vec![],
            tensors: vec![],
        }
    }

    pub(super) fn finish(self) -> (Vec<Node>, Vec<Tensor>) {
        (self.nodes, self.tensors)
    }

    /// Lets the image be pixels in `[0, 1]`.
    pub(super) fn normalise(&mut self, by: &Normalisation) {
        let channels = by.mean.len();
        let mut x = self.input.to_owned();
        for (op, name, values) in [("Sub", "normalisation.mean", &by.mean), ("Div", "normalisation.std", &by.std)] {
            self.tensors.push(Tensor::floats(name.to_owned(), &[1, channels, 1, 1], values));
            x = self.node(op, name.to_owned() + ".applied", vec![x, name.to_owned()], vec![]);
        }
        self.values.insert(Graph::IMAGE, x);
    }

    /// Every layer that the outputs depend on.
    pub(super) fn network(&mut self) -> Result<(), ExportError> {
        let graph = self.graph;
        let mut needed = HashSet::from([graph.logits]);
        for layer in graph.layers.iter().rev() {
            if needed.contains(&layer.output) {
                needed.extend(&layer.inputs);
            }
        }
        for layer in graph.layers.iter().filter(|layer| needed.contains(&layer.output)) {
            let made = match &layer.kind {
                LayerKind::Unit(unit) => self.unit(layer, unit)?,
                LayerKind::Mix { .. } => self.sum(layer),
                LayerKind::Concat => {
                    let parts = layer.inputs.iter().map(|x| self.values[x].clone()).collect();
                    self.node("Concat", layer.name.clone(), parts, vec![Attribute::int("axis", 1)])
                }
            };
            self.values.insert(layer.output, made);
        }
        Ok(())
    }

    /// Adds a node with one output, and says the output's name.
    fn node(&mut self, op: &str, output: String, input: Vec<String>, attribute: Vec<Attribute>) -> String {
        // Some readers keep nodes and values under one roof: their names differ.
        let name = format!("{output}/{op}");
        self.nodes.push(Node { input, output: vec![output.clone()], name, op_type: op.to_owned(), attribute });
        output
    }

    /// The sum of a mix: in a network that is trained on its own every operation counts once.
    fn sum(&mut self, layer: &Layer) -> String {
        let terms: Vec<String> = layer.inputs.iter().map(|x| self.values[x].clone()).collect();
        if let [one] = &terms[..] {
            return one.clone();
        }
        if !terms.is_empty() {
            return self.node("Sum", layer.name.clone(), terms, vec![]);
        }
        // Nothing ends here: zeros for as many images as there are.
        let shape = self.graph.values[layer.output].shape;
        let name = |part: &str| format!("{}.{part}", layer.name);
        let sides = [shape.channels, shape.height, shape.width].map(|side| side as i64);
        self.tensors.push(Tensor::longs(name("sides"), &sides));
        let range = vec![Attribute::int("start", 0), Attribute::int("end", 1)];
        let images = self.node("Shape", name("images"), vec![self.input.to_owned()], range);
        let whole = vec![images, name("sides")];
        let whole = self.node("Concat", name("shape"), whole, vec![Attribute::int("axis", 0)]);
        self.node("ConstantOfShape", layer.name.clone(), vec![whole], vec![])
    }

    fn unit(&mut self, layer: &Layer, unit: &Unit) -> Result<String, ExportError> {
        let source = layer.inputs[0];
        let x = if unit.relu { self.rectify(source) } else { self.values[&source].clone() };
        let name = &layer.name;
        let affine = unit.norm.as_ref().map(|norm| self.affine(norm)).transpose()?;
        let weights = unit.weights.iter().map(|w| w.name.as_str()).collect::<Vec<_>>();
        let channels = self.graph.values[source].shape.channels;
        let is_conv =
            matches!(unit.transform, Transform::Conv(_) | Transform::Separable(_) | Transform::FactorizedReduce);
        let inner = affine.as_ref().filter(|_| self.fold && is_conv);
        let made = match (unit.transform, &weights[..]) {
            (Transform::Identity, []) => x,
            (Transform::Conv(window), [weight]) => self.conv(name.clone(), x, weight, Conv::over(window, 1), inner, 0),
            (Transform::Separable(window), [depthwise, pointwise]) => {
                let deep = Conv::over(window, channels);
                let x = self.conv(format!("{name}.depthwise"), x, depthwise, deep, None, 0);
                self.conv(name.clone(), x, pointwise, Conv::point(1, [0; 4]), inner, 0)
            }
            (Transform::FactorizedReduce, [first, second]) => {
                let shape = self.graph.values[source].shape;
                let half = self.weights[first].shape[0];
                let one = Conv::point(2, [0; 4]);
                let one = self.conv(format!("{name}.first"), x.clone(), first, one, inner, 0);
                let shifted = self.shift(name, x);
                // Beyond the border of an odd side are zeros.
                let other = Conv::point(2, [0, 0, shape.height % 2, shape.width % 2]);
                let other = self.conv(format!("{name}.second"), shifted, second, other, inner, half);
                self.node("Concat", name.clone(), vec![one, other], vec![Attribute::int("axis", 1)])
            }
            (Transform::AvgPool(window), []) => self.pool("AveragePool", layer, window, x),
            (Transform::MaxPool(window), []) => self.pool("MaxPool", layer, window, x),
            (Transform::GlobalAvgPool, []) => self.node("GlobalAveragePool", name.clone(), vec![x], vec![]),
            (Transform::Linear, [weight, bias]) => {
                for tensor in [weight, bias] {
                    self.tensor(tensor);
                }
                let flat = self.node("Flatten", format!("{name}.input"), vec![x], vec![Attribute::int("axis", 1)]);
                let inputs = vec![flat, (*weight).to_owned(), (*bias).to_owned()];
                let called = if layer.output == self.graph.logits { self.output.to_owned() } else { name.clone() };
                self.node("Gemm", called, inputs, vec![Attribute::int("transB", 1)])
            }
            (transform, _) => return Err(ExportError::unsupported("onnx", format!("{transform:?} in `{name}`"))),
        };
        match &unit.norm {
            Some(norm) if inner.is_none() => Ok(self.norm(norm, made)),
            _ => Ok(made),
        }
    }

    /// A value after ReLU.
    fn rectify(&mut self, x: ValueId) -> String {
        let source = self.values[&x].clone();
        if let Some(made) = self.rectified.get(&source) {
            return made.clone();
        }
        let made = self.node("Relu", format!("{source}.relu"), vec![source.clone()], vec![]);
        self.rectified.insert(source, made.clone());
        made
    }

    /// An image without its first row and column.
    fn shift(&mut self, name: &str, x: String) -> String {
        let mut inputs = vec![x];
        for (part, values) in [("starts", [1, 1]), ("ends", [i64::MAX, i64::MAX]), ("axes", [2, 3])] {
            let part = format!("{name}.shifted.{part}");
            self.tensors.push(Tensor::longs(part.clone(), &values));
            inputs.push(part);
        }
        self.node("Slice", format!("{name}.shifted"), inputs, vec![])
    }

    /// A trained tensor as it is.
    fn tensor(&mut self, name: &str) {
        let t = self.weights[name];
        self.tensors.push(Tensor::floats(name.to_owned(), &t.shape, &t.data));
    }

    /// A convolution. `affine`: what is folded into it, from its channel `first` on.
    fn conv(
        &mut self,
        name: String,
        x: String,
        weight: &str,
        conv: Conv,
        affine: Option<&Affine>,
        first: usize,
    ) -> String {
        let t = self.weights[weight];
        let mut inputs = vec![x, weight.to_owned()];
        match affine {
            None => self.tensor(weight),
            Some(Affine { scale, shift }) => {
                let (channels, per_channel) = (t.shape[0], t.data.len() / t.shape[0]);
                let scaled = t.data.iter().enumerate();
                let scaled = scaled.map(|(i, &w)| (f64::from(w) * scale[first + i / per_channel]) as f32);
                self.tensors.push(Tensor::floats(weight.to_owned(), &t.shape, &scaled.collect::<Vec<_>>()));
                let bias = format!("{name}.bias");
                let shift: Vec<f32> = shift[first..first + channels].iter().map(|&s| s as f32).collect();
                self.tensors.push(Tensor::floats(bias.clone(), &[channels], &shift));
                inputs.push(bias);
            }
        }
        let attributes = vec![
            Attribute::ints("kernel_shape", t.shape[2..].iter().copied()),
            Attribute::ints("strides", [conv.stride; 2]),
            Attribute::ints("dilations", [conv.dilation; 2]),
            Attribute::ints("pads", conv.pads),
            Attribute::int("group", conv.groups as i64),
        ];
        self.node("Conv", name, inputs, attributes)
    }

    /// A pool over the pixels that exist. A last window that is not whole is padded: padding counts in neither pool.
    fn pool(&mut self, op: &str, layer: &Layer, window: Window, x: String) -> String {
        let [from, to] = [layer.inputs[0], layer.output].map(|v| self.graph.values[v].shape);
        let Window { kernel, stride, padding, dilation, .. } = window;
        let after =
            |from: usize, to: usize| ((to - 1) * stride + dilation * (kernel - 1) + 1).saturating_sub(from + padding);
        let mut attributes = vec![
            Attribute::ints("kernel_shape", [kernel; 2]),
            Attribute::ints("strides", [stride; 2]),
            Attribute::ints("pads", [padding, padding, after(from.height, to.height), after(from.width, to.width)]),
        ];
        if dilation > 1 {
            attributes.push(Attribute::ints("dilations", [dilation; 2]));
        }
        self.node(op, layer.name.clone(), vec![x], attributes)
    }

    /// What a normalisation with running statistics does to its input.
    fn affine(&self, norm: &Norm) -> Result<Affine, ExportError> {
        if !norm.affine {
            return Err(ExportError::unsupported("onnx", format!("`{}`, which has no running statistics", norm.name)));
        }
        let part =
            |part: &str| self.weights[format!("{}.{part}", norm.name).as_str()].data.iter().map(|&v| f64::from(v));
        let scale = part("weight").zip(part("running_var")).map(|(g, v)| g / (v + Norm::EPSILON).sqrt());
        let scale: Vec<f64> = scale.collect();
        let shift = part("bias").zip(part("running_mean")).zip(&scale).map(|((b, m), s)| b - m * s).collect();
        Ok(Affine { scale, shift })
    }

    fn norm(&mut self, norm: &Norm, x: String) -> String {
        let mut inputs = vec![x];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            let name = format!("{}.{part}", norm.name);
            self.tensor(&name);
            inputs.push(name);
        }
        let epsilon = Attribute::float("epsilon", Norm::EPSILON as f32);
        self.node("BatchNormalization", format!("{}.normalised", norm.name), inputs, vec![epsilon])
    }
}

impl Conv {
    fn over(window: Window, groups: usize) -> Self {
        let Window { stride, dilation, padding, .. } = window;
        Self { stride, dilation, groups, pads: [padding; 4] }
    }

    /// One of a single pixel.
    fn point(stride: usize, pads: [usize; 4]) -> Self {
        Self { stride, dilation: 1, groups: 1, pads }
    }
}
