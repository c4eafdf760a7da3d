//! Laws of the CPU engine: threads and kernels change nothing, padding stays out, variances do not cancel. What every
//! engine promises is in `conformance`.

use hpe_darts_engine::{
    Codes, CpuEngines, EngineError, Gradients, Kernels, Normalisation, Op, Options, Sgd, TensorState, Vector,
};

use crate::cases::{self, affine};
use crate::compare::{Case, Network, build, check_step};
use hpe_darts_engine::reference::{Reference, tensors};

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

fn supernet_case() -> Case {
    Case::new("laws", cases::supernet(cases::nas_bench_201(), (10, 7, 3), 5, 2), 6)
}

#[test]
fn results_do_not_depend_on_threads() {
    let wide = cases::supernet(cases::nas_bench_201(), (16, 16, 3), 16, 2);
    // Chunks of one image to three, with blocks of several images where they are small.
    let cases = [
        supernet_case(),
        Case::new("threads", affine(wide), 11),
        Case::new("two inputs", cases::two_inputs((9, 8, 3), 4), 19),
        Case::new("small images", cases::supernet(cases::nas_bench_201(), (8, 8, 3), 8, 1), 29),
        Case::new("partial channels", cases::partial(2, cases::two_inputs((9, 8, 3), 4)), 19),
    ];
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
            let all = [2, 16, 3, 6, 64];
            for &threads in if kernels == Kernels::Auto { &all[..] } else { &all[..2] } {
                assert!(one == run(threads), "{}: {threads} threads, {kernels:?}", case.key);
            }
        }
    }
}

/// Operation after operation is taken out over the same images, as importance sweeps do: a network that may go on from its last
/// pass computes what one does that sees other images in between.
#[test]
fn passes_over_the_same_images_do_not_depend_on_each_other() {
    let cases = [
        supernet_case(),
        Case::new("threads", affine(cases::supernet(cases::nas_bench_201(), (16, 16, 3), 16, 2)), 11),
        Case::new("small images", cases::supernet(cases::nas_bench_201(), (8, 8, 3), 8, 1), 29),
        Case::new("two inputs", cases::two_inputs((9, 8, 3), 4), 7),
        Case::new("partial channels", cases::partial(2, affine(cases::two_inputs((9, 8, 3), 4))), 7),
        Case::new("passing", cases::passing(1, cases::two_inputs((9, 8, 3), 4)), 7),
    ];
    for case in &cases {
        let mut networks = [2, 1].map(|threads| case.network(Options { threads, ..ONE }));
        let others: Vec<f32> = case.images.iter().map(|v| 0.5 - v).collect();
        for epoch in 0..2 {
            for network in &mut networks {
                network.train_step(case.batch(), case.pass(), Gradients::Omega).unwrap();
                network.sgd_step(&SGD, 0.05);
            }
            let out = |place: usize| {
                let mut w = case.w.clone();
                w[place] = 0.0;
                w
            };
            // The whole one in between, twice the same, and one in which many weights differ.
            let mut all: Vec<Vec<f32>> = (0..case.w.len()).step_by(3 - epoch).map(out).collect();
            all.insert(0, case.w.clone());
            all.insert(all.len() / 2, case.w.clone());
            all.insert(3, all[2].clone());
            all.push(case.w.iter().enumerate().map(|(i, w)| if i % 3 == 0 { 0.0 } else { w / 2.0 }).collect());
            for (i, w) in all.iter().enumerate() {
                let pass = hpe_darts_engine::Pass { w, ..case.pass() };
                let mut alone = true;
                let [one, other] = networks.each_mut().map(|network| {
                    alone = !alone;
                    let apart = |network: &mut Network| {
                        if alone {
                            network.logits(&others, pass, Normalisation::Batch).unwrap();
                        }
                    };
                    apart(network);
                    // Now both, now one of them, in any order.
                    let loss =
                        (i % 5 != 3).then(|| network.evaluate(case.batch(), pass, Normalisation::Batch).unwrap());
                    apart(network);
                    let kinds = [Codes::OpOutputs, Codes::ReluInputs];
                    let kinds = kinds.into_iter().filter(|kind| *kind == Codes::OpOutputs && i % 5 != 2 || i % 7 == 4);
                    let codes: Vec<_> = kinds
                        .map(|kind| {
                            apart(network);
                            network.code_distances(&case.images, pass, kind).unwrap()
                        })
                        .collect();
                    (loss.map(|e| (e.loss.to_bits(), e.correct)), codes)
                });
                assert!(one == other, "{}: pass {i}", case.key);
            }
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
fn an_engine_without_threads_is_refused() {
    let none = CpuEngines::new(Options { threads: 0, kernels: Kernels::Auto });
    assert!(matches!(none, Err(EngineError::Threads { threads: 0, .. })), "{none:?}");
}
