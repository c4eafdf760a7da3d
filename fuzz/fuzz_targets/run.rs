//! The files of a run folder: record, result, and the parts of its checkpoint.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use nas::{
    Here,
    retrain::Trained,
    run::Reopened,
    search::{self, Config},
};

fuzz_target!(|input: Vec<(u8, &[u8])>| {
    const FILES: [&str; 9] = [
        "config.toml",
        "events.jsonl",
        "timing.jsonl",
        "env.json",
        "genotype.json",
        "result.json",
        "model.json",
        "checkpoint/state.json",
        "checkpoint/weights.safetensors",
    ];
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let run = folder.path();
    fs::create_dir(run.join("checkpoint")).expect("a folder");
    fs::write(run.join("config.toml"), "seed = 1\n").expect("a file");
    fs::write(run.join("events.jsonl"), "").expect("a file");
    for (which, bytes) in input {
        fs::write(run.join(FILES[usize::from(which) % FILES.len()]), bytes).expect("a file");
    }
    let _ = Config::read(&run.join("config.toml"));
    let _ = search::finished(run);
    let _ = Reopened::open(run);
    let _ = Trained::open(run, None, &Here::default(), &mut |_| {});
});
