//! Hands the commit that is built to the program, which records it with every run (`env.json`). `HPE_DARTS_COMMIT` overrides
//! what git says, for builds outside a repository. Debug builds know none: they would be built anew after every commit.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=HPE_DARTS_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if let Some(commit) = env::var("HPE_DARTS_COMMIT").ok().or_else(|| release.then(from_git).flatten()) {
        println!("cargo::rustc-env=HPE_DARTS_COMMIT={commit}");
    }
}

/// The short hash; `None` outside a repository, or without git.
fn from_git() -> Option<String> {
    // A commit on a branch changes the log of HEAD, a checkout HEAD itself.
    let dir = git(&["rev-parse", "--absolute-git-dir"])?;
    for file in ["HEAD", "logs/HEAD"] {
        let path = Path::new(&dir).join(file);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    git(&["rev-parse", "--short=10", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
