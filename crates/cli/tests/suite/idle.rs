//! An option that is accepted has its effect: those that could have none are refused by name, before any work.

use std::fs;

use crate::common::{output, program, run};

const ARCH: &str = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|";

/// Arguments, and what is said of them.
const IDLE: [(&[&str], &str); 22] = [
    (&["score", "--proxy", "params", "--arch", ARCH, "--data", "nowhere"], "--data has no effect: the score reads no"),
    (
        &["score", "--proxy", "flops", "--arch", ARCH, "--no-verify"],
        "--no-verify has no effect: the score reads no images",
    ),
    (
        &["score", "--proxy", "params", "--sample", "2", "--batch", "8"],
        "--batch has no effect: the score reads no images",
    ),
    (
        &["score", "--proxy", "synflow", "--arch", ARCH, "--batch", "8"],
        "--batch has no effect: the score reads no images",
    ),
    (&["score", "--proxy", "flops", "--dataset", "digits", "--arch", ARCH, "--batch", "8"], "--batch has no effect"),
    (&["score", "--proxy", "flops", "--arch", ARCH, "--seed", "1"], "--seed has no effect: the score only counts"),
    (
        &["score", "--proxy", "naswot", "--arch", ARCH, "--no-verify"],
        "digits: it is built in, there are no files to accept",
    ),
    (
        &["blackbox", "random-search", "--proxy", "params", "--data", "nowhere"],
        "--data has no effect: the score reads no",
    ),
    (
        &["blackbox", "random-search", "--proxy", "flops", "--data", "nowhere", "--batch", "9"],
        "--data, --batch have no",
    ),
    (&["blackbox", "random-search", "--proxy", "flops", "--force"], "--force has no effect: no file is to be written"),
    (&["blackbox", "random-search", "--channels", "4"], "--proxy"),
    (&["evaluate", "nowhere", "--force"], "--force has no effect: no file is to be written"),
    (
        &["importance", "nowhere", "--by", "params,naswot", "--images", "8"],
        "--images has no effect: neither accuracy nor",
    ),
    (
        &["importance", "nowhere", "--by", "loss+0.1*params", "--proxy-batch", "8"],
        "--proxy-batch has no effect: no proxy",
    ),
    (&["describe", "0", "--svg", "--channels", "8", "--batch", "2"], "--channels, --batch have no effect: --svg draws"),
    (&["data", "check", "digits", "--no-verify"], "digits: it is built in, there are no files to accept"),
    (&["data", "export", "--out", "nowhere", "--no-verify"], "digits: it is built in, there are no files to accept"),
    (
        &["data", "check", "digits", "--split", "first-half", "--seed", "2"],
        "--seed has no effect: the split first-half",
    ),
    (&["compare", "--config", "c", "--out", "x", "--plan", "--dry-run"], "cannot be used with"),
    (&["compare", "--config", "c", "--out", "x", "--plan", "--jobs", "2"], "cannot be used with"),
    (&["compare", "--config", "c", "--out", "x", "--format", "csv", "--json"], "cannot be used with"),
    (&["search", "--set", "data.verify=false", "--dry-run"], "data.verify = false (--no-verify) has no effect"),
];

#[test]
fn options_without_an_effect_are_refused() {
    for (args, expected) in IDLE {
        let (code, out, err) = run(args);
        assert_eq!((code, &*out), (1, ""), "{args:?}: {err}");
        assert!(err.starts_with("error: ") && err.contains(expected), "{args:?}: {err}");
    }
}

/// The same options where they count.
#[test]
fn options_with_an_effect_are_not() {
    let small = ["--channels", "4", "--cells", "1"];
    for args in [
        &["score", "--proxy", "naswot", "--arch", ARCH, "--batch", "8", "--seed", "1"][..],
        &["score", "--proxy", "synflow", "--arch", ARCH, "--seed", "1"],
        &["score", "--proxy", "params", "--sample", "2", "--seed", "1"],
        &["blackbox", "random-search", "--proxy", "params", "--budget", "3", "--seed", "1"],
    ] {
        let (code, _, err) = run(&[args, &small].concat());
        assert_eq!(code, 0, "{args:?}: {err}");
    }
    for args in [
        &["describe", "0", "--svg"][..],
        &["describe", "0", "--channels", "8", "--batch", "2"],
        &["data", "check", "digits", "--split", "half", "--seed", "2"],
    ] {
        let (code, _, err) = run(args);
        assert_eq!(code, 0, "{args:?}: {err}");
    }
    // What replaces a file is asked for with the file.
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("runs.csv");
    fs::write(&lines, "old").unwrap();
    let search = ["blackbox", "random-search", "--proxy", "params", "--budget", "3", "--force", "--csv"];
    let (code, _, err) = output(program(folder.path()).args(search).arg(&lines));
    assert!(code == 0 && fs::read_to_string(&lines).unwrap().starts_with("seed,"), "{err}");
}
