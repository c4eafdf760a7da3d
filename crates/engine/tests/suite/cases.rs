//! Networks and values for the tests. Values come from a closed formula over (key, position), which
//! `../pytorch/make_fixtures.py` computes as well, so that fixtures need not store them.

use hpe_darts_engine::{
    Block, BlockKind, CellBlock, CellOutput, CellSpec, Edge, Head, ImageShape, NetworkSpec, Op, OpNorm, Preprocess,
    Stages, TensorState,
};

/// Uniform in [-1, 1), a multiple of 2^-23: FNV-1a of the key, then murmur3's finaliser.
pub(crate) fn uniform(key: &str, position: usize) -> f64 {
    let seed = key.bytes().fold(0x811C_9DC5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let mut h = (position as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed);
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^= h >> 16;
    f64::from(h >> 8) / f64::from(1 << 23) - 1.0
}

/// An index below `len`.
pub(crate) fn pick(key: &str, position: usize, len: usize) -> usize {
    (((uniform(key, position) + 1.0) / 2.0) * len as f64) as usize
}

/// `[n, H, W, C]`.
pub(crate) fn images(case: &str, n: usize, image: ImageShape) -> Vec<f32> {
    (0..n * image.len()).map(|i| (1.5 * uniform(&format!("{case}/images"), i)) as f32).collect()
}

pub(crate) fn labels(case: &str, n: usize, classes: usize) -> Vec<u32> {
    (0..n).map(|i| pick(&format!("{case}/labels"), i, classes) as u32).collect()
}

/// Mixing weights `[E, O]`, some of them negative.
pub(crate) fn mixing(case: &str, len: usize) -> Vec<f32> {
    (0..len).map(|i| (0.2 + 0.3 * uniform(&format!("{case}/mixing"), i)) as f32).collect()
}

/// Names and shapes of all weights and running statistics, as the network's graph has them.
pub(crate) fn shapes(spec: &NetworkSpec) -> Vec<(String, Vec<usize>)> {
    let graph = spec.graph().unwrap();
    let weights = graph.parameters().map(|p| (p.name, p.shape));
    weights.chain(graph.statistics().map(|(name, channels)| (name, vec![channels]))).collect()
}

/// Values of the tensor `name` in `case`: normalisation scales around 1, convolutions and classifier within
/// 1 / sqrt(fan in), the rest around 0; momentum is 0.
pub(crate) fn values(case: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let key = format!("{case}/{name}");
    let fan_in: usize = shape[1..].iter().product();
    let (centre, spread) = if name.starts_with("momentum.") {
        (0.0, 0.0)
    } else if shape.len() > 1 {
        (0.0, 1.0 / (fan_in as f64).sqrt())
    } else if name.ends_with("running_var") {
        (1.0, 0.5)
    } else if name.ends_with("weight") {
        (1.0, 0.25)
    } else {
        (0.0, 0.25)
    };
    (0..shape.iter().product()).map(|i| (centre + spread * uniform(&key, i)) as f32).collect()
}

/// All weights and running statistics of a network, filled by [`values`].
pub(crate) fn state(case: &str, spec: &NetworkSpec) -> Vec<TensorState> {
    shapes(spec)
        .into_iter()
        .map(|(name, shape)| TensorState { data: values(case, &name, &shape), name, shape })
        .collect()
}

pub(crate) const ALL_OPS: [Op; 5] = [Op::None, Op::Skip, Op::Conv1x1, Op::Conv3x3, Op::AvgPool3x3];

/// Nodes, edges and operations of a cell with one input.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) nodes: usize,
    pub(crate) edges: Vec<Edge>,
    pub(crate) ops: Vec<Op>,
}

pub(crate) fn cell(nodes: usize, edges: &[(usize, usize)], ops: &[Op]) -> Cell {
    let edges = edges.iter().map(|&(from, to)| Edge { from, to }).collect();
    Cell { nodes, edges, ops: ops.to_vec() }
}

