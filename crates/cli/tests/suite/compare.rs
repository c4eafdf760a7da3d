//! `compare`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    common::{data_file, output, program, record},
    query::Home,
};

/// Tiny searches: two settings that share a warm-up, two seeds.
const FILE: &str = r#"
seeds = [1, 2]
[settings]
dataset = "digits"
supernet.channels = 4
training.max_steps_per_epoch = 4
training.batch_size = 16
[settings.strategy.hpe-darts]
warmup_epochs = 2
prune_epochs = 2
importance.images = 64
importance.proxy_batch_size = 16
[matrix]
"strategy.hpe-darts.alpha_update" = ["bilevel", "none"]
"#;

/// Stages of other lengths, in all as long.
const STAGES: &str = r#"
[runs.two]
[runs.long-first]
strategy.hpe-darts.prune_epochs = [3, 1]
"#;

struct Comparison {
    folder: tempfile::TempDir,
}

impl Comparison {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c.toml"), text).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = program(&self.path("home"));
        command.args(["compare", "--config"]).arg(self.path("c.toml")).arg("--out").arg(self.path("out"));
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, more: &[&str]) -> (i32, String, String) {
        output(&mut self.command(more))
    }

    /// Starts, and stops as soon as a search has begun.
    #[cfg(unix)]
    fn interrupt(&self, search: &Path) {
        let mut child = self.command(&[]).spawn().unwrap();
        let began = Instant::now();
        while !search.join("checkpoint").exists() {
            assert!(began.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let stopped = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&stopped.stderr);
        assert_eq!(stopped.status.code(), Some(130), "{err}");
        assert!(err.contains("everything is saved"), "{err}");
    }

    fn search(&self, setting: &str, seed: u64) -> PathBuf {
        self.path("out").join(format!("alpha_update={setting}/seed{seed}"))
    }
}

#[test]
fn a_shared_warm_up_changes_nothing_and_a_second_run_has_nothing_to_do() {
    let c = Comparison::new(FILE);
    let (code, out, err) = c.run(&["--jobs", "2"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("alpha_update=bilevel  2 of 2") && out.contains("alpha_update=none     2 of 2"), "{out}");
    assert!(err.contains("alpha_update=none seed 2: |"), "{err}");
    assert!(err.contains("note: no accuracies: the NAS-Bench-201 table is missing"), "{err}");
    let timing = fs::read_to_string(c.search("none", 2).join("timing.jsonl")).unwrap();
    assert!(timing.contains("\"event\":\"fork\""), "{timing}");

    // The same search on its own.
    let alone = c.path("alone");
    let mut command = program(&c.path("home"));
    command.args(["search", "--config"]).arg(c.search("none", 2).join("config.toml")).arg("--out").arg(&alone);
    let (code, _, err) = output(&mut command);
    assert_eq!(code, 0, "{err}");
    assert!(record(&alone) == record(&c.search("none", 2)));
    let before = record(&c.search("bilevel", 1));
    let (code, out, err) = c.run(&["--json"]);
    assert_eq!(code, 0, "{err}");
    assert!(before == record(&c.search("bilevel", 1)));
    assert!(err.contains("4 of 4 searches had already ended") && !err.contains("seed 2: |"), "{err}");
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary, serde_json::from_str::<Value>(&read(&c.path("out/summary.json"))).unwrap());
    let row = &summary["rows"][1];
    assert_eq!((row["name"].as_str(), &row["seeds"]), (Some("alpha_update=none"), &serde_json::json!([1, 2])));
    assert!(row["measures"]["hours"]["mean"].as_f64().unwrap() > 0.0);
    assert!(read(&c.path("out/summary.md")).contains("| alpha_update=none | 2 of 2 |"));
}

#[test]
fn stages_of_other_lengths_share_a_warm_up_too() {
    let one = FILE.replace("[1, 2]", "[1]").replace("\"bilevel\", \"none\"", "\"none\"");
    let c = Comparison::new(&format!("{one}{STAGES}"));
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 0, "{err}");
    let forked = c.path("out/long-first,alpha_update=none/seed1");
    assert!(read(&forked.join("timing.jsonl")).contains("\"event\":\"fork\""));
    let alone = c.path("alone");
    let mut command = program(&c.path("home"));
    command.args(["search", "--config"]).arg(forked.join("config.toml")).arg("--out").arg(&alone);
    assert_eq!(output(&mut command).0, 0);
    assert!(record(&alone) == record(&forked));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[cfg(unix)]
