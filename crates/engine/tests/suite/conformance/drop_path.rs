//! Paths that are dropped at random.

use hpe_darts_engine::{DropPath, Engine, EngineError, Engines, Gradients, Normalisation, Op, Pass, TensorState};

use super::{all, supernet};
use crate::cases;
use crate::compare::{Case, check_pass};

fn dropping(case: &Case, rate: f32, seed: u64) -> Pass<'_> {
    Pass { drop_path: Some(DropPath { rate, seed }), ..case.pass() }
}

#[test]
fn a_rate_of_zero_is_no_drop_path() {
    for (engines, case) in all() {
        let step = |pass| case.on(&*engines).train_step(case.batch(), pass, Gradients::Both);
        assert_eq!(step(dropping(&case, 0.0, 3)), step(case.pass()));
    }
}

#[test]
fn the_seed_decides_what_is_dropped() {
    for (engines, case) in all() {
        let step = |seed| case.on(&*engines).train_step(case.batch(), dropping(&case, 0.4, seed), Gradients::Both);
        assert_eq!(step(3), step(3));
        assert_ne!(step(3), step(4));
        assert_ne!(step(3).unwrap().loss, step(4).unwrap().loss);
    }
}

/// By the contract's rule, and with gradients of what is left.
#[test]
fn what_is_dropped_is_what_the_reference_drops() {
    for (engines, case) in all() {
        for (rate, seed) in [(0.2, 1), (0.6, u64::MAX)] {
            check_pass(&case, &mut case.on(&*engines), dropping(&case, rate, seed), 100.0)
                .unwrap_or_else(|e| panic!("{}, rate {rate}: {e}", case.key));
        }
    }
}

#[test]
fn an_identity_is_never_dropped() {
    for (engines, case) in all().into_iter().filter(|(_, case)| *case == supernet()) {
        let skips = cases::discrete(&[Op::Skip; 6], case.spec.clone());
        let case = Case { spec: skips, ..supernet() };
        let step = |pass| case.on(&*engines).train_step(case.batch(), pass, Gradients::Both);
        assert_eq!(step(dropping(&case, 0.9, 3)), step(case.pass()));
    }
}

/// A network whose logits are linear in what is dropped: two operations from the stem to the head, running statistics, and
/// so large a shift before the last ReLU that it passes everything.
fn linear(engines: &dyn Engines, samples: usize) -> (Box<dyn Engine>, Case) {
    let cell = cases::cell(2, &[(0, 1)], &[Op::AvgPool3x3, Op::Skip, Op::Conv3x3]);
    let spec = cases::affine(cases::supernet(cell, (4, 4, 2), 3, 1));
    let case = Case::new("drop-path-linear", spec, samples);
    let mut network = case.on(engines);
    let shift = |t: TensorState| match t.name.as_str() {
        "head.bn.bias" => TensorState { data: vec![30.0; t.data.len()], ..t },
        _ => t,
    };
    let state: Vec<_> = network.state().into_iter().map(shift).collect();
    network.load_state(&state).unwrap();
    (network, case)
}

/// The mean over seeds is the network without drop-path, for every sample and class.
#[test]
fn what_is_kept_is_scaled_to_keep_the_mean() {
    const SEEDS: u64 = 600;
    for (engines, _) in all().into_iter().filter(|(_, case)| *case == supernet()) {
        let (mut network, case) = linear(&*engines, 3);
        let mut logits = |pass| network.logits(&case.images, pass, Normalisation::Running).unwrap();
        let expected = logits(case.pass());
        let (mut sums, mut squares) = (vec![0.0; expected.len()], vec![0.0; expected.len()]);
        for seed in 0..SEEDS {
            for (i, (got, mean)) in logits(dropping(&case, 0.3, seed)).iter().zip(&expected).enumerate() {
                let off = f64::from(got - mean);
                sums[i] += off / SEEDS as f64;
                squares[i] += off * off / SEEDS as f64;
            }
        }
        for (mean, square) in sums.iter().zip(&squares) {
            let error = (square / SEEDS as f64).sqrt();
            assert!(mean.abs() < 4.0 * error, "off by {mean}, standard error {error}");
        }
        let deviation = squares.iter().sum::<f64>().sqrt();
        assert!(deviation > 0.1, "something is dropped: {deviation}");
    }
}

#[test]
fn each_sample_has_a_choice_of_its_own() {
    for (engines, _) in all().into_iter().filter(|(_, case)| *case == supernet()) {
        let (mut network, case) = linear(&*engines, 8);
        let images = case.images[..case.spec.image.len()].repeat(8);
        let mut kinds = |pass| {
            let logits = network.logits(&images, pass, Normalisation::Running).unwrap();
            let mut rows: Vec<Vec<u32>> =
                logits.chunks(case.spec.classes).map(|row| row.iter().map(|v| v.to_bits()).collect()).collect();
            rows.sort();
            rows.dedup();
            rows.len()
        };
        assert_eq!(kinds(case.pass()), 1);
        // Pool and convolution, each kept or not.
        assert_eq!((0..20).map(|seed| kinds(dropping(&case, 0.5, seed))).max(), Some(4));
    }
}

#[test]
fn impossible_rates_are_refused() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        let state = network.state();
        for rate in [1.0, -0.1, f32::NAN, f32::INFINITY] {
            let pass = dropping(&case, rate, 1);
            let is_refused = |result: Result<(), EngineError>| matches!(result, Err(EngineError::Rate { .. }));
            assert!(is_refused(network.train_step(case.batch(), pass, Gradients::Both).map(drop)), "{rate}");
            assert!(is_refused(network.evaluate(case.batch(), pass, Normalisation::Batch).map(drop)), "{rate}");
        }
        assert_eq!(network.state(), state);
    }
}
