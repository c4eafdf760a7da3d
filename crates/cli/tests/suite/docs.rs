//! The commands of README and docs are run: long ones by `--dry-run` or with less work, all of them in one prepared folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    common::{DARTS_V2, data_file, output, program},
    links::{files, root},
};

/// A command of a text, and where it stands.
struct Found {
    place: String,
    command: String,
}

/// Lines of code blocks that begin with the program's name, without their comments.
fn in_blocks(path: &Path, text: &str) -> Vec<Found> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let Some(code) = line.strip_prefix("    ").or(fenced.then_some(line)) else { continue };
        if code.trim_start().starts_with("hpe-darts ") {
            let command = code.split(" #").next().unwrap_or_default().trim().to_owned();
            found.push(Found { place: format!("{}:{}", path.display(), number + 1), command });
        }
    }
    found
}

/// Commands within sentences.
fn in_sentences(path: &Path, text: &str) -> Vec<Found> {
    let parts =
        text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("hpe-darts ") && !code.contains('\n'));
    parts.map(|code| Found { place: path.display().to_string(), command: code.replace("\\|", "|") }).collect()
}

fn texts() -> Vec<(PathBuf, String)> {
    let names = ["README.md", "CONTRIBUTING.md", "configs/README.md"].map(|name| root().join(name));
    let docs = files(&root().join("docs"), &["md"]);
    names.into_iter().chain(docs).map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect()
}

/// The folder that the commands are run in: what their names stand for.
struct World {
    folder: tempfile::TempDir,
    has_table: bool,
    has_cifar: bool,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let (table, cifar) = (data_file("nas-bench-201.csv.gz"), data_file("cifar-10-binary.tar.xz"));
        let world = Self { has_table: table.is_some(), has_cifar: cifar.is_some(), folder };
        if let Some(table) = table {
            world.linked(&table, "nas-bench-201.csv.gz");
            world.done(&["table", "import", "nas-bench-201.csv.gz"]);
        }
        if let Some(cifar) = cifar {
            fs::create_dir_all(home.join("datasets")).unwrap();
            world.linked(&cifar, "home/datasets/cifar-10-binary.tar.xz");
        }
        world.done(&["data", "export", "--dataset", "digits", "--out", "photos"]);
        fs::rename(world.path("photos/test"), world.path("new-pictures")).unwrap();
        let picture = files(&world.path("photos"), &["png"]).remove(0);
        fs::copy(&picture, world.path("more.png")).unwrap();
        let few = ["--set", "training.max_steps_per_epoch=2", "--set", "strategy.hpe-darts.importance.images=64"];
        let epochs = ["--set", "strategy.hpe-darts.warmup_epochs=1", "--set", "strategy.hpe-darts.prune_epochs=[1,1]"];
        let small = ["--set", "supernet.channels=4", "--set", "run.keep_epochs=true", "--out", "searched"];
        world.done(&[&["search"][..], &few, &epochs, &small].concat());
        let small = ["--set", "network.channels=4", "--set", "network.cells=1", "--epochs", "1"];
        for run in ["net", "trained"] {
            world.done(&[&["retrain", "searched", "--out", run][..], &small].concat());
        }
        fs::write(world.path("matrix.toml"), "seeds = [0]\n[settings]\ndataset = \"digits\"\n").unwrap();
        fs::write(world.path("darts.txt"), DARTS_V2).unwrap();
        fs::create_dir(world.path("configs")).unwrap();
        for config in files(&root().join("configs"), &["toml"]) {
            fs::copy(&config, world.path("configs").join(config.file_name().unwrap())).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn linked(&self, from: &Path, to: &str) {
        // Not a link everywhere: what is read may be removed again with the folder.
        fs::copy(from.canonicalize().unwrap(), self.path(to)).unwrap();
    }

    fn done(&self, args: &[&str]) {
        let mut command = program(&self.path("home"));
        let (code, _, err) = output(command.current_dir(self.folder.path()).args(args));
        assert_eq!(code, 0, "{args:?}: {err}");
    }

    /// What a command becomes here; `None` where it needs what this machine does not have.
    fn adapted(&self, command: &str) -> Option<String> {
        let name = command.split(' ').nth(1).unwrap_or_default();
        // A picture is a PNG here.
        let mut adapted = command.replace("more.jpg", "more.png").replace("photo.png", "more.png");
        // Parts of a pipe that are other programs.
        adapted = adapted.split(" | ").next().unwrap_or_default().to_owned();
        let of_cifar = command.contains("cifar10") || command.contains("--preset paper");
        if of_cifar && !self.has_cifar || ["query", "blackbox"].contains(&name) && !self.has_table {
            return None;
        }
        Some(match name {
            "search" | "retrain" | "compare" => adapted.replace("retrain cell", "retrain searched") + " --dry-run",
            // Both would need the network, and a run that was stopped.
            "data" if command.contains(" fetch ") => adapted + " --help",
            "resume" => "hpe-darts resume trained".to_owned(),
            "bench" => adapted + " --channels 4 --cells 1 --batch 2 --rounds 1",
            "importance" => adapted.replace("RUN --epoch 5", "searched --epoch 1 --images 64"),
            "score" => adapted.replace("--sample 200", "--sample 2 --channels 4 --cells 1 --batch 16"),
            // Several write to the same file.
            "export" => adapted.replace(" RUN ", " trained ").replace(" run ", " trained ") + " --force",
            "evaluate" | "predict" => adapted.replace(" RUN ", " trained ").replace(" run ", " trained "),
            _ => adapted,
        })
    }

    fn run(&self, found: &Found) {
        let Some(command) = self.adapted(&found.command) else { return };
        let command = if let Some(start) = command.strip_suffix(" RUN") { format!("{start} trained") } else { command };
        let binary = Path::new(env!("CARGO_BIN_EXE_hpe-darts")).parent().unwrap();
        let path = std::env::join_paths(
            [binary.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &command]).current_dir(self.folder.path()).stdin(Stdio::null());
        shell.env("HPE_DARTS_HOME", self.path("home")).env("PATH", path.unwrap()).env("CELL", CELL);
        let done = shell.output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {}\nas {command}\n{error}", found.place, found.command);
    }
}

const CELL: &str = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|";

#[cfg(unix)]
#[test]
fn the_commands_of_the_texts_run() {
    let world = World::new();
    let all: Vec<Found> = texts().iter().flat_map(|(path, text)| in_blocks(path, text)).collect();
    assert!(all.len() > 30, "{} commands", all.len());
    all.iter().for_each(|found| world.run(found));
}

/// Commands within sentences have placeholders; that their options exist can be checked all the same.
#[cfg(unix)]
#[test]
fn the_options_of_commands_in_sentences_exist() {
    let all: Vec<Found> = texts().iter().flat_map(|(path, text)| in_sentences(path, text)).collect();
    assert!(all.len() > 20, "{} commands", all.len());
    for Found { place, command } in all {
        let plain = command.split([';', '|', '>', '#']).next().unwrap_or_default().replace("...", "");
        let value = |word| if word == "N" { "1" } else { word };
        let args: Vec<&str> = plain.split_whitespace().skip(1).map(value).collect();
        if args.contains(&"--help") {
            continue;
        }
        let (code, _, err) = crate::common::run(&[&args[..], &["--help"]].concat());
        assert_eq!(code, 0, "{place}: {command}: {err}");
    }
}
