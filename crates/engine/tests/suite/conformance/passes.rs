//! Training steps, evaluation, logits and codes.

use hpe_darts_engine::{
    Batch, BlockKind, CodeDistances, Codes, Engine, EngineError, Gradients, LayerKind, Normalisation, Pass, Vector,
};

use super::{SGD, all, some_operations};
use crate::compare::{check_codes, check_step};
use hpe_darts_engine::reference::{Reference, Stats, tensors};

/// Loss, every gradient and the running statistics are those of plain loops in f64.
#[test]
fn steps_are_those_of_the_reference() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        for step in 0..3 {
            check_step(&case, &mut network, 100.0).unwrap_or_else(|e| panic!("{}, step {step}: {e}", case.key));
            network.sgd_step(&SGD, 0.05);
        }
    }
}

#[test]
fn codes_are_those_of_the_reference() {
    for (engines, mut case) in all() {
        let out = some_operations(&case, 4);
        check_codes(&case, &mut case.on(&*engines)).unwrap();
        out.iter().for_each(|&i| case.w[i] = 0.0);
        check_codes(&case, &mut case.on(&*engines)).unwrap();
    }
}

/// The ReLU in front of a convolution is there whether the convolution is skipped or not.
#[test]
fn a_convolution_without_weight_keeps_the_code_of_its_relu() {
    for (engines, mut case) in all() {
        let columns = case.spec.ops.len();
        // An operation on an edge that leaves a node, not an input.
        let leaves_a_node = |row: usize| {
            let blocks = case.spec.blocks.iter().filter_map(|b| match &b.kind {
                BlockKind::Cell(block) => Some((block.first_row, &case.spec.cells[block.cell])),
                BlockKind::Residual { .. } => None,
            });
            blocks.into_iter().any(|(first, cell)| {
                row.checked_sub(first).and_then(|e| cell.edges.get(e)).is_some_and(|e| e.from >= cell.inputs)
            })
        };
        let at = (0..case.w.len())
            .find(|&i| case.spec.alive[i] && case.spec.ops[i % columns].is_conv() && leaves_a_node(i / columns))
            .unwrap();
        let mut network = case.on(&*engines);
        let mut codes = |w: &[f32], codes| {
            let pass = Pass::new(w);
            network.code_distances(&case.images, pass, codes).unwrap()
        };
        let before = codes(&case.w, Codes::ReluInputs);
        case.w[at] = 0.0;
        let without = codes(&case.w, Codes::ReluInputs);
        let there = |codes: &CodeDistances| codes.ops.iter().map(Option::is_some).collect::<Vec<_>>();
        assert!(without.ops[at].is_some());
        assert_eq!(there(&before), there(&without));
        assert!(codes(&case.w, Codes::OpOutputs).ops[at].is_none());
        // With all weights 0 its input is 0 in every sample, not what an earlier pass left there; unless the edges pass on theirs.
        let blind = codes(&vec![0.0; case.w.len()], Codes::ReluInputs);
        let passed_on = case.spec.cells.iter().any(|cell| cell.auxiliary_skips);
        assert_eq!(blind.ops[at].as_ref().unwrap().hamming.iter().any(|&d| d > 0), passed_on);
        network.remove_op(at / columns, at % columns);
        let pass = Pass::new(&case.w);
        assert!(network.code_distances(&case.images, pass, Codes::ReluInputs).unwrap().ops[at].is_none());
    }
}

