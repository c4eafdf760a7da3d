//! `retrain`: from an architecture, a run or a file to a trained network; stopped and resumed; mistakes.

use std::{fs, path::Path};

use serde_json::Value;

use crate::common::{DARTS_V2, output, program, run};

const CELL: &str = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
const SMALL: [&str; 6] = ["--epochs", "2", "--set", "network.channels=4", "--set", "network.cells=1"];

#[test]
fn it_trains_what_a_run_has_found_and_says_how_good_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let [cell, one, two] = ["cell.txt", "one", "two"].map(path);
    fs::write(&cell, format!("{CELL}\n")).unwrap();
    let (code, out, err) = run(&[&["retrain", &format!("@{cell}"), "--out", &one][..], &SMALL].concat());
    assert_eq!(code, 0, "{err}");
    for part in [CELL, " parameters, ", "test, last epoch (2)", "360", "checkpoint/weights.safetensors"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(err.contains("epoch 2/2: training loss") && err.contains(", test "), "{err}");
    // A run is an architecture too, here and for `describe`.
    let half = ["--set", "data.train=half", "--json", "--out", &two];
    let (code, out, err) = run(&[&["retrain", &one][..], &half, &SMALL].concat());
    assert_eq!(code, 0, "{err}");
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((result["arch"].as_str(), result["last_valid"]["images"].as_u64()), (Some(CELL), Some(719)));
    assert!(result["best_valid"][0].as_u64().is_some() && result["test"]["accuracy"].as_f64().is_some());
    // What the training has measured is what `evaluate` measures.
    let matrix = path("matrix.csv");
    let [drawing, logits] = ["matrix.svg", "logits.csv"].map(path);
    let files = ["--confusion", &matrix, "--confusion-svg", &drawing, "--logits", &logits];
    let (code, out, err) = run(&[&["evaluate", &two, "--json"][..], &files].concat());
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((report["images"].as_u64(), report["epochs"].as_u64()), (Some(360), Some(2)));
    assert_eq!(report["top1"], result["test"]["accuracy"]);
    let off = report["loss"].as_f64().unwrap() - result["test"]["loss"].as_f64().unwrap();
    assert!(off.abs() < 1e-5, "{off}");
    assert!(report["top5"].as_f64().unwrap() >= report["top1"].as_f64().unwrap());
    let matrix = fs::read_to_string(&matrix).unwrap();
    let counts: Vec<usize> =
        matrix.lines().skip(1).flat_map(|l| l.split(',').skip(1)).map(|n| n.parse().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (100, 360));
    let drawing = fs::read_to_string(&drawing).unwrap();
    assert!(drawing.starts_with("<svg ") && drawing.matches("<title>").count() == 100, "{drawing}");
    let logits = fs::read_to_string(&logits).unwrap();
    assert!(logits.starts_with("true class,\"0\",\"1\","), "{logits}");
    assert_eq!((logits.lines().count(), logits.matches(',').count()), (361, 10 * 361));
    let (code, out, err) = run(&["evaluate", &two, "--split", "valid"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("719 valid images of digits: top-1") && out.contains("accuracy, %"), "{out}");
    let (code, _, err) = run(&["evaluate", &one, "--split", "valid"]);
    assert!(code == 1 && err.contains("has no validation images"), "{err}");
    let (code, _, err) = run(&["evaluate", folder.path().to_str().unwrap()]);
    assert!(code == 1 && err.contains("is not the run folder of a training"), "{err}");
    let (code, _, err) = run(&["importance", &one]);
    assert!(code == 1 && err.contains("is the folder of a training, which has no supernet"), "{err}");
    let (code, _, err) = run(&["evaluate", &one, "--epoch", "1"]);
    assert!(code == 1 && err.contains("epoch 1"), "{err}");
    let (code, out, err) = run(&["describe", &two]);
    assert_eq!(code, 0, "{err}");
    assert!(out.starts_with(CELL), "{out}");
    let (code, again, err) = run(&["resume", &two, "--json"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("already ended"), "{err}");
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["test"], result["test"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_is_saved_and_goes_on() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let folder = tempfile::tempdir().unwrap();
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let args = |out: &Path| {
        let mut args = ["retrain", CELL, "--epochs", "30", "--out"].map(str::to_owned).to_vec();
        args.push(out.to_str().unwrap().to_owned());
        args.extend(SMALL[2..].iter().map(|&arg| arg.to_owned()));
        args
    };
    assert!(program(folder.path()).args(args(&whole)).output().unwrap().status.success());
    let mut child =
        program(folder.path()).args(args(&stopped)).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("epoch 3/30")));
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("hpe-darts resume")), "{rest:?}");
    let resumed = program(folder.path()).arg("resume").arg(&stopped).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    for name in ["events.jsonl", "result.json", "checkpoint/weights.safetensors"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(stopped.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn mistakes_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let out = out.to_str().unwrap();
    let empty = folder.path().to_str().unwrap();
    for (args, part) in [
        (&["retrain", "15625"][..], "architecture index 15625 is out of range"),
        (&["retrain", "@nowhere.txt"], "cannot read the architecture file nowhere.txt"),
        (&["retrain", empty], "is not the folder of a finished run"),
        (&["retrain", "conv"], "`conv` is not an architecture"),
        (&["retrain", "0", "--recipe", "fast"], "unknown recipe `fast`"),
        (&["retrain", "0", "--epochs", "0"], "--epochs"),
        (&["retrain", "0", "--dataset", "cifar"], "unknown data set `cifar`"),
        (&["retrain", "0", "--set", "training.lr=1"], "unknown key `training.lr`"),
        (&["retrain", "0", "--set", "network.auxiliary=1"], "has no auxiliary head"),
        (&["retrain", "0", "--recipe", "darts"], "has no auxiliary head"),
    ] {
        let (code, stdout, err) = run(&[args, &["--out", out]].concat());
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
        assert!(!Path::new(out).exists(), "{args:?}");
    }
    let (code, text, err) = run(&["retrain", "0", "--recipe", "nas-bench-201-12", "--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        text.contains("12 epochs of 6 steps; 1437 images train, 0 validate, 360 test")
            && text.contains("batch_size = 256"),
        "{text}"
    );
}

/// Spaces of a family share a notation; what is trained stays of the one that was asked for.
#[test]
fn a_space_may_be_named_where_several_share_a_notation() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let size = ["--epochs", "1", "--set", "network.channels=4", "--set", "network.cells=3", "--json"];
    let [plain, skips] = [&[][..], &["--space", "darts-all-skip"]].map(|space| {
        let out = path(space.last().unwrap_or(&"darts"));
        let (code, json, err) = run(&[&["retrain", DARTS_V2, "--out", &out], space, &size[..]].concat());
        assert_eq!(code, 0, "{err}");
        (out, serde_json::from_str::<Value>(&json).unwrap())
    });
    assert_eq!((&skips.1["arch"], &skips.1["genotype"]["space"]), (&plain.1["arch"], &"darts-all-skip".into()));
    assert!(skips.1["parameters"].as_u64() > plain.1["parameters"].as_u64());
    for command in [&["describe", &skips.0, "--json"][..], &["retrain", &skips.0, "--dry-run", "--json"]] {
        let (code, json, err) = run(command);
        assert_eq!(code, 0, "{command:?}: {err}");
        assert!(json.contains("darts-all-skip"), "{command:?}: {json}");
    }
    let code = path("net.py");
    let (code, python) = (run(&["export", &skips.0, "--format", "pytorch", "-o", &code]), fs::read_to_string(&code));
    assert_eq!(code.0, 0, "{}", code.2);
    assert_eq!(python.unwrap().matches("auxiliary_skip=FactorizedReduce(c, c)").count(), 5);
    let (code, _, err) = run(&["retrain", &skips.0, "--space", "darts", "--dry-run"]);
    assert!(code == 1 && err.contains("it belongs to `darts-all-skip`, expected `darts`"), "{err}");
    let (code, _, err) = run(&["retrain", DARTS_V2, "--set", "space=darts-all-skip", "--dry-run"]);
    assert!(code == 1 && err.contains("--space NAME"), "{err}");
}

/// The weights that the cell had when it was found are better than random ones.
#[test]
fn a_training_starts_from_the_supernet() {
    let folder = tempfile::tempdir().unwrap();
    let at = |args: &[&str]| {
        let (code, out, err) = output(program(folder.path()).current_dir(folder.path()).args(args));
        assert_eq!(code, 0, "{args:?}: {err}");
        out
    };
    let small = ["--set", "training.max_steps_per_epoch=8", "--threads", "2", "--json"];
    at(&["search", "--out", "search", "--threads", "2"]);
    let first_loss = |out: &str, more: &[&str]| {
        at(&[&["retrain", "search", "--epochs", "1", "--out", out][..], more, &small].concat());
        let events = std::fs::read_to_string(folder.path().join(out).join("events.jsonl")).unwrap();
        let epoch: serde_json::Value = serde_json::from_str(events.lines().nth(1).unwrap()).unwrap();
        epoch["train_loss"].as_f64().unwrap()
    };
    let supernet = ["--set", "network.channels=16", "--set", "network.cells=1"];
    let random = first_loss("random", &supernet);
    let inherited = first_loss("inherited", &["--from-supernet", "search"]);
    assert!(inherited < 0.8 * random, "{inherited} against {random}");
    let (code, _, err) = output(
        program(folder.path())
            .current_dir(folder.path())
            .args("retrain search --from-supernet inherited --dry-run".split(' ')),
    );
    assert_eq!(code, 1);
    assert!(err.contains("is not the run folder of a search"), "{err}");
}