#[test]
fn interrupted_it_goes_on_with_the_same_results() {
    let c = Comparison::new(FILE);
    c.interrupt(&c.search("bilevel", 1));
    assert!(!c.search("none", 2).exists());
    assert_eq!(c.run(&[]).0, 0);

    let other = Comparison::new(FILE);
    assert_eq!(other.run(&[]).0, 0);
    for (setting, seed) in [("bilevel", 1), ("none", 1), ("none", 2)] {
        assert!(record(&c.search(setting, seed)) == record(&other.search(setting, seed)), "{setting} {seed}");
    }
}

#[cfg(unix)]
#[test]
fn a_search_that_has_begun_trains_the_warm_up_of_those_that_the_file_gets_later() {
    // Long enough to be stopped inside of it.
    let one = FILE.replace("[1, 2]", "[1]").replace("max_steps_per_epoch = 4", "max_steps_per_epoch = 40");
    let c = Comparison::new(&one.replace("\"bilevel\", \"none\"", "\"none\""));
    c.interrupt(&c.search("none", 1));
    fs::write(c.path("c.toml"), one.replace("\"bilevel\", \"none\"", "\"none\", \"joint\"")).unwrap();
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(read(&c.search("joint", 1).join("timing.jsonl")).contains("\"event\":\"fork\""));
}

#[cfg(unix)]
#[test]
fn interrupted_before_searches_that_have_ended_it_still_counts_them() {
    let long = FILE.replace("[1, 2]", "[1]").replace("max_steps_per_epoch = 4", "max_steps_per_epoch = 40");
    let c = Comparison::new(&long.replace("\"bilevel\", \"none\"", "\"none\""));
    assert_eq!(c.run(&[]).0, 0);
    fs::write(c.path("c.toml"), &long).unwrap();
    c.interrupt(&c.search("bilevel", 1));
    let summary = read(&c.path("out/summary.md"));
    assert!(summary.contains("| alpha_update=bilevel | 0 of 1 |"), "{summary}");
    assert!(summary.contains("| alpha_update=none | 1 of 1 |"), "{summary}");
}

#[test]
fn settings_that_come_to_a_search_without_kept_epochs_train_one_warm_up() {
    let one = FILE.replace("[1, 2]", "[1]");
    let c = Comparison::new(&one.replace("\"bilevel\", \"none\"", "\"none\""));
    assert_eq!(c.run(&[]).0, 0);
    fs::write(c.path("c.toml"), one.replace("\"bilevel\", \"none\"", "\"none\", \"joint\", \"bilevel\"")).unwrap();
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 0, "{err}");
    let how = |setting| read(&c.search(setting, 1).join("timing.jsonl"));
    assert!(how("joint").contains("\"event\":\"start\"") && how("bilevel").contains("\"event\":\"fork\""));
}

#[cfg(unix)]
#[test]
fn of_searches_that_wait_for_one_that_fails_another_trains_the_warm_up() {
    let one = FILE.replace("[1, 2]", "[1]").replace("max_steps_per_epoch = 4", "max_steps_per_epoch = 40");
    let c = Comparison::new(&one);
    c.interrupt(&c.search("bilevel", 1));
    let (code, out, err) = c.run(&["--plan"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("hpe-darts  its own") && out.contains("  epoch 0/6\n"), "{out}");
    for name in ["checkpoint", "checkpoint.previous"] {
        let state = c.search("bilevel", 1).join(name).join("state.json");
        if state.exists() {
            fs::write(state, "{}").unwrap();
        }
    }
    fs::write(c.path("c.toml"), one.replace("\"none\"", "\"none\", \"joint\"")).unwrap();
    let (code, _, err) = c.run(&["--jobs", "2"]);
    assert_eq!(code, 1);
    assert!(err.contains("1 of 3 searches failed") && err.contains("no usable checkpoint"), "{err}");
    assert!(!err.contains("tried once more"), "{err}");
    let how = |setting| read(&c.search(setting, 1).join("timing.jsonl"));
    assert!(how("none").contains("\"event\":\"start\"") && how("joint").contains("\"event\":\"fork\""));
    let mode = |folder| {
        let folder = c.search("none", 1).join(folder);
        std::os::unix::fs::MetadataExt::mode(&fs::metadata(folder).unwrap())
    };
    assert_eq!(mode("epochs/2"), mode("checkpoint"));
}

#[test]
fn a_warm_up_that_cannot_be_read_is_trained_anew() {
    let one = FILE.replace("[1, 2]", "[1]");
    let c = Comparison::new(&one);
    assert_eq!(c.run(&[]).0, 0);
    let weights = c.search("bilevel", 1).join("epochs/2/weights.safetensors");
    fs::write(&weights, "short").unwrap();
    let expected = record(&c.search("none", 1));
    fs::remove_dir_all(c.search("none", 1)).unwrap();
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("alpha_update=none seed 1: trains its own warm-up") && err.contains("5 bytes"), "{err}");
    assert!(record(&c.search("none", 1)) == expected);
}