/// The shift of a normalisation is added to its edge's output times w, so its gradients sum to w times the edge's, where an
/// operation makes all channels of it. The shifts' gradients themselves are those of the reference.
#[test]
fn the_gradient_of_an_edge_is_that_of_what_is_added_to_it() {
    for (engines, case) in all().into_iter().filter(|(_, case)| case.spec.norm.affine && case.spec.partial == 1) {
        let mut network = case.on(&*engines);
        let out = network.train_step(case.batch(), case.pass(), Gradients::Both).unwrap();
        assert_eq!(out.edge_grad.len(), case.spec.rows);
        let gradient = network.tensors(Vector::Gradient).unwrap();
        let scale = f64::from(gradient.iter().flat_map(|t| &t.data).fold(0f32, |a, b| a.max(b.abs())));
        let graph = case.spec.graph().unwrap();
        let mut sums = vec![0.0; case.w.len()];
        let mut known = vec![false; case.w.len()];
        for layer in &graph.layers {
            let LayerKind::Mix { weights, .. } = &layer.kind else { continue };
            for (&x, place) in layer.inputs.iter().zip(weights) {
                let unit = graph.maker(x).and_then(|l| l.unit()).filter(|u| place.is_some() && u.place == *place);
                let norm = unit.and_then(|u| u.norm.as_ref()).filter(|norm| norm.affine);
                let (Some(norm), Some(place)) = (norm, place) else { continue };
                let shift = gradient.iter().find(|t| t.name == format!("{}.bias", norm.name)).unwrap();
                let i = place.row * case.spec.ops.len() + place.op;
                sums[i] += shift.data.iter().map(|&g| f64::from(g)).sum::<f64>();
                known[i] = true;
            }
        }
        assert!(known.iter().filter(|k| **k).count() >= 5);
        for i in (0..known.len()).filter(|&i| known[i]) {
            let (got, w) = (out.edge_grad[i / case.spec.ops.len()], f64::from(case.w[i]));
            assert!(
                (w * got - sums[i]).abs() < 1e-4 * scale,
                "{}: {i}: {got} times {w}, shifts: {}",
                case.key,
                sums[i]
            );
        }
        assert!(out.edge_grad.iter().any(|g| g.abs() > 1e-3 * scale), "{:?}", out.edge_grad);
    }
}

#[test]
fn gradients_do_not_depend_on_which_are_asked_for() {
    for (engines, mut case) in all() {
        some_operations(&case, 4).iter().for_each(|&i| case.w[i] = 0.0);
        let step = |gradients| {
            let mut network = case.on(&*engines);
            let out = network.train_step(case.batch(), case.pass(), gradients).unwrap();
            (out, network.tensors(Vector::Gradient).unwrap())
        };
        let (both, grads) = step(Gradients::Both);
        let (omega, omega_grads) = step(Gradients::Omega);
        let (mixing, no_grads) = step(Gradients::Mixing);
        assert!(omega.mixing_grad.iter().chain(&omega.edge_grad).all(|g| *g == 0.0), "dL/dw was not asked for");
        assert!(no_grads.iter().flat_map(|t| &t.data).all(|g| *g == 0.0), "dL/domega was not asked for");
        let close = |a: f64, b: f64, scale: f64| (a - b).abs() <= 1e-5 * scale;
        for (name, out) in [("omega", &omega), ("mixing", &mixing)] {
            assert!(close(out.loss, both.loss, 1.0), "{name}: loss {} and {}", out.loss, both.loss);
            assert_eq!(out.correct, both.correct, "{name}");
        }
        for (a, b) in [(&mixing.mixing_grad, &both.mixing_grad), (&mixing.edge_grad, &both.edge_grad)] {
            let largest = b.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!(largest > 0.0);
            assert!(a.iter().zip(b).all(|(a, b)| close(*a, *b, largest)), "{}: {a:?} and {b:?}", case.key);
        }
        assert_eq!(grads.len(), omega_grads.len());
        let largest_of = |data: &[f32]| data.iter().fold(0.0, |a: f64, b| a.max(f64::from(b.abs())));
        let whole = grads.iter().map(|t| largest_of(&t.data)).fold(0.0, f64::max);
        for (a, b) in omega_grads.iter().zip(&grads) {
            assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
            // Sums of what cancels are small beside their terms.
            let largest = largest_of(&b.data).max(0.01 * whole);
            for (i, (x, y)) in a.data.iter().zip(&b.data).enumerate() {
                assert!(close(f64::from(*x), f64::from(*y), 5.0 * largest), "{}[{i}]: {x} and {y}", a.name);
            }
        }
    }
}

/// Those of omega stay until they are computed again.
#[test]
fn the_gradient_is_that_of_the_last_step_that_computed_it() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        network.train_step(case.batch(), case.pass(), Gradients::Omega).unwrap();
        let gradient = network.tensors(Vector::Gradient).unwrap();
        let half = Batch { images: &case.images[..2 * case.spec.image.len()], labels: &case.labels[..2] };
        network.train_step(half, case.pass(), Gradients::Mixing).unwrap();
        network.evaluate(half, case.pass(), Normalisation::Batch).unwrap();
        assert_eq!(network.tensors(Vector::Gradient).unwrap(), gradient);
        network.train_step(half, case.pass(), Gradients::Both).unwrap();
        assert_ne!(network.tensors(Vector::Gradient).unwrap(), gradient);
    }
}

