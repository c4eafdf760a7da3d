//! Laws that hold exactly: threads, resume, pruning, which gradients are asked for, batch sizes; and refused input.

use hpe_darts_engine::{
    Batch, CodeDistances, Codes, EngineError, Gradients, Kernels, NetworkSpec, Normalisation, Op, Options, Pass, Sgd,
    TensorState, Vector,
};

use crate::cases::{self, ALL_OPS};
use crate::compare::{Case, Network, build, check_step};
use crate::reference::{Reference, Stats, tensors};

const ONE: Options = Options { threads: 1, kernels: Kernels::Auto };
const SGD: Sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, clip_norm: Some(5.0) };

/// Everything a network returns or keeps, as bits, over `steps` training steps on slices of the case's batch.
#[derive(Debug, PartialEq)]
struct Trace {
    numbers: Vec<u64>,
    state: Vec<(String, Vec<u32>)>,
}

fn bits(state: &[TensorState]) -> Vec<(String, Vec<u32>)> {
    state.iter().map(|t| (t.name.clone(), t.data.iter().map(|v| v.to_bits()).collect())).collect()
}

/// Trains `steps` steps on `case` and records all results.
fn train(case: &Case, network: &mut Network, steps: usize) -> Trace {
    let mut numbers = Vec::new();
    for _ in 0..steps {
        let out = network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
        numbers.push(out.loss.to_bits());
        numbers.push(out.correct as u64);
        numbers.extend(out.mixing_grad.iter().map(|v| v.to_bits()));
        numbers.push(network.sgd_step(&SGD, 0.05).to_bits());
    }
    Trace { numbers, state: bits(&network.state()) }
}

fn affine(spec: NetworkSpec) -> NetworkSpec {
    NetworkSpec { affine: true, ..spec }
}

fn supernet_case() -> Case {
    Case::new("laws", cases::supernet(cases::nas_bench_201(), (10, 7, 3), 5, 2), 6)
}

#[test]
fn results_do_not_depend_on_threads() {
    let wide = cases::supernet(cases::nas_bench_201(), (16, 16, 3), 16, 2);
    let cases = [supernet_case(), Case::new("threads", affine(wide), 11)];
    for case in &cases {
        for kernels in [Kernels::Auto, Kernels::Direct, Kernels::Winograd, Kernels::Reference] {
            let run = |threads| {
                let mut network = case.network(Options { threads, kernels });
                let trace = train(case, &mut network, 2);
                let evaluated = [Normalisation::Batch, Normalisation::Running]
                    .map(|norm| network.evaluate(case.batch(), case.pass(), norm).map(|e| e.loss.to_bits()));
                let codes = [Codes::OpOutputs, Codes::ReluInputs]
                    .map(|c| network.code_distances(&case.images, case.pass(), c).unwrap());
                (trace, evaluated, codes)
            };
            let one = run(1);
            assert!(one == run(2), "{}: 2 threads, {kernels:?}", case.key);
            assert!(one == run(3), "{}: 3 threads, {kernels:?}", case.key);
        }
    }
}

#[test]
fn a_restored_network_continues_bit_identically() {
    let discrete = cases::discrete(
        &[Op::Conv3x3, Op::Skip, Op::Conv1x1, Op::AvgPool3x3, Op::None, Op::Conv3x3],
        cases::supernet(cases::nas_bench_201(), (9, 9, 3), 6, 2),
    );
    for case in [supernet_case(), Case::new("resume", discrete, 5)] {
        let mut network = build(&case.spec, 7, ONE).unwrap();
        train(&case, &mut network, 3);
        let saved = network.state();
        let on = train(&case, &mut network, 2);
        let mut other = build(&case.spec, 8, Options { threads: 2, ..ONE }).unwrap();
        other.load_state(&saved).unwrap();
        assert_eq!(bits(&other.state()), bits(&saved), "{}: what was loaded comes out again", case.key);
        assert!(on == train(&case, &mut other, 2), "{}: two steps after loading", case.key);
    }
}

