//! `importance`.

use std::{fs, path::Path};

use serde_json::Value;

use crate::common::{output, program};

fn trained(folder: &Path) -> std::path::PathBuf {
    let run = folder.join("run");
    let mut command = program(folder);
    let set = [
        "supernet.channels=4",
        "training.max_steps_per_epoch=4",
        "training.batch_size=16",
        "run.keep_epochs=true",
        "strategy.hpe-darts.warmup_epochs=1",
        "strategy.hpe-darts.prune_epochs=1",
        "strategy.hpe-darts.importance.images=64",
    ];
    command.args(["search", "--out"]).arg(&run).args(set.iter().flat_map(|s| ["--set", s]));
    let (code, _, err) = output(&mut command);
    assert_eq!(code, 0, "{err}");
    run
}

#[test]
fn it_measures_a_kept_epoch_and_leaves_the_run_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path());
    let events = fs::read(run.join("events.jsonl")).unwrap();
    let timing = fs::read(run.join("timing.jsonl")).unwrap();
    let importance = |more: &[&str]| output(program(folder.path()).arg("importance").arg(&run).args(more));
    let (code, out, err) = importance(&["--epoch", "1", "--images", "160", "--samples", "2", "--json"]);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["epochs"], 1);
    assert_eq!(report["truth"], Value::Null);
    let sweeps = report["sweeps"].as_array().unwrap();
    let kinds: Vec<&str> = sweeps[..5].iter().map(|s| s["by"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["accuracy", "loss", "net-perf-proxy", "naswot", "params"]);
    assert_eq!(sweeps.len(), 10);
    // What accuracy has measured is the loss's table too, and the same as measured for the loss alone.
    let (_, alone, _) = importance(&["--epoch", "1", "--images", "160", "--by", "loss", "--json"]);
    let alone: Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(alone["sweeps"][0]["table"]["importance"], sweeps[1]["table"]["importance"]);
    assert_eq!(sweeps[1]["table"]["importance"][0][0], 0.0);
    let (code, out, err) = importance(&["--epoch", "1", "--images", "160", "--by", "loss+naswot", "--json"]);
    assert_eq!(code, 0, "{err}");
    let sum: Value = serde_json::from_str(&out).unwrap();
    let table = &sum["sweeps"][0]["table"];
    assert_eq!(table["by"], "loss+naswot");
    assert!(table["measures"]["loss"]["supernet"].is_f64() && table["measures"]["naswot"]["supernet"].is_f64());
    // Another sample has other images; a count of parameters needs none.
    assert_ne!(sweeps[1]["table"]["importance"], sweeps[6]["table"]["importance"]);
    assert_eq!(sweeps[4]["table"]["importance"], sweeps[9]["table"]["importance"]);

    // The newest checkpoint, after everything but one operation of each edge is gone.
    let (code, out, err) = importance(&["--by", "net-perf-proxy,loss"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("after 3 epochs") && out.contains("Importance by loss, nats"), "{out}");
    // One operation of each edge is left, and it is what the run ended with.
    let found: Value = serde_json::from_slice(&fs::read(run.join("genotype.json")).unwrap()).unwrap();
    assert!(out.contains(&format!("most important: {}\n", found["arch"].as_str().unwrap())), "{out}");
    assert_eq!(fs::read(run.join("events.jsonl")).unwrap(), events);
    assert_eq!(fs::read(run.join("timing.jsonl")).unwrap(), timing);
}

#[test]
fn what_cannot_be_measured_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path());
    let refused = |more: &[&str], message: &str| {
        let (code, _, err) = output(program(folder.path()).arg("importance").arg(&run).args(more));
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(message), "{err}");
    };
    refused(&["--epoch", "9"], "has no checkpoint for the end of epoch 9");
    refused(&["--epoch", "9"], "hint: omit --epoch");
    refused(&["--images", "100000"], "more than the 719 images of D_val");
    refused(&["--by", "acuracy"], "unknown performance `acuracy`, expected `accuracy`, `loss`");
    let (code, _, err) = output(program(folder.path()).args(["importance", "nowhere"]));
    assert_eq!(code, 1);
    assert!(err.contains("nowhere is not a run folder"), "{err}");
}
