//! The DARTS space: two kinds of cells (normal, reduction) of 4 nodes, 14 edges and 8 operations each.
//! Liu, Simonyan, Yang: "DARTS: Differentiable Architecture Search", ICLR 2019.
//!
//! And what DARTS-Bench-Suite (<https://github.com/automl/ConfigurableOptimizer>, `scripts/benchsuite_experiments`) makes of it
//! beside other sizes and sets of operations: cells with a skip connection beside every operation, and a network of one large
//! cell.

mod parse;
mod text;

use std::{ops::RangeInclusive, sync::LazyLock};

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

const NORMAL: &str = "normal";
const REDUCE: &str = "reduce";
/// Nodes of a cell that are inputs: the outputs of the two cells before.
const INPUTS: usize = 2;
/// Nodes of a cell that are its output, one after the other along the channels: the last ones.
const OUTPUTS: usize = 4;
/// Incoming edges of each node in a derived cell.
const KEPT: usize = 2;
/// Fewer cells leave no room for two reductions with a normal cell before them.
const MIN_CELLS: usize = 3;
/// More cells would be a mistake.
const MAX_CELLS: usize = 1000;
/// Channels of the stem's output, in channels of a node of the first cell.
const STEM_MULTIPLIER: usize = 3;

static KINDS: LazyLock<[CellKind; 2]> = LazyLock::new(|| [NORMAL, REDUCE].map(|name| kind(name, 6)));
static SINGLE_KIND: LazyLock<[CellKind; 1]> = LazyLock::new(|| [kind(REDUCE, 10)]);

/// A cell whose every node reads all nodes before it.
fn kind(name: &'static str, nodes: usize) -> CellKind {
    let edges = (INPUTS..nodes).flat_map(|to| (0..to).map(move |from| Edge { from, to })).collect();
    CellKind { name, inputs: INPUTS, nodes, outputs: OUTPUTS, edges, kept_inputs: Some(KEPT) }
}

/// The DARTS space and those that are made of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Darts {
    /// That of the paper.
    #[default]
    Original,
    /// Every edge passes its input on beside its operation (DARTS-Bench-Suite, `all_skip`), in supernet and derived network:
    /// at stride 2 by a FactorizedReduce of its own.
    AllSkip,
    /// A network of one cell of 8 nodes (DARTS-Bench-Suite, `single_cell`). By the rule for the places of the reductions it
    /// is a reduction cell.
    SingleCell,
    /// That cell with the skip connections.
    SingleCellAllSkip,
}

