//! What every command has in common: help, exit codes, messages, pipes.

use std::{
    io::{BufRead, BufReader, Read},
    process::Stdio,
};

use crate::common::{program, run};

#[test]
fn help_and_version_go_to_standard_output() {
    let (code, out, err) = run(&["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("Exit codes: 0 done, 1 your input"), "{out}");
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out), (0, format!("hpe-darts {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn usage_errors_are_the_users_and_leave_standard_output_empty() {
    for (args, part) in [
        (&["serach"][..], "unrecognized subcommand 'serach'"),
        (&["list", "proxis"], "a similar value exists: 'proxies'"),
        (&["list", "ops", "--jsn"], "a similar argument exists: '--json'"),
        (&["list"], "required arguments were not provided"),
        (&[], "Usage: hpe-darts <COMMAND>"),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn lists_are_read_from_the_registries() {
    let (code, out, err) = run(&["list", "ops", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let ops: serde_json::Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = ops.as_array().unwrap().iter().map(|op| op["name"].as_str().unwrap()).collect();
    assert_eq!(names[..5], ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]);
    for (what, name) in [
        ("strategies", "hpe-darts"),
        ("spaces", "nas-bench-201"),
        ("proxies", "net-perf-proxy"),
        ("datasets", "cifar10"),
        ("ops", "none"),
    ] {
        let (code, out, _) = run(&["list", what]);
        assert_eq!(code, 0);
        assert!(out.starts_with("name "), "{out}");
        assert!(out.lines().any(|line| line.split_whitespace().next() == Some(name)), "{out}");
    }
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, err) = run(&["completions", shell]);
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        for word in ["search", "retrain", "strategy", "hpe-darts"] {
            assert!(out.contains(word), "{shell}: no {word}");
        }
    }
    let (code, _, err) = run(&["completions", "tcsh"]);
    assert!(code == 1 && err.contains("possible values: bash"), "{err}");
}

#[test]
fn every_command_gets_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let (code, out, err) = run(&["man", pages.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    let mut names: Vec<String> =
        std::fs::read_dir(&pages).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(out, format!("{} pages in {}\n", names.len(), pages.display()));
    for (page, part) in
        [("hpe-darts.1", "hpe\\-darts\\-search"), ("hpe-darts-table-import.1", "index"), ("hpe-darts-search.1", "dry")]
    {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(part), "{page}: {text}");
    }
    assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
}

/// `hpe-darts ... | head -1`
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let home = tempfile::tempdir().unwrap();
    let mut child = program(home.path())
        .args(["score", "--proxy", "params", "--sample", "15625"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains('|'), "{line}");
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{err}");
    assert!(!err.contains("error"), "{err}");
}

/// A full disk is not a reader that left: it is reported.
#[test]
#[cfg(target_os = "linux")]
fn output_that_cannot_be_written_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let full = std::fs::File::create("/dev/full").unwrap();
    let output = program(home.path()).args(["list", "ops"]).stdout(full).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(err.starts_with("error: cannot write to standard output\n  because: No space left on device"), "{err}");
}
