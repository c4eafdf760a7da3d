//! `compare`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{output, program, record};

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
    assert!(row["hours"]["mean"].as_f64().unwrap() > 0.0);
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
    let changed = one.replace("training.batch_size = 16", "training.batch_size = 16\ntraining.momentum = 0.8");
    fs::write(c.path("c.toml"), changed.replace("\"none\"", "\"none\", \"joint\"")).unwrap();
    let (code, out, err) = c.run(&["--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("other settings: training.momentum is 0.9, now 0.8"), "{out}");
    let (code, _, err) = c.run(&["--jobs", "2"]);
    assert_eq!(code, 1);
    assert!(err.contains("1 of 3 searches failed"), "{err}");
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
fn one_failure_leaves_the_others_alone_and_changed_settings_are_noticed() {
    let c = Comparison::new(&FILE.replace("[1, 2]", "[1]"));
    let (code, out, err) = c.run(&["--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("of alpha_update=bilevel") && !c.path("out").exists(), "{out}");
    assert_eq!(c.run(&[]).0, 0);
    let changed = FILE.replace("[1, 2]", "[1]").replace("\"none\"]", "\"none\", \"joint\"]");
    fs::write(c.path("c.toml"), changed.replace("prune_epochs = 2", "prune_epochs = 1")).unwrap();
    let (code, out, err) = c.run(&[]);
    assert_eq!(code, 1);
    let differs = "than alpha_update=bilevel has now: strategy.hpe-darts.prune_epochs was [2, 2], now [1, 1]";
    assert!(err.contains(differs), "{err}");
    assert!(out.contains("alpha_update=joint    1 of 1"), "{out}");
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
