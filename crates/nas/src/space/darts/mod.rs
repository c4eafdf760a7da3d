//! The DARTS space: two kinds of cells (normal, reduction) of 4 nodes, 14 edges and 8 operations each.
//! Liu, Simonyan, Yang: "DARTS: Differentiable Architecture Search", ICLR 2019.

mod parse;
mod text;

use std::sync::LazyLock;

use engine::{Block, BlockKind, CellBlock, CellOutput, CellSpec, Edge, Head, NetworkSpec, Op, OpNorm, Preprocess};

use super::{CellKind, Genotype, NetworkShape, OpName, SearchSpace, Size, SpaceError};

/// Candidate operations in the order of the original.
pub const OPS: [OpName; 8] = [
    OpName::NONE,
    OpName::MAX_POOL_3X3,
    OpName::AVG_POOL_3X3,
    OpName::SKIP_CONNECT,
    OpName::SEP_CONV_3X3,
    OpName::SEP_CONV_5X5,
    OpName::DIL_CONV_3X3,
    OpName::DIL_CONV_5X5,
];

const ENGINE_OPS: [Op; 8] = [
    Op::None,
    Op::MaxPool3x3,
    Op::AvgPool3x3,
    Op::Skip,
    Op::SepConv3x3,
    Op::SepConv5x5,
    Op::DilConv3x3,
    Op::DilConv5x5,
];

/// Nodes of a cell that are inputs: the outputs of the two cells before.
const INPUTS: usize = 2;
/// Nodes of a cell, the inputs included.
const NODES: usize = 6;
/// Incoming edges of each node in a derived cell.
const KEPT: usize = 2;
/// Fewer cells leave no room for two reductions with a normal cell before them.
const MIN_CELLS: usize = 3;
/// More cells would be a mistake.
const MAX_CELLS: usize = 1000;
/// Reduction cells.
const HALVINGS: u32 = 2;
/// Channels of the stem's output, in channels of a node of the first cell.
const STEM_MULTIPLIER: usize = 3;

static KINDS: LazyLock<[CellKind; 2]> = LazyLock::new(|| {
    ["normal", "reduce"].map(|name| CellKind {
        name,
        inputs: INPUTS,
        nodes: NODES,
        edges: (INPUTS..NODES).flat_map(|to| (0..to).map(move |from| Edge { from, to })).collect(),
        kept_inputs: Some(KEPT),
    })
});

/// The DARTS space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Darts;

impl SearchSpace for Darts {
    fn name(&self) -> &'static str {
        "darts"
    }

    fn description(&self) -> &'static str {
        "normal and reduction cell of 4 nodes, 14 edges, 8 operations; two edges of each node stay"
    }

    fn ops(&self) -> &'static [OpName] {
        &OPS
    }

    fn kinds(&self) -> &[CellKind] {
        &*KINDS
    }

    fn supernet_size(&self) -> Size {
        Size { channels: 16, cells: 8 }
    }

    fn network_size(&self) -> Size {
        Size { channels: 36, cells: 20 }
    }

    fn supernet(&self, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        let edges = [0, 1].map(|kind| KINDS[kind].edges.clone());
        let alive = vec![true; edges.iter().map(Vec::len).sum::<usize>() * OPS.len()];
        network_spec(shape, edges, alive, OpNorm { affine: false, pools: true })
    }

    fn network(&self, genotype: &Genotype, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        let cells = text::cells(genotype)?;
        let edges = [0, 1].map(|kind| cells[kind].iter().map(|e| Edge { from: e.from, to: e.to }).collect::<Vec<_>>());
        let chosen = cells.iter().flatten().map(|e| e.op);
        let alive = chosen.flat_map(|chosen| OPS.into_iter().map(move |op| op == chosen)).collect();
        network_spec(shape, edges, alive, OpNorm { affine: true, pools: false })
    }

    /// Where the second reduction is.
    fn auxiliary_block(&self, cells: usize) -> Option<usize> {
        Some(2 * cells / 3)
    }

    fn claims(&self, text: &str) -> bool {
        parse::claims(text)
    }

    fn parse(&self, text: &str) -> Result<Genotype, SpaceError> {
        Ok(parse::genotype(text)?)
    }

    fn text(&self, genotype: &Genotype) -> Result<String, SpaceError> {
        text::write(genotype)
    }

    fn table_index(&self, _: &Genotype) -> Option<usize> {
        None
    }
}

/// The macro network of DARTS around these edges of normal and reduction cell: a stem of `3 C` channels and `cells` cells,
/// of which those at a third and two thirds are reductions that double the channels. `alive: [R, O]`, the rows of the
/// normal cell first.
fn network_spec(
    shape: &NetworkShape,
    edges: [Vec<Edge>; 2],
    alive: Vec<bool>,
    norm: OpNorm,
) -> Result<NetworkSpec, SpaceError> {
    shape.check("darts", MIN_CELLS..=MAX_CELLS, HALVINGS)?;
    let cells = shape.cells;
    let first_rows = [0, edges[0].len()];
    let rows = edges.iter().map(Vec::len).sum();
    let mut channels = shape.channels;
    let mut after_reduction = false;
    let block = |i: usize| {
        let reduction = i == cells / 3 || i == 2 * cells / 3;
        let kind = usize::from(reduction);
        if reduction {
            channels = channels.saturating_mul(2);
        }
        let older = if after_reduction { Preprocess::FactorizedReduce } else { Preprocess::Conv1x1 };
        after_reduction = reduction;
        let cell = CellBlock {
            cell: kind,
            first_row: first_rows[kind],
            channels,
            preprocess: vec![older, Preprocess::Conv1x1],
        };
        Block { name: format!("cells.{i}"), kind: BlockKind::Cell(cell) }
    };
    let blocks = (0..cells).map(block).collect();
    let [normal, reduce] = edges;
    let template = |edges, stride| CellSpec { inputs: INPUTS, nodes: NODES, edges, stride, output: CellOutput::Concat };
    Ok(NetworkSpec {
        image: shape.image,
        classes: shape.classes,
        ops: ENGINE_OPS.to_vec(),
        cells: vec![template(normal, 1), template(reduce, 2)],
        rows,
        stem_channels: shape.channels.saturating_mul(STEM_MULTIPLIER),
        stem_stride: shape.stem_stride,
        blocks,
        head: Head::Plain,
        auxiliary: None,
        norm,
        partial: 1,
        alive,
    })
}
