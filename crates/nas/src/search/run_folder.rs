//! The folder of a run:
//!
//! | file | what |
//! |---|---|
//! | `config.toml` | the configuration, every default written out |
//! | `events.jsonl` | the record: what a search has done, free of times |
//! | `timing.jsonl` | when: starts, seconds of epochs, checkpoints that could not be used |
//! | `checkpoint/`, `checkpoint.previous/` | `state.json` and `weights.safetensors` |
//! | `epochs/N/` | the same of the end of every epoch, where `run.keep_epochs` asks for it |
//! | `genotype.json` | the result; its presence says that the search is finished |
//! | `env.json` | version, CPU, threads |

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Config, SearchError, checkpoint};
use crate::files::write_atomic;

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// The record.
pub const EVENTS: &str = "events.jsonl";
/// What depends on the machine.
pub const TIMING: &str = "timing.jsonl";
/// The result.
pub const GENOTYPE: &str = "genotype.json";
/// Version, CPU, threads.
pub const ENVIRONMENT: &str = "env.json";

/// What is wrong with a run folder. [`RunError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The folder for a new run has something in it.
    #[error("output folder {} exists and is not empty", .0.display())]
    Exists(PathBuf),
    /// The folder for a new run cannot be made or written to.
    #[error("cannot create run folder {}: {source}", .path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A folder that holds no run.
    #[error("{} is not a run: {why}", .path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A run of a later version of this program.
    #[error("{} was written by a newer version of hpe-darts (checkpoint version {found}, this program knows up to {known})", .path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest known version.
        known: u32,
    },
    /// Neither the newest checkpoint nor the one before it is whole.
    #[error("no usable checkpoint in {}: {why}", .path.display())]
    NoCheckpoint {
        /// The folder.
        path: PathBuf,
        /// What is wrong with them.
        why: String,
    },
    /// No checkpoint of this epoch was kept.
    #[error("{} keeps no checkpoint of the end of epoch {epoch}", .path.display())]
    NotKept {
        /// The folder.
        path: PathBuf,
        /// The epoch, counted from 1.
        epoch: usize,
    },
    /// A checkpoint that does not fit the run's own configuration.
    #[error("the checkpoint in {} does not fit the run's configuration: {why}", .path.display())]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A record that has lost lines which the checkpoint knows of.
    #[error("{EVENTS} in {} is cut short: it has {found} bytes, the checkpoint goes with the first {expected}", .path.display())]
    Record {
        /// The folder.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// Length in bytes that belongs to the checkpoint.
        expected: u64,
    },
    /// A file of the run cannot be opened.
    #[error("cannot open {}: {source}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl RunError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(path) => Some(format!(
                "choose another --out, or go on with the run in it: `hpe-darts resume {}`",
                path.display()
            )),
            Self::NoRun { .. } => {
                Some(format!("give the folder that `hpe-darts search` made, the one with {CONFIG} and {EVENTS}"))
            }
            Self::Newer { .. } => Some("resume it with the version that wrote it, or a newer one".to_owned()),
            Self::Record { path, .. } => Some(format!("put the whole {EVENTS} back, or {}", begin_anew(path))),
            Self::NoCheckpoint { path, .. } => Some(begin_anew(path)),
            Self::NotKept { .. } => Some(
                "leave --epoch out for the newest checkpoint; a search with `--set run.keep_epochs=true` keeps one of every epoch"
                    .to_owned(),
            ),
            Self::Mismatch { .. } => Some(format!("{CONFIG} must be as the search wrote it")),
            Self::Create { .. } | Self::Open { .. } => None,
        }
    }
}

fn begin_anew(run: &Path) -> String {
    let config = run.join(CONFIG);
    format!("start again with the same settings: `hpe-darts search --config {} --out NEW_FOLDER`", config.display())
}

