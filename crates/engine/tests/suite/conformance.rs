//! What the contract promises of every engine, tested through the contract alone.

use hpe_darts_engine::{
    Batch, Codes, CpuEngines, DropPath, Engine, EngineError, Engines, Gradients, Kernels, NetworkSpec, Normalisation,
    Options, Pass, Sgd, TensorState, Vector,
};

use crate::cases;
use crate::compare::Case;

const SGD: Sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, clip_norm: Some(5.0) };

/// Every engine there is.
fn all() -> Vec<Box<dyn Engines>> {
    vec![Box::new(CpuEngines::new(Options { threads: 2, kernels: Kernels::Auto }).unwrap())]
}

fn supernet() -> Case {
    Case::new("conformance", cases::supernet(cases::nas_bench_201(), (8, 6, 3), 5, 2), 5)
}

fn affine() -> Case {
    let supernet = supernet();
    Case { spec: NetworkSpec { affine: true, ..supernet.spec.clone() }, ..supernet }
}

/// A network with the values of the case.
fn build(engines: &dyn Engines, case: &Case) -> Box<dyn Engine> {
    let mut network = engines.build(&case.spec, 0).unwrap();
    let fill = |t: TensorState| TensorState { data: cases::values(&case.key, &t.name, &t.shape), ..t };
    let state: Vec<TensorState> = network.state().into_iter().map(fill).collect();
    network.load_state(&state).unwrap();
    network
}

/// What a few steps return and leave.
fn train(network: &mut dyn Engine, case: &Case, pass: Pass<'_>) -> (Vec<String>, Vec<TensorState>) {
    let steps = (0..2).map(|_| {
        let out = network.train_step(case.batch(), pass, Gradients::Both).unwrap();
        format!("{out:?} {}", network.sgd_step(&SGD, 0.05))
    });
    (steps.collect(), network.state())
}

fn flat(tensors: &[TensorState]) -> Vec<f32> {
    tensors.iter().flat_map(|t| t.data.iter().copied()).collect()
}

#[test]
fn the_seed_decides_and_nothing_else() {
    let case = supernet();
    for engines in all() {
        let build = |seed| engines.build(&case.spec, seed).unwrap();
        assert_eq!(train(&mut *build(3), &case, case.pass()), train(&mut *build(3), &case, case.pass()));
        assert_ne!(build(3).state(), build(4).state());
    }
}

#[test]
fn a_saved_state_goes_on_as_if_never_saved() {
    for (engines, case) in all().iter().flat_map(|e| [(e, supernet()), (e, affine())]) {
        let mut whole = build(&**engines, &case);
        train(&mut *whole, &case, case.pass());
        let mut loaded = engines.build(&case.spec, 9).unwrap();
        loaded.load_state(&whole.state()).unwrap();
        assert_eq!(train(&mut *loaded, &case, case.pass()), train(&mut *whole, &case, case.pass()));
        let state = whole.state();
        let missing = whole.load_state(&state[1..]);
        assert!(matches!(missing, Err(EngineError::State(_))), "{missing:?}");
        assert_eq!(whole.state(), state);
    }
}

#[test]
fn removing_an_operation_is_building_without_it() {
    let case = affine();
    let places = [(0, 3), (2, 2), (3, 1), (5, 4), (1, 0)];
    for engines in all() {
        let mut pruned = build(&*engines, &case);
        let before = pruned.parameters();
        let mut spec = case.spec.clone();
        for (edge, op) in places {
            pruned.remove_op(edge, op);
            spec.alive[edge * 5 + op] = false;
        }
        assert!(pruned.parameters() < before);
        assert_eq!(pruned.spec().alive, spec.alive);
        let mut built = engines.build(&spec, 1).unwrap();
        built.load_state(&pruned.state()).unwrap();
        assert_eq!(train(&mut *built, &case, case.pass()), train(&mut *pruned, &case, case.pass()));
    }
}

