use super::op::Op;
use super::shape::ImageShape;
use crate::EngineError;

/// A directed edge of a cell, `from < to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Source node.
    pub from: usize,
    /// Target node.
    pub to: usize,
}

/// A kind of cell: a template that blocks repeat with their own weights. The first nodes are its inputs, every other node
/// is the sum of its incoming edges (zeros where there is none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellSpec {
    /// Nodes that are inputs: 1 (the output of the block before) or 2 (those of the two blocks before, the older first).
    pub inputs: usize,
    /// Number of nodes, the inputs included.
    pub nodes: usize,
    /// Edges in the order of their rows in `w: [R, O]`. Two edges may join the same nodes.
    pub edges: Vec<Edge>,
    /// Stride of the edges that leave an input: 1, or 2 in a reduction cell.
    pub stride: usize,
    /// Whether every edge passes its input on beside its operations, with weight 1: the identity, at stride 2
    /// [`super::Transform::FactorizedReduce`] with weights of its own. It does so whatever is alive or runs on the edge.
    pub auxiliary_skips: bool,
    /// What the cell puts out.
    pub output: CellOutput,
}

/// The output of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellOutput {
    /// The last node: as many channels as a node.
    LastNode,
    /// So many of the last nodes, concatenated: as often the channels of a node.
    Concat(usize),
}

/// How an input of a cell comes to the cell's channels and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preprocess {
    /// It has them.
    None,
    /// ReLU, 1x1 convolution without bias, batch normalisation.
    Conv1x1,
    /// ReLU, [`super::Transform::FactorizedReduce`], batch normalisation: the input is twice as high and wide.
    FactorizedReduce,
}

/// A block of the macro network. It reads the block before (a cell with two inputs: the two before; for the first blocks
/// the stem takes the place of those that are not there).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Dotted name in front of its tensors' names, unique: `stages.0.cells.3`.
    pub name: String,
    /// What it is.
    pub kind: BlockKind,
}

/// Kinds of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A cell.
    Cell(CellBlock),
    /// A residual block of stride 2: ReLU-Conv3x3(stride 2)-BN, ReLU-Conv3x3-BN, plus a shortcut of 2x2 average pooling
    /// (a last window may be partial) and a 1x1 convolution.
    Residual {
        /// Channels of its output.
        channels: usize,
    },
}

/// A cell in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellBlock {
    /// The template, an index of [`NetworkSpec::cells`].
    pub cell: usize,
    /// Row of `w: [R, O]` of the template's first edge. Blocks that read the same rows share their mixing weights.
    pub first_row: usize,
    /// Channels of its nodes.
    pub channels: usize,
    /// One for each input of the template.
    pub preprocess: Vec<Preprocess>,
}

/// What comes after the last block, always followed by global average pooling and a linear classifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Batch normalisation and ReLU first (NAS-Bench-201).
    NormRelu,
    /// Nothing (DARTS).
    Plain,
}

/// The batch normalisation of operations and preprocess layers. Stem, residual blocks and heads always have scale and shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpNorm {
    /// Scale, shift and running statistics: a discrete network has them, a supernet has not.
    pub affine: bool,
    /// Pools are normalised as well, never with scale and shift: the DARTS supernet.
    pub pools: bool,
}

/// A whole network: stem (3x3 convolution, batch normalisation), blocks, head.
///
/// Supernets and discrete networks are both described by it; in a discrete network one operation is alive on each edge.
/// Between whoever mixes and whoever computes passes `w: [R, O]`: a row for each edge of each kind of cell, a column for
/// each operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Input image size.
    pub image: ImageShape,
    /// Number of classes.
    pub classes: usize,
    /// Candidate operations, the columns of `w: [R, O]`.
    pub ops: Vec<Op>,
    /// Kinds of cells.
    pub cells: Vec<CellSpec>,
    /// Rows of `w: [R, O]`.
    pub rows: usize,
    /// Channels of the stem's output.
    pub stem_channels: usize,
    /// Stride of the stem's convolution: 1, or 2 for images that would be large for the blocks.
    pub stem_stride: usize,
    /// Blocks from the stem to the head.
    pub blocks: Vec<Block>,
    /// The head.
    pub head: Head,
    /// Index of the block whose output an auxiliary head reads, if there is one. Its logits count in the loss of a
    /// training step only; its parameters are not counted in published sizes. The image is 8x8 to 10x10 there.
    pub auxiliary: Option<usize>,
    /// Batch normalisation of the operations.
    pub norm: OpNorm,
    /// Partial channels (Xu et al., PC-DARTS, 3.1): an operation sees the first of so many equal parts of its input's
    /// channels. The rest goes by it, on an edge of stride 2 through a 2x2 maximum pooling; both are concatenated, and the
    /// channels shuffled in as many groups. 1: it sees all. Drop-path spares what goes by.
    pub partial: usize,
    /// Operations that exist, `[R, O]` row-major.
    pub alive: Vec<bool>,
}

/// Larger numbers are mistakes, and could not be computed with.
const MAX_BLOCKS: usize = 1000;
const MAX_SIDE: usize = 1 << 16;
pub(super) const MAX_CHANNELS: usize = 1 << 20;

