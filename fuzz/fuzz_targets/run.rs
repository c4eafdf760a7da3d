//! The files of run folders, of a search and of a training: one is replaced, the others are as the program wrote them.
#![no_main]

use std::sync::Arc;

use hpe_darts_fuzz::with;
use libfuzzer_sys::fuzz_target;
use nas::{
    Here,
    retrain::{Retrain, Trained},
    run::{Observers, Reopened},
    search::{self, Config, Search},
};

const FILES: [(&str, &str); 12] = [
    ("search", "config.toml"),
    ("search", "events.jsonl"),
    ("search", "timing.jsonl"),
    ("search", "env.json"),
    ("search", "genotype.json"),
    ("search", "checkpoint/state.json"),
    ("search", "checkpoint/weights.safetensors"),
    ("training", "config.toml"),
    ("training", "events.jsonl"),
    ("training", "result.json"),
    ("training", "model.json"),
    ("training", "checkpoint/weights.safetensors"),
];

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, file) = FILES[usize::from(input.0) % FILES.len()];
    let folder = with(kind, file, input.1);
    let run = folder.path();
    let _ = Config::read(&run.join("config.toml"));
    let _ = search::finished(run);
    let _ = Reopened::open(run);
    let here = Here::default();
    // Settings may ask for a network as large as the machine's memory, which is none of the parsers' faults.
    let _ = match (file, kind) {
        ("config.toml", _) => None,
        (_, "search") => Search::resume(run, &here, &mut |_| {}, |plan| plan.engines(), Observers::none(), Arc::default()).err().map(drop),
        _ => Retrain::resume(run, &here, &mut |_| {}, |plan| plan.engines(), Observers::none(), Arc::default()).err().map(drop),
    };
    let _ = Trained::open(run, None, &here, &mut |_| {});
});