#[test]
fn removing_an_operation_is_building_without_it() {
    for spec in [supernet_case().spec, affine(supernet_case().spec)] {
        let case = Case::new("removed", spec, 6);
        let mut pruned = case.network(ONE);
        train(&case, &mut pruned, 2);
        let gone = [(0, 3), (0, 0), (1, 2), (2, 4), (3, 1), (4, 2), (4, 3), (5, 3)];
        let mut without = case.spec.clone();
        for (edge, op) in gone {
            pruned.remove_op(edge, op);
            without.alive[edge * ALL_OPS.len() + op] = false;
        }
        assert_eq!(pruned.spec(), &without);
        let mut built = build(&without, 3, ONE).unwrap();
        let names = |n: &mut Network| n.state().into_iter().map(|t| (t.name, t.shape)).collect::<Vec<_>>();
        assert_eq!(names(&mut built), names(&mut pruned));
        assert_eq!(built.parameters(), pruned.parameters());
        assert!(built.parameters() < case.network(ONE).parameters());
        built.load_state(&pruned.state()).unwrap();
        assert!(train(&case, &mut built, 2) == train(&case, &mut pruned, 2), "affine {}", case.spec.affine);
        // And it still is the network that the reference knows.
        let case = Case { spec: without, ..case };
        check_step(&case, &mut pruned, 100.0).unwrap();
    }
}

#[test]
fn a_whole_edge_and_everything_can_be_removed() {
    let case = supernet_case();
    let mut network = case.network(ONE);
    let mut spec = case.spec.clone();
    for edge in 0..case.spec.cell.edges.len() {
        for op in 0..ALL_OPS.len() {
            network.remove_op(edge, op);
            spec.alive[edge * ALL_OPS.len() + op] = false;
        }
        let left = Case { spec: spec.clone(), ..supernet_case() };
        check_step(&left, &mut network, 100.0).unwrap_or_else(|e| panic!("edges 0..={edge} removed: {e}"));
    }
}

#[test]
fn weights_of_dead_operations_are_ignored() {
    let mut case = supernet_case();
    case.spec.alive[3] = false;
    case.spec.alive[16] = false;
    let trace = train(&case, &mut case.network(ONE), 1);
    case.w[3] = f32::NAN;
    case.w[16] = f32::INFINITY;
    let mut network = case.network(ONE);
    assert!(trace == train(&case, &mut network, 1));
    let loss = network.evaluate(case.batch(), case.pass(), Normalisation::Batch).unwrap().loss;
    assert!(loss.is_finite());
    let codes = network.code_distances(&case.images, case.pass(), Codes::OpOutputs).unwrap();
    assert!(codes.ops[3].is_none() && codes.ops[16].is_none() && codes.ops[2].is_some());
}

/// The ReLU in front of a convolution is there whether the convolution is skipped or not.
#[test]
fn a_convolution_without_weight_keeps_the_code_of_its_relu() {
    let mut case = supernet_case();
    let (edges, ops) = (&case.spec.cell.edges, case.spec.cell.ops.len());
    let edge = edges.iter().position(|e| e.from > 0).unwrap();
    let op = case.spec.cell.ops.iter().position(|op| op.is_conv()).unwrap();
    let removed = edge * ops + op;
    let mut network = case.network(ONE);
    let before = network.code_distances(&case.images, case.pass(), Codes::ReluInputs).unwrap();
    case.w[removed] = 0.0;
    let without = network.code_distances(&case.images, case.pass(), Codes::ReluInputs).unwrap();
    let bits = |codes: &CodeDistances| codes.ops.iter().map(|d| d.as_ref().map(|d| d.bits)).collect::<Vec<_>>();
    assert!(without.ops[removed].is_some());
    assert_eq!(bits(&before), bits(&without));
    assert!(network.code_distances(&case.images, case.pass(), Codes::OpOutputs).unwrap().ops[removed].is_none());
    // With all weights 0 its input is 0 in every sample, not what an earlier pass left there.
    case.w.fill(0.0);
    let blind = network.code_distances(&case.images, case.pass(), Codes::ReluInputs).unwrap();
    assert!(blind.ops[removed].as_ref().unwrap().hamming.iter().all(|&d| d == 0));
    network.remove_op(edge, op);
    assert!(network.code_distances(&case.images, case.pass(), Codes::ReluInputs).unwrap().ops[removed].is_none());
}