/// Not to run an operation is not to have it; where no gradient of w is asked for, it is a weight of 0 as well.
#[test]
fn an_operation_that_is_not_run_takes_no_part() {
    let case = supernet();
    let mut run = vec![true; case.w.len()];
    let mut zero = case.w.clone();
    for eo in [1, 3, 8, 12, 14, 17, 24] {
        run[eo] = false;
        zero[eo] = 0.0;
    }
    for engines in all() {
        let fresh = || build(&*engines, &case);
        let (pass, zero) = (case.pass().only(&run), Pass::new(&zero));
        for norm in [Normalisation::Batch, Normalisation::Running] {
            assert_eq!(fresh().evaluate(case.batch(), pass, norm), fresh().evaluate(case.batch(), zero, norm));
            assert_eq!(fresh().logits(&case.images, pass, norm), fresh().logits(&case.images, zero, norm));
        }
        for codes in [Codes::OpOutputs, Codes::ReluInputs] {
            let distances = |pass| fresh().code_distances(&case.images, pass, codes).unwrap();
            assert_eq!(distances(pass), distances(zero));
        }
        let (mut a, mut b) = (fresh(), fresh());
        let step = |n: &mut dyn Engine, pass| n.train_step(case.batch(), pass, Gradients::Omega).unwrap();
        assert_eq!(step(&mut *a, pass), step(&mut *b, zero));
        assert_eq!(a.tensors(Vector::Gradient), b.tensors(Vector::Gradient));

        let mut without = fresh();
        (0..run.len()).filter(|&eo| !run[eo]).for_each(|eo| without.remove_op(eo / 5, eo % 5));
        let (masked, removed) = (
            fresh().train_step(case.batch(), pass, Gradients::Both).unwrap(),
            without.train_step(case.batch(), case.pass(), Gradients::Both).unwrap(),
        );
        assert_eq!(masked, removed);
        assert!(run.iter().zip(&masked.mixing_grad).all(|(run, g)| *run || *g == 0.0));
    }
}

/// The shift of a normalisation is added to its edge's output times w, so its gradients sum to w times the edge's. The
/// shifts' gradients themselves are held against plain loops in `gradients`.
#[test]
fn the_gradient_of_an_edge_is_that_of_what_is_added_to_it() {
    let case = affine();
    for engines in all() {
        let mut network = build(&*engines, &case);
        let out = network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
        let gradient = network.tensors(Vector::Gradient).unwrap();
        assert_eq!(out.edge_grad.len(), 6);
        let scale = gradient.iter().flat_map(|t| &t.data).fold(0f32, |a, b| a.max(b.abs()));
        for (edge, got) in out.edge_grad.iter().enumerate() {
            for (op, name) in [(2, "conv1x1"), (3, "conv3x3")] {
                let shift = format!("edges.{edge}.{name}.bn.bias");
                let shifts = gradient.iter().filter(|t| t.name.ends_with(&shift));
                let sum: f64 = shifts.flat_map(|t| &t.data).map(|&g| f64::from(g)).sum();
                let expected = sum / f64::from(case.w[edge * 5 + op]);
                assert!(
                    (got - expected).abs() < 1e-4 * f64::from(scale),
                    "edge {edge}: {got}, shifts of {name}: {expected}"
                );
            }
        }
        assert!(out.edge_grad.iter().any(|g| g.abs() > 1e-3 * f64::from(scale)), "{:?}", out.edge_grad);
        let omega = network.train_step(case.batch(), case.pass(), Gradients::Omega).unwrap();
        assert_eq!(omega.edge_grad, [0.0; 6]);
        let mixing = network.train_step(case.batch(), case.pass(), Gradients::Mixing).unwrap();
        assert!(mixing.edge_grad.iter().any(|&g| g != 0.0));
    }
}

/// Cross-entropy and accuracy of the logits are those of an evaluation, whatever the labels.
#[test]
fn logits_are_what_an_evaluation_scores() {
    for (engines, case) in all().iter().flat_map(|e| [(e, supernet()), (e, affine())]) {
        let mut network = build(&**engines, &case);
        let norms = [Normalisation::Batch, Normalisation::Running];
        for norm in &norms[..if case.spec.affine { 2 } else { 1 }] {
            let logits = network.logits(&case.images, case.pass(), *norm).unwrap();
            assert_eq!(logits.len(), case.labels.len() * case.spec.classes);
            for shift in 0..3 {
                let labels: Vec<u32> = case.labels.iter().map(|l| (l + shift) % 10).collect();
                let batch = Batch { images: &case.images, labels: &labels };
                let evaluation = network.evaluate(batch, case.pass(), *norm).unwrap();
                let rows = || logits.chunks(case.spec.classes).zip(&labels);
                let loss = |(row, &label): (&[f32], &u32)| {
                    f64::from(row.iter().map(|l| l.exp()).sum::<f32>()).ln() - f64::from(row[label as usize])
                };
                let mean = rows().map(loss).sum::<f64>() / labels.len() as f64;
                assert!((mean - evaluation.loss).abs() < 1e-5, "{mean} and {}", evaluation.loss);
                let right = |pair: &(&[f32], &u32)| pair.0.iter().all(|l| *l <= pair.0[*pair.1 as usize]);
                assert_eq!(rows().filter(right).count(), evaluation.correct);
            }
        }
    }
}