impl Darts {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Original, Self::AllSkip, Self::SingleCell, Self::SingleCellAllSkip];

    fn auxiliary_skips(self) -> bool {
        matches!(self, Self::AllSkip | Self::SingleCellAllSkip)
    }

    fn is_single(self) -> bool {
        matches!(self, Self::SingleCell | Self::SingleCellAllSkip)
    }

    fn cells(self) -> RangeInclusive<usize> {
        if self.is_single() { 1..=1 } else { MIN_CELLS..=MAX_CELLS }
    }

    /// The macro network around these edges of each kind of cell: a stem of `3 C` channels and `cells` cells, of which those at
    /// a third and two thirds are reductions that double the channels. `alive: [R, O]`, the rows of the kinds in order.
    fn network_spec(
        self,
        shape: &NetworkShape,
        edges: Vec<Vec<Edge>>,
        alive: Vec<bool>,
        norm: OpNorm,
    ) -> Result<NetworkSpec, SpaceError> {
        let reductions = if self.is_single() { 1 } else { 2 };
        shape.check(self.name(), self.cells(), reductions)?;
        let (cells, kinds) = (shape.cells, self.kinds());
        let rows = edges.iter().map(Vec::len).sum();
        let mut channels = shape.channels;
        let mut after_reduction = false;
        let block = |i: usize| {
            let reduction = i == cells / 3 || i == 2 * cells / 3;
            let name = if reduction { REDUCE } else { NORMAL };
            let kind = kinds.iter().take_while(|kind| kind.name != name).count();
            if reduction {
                channels = channels.saturating_mul(2);
            }
            let older = if after_reduction { Preprocess::FactorizedReduce } else { Preprocess::Conv1x1 };
            after_reduction = reduction;
            let cell = CellBlock {
                cell: kind,
                first_row: edges[..kind].iter().map(Vec::len).sum(),
                channels,
                preprocess: vec![older, Preprocess::Conv1x1],
            };
            Block { name: format!("cells.{i}"), kind: BlockKind::Cell(cell) }
        };
        let blocks = (0..cells).map(block).collect();
        let template = |(kind, edges): (&CellKind, Vec<Edge>)| CellSpec {
            inputs: INPUTS,
            nodes: kind.nodes,
            edges,
            stride: if kind.name == REDUCE { 2 } else { 1 },
            auxiliary_skips: self.auxiliary_skips(),
            output: CellOutput::Concat(kind.outputs),
        };
        Ok(NetworkSpec {
            image: shape.image,
            classes: shape.classes,
            ops: ENGINE_OPS.to_vec(),
            cells: kinds.iter().zip(edges).map(template).collect(),
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
}

impl SearchSpace for Darts {
    fn name(&self) -> &'static str {
        match self {
            Self::Original => "darts",
            Self::AllSkip => "darts-all-skip",
            Self::SingleCell => "darts-single-cell",
            Self::SingleCellAllSkip => "darts-single-cell-all-skip",
        }
    }

    fn family(&self) -> &'static str {
        Self::Original.name()
    }

    fn description(&self) -> &'static str {
        match self {
            Self::Original => {
                "normal and reduction cell of 4 nodes, 14 edges, 8 operations; two edges of each node stay"
            }
            Self::AllSkip => "the same with a skip connection beside every operation (DARTS-Bench-Suite)",
            Self::SingleCell => {
                "one reduction cell of 8 nodes, 44 edges, 8 operations; two edges of each node stay (DARTS-Bench-Suite)"
            }
            Self::SingleCellAllSkip => "that cell with a skip connection beside every operation (DARTS-Bench-Suite)",
        }
    }

    fn ops(&self) -> &'static [OpName] {
        &OPS
    }

    fn kinds(&self) -> &[CellKind] {
        if self.is_single() { &*SINGLE_KIND } else { &*KINDS }
    }

    fn supernet_size(&self) -> Size {
        if self.is_single() { Size { channels: 26, cells: 1 } } else { Size { channels: 16, cells: 8 } }
    }

    /// Of the single cell: that of the supernet, as in the suite.
    fn network_size(&self) -> Size {
        if self.is_single() { self.supernet_size() } else { Size { channels: 36, cells: 20 } }
    }

    fn supernet(&self, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        let edges: Vec<_> = self.kinds().iter().map(|kind| kind.edges.clone()).collect();
        let alive = vec![true; edges.iter().map(Vec::len).sum::<usize>() * OPS.len()];
        self.network_spec(shape, edges, alive, OpNorm { affine: false, pools: true })
    }

    fn network(&self, genotype: &Genotype, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        let cells = text::cells(*self, genotype)?;
        let edges = cells.iter().map(|cell| cell.iter().map(|e| Edge { from: e.from, to: e.to }).collect()).collect();
        let chosen = cells.iter().flatten().map(|e| e.op);
        let alive = chosen.flat_map(|chosen| OPS.into_iter().map(move |op| op == chosen)).collect();
        self.network_spec(shape, edges, alive, OpNorm { affine: true, pools: false })
    }

    /// Where the second reduction is.
    fn auxiliary_block(&self, cells: usize) -> Option<usize> {
        (!self.is_single()).then_some(2 * cells / 3)
    }

    fn claims(&self, text: &str) -> bool {
        parse::claims(text)
    }

    fn parse(&self, text: &str) -> Result<Genotype, SpaceError> {
        Ok(parse::genotype(*self, text)?)
    }

    fn text(&self, genotype: &Genotype) -> Result<String, SpaceError> {
        text::write(*self, genotype)
    }

    fn table_index(&self, _: &Genotype) -> Option<usize> {
        None
    }
}