#[test]
fn an_operation_of_weight_zero_is_as_good_as_none() {
    for (engines, mut case) in all() {
        let out = some_operations(&case, 3);
        out.iter().for_each(|&i| case.w[i] = 0.0);
        let losses = |network: &mut dyn Engine| {
            let evaluated = network.evaluate(case.batch(), case.pass(), Normalisation::Batch).unwrap();
            (evaluated, network.train_step(case.batch(), case.pass(), Gradients::Omega).unwrap().loss)
        };
        let (mut zero, mut dead) = (case.on(&*engines), case.on(&*engines));
        super::remove(&mut *dead, &out);
        assert_eq!(losses(&mut *zero), losses(&mut *dead));
    }
}

#[test]
fn evaluation_agrees_and_changes_nothing() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        super::train(&mut *network, &case, case.pass());
        let before = network.state();
        let state = tensors(&before);
        let reference = Reference::new(&case.spec, &state);
        let on_batch = network.evaluate(case.batch(), case.pass(), Normalisation::Batch).unwrap();
        let (loss, correct) = reference.evaluate(case.batch(), &case.wide_w(), Stats::Batch);
        assert!((on_batch.loss - loss).abs() < 1e-4, "loss {} instead of {loss}", on_batch.loss);
        assert_eq!(on_batch.correct, correct);
        let on_running = network.evaluate(case.batch(), case.pass(), Normalisation::Running);
        if case.spec.norm.affine {
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
        network.logits(&case.images, case.pass(), Normalisation::Batch).unwrap();
        assert_eq!(network.state(), before, "evaluation changed the network");
        let pass = Pass::new(&case.w);
        let step = network.train_step(case.batch(), pass, Gradients::Both).unwrap();
        assert!((step.loss - on_batch.loss).abs() < 1e-5, "{} and {}", step.loss, on_batch.loss);
        assert_eq!(step.correct, on_batch.correct);
    }
}

/// Cross-entropy and accuracy of the logits are those of an evaluation, whatever the labels.
#[test]
fn logits_are_what_an_evaluation_scores() {
    for (engines, case) in all() {
        let (mut network, classes) = (case.on(&*engines), case.spec.classes);
        let norms = [Normalisation::Batch, Normalisation::Running];
        for norm in &norms[..if case.spec.norm.affine { 2 } else { 1 }] {
            let logits = network.logits(&case.images, case.pass(), *norm).unwrap();
            assert_eq!(logits.len(), case.labels.len() * classes);
            for shift in 0..3 {
                let labels: Vec<u32> = case.labels.iter().map(|l| (l + shift) % classes as u32).collect();
                let batch = Batch { images: &case.images, labels: &labels };
                let evaluation = network.evaluate(batch, case.pass(), *norm).unwrap();
                let rows = || logits.chunks(classes).zip(&labels);
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
fn batch_sizes_may_change_between_calls() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        for n in [3, 5, 1, 4, 2, 5] {
            let (images, labels) = (&case.images[..n * case.spec.image.len()], &case.labels[..n]);
            let batch = Batch { images, labels };
            let mut fresh = case.on(&*engines);
            fresh.load_state(&network.state()).unwrap();
            let evaluated = network.evaluate(batch, case.pass(), Normalisation::Batch).unwrap();
            assert_eq!(evaluated, fresh.evaluate(batch, case.pass(), Normalisation::Batch).unwrap(), "{n} samples");
            let codes = network.code_distances(images, case.pass(), Codes::ReluInputs).unwrap();
            assert_eq!(codes, fresh.code_distances(images, case.pass(), Codes::ReluInputs).unwrap(), "{n} samples");
            let out = network.train_step(batch, case.pass(), Gradients::Both).unwrap();
            assert_eq!(out, fresh.train_step(batch, case.pass(), Gradients::Both).unwrap(), "{n} samples");
            assert_eq!(network.sgd_step(&SGD, 0.05), fresh.sgd_step(&SGD, 0.05), "{n} samples");
            assert_eq!(network.state(), fresh.state(), "{n} samples");
        }
    }
}

#[test]
fn a_loss_that_is_not_finite_is_returned() {
    for (engines, case) in all() {
        let mut images = case.images.clone();
        images[10] = f32::NAN;
        let batch = Batch { images: &images, labels: &case.labels };
        let step = case.on(&*engines).train_step(batch, case.pass(), Gradients::Both).unwrap();
        assert!(step.loss.is_nan());
    }
}
