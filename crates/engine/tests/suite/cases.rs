//! Networks and values for the tests. Values come from a closed formula over (key, position), which
//! `../pytorch/make_fixtures.py` computes as well, so that fixtures need not store them.

use hpe_darts_engine::{CellSpec, Edge, ImageShape, NetworkSpec, Op, TensorState};

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

/// Names and shapes of all weights and running statistics, as the engine's contract has them.
pub(crate) fn shapes(spec: &NetworkSpec) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let bn = |all: &mut Vec<_>, prefix: &str, c: usize| {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            all.push((format!("{prefix}.{part}"), vec![c]));
        }
    };
    all.push(("stem.conv.weight".to_string(), vec![spec.channels, spec.image.channels, 3, 3]));
    bn(&mut all, "stem.bn", spec.channels);
    for s in 0..spec.stages {
        let c = spec.channels << s;
        if s > 0 {
            let p = format!("stages.{s}.reduce");
            all.push((format!("{p}.conv_a.weight"), vec![c, c / 2, 3, 3]));
            bn(&mut all, &format!("{p}.bn_a"), c);
            all.push((format!("{p}.conv_b.weight"), vec![c, c, 3, 3]));
            bn(&mut all, &format!("{p}.bn_b"), c);
            all.push((format!("{p}.shortcut.weight"), vec![c, c / 2, 1, 1]));
        }
        for k in 0..spec.cells_per_stage {
            for (i, alive) in spec.alive.iter().enumerate() {
                let (e, op) = (i / spec.cell.ops.len(), spec.cell.ops[i % spec.cell.ops.len()]);
                if !alive || !op.is_conv() {
                    continue;
                }
                let (kind, size) = if op == Op::Conv1x1 { ("conv1x1", 1) } else { ("conv3x3", 3) };
                let p = format!("stages.{s}.cells.{k}.edges.{e}.{kind}");
                all.push((format!("{p}.weight"), vec![c, c, size, size]));
                if spec.affine {
                    bn(&mut all, &format!("{p}.bn"), c);
                }
            }
        }
    }
    let c = spec.channels << (spec.stages - 1);
    bn(&mut all, "head.bn", c);
    all.push(("head.linear.weight".to_string(), vec![spec.classes, c]));
    all.push(("head.linear.bias".to_string(), vec![spec.classes]));
    all
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

pub(crate) fn cell(nodes: usize, edges: &[(usize, usize)], ops: &[Op]) -> CellSpec {
    let edges = edges.iter().map(|&(from, to)| Edge { from, to }).collect();
    CellSpec { nodes, edges, ops: ops.to_vec() }
}

/// The cell of NAS-Bench-201.
pub(crate) fn nas_bench_201() -> CellSpec {
    cell(4, &[(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)], &ALL_OPS)
}

/// Everything alive, no affine parameters, one cell a stage.
pub(crate) fn supernet(cell: CellSpec, image: (usize, usize, usize), channels: usize, stages: usize) -> NetworkSpec {
    NetworkSpec {
        image: ImageShape { height: image.0, width: image.1, channels: image.2 },
        classes: 10,
        channels,
        cells_per_stage: 1,
        stages,
        alive: vec![true; cell.edges.len() * cell.ops.len()],
        cell,
        affine: false,
    }
}

/// A discrete network: on each edge only the given operation is alive.
pub(crate) fn discrete(ops: &[Op], mut spec: NetworkSpec) -> NetworkSpec {
    assert_eq!(ops.len(), spec.cell.edges.len());
    spec.alive = ops.iter().flat_map(|op| spec.cell.ops.iter().map(move |o| o == op)).collect();
    spec.affine = true;
    spec
}
