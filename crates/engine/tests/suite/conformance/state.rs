//! What a network is made of, saved and loaded.

use std::collections::BTreeMap;

use hpe_darts_engine::{EngineError, Init, TensorState};

use super::{all, some_operations, train, without};
use crate::cases;

#[test]
fn the_seed_decides_and_nothing_else() {
    for (engines, case) in all() {
        let build = |seed| engines.build(&case.spec, seed).unwrap();
        assert_eq!(train(&mut *build(3), &case, case.pass()), train(&mut *build(3), &case, case.pass()));
        assert_ne!(build(3).state(), build(4).state());
    }
}

/// Also not on which other operations there are.
#[test]
fn initial_values_depend_on_the_seed_and_the_name_only() {
    for (engines, case) in all() {
        let by_name = |state: Vec<TensorState>| state.into_iter().map(|t| (t.name, t.data)).collect::<BTreeMap<_, _>>();
        let whole = by_name(engines.build(&case.spec, 5).unwrap().state());
        let gone = some_operations(&case, 2);
        let case = without(case, &gone);
        let part = by_name(engines.build(&case.spec, 5).unwrap().state());
        assert!(part.len() < whole.len());
        assert!(part.iter().all(|(name, data)| whole[name] == *data), "{}", case.key);
    }
}

#[test]
fn tensors_have_the_names_and_initial_values_of_the_graph() {
    for (engines, case) in all() {
        let network = engines.build(&case.spec, 42).unwrap();
        let graph = case.spec.graph().unwrap();
        let state: BTreeMap<_, _> = network.state().into_iter().map(|t| (t.name.clone(), t)).collect();
        let shapes = cases::shapes(&case.spec);
        let momentum = graph.parameters().map(|p| (format!("momentum.{}", p.name), p.shape));
        let expected: BTreeMap<_, _> = shapes.into_iter().chain(momentum).collect();
        assert_eq!(state.values().map(|t| (t.name.clone(), t.shape.clone())).collect::<BTreeMap<_, _>>(), expected);
        let lengths = graph.parameters().map(|p| p.shape.iter().product::<usize>());
        assert_eq!(network.parameters(), lengths.sum::<usize>());
        let all = |name: &str, value: f32| state[name].data.iter().all(|v| *v == value);
        for (name, _) in graph.statistics() {
            assert!(all(&name, if name.ends_with("running_var") { 1.0 } else { 0.0 }), "{name}");
        }
        for parameter in graph.parameters() {
            let name = &parameter.name;
            assert!(all(&format!("momentum.{name}"), 0.0), "{name}");
            let weight = match parameter.init {
                Init::Ones => {
                    assert!(all(name, 1.0), "{name}");
                    continue;
                }
                Init::Zeros => {
                    assert!(all(name, 0.0), "{name}");
                    continue;
                }
                Init::Uniform(weight) => weight,
            };
            let (data, n) = (&state[name].data, state[name].data.len() as f32);
            let bound = 1.0 / (weight.fan_in as f32).sqrt();
            let largest = data.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            assert!(largest <= bound, "{name}: {largest} beyond {bound}");
            if data.len() >= 100 {
                let rms = (data.iter().map(|v| v * v).sum::<f32>() / n).sqrt();
                let mean = data.iter().sum::<f32>() / n;
                // Uniform in +-bound: rms bound / sqrt 3, mean 0 with deviation rms / sqrt n.
                assert!((rms / bound - 0.577).abs() < 0.8 / n.sqrt(), "{name}: rms {rms}, bound {bound}");
                assert!(mean.abs() < 5.0 * rms / n.sqrt(), "{name}: mean {mean}");
            }
        }
    }
}

#[test]
fn a_saved_state_goes_on_as_if_never_saved() {
    for (engines, case) in all() {
        let mut whole = case.on(&*engines);
        train(&mut *whole, &case, case.pass());
        let mut loaded = engines.build(&case.spec, 9).unwrap();
        let saved = whole.state();
        loaded.load_state(&saved).unwrap();
        assert_eq!(loaded.state(), saved);
        assert_eq!(train(&mut *loaded, &case, case.pass()), train(&mut *whole, &case, case.pass()));
    }
}

#[test]
fn states_that_do_not_fit_are_refused() {
    for (engines, case) in all() {
        let mut network = case.on(&*engines);
        let state = network.state();
        let changed = |change: &dyn Fn(&mut Vec<TensorState>)| {
            let mut state = state.clone();
            state.iter_mut().flat_map(|t| &mut t.data).for_each(|v| *v += 1.0);
            change(&mut state);
            state
        };
        let matrix = state.iter().position(|t| t.shape.len() > 1 && t.shape[0] != t.shape[1]).unwrap();
        let bad = [
            ("missing", changed(&|s| drop(s.remove(3)))),
            ("missing at the end", changed(&|s| drop(s.pop()))),
            ("surplus", changed(&|s| s.push(TensorState { name: "extra".into(), shape: vec![1], data: vec![0.0] }))),
            ("twice", changed(&|s| s.push(s[2].clone()))),
            ("renamed", changed(&|s| s[4].name.push('x'))),
            ("misshapen", changed(&|s| s[matrix].shape.swap(0, 1))),
            ("short", changed(&|s| s.last_mut().unwrap().data.truncate(1))),
            ("empty", vec![]),
        ];
        for (what, bad) in bad {
            let result = network.load_state(&bad);
            assert!(matches!(result, Err(EngineError::State(_))), "{what}: {result:?}");
            assert_eq!(network.state(), state, "{what}: the network changed");
        }
    }
}

#[test]
fn what_is_printed_of_a_network_is_not_its_weights() {
    for (engines, case) in all() {
        let (text, spec) = (format!("{:?}", case.on(&*engines)), format!("{:?}", case.spec));
        assert!(text.contains("alive") && text.len() < spec.len() + 1500, "{text}");
    }
}