#[test]
fn gradients_do_not_depend_on_which_are_asked_for() {
    let mut case = supernet_case();
    case.w[7] = 0.0;
    case.w[13] = 0.0;
    let step = |gradients| {
        let mut network = case.network(ONE);
        let out = network.train_step(case.batch(), case.pass(), gradients).unwrap();
        (out, network.tensors(Vector::Gradient).unwrap())
    };
    let (both, grads) = step(Gradients::Both);
    let (omega, omega_grads) = step(Gradients::Omega);
    let (mixing, _) = step(Gradients::Mixing);
    assert_eq!(omega.mixing_grad, vec![0.0; case.w.len()], "dL/dw was not asked for");
    let close = |a: f64, b: f64, scale: f64| (a - b).abs() <= 1e-5 * scale;
    for (name, out) in [("omega", &omega), ("mixing", &mixing)] {
        assert!(close(out.loss, both.loss, 1.0), "{name}: loss {} and {}", out.loss, both.loss);
        assert_eq!(out.correct, both.correct, "{name}");
    }
    let largest = both.mixing_grad.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    assert!(largest > 0.0);
    for (i, (a, b)) in mixing.mixing_grad.iter().zip(&both.mixing_grad).enumerate() {
        assert!(close(*a, *b, largest), "dL/dw[{i}]: {a} and {b}");
    }
    assert_eq!(grads.len(), omega_grads.len());
    for (a, b) in omega_grads.iter().zip(&grads) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
        let largest = b.data.iter().fold(0.0, |a: f64, b| a.max(f64::from(b.abs())));
        for (i, (x, y)) in a.data.iter().zip(&b.data).enumerate() {
            assert!(close(f64::from(*x), f64::from(*y), largest), "{}[{i}]: {x} and {y}", a.name);
        }
    }
}

#[test]
fn an_operation_of_weight_zero_is_as_good_as_none() {
    let mut zero = supernet_case();
    let mut dead = supernet_case();
    for i in [3, 8, 11, 17, 24] {
        zero.w[i] = 0.0;
        dead.spec.alive[i] = false;
    }
    let (mut a, mut b) = (zero.network(ONE), dead.network(ONE));
    let losses = |network: &mut Network, case: &Case| {
        let evaluated = network.evaluate(case.batch(), case.pass(), Normalisation::Batch).unwrap();
        (evaluated, network.train_step(case.batch(), case.pass(), Gradients::Omega).unwrap().loss)
    };
    assert_eq!(losses(&mut a, &zero), losses(&mut b, &dead));
}

#[test]
fn evaluation_agrees_and_changes_nothing() {
    for spec in [supernet_case().spec, affine(supernet_case().spec)] {
        let case = Case::new("evaluation", spec, 6);
        let mut network = case.network(ONE);
        train(&case, &mut network, 1);
        let before = network.state();
        let state = tensors(&before);
        let reference = Reference::new(&case.spec, &state);
        let on_batch = network.evaluate(case.batch(), case.pass(), Normalisation::Batch).unwrap();
        let (loss, correct) = reference.evaluate(case.batch(), &case.wide_w(), Stats::Batch);
        assert!((on_batch.loss - loss).abs() < 1e-4, "loss {} instead of {loss}", on_batch.loss);
        assert_eq!(on_batch.correct, correct);
        let on_running = network.evaluate(case.batch(), case.pass(), Normalisation::Running);
        if case.spec.affine {
            let got = on_running.unwrap();
            let (loss, correct) = reference.evaluate(case.batch(), &case.wide_w(), Stats::Running);
            assert!((got.loss - loss).abs() < 1e-4, "loss {} instead of {loss}", got.loss);
            assert_eq!(got.correct, correct);
            assert!((on_batch.loss - loss).abs() > 1e-3, "the two statistics differ");
        } else {
            // The operations of a supernet keep no running statistics.
            assert!(matches!(on_running, Err(EngineError::Spec(_))), "{on_running:?}");
        }
        network.code_distances(&case.images, case.pass(), Codes::OpOutputs).unwrap();
        assert_eq!(bits(&network.state()), bits(&before), "evaluation changed the network");
        let step = network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
        assert!((step.loss - on_batch.loss).abs() < 1e-5, "{} and {}", step.loss, on_batch.loss);
        assert_eq!(step.correct, on_batch.correct);
    }
}

