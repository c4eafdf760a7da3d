//! Operations that are removed for good.

use hpe_darts_engine::Engine;

use super::{all, remove, some_operations, supernet, train, without};
use crate::compare::check_step;

#[test]
fn removing_an_operation_is_building_without_it() {
    for (engines, case) in all() {
        let mut pruned = case.on(&*engines);
        train(&mut *pruned, &case, case.pass());
        let before = pruned.parameters();
        let gone = some_operations(&case, 3);
        remove(&mut *pruned, &gone);
        // Twice is once.
        remove(&mut *pruned, &gone[..1]);
        let case = without(case, &gone);
        assert_eq!(pruned.spec(), &case.spec);
        assert!(pruned.parameters() < before);
        let mut built = engines.build(&case.spec, 1).unwrap();
        let names = |n: &dyn Engine| n.state().into_iter().map(|t| (t.name, t.shape)).collect::<Vec<_>>();
        assert_eq!(names(&*built), names(&*pruned));
        assert_eq!(built.parameters(), pruned.parameters());
        built.load_state(&pruned.state()).unwrap();
        assert_eq!(train(&mut *built, &case, case.pass()), train(&mut *pruned, &case, case.pass()));
        check_step(&case, &mut pruned, 100.0).unwrap();
    }
}

#[test]
fn a_whole_edge_and_everything_can_be_removed() {
    for (engines, case) in all().into_iter().filter(|(_, case)| case.spec == supernet().spec) {
        let (mut network, columns) = (case.on(&*engines), case.spec.ops.len());
        for edge in 0..case.spec.rows {
            remove(&mut *network, &(edge * columns..(edge + 1) * columns).collect::<Vec<_>>());
            let left = without(supernet(), &(0..(edge + 1) * columns).collect::<Vec<_>>());
            check_step(&left, &mut network, 100.0).unwrap_or_else(|e| panic!("edges 0..={edge} removed: {e}"));
        }
    }
}

#[test]
fn weights_of_dead_operations_are_ignored() {
    for (engines, case) in all() {
        let gone = some_operations(&case, 3);
        let mut case = without(case, &gone);
        let step = train(&mut *case.on(&*engines), &case, case.pass());
        gone.iter().for_each(|&i| case.w[i] = if i % 2 == 0 { f32::NAN } else { f32::INFINITY });
        assert_eq!(train(&mut *case.on(&*engines), &case, case.pass()), step);
    }
}
