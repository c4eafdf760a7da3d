//! The NAS-Bench-201 topology space: 4 nodes, 6 edges, 5 operations, 15,625 cells.
//! Dong, Yang: "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020.

mod arch;
mod order;
mod parse;

use std::sync::LazyLock;

pub use arch::Arch;
use engine::{CostTable, Edge, EngineError, ImageShape, NetworkSpec, Op, Stages};

use super::{CellKind, Genotype, NetworkShape, OpName, SearchSpace, Size, SpaceError};

/// Edges of the cell.
pub const EDGES: usize = 6;

/// Number of architectures, `5^6`.
pub const ARCHITECTURES: usize = 15_625;

/// Candidate operations in the benchmark's order.
pub const OPS: [OpName; 5] =
    [OpName::NONE, OpName::SKIP_CONNECT, OpName::NOR_CONV_1X1, OpName::NOR_CONV_3X3, OpName::AVG_POOL_3X3];

/// Nodes of the cell.
const NODES: usize = 4;

const ENGINE_OPS: [Op; 5] = [Op::None, Op::Skip, Op::Conv1x1, Op::Conv3x3, Op::AvgPool3x3];

/// Edges `(from, to)` in the benchmark's order.
const EDGE_LIST: [Edge; EDGES] = [
    Edge { from: 0, to: 1 },
    Edge { from: 0, to: 2 },
    Edge { from: 1, to: 2 },
    Edge { from: 0, to: 3 },
    Edge { from: 1, to: 3 },
    Edge { from: 2, to: 3 },
];

static KINDS: LazyLock<[CellKind; 1]> = LazyLock::new(|| {
    [CellKind { name: "cell", inputs: 1, nodes: NODES, outputs: 1, edges: EDGE_LIST.to_vec(), kept_inputs: None }]
});

/// The NAS-Bench-201 topology space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NasBench201;

impl SearchSpace for NasBench201 {
    fn name(&self) -> &'static str {
        "nas-bench-201"
    }

    fn description(&self) -> &'static str {
        "cell of 4 nodes, 6 edges, 5 operations: 15,625 architectures, each with known accuracies"
    }

    fn ops(&self) -> &'static [OpName] {
        &OPS
    }

    fn kinds(&self) -> &[CellKind] {
        &*KINDS
    }

    fn supernet_size(&self) -> Size {
        Size { channels: 16, cells: 5 }
    }

    fn network_size(&self) -> Size {
        self.supernet_size()
    }

    fn supernet(&self, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        shape.check("nas-bench-201", 0..=MAX_CELLS, STAGES - 1)?;
        Ok(network_spec(shape, vec![true; EDGES * OPS.len()], false))
    }

    fn network(&self, genotype: &Genotype, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        shape.check("nas-bench-201", 0..=MAX_CELLS, STAGES - 1)?;
        Ok(Arch::try_from(genotype)?.network_spec(shape))
    }

    fn claims(&self, text: &str) -> bool {
        parse::claims(text)
    }

    fn parse(&self, text: &str) -> Result<Genotype, SpaceError> {
        Ok(text.parse::<Arch>()?.into())
    }

    fn text(&self, genotype: &Genotype) -> Result<String, SpaceError> {
        Ok(Arch::try_from(genotype)?.to_string())
    }

    fn table_index(&self, genotype: &Genotype) -> Option<usize> {
        Arch::try_from(genotype).ok().map(Arch::index)
    }
}

/// More cells would be a mistake.
const MAX_CELLS: usize = 100;
/// The image is halved between two stages.
const STAGES: u32 = 3;

/// The macro network of the benchmark (three stages) around a cell with the operations `alive: [E, O]`.
/// `affine`: whether batch normalisation in the cells has scale and shift (a discrete network: yes; a supernet: no).
pub fn network_spec(shape: &NetworkShape, alive: Vec<bool>, affine: bool) -> NetworkSpec {
    Stages {
        stem_stride: shape.stem_stride,
        image: shape.image,
        classes: shape.classes,
        channels: shape.channels,
        cells_per_stage: shape.cells,
        stages: STAGES as usize,
        nodes: 4,
        edges: EDGE_LIST.to_vec(),
        ops: ENGINE_OPS.to_vec(),
        alive,
        affine,
    }
    .network()
}

/// What each operation adds to the size of this space's networks: [`engine::CostTable::of`] of the operations that are alive
/// is the cost of [`Arch::network_spec`].
///
/// # Errors
/// Sizes that make no network.
pub fn network_costs(shape: &NetworkShape) -> Result<CostTable, EngineError> {
    Ok(network_spec(shape, vec![true; EDGES * OPS.len()], true).graph()?.cost_table())
}

/// The benchmark's own networks (`C` 16, `N` 5) on one of its data sets.
pub fn benchmark_shape(image_side: usize, classes: usize) -> NetworkShape {
    NetworkShape {
        image: ImageShape { height: image_side, width: image_side, channels: 3 },
        classes,
        channels: 16,
        cells: 5,
        stem_stride: 1,
    }
}