#[test]
fn batch_sizes_may_change_between_calls() {
    let case = supernet_case();
    let part = |n: usize| (&case.images[..n * case.spec.image.len()], &case.labels[..n]);
    let mut network = case.network(ONE);
    for n in [4, 6, 1, 5, 2, 6] {
        let (images, labels) = part(n);
        let batch = Batch { images, labels };
        let mut fresh = case.network(ONE);
        fresh.load_state(&network.state()).unwrap();
        let evaluated = network.evaluate(batch, case.pass(), Normalisation::Batch).unwrap();
        assert_eq!(evaluated, fresh.evaluate(batch, case.pass(), Normalisation::Batch).unwrap(), "{n} samples");
        let codes = network.code_distances(images, case.pass(), Codes::ReluInputs).unwrap();
        assert_eq!(codes, fresh.code_distances(images, case.pass(), Codes::ReluInputs).unwrap(), "{n} samples");
        let out = network.train_step(batch, case.pass(), Gradients::Both).unwrap();
        assert_eq!(out, fresh.train_step(batch, case.pass(), Gradients::Both).unwrap(), "{n} samples");
        assert_eq!(network.sgd_step(&SGD, 0.05), fresh.sgd_step(&SGD, 0.05), "{n} samples");
        assert_eq!(bits(&network.state()), bits(&fresh.state()), "{n} samples");
    }
}

/// Channels that are not a multiple of the vector width: what pads them must stay zero over many steps.
#[test]
fn padded_channels_stay_out_of_the_result() {
    for channels in [1, 3, 5, 9, 13] {
        let spec = affine(cases::supernet(cases::nas_bench_201(), (6, 6, 3), channels, 2));
        let case = Case::new(&format!("padded {channels}"), spec, 4);
        let mut network = case.network(ONE);
        for step in 0..6 {
            check_step(&case, &mut network, 100.0).unwrap_or_else(|e| panic!("C {channels}, step {step}: {e}"));
            network.sgd_step(&SGD, 0.1);
        }
    }
}

/// Inputs of batch normalisation with a mean of many standard deviations: sums of squares in f32 would lose the
/// variance altogether at a thousand. Gradients lose digits with the square of the mean there, in PyTorch as well (at a
/// hundred its f32 gradients are off by 0.2 %), so they are compared at a hundred.
#[test]
fn a_large_mean_does_not_cancel_the_variance() {
    // Without a border (1x1 convolution, or one pixel) the mean is the same everywhere.
    let pointwise = cases::cell(3, &[(0, 1), (1, 2), (0, 2)], &[Op::Skip, Op::Conv1x1]);
    let pixel = cases::cell(3, &[(0, 1), (1, 2), (0, 2)], &[Op::Skip, Op::Conv3x3]);
    for (cell, size, samples) in [(pointwise, 6, 4), (pixel, 1, 128)] {
        let case = Case::new("mean", cases::supernet(cell, (size, size, 3), 8, 1), samples);
        for kernels in [Kernels::Auto, Kernels::Direct, Kernels::Winograd, Kernels::Reference] {
            for (mean, gradient_tolerance) in [(100.0, Some(0.01)), (1000.0, None)] {
                let mut network = case.network(Options { threads: 2, kernels });
                let mut state = network.state();
                let shift = state.iter_mut().find(|t| t.name == "stem.bn.bias").unwrap();
                shift.data.iter_mut().for_each(|v| *v += mean);
                network.load_state(&state).unwrap();
                let wide = tensors(&state);
                let expected = Reference::new(&case.spec, &wide).train(case.batch(), &case.wide_w());
                let out = network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
                let what = format!("mean {mean}, {size} pixels, {kernels:?}");
                let loss = expected.loss;
                assert!((out.loss - loss).abs() < 1e-3, "{what}: loss {} instead of {loss}", out.loss);
                let Some(tolerance) = gradient_tolerance else { continue };
                let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
                let whole = norm(&expected.grads.values().flat_map(|g| g.data.clone()).collect::<Vec<_>>());
                for (name, got) in tensors(&network.tensors(Vector::Gradient).unwrap()) {
                    let exact = &expected.grads[&name].data;
                    let difference: Vec<f64> = got.data.iter().zip(exact).map(|(a, b)| a - b).collect();
                    let (error, size) = (norm(&difference), norm(exact).max(0.1 * whole));
                    assert!(error < tolerance * size, "{what}: {name} off by {error:e} of {size:e}");
                }
            }
        }
    }
}

