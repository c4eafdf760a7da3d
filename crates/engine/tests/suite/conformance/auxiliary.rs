//! The auxiliary head takes part in the loss of a training step, and in nothing else.

use hpe_darts_engine::{Codes, Gradients, NetworkSpec, Normalisation, Pass, StepOutput, Vector};

use super::all;
use crate::compare::{Case, check_pass};

const HEAD: &str = "auxiliary.";

fn with_weight(case: &Case, auxiliary: f32) -> Pass<'_> {
    Pass { auxiliary, ..case.pass() }
}

/// Its loss counts by its weight.
#[test]
fn its_loss_is_added_with_its_weight() {
    for (engines, case) in all().into_iter().filter(|(_, case)| case.spec.auxiliary.is_some()) {
        let step = |weight| {
            let mut network = case.on(&*engines);
            let before = network.state();
            let out = network.train_step(case.batch(), with_weight(&case, weight), Gradients::Both).unwrap();
            let head = |name: &String| name.starts_with(HEAD);
            let gradient = network.tensors(Vector::Gradient).unwrap();
            let squares = gradient.iter().filter(|t| head(&t.name)).flat_map(|t| &t.data).map(|g| g * g);
            let moved = before.iter().zip(network.state()).filter(|(b, after)| head(&b.name) && *b != after).count();
            (out, squares.sum::<f32>().sqrt(), moved)
        };
        let [(none, no_gradient, nothing_moved), (half, gradient, moved), (one, twice, _)] = [0.0, 0.5, 1.0].map(step);
        assert_eq!((no_gradient, nothing_moved), (0.0, 0), "a head that does not run");
        assert_eq!(moved, 4, "mean and variance of both normalisations");
        assert!(gradient > 0.0 && (twice / gradient - 2.0).abs() < 1e-4, "{gradient} and {twice}");
        assert_eq!([none.correct; 2], [half.correct, one.correct]);
        let own = one.loss - none.loss;
        assert!(
            own > 0.1 && (half.loss - none.loss - own / 2.0).abs() < 1e-5,
            "{} {} {}",
            none.loss,
            half.loss,
            one.loss
        );
        let linear = |f: fn(&StepOutput) -> &Vec<f64>| {
            let largest = f(&one).iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let middle = f(&none).iter().zip(f(&one)).map(|(a, b)| (a + b) / 2.0);
            middle.zip(f(&half)).all(|(a, b)| (a - b).abs() < 1e-4 * largest)
        };
        assert!(linear(|out| &out.mixing_grad) && linear(|out| &out.edge_grad));
        assert_ne!(none.mixing_grad, one.mixing_grad);
        check_pass(&case, &mut case.on(&*engines), with_weight(&case, 0.4), 100.0).unwrap();
    }
}

#[test]
fn without_weight_the_network_is_that_without_the_head() {
    for (engines, case) in all().into_iter().filter(|(_, case)| case.spec.auxiliary.is_some()) {
        let spec = NetworkSpec { auxiliary: None, ..case.spec.clone() };
        let plain = Case { spec, ..Case::new(&case.key, case.spec.clone(), case.labels.len()) };
        let (mut with, mut without) = (case.on(&*engines), plain.on(&*engines));
        assert!(with.parameters() > without.parameters());
        for norm in [Normalisation::Batch, Normalisation::Running] {
            let expected = without.logits(&case.images, plain.pass(), norm);
            assert_eq!(with.logits(&case.images, with_weight(&case, 0.4), norm), expected);
        }
        let codes = Codes::ReluInputs;
        assert_eq!(
            with.code_distances(&case.images, with_weight(&case, 0.4), codes),
            without.code_distances(&case.images, plain.pass(), codes)
        );
        let step = with.train_step(case.batch(), with_weight(&case, 0.0), Gradients::Both);
        assert_eq!(step, without.train_step(case.batch(), plain.pass(), Gradients::Both));
    }
}

/// The weight means nothing to a network that has no such head.
#[test]
fn a_network_without_the_head_ignores_its_weight() {
    for (engines, case) in all().into_iter().filter(|(_, case)| case.spec.auxiliary.is_none()) {
        let step = |pass| case.on(&*engines).train_step(case.batch(), pass, Gradients::Both);
        assert_eq!(step(with_weight(&case, 0.4)), step(with_weight(&case, 0.0)));
    }
}
