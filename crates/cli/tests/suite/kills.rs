//! Runs that are killed at random moments, and while they are resumed, end as if nobody had touched them.
//!
//! A few in every test run; many, with what was done to them, by
//! `HPE_DARTS_KILLED_RUNS=200 cargo test --release -p hpe-darts --test suite kills -- --nocapture`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::common::{DARTS_V2, program};

pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [&'static str],
    result: &'static str,
}

/// Checkpoints as often as can be, so that many kills fall into the writing of one.
const OFTEN: [&str; 2] = ["--set", "run.checkpoint_minutes=0.0001"];

pub(crate) const WORKS: [Work; 4] = [
    Work {
        name: "search, nas-bench-201",
        args: &[
            "search",
            "--set",
            "supernet.channels=8",
            "--set",
            "training.max_steps_per_epoch=8",
            "--set",
            "strategy.hpe-darts.warmup_epochs=1",
            "--set",
            "strategy.hpe-darts.prune_epochs=[2,1]",
            "--set",
            "strategy.hpe-darts.importance.images=128",
        ],
        result: "genotype.json",
    },
    Work {
        name: "search, darts",
        args: &[
            "search",
            "--space",
            "darts",
            "--strategy",
            "darts",
            "--set",
            "supernet.channels=4",
            "--set",
            "supernet.cells_per_stage=3",
            "--set",
            "training.max_steps_per_epoch=4",
            "--set",
            "strategy.darts.epochs=3",
        ],
        result: "genotype.json",
    },
    Work {
        name: "training, nas-bench-201",
        args: &["retrain", "9930", "--epochs", "4", "--set", "network.channels=8", "--set", "network.cells=1"],
        result: "result.json",
    },
    Work {
        name: "training, darts",
        args: &[
            "retrain",
            DARTS_V2,
            "--epochs",
            "3",
            "--set",
            "network.channels=4",
            "--set",
            "network.cells=3",
            "--set",
            "network.drop_path=0.1",
        ],
        result: "result.json",
    },
];

impl Work {
    pub(crate) fn start(&self, home: &Path, out: &Path) -> Command {
        let mut command = program(home);
        command.args(self.args).args(OFTEN).args(["--threads", "1", "--out"]).arg(out);
        command
    }

    pub(crate) fn record(&self, run: &Path) -> [Vec<u8>; 3] {
        ["events.jsonl", self.result, "checkpoint/weights.safetensors"].map(|file| fs::read(run.join(file)).unwrap())
    }
}

const SIGNALS: [&str; 4] = ["KILL", "TERM", "INT", "HUP"];

/// What was done, by signal, and how many of those met a run that had not ended.
#[derive(Default)]
struct Deeds {
    kills: [usize; SIGNALS.len()],
    resumed: usize,
}

/// A process that is killed after `delay` unless it ends before.
pub(crate) fn disturb(child: &mut Child, signal: &str, delay: Duration) -> (ExitStatus, bool) {
    let began = Instant::now();
    while began.elapsed() < delay {
        if let Some(status) = child.try_wait().unwrap() {
            return (status, false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    let sent =
        Command::new("kill").args([&format!("-{signal}"), &pid]).stderr(Stdio::null()).status().unwrap().success();
    (child.wait().unwrap(), sent)
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::piped())
}

#[cfg(unix)]
#[test]
#[allow(clippy::print_stderr)] // the account of a long session
fn runs_killed_at_random_moments_end_as_if_undisturbed() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let runs = number("HPE_DARTS_KILLED_RUNS").unwrap_or(4) as usize;
    let mut random = ChaCha8Rng::seed_from_u64(number("HPE_DARTS_KILL_SEED").unwrap_or(0));
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let path = |name: String| -> PathBuf { home.join(name) };
    let whole: Vec<(PathBuf, Duration)> = (0..WORKS.len())
        .map(|i| {
            let (out, began) = (path(format!("whole-{i}")), Instant::now());
            let output = WORKS[i].start(home, &out).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            (out, began.elapsed())
        })
        .collect();
    let mut deeds = Deeds::default();
    for run in 0..runs {
        let (work, (whole, usual)) = (&WORKS[run % WORKS.len()], &whole[run % WORKS.len()]);
        let out = path(format!("run-{run}"));
        let mut story = Vec::new();
        let kills = 1 + random.next_u32() as usize % 4;
        for attempt in 0.. {
            let begun = out.join("config.toml").exists() && !out.join(".starting").exists();
            let threads = 1 + random.next_u32() % 2;
            let mut command = if begun {
                deeds.resumed += 1;
                let mut command = program(home);
                command.arg("resume").arg(&out).args(["--threads", &threads.to_string()]);
                command
            } else {
                work.start(home, &out)
            };
            let mut child = quiet(&mut command).spawn().unwrap();
            let signal = random.next_u32() as usize % SIGNALS.len();
            let part = f64::from(random.next_u32()) / f64::from(u32::MAX);
            let delay = if attempt < kills { usual.mul_f64(0.6 * part) } else { Duration::from_secs(600) };
            let (status, killed) = disturb(&mut child, SIGNALS[signal], delay);
            story.push(format!("{} after {delay:?}: {status}", SIGNALS[signal]));
            if killed {
                deeds.kills[signal] += 1;
                let saved = status.code().is_none_or(|code| [0, 130].contains(&code));
                assert!(saved, "{}, run {run}: {story:?}", work.name);
            } else {
                let error = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
                assert!(status.success(), "{}, run {run}: {story:?}\n{error}", work.name);
            }
            if status.success() {
                break;
            }
        }
        assert!(work.record(&out) == work.record(whole), "{}, run {run}: {story:?}", work.name);
        fs::remove_dir_all(&out).unwrap();
    }
    let kills: Vec<String> = SIGNALS.iter().zip(deeds.kills).map(|(signal, n)| format!("{n} {signal}")).collect();
    eprintln!(
        "{runs} of {runs} runs equal to the undisturbed ones to the bit, after {} kills ({}), {} of them resumed from a checkpoint",
        deeds.kills.iter().sum::<usize>(),
        kills.join(", "),
        deeds.resumed
    );
    assert!(deeds.kills.iter().sum::<usize>() > 0 && deeds.resumed > 0, "nothing was disturbed");
}

/// Whatever of a run is damaged, going on is either refused or ends as it should; nothing panics.
#[test]
fn a_flipped_bit_in_any_file_is_noticed_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let (home, run) = (folder.path(), folder.path().join("run"));
    let work = &WORKS[2];
    assert!(work.start(home, &run).output().unwrap().status.success());
    let whole = work.record(&run);
    fs::remove_file(run.join(work.result)).unwrap();
    let mut files = Vec::new();
    collect(&run, &mut files);
    assert!(files.len() >= 6, "{files:?}");
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for file in &files {
        let original = fs::read(file).unwrap();
        if original.is_empty() {
            continue;
        }
        let before = copy_of(&run);
        let mut damaged = original.clone();
        let bit = random.next_u64() as usize % (original.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(file, &damaged).unwrap();
        let output = program(home).arg("resume").arg(&run).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let name = file.strip_prefix(&run).unwrap().display();
        match output.status.code() {
            // What does not decide the result may be damaged: times, the machine, what is written anew.
            Some(0) => assert!(work.record(&run)[1..] == whole[1..], "{name}, bit {bit}: {error}"),
            code => assert!(code == Some(1) && error.contains("error: "), "{name}, bit {bit}: {error}"),
        }
        restore(&run, &before);
    }
}

pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
    files.sort();
}

fn copy_of(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    collect(run, &mut files);
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn restore(run: &Path, files: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(run).unwrap();
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
