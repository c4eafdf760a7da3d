//! An exported network: its description or its weights, the other as the program wrote it.
#![no_main]

use hpe_darts_fuzz::with;
use libfuzzer_sys::fuzz_target;
use nas::{Here, retrain::Trained};

fuzz_target!(|input: (bool, &[u8])| {
    let folder = with("model", if input.0 { "net.json" } else { "net.safetensors" }, input.1);
    let _ = Trained::open(&folder.path().join("net.safetensors"), None, &Here::default(), &mut |_| {});
});
