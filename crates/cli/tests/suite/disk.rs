//! Disks that are full, read-only or gone: an error that names the file, nothing half-written, nothing lost.
//!
//! The disk is a tmpfs in a mount namespace of its own, which nobody else sees; what is on it at the end is copied out. Where
//! the system allows no such namespace, the tests say that they skip.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use crate::{
    common::{output, program},
    kills::{WORKS, Work, collect},
};

/// Runs a shell script on a disk of so many KiB: the program is `$P`, the disk the current folder, `$FROM` a folder outside.
/// Exit code, messages and, under `kept`, what the disk then holds.
#[allow(clippy::print_stderr)] // a skipped test must be seen
fn on_disk(kib: u64, from: &Path, kept: &Path, script: &str) -> Option<(i32, String)> {
    let folder = tempfile::tempdir().unwrap();
    let shell = "mount -t tmpfs -o size=\"$1k\" none \"$2\" || exit 111; cd \"$2\"; (eval \"$4\"); code=$?; cp -a . \"$3\"; exit $code";
    fs::create_dir_all(kept).unwrap();
    let unshared = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", shell, "sh", &kib.to_string()])
        .args([folder.path(), kept])
        .arg(script)
        .env("P", env!("CARGO_BIN_EXE_hpe-darts"))
        .env("FROM", from)
        .env("HPE_DARTS_HOME", from.join("home"))
        .output();
    let Some(Output { status, stderr, .. }) = unshared.ok().filter(|o| o.status.code() != Some(111)) else {
        eprintln!("SKIPPED: no tmpfs in a namespace of its own here (util-linux, unprivileged user namespaces)");
        return None;
    };
    let errors = String::from_utf8(stderr).unwrap();
    if status.code() == Some(1) && errors.starts_with("unshare: ") {
        eprintln!("SKIPPED: {errors}");
        return None;
    }
    Some((status.code().expect("an exit code"), errors))
}

fn kib(folder: &Path) -> u64 {
    let bytes = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() { 1024 * kib(&path) } else { fs::metadata(path).unwrap().len() }
    });
    bytes.sum::<u64>().div_ceil(1024)
}

fn whole(work: &Work, home: &Path) -> PathBuf {
    let out = home.join("whole");
    let Output { status, stderr, .. } = work.start(home, &out).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    out
}

fn wait_for_checkpoint(child: &mut Child, run: &Path) {
    while !run.join("checkpoint").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the search ended early");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Names in a folder, those of temporary files among them.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn failed(code: i32, errors: &str, what: &str) {
    assert!(code == 1 && errors.contains("error: ") && !errors.contains("panicked"), "{what}: exit {code}, {errors}");
}

/// The disk is full at one write after the other; with room again, the run ends as if nothing had been.
#[test]
fn a_run_on_a_full_disk_is_saved_and_goes_on_elsewhere() {
    for work in [&WORKS[0], &WORKS[2]] {
        let folder = tempfile::tempdir().unwrap();
        let (home, whole) = (folder.path(), whole(work, folder.path()));
        let all = kib(&whole);
        for part in [1, 6, 20, 60] {
            let (size, kept) = ((all * part / 100).max(4), home.join(format!("kept-{part}")));
            let args = work.args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ");
            let script = format!("exec \"$P\" {args} --set run.checkpoint_minutes=0.0001 --out run");
            let Some((code, errors)) = on_disk(size, home, &kept, &script) else { return };
            let at = format!("{} on {size} KiB of {all}", work.name);
            failed(code, &errors, &at);
            assert!(errors.contains("No space left on device") && errors.contains("run"), "{at}: {errors}");
            let run = kept.join("run");
            let saved = run.join("checkpoint").exists();
            if errors.contains("error: cannot write") {
                let promise = if saved { "hint: the last checkpoint is intact" } else { "hint: nothing was saved yet" };
                assert!(errors.contains(promise), "{at}: {errors}");
            }
            if run.join("config.toml").exists() {
                let (code, _, errors) = output(program(home).arg("resume").arg(&run));
                assert_eq!(code, 0, "{at}: {errors}");
                assert!(work.record(&run) == work.record(&whole), "{at}");
            }
        }
    }
}