/// A run folder that is being worked on.
#[derive(Clone, Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder, which must not exist or be empty, with what is known at the start.
    pub(super) fn create(path: &Path, config: &Config) -> Result<Self, SearchError> {
        let failed = |source| RunError::Create { path: path.to_owned(), source };
        match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(RunError::Exists(path.to_owned()).into());
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => fs::create_dir_all(path).map_err(failed)?,
            Err(e) => return Err(failed(e).into()),
        }
        let folder = Self { path: path.to_owned() };
        // The record comes first: a folder with a configuration is one that can be resumed.
        fs::File::create_new(folder.file(EVENTS)).map_err(failed)?;
        let toml = config.to_toml();
        write_atomic(&folder.file(CONFIG), |w| w.write_all(toml.as_bytes())).map_err(failed)?;
        let environment = environment(config);
        write_atomic(&folder.file(ENVIRONMENT), |w| Ok(serde_json::to_writer_pretty(w, &environment)?))
            .map_err(failed)?;
        Ok(folder)
    }

    /// An existing run.
    pub(super) fn open(path: &Path) -> Result<Self, SearchError> {
        let no_run = |why: String| RunError::NoRun { path: path.to_owned(), why };
        if !path.is_dir() {
            return Err(no_run("there is no such folder".to_owned()).into());
        }
        let folder = Self { path: path.to_owned() };
        for name in [CONFIG, EVENTS] {
            if !folder.file(name).is_file() {
                return Err(no_run(format!("{name} is missing")).into());
            }
        }
        Ok(folder)
    }

    /// Takes away what a killed process has left half-written. The caller holds the lock of the record: another process
    /// may be writing a checkpoint otherwise.
    pub(super) fn sweep_up(&self) -> Result<(), SearchError> {
        let path = &self.path;
        Ok(checkpoint::sweep_up(path).map_err(|source| RunError::Open { path: path.clone(), source })?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The newest checkpoint that is whole; `None` for a run that was killed before its first one.
    pub(super) fn read_checkpoint(&self) -> Result<Option<checkpoint::Checkpoint>, SearchError> {
        if checkpoint::none_written(&self.path) {
            return Ok(None);
        }
        checkpoint::read(&self.path).map(Some).map_err(|e| self.unreadable(e))
    }

    /// The checkpoint kept at the end of `epoch`, counted from 1.
    pub(super) fn read_kept(&self, epoch: usize) -> Result<checkpoint::Checkpoint, SearchError> {
        let absent = || RunError::NotKept { path: self.path.clone(), epoch };
        checkpoint::read_kept(&self.path, epoch).ok_or_else(absent)?.map_err(|e| self.unreadable(e))
    }

    fn unreadable(&self, error: checkpoint::ReadError) -> SearchError {
        let path = self.path.clone();
        match error {
            checkpoint::ReadError::Newer(found) => {
                RunError::Newer { path, found, known: checkpoint::CHECKPOINT_VERSION }
            }
            checkpoint::ReadError::Broken(why) => RunError::NoCheckpoint { path, why },
        }
        .into()
    }
}

fn environment(config: &Config) -> serde_json::Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "cpu": cpu_name(),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "threads": config.threads,
    })
}

/// The CPU's name where the system tells (Linux).
fn cpu_name() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Whether a run keeps the checkpoint of the end of `epoch`, counted from 1.
pub fn keeps(run: &Path, epoch: usize) -> bool {
    checkpoint::kept(run).join(epoch.to_string()).is_dir()
}

/// A folder name that does not exist yet: `base`, then `base-2`, `base-3`, ...
pub fn free_folder(base: &Path) -> PathBuf {
    let numbered = |n: usize| {
        let mut name = base.file_name().unwrap_or_default().to_owned();
        name.push(format!("-{n}"));
        base.with_file_name(name)
    };
    std::iter::once(base.to_owned()).chain((2..).map(numbered)).find(|p| !p.exists()).unwrap_or_else(|| base.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("precious.txt"), "x").unwrap();
        let error = RunFolder::create(out.path(), &Config::default()).unwrap_err();
        assert!(error.to_string().contains("exists and is not empty"), "{error}");
        assert!(error.hint().unwrap().contains("--out"));
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_made() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("file"), "x").unwrap();
        let error = RunFolder::create(&out.path().join("file/run"), &Config::default()).unwrap_err();
        assert!(error.to_string().starts_with("cannot create run folder"), "{error}");
    }

    #[test]
    fn what_is_no_run_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not a run: config.toml is missing"), "{error}");
        let error = RunFolder::open(&folder.path().join("absent")).unwrap_err();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }

    #[test]
    fn free_folders_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("run");
        assert_eq!(free_folder(&base), base);
        fs::create_dir(&base).unwrap();
        fs::create_dir(folder.path().join("run-2")).unwrap();
        assert_eq!(free_folder(&base), folder.path().join("run-3"));
    }
}