#[test]
fn new_networks_are_initialised_as_in_pytorch() {
    let spec = affine(cases::supernet(cases::nas_bench_201(), (8, 8, 3), 16, 2));
    let network = build(&spec, 42, ONE).unwrap();
    let state = network.state();
    assert_eq!(bits(&state), bits(&build(&spec, 42, ONE).unwrap().state()), "the seed decides");
    assert_ne!(bits(&state), bits(&build(&spec, 43, ONE).unwrap().state()));
    let found: Vec<_> = state.iter().filter(|t| !t.name.starts_with("momentum.")).collect();
    let mut shapes: Vec<_> = found.iter().map(|t| (t.name.clone(), t.shape.clone())).collect();
    let mut expected = cases::shapes(&spec);
    shapes.sort();
    expected.sort();
    assert_eq!(shapes, expected);
    let weights = expected.iter().filter(|(name, _)| !name.contains(".running_"));
    assert_eq!(network.parameters(), weights.map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>());
    for t in &state {
        let all = |v: f32| t.data.iter().all(|x| *x == v);
        if t.name.starts_with("momentum.") || t.name.ends_with("running_mean") {
            assert!(all(0.0), "{}", t.name);
        } else if t.name.ends_with("running_var") {
            assert!(all(1.0), "{}", t.name);
        } else if t.name.contains("bn") {
            assert!(all(if t.name.ends_with("weight") { 1.0 } else { 0.0 }), "{}", t.name);
        } else {
            let fan_in = if t.name == "head.linear.bias" { 32 } else { t.shape[1..].iter().product() };
            let bound = 1.0 / (fan_in as f32).sqrt();
            let largest = t.data.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            assert!(largest <= bound, "{}: {largest} beyond {bound}", t.name);
            if t.data.len() >= 100 {
                let n = t.data.len() as f32;
                let rms = (t.data.iter().map(|v| v * v).sum::<f32>() / n).sqrt();
                let mean = t.data.iter().sum::<f32>() / n;
                // Uniform in +-bound: rms bound / sqrt 3, mean 0 with deviation rms / sqrt n.
                assert!((rms / bound - 0.577).abs() < 0.8 / n.sqrt(), "{}: rms {rms}, bound {bound}", t.name);
                assert!(mean.abs() < 5.0 * rms / n.sqrt(), "{}: mean {mean}", t.name);
            }
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_is_returned() {
    let case = supernet_case();
    let mut network = case.network(ONE);
    let mut images = case.images.clone();
    images[10] = f32::NAN;
    let batch = Batch { images: &images, labels: &case.labels };
    assert!(network.train_step(batch, case.pass(), Gradients::Both).unwrap().loss.is_nan());
}

fn shape_error<T: std::fmt::Debug>(result: Result<T, EngineError>, got: usize, expected: usize) {
    match result {
        Err(EngineError::Shape { got: g, expected: e, .. }) => assert_eq!((g, e), (got, expected)),
        other => panic!("expected an error of shape, not {other:?}"),
    }
}

#[test]
fn misshapen_input_is_refused() {
    let case = supernet_case();
    let mut network = case.network(ONE);
    let before = bits(&network.state());
    let (n, pixels, len) = (case.labels.len(), case.spec.image.len(), case.w.len());
    let whole = Batch { images: &case.images, labels: &case.labels };
    let short = Batch { images: &case.images[..n * pixels - 1], ..whole };
    let few = Batch { labels: &case.labels[..n - 1], ..whole };
    for batch in [short, few] {
        let (got, expected) = (batch.images.len(), batch.labels.len() * pixels);
        shape_error(network.train_step(batch, case.pass(), Gradients::Both), got, expected);
        shape_error(network.evaluate(batch, case.pass(), Normalisation::Batch), got, expected);
    }
    let w = &case.w[..len - 1];
    shape_error(network.train_step(whole, Pass::new(w), Gradients::Both), len - 1, len);
    shape_error(network.evaluate(whole, Pass::new(w), Normalisation::Batch), len - 1, len);
    shape_error(network.code_distances(&case.images, Pass::new(w), Codes::OpOutputs), len - 1, len);
    let wrong = network.code_distances(&case.images[1..], case.pass(), Codes::OpOutputs);
    assert!(matches!(wrong, Err(EngineError::Shape { .. })), "{wrong:?}");
    let none = Batch { images: &[], labels: &[] };
    assert!(matches!(network.train_step(none, case.pass(), Gradients::Both), Err(EngineError::Shape { .. })));
    assert!(matches!(network.evaluate(none, case.pass(), Normalisation::Batch), Err(EngineError::Shape { .. })));
    assert!(matches!(network.code_distances(&[], case.pass(), Codes::OpOutputs), Err(EngineError::Shape { .. })));
    let mut labels = case.labels.clone();
    labels[4] = 10;
    let batch = Batch { labels: &labels, ..whole };
    let label = EngineError::Label { sample: 4, label: 10, classes: 10 };
    assert_eq!(network.train_step(batch, case.pass(), Gradients::Both).unwrap_err(), label);
    assert_eq!(network.evaluate(batch, case.pass(), Normalisation::Batch).unwrap_err(), label);
    assert_eq!(bits(&network.state()), before, "a refused call changed the network");
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let case = supernet_case();
    let mut network = case.network(ONE);
    let state = network.state();
    let changed = |change: &dyn Fn(&mut Vec<TensorState>)| {
        let mut state = state.clone();
        state.iter_mut().flat_map(|t| &mut t.data).for_each(|v| *v += 1.0);
        change(&mut state);
        state
    };
    let bad = [
        ("missing", changed(&|s| drop(s.remove(3)))),
        ("missing at the end", changed(&|s| drop(s.pop()))),
        ("surplus", changed(&|s| s.push(TensorState { name: "extra".into(), shape: vec![1], data: vec![0.0] }))),
        ("twice", changed(&|s| s.push(s[2].clone()))),
        ("renamed", changed(&|s| s[4].name.push('x'))),
        ("misshapen", changed(&|s| s[0].shape.swap(0, 1))),
        ("short", changed(&|s| s.last_mut().unwrap().data.truncate(1))),
        ("empty", vec![]),
    ];
    for (what, bad) in bad {
        let result = network.load_state(&bad);
        assert!(matches!(result, Err(EngineError::State(_))), "{what}: {result:?}");
        assert_eq!(bits(&network.state()), bits(&state), "{what}: the network changed");
    }
}

#[test]
fn impossible_networks_are_refused() {
    let spec = supernet_case().spec;
    let none = build(&spec, 0, Options { threads: 0, kernels: Kernels::Auto });
    assert!(matches!(none, Err(EngineError::Threads { threads: 0, .. })), "{none:?}");
    for bad in [
        NetworkSpec { classes: 0, ..spec.clone() },
        NetworkSpec { channels: 0, ..spec.clone() },
        NetworkSpec { stages: 0, ..spec.clone() },
        NetworkSpec { alive: vec![true; 3], ..spec.clone() },
        cases::supernet(cases::cell(2, &[(1, 0)], &ALL_OPS), (4, 4, 3), 4, 1),
        cases::supernet(cases::nas_bench_201(), (0, 4, 3), 4, 1),
    ] {
        let result = build(&bad, 0, ONE);
        assert!(matches!(result, Err(EngineError::Spec(_))), "{result:?}");
    }
}