/// Commands that write a file or several: all or none, and what is replaced stays until the new is whole.
#[test]
fn what_a_full_disk_cannot_hold_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let (home, work) = (folder.path(), &WORKS[2]);
    whole(work, home);
    let commands = [
        ("export \"$FROM/whole\" --format onnx -o a.onnx", "a.onnx"),
        ("export \"$FROM/whole\" --format safetensors -o a.safetensors", "a."),
        ("export \"$FROM/whole\" --format pytorch -o a.py", "a."),
        ("export \"$FROM/whole\" --format genotype -o a.txt", "a.txt"),
        ("export \"$FROM/whole\" --format svg -o a.svg", "a.svg"),
        ("export \"$FROM/whole\" --format dot -o a.dot", "a.dot"),
        ("evaluate \"$FROM/whole\" --confusion a.csv --confusion-svg a.svg --logits b.csv", "."),
        ("blackbox random-search --proxy params --budget 3 --csv a.csv --record a.jsonl", "a."),
        ("bench --rounds 1 --batch 2 --channels 4 --cells 1 --save a.json", "a.json"),
        ("man a", "a/hpe-darts"),
        ("data export --out a", "a/"),
        ("compare --config \"$FROM/compare.toml\" --out a", "a"),
    ];
    let compare = "seeds = [0]\n[settings]\nsupernet.channels = 4\ntraining.max_steps_per_epoch = 1\n\
        [settings.strategy.darts]\nepochs = 1\n[runs.a]\nstrategy = \"darts\"\n";
    fs::write(home.join("compare.toml"), compare).unwrap();
    for (i, (command, named)) in commands.iter().enumerate() {
        let kept = home.join(format!("kept-{i}"));
        // Files without content take no room on such a disk, so names of half-written files would be seen.
        let script = format!("cat /dev/zero > filling 2> /dev/null; exec \"$P\" {command}");
        let Some((code, errors)) = on_disk(16, home, &kept, &script) else { return };
        failed(code, &errors, command);
        assert!(errors.contains("No space left on device") && errors.contains(named), "{command}: {errors}");
        let left = names(&kept).into_iter().filter(|name| name != "filling").collect::<Vec<_>>();
        let folders = ["a"].map(str::to_owned);
        assert!(left.is_empty() || (left == folders && kept.join("a").is_dir()), "{command}: {left:?}");
    }
    // What is to be replaced.
    let kept = home.join("kept-old");
    let script = "printf old > a.py; printf old > a.safetensors; cat /dev/zero > filling 2> /dev/null; \
        exec \"$P\" export \"$FROM/whole\" --format pytorch -o a.py --force";
    let Some((code, errors)) = on_disk(16, home, &kept, script) else { return };
    failed(code, &errors, "export --force");
    assert_eq!(names(&kept), ["a.py", "a.safetensors", "filling"]);
    for old in ["a.py", "a.safetensors"] {
        assert_eq!(fs::read_to_string(kept.join(old)).unwrap(), "old");
    }
}

/// Reading needs no permission to write; what has to write says so before it works.
#[test]
fn a_read_only_disk_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (home, kept) = (folder.path(), folder.path().join("kept"));
    whole(&WORKS[0], home);
    fs::rename(home.join("whole"), home.join("search")).unwrap();
    whole(&WORKS[2], home);
    let run = |command: &str| {
        let script = format!(
            "cp -a \"$FROM/search\" \"$FROM/whole\" . && rm whole/result.json && mount -o remount,ro . && exec \"$P\" {command}"
        );
        on_disk(20_000, home, &kept, &script)
    };
    for command in [
        "resume search",
        "importance search --by net-perf-proxy --proxy-batch 32",
        "evaluate whole",
        "describe whole",
        "export whole --format svg -o -",
    ] {
        let Some((code, errors)) = run(command) else { return };
        assert_eq!(code, 0, "{command}: {errors}");
    }
    for command in [
        "resume whole",
        "search --out new",
        "retrain 9930 --out new",
        "export whole --format onnx -o new.onnx",
        "evaluate whole --confusion new.csv",
        "bench --save new.json",
        "man new",
        "data export --out new",
    ] {
        let Some((code, errors)) = run(command) else { return };
        failed(code, &errors, command);
        assert!(errors.contains("Read-only file system"), "{command}: {errors}");
        assert!(!errors.contains("epoch"), "{command} worked before it looked: {errors}");
    }
}

/// The folder of a run is removed while it runs.
#[test]
fn a_run_whose_folder_vanishes_ends_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (home, out) = (folder.path(), folder.path().join("run"));
    let mut child = WORKS[0].start(home, &out).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_checkpoint(&mut child, &out);
    fs::rename(&out, home.join("away")).unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let errors = String::from_utf8(stderr).unwrap();
    failed(status.code().unwrap(), &errors, "a run whose folder was moved");
    assert!(errors.contains("run"), "{errors}");
    let (code, _, errors) = output(program(home).arg("resume").arg(home.join("away")));
    assert_eq!(code, 0, "{errors}");
}

/// Times are for people: a clock that was set back, or stood in another century while a run was written, changes no result.
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (home, work) = (folder.path(), &WORKS[0]);
    let whole = whole(work, home);
    for seconds in [0, 9_000_000_000] {
        let run = home.join(format!("run-{seconds}"));
        let mut child = work.start(home, &run).spawn().unwrap();
        wait_for_checkpoint(&mut child, &run);
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = fs::read_to_string(run.join("timing.jsonl")).unwrap();
        let jumped = lines.lines().map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["unix_seconds"] = seconds.into();
            format!("{line}\n")
        });
        fs::write(run.join("timing.jsonl"), jumped.collect::<String>()).unwrap();
        let mut files = Vec::new();
        collect(&run, &mut files);
        for file in files {
            let file = fs::File::options().write(true).open(file).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        }
        let (code, _, errors) = output(program(home).arg("resume").arg(&run));
        assert_eq!(code, 0, "{seconds}: {errors}");
        assert!(work.record(&run) == work.record(&whole), "{seconds}");
    }
}
