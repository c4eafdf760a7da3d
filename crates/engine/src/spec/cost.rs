use super::graph::{Graph, LayerKind, Part, Unit};
use super::shape::ImageShape;
use super::transform::Transform;

/// Size of a network or of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Trainable parameters.
    pub parameters: u64,
    /// Multiply-adds of the convolutions and the classifier for one image. The literature calls this FLOPs.
    pub multiply_adds: u64,
}

impl Cost {
    /// Millions of parameters.
    pub fn params_m(self) -> f64 {
        self.parameters as f64 / 1e6
    }

    /// Millions of multiply-adds.
    pub fn flops_m(self) -> f64 {
        self.multiply_adds as f64 / 1e6
    }

    /// Whether a number is too large to be told.
    pub(super) fn is_saturated(self) -> bool {
        self.parameters == u64::MAX || self.multiply_adds == u64::MAX
    }

    fn plus(self, other: Self) -> Self {
        Self {
            parameters: self.parameters.saturating_add(other.parameters),
            multiply_adds: self.multiply_adds.saturating_add(other.multiply_adds),
        }
    }
}

/// What each operation of a network costs. Operations do not change each other's shapes, so the cost of the network in which
/// only some of them are alive is a sum, and needs no graph of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostTable {
    /// Everything but the operations.
    rest: Cost,
    /// `[R, O]`, zero for operations that were not alive in the graph.
    ops: Vec<Cost>,
}

impl CostTable {
    /// [`Graph::cost`] of the network in which, of the operations that it was made of, only those of `alive: [R, O]` are.
    pub fn of(&self, alive: &[bool]) -> Cost {
        self.ops.iter().zip(alive).filter(|(_, alive)| **alive).fold(self.rest, |sum, (&op, _)| sum.plus(op))
    }
}

impl Graph {
    /// Parameters and multiply-adds of the network, counted as NAS-Bench-201 and DARTS count them: every alive
    /// operation, whether its output reaches the cell's output or not; convolutions and the classifier with its bias for
    /// both; batch normalisation (where it has scale and shift) for the parameters only; pooling and additions for
    /// neither. The auxiliary head is not counted.
    pub fn cost(&self) -> Cost {
        let CostTable { rest, ops } = self.cost_table();
        ops.into_iter().fold(rest, Cost::plus)
    }

    /// The same by operation.
    pub fn cost_table(&self) -> CostTable {
        let mut table = CostTable { rest: Cost::default(), ops: vec![Cost::default(); self.rows * self.ops.len()] };
        for (id, layer) in self.layers.iter().enumerate().filter(|(_, layer)| layer.part != Part::Auxiliary) {
            let sum = match layer.unit().and_then(|unit| unit.place) {
                Some(at) => &mut table.ops[at.row * self.ops.len() + at.op],
                None => &mut table.rest,
            };
            *sum = sum.plus(self.layer_cost(id));
        }
        table
    }

    /// The parts that have layers, in order: the shape of each one's output, its parameters and multiply-adds.
    pub fn parts(&self) -> Vec<(Part, ImageShape, Cost)> {
        let mut parts: Vec<(Part, ImageShape, Cost)> = vec![];
        for (id, layer) in self.layers.iter().enumerate() {
            let (shape, cost) = (self.values[layer.output].shape, self.layer_cost(id));
            match parts.last_mut().filter(|last| last.0 == layer.part) {
                Some(last) => *last = (layer.part, shape, last.2.plus(cost)),
                None => parts.push((layer.part, shape, cost)),
            }
        }
        parts
    }

    /// Parameters and multiply-adds of one layer.
    pub fn layer_cost(&self, layer: super::LayerId) -> Cost {
        let layer = &self.layers[layer];
        match &layer.kind {
            LayerKind::Unit(unit) => unit_cost(unit, self.values[layer.output].shape),
            LayerKind::Mix { .. } | LayerKind::Concat => Cost::default(),
        }
    }
}

fn unit_cost(unit: &Unit, output: ImageShape) -> Cost {
    let len = |shape: &[usize]| shape.iter().fold(1_u64, |n, &side| n.saturating_mul(side as u64));
    let weights = unit.weights.iter().fold(0_u64, |sum, w| sum.saturating_add(len(&w.shape)));
    let norm = unit.norm.as_ref().filter(|n| n.affine).map_or(0, |n| 2 * n.channels as u64);
    let times = match unit.transform {
        Transform::Linear => 1,
        _ => output.pixels() as u64,
    };
    Cost { parameters: weights.saturating_add(norm), multiply_adds: weights.saturating_mul(times) }
}