#[test]
fn changed_settings_are_noticed_before_anything_is_begun_and_the_summary_stays() {
    let c = Comparison::new(&FILE.replace("[1, 2]", "[1]"));
    let (code, out, err) = c.run(&["--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("of alpha_update=bilevel") && !c.path("out").exists(), "{out}");
    assert_eq!(c.run(&[]).0, 0);
    let summaries = || ["md", "json", "csv", "tex"].map(|ending| read(&c.path(&format!("out/summary.{ending}"))));
    let good = summaries();
    let changed = FILE.replace("[1, 2]", "[1]").replace("\"none\"]", "\"none\", \"joint\"]");
    fs::write(c.path("c.toml"), changed.replace("prune_epochs = 2", "prune_epochs = 1")).unwrap();
    let (code, out, err) = c.run(&[]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("2 faults; nothing was begun:"), "{err}");
    for setting in ["bilevel", "none"] {
        let differs = "has now: strategy.hpe-darts.prune_epochs was [2, 2], now [1, 1]";
        assert!(err.contains(&format!("than alpha_update={setting} {differs}")), "{err}");
    }
    assert!(!c.search("joint", 1).exists() && summaries() == good);
    let (code, out, _) = c.run(&["--plan"]);
    assert_eq!(code, 0);
    assert!(out.contains("other settings: strategy.hpe-darts.prune_epochs is [2, 2], now [1, 1]"), "{out}");
}

#[test]
fn what_the_file_no_longer_asks_for_stays_in_the_summary() {
    let c = Comparison::new(FILE);
    assert_eq!(c.run(&[]).0, 0);
    let less = FILE.replace("[1, 2]", "[2]").replace("\"bilevel\", \"none\"", "\"none\"");
    fs::write(c.path("c.toml"), less).unwrap();
    let (code, out, err) = c.run(&[]);
    assert_eq!(code, 0, "{err}");
    let none = out.lines().find(|line| line.starts_with("alpha_update=none ")).unwrap();
    let bilevel = out.lines().find(|line| line.starts_with("alpha_update=bilevel ")).unwrap();
    assert!(none.contains("2 of 2") && !none.contains("no more in the file"), "{out}");
    assert!(bilevel.contains("2 of 2") && bilevel.contains("no more in the file"), "{out}");
}

/// Methods side by side, one-shot and black-box, all tiny.
const METHODS: &str = r#"
seeds = [1, 2, 3]
baseline = "rsps"
[settings]
dataset = "digits"
supernet.channels = 4
supernet.cells_per_stage = 1
training.max_steps_per_epoch = 3
training.batch_size = 16
[settings.blackbox]
evaluator = "params"
budget = 4
channels = 4
cells = 1
[settings.strategy]
darts.epochs = 2
rsps = { epochs = 2, evaluation.cells = 5, evaluation.images = 64 }
[matrix]
strategy = ["rsps", "darts", "blackbox.random-search"]
"strategy.darts.warmup_epochs" = [0, 1]
"#;

const RETRAIN: &str = "[retrain]\nrecipe = 'quick'\ntraining.epochs = 2\ntraining.max_steps_per_epoch = 3\n\
                       data.train = 'half'\nnetwork.channels = 4\nnetwork.cells = 1\n";

#[test]
fn methods_stand_side_by_side_and_every_accuracy_has_its_name() {
    let c = Comparison::new(METHODS);
    let (code, out, err) = c.run(&["--jobs", "2"]);
    assert_eq!(code, 0, "{err}");
    // A setting of a method in the matrix is for that method alone.
    let rows = ["strategy=rsps", "strategy=darts,warmup_epochs=0", "strategy=darts,warmup_epochs=1"];
    for row in rows.into_iter().chain(["strategy=blackbox.random-search"]) {
        assert!(out.lines().any(|line| line.starts_with(&format!("{row} ")) && line.contains("3 of 3")), "{out}");
    }
    let head = out.lines().next().unwrap();
    for name in ["inherited weights: batch of D_val", "supernet: D_train", "supernet: D_val", "parameters (M)"] {
        assert!(head.contains(name), "{head}");
    }
    assert!(!head.contains("retrained") && !head.contains("table:"), "{head}");
    // There is nothing to test by.
    assert!(!out.contains("Against"), "{out}");

    // The same with a training of every cell: nothing is searched again.
    let before = record(&c.path("out/strategy=rsps/seed1"));
    fs::write(c.path("c.toml"), format!("{METHODS}{RETRAIN}")).unwrap();
    let (_, out, _) = c.run(&["--plan", "--only", "2"]);
    assert!(out.contains("found, retraining not begun"), "{out}");
    let (code, out, err) = c.run(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(before == record(&c.path("out/strategy=rsps/seed1")) && err.contains("% on test images"), "{err}");
    let head = out.lines().next().unwrap();
    assert!(head.contains("retrained network: valid") && head.contains("retrained network: test"), "{head}");
    assert!(out.contains("Against strategy=rsps by \"retrained network: test\""), "{out}");
    assert!(out.contains("too few values to be significant at 0.05") && out.contains("0.2500"), "{out}");
    let (code, json, _) = c.run(&["--format", "json"]);
    assert_eq!(code, 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let retrained = &json["rows"][0]["measures"]["retrained_test"];
    let result: Value = serde_json::from_str(&read(&c.path("out/strategy=rsps/seed1/retrain/result.json"))).unwrap();
    assert_eq!(retrained["values"][0], serde_json::json!([1, result["test"]["accuracy"]]));
    assert_eq!(json["tests"][0]["rows"].as_array().unwrap().len(), 3);
    assert_eq!(json["tests"][0]["rows"][0]["smallest_p"], 0.25);
    let keys: Vec<&str> =
        json["rows"][0]["variations"].as_array().unwrap().iter().map(|v| v["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"supernet.channels") && keys.contains(&"strategy.rsps.epochs"), "{keys:?}");
    let (_, plan, _) = c.run(&["--plan", "--json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert!(plan["cells"].as_array().unwrap().iter().all(|cell| cell["progress"]["state"] == "done"), "{plan}");
    // Other settings of the training are other settings.
    fs::write(c.path("c.toml"), format!("{METHODS}{}", RETRAIN.replace("epochs = 2", "epochs = 3"))).unwrap();
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 1);
    assert!(err.contains("12 faults") && err.contains("training.epochs was 2, now 3"), "{err}");
}

#[test]
fn spaces_stand_side_by_side_without_a_table() {
    let c = Comparison::new(
        "seeds = [1]\nbaseline = 'rsps'\n[settings]\ndataset = 'digits'\nsupernet.channels = 4\nsupernet.cells_per_stage = 3\n\
         training.max_steps_per_epoch = 2\ntraining.batch_size = 16\n[settings.strategy]\n\
         rsps = { epochs = 1, evaluation.cells = 3, evaluation.images = 32 }\ndarts = { epochs = 1, warmup_epochs = 0 }\n\
         [matrix]\nspace = ['darts', 'nas-bench-201']\nstrategy = ['rsps', 'darts']\n\
         [retrain]\ntraining.epochs = 1\ntraining.max_steps_per_epoch = 2\nnetwork.channels = 4\nnetwork.cells = 3\n",
    );
    let (code, out, err) = c.run(&["--jobs", "2"]);
    assert_eq!(code, 0, "{err}");
    // Each space has a baseline of its own.
    for space in ["darts", "nas-bench-201"] {
        assert!(out.contains(&format!("Against space={space},strategy=rsps by \"retrained network: test\"")), "{out}");
    }
    assert!(out.contains("  space=darts,strategy=darts: supernet.channels = 4 (16), "), "{out}");
    let summary = read(&c.path("out/summary.md"));
    assert!(summary.contains("- `Genotype(normal=[") && summary.contains("| space |"), "{summary}");
}

#[test]
fn black_box_methods_are_looked_up_and_what_the_paper_reports_stands_apart() {
    let home = Home::with_table();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let file = "seeds = [0, 1, 2, 3, 4, 5]\nbaseline = 'blackbox.random-search'\n[settings]\ndataset = 'cifar10'\n[matrix]\n\
                strategy = ['blackbox.random-search', 'blackbox.regularized-evolution']\n";
    fs::write(path("c.toml"), file).unwrap();
    let (config, out) = (path("c.toml"), path("out"));
    let run = |more: &[&str]| {
        let output = home
            .run(&[&["compare", "--config", config.to_str().unwrap(), "--out", out.to_str().unwrap()], more].concat());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, text, err) = run(&[]);
    assert_eq!(code, 0, "{err}");
    let measured = text.split("\nReported, not measured here").next().unwrap();
    assert!(measured.contains("table: CIFAR-10 test") && measured.contains("simulated hours"), "{text}");
    // The numbers of Table 1, with their source, in a block of their own.
    assert!(!measured.contains("93.73 ± 0.37") && !measured.contains("variant of"), "{text}");
    assert!(
        text.contains("HPE-DARTS paper, Table 1 (n = 10, its own machine)") && text.contains("93.73 ± 0.37"),
        "{text}"
    );
    // As `blackbox` has it.
    let (code, json, _) = run(&["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let alone = home.run(&["blackbox", "random-search", "--runs", "6", "--json"]);
    let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
    let measure = &json["rows"][0]["measures"]["table_cifar10_test"];
    assert_eq!(
        (code, &measure["mean"], measure["n"].as_u64()),
        (0, &alone["accuracies"]["cifar10_test"]["mean"], Some(6))
    );
    let test = &json["tests"][0]["rows"][0];
    assert_eq!((&test["test"], &test["n"]), (&serde_json::json!("signed-rank"), &serde_json::json!([6, 6])));

    let (_, csv, _) = run(&["--format", "csv"]);
    assert_eq!(csv, read(&path("out/summary.csv")));
    let sources: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(sources.iter().filter(|s| **s == "measured").count(), 2, "{csv}");
    let (_, latex, _) = run(&["--format", "latex"]);
    for part in ["\\toprule", "\\midrule", "\\bottomrule", "$\\pm$", "\\textbackslash"] {
        assert_eq!(latex.contains(part), part != "\\textbackslash", "{part}: {latex}");
    }
    let (_, markdown, _) = run(&["--format", "markdown"]);
    assert_eq!(markdown, read(&path("out/summary.md")));

    // A search that is not the paper's is a variant of the method.
    fs::write(path("c.toml"), file.replace("[settings]", "[settings]\nblackbox.budget = 60")).unwrap();
    let other = path("other");
    let output = home.run(&["compare", "--config", config.to_str().unwrap(), "--out", other.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("variant of blackbox.random-search (1 settings)"), "{text}");
}

#[test]
fn all_faults_are_told_at_once_before_anything_is_begun() {
    let file = "seeds = [1, 1]\nbaseline = 'x'\n[settings]\ndataset = 'digits'\nstrategy.drats.epochs = 3\n\
                [runs.a]\nstrategy = 'darts'\ntraining.momentum = 1.5\n\
                [runs.b]\nstrategy = 'darts'\nspace = 'dart'\n\
                [runs.c]\nstrategy = 'blackbox.bohb'\nblackbox.budget = -1\nblackbox.evaluator = 'params'\n\
                [runs.d]\nstrategy = 'blackbox.random-search'\nspace = 'darts'\ndataset = 'cifar10'\n\
                [runs.e]\nstrategy = 'blackbox.random-search'\ntraining.momentum = 0.8\n\
                [runs.f]\nstrategy = 'darts'\ndataset = 'cifar100'\ntraining.batch_size = 20\n\
                [runs.g]\nstrategy = 'darts'\ntraining.batch_size = 2000\n\
                [retrain]\nrecipe = 'slow'\n";
    let c = Comparison::new(file);
    let (code, out, err) = c.run(&[]);
    assert_eq!((code, out.as_str(), c.path("out").exists()), (1, "", false), "{err}");
    let faults = [
        "seeds = [1, 1] has 1 twice",
        "no run has the method drats, whose settings are given; did you mean `darts`?",
        "a: training.momentum = 1.5",
        "b: unknown search space `dart`",
        "c: a budget of -1 evaluations, expected at least 1.0",
        "d: the space `darts` has no table of results",
        "e: training.momentum has no effect on a black-box method",
        "f: cifar100 is not in",
        "g: ",
        "unknown recipe `slow`",
    ];
    let missing: Vec<&&str> = faults.iter().filter(|fault| !err.contains(**fault)).collect();
    assert!(missing.is_empty(), "{missing:?} not in {err}");
    assert!(err.contains("faults; nothing was begun:"), "{err}");

    let c = Comparison::new(METHODS);
    fs::write(c.path("out"), "a file").unwrap();
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 1);
    assert!(err.contains("cannot write into") && err.contains("choose another --out"), "{err}");
    fs::remove_file(c.path("out")).unwrap();
    fs::create_dir_all(c.path("out/strategy=rsps/seed1")).unwrap();
    fs::write(c.path("out/strategy=rsps/seed1/precious"), "").unwrap();
    let (code, _, err) = c.run(&["--dry-run"]);
    assert_eq!(code, 1);
    assert!(err.contains("seed1 exists and is not empty"), "{err}");

    for (name, meant) in [("darts", "means both"), ("rspsx", "did you mean `rsps`?")] {
        let (code, _, err) = Comparison::new(METHODS).run(&["--baseline", name, "--plan"]);
        assert_eq!(code, 1);
        assert!(err.contains(meant), "{err}");
    }
    let unused = METHODS.replace("strategy.darts.warmup_epochs", "strategy.gdas.epochs");
    let (_, _, err) = Comparison::new(&unused).run(&["--plan"]);
    assert!(err.contains("matrix: strategy.gdas.epochs has no effect, since no run has the method gdas"), "{err}");
}

#[test]
fn data_is_where_the_command_says() {
    let c = Comparison::new(
        "seeds = [1]\n[settings]\ndata.dir = 'here'\n[matrix]\ndataset = ['cifar10', 'cifar100', 'digits']\n",
    );
    let (code, _, err) = c.run(&["--data", "nowhere"]);
    assert_eq!(code, 1);
    assert!(err.contains("2 faults"), "{err}");
    for dataset in ["cifar10", "cifar100"] {
        assert!(err.contains(&format!("{dataset}: no such file or folder: ")) && err.contains("nowhere"), "{err}");
    }
    assert!(!err.contains("here:") && !c.path("out").exists(), "{err}");
}

#[test]
fn cells_are_listed_and_run_one_by_one_by_processes_beside_each_other() {
    let c = Comparison::new(METHODS);
    let (code, plan, err) = c.run(&["--plan", "--json"]);
    assert_eq!(code, 0, "{err}");
    assert!(!c.path("out").exists());
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let cells = plan["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 12);
    assert_eq!(
        (&cells[5]["seed"], &cells[5]["name"], &cells[5]["progress"]["state"]),
        (&2.into(), &"strategy=darts,warmup_epochs=0".into(), &"not-begun".into())
    );
    let command = cells[5]["command"].as_str().unwrap();
    assert!(command.starts_with("hpe-darts compare --config ") && command.ends_with(" --only 5"), "{command}");
    let (code, dry, _) = c.run(&["--dry-run", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&dry).unwrap()), (0, plan));

    let mut all: Vec<_> =
        ["0..2", "3,4", "5..7", "8..11"].map(|only| c.command(&["--only", only]).spawn().unwrap()).into();
    assert!(all.iter_mut().all(|child| child.wait().unwrap().success()));
    let summary: Value = serde_json::from_str(&read(&c.path("out/summary.json"))).unwrap();
    let rows = summary["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["seeds"] == serde_json::json!([1, 2, 3])), "{rows:?}");
    let together = Comparison::new(METHODS);
    assert_eq!(together.run(&["--jobs", "2"]).0, 0);
    for name in ["strategy=rsps", "strategy=darts,warmup_epochs=1"] {
        let run = |c: &Comparison| record(&c.path("out").join(name).join("seed3"));
        assert!(run(&c) == run(&together), "{name}");
    }
    let (code, _, err) = c.run(&["--only", "12"]);
    assert_eq!(code, 1);
    assert!(err.contains("--only 12: this comparison has the cells 0..11"), "{err}");
}

#[test]
fn of_several_with_one_warm_up_those_that_are_asked_for_train_it_themselves() {
    let c = Comparison::new(&FILE.replace("[1, 2]", "[1]"));
    let (code, _, err) = c.run(&["--only", "1"]);
    assert_eq!(code, 0, "{err}");
    assert!(!c.search("bilevel", 1).exists());
    let alone = record(&c.search("none", 1));
    let both = Comparison::new(&FILE.replace("[1, 2]", "[1]"));
    assert_eq!(both.run(&[]).0, 0);
    assert!(alone == record(&both.search("none", 1)));
}

#[test]
fn one_that_breaks_is_told_and_leaves_the_others_alone() {
    let c = Comparison::new(&format!("{METHODS}\n[runs.good]\n[runs.bad]\ntraining.learning_rate = 1e30\n").replace(
        "strategy = [\"rsps\", \"darts\", \"blackbox.random-search\"]\n\"strategy.darts.warmup_epochs\" = [0, 1]",
        "strategy = [\"rsps\", \"darts\"]",
    ).replace("baseline = \"rsps\"", "").replace("[1, 2, 3]", "[1]").replace("[settings.blackbox]\nevaluator = \"params\"\nbudget = 4\nchannels = 4\ncells = 1\n", ""));
    let (code, out, err) = c.run(&[]);
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains("2 of 4 searches failed; the first: bad,strategy=rsps seed 1: ") && err.contains("in epoch"),
        "{err}"
    );
    assert!(out.contains("good,strategy=darts  1 of 1") && out.contains("bad,strategy=darts   0 of 1"), "{out}");
    let (_, plan, _) = c.run(&["--plan"]);
    assert_eq!(plan.matches("  failed: ").count(), 2, "{plan}");
}

#[test]
fn the_comparisons_in_configs_can_be_run() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    for (name, searches) in [("reduced-protocol.toml", 3 * 19), ("table-1.toml", 10 * 23)] {
        let c = Comparison::new(&read(&configs.join(name)));
        let (code, plan, err) = c.run(&["--plan", "--json"]);
        assert_eq!(code, 0, "{name}: {err}");
        let plan: Value = serde_json::from_str(&plan).unwrap();
        let cells = plan["cells"].as_array().unwrap();
        assert_eq!(cells.len(), searches, "{name}");
        let has = |method: &str| cells.iter().any(|cell| cell["method"] == method);
        let full = name == "table-1.toml";
        let of_paper = nas::paper::TABLE_1.iter().filter_map(|row| row.method);
        let missing: Vec<&str> = of_paper.filter(|m| !has(m) && (full || !m.starts_with("blackbox."))).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
    let (Some(data), Some(table)) = (data_file("cifar-10-binary.tar.xz"), data_file("nas-bench-201.csv.gz")) else {
        return;
    };
    for name in ["reduced-protocol.toml", "table-1.toml"] {
        let c = Comparison::new(&read(&configs.join(name)));
        assert_eq!(output(program(&c.path("home")).args(["table", "import"]).arg(&table)).0, 0);
        let (code, out, err) = c.run(&["--dry-run", "--data", data.to_str().unwrap()]);
        assert_eq!(code, 0, "{name}: {err}");
        assert!(out.contains("not begun") && !c.path("out").exists(), "{name}: {out}");
    }
}

#[test]
fn a_file_that_is_no_comparison_is_refused_with_an_example() {
    let c = Comparison::new("seeds = 3");
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 1);
    assert!(err.contains("invalid type") && err.contains("hint: a comparison looks like this"), "{err}");
    let c = Comparison::new(&FILE.replace("alpha_update", "alpha_updates"));
    let (code, _, err) = c.run(&[]);
    assert_eq!(code, 1);
    assert!(err.contains("did you mean `strategy.hpe-darts.alpha_update`?"), "{err}");
}