#[test]
fn vectors_are_combined_number_by_number() {
    let case = supernet();
    for engines in all() {
        let mut network = build(&*engines, &case);
        train(&mut *network, &case, case.pass());
        network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
        let read = |n: &dyn Engine, v| flat(&n.tensors(v).unwrap());
        let [omega, gradient, momentum] =
            [Vector::Omega, Vector::Gradient, Vector::Momentum].map(|v| read(&*network, v));
        let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        assert!((network.norm(Vector::Gradient).unwrap() - norm).abs() <= 1e-9 * norm);

        // Omega along the gradient and back, as second-order methods go.
        let loss = |n: &mut dyn Engine| n.evaluate(case.batch(), case.pass(), Normalisation::Batch).unwrap().loss;
        let before = loss(&mut *network);
        network.combine(Vector::Saved(7), &[(1.0, Vector::Omega)]).unwrap();
        let epsilon = (0.01 / norm) as f32;
        network.combine(Vector::Omega, &[(1.0, Vector::Omega), (-epsilon, Vector::Gradient)]).unwrap();
        let moved: Vec<f32> = omega.iter().zip(&gradient).map(|(o, g)| o - epsilon * g).collect();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1e-3));
        assert!(close(&read(&*network, Vector::Omega), &moved));
        let after = loss(&mut *network);
        assert!((before - after - f64::from(epsilon) * norm * norm).abs() < 0.2 * f64::from(epsilon) * norm * norm);
        network.combine(Vector::Omega, &[(1.0, Vector::Saved(7))]).unwrap();
        assert_eq!(read(&*network, Vector::Omega), omega);
        assert_eq!(loss(&mut *network), before);

        let terms = [(2.0, Vector::Momentum), (-0.5, Vector::Saved(7)), (1.0, Vector::Gradient)];
        network.combine(Vector::Saved(0), &terms).unwrap();
        let expected: Vec<f32> = (0..omega.len()).map(|i| 2.0 * momentum[i] - 0.5 * omega[i] + gradient[i]).collect();
        assert!(close(&read(&*network, Vector::Saved(0)), &expected));
        network.combine(Vector::Momentum, &[]).unwrap();
        assert!(read(&*network, Vector::Momentum).iter().all(|&v| v == 0.0));

        // What is removed leaves the saved copies as well; what was never saved is refused, and nothing changes.
        network.remove_op(1, 3);
        assert_eq!(read(&*network, Vector::Saved(7)), read(&*network, Vector::Omega));
        let state = network.state();
        let refused = network.combine(Vector::Omega, &[(1.0, Vector::Omega), (1.0, Vector::Saved(1))]);
        assert_eq!(refused, Err(EngineError::NoVector { number: 1 }));
        assert_eq!(network.norm(Vector::Saved(1)), Err(EngineError::NoVector { number: 1 }));
        assert_eq!(network.state(), state);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let case = supernet();
    for engines in all() {
        let mut network = build(&*engines, &case);
        let state = network.state();
        let (short, long) = (&case.w[1..], [true; 31]);
        let shape = |got, result: Result<(), EngineError>| match result {
            Err(EngineError::Shape { got: g, expected: 30, .. }) => assert_eq!(g, got),
            other => panic!("expected an error of shape, not {other:?}"),
        };
        for (got, pass) in [(29, Pass::new(short)), (31, case.pass().only(&long))] {
            shape(got, network.train_step(case.batch(), pass, Gradients::Both).map(drop));
            shape(got, network.evaluate(case.batch(), pass, Normalisation::Batch).map(drop));
            shape(got, network.logits(&case.images, pass, Normalisation::Batch).map(drop));
            shape(got, network.code_distances(&case.images, pass, Codes::OpOutputs).map(drop));
        }
        let images = network.logits(&case.images[1..], case.pass(), Normalisation::Batch);
        assert!(matches!(images, Err(EngineError::Shape { .. })), "{images:?}");
        let running = network.logits(&case.images, case.pass(), Normalisation::Running);
        assert!(matches!(running, Err(EngineError::Spec(_))), "{running:?}");
        let dropped = Pass { drop_path: Some(DropPath { rate: 0.2, seed: 1 }), ..case.pass() };
        let dropped = network.train_step(case.batch(), dropped, Gradients::Both);
        assert!(matches!(dropped, Err(EngineError::Unsupported(_))), "{dropped:?}");
        assert_eq!(network.state(), state);
    }
}

#[test]
fn what_is_printed_of_a_network_is_not_its_weights() {
    let case = supernet();
    for engines in all() {
        let text = format!("{:?}", build(&*engines, &case));
        assert!(text.contains("alive") && text.len() < 3000, "{text}");
    }
}