impl NetworkSpec {
    /// Number of mixing weights, `R * O`.
    pub fn mixing_len(&self) -> usize {
        self.rows * self.ops.len()
    }

    /// The cell of a network with one kind of cell; `None` where there are several.
    pub fn only_cell(&self) -> Option<&CellSpec> {
        match &self.cells[..] {
            [cell] => Some(cell),
            _ => None,
        }
    }

    /// Checks that the specification describes a network.
    ///
    /// # Errors
    /// [`EngineError::Spec`] with the part that does not fit.
    pub fn check(&self) -> Result<(), EngineError> {
        self.graph().map(drop)
    }

    /// Everything but the shapes between the layers.
    pub(super) fn check_parts(&self) -> Result<(), EngineError> {
        for (what, value, max) in [
            ("image height", self.image.height, MAX_SIDE),
            ("image width", self.image.width, MAX_SIDE),
            ("image channels", self.image.channels, MAX_CHANNELS),
            ("classes", self.classes, MAX_CHANNELS),
            ("channels", self.stem_channels, MAX_CHANNELS),
            ("stem stride", self.stem_stride, 2),
        ] {
            if !(1..=max).contains(&value) {
                return fail(format!("{what} is {value}, expected 1 to {max}"));
            }
        }
        if self.partial == 0 {
            return fail("operations see one of 0 parts of the channels, expected 1 (all channels) or more".to_owned());
        }
        for cell in &self.cells {
            cell.check()?;
        }
        for (i, op) in self.ops.iter().enumerate() {
            if self.ops[..i].contains(op) {
                return fail(format!("operation {op:?} is listed twice"));
            }
        }
        if self.alive.len() != self.mixing_len() {
            return fail(format!(
                "a mask of {} operations, expected {} edges x {} operations",
                self.alive.len(),
                self.rows,
                self.ops.len()
            ));
        }
        if self.blocks.len() > MAX_BLOCKS {
            return fail(format!("{} blocks, expected at most {MAX_BLOCKS}", self.blocks.len()));
        }
        for (i, block) in self.blocks.iter().enumerate() {
            if self.blocks[..i].iter().any(|b| b.name == block.name) {
                return fail(format!("two blocks are called `{}`", block.name));
            }
            self.check_block(block)?;
        }
        match self.auxiliary {
            Some(after) if after >= self.blocks.len() => {
                fail(format!("an auxiliary head after block {after} of {}", self.blocks.len()))
            }
            _ => Ok(()),
        }
    }

    fn check_block(&self, block: &Block) -> Result<(), EngineError> {
        let name = &block.name;
        let channels = match &block.kind {
            BlockKind::Residual { channels } => *channels,
            BlockKind::Cell(b) => {
                let Some(cell) = self.cells.get(b.cell) else {
                    return fail(format!(
                        "block `{name}` is a cell of kind {}, there are {}",
                        b.cell,
                        self.cells.len()
                    ));
                };
                if b.preprocess.len() != cell.inputs {
                    return fail(format!(
                        "block `{name}` has {} preprocess layers, its cell has {} inputs",
                        b.preprocess.len(),
                        cell.inputs
                    ));
                }
                if b.first_row.checked_add(cell.edges.len()).is_none_or(|end| end > self.rows) {
                    return fail(format!(
                        "block `{name}` reads {} rows of w from row {}, there are {}",
                        cell.edges.len(),
                        b.first_row,
                        self.rows
                    ));
                }
                if !b.channels.is_multiple_of(self.partial) {
                    return fail(format!(
                        "block `{name}` has {} channels, expected a multiple of {}: its operations see one of so many parts",
                        b.channels, self.partial
                    ));
                }
                b.channels
            }
        };
        if (1..=MAX_CHANNELS).contains(&channels) {
            Ok(())
        } else {
            fail(format!("block `{name}` has {channels} channels, expected 1 to {MAX_CHANNELS}"))
        }
    }
}

impl CellSpec {
    fn check(&self) -> Result<(), EngineError> {
        if !(1..=2).contains(&self.inputs) {
            return fail(format!("a cell of {} inputs, expected 1 or 2", self.inputs));
        }
        if !(1..=2).contains(&self.stride) {
            return fail(format!("a cell of stride {}, expected 1 or 2", self.stride));
        }
        if self.nodes <= self.inputs {
            return fail(format!("a cell of {} nodes, expected at least {}", self.nodes, self.inputs + 1));
        }
        let made = self.nodes - self.inputs;
        if let CellOutput::Concat(nodes) = self.output
            && !(1..=made).contains(&nodes)
        {
            return fail(format!("a cell that puts {nodes} nodes out, expected 1 to {made}"));
        }
        for e in &self.edges {
            if e.from >= e.to || e.to < self.inputs || e.to >= self.nodes {
                return fail(format!("edge {} -> {} in a cell of {} nodes", e.from, e.to, self.nodes));
            }
        }
        Ok(())
    }
}

pub(super) fn fail<T>(why: String) -> Result<T, EngineError> {
    Err(EngineError::Spec(why))
}
