//! `bench`: the check, the figures, the baseline.

use std::fs;

use serde_json::Value;

use crate::common::{program, run};

const SMALL: [&str; 11] =
    ["bench", "--channels", "16", "--cells", "1", "--batch", "2", "--rounds", "1", "--threads", "2"];

#[test]
fn it_checks_times_saves_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("baseline.json");
    let file = file.to_str().unwrap();
    let (code, out, err) = run(&[&SMALL[..], &["--json", "--save", file]].concat());
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["check"]["threads_agree_to_the_bit"], true);
    assert!(report["check"]["loss"].as_f64().unwrap() < 1e-5);
    let works = report["works"].as_array().unwrap();
    assert_eq!(works.len(), 5);
    assert!(works.iter().all(|w| w["milliseconds"].as_f64().unwrap() > 0.0));
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap(), report);

    let (code, out, err) = run(&[&SMALL[..], &["--kernels", "direct", "--baseline", file]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("direct kernels") && out.contains("ms / baseline"), "{out}");

    let (code, out, err) = run(&[&SMALL[..], &["--ops", "nor_conv_1x1,skip_connect"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("skip_connect nor_conv_1x1 on every edge"), "{out}");
}

#[test]
fn it_knows_every_space() {
    let small = ["bench", "--space", "darts", "--cells", "3", "--batch", "2", "--rounds", "1", "--channels", "4"];
    let (code, out, err) = run(&[&small[..], &["--alive", "5"]].concat());
    assert_eq!(code, 0, "{err}");
    let ops = "sep_conv_3x3 sep_conv_5x5 dil_conv_3x3 dil_conv_5x5";
    assert!(out.contains(&format!("darts supernet, 32 x 32, batch 2, C 4, N 3, skip_connect {ops} on every")), "{out}");
    assert!(out.contains(" times 140 evaluations"), "{out}");
    for (more, part) in [
        (["--alive", "9"], "--alive 9: `darts` has 8 operations: none, max_pool_3x3"),
        (["--ops", "nor_conv_3x3"], "--ops nor_conv_3x3: `darts` has no such operation, expected some of none"),
        (["--cells", "2"], "a `darts` network of 2 cells, expected 3 to"),
        (["--space", "dart"], "did you mean `darts`?"),
    ] {
        let args: Vec<&str> =
            small.into_iter().filter(|arg| !["--cells", "3", "--space", "darts"].contains(arg)).collect();
        let space = if more[0] == "--space" { &[][..] } else { &["--space", "darts"] };
        let (code, _, err) = run(&[&args[..], space, &more].concat());
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(part), "{err}");
    }
}

#[test]
fn a_baseline_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.json");
    fs::write(&file, "{}").unwrap();
    let (code, _, err) = run(&[&SMALL[..], &["--baseline", file.to_str().unwrap()]].concat());
    assert_eq!(code, 1);
    assert!(err.contains("is not a saved result of bench") && err.contains("hint: make one with"), "{err}");
    let (code, _, err) = run(&[&SMALL[..], &["--baseline", "nowhere.json"]].concat());
    assert_eq!(code, 1);
    assert!(err.contains("cannot read the baseline nowhere.json"), "{err}");
    let (code, _, err) = run(&["bench", "--ops", "nor_conv_3x3,conv"]);
    assert_eq!(code, 1);
    assert!(err.contains("expected none, skip_connect"), "{err}");
    let (code, _, err) = run(&["bench", "--kernels", "wingrad"]);
    assert_eq!(code, 1);
    assert!(err.contains("winograd"), "{err}");
}

#[test]
fn an_instruction_set_that_is_not_to_be_had_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let output = program(home.path()).args(["bench"]).env("HPE_DARTS_SIMD", "sse9").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("HPE_DARTS_SIMD is `sse9`, expected one of") && err.contains("portable"), "{err}");
}
