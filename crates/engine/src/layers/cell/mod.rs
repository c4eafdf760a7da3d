//! A cell of mixed operations, fused: per node one pass forward and one backward over the images.
//!
//! Forward, for node `i` of an image: mix the node from its incoming operations (batch normalisation folded into the
//! mixing), then everything that its outgoing edges share (ReLU, padding, pooling, Winograd transform), then their
//! convolutions with the sums for the next normalisation. Backward, in reverse order, the adjoint of each, and the sums
//! `sum(g)` and `sum(g * (y - mean))` of the incoming operations while `g` is in cache.

mod backward;
mod fan;
mod forward;

use self::fan::Fan;
use crate::buffer::Buf;
use crate::kernels::winograd::Tiling;
use crate::layers::Plane;
use crate::layers::conv::ConvGroup;
use crate::layers::norm::Norm;
use crate::params::{ParamId, Params, initialiser};
use crate::simd::Isa;
use crate::spec::{CellSpec, Op};

/// Activations that a forward pass leaves for the backward pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellMemory {
    /// Per node; that of node 0 is the input, which lives elsewhere.
    nodes: Vec<Buf>,
    /// `[E, O]`: outputs of the convolutions before normalisation.
    y: Vec<Buf>,
}

impl CellMemory {
    /// The output of the cell.
    pub(crate) fn output(&mut self) -> &mut Buf {
        self.nodes.last_mut().expect("a cell has nodes")
    }
}

/// Gradients with respect to the nodes, shared by all cells of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct CellGrads {
    nodes: Vec<Buf>,
}

impl CellGrads {
    pub(crate) fn ensure(&mut self, nodes: usize, len: usize) {
        self.nodes.resize_with(nodes, Buf::default);
        for b in &mut self.nodes {
            b.ensure(len);
        }
    }
    /// `dL/d output`: what the layer above writes.
    pub(crate) fn output(&mut self) -> &mut Buf {
        self.nodes.last_mut().expect("a cell has nodes")
    }
    /// Makes the gradient of the input that of the output, for the cell below.
    pub(crate) fn step_down(&mut self) {
        let last = self.nodes.len() - 1;
        self.nodes.swap(0, last);
    }
}

/// Which gradients a backward pass computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) omega: bool,
    pub(crate) mixing: bool,
    /// The gradient of the input.
    pub(crate) input: bool,
}

/// Gradients of the mixing, summed over the cells.
#[derive(Clone, Debug)]
pub(crate) struct MixingGrads {
    /// `dL/dw`, `[E, O]`.
    pub(crate) per_op: Vec<f64>,
    /// Sum of `dL/d output` of each edge, `[E]`.
    pub(crate) per_edge: Vec<f64>,
}

impl MixingGrads {
    pub(crate) fn zeros(edges: usize, ops: usize) -> Self {
        MixingGrads { per_op: vec![0.0; ops], per_edge: vec![0.0; edges] }
    }

    pub(crate) fn fill(&mut self, value: f64) {
        self.per_op.fill(value);
        self.per_edge.fill(value);
    }
}

/// One cell with the weights and statistics of its operations.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    spec: CellSpec,
    plane: Plane,
    winograd: bool,
    /// `[E, O]`
    weights: Vec<Option<ParamId>>,
    pub(crate) norms: Vec<Option<Norm>>,
    /// Operations that took part in the last forward pass, `[E, O]`.
    active: Vec<bool>,
    fans: Vec<Fan>,
    /// `[E, O]`: scale of an operation's term in the mixing, per channel.
    scales: Vec<Buf>,
    shift: Buf,
    zeros: Buf,
    ones: Vec<f32>,
}

