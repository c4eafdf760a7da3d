//! Files that split the training images.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nas::data::Split;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    for name in ["split.json", "split.json.gz"] {
        let file = folder.path().join(name);
        fs::write(&file, bytes).expect("a file");
        if let Ok(split) = Split::read(&file, 50) {
            assert!(split.train.iter().chain(&split.valid).all(|&i| i < 50));
        }
    }
});
