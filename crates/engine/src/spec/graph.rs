use serde::Serialize;

use super::op::Op;
use super::shape::ImageShape;
use super::transform::Transform;

/// Index of a [`Value`].
pub type ValueId = usize;

/// Index of a [`Layer`].
pub type LayerId = usize;

/// A network as values and the layers that make them: the one description that engines, costs, exports and drawings walk.
///
/// Value 0 is the image, every other value is made by one layer. Layers stand in an order in which they can be computed:
/// each reads only values that are made before it. There are three kinds:
///
/// - a **unit**, (ReLU) transform (batch normalisation) of one value. Everything with weights is a unit;
/// - a **mix**, the sum of values, each with its weight `w[row, op]` or with weight 1: a node of a cell, or the sum of a
///   residual block. One without terms is zeros;
/// - a **concatenation** of values along the channels.
///
/// Only what is alive in the specification is here. A skip of stride 1 is no layer: the mix reads its source directly.
///
/// # How an engine can run it
/// One pass per value that is [`Graph::is_stored`]: make it (the image; a mix of its terms with the terms' batch
/// normalisation folded in; batch normalisation of a unit's output), and while it is in cache feed every unit among its
/// readers ([`Graph::readers`]; they share ReLU, padding, pooling, transforms), which leaves each unit's output before
/// normalisation and its moments. The backward pass is the adjoint of each pass, in reverse order; a value with several
/// readers receives the sum of their gradients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Graph {
    /// Rows of `w: [R, O]`.
    pub rows: usize,
    /// Columns of `w: [R, O]`.
    pub ops: Vec<Op>,
    /// Names of the blocks.
    pub blocks: Vec<String>,
    /// Values; [`Graph::IMAGE`] is the image.
    pub values: Vec<Value>,
    /// Layers in an order in which they can be computed.
    pub layers: Vec<Layer>,
    /// The classifier's output, `[1, 1, classes]`.
    pub logits: ValueId,
    /// Output of the auxiliary head, `[1, 1, classes]`.
    pub auxiliary_logits: Option<ValueId>,
    #[serde(skip)]
    readers: Vec<Vec<LayerId>>,
}

/// What a layer makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Value {
    /// Size of one image of it.
    pub shape: ImageShape,
    /// The layer that makes it; `None` for the image.
    pub layer: Option<LayerId>,
}

/// A layer. It makes one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// Dotted name, unique and stable; its tensors' names begin with it or with its block's.
    pub name: String,
    /// Where it belongs.
    pub part: Part,
    /// The values that it reads, in the order of the terms of a mix or the parts of a concatenation.
    pub inputs: Vec<ValueId>,
    /// The value that it makes.
    pub output: ValueId,
    /// What it computes.
    #[serde(flatten)]
    pub kind: LayerKind,
}

/// A part of the macro network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The stem.
    Stem,
    /// The block with this index.
    Block(usize),
    /// The head.
    Head,
    /// The auxiliary head, which only training runs.
    Auxiliary,
}

/// What a layer computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LayerKind {
    /// (ReLU) transform (batch normalisation) of one value.
    Unit(Unit),
    /// Sum of the inputs, each times its weight.
    Mix {
        /// One for each input: its place in `w`, or `None` for weight 1.
        weights: Vec<Option<Place>>,
        /// Operations that add zeros ([`Op::None`]): of which value, at which place. Nothing has to be computed for them.
        zeros: Vec<(ValueId, Place)>,
        /// Rows of `w` whose edges end here, whether anything of them is alive or not.
        #[serde(skip)]
        rows: Vec<usize>,
    },
    /// The inputs one after the other along the channels.
    Concat,
}

/// A place in `w: [R, O]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Row.
    pub row: usize,
    /// Column.
    pub op: usize,
}

/// (ReLU) transform (batch normalisation) of one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Whether a ReLU comes first.
    pub relu: bool,
    /// The transform.
    pub transform: Transform,
    /// Its weights, in the order that [`Transform`] gives.
    pub weights: Vec<Weight>,
    /// The batch normalisation after it.
    pub norm: Option<Norm>,
    /// The operation that it is (a part of), if any.
    pub place: Option<Place>,
    /// The row of `w` beside whose operations it stands, if it is an auxiliary skip connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<usize>,
}

/// A trainable tensor of a transform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weight {
    /// Dotted name, the same in every version.
    pub name: String,
    /// Sizes, row-major; convolutions are `[out, in, kh, kw]`.
    pub shape: Vec<usize>,
    /// Inputs of each output: initial values are uniform in +-1/sqrt(fan in).
    pub fan_in: usize,
    /// Name of the stream of random numbers that the initial values come from. Tensors with the same stream draw from it
    /// one after the other.
    pub stream: String,
}

