//! `bench`: the check, the figures, the baseline.

use std::fs;

use serde_json::Value;

use crate::common::run;

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
    assert_eq!(works.len(), 4);
    assert!(works.iter().all(|w| w["milliseconds"].as_f64().unwrap() > 0.0));
    assert_eq!(serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap(), report);

    let (code, out, err) = run(&[&SMALL[..], &["--kernels", "direct", "--baseline", file]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("direct kernels") && out.contains("ms / baseline"), "{out}");
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
    let (code, _, err) = run(&["bench", "--kernels", "wingrad"]);
    assert_eq!(code, 1);
    assert!(err.contains("winograd"), "{err}");
}
