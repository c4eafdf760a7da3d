use super::{
    Block, BlockKind, CellBlock, CellOutput, CellSpec, Edge, Head, ImageShape, NetworkSpec, Op, OpNorm, Preprocess,
};

/// The macro network of NAS-Bench-201 around any cell with one input: stem, `stages` times `cells_per_stage` cells with a
/// residual block of stride 2 (and twice the channels) between stages, batch normalisation, ReLU, global average pooling,
/// linear classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    /// Input image size.
    pub image: ImageShape,
    /// Number of classes.
    pub classes: usize,
    /// Channels of the first stage (`C`, 16 in NAS-Bench-201).
    pub channels: usize,
    /// Cells of each stage (`N`, 5 in NAS-Bench-201).
    pub cells_per_stage: usize,
    /// Stride of the stem's convolution (1 in NAS-Bench-201).
    pub stem_stride: usize,
    /// Number of stages, at least 1 (3 in NAS-Bench-201).
    pub stages: usize,
    /// Nodes of the cell: node 0 is its input, the last node its output.
    pub nodes: usize,
    /// Edges of the cell, the rows of `w: [E, O]`.
    pub edges: Vec<Edge>,
    /// Candidate operations, the columns of `w: [E, O]`.
    pub ops: Vec<Op>,
    /// Operations that exist, `[E, O]` row-major, shared by all cells.
    pub alive: Vec<bool>,
    /// Whether the batch normalisation of the cells' operations has scale, shift and running statistics
    /// (a discrete network: yes; a supernet: no).
    pub affine: bool,
}

impl Stages {
    /// The specification of the whole network.
    pub fn network(&self) -> NetworkSpec {
        let mut blocks = vec![];
        for stage in 0..self.stages {
            let channels = self.channels.saturating_mul(1_usize.checked_shl(stage as u32).unwrap_or(usize::MAX));
            if stage > 0 {
                blocks.push(Block { name: format!("stages.{stage}.reduce"), kind: BlockKind::Residual { channels } });
            }
            blocks.extend((0..self.cells_per_stage).map(|k| Block {
                name: format!("stages.{stage}.cells.{k}"),
                kind: BlockKind::Cell(CellBlock {
                    cell: 0,
                    first_row: 0,
                    channels,
                    preprocess: vec![Preprocess::None],
                }),
            }));
        }
        let cell = CellSpec {
            inputs: 1,
            nodes: self.nodes,
            edges: self.edges.clone(),
            stride: 1,
            auxiliary_skips: false,
            output: CellOutput::LastNode,
        };
        NetworkSpec {
            image: self.image,
            classes: self.classes,
            ops: self.ops.clone(),
            rows: self.edges.len(),
            cells: vec![cell],
            stem_channels: self.channels,
            stem_stride: self.stem_stride,
            blocks,
            head: Head::NormRelu,
            auxiliary: None,
            norm: OpNorm { affine: self.affine, pools: false },
            partial: 1,
            alive: self.alive.clone(),
        }
    }

    /// The stages that a network is made of, if it is made of stages.
    pub fn of(spec: &NetworkSpec) -> Option<Self> {
        let cell = spec.only_cell()?;
        let reductions = spec.blocks.iter().filter(|b| matches!(b.kind, BlockKind::Residual { .. })).count();
        let stages = Self {
            image: spec.image,
            classes: spec.classes,
            channels: spec.stem_channels,
            stem_stride: spec.stem_stride,
            cells_per_stage: (spec.blocks.len() - reductions) / (reductions + 1),
            stages: reductions + 1,
            nodes: cell.nodes,
            edges: cell.edges.clone(),
            ops: spec.ops.clone(),
            alive: spec.alive.clone(),
            affine: spec.norm.affine,
        };
        (stages.network() == *spec).then_some(stages)
    }
}
