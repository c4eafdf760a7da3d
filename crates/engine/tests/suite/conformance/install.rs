//! Other work on an engine's threads.

use super::all;

#[test]
fn other_work_is_done_once_on_the_engines_threads() {
    for (engines, case) in all() {
        let network = case.on(&*engines);
        let mut threads = vec![];
        network.install(&mut || threads.push(rayon::current_num_threads()));
        assert_eq!(threads.len(), 1, "{:?}", engines.info());
        // An engine with one thread has none of its own.
        let expected = engines.info().threads;
        assert!(expected == 1 || threads == [expected], "{threads:?} instead of {expected}");
    }
}
