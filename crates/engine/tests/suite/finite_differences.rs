//! The reference's gradients against central finite differences of its own forward pass, in f64.

use hpe_darts_engine::{Batch, DropPath, Graph, NetworkSpec, Op, Stages, ValueId};

use crate::cases::{self, ALL_OPS};
use hpe_darts_engine::reference::{AllCodes, Pass, Reference, Stats, Tensors, Trace, tensors};

const STEP: f64 = 1e-5;
/// Entries checked per tensor.
const ENTRIES: usize = 12;

/// One network, one batch, and how the network runs.
struct Point {
    case: &'static str,
    spec: NetworkSpec,
    images: Vec<f32>,
    labels: Vec<u32>,
    run: Vec<bool>,
    drop_path: Option<DropPath>,
    auxiliary: f64,
    entries: usize,
}

impl Point {
    fn new(case: &'static str, spec: NetworkSpec, samples: usize) -> Self {
        spec.check().unwrap();
        Point {
            case,
            images: cases::images(case, samples, spec.image),
            labels: cases::labels(case, samples, spec.classes),
            run: vec![true; spec.mixing_len()],
            drop_path: None,
            auxiliary: 0.0,
            entries: ENTRIES,
            spec,
        }
    }

    fn pass(&self, tensors: &Tensors, w: &[f64], added: &[f64]) -> Pass {
        let batch = Batch { images: &self.images, labels: &self.labels };
        let reference = Reference {
            run: self.run.clone(),
            drop_path: self.drop_path,
            auxiliary: self.auxiliary,
            added: added.to_vec(),
            ..Reference::new(&self.spec, tensors)
        };
        reference.train(batch, w)
    }

    fn check(&self) {
        let Self { case, spec, .. } = self;
        let mut tensors = tensors(&cases::state(case, spec));
        let w: Vec<f64> = cases::mixing(case, spec.mixing_len()).into_iter().map(f64::from).collect();
        let nothing = vec![0.0; spec.rows];
        let at = self.pass(&tensors, &w, &nothing);
        let mut tally = Tally::default();
        let shifted = |values: &[f64], i: usize, by: f64| {
            let mut values = values.to_vec();
            values[i] += by;
            values
        };
        for i in 0..w.len() {
            let pass = |by| self.pass(&tensors, &shifted(&w, i, by), &nothing);
            tally.compare(&format!("{case}: w[{i}]"), at.mixing_grad[i], &at.codes, &pass(-STEP), &pass(STEP));
        }
        for i in 0..spec.rows {
            let pass = |by| self.pass(&tensors, &w, &shifted(&nothing, i, by));
            tally.compare(&format!("{case}: edge {i}"), at.edge_grad[i], &at.codes, &pass(-STEP), &pass(STEP));
        }
        for (name, grad) in &at.grads {
            assert_eq!(grad.shape, tensors[name].shape, "{name}");
            let len = grad.data.len();
            for j in 0..len.min(self.entries) {
                let i = if len <= self.entries { j } else { cases::pick(name, j, len) };
                let value = tensors[name].data[i];
                let [minus, plus] = [-STEP, STEP].map(|by| {
                    tensors.get_mut(name).unwrap().data[i] = value + by;
                    self.pass(&tensors, &w, &nothing)
                });
                tensors.get_mut(name).unwrap().data[i] = value;
                tally.compare(&format!("{case}: {name}[{i}]"), grad.data[i], &at.codes, &minus, &plus);
            }
        }
        assert!(
            tensors.keys().filter(|n| !n.contains(".running_")).eq(at.grads.keys()),
            "{case}: gradients of all weights"
        );
        assert!(tally.compared > 50, "{case}: only {} gradients compared", tally.compared);
        assert!(tally.kinked * 10 < tally.compared, "{case}: {} of {} kinked", tally.kinked, tally.compared);
    }
}

#[derive(Default)]
struct Tally {
    /// Compared, with a gradient that is not negligible.
    compared: usize,
    /// A ReLU changed sides or a maximum its place between the two points: no derivative to compare with.
    kinked: usize,
}

impl Tally {
    fn compare(&mut self, what: &str, gradient: f64, at: &AllCodes, minus: &Pass, plus: &Pass) {
        if !at.same_side(&minus.codes) || !at.same_side(&plus.codes) {
            self.kinked += 1;
            return;
        }
        let difference = (plus.loss - minus.loss) / (2.0 * STEP);
        assert!(
            (difference - gradient).abs() < 1e-7 + 1e-5 * gradient.abs(),
            "{what}: gradient {gradient}, finite difference {difference}"
        );
        self.compared += usize::from(gradient.abs() > 1e-4);
    }
}

