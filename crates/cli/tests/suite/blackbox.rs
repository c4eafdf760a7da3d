//! `blackbox`: output, files, bad input, and Table 1 of the paper.

use std::{fs, io::Read, path::Path, process::Stdio, time::Instant};

use serde_json::Value;

use crate::{
    common::{data_file, output, program, run},
    kills::disturb,
    query::Home,
};

const METHODS: [&str; 5] = ["random-search", "regularized-evolution", "reinforce", "bohb", "local-search"];

/// The object that a search on the made-up table prints.
fn json(home: &Home, args: &[&str]) -> Value {
    let output = home.run(&[&["blackbox"], args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn json_is_one_object_and_does_not_depend_on_the_threads() {
    let home = Home::with_table();
    for method in METHODS {
        let args = [method, "--budget", "60", "--runs", "7", "--seed", "3"];
        let [one, two] = ["1", "2"].map(|threads| json(&home, &[&args[..], &["--threads", threads]].concat()));
        assert_eq!(one, two);
        let keys: Vec<&str> = one.as_object().unwrap().keys().map(String::as_str).collect();
        let expected =
            ["method", "config", "space", "dataset", "evaluator", "budget", "unit", "seed", "runs", "accuracies"];
        assert_eq!(keys, [&expected[..], &["evaluations", "spent", "best", "median", "paper", "run_dir"]].concat());
        assert_eq!(
            (one["method"].as_str(), one["runs"].as_u64(), &one["paper"]),
            (Some(method), Some(7), &Value::Null)
        );
        assert!(one["spent"]["max"].as_f64().unwrap() <= 60.0 && one["evaluations"]["min"].as_f64().unwrap() >= 1.0);
        let test = &one["accuracies"]["cifar10_test"];
        assert_eq!(one["best"]["quality"], test["max"]);
        assert!(test["mean"].as_f64() < test["max"].as_f64() && test["std"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_papers_values_stand_beside_its_own_search_only() {
    let home = Home::with_table();
    let shown = |args: &[&str]| {
        let output = home.run(&[&["blackbox", "reinforce"], args].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = shown(&[]);
    assert!(text.starts_with(
        "reinforce on nas-bench-201, cifar10 (table, 12 epochs), 12000 simulated seconds, 1 run, seed 0\n"
    ));
    assert!(text.contains("reported in the paper, Table 1 (n = 10)") && text.contains("93.14 ± 0.65"), "{text}");
    assert!(!text.contains("standard deviation over"), "of one run there is none: {text}");
    for other in [&["--budget", "11999"][..], &["--epochs", "200"], &["--dataset", "cifar100"]] {
        assert!(!shown(other).contains("paper"), "{other:?}");
    }
}

#[test]
fn files_hold_the_runs_and_their_evaluations() {
    let (home, folder) = (Home::with_table(), tempfile::tempdir().unwrap());
    let [csv, record] = ["runs.csv", "record.jsonl"].map(|name| folder.path().join(name));
    let files = ["--csv", csv.to_str().unwrap(), "--record", record.to_str().unwrap()];
    json(&home, &[&["bohb", "--budget", "100", "--runs", "3"], &files[..]].concat());
    let (csv, record) = (fs::read_to_string(csv).unwrap(), fs::read_to_string(record).unwrap());
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..5], ["seed", "evaluations", "spent", "value", "index"]);
    assert_eq!((rows.len(), rows[0].len()), (4, 12));
    let trials: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &rows[1..] {
        let own: Vec<&Value> = trials.iter().filter(|t| t["seed"].as_u64() == row[0].parse().ok()).collect();
        assert_eq!(own.len().to_string(), row[1]);
        let spent: f64 = own.iter().map(|t| t["cost"].as_f64().unwrap()).sum();
        assert!((spent - row[2].parse::<f64>().unwrap()).abs() < 1e-9);
    }
    let keys: Vec<&str> = trials[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["seed", "trial", "arch", "level", "value", "cost"]);
    assert!(trials.iter().all(|t| t["level"] == 1), "BOHB of the paper trains for 200 epochs");
}

#[test]
fn a_proxy_evaluates_on_every_space_without_a_table() {
    for space in ["nas-bench-201", "darts"] {
        let args = ["blackbox", "local-search", "--space", space, "--proxy", "params", "--budget", "12", "--json"];
        let (code, out, err) = run(&args);
        assert_eq!(code, 0, "{err}");
        let found: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((found["unit"].as_str(), &found["accuracies"]), (Some("evaluations"), &Value::Null));
        assert_eq!(found["evaluations"]["mean"], 12.0);
        assert!(found["best"]["quality"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn every_proxy_that_stands_alone_evaluates() {
    for proxy in nas::proxy::all().iter().filter(|proxy| proxy.composite().is_none()) {
        let args =
            ["blackbox", "random-search", "--space", "darts", "--proxy", proxy.name(), "--budget", "1", "--json"];
        let small: &[&str] = if proxy.needs_images() { &["--batch", "4"] } else { &[] };
        let (code, out, err) = run(&[&args[..], &["--channels", "2", "--cells", "3"], small].concat());
        assert_eq!(code, 0, "{}: {err}", proxy.name());
        let found: Value = serde_json::from_str(&out).unwrap();
        assert!(found["best"]["quality"].as_f64().is_some_and(f64::is_finite), "{}: {out}", proxy.name());
    }
}

#[test]
fn bad_input_says_what_would_be_right() {
    let home = Home::with_table();
    let folder = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (&["reinforced"][..], "did you mean `reinforce`?"),
        (&["bohb", "--budget", "0"], "expected at least"),
        (&["bohb", "--budget", "-5"], "an evaluation costs"),
        (&["bohb", "--budget", "nan"], "a budget of NaN simulated seconds"),
        (&["random-search", "--budget", "inf"], "expected at most"),
        (&["bohb", "--runs", "0"], "expected a whole number from 1 to 10000"),
        (&["bohb", "--runs", "2", "--seed", "18446744073709551615"], "expected seeds of at most"),
        (&["bohb", "--space", "darts"], "the space `darts` has no table of results"),
        (&["bohb", "--space", "dart"], "did you mean `darts`?"),
        (&["bohb", "--dataset", "cifar-10"], "did you mean `cifar10`?"),
        (&["bohb", "--epochs", "100"], "expected 12 or 200"),
        (&["bohb", "--epochs", "200", "--proxy", "params"], "cannot be used with"),
        (&["bohb", "--batch", "8"], "--proxy <NAME>"),
        (&["bohb", "--proxy", "naswt"], "did you mean `naswot`?"),
        (&["bohb", "--proxy", "az-nas"], "the proxy `az-nas` ranks networks among each other"),
        (&["bohb", "--proxy", "params", "--budget", "0.5"], "an evaluation costs 1.0"),
        (&["bohb", "--set", "eta=1"], "eta = 1, expected 2 to 10"),
        (&["bohb", "--set", "sample=3"], "did you mean `samples`?"),
        (&["bohb", "--set", "eta"], "`=` is missing"),
        (&["bohb", "--retrain"], "--out <DIR>"),
        (&["bohb", "--retrain", "--out", "x", "--proxy", "params"], "cannot be used with"),
        (&["bohb", "--recipe", "quick"], "--retrain"),
        (&["bohb", "--size", "8"], "--retrain"),
        (&["bohb", "--out", "x"], "<--proxy <NAME>|--retrain>"),
        (&["bohb", "--data", "x"], "<--proxy <NAME>|--retrain>"),
        (&["bohb", "--set", "retrain.training.batch_size=9"], "unknown key `retrain.training.batch_size`"),
        (&["bohb", "--csv", folder.path().to_str().unwrap()], "is a folder, expected the name of a file"),
    ] {
        let message = home.refused(&[&["blackbox"], args].concat());
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    let (code, _, err) = run(&["blackbox", "bohb"]);
    assert!(code == 1 && err.contains("hpe-darts table import"), "{err}");
}

/// Two epochs of a few steps for every architecture.
const SMALL: [&str; 13] = [
    "random-search",
    "--retrain",
    "--epochs",
    "2",
    "--budget",
    "6",
    "--set",
    "retrain.network.channels=4",
    "--set",
    "retrain.network.cells=1",
    "--set",
    "retrain.training.max_steps_per_epoch=4",
    "--json",
];

fn in_folder(home: &Path, out: &Path, args: &[&str]) -> std::process::Command {
    let mut command = program(home);
    command.arg("blackbox").args(args).args(["--threads", "1", "--out"]).arg(out);
    command
}

/// Settings, evaluations and result.
fn files(out: &Path) -> [String; 3] {
    ["blackbox.toml", "evaluations.jsonl", "result.json"].map(|file| fs::read_to_string(out.join(file)).unwrap())
}

#[cfg(unix)]
#[test]
fn a_search_that_is_stopped_or_killed_goes_on_by_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let [whole, out] = ["whole", "out"].map(|name| home.join(name));
    let began = Instant::now();
    let (code, text, err) = output(&mut in_folder(home, &whole, &SMALL));
    let usual = began.elapsed();
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&found["unit"], &found["spent"]["mean"], &found["accuracies"]),
        (&"epochs".into(), &6.0.into(), &Value::Null)
    );
    assert_eq!(found["run_dir"].as_str(), whole.to_str());
    assert_eq!(fs::read_dir(whole.join("trainings")).unwrap().count(), 3);
    let mut disturbed = [0, 0];
    for attempt in 0.. {
        let mut command = in_folder(home, &out, &SMALL);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (signal, delay) = (["INT", "KILL"][attempt % 2], usual.mul_f64((attempt % 8) as f64 / 8.0));
        let (status, sent) = disturb(&mut child, signal, delay);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        match status.code() {
            Some(0) => {
                assert_eq!(files(&out), files(&whole));
                if disturbed.iter().all(|&n| n > 0) {
                    break;
                }
                // On a busy machine a search may end before the signal comes: another one.
                assert!(attempt < 100, "{disturbed:?}");
                fs::remove_dir_all(&out).unwrap();
            }
            Some(code) => {
                assert!(code == 130 && signal == "INT", "{code}: {err}");
                let how = format!("To continue:\n  hpe-darts blackbox {}", SMALL[0]);
                disturbed[0] += usize::from(err.contains(&how));
            }
            None => disturbed[1] += usize::from(sent),
        }
    }
}

#[test]
fn the_folder_of_a_search_takes_no_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let out = home.join("out");
    let search = |args: &[&str]| output(&mut in_folder(home, &out, args));
    let scored = ["random-search", "--proxy", "params", "--budget", "3"];
    let (code, first, err) = search(&scored);
    assert!(code == 0 && first.contains("evaluations.jsonl"), "{err}");
    let there = files(&out);
    let (_, again, err) = search(&scored);
    assert!(again == first && err.contains("3 evaluations are known"), "{err}");
    for (args, expected) in [
        (&["random-search", "--proxy", "params", "--budget", "4"][..], "budget is 3.0, now 4.0"),
        (&["random-search", "--proxy", "flops", "--budget", "3"], "evaluator.proxy.name is \"params\", now \"flops\""),
        (&["bohb", "--proxy", "params", "--budget", "3"], "method.bohb."),
        (&SMALL, "holds a search with other settings"),
    ] {
        let (code, _, err) = search(args);
        assert!(code == 1 && err.contains(expected), "{args:?}: {err}");
    }
    let mut small = SMALL;
    small[5] = "1";
    let new = home.join("new");
    for (args, more, expected) in [
        (&small, &[][..], "a budget of 1 epochs, expected at least 2.0"),
        (&SMALL, &["--recipe", "slow"], "unknown recipe `slow`, expected quick"),
        (&SMALL, &["--set", "retrain.data.train=all"], "data.train = all: every image trains"),
        (&SMALL, &["--set", "retrain.training.epoch=1"], "did you mean `training.epochs`?"),
        (&SMALL, &["--set", "retrain.training.epochs=x"], "--set retrain.training.epochs=x: invalid type"),
        (&SMALL, &["--dataset", "digit"], "did you mean `digits`?"),
        (&SMALL, &["--size", "8"], "--dataset folder"),
    ] {
        let (code, _, err) = output(&mut in_folder(home, &new, &[&args[..], more].concat()));
        assert!(code == 1 && err.contains(expected), "{more:?}: {err}");
    }
    assert_eq!(files(&out), there);
    assert!(!new.exists());
}

/// 100 runs of 12,000 s each: every mean lies within the standard deviation that the paper reports.
#[test]
fn the_real_table_gives_the_papers_table_1() {
    let Some(csv) = data_file("nas-bench-201.csv.gz") else { return };
    let home = tempfile::tempdir().unwrap();
    let (code, _, err) = output(program(home.path()).args(["table", "import"]).arg(csv));
    assert_eq!(code, 0, "{err}");
    for method in &METHODS[..4] {
        let (code, out, err) = output(program(home.path()).args(["blackbox", method, "--runs", "100", "--json"]));
        assert_eq!(code, 0, "{err}");
        let found: Value = serde_json::from_str(&out).unwrap();
        for (column, paper) in found["paper"].as_object().unwrap() {
            let [mean, reported, std] =
                [&found["accuracies"][column]["mean"], &paper["mean"], &paper["std"]].map(|v| v.as_f64().unwrap());
            assert!((mean - reported).abs() < std, "{method}, {column}: {mean}, reported {reported} ± {std}");
        }
    }
}
