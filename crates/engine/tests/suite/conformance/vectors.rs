//! Omega, its gradient, momentum and saved copies as vectors; the optimiser.

use hpe_darts_engine::{Engine, EngineError, Gradients, Normalisation, Pass, Sgd, Vector};

use super::{SGD, all, flat, remove, some_operations, train};
use hpe_darts_engine::reference::{sgd_step, tensors};

fn read(network: &dyn Engine, vector: Vector) -> Vec<f32> {
    flat(&network.tensors(vector).unwrap())
}

/// `sum of factor * vector` and the size of what is summed, in f64.
fn sum(terms: &[(f32, &[f32])]) -> Vec<(f64, f64)> {
    let at = |i: usize| terms.iter().map(move |(factor, v)| f64::from(*factor) * f64::from(v[i]));
    (0..terms[0].1.len()).map(|i| (at(i).sum(), at(i).map(f64::abs).sum())).collect()
}

fn assert_is_sum(got: &[f32], terms: &[(f32, &[f32])]) {
    let expected = sum(terms);
    assert_eq!(got.len(), expected.len());
    for (got, (sum, size)) in got.iter().zip(expected) {
        assert!((f64::from(*got) - sum).abs() <= 1e-6 * size, "{got} instead of {sum}");
    }
}

#[test]
fn vectors_are_combined_number_by_number() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        train(&mut *network, &case, case.pass());
        network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
        let [omega, gradient, momentum] =
            [Vector::Omega, Vector::Gradient, Vector::Momentum].map(|v| read(&*network, v));
        assert_eq!(omega.len(), network.parameters());
        let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        assert!((network.norm(Vector::Gradient).unwrap() - norm).abs() <= 1e-9 * norm);

        network.combine(Vector::Saved(7), &[(1.0, Vector::Omega)]).unwrap();
        assert_eq!(read(&*network, Vector::Saved(7)), omega);
        network.combine(Vector::Omega, &[(1.0, Vector::Omega), (-0.01, Vector::Gradient)]).unwrap();
        assert_is_sum(&read(&*network, Vector::Omega), &[(1.0, &omega), (-0.01, &gradient)]);
        network.combine(Vector::Omega, &[(1.0, Vector::Saved(7))]).unwrap();
        assert_eq!(read(&*network, Vector::Omega), omega);

        let terms = [(2.0, Vector::Momentum), (-0.5, Vector::Saved(7)), (1.0, Vector::Gradient)];
        network.combine(Vector::Saved(0), &terms).unwrap();
        let saved = read(&*network, Vector::Saved(0));
        assert_is_sum(&saved, &[(2.0, &momentum), (-0.5, &omega), (1.0, &gradient)]);
        network.combine(Vector::Gradient, &[(3.0, Vector::Gradient)]).unwrap();
        assert_is_sum(&read(&*network, Vector::Gradient), &[(3.0, &gradient)]);
        network.combine(Vector::Momentum, &[]).unwrap();
        assert!(read(&*network, Vector::Momentum).iter().all(|&v| v == 0.0));
        // The saved copies are the caller's: neither a step nor a loaded state touches them.
        let state = network.state();
        network.sgd_step(&SGD, 0.05);
        network.load_state(&state).unwrap();
        assert_eq!(read(&*network, Vector::Saved(0)), saved);
        assert_eq!(read(&*network, Vector::Saved(7)), omega);
    }
}

/// As second-order methods go: along the gradient and back.
#[test]
fn a_step_along_the_gradient_lowers_the_loss_by_its_square() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        let pass = Pass::new(&case.w);
        network.train_step(case.batch(), pass, Gradients::Omega).unwrap();
        let norm = network.norm(Vector::Gradient).unwrap();
        let loss = |n: &mut dyn Engine| n.evaluate(case.batch(), pass, Normalisation::Batch).unwrap().loss;
        let before = loss(&mut *network);
        network.combine(Vector::Saved(0), &[(1.0, Vector::Omega)]).unwrap();
        let epsilon = (0.003 / norm) as f32;
        network.combine(Vector::Omega, &[(1.0, Vector::Omega), (-epsilon, Vector::Gradient)]).unwrap();
        let (fell, expected) = (before - loss(&mut *network), f64::from(epsilon) * norm * norm);
        assert!((fell - expected).abs() < 0.2 * expected, "{}: fell by {fell} instead of {expected}", case.key);
        network.combine(Vector::Omega, &[(1.0, Vector::Saved(0))]).unwrap();
        assert_eq!(loss(&mut *network), before);
    }
}

/// What is removed leaves the saved copies as well; what was never saved is refused, and nothing changes.
#[test]
fn saved_vectors_are_those_that_were_saved() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        network.combine(Vector::Saved(7), &[(1.0, Vector::Omega)]).unwrap();
        remove(&mut *network, &some_operations(&case, 3));
        assert_eq!(network.tensors(Vector::Saved(7)), network.tensors(Vector::Omega));
        let state = network.state();
        let none = EngineError::NoVector { number: 1 };
        for to in [Vector::Omega, Vector::Saved(7), Vector::Saved(1)] {
            let refused = network.combine(to, &[(2.0, Vector::Omega), (1.0, Vector::Saved(1))]);
            assert_eq!(refused.as_ref(), Err(&none));
        }
        assert_eq!(network.norm(Vector::Saved(1)).as_ref(), Err(&none));
        assert_eq!(network.tensors(Vector::Saved(1)).as_ref(), Err(&none));
        assert_eq!(network.tensors(Vector::Saved(7)), network.tensors(Vector::Omega));
        assert_eq!(network.state(), state);
    }
}

#[test]
fn a_step_of_sgd_is_that_of_pytorch() {
    let plain = Sgd { nesterov: false, clip_norm: None, ..SGD };
    let clipped = Sgd { clip_norm: Some(0.25), ..SGD };
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        // The first step has no momentum yet, the others have.
        for (step, sgd) in [SGD, plain, clipped, plain].iter().enumerate() {
            network.train_step(case.batch(), case.pass(), Gradients::Omega).unwrap();
            let [mut omega, gradient, mut momentum] =
                [Vector::Omega, Vector::Gradient, Vector::Momentum].map(|v| tensors(&network.tensors(v).unwrap()));
            let expected = sgd_step(&mut omega, &mut momentum, &gradient, sgd, 0.0625);
            let norm = network.sgd_step(sgd, 0.0625);
            assert!((norm - expected).abs() < 1e-6 * expected, "step {step}: norm {norm} instead of {expected}");
            assert!(norm > 0.25, "clipping does something");
            for (vector, expected) in [(Vector::Omega, &omega), (Vector::Momentum, &momentum)] {
                for (name, got) in tensors(&network.tensors(vector).unwrap()) {
                    let pairs = got.data.iter().zip(&expected[&name].data);
                    let largest = pairs.map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f64::max);
                    assert!(largest < 1e-6, "step {step}, {vector:?}: {name} is off by {largest}");
                }
            }
        }
    }
}
