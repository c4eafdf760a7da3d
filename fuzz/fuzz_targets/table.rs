//! The CSV of the NAS-Bench-201 table, plain and compressed, and the program's own form of it.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nas::benchmark::{Table, import};

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let file = folder.path().join("table");
    fs::write(&file, bytes).expect("a file");
    let _ = import(&file);
    let _ = Table::open(&file);
});
