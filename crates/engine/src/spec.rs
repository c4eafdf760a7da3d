use crate::EngineError;

/// A candidate operation. Every one keeps the shape of its input `[H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Outputs zeros.
    None,
    /// Outputs its input.
    Skip,
    /// ReLU, 1x1 convolution without bias, batch normalisation.
    Conv1x1,
    /// ReLU, 3x3 convolution (padding 1) without bias, batch normalisation.
    Conv3x3,
    /// 3x3 average pooling, stride 1, padding 1, padding not counted.
    AvgPool3x3,
}

impl Op {
    /// True for operations that carry weights.
    pub fn is_conv(self) -> bool {
        matches!(self, Op::Conv1x1 | Op::Conv3x3)
    }
}

/// A directed edge of a cell, `from < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Source node.
    pub from: usize,
    /// Target node.
    pub to: usize,
}

/// A cell: node 0 is its input, every other node the sum of its incoming edges, the last node its output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSpec {
    /// Number of nodes, the input included.
    pub nodes: usize,
    /// Edges in the order of the rows of `w: [E, O]`.
    pub edges: Vec<Edge>,
    /// Candidate operations in the order of the columns of `w: [E, O]`.
    pub ops: Vec<Op>,
}

/// Size of one image, stored `[H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, 3 for RGB.
    pub channels: usize,
}

impl ImageShape {
    /// Values of one image.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// True where a side is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The macro network: stem, `stages` times `cells_per_stage` cells with a residual block of stride 2 (and twice
/// the channels) between stages, batch normalisation, ReLU, global average pooling, linear classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Input image size.
    pub image: ImageShape,
    /// Number of classes.
    pub classes: usize,
    /// Channels of the first stage (`C`, 16 in NAS-Bench-201).
    pub channels: usize,
    /// Cells of each stage (`N`, 5 in NAS-Bench-201).
    pub cells_per_stage: usize,
    /// Number of stages (3 in NAS-Bench-201).
    pub stages: usize,
    /// The cell, the same everywhere.
    pub cell: CellSpec,
    /// Operations that exist, `[E, O]` row-major, shared by all cells.
    pub alive: Vec<bool>,
    /// Whether the batch normalisation of the cells' operations has scale and shift
    /// (a discrete network: yes; a supernet: no). Stem, residual blocks and head always have them.
    pub affine: bool,
}

impl NetworkSpec {
    /// Number of mixing weights, `E * O`.
    pub fn mixing_len(&self) -> usize {
        self.cell.edges.len() * self.cell.ops.len()
    }

    /// Checks that the specification describes a network.
    ///
    /// # Errors
    /// [`EngineError::Spec`] with the part that does not fit.
    pub fn check(&self) -> Result<(), EngineError> {
        let fail = |why: String| Err(EngineError::Spec(why));
        if self.image.is_empty() {
            return fail(format!(
                "an image of {} x {} x {} has no pixels",
                self.image.height, self.image.width, self.image.channels
            ));
        }
        for (what, value) in [("classes", self.classes), ("channels", self.channels), ("stages", self.stages)] {
            if value == 0 {
                return fail(format!("{what} is 0, expected at least 1"));
            }
        }
        if self.cell.nodes < 2 {
            return fail(format!("a cell of {} nodes, expected at least 2", self.cell.nodes));
        }
        for e in &self.cell.edges {
            if e.from >= e.to || e.to >= self.cell.nodes {
                return fail(format!("edge {} -> {} in a cell of {} nodes", e.from, e.to, self.cell.nodes));
            }
        }
        for (i, op) in self.cell.ops.iter().enumerate() {
            if self.cell.ops[..i].contains(op) {
                return fail(format!("operation {op:?} is listed twice"));
            }
        }
        if self.alive.len() != self.mixing_len() {
            return fail(format!(
                "a mask of {} operations, expected {} edges x {} operations",
                self.alive.len(),
                self.cell.edges.len(),
                self.cell.ops.len()
            ));
        }
        Ok(())
    }
}
