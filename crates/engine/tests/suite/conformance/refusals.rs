//! What does not fit is refused with a typed error, and changes nothing.

use hpe_darts_engine::{Batch, Codes, EngineError, Gradients, NetworkSpec, Normalisation, Pass};

use super::{all, engines};
use crate::cases::{self, ALL_OPS};

#[test]
fn misshapen_input_is_refused() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        let state = network.state();
        let whole = case.batch();
        let shape = |got, expected, result: Result<(), EngineError>| match result {
            Err(EngineError::Shape { got: g, expected: e, .. }) => assert_eq!((g, e), (got, expected)),
            other => panic!("expected an error of shape, not {other:?}"),
        };
        let len = case.w.len();
        let long = vec![true; len + 1];
        for (got, pass) in [(len - 1, Pass::new(&case.w[1..])), (len + 1, case.pass().only(&long))] {
            shape(got, len, network.train_step(whole, pass, Gradients::Both).map(drop));
            shape(got, len, network.evaluate(whole, pass, Normalisation::Batch).map(drop));
            shape(got, len, network.logits(&case.images, pass, Normalisation::Batch).map(drop));
            shape(got, len, network.code_distances(&case.images, pass, Codes::OpOutputs).map(drop));
        }
        let (short, few) = (&case.images[1..], &case.labels[1..]);
        for batch in [Batch { images: short, ..whole }, Batch { labels: few, ..whole }] {
            let (got, expected) = (batch.images.len(), batch.labels.len() * case.spec.image.len());
            shape(got, expected, network.train_step(batch, case.pass(), Gradients::Both).map(drop));
            shape(got, expected, network.evaluate(batch, case.pass(), Normalisation::Batch).map(drop));
        }
        let none = Batch { images: &[], labels: &[] };
        let one = case.spec.image.len();
        shape(0, one, network.train_step(none, case.pass(), Gradients::Both).map(drop));
        shape(0, one, network.evaluate(none, case.pass(), Normalisation::Batch).map(drop));
        for images in [&[], short] {
            let expected = (images.len() / one).max(1) * one;
            shape(images.len(), expected, network.logits(images, case.pass(), Normalisation::Batch).map(drop));
            shape(images.len(), expected, network.code_distances(images, case.pass(), Codes::OpOutputs).map(drop));
        }
        assert_eq!(network.state(), state);
    }
}

#[test]
fn labels_out_of_range_and_missing_statistics_are_refused() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        let state = network.state();
        let (mut labels, classes) = (case.labels.clone(), case.spec.classes);
        labels[4] = classes as u32;
        let batch = Batch { labels: &labels, ..case.batch() };
        let label = EngineError::Label { sample: 4, label: classes as u32, classes };
        assert_eq!(network.train_step(batch, case.pass(), Gradients::Both).unwrap_err(), label);
        assert_eq!(network.evaluate(batch, case.pass(), Normalisation::Batch).unwrap_err(), label);
        let running = network.logits(&case.images, case.pass(), Normalisation::Running).map(drop);
        assert_eq!(matches!(running, Err(EngineError::Spec(_))), !case.spec.norm.affine, "{running:?}");
        assert_eq!(network.state(), state);
    }
}

#[test]
fn impossible_networks_are_refused() {
    for engines in engines() {
        let spec = super::supernet().spec;
        for bad in [
            NetworkSpec { classes: 0, ..spec.clone() },
            NetworkSpec { stem_channels: 0, ..spec.clone() },
            NetworkSpec { rows: 7, ..spec.clone() },
            cases::partial(0, spec.clone()),
            cases::partial(2, spec.clone()),
            NetworkSpec { alive: vec![true; 3], ..spec.clone() },
            NetworkSpec { auxiliary: Some(9), ..cases::two_inputs((8, 8, 3), 2) },
            cases::supernet(cases::cell(2, &[(1, 0)], &ALL_OPS), (4, 4, 3), 4, 1),
            cases::supernet(cases::nas_bench_201(), (0, 4, 3), 4, 1),
        ] {
            let result = engines.build(&bad, 0);
            assert!(matches!(result, Err(EngineError::Spec(_))), "{result:?}");
        }
    }
}