fn check(case: &'static str, spec: NetworkSpec, samples: usize) {
    Point::new(case, spec, samples).check();
}

#[test]
fn supernet_of_odd_size() {
    let spec = NetworkSpec { classes: 3, ..cases::supernet(cases::nas_bench_201(), (5, 7, 3), 3, 2) };
    check("fd-odd", spec, 2);
}

#[test]
fn another_graph_with_affine_normalisation() {
    let cell = cases::cell(3, &[(1, 2), (0, 1), (0, 2), (0, 2)], &[Op::AvgPool3x3, Op::Conv3x3, Op::Skip]);
    let spec = NetworkSpec { classes: 7, ..cases::affine(cases::supernet(cell, (5, 7, 3), 2, 3)) };
    check("fd-graph", spec, 3);
}

#[test]
fn two_cells_with_a_mask() {
    let two = Stages { cells_per_stage: 2, ..cases::stages(cases::nas_bench_201(), (4, 3, 1), 2, 2) };
    let mut spec = NetworkSpec { classes: 2, ..two.network() };
    spec.alive = (0..spec.mixing_len()).map(|i| cases::pick("fd-mask", i, 2) == 0).collect();
    check("fd-mask", spec, 3);
}

#[test]
fn one_image_and_a_node_without_input() {
    let cell = cases::cell(4, &[(0, 1), (2, 3), (1, 3), (0, 3)], &ALL_OPS);
    let spec = cases::supernet(cell, (6, 5, 3), 3, 1);
    check("fd-single", spec, 1);
}

#[test]
fn discrete_network() {
    let ops = [Op::Conv3x3, Op::Skip, Op::Conv1x1, Op::AvgPool3x3, Op::None, Op::Conv3x3];
    check("fd-discrete", cases::discrete(&ops, cases::supernet(cases::nas_bench_201(), (6, 4, 3), 3, 2)), 2);
}

/// Cells with two inputs, normal and reducing, all operations of DARTS, concatenation, pools with normalisation.
#[test]
fn the_supernet_of_darts() {
    Point { entries: 4, ..Point::new("fd-darts", cases::two_inputs((7, 6, 3), 2), 2) }.check();
}

#[test]
fn the_network_of_darts_without_normalised_pools() {
    let mut spec = cases::affine(cases::two_inputs((7, 6, 3), 2));
    spec.norm.pools = false;
    Point { entries: 4, ..Point::new("fd-darts-affine", spec, 2) }.check();
}

/// Parts of the channels, in cells of stride 1 and 2; the gradients of edges as well.
#[test]
fn partial_channels() {
    let nas_bench_201 = cases::partial(3, cases::supernet(cases::nas_bench_201(), (5, 4, 3), 3, 2));
    Point { entries: 4, ..Point::new("fd-partial", nas_bench_201, 3) }.check();
    let darts = cases::partial(2, cases::two_inputs((7, 6, 3), 4));
    Point { entries: 2, ..Point::new("fd-partial-darts", darts, 2) }.check();
}

/// Of edges of stride 1 and 2, beside all channels and beside parts of them; not every node is put out.
#[test]
fn auxiliary_skips() {
    let passing = |nodes| cases::passing(nodes, cases::two_inputs((7, 6, 3), 2));
    Point { entries: 2, ..Point::new("fd-passing", passing(1), 2) }.check();
    let partial = cases::partial(2, cases::affine(cases::passing(2, cases::two_inputs((5, 4, 3), 4))));
    Point { entries: 2, ..Point::new("fd-passing-partial", partial, 2) }.check();
}

#[test]
fn an_auxiliary_head() {
    let mut spec = cases::affine(cases::two_inputs((8, 8, 3), 2));
    spec.auxiliary = Some(0);
    spec.alive = (0..spec.mixing_len()).map(|i| cases::pick("fd-auxiliary", i, 6) == 0).collect();
    Point { auxiliary: 0.4, entries: 2, ..Point::new("fd-auxiliary", spec, 4) }.check();
}

#[test]
fn operations_that_do_not_run_and_paths_that_are_dropped() {
    let spec = cases::two_inputs((5, 4, 3), 2);
    let run = (0..spec.mixing_len()).map(|i| cases::pick("fd-paths", i, 3) > 0).collect();
    let drop_path = Some(DropPath { rate: 0.3, seed: 5 });
    Point { run, drop_path, entries: 2, ..Point::new("fd-paths", spec, 4) }.check();
}