/// The cell of NAS-Bench-201.
pub(crate) fn nas_bench_201() -> Cell {
    cell(4, &[(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)], &ALL_OPS)
}

/// Everything alive, no affine parameters, one cell a stage.
pub(crate) fn stages(cell: Cell, image: (usize, usize, usize), channels: usize, stages: usize) -> Stages {
    Stages {
        image: ImageShape { height: image.0, width: image.1, channels: image.2 },
        classes: 10,
        channels,
        stem_stride: 1,
        cells_per_stage: 1,
        stages,
        alive: vec![true; cell.edges.len() * cell.ops.len()],
        nodes: cell.nodes,
        edges: cell.edges,
        ops: cell.ops,
        affine: false,
    }
}

/// The network of [`stages`].
pub(crate) fn supernet(cell: Cell, image: (usize, usize, usize), channels: usize, count: usize) -> NetworkSpec {
    stages(cell, image, channels, count).network()
}

/// Two kinds of cells with two inputs each, a normal one, a reduction and a normal one after it, whose edges have all
/// operations that DARTS has; outputs are concatenations.
pub(crate) fn two_inputs(image: (usize, usize, usize), channels: usize) -> NetworkSpec {
    let template = |edges: &[(usize, usize)], stride| CellSpec {
        inputs: 2,
        nodes: 4,
        edges: edges.iter().map(|&(from, to)| Edge { from, to }).collect(),
        stride,
        auxiliary_skips: false,
        output: CellOutput::Concat(2),
    };
    let cells = vec![template(&[(0, 2), (1, 3), (2, 3)], 1), template(&[(0, 2), (1, 2), (2, 3)], 2)];
    let block = |(i, (cell, channels, older))| Block {
        name: format!("cells.{i}"),
        kind: BlockKind::Cell(CellBlock {
            cell,
            first_row: 3 * cell,
            channels,
            preprocess: vec![older, Preprocess::Conv1x1],
        }),
    };
    let blocks = [
        (0, channels, Preprocess::Conv1x1),
        (1, 2 * channels, Preprocess::Conv1x1),
        (0, 2 * channels, Preprocess::FactorizedReduce),
    ];
    let ops: Vec<Op> = Op::ALL.into_iter().filter(|op| !matches!(op, Op::Conv1x1 | Op::Conv3x3)).collect();
    NetworkSpec {
        image: ImageShape { height: image.0, width: image.1, channels: image.2 },
        classes: 4,
        alive: vec![true; 6 * ops.len()],
        ops,
        cells,
        rows: 6,
        stem_channels: 3 * channels,
        stem_stride: 1,
        blocks: blocks.into_iter().enumerate().map(block).collect(),
        head: Head::Plain,
        auxiliary: None,
        norm: OpNorm { affine: false, pools: true },
        partial: 1,
    }
}

/// Operations see one of `parts` parts of the channels.
pub(crate) fn partial(parts: usize, spec: NetworkSpec) -> NetworkSpec {
    NetworkSpec { partial: parts, ..spec }
}

/// Every edge passes its input on beside its operations, and cells put out their last `nodes` nodes.
pub(crate) fn passing(nodes: usize, mut spec: NetworkSpec) -> NetworkSpec {
    for cell in &mut spec.cells {
        cell.auxiliary_skips = true;
        cell.output = CellOutput::Concat(nodes);
    }
    spec
}

/// With scale and shift in the operations' normalisation.
pub(crate) fn affine(mut spec: NetworkSpec) -> NetworkSpec {
    spec.norm.affine = true;
    spec
}

/// A discrete network: on each edge only the given operation is alive.
pub(crate) fn discrete(ops: &[Op], mut spec: NetworkSpec) -> NetworkSpec {
    assert_eq!(ops.len(), spec.rows);
    spec.alive = ops.iter().flat_map(|op| spec.ops.iter().map(move |o| o == op)).collect();
    affine(spec)
}
