//! The comparisons of `results/` can be run again: every setting in them is known.

use std::path::Path;

use hpe_darts_nas::compare::{Comparison, Place};

#[test]
fn every_comparison_of_the_results_is_one() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results");
    let files: Vec<_> = std::fs::read_dir(results)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("compare.toml"))
        .filter(|file| file.is_file())
        .collect();
    assert!(!files.is_empty());
    for file in files {
        let comparison = Comparison::read(&file, &Place::new(Path::new("out")));
        let comparison = comparison.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(!comparison.cells.is_empty(), "{}", file.display());
    }
}
