//! Memory is counted without being taken.

use super::{all, supernet};

#[test]
fn memory_grows_with_what_is_done() {
    for (engines, case) in all() {
        let of = |train, evaluate| engines.memory(&case.spec, train, evaluate).unwrap();
        let parameters = case.on(&*engines).parameters() as u64;
        for n in [1, 8, 64] {
            let (run, trained, more) = (of(0, n), of(n, n), of(2 * n, n));
            assert!(run.weights >= 4 * parameters && trained.weights >= 12 * parameters, "{run:?}, {trained:?}");
            assert!(run.total() < trained.total() && trained.total() < more.total(), "{run:?}, {trained:?}, {more:?}");
            assert_eq!(trained.weights, more.weights);
            assert!(of(n, 100 * n).activations > trained.activations);
        }
    }
}

#[test]
fn what_no_machine_has_can_be_counted() {
    let engines = super::engines();
    for engines in engines {
        assert!(engines.memory(&supernet().spec, 1 << 40, 1).unwrap().total() > 1 << 50);
    }
}
