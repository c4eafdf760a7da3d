//! `search` and `resume`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::common::{output, program, record, run};

/// A search that takes a moment on any machine: a tiny supernet, a few steps.
const TINY: [&str; 17] = [
    "search",
    "--threads",
    "2",
    "--set",
    "supernet.channels=4",
    "--set",
    "training.max_steps_per_epoch=4",
    "--set",
    "training.batch_size=16",
    "--set",
    "strategy.hpe-darts.warmup_epochs=2",
    "--set",
    "strategy.hpe-darts.prune_epochs=2",
    "--set",
    "strategy.hpe-darts.importance.images=64",
    "--set",
    "strategy.hpe-darts.importance.proxy_batch_size=16",
];

fn tiny(home: &Path, out: &Path) -> Command {
    let mut command = program(home);
    command.args(TINY).arg("--out").arg(out).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Fails with code 1 and this message and hint, without output and without panic.
#[track_caller]
fn refused(args: &[&str], message: &str, hint: &str) {
    let (code, stdout, stderr) = run(args);
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(stdout, "");
    assert!(stderr.starts_with("error: ") && stderr.contains(message), "{stderr}");
    assert!(stderr.contains(&format!("hint: {hint}")) || (hint.is_empty() && !stderr.contains("hint")), "{stderr}");
}

fn events(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the record of a running search has this many whole lines.
fn wait_for_lines(child: &mut Child, run: &Path, lines: usize) {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
        if text.matches('\n').count() >= lines {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the search ended before it could be stopped");
        assert!(began.elapsed() < Duration::from_secs(120), "no progress: {text}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn without_data_or_table_a_search_ends_with_a_cell() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (code, stdout, stderr) = output(&mut tiny(folder.path(), &out));
    assert_eq!(code, 0, "{stderr}");
    for part in
        ["|+|", "node 1", "index ", "table import", "warm-up", "stage 2", "importance", "next:", "hpe-darts query"]
    {
        assert!(stdout.contains(part), "{part} is missing: {stdout}");
    }
    assert!(stderr.contains("epoch 6/6 stage 2"), "{stderr}");
    for file in ["config.toml", "events.jsonl", "timing.jsonl", "genotype.json", "env.json", "checkpoint/state.json"] {
        assert!(out.join(file).is_file(), "{file}");
    }
    // The run's configuration repeats the run.
    let again = folder.path().join("again");
    let config = out.join("config.toml");
    let (code, _, stderr) =
        output(program(folder.path()).args(["search", "--config"]).arg(&config).arg("--out").arg(&again));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(fs::read(&config).unwrap(), fs::read(again.join("config.toml")).unwrap());
    assert!(record(&out) == record(&again));
    // And the number of threads does not matter.
    let single = folder.path().join("single");
    let (code, _, stderr) = output(tiny(folder.path(), &single).args(["--set", "threads=1"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(record(&out) == record(&single));
}

#[test]
fn json_ends_with_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (code, stdout, stderr) = output(tiny(folder.path(), &out).arg("--json"));
    assert_eq!(code, 0, "{stderr}");
    let result: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    let arch = result["arch"].as_str().unwrap();
    assert_eq!(arch.matches('~').count(), 6);
    assert!(result["index"].as_u64().unwrap() < 15_625);
    assert!(result["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(result["run_dir"].as_str().unwrap(), out.to_str().unwrap());
    assert!(result["table"].is_null());
    assert_eq!(result["genotype"]["space"], "nas-bench-201");
    // A finished run says so, and shows its result again.
    let (code, stdout, stderr) = output(program(folder.path()).arg("resume").arg(&out).arg("--json"));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("already ended"), "{stderr}");
    let again: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(again["genotype"], result["genotype"]);
}

#[cfg(unix)]
#[test]
fn killed_and_resumed_a_search_is_bit_identical() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert_eq!(output(&mut tiny(folder.path(), &whole)).0, 0);
    // Kills after the start, after a sweep, and between two epochs.
    for lines in [1, 4, 8] {
        let out = folder.path().join(format!("killed-{lines}"));
        let mut child = tiny(folder.path(), &out).spawn().unwrap();
        wait_for_lines(&mut child, &out, lines);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!out.join("genotype.json").exists(), "killed too late");
        let (code, _, stderr) = output(program(folder.path()).arg("resume").arg(&out));
        assert_eq!(code, 0, "{stderr}");
        assert!(record(&out) == record(&whole), "killed after line {lines}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    assert_eq!(output(&mut tiny(folder.path(), &whole)).0, 0);
    let out = folder.path().join("run");
    let mut child = tiny(folder.path(), &out).spawn().unwrap();
    wait_for_lines(&mut child, &out, 2);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output_of = child.wait_with_output().unwrap();
    assert_eq!(output_of.status.code(), Some(130));
    assert_eq!(output_of.stdout, b"");
    let stderr = String::from_utf8(output_of.stderr).unwrap();
    assert!(
        stderr.ends_with(&format!(
            "interrupted; everything is saved. To continue:\n  hpe-darts resume {}\n",
            out.display()
        ))
    );
    let (code, _, stderr) = output(program(folder.path()).arg("resume").arg(&out));
    assert_eq!(code, 0, "{stderr}");
    assert!(record(&out) == record(&whole));
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint_intact() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
    assert_eq!(output(&mut tiny(folder.path(), &whole)).0, 0);
    let mut child = tiny(folder.path(), &out).spawn().unwrap();
    wait_for_lines(&mut child, &out, 3);
    child.kill().unwrap();
    child.wait().unwrap();
    // A bound of 1 KiB on file sizes stands for the full disk; the signal it would send is ignored, so that writing fails
    // as on a full disk.
    let mut shell = Command::new("bash");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" resume \"$1\""]);
    shell.args([env!("CARGO_BIN_EXE_hpe-darts").as_ref(), out.as_os_str()]).env("HPE_DARTS_HOME", folder.path());
    let (code, stdout, stderr) = output(&mut shell);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains("error: cannot write "), "{stderr}");
    assert!(stderr.contains("hint: the last checkpoint is intact"), "{stderr}");
    let (code, _, stderr) = output(program(folder.path()).arg("resume").arg(&out));
    assert_eq!(code, 0, "{stderr}");
    assert!(record(&out) == record(&whole));
}

#[test]
fn dry_run_prints_the_plan_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let (code, stdout, stderr) = output(tiny(folder.path(), &out).arg("--dry-run"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for part in ["warm-up", "4 steps an epoch", "[strategy.hpe-darts]", "relaxation = \"raw\"", "pop = [2, 2]"] {
        assert!(stdout.contains(part), "{part} is missing: {stdout}");
    }
    assert!(!out.exists());
    let (code, stdout, _) = output(tiny(folder.path(), &out).args(["--dry-run", "--json"]));
    assert_eq!(code, 0);
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(plan["steps_per_epoch"], 4);
    assert_eq!(plan["config"]["strategy"]["hpe-darts"]["soft_importance"][0], "accuracy");
}

#[test]
fn the_other_strategy_runs_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args =
        ["search", "--strategy", "darts", "--set", "supernet.channels=4", "--set", "training.max_steps_per_epoch=1"];
    let (code, _, stderr) = output(program(folder.path()).args(args).arg("--out").arg(&out));
    assert_eq!(code, 0, "{stderr}");
    assert!(events(&out).iter().any(|e| e["event"] == "derive"));
}

#[test]
fn every_switch_of_the_method_runs() {
    let folder = tempfile::tempdir().unwrap();
    for (i, set) in [
        &["relaxation=softmax", "alpha_init=normal(1e-3)", "alpha_update=joint", "removal=renormalise"][..],
        &["relaxation=raw", "alpha_update=none", "removal=renormalise", "decayed=all-but-best", "pop=[4]"],
        &["soft_importance=[\"loss\", \"naswot\"]", "hard_importance=naswot", "importance.removed_relu=kept"],
        &["skip_dropout=0.2", "none_rule=scored", "importance.kernel=hamming", "hard_importance=loss"],
        &["pop=[1,1,1,1]", "warmup_epochs=0", "prune_epochs=1"],
    ]
    .into_iter()
    .enumerate()
    {
        let mut command = tiny(folder.path(), &folder.path().join(i.to_string()));
        for setting in set {
            command.arg("--set").arg(format!("strategy.hpe-darts.{setting}"));
        }
        let (code, _, stderr) = output(&mut command);
        assert_eq!(code, 0, "{set:?}: {stderr}");
    }
}

#[test]
fn unknown_names_get_the_nearest_one() {
    let search = |flag, name| ["search", flag, name];
    refused(&search("--strategy", "hpe-dart"), "unknown strategy `hpe-dart`", "did you mean `hpe-darts`?");
    refused(&search("--dataset", "cifar11"), "unknown data set `cifar11`", "did you mean `cifar10`?");
    refused(&search("--preset", "papre"), "unknown preset `papre`", "did you mean `paper`?");
    let (code, _, stderr) = run(&search("--space", "nas-bench201"));
    assert_eq!(code, 1);
    assert!(stderr.contains("did you mean `nas-bench-201`?"), "{stderr}");
    let set = |setting| ["search", "--set", setting];
    refused(&set("training.batch_sise=3"), "unknown key `training.batch_sise`", "did you mean `training.batch_size`?");
    refused(&set("batch_size=3"), "unknown key `batch_size`", "did you mean `training.batch_size`?");
    refused(&set("learning_rate=1"), "unknown key `learning_rate`", "did you mean `training.learning_rate`?");
    refused(
        &set("strategy.hpe-darts.importance_images=3"),
        "unknown key `strategy.hpe-darts.importance_images`",
        "did you mean `strategy.hpe-darts.importance.images`?",
    );
    refused(&set("strategy.darts.epochs=3"), "the strategy of this search is hpe-darts", "`--strategy darts`");
    refused(&set("seed"), "`=` is missing", "write key=value");
    refused(&set("strategy.hpe-darts.pop=[3,2"), "is not a TOML value", "write key=value");
}

#[test]
fn settings_that_make_no_search_are_refused_with_their_values() {
    let set = |setting| ["search", "--set", setting];
    refused(
        &set("strategy.hpe-darts.pop=[3,2,2]"),
        "pop = [3, 2, 2] removes 7 operations of each edge, expected |O| - 1 = 4 (Eq. 6)",
        "an edge of `nas-bench-201` has 5 operations here",
    );
    refused(
        &set("space.ops=['skip_connect', 'sep_conv_3x3']"),
        "`nas-bench-201` has no operation `sep_conv_3x3`, only none, skip_connect, nor_conv_1x1",
        "",
    );
    refused(&set("space.ops=['none', 'skip_connect']"), "space.ops: no operation with weights", "");
    refused(
        &set("strategy.hpe-darts.warmup_epochs=1000"),
        "the schedule has 1010 epochs (warm-up 1000, stage 1 5, stage 2 5), more than training.max_epochs = 500 allows",
        "shorten the phases",
    );
    refused(
        &["search", "--strategy", "darts", "--set", "strategy.darts.warmup_epochs=50"],
        "warmup_epochs = 50 leave no epoch of 50",
        "warmup_epochs must be less",
    );
    refused(&set("training.batch_size=1000"), "batch 1000 does not fit", "a batch of at most 718 fits");
    refused(
        &set("strategy.hpe-darts.importance.proxy_batch_size=1000"),
        "batch 1000 does not fit: there are 719 samples",
        "a batch of at most 719 fits",
    );
    refused(&set("training.batch_size=0"), "training.batch_size = 0, expected at least 1", "");
    refused(&set("data.downsample=0"), "data.downsample = 0, expected at least 1", "");
    refused(&set("data.downsample=3"), "cannot downsample images of 8x8 by 3, expected a number that divides both", "");
    refused(
        &set("supernet.channels=9000000000000000000"),
        "supernet.channels = 9000000000000000000, expected at most",
        "",
    );
    refused(&set("supernet.cells_per_stage=1000000"), "supernet.cells_per_stage = 1000000, expected at most 100", "");
    refused(&set("training.learning_rate=-1"), "training.learning_rate = -1, expected more than 0", "");
    refused(&set("threads=0"), "threads = 0, expected at least 1", "");
    refused(&set("strategy.hpe-darts.relaxation=softmix"), "unknown variant `softmix`", "");
    refused(&set("strategy.hpe-darts.pop=many"), "invalid type", "");
    let (code, _, stderr) = run(&["search", "--threads", "0"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("'0'") && stderr.contains("from 1 to 1024"), "{stderr}");
    let (code, _, stderr) = run(&["search", "--dataset", "cifar10", "--data", "/nonexistent"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("/nonexistent") && stderr.contains("data fetch cifar10"), "{stderr}");
}

#[test]
fn a_file_with_a_mistake_is_refused_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let with = |text: &str| {
        fs::write(&path, text).unwrap();
        let (code, stdout, stderr) = run(&["search", "--config", path.to_str().unwrap()]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        stderr
    };
    let stderr = with("seed = 1\n[training]\nbatch_sice = 3\n");
    assert!(stderr.contains("line 3, column 1") && stderr.contains("did you mean `training.batch_size`?"), "{stderr}");
    let stderr = with("[strategy.hpe-darts]\nwarmup_epoch = 3\n");
    assert!(stderr.contains("did you mean `strategy.hpe-darts.warmup_epochs`?"), "{stderr}");
    let stderr = with("[strategy.hpe-drats]\nwarmup_epochs = 3\n");
    assert!(stderr.contains("line 1") && stderr.contains("did you mean `hpe-darts`?"), "{stderr}");
    let stderr = with("[strategy.hpe-darts]\n[strategy.darts]\n");
    assert!(stderr.contains("a search has one strategy"), "{stderr}");
    let stderr = with("seed = \"one\"\n");
    assert!(stderr.contains("line 1, column 8"), "{stderr}");
    let stderr = with("seed = \n");
    assert!(stderr.contains("line 1"), "{stderr}");
    let (code, _, stderr) = run(&["search", "--config", "/nonexistent.toml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot read configuration /nonexistent.toml"), "{stderr}");
}

#[test]
fn layers_lie_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    fs::write(&path, "seed = 5\n[training]\nbatch_size = 32\nmomentum = 0.8\n").unwrap();
    let set = ["--set", "training.momentum=0.7", "--set", "training.learning_rate=1", "--dry-run", "--json"];
    let (code, stdout, stderr) =
        output(program(folder.path()).args(["search", "--seed", "6", "--config"]).arg(&path).args(set));
    assert_eq!(code, 0, "{stderr}");
    let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let config = &plan["config"];
    assert_eq!(config["seed"], 6);
    assert_eq!(config["training"]["batch_size"], 32);
    assert_eq!(config["training"]["momentum"], 0.7);
    assert_eq!(config["training"]["learning_rate"], 1.0);
    assert_eq!(config["dataset"], "digits");
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("precious"), "x").unwrap();
    let path = folder.path().to_str().unwrap();
    refused(&["search", "--out", path], "exists and is not empty", "choose another --out");
    refused(&["search", "--out", &format!("{path}/precious/run")], "cannot create run folder", "");
    refused(&["resume", path], "is not a run folder: config.toml is missing", "give a folder that");
    refused(&["resume", "/nonexistent"], "/nonexistent is not a run folder: no such folder", "give a folder that");
}

#[test]
fn damaged_checkpoints_fall_back_and_newer_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    assert_eq!(output(&mut tiny(folder.path(), &out)).0, 0);
    let finished = record(&out);
    fs::remove_file(out.join("genotype.json")).unwrap();
    let weights = out.join("checkpoint/weights.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 1]).unwrap();
    let (code, _, stderr) = output(program(folder.path()).arg("resume").arg(&out));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("warning: the newest checkpoint cannot be used"), "{stderr}");
    assert!(record(&out) == finished);

    fs::remove_file(out.join("genotype.json")).unwrap();
    let state = out.join("checkpoint/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replacen("\"version\": 2", "\"version\": 3", 1)).unwrap();
    let path = out.to_str().unwrap();
    refused(
        &["resume", path],
        "was written by a newer version of hpe-darts",
        "resume it with the version that wrote it",
    );
    fs::write(&state, "{").unwrap();
    fs::remove_dir_all(out.join("checkpoint.previous")).unwrap();
    refused(&["resume", path], "no usable checkpoint", "start again with the settings in ");
}

#[test]
fn a_loss_that_is_no_number_names_epoch_and_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let wild = ["--set", "training.learning_rate=1e30", "--set", "training.clip_norm=none"];
    let (code, stdout, stderr) = output(tiny(folder.path(), &out).args(wild));
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert!(
        stderr.contains("in epoch 1, step ") && stderr.contains("hint: the last good checkpoint is kept"),
        "{stderr}"
    );
    assert_eq!(events(&out).last().unwrap()["event"], "failed");
    assert!(out.join("checkpoint/state.json").is_file());
}

/// Under a limit of the address space: what cannot fit is refused before anything is written, and what fits runs.
#[cfg(target_os = "linux")]
#[test]
fn what_memory_does_not_hold_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |limit: &str, args: &str| {
        let program = env!("CARGO_BIN_EXE_hpe-darts");
        let out = std::process::Command::new("sh")
            .args(["-c", &format!("ulimit -v {limit}; exec {program} {args}")])
            .current_dir(folder.path())
            .env("HPE_DARTS_HOME", folder.path().join("home"))
            .output()
            .unwrap();
        (out.status.code(), String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    let large = "--set training.batch_size=512 --threads 1";
    for args in [
        format!("search --set supernet.channels=512 {large}"),
        format!("search --space darts --set supernet.channels=400 {large}"),
        format!("search --set supernet.channels=512 {large} --dry-run"),
        format!("retrain 15624 --set network.channels=1000 {large}"),
    ] {
        let (code, _, message) = run("3000000", &args);
        assert_eq!(code, Some(1), "{args}: {message}");
        assert!(message.contains("error: this needs ") && message.contains("GB of memory"), "{args}: {message}");
        assert!(message.contains("the limit of the address space") && message.contains("ulimit -v"), "{message}");
    }
    assert!(!folder.path().join("runs").exists());
    // What is not estimated ends with a message as well.
    let (code, _, message) = run("3000000", "bench --channels 1000 --batch 512 --threads 1");
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("error: out of memory: ") && message.contains("bytes more were asked for"), "{message}");
    let (code, text, message) = run("3000000", "search --dry-run --json");
    assert_eq!(code, Some(0), "{message}");
    let plan: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!((10_000_000..100_000_000).contains(&plan["memory"]["total"].as_u64().unwrap()), "{text}");
}
