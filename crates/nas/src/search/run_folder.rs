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
//! | `.starting` | there from the making of the folder to its first checkpoint |

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    Config, SearchError,
    checkpoint::{self, Moment, Position},
    journal::lock,
};
use crate::files::{self, write_atomic};

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
/// Marks a folder whose search has not come to its first checkpoint.
const STARTING: &str = ".starting";

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
    /// Makes the folder, which must not exist or be empty, with what is known at the start. What a process has left that
    /// was killed at its start is taken away.
    pub(super) fn create(path: &Path, config: &Config) -> Result<(Self, Starting), SearchError> {
        let failed = |source| RunError::Create { path: path.to_owned(), source };
        let folder = Self { path: path.to_owned() };
        let starting = match fs::read_dir(path) {
            Ok(mut entries) => {
                if entries.next().is_none() {
                    Starting::begin(path).map_err(failed)?
                } else {
                    let abandoned = Starting::abandoned(path).map_err(failed)?;
                    let starting = abandoned.ok_or_else(|| RunError::Exists(path.to_owned()))?;
                    folder.clear().map_err(failed)?;
                    starting
                }
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).and_then(|()| Starting::begin(path)).map_err(failed)?
            }
            Err(e) => return Err(failed(e).into()),
        };
        fs::File::create_new(folder.file(EVENTS)).map_err(failed)?;
        let toml = config.to_toml();
        write_atomic(&folder.file(CONFIG), |w| w.write_all(toml.as_bytes())).map_err(failed)?;
        let environment = environment(config);
        write_atomic(&folder.file(ENVIRONMENT), |w| Ok(serde_json::to_writer_pretty(w, &environment)?))
            .map_err(failed)?;
        Ok((folder, starting))
    }

    /// Takes away what a start writes.
    fn clear(&self) -> io::Result<()> {
        for name in [CONFIG, EVENTS, TIMING, ENVIRONMENT] {
            match fs::remove_file(self.file(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        checkpoint::remove(&self.path)?;
        files::sweep_up(&self.path, files::TEMPORARY)
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

    /// The newest checkpoint that is whole.
    pub(super) fn read_checkpoint(&self) -> Result<checkpoint::Checkpoint, SearchError> {
        checkpoint::read(&self.path).map_err(|e| self.unreadable(e))
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

/// Held from the making of a run folder to its first checkpoint.
#[derive(Debug)]
pub(super) struct Starting {
    path: PathBuf,
    /// Locked: another process is told that this one is at it.
    _file: fs::File,
}

impl Starting {
    /// In an empty folder.
    fn begin(run: &Path) -> io::Result<Self> {
        let path = run.join(STARTING);
        let file = fs::File::create_new(&path)?;
        lock(&file)?;
        Ok(Self { path, _file: file })
    }

    /// In the place of a process that was killed; `None` if there was none.
    fn abandoned(run: &Path) -> io::Result<Option<Self>> {
        let path = run.join(STARTING);
        let file = match fs::OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        lock(&file)?;
        // Another process may have come to its first checkpoint before the lock was taken.
        Ok(path.exists().then_some(Self { path, _file: file }))
    }

    /// The first checkpoint is written.
    pub(super) fn done(self) -> Result<(), SearchError> {
        fs::remove_file(&self.path).map_err(SearchError::write(&self.path))
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

/// Whether a search stands in the folder: one that can go on, or has ended.
pub fn is_run(folder: &Path) -> bool {
    folder.join(CONFIG).exists() && !is_starting(folder)
}

/// Whether a search in the folder has not come to its first checkpoint: it starts just now, or was killed at that.
pub(super) fn is_starting(folder: &Path) -> bool {
    folder.join(STARTING).exists()
}

/// Whether the search in a folder is past the end of `epoch`, counted from 1, so that it comes no more to keeping it.
pub fn is_past(run: &Path, epoch: usize) -> bool {
    let past = |at: Position| at.epoch > epoch || (at.epoch == epoch && at.moment != Moment::Begin);
    run.join(GENOTYPE).exists() || checkpoint::position(run).is_some_and(past)
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
    fn what_a_killed_start_has_left_is_taken_away() {
        let out = tempfile::tempdir().unwrap();
        let (_, starting) = RunFolder::create(out.path(), &Config::default()).unwrap();
        fs::write(out.path().join(EVENTS), "half a li").unwrap();
        fs::write(out.path().join(".tmp-x"), "").unwrap();
        fs::create_dir(out.path().join("checkpoint")).unwrap();
        let error = RunFolder::create(out.path(), &Config::default()).unwrap_err();
        assert!(error.to_string().contains("another process is working on this run"), "{error}");
        drop(starting);
        assert!(!is_run(out.path()));
        let (_, starting) = RunFolder::create(out.path(), &Config::default()).unwrap();
        assert_eq!(fs::read(out.path().join(EVENTS)).unwrap(), b"");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 4);
        starting.done().unwrap();
        assert!(is_run(out.path()));
        assert!(RunFolder::create(out.path(), &Config::default()).is_err());
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