impl Cell {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        spec: &CellSpec,
        plane: Plane,
        name: &str,
        alive: &[bool],
        affine: bool,
        winograd: bool,
        params: &mut Params,
        seed: u64,
    ) -> Self {
        let (ops, c) = (spec.ops.len(), plane.channels);
        let mut weights = vec![None; alive.len()];
        let mut norms = vec![None; alive.len()];
        for eo in (0..alive.len()).filter(|&eo| alive[eo]) {
            let (module, size) = match spec.ops[eo % ops] {
                Op::Conv1x1 => ("conv1x1", 1),
                Op::Conv3x3 => ("conv3x3", 3),
                Op::None | Op::Skip | Op::AvgPool3x3 => continue,
            };
            let name = format!("{name}.edges.{}.{module}", eo / ops);
            let mut init = initialiser(seed, &name);
            weights[eo] = Some(params.add(format!("{name}.weight"), &[c, c, size, size], || init(c * size * size)));
            norms[eo] = Some(if affine {
                Norm::affine(params, format!("{name}.bn"), c, plane.padded)
            } else {
                Norm::plain(format!("{name}.bn"), c, plane.padded)
            });
        }
        Cell {
            spec: spec.clone(),
            plane,
            winograd,
            weights,
            norms,
            active: vec![],
            fans: vec![],
            scales: vec![Buf::zeros(plane.padded); alive.len()],
            shift: Buf::zeros(plane.padded),
            zeros: Buf::zeros(plane.padded),
            ones: vec![1.0; plane.padded],
        }
    }

    /// Drops an operation; returns its parameters.
    pub(crate) fn remove_op(&mut self, eo: usize, memory: &mut CellMemory) -> Vec<ParamId> {
        let norm = self.norms[eo].take();
        if let Some(y) = memory.y.get_mut(eo) {
            *y = Buf::default();
        }
        self.weights[eo].take().into_iter().chain(norm.iter().flat_map(Norm::params)).collect()
    }

    /// The weights changed.
    pub(crate) fn invalidate(&mut self) {
        for f in &mut self.fans {
            f.group3.invalidate();
            f.group1.invalidate();
        }
    }

    /// Packs the weights of the operations in `active`, `[E, O]`.
    pub(crate) fn prepare(&mut self, isa: Isa, active: &[bool], params: &Params, backward: bool) {
        if self.active != active {
            self.active = active.to_vec();
            let old = std::mem::take(&mut self.fans);
            let mut old = old.into_iter();
            // Nodes whose convolutions are the same keep their packed weights: a sweep changes one operation at a time.
            self.fans = (0..self.spec.nodes - 1)
                .map(|node| {
                    let fan = self.fan(isa, node);
                    old.next().filter(|o| o.same_ops(&fan)).unwrap_or(fan)
                })
                .collect();
        }
        for f in &mut self.fans {
            for group in [&mut f.group3, &mut f.group1] {
                group.pack(isa, params);
                if backward {
                    group.pack_backward(isa, params);
                }
            }
        }
    }

    fn fan(&self, isa: Isa, node: usize) -> Fan {
        let out = |op: Op| -> Vec<usize> {
            let ops = self.spec.ops.len();
            (0..self.active.len())
                .filter(|&eo| {
                    self.active[eo] && self.spec.edges[eo / ops].from == node && self.spec.ops[eo % ops] == op
                })
                .collect()
        };
        let group = |size: usize, winograd: bool, ops: &[usize]| {
            let members = ops.iter().filter_map(|&eo| self.weights[eo]).collect();
            let c = self.plane.channels;
            ConvGroup::new(isa, size, (c, self.plane.padded), c, winograd, members)
        };
        let (ops3, ops1) = (out(Op::Conv3x3), out(Op::Conv1x1));
        Fan { group3: group(3, self.winograd, &ops3), group1: group(1, false, &ops1), ops3, ops1 }
    }

    fn ensure(&self, memory: &mut CellMemory, n: usize) {
        let len = n * self.plane.len();
        memory.nodes.resize_with(self.spec.nodes, Buf::default);
        memory.y.resize_with(self.active.len(), Buf::default);
        memory.nodes[1..].iter_mut().for_each(|b| b.ensure(len));
        for fan in &self.fans {
            for eo in fan.ops() {
                memory.y[eo].ensure(len);
            }
        }
    }

    /// Incoming operations of a node that take part: `[E, O]` index, source node, operation.
    fn incoming(&self, node: usize) -> Vec<(usize, usize, Op)> {
        let ops = self.spec.ops.len();
        (0..self.active.len())
            .filter(|&eo| self.active[eo] && self.spec.edges[eo / ops].to == node)
            .map(|eo| (eo, self.spec.edges[eo / ops].from, self.spec.ops[eo % ops]))
            .filter(|&(_, _, op)| op != Op::None)
            .collect()
    }

    /// `[E, O]` indices of the convolutions that are alive on the outgoing edges of a node.
    fn convolutions_from(&self, node: usize) -> Vec<usize> {
        let ops = self.spec.ops.len();
        let alive = (0..self.norms.len()).filter(|&eo| self.norms[eo].is_some());
        alive.filter(|&eo| self.spec.edges[eo / ops].from == node).collect()
    }

    /// Convolutions among the incoming operations that take part, `[E, O]` indices.
    fn normalised(&self, node: usize) -> Vec<usize> {
        self.incoming(node).into_iter().filter(|&(_, _, op)| op.is_conv()).map(|(eo, _, _)| eo).collect()
    }

    /// The node that an operation's edge ends in.
    fn target(&self, eo: usize) -> usize {
        self.spec.edges[eo / self.spec.ops.len()].to
    }

    fn norm(&self, eo: usize) -> &Norm {
        self.norms[eo].as_ref().expect("a convolution has a norm")
    }

    fn tiling(&self) -> Tiling {
        Tiling::new(self.plane.height, self.plane.width)
    }

    /// Rows and columns of a padded image.
    fn padded_size(&self) -> (usize, usize) {
        if self.winograd { self.tiling().padded() } else { (self.plane.height + 2, self.plane.width + 2) }
    }

    /// Images whose tiles are multiplied together: few tiles make a slow product.
    fn images_per_block(&self) -> usize {
        if self.winograd { (16 / self.tiling().tiles()).max(1) } else { 1 }
    }
}