/// A batch normalisation over the channels of its unit's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Norm {
    /// Dotted name. With `affine` there are `{name}.weight`, `{name}.bias` and the running statistics
    /// `{name}.running_mean`, `{name}.running_var`, all `[channels]`; without there is no tensor.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// Whether it has scale, shift and running statistics.
    pub affine: bool,
}

/// A trainable tensor with what it starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter<'a> {
    /// Dotted name.
    pub name: String,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Initial values.
    pub init: Init<'a>,
}

/// Initial values of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init<'a> {
    /// Random, see [`Weight::stream`] and [`Weight::fan_in`].
    Uniform(&'a Weight),
    /// Ones: scales of normalisations.
    Ones,
    /// Zeros: shifts of normalisations.
    Zeros,
}

impl Graph {
    /// The image.
    pub const IMAGE: ValueId = 0;

    /// Completes a graph by who reads what.
    pub(super) fn new(
        (rows, ops): (usize, Vec<Op>),
        blocks: Vec<String>,
        values: Vec<Value>,
        layers: Vec<Layer>,
        logits: ValueId,
        auxiliary_logits: Option<ValueId>,
    ) -> Self {
        let mut readers = vec![vec![]; values.len()];
        for (id, layer) in layers.iter().enumerate() {
            for &input in &layer.inputs {
                if readers[input].last() != Some(&id) {
                    readers[input].push(id);
                }
            }
        }
        Self { rows, ops, blocks, values, layers, logits, auxiliary_logits, readers }
    }

    /// Layers that read a value, each once, in order.
    pub fn readers(&self, value: ValueId) -> &[LayerId] {
        &self.readers[value]
    }

    /// The layer that makes a value and, where that is a unit, the unit; `None` for the image.
    pub fn maker(&self, value: ValueId) -> Option<&Layer> {
        self.values[value].layer.map(|l| &self.layers[l])
    }

    /// Whether a value has to exist as such. A unit's output that one mix alone reads, once, does not: the mix can fold its
    /// normalisation in.
    pub fn is_stored(&self, value: ValueId) -> bool {
        let is_unit = self.maker(value).is_some_and(|l| l.unit().is_some());
        let folds = |layer: &Layer| {
            matches!(layer.kind, LayerKind::Mix { .. }) && layer.inputs.iter().filter(|&&i| i == value).count() == 1
        };
        !is_unit || !matches!(self.readers(value), [one] if folds(&self.layers[*one]))
    }

    /// Units with the layer they are.
    pub fn units(&self) -> impl Iterator<Item = (&Layer, &Unit)> {
        self.layers.iter().filter_map(|l| Some((l, l.unit()?)))
    }

    /// Trainable tensors, in the order of the layers: the weights of each unit, then scale and shift of its normalisation.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        self.units().flat_map(|(_, unit)| unit.parameters())
    }

    /// Running statistics, in the order of the layers: name and channels of each mean and variance.
    pub fn statistics(&self) -> impl Iterator<Item = (String, usize)> {
        let affine = self.units().filter_map(|(_, u)| u.norm.as_ref()).filter(|n| n.affine);
        affine.flat_map(|n| ["running_mean", "running_var"].map(|part| (format!("{}.{part}", n.name), n.channels)))
    }
}

impl Norm {
    /// What is added to a variance, as in PyTorch.
    pub const EPSILON: f64 = 1e-5;
}

impl Layer {
    /// The unit that it is, if it is one.
    pub fn unit(&self) -> Option<&Unit> {
        match &self.kind {
            LayerKind::Unit(unit) => Some(unit),
            LayerKind::Mix { .. } | LayerKind::Concat => None,
        }
    }
}

impl Unit {
    /// Its trainable tensors.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter<'_>> {
        let weights = self.weights.iter().map(|w| Parameter {
            name: w.name.clone(),
            shape: w.shape.clone(),
            init: Init::Uniform(w),
        });
        let affine = self.norm.as_ref().filter(|n| n.affine);
        let norm = affine.into_iter().flat_map(|n| {
            [("weight", Init::Ones), ("bias", Init::Zeros)].map(|(part, init)| Parameter {
                name: format!("{}.{part}", n.name),
                shape: vec![n.channels],
                init,
            })
        });
        weights.chain(norm)
    }
}
