//! The reference's gradients against central finite differences of its own forward pass, in f64.

use hpe_darts_engine::{Batch, NetworkSpec, Op, Stages};

use crate::cases::{self, ALL_OPS};
use crate::reference::{AllCodes, Pass, Reference, Tensors, tensors};

const STEP: f64 = 1e-5;
/// Entries checked per tensor.
const ENTRIES: usize = 12;

/// One network and one batch.
struct Point {
    spec: NetworkSpec,
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Point {
    fn pass(&self, tensors: &Tensors, w: &[f64]) -> Pass {
        let batch = Batch { images: &self.images, labels: &self.labels };
        Reference::new(&self.spec, tensors).train(batch, w)
    }
}

#[derive(Default)]
struct Tally {
    /// Compared, with a gradient that is not negligible.
    compared: usize,
    /// A ReLU changed sides between the two points: no derivative to compare with.
    kinked: usize,
}

impl Tally {
    fn compare(&mut self, what: &str, gradient: f64, at: &AllCodes, minus: &Pass, plus: &Pass) {
        let relus =
            |c: &AllCodes| (c.op_relus.iter().map(|c| c.bits.clone()).collect::<Vec<_>>(), c.outside.bits.clone());
        if relus(&minus.codes) != relus(at) || relus(&plus.codes) != relus(at) {
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

fn check(case: &str, spec: NetworkSpec, samples: usize) {
    spec.check().unwrap();
    let tensors = tensors(&cases::state(case, &spec));
    let w: Vec<f64> = cases::mixing(case, spec.mixing_len()).into_iter().map(f64::from).collect();
    let point = Point {
        images: cases::images(case, samples, spec.image),
        labels: cases::labels(case, samples, spec.classes),
        spec,
    };
    let at = point.pass(&tensors, &w);
    let mut tally = Tally::default();
    for i in 0..w.len() {
        let shifted = |by: f64| {
            let mut w = w.clone();
            w[i] += by;
            point.pass(&tensors, &w)
        };
        tally.compare(&format!("{case}: w[{i}]"), at.mixing_grad[i], &at.codes, &shifted(-STEP), &shifted(STEP));
    }
    for (name, grad) in &at.grads {
        assert_eq!(grad.shape, tensors[name].shape, "{name}");
        let entries = grad.data.len().min(ENTRIES);
        for j in 0..entries {
            let i = if grad.data.len() <= ENTRIES { j } else { cases::pick(name, j, grad.data.len()) };
            let shifted = |by: f64| {
                let mut tensors = tensors.clone();
                tensors.get_mut(name).unwrap().data[i] += by;
                point.pass(&tensors, &w)
            };
            let what = format!("{case}: {name}[{i}]");
            tally.compare(&what, grad.data[i], &at.codes, &shifted(-STEP), &shifted(STEP));
        }
    }
    let weights = tensors.keys().filter(|n| !n.contains(".running_")).count();
    assert_eq!(at.grads.len(), weights, "{case}: every weight has a gradient");
    assert!(tally.compared > 50, "{case}: only {} gradients compared", tally.compared);
    assert!(tally.kinked * 10 < tally.compared, "{case}: {} of {} kinked", tally.kinked, tally.compared);
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