/// By how much `sum(seed * value)` moves with the images, against the gradient at the image; and the gradient at a value half
/// way, which must give the same when it is carried on to the image.
#[test]
fn values_move_as_their_gradients_say() {
    let ops = [Op::Conv3x3, Op::Skip, Op::Conv1x1, Op::AvgPool3x3, Op::None, Op::Conv3x3];
    let discrete = cases::discrete(&ops, cases::supernet(cases::nas_bench_201(), (6, 4, 3), 3, 2));
    for (case, spec) in [("fd-values", discrete), ("fd-values-darts", cases::two_inputs((7, 6, 3), 2))] {
        let tensors = tensors(&cases::state(case, &spec));
        let w: Vec<f64> = cases::mixing(case, spec.mixing_len()).into_iter().map(f64::from).collect();
        let network = Reference { omega: false, ..Reference::new(&spec, &tensors) };
        let logits = network.graph.logits;
        let images = cases::images(case, 3, spec.image);
        for stats in [Stats::Batch, Stats::Off] {
            let at = network.trace(&images, &w, stats);
            let seed: Vec<f64> = (0..at.values[logits].data.len()).map(|i| cases::uniform("seed", i)).collect();
            let (gradient, _) = network.pull_back(&at, &w, (logits, seed.clone()), Graph::IMAGE);
            let moved = |by: f32| {
                let images = images.iter().enumerate();
                images.map(|(i, x)| x + by * cases::uniform("direction", i) as f32).collect::<Vec<f32>>()
            };
            let [minus, plus] = [moved(-4e-6), moved(4e-6)];
            let sum = |trace: &Trace| trace.values[logits].data.iter().zip(&seed).map(|(v, s)| v * s).sum::<f64>();
            let [below, above] = [&minus, &plus].map(|images| network.trace(images, &w, stats));
            assert!(at.codes.same_side(&below.codes) && at.codes.same_side(&above.codes), "{case}: kinked");
            let found = sum(&above) - sum(&below);
            let steps = plus.iter().zip(&minus).map(|(p, m)| f64::from(*p) - f64::from(*m));
            let expected: f64 = gradient.data.iter().zip(steps).map(|(g, step)| g * step).sum();
            assert!((found - expected).abs() < 1e-4 * expected.abs(), "{case}, {stats:?}: {found}, {expected}");

            let half: ValueId = network.graph.layers.iter().find(|l| l.name.contains("stem")).unwrap().output;
            let (there, _) = network.pull_back(&at, &w, (logits, seed.clone()), half);
            let (carried, _) = network.pull_back(&at, &w, (half, there.data), Graph::IMAGE);
            let largest = carried.data.iter().zip(&gradient.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(largest < 1e-9 * gradient.data.iter().fold(0.0, |m: f64, v| m.max(v.abs())), "{case}: {largest}");
        }
    }
}

/// The gradients of weights that a seed at the logits gives are those of the loss that it is the gradient of.
#[test]
fn a_pull_back_from_the_logits_is_the_backward_pass_of_training() {
    let spec = cases::two_inputs((7, 6, 3), 2);
    let tensors = tensors(&cases::state("fd-pull", &spec));
    let w: Vec<f64> = cases::mixing("fd-pull", spec.mixing_len()).into_iter().map(f64::from).collect();
    let (images, labels) = (cases::images("fd-pull", 2, spec.image), cases::labels("fd-pull", 2, spec.classes));
    let network = Reference::new(&spec, &tensors);
    let trained = network.train(Batch { images: &images, labels: &labels }, &w);
    let trace = network.trace(&images, &w, Stats::Batch);
    let logits = &trace.values[network.graph.logits];
    let of_row = |(row, label): (&[f64], &u32)| {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        let hot = |i: usize| f64::from(u8::from(i == *label as usize));
        row.iter().enumerate().map(|(i, v)| (v.exp() / sum - hot(i)) / 2.0).collect::<Vec<f64>>()
    };
    let seed = logits.data.chunks(logits.c).zip(&labels).flat_map(of_row).collect();
    let (_, gradient) = network.pull_back(&trace, &w, (network.graph.logits, seed), Graph::IMAGE);
    for (name, expected) in &trained.grads {
        for (found, expected) in gradient[name].data.iter().zip(&expected.data) {
            assert!((found - expected).abs() < 1e-12 + 1e-9 * expected.abs(), "{name}: {found} {expected}");
        }
    }
}
