//! An exported network: its description and its weights.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nas::{Here, retrain::Trained};

fuzz_target!(|input: (&[u8], &[u8])| {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let weights = folder.path().join("net.safetensors");
    fs::write(folder.path().join("net.json"), input.0).expect("a file");
    fs::write(&weights, input.1).expect("a file");
    let _ = Trained::open(&weights, None, &Here::default(), &mut |_| {});
});
