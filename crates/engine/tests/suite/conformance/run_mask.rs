//! Operations that are alive but take no part in a pass: masked, or of weight 0.

use hpe_darts_engine::{Codes, Engine, Gradients, Graph, Normalisation, Pass, Place, Vector};

use super::{all, remove, some_operations};
use crate::compare::{Case, check_pass};

/// A run mask that leaves `out` out, and w with zeros in its place.
fn leave_out(case: &Case, out: &[usize]) -> (Vec<bool>, Vec<f32>) {
    let (mut run, mut zero) = (vec![true; case.w.len()], case.w.clone());
    for &i in out {
        run[i] = false;
        zero[i] = 0.0;
    }
    (run, zero)
}

/// Names of the tensors of some operations: weights, and running statistics.
fn tensors_of(graph: &Graph, operations: &[usize]) -> (Vec<String>, Vec<String>) {
    let columns = graph.ops.len();
    let units = || {
        let is_one = |p: Place| operations.contains(&(p.row * columns + p.op));
        graph.units().map(|(_, unit)| unit).filter(move |unit| unit.place.is_some_and(is_one))
    };
    let norms = units().filter_map(|u| u.norm.as_ref()).filter(|norm| norm.affine);
    let statistics = norms.flat_map(|n| ["running_mean", "running_var"].map(|part| format!("{}.{part}", n.name)));
    (units().flat_map(|u| u.parameters().map(|p| p.name)).collect(), statistics.collect())
}

/// Not to run an operation is not to have it; where no gradient of w is asked for, it is a weight of 0 as well.
#[test]
fn an_operation_that_is_not_run_takes_no_part() {
    for (engines, case) in all() {
        let out = some_operations(&case, 3);
        let (run, zero) = leave_out(&case, &out);
        let fresh = || case.on(&*engines);
        let (pass, zero) = (case.pass().only(&run), Pass { w: &zero, ..case.pass() });
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
        assert_eq!(a.state(), b.state());

        let mut without = fresh();
        remove(&mut *without, &out);
        let (masked, removed) = (
            fresh().train_step(case.batch(), pass, Gradients::Both).unwrap(),
            without.train_step(case.batch(), case.pass(), Gradients::Both).unwrap(),
        );
        assert_eq!(masked, removed);
        assert!(out.iter().all(|&i| masked.mixing_grad[i] == 0.0));
        assert!(masked.mixing_grad.iter().any(|g| *g != 0.0));
        check_pass(&case, &mut fresh(), pass, 100.0).unwrap();
    }
}

/// Neither its gradients nor its running statistics move, whatever its weights are: it is not computed.
#[test]
fn what_is_not_run_is_not_computed() {
    for (engines, case) in all() {
        let out = some_operations(&case, 3);
        let (run, zero) = leave_out(&case, &out);
        let (weights, statistics) = tensors_of(&case.spec.graph().unwrap(), &out);
        assert_eq!(statistics.is_empty(), !case.spec.norm.affine);
        let mut network = case.on(&*engines);
        let mut state = network.state();
        for tensor in state.iter_mut().filter(|t| weights.contains(&t.name)) {
            tensor.data.fill(f32::NAN);
        }
        let passes = [
            (case.pass().only(&run), Gradients::Both),
            (case.pass().only(&run), Gradients::Mixing),
            (Pass { w: &zero, ..case.pass() }, Gradients::Omega),
        ];
        for (pass, gradients) in passes {
            network.load_state(&state).unwrap();
            let batch = case.batch();
            let evaluation = network.evaluate(batch, pass, Normalisation::Batch).unwrap();
            assert!(evaluation.loss.is_finite(), "{}, {gradients:?}", case.key);
            let step = network.train_step(batch, pass, gradients).unwrap();
            let numbers = step.mixing_grad.iter().chain(&step.edge_grad).chain([&step.loss]);
            assert!(numbers.into_iter().all(|v| v.is_finite()), "{}, {gradients:?}: {step:?}", case.key);
            for tensor in network.tensors(Vector::Gradient).unwrap() {
                let none = weights.contains(&tensor.name);
                let fits = |g: &f32| if none { *g == 0.0 } else { g.is_finite() };
                assert!(tensor.data.iter().all(fits), "{}, {gradients:?}: gradient of {}", case.key, tensor.name);
            }
            for (before, after) in state.iter().zip(network.state()) {
                let moves = before.name.contains(".running_") && !statistics.contains(&before.name);
                // The auxiliary head has statistics of its own, which `auxiliary` tests.
                if !weights.contains(&before.name) && !before.name.starts_with("auxiliary") {
                    assert_eq!(*before != after, moves, "{}, {gradients:?}: {}", case.key, before.name);
                }
            }
        }
    }
}

#[test]
fn a_run_mask_of_ones_is_none() {
    for (engines, case) in all() {
        let run = vec![true; case.w.len()];
        let step = |pass| case.on(&*engines).train_step(case.batch(), pass, Gradients::Both).unwrap();
        assert_eq!(step(case.pass()), step(case.pass().only(&run)));
    }
}
