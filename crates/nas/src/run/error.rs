use std::{
    io,
    path::{Path, PathBuf},
};

use super::names::{CONFIG, EVENTS, STARTING};
use crate::files::shown;

/// Why a run cannot start or go on, whatever its task. [`RunError::hint`] says what to do about it.
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
    /// A folder that is not a run folder.
    #[error("{} is not a run folder: {why}", .path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A run of a later version of this program.
    #[error("{} was written by a newer version of hpe-darts (checkpoint version {found}; this program reads up to {known})", .path.display())]
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
    #[error("{} has no checkpoint for the end of epoch {epoch}", .path.display())]
    NotKept {
        /// The folder.
        path: PathBuf,
        /// The epoch, counted from 1.
        epoch: usize,
    },
    /// A checkpoint that does not fit the run's own configuration.
    #[error("{}", mismatch(.path, .why))]
    Mismatch {
        /// The folder.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// A record that has lost lines which the checkpoint knows of.
    #[error("{EVENTS} in {} is truncated: it has {found} bytes, but had {expected} at the checkpoint", .path.display())]
    Record {
        /// The folder.
        path: PathBuf,
        /// Its length in bytes.
        found: u64,
        /// Length in bytes that belongs to the checkpoint.
        expected: u64,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Training has left the numbers.
    #[error("{what} is {value} in epoch {epoch}{} (counted from 1)", in_step(*.step))]
    NotFinite {
        /// Which quantity.
        what: String,
        /// Its value.
        value: f64,
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1; `None` outside of steps.
        step: Option<usize>,
    },
    /// A step of the schedule that trained on no batch, or on several: the position would no longer say what has been done.
    #[error("step {step} of epoch {epoch} (counted from 1) made {made} steps of the weights, expected exactly 1")]
    Steps {
        /// Epoch, counted from 1.
        epoch: usize,
        /// Step in the epoch, counted from 1.
        step: usize,
        /// Steps made.
        made: usize,
    },
    /// The stop flag was set; the state is saved.
    #[error("interrupted")]
    Interrupted,
    /// A checkpoint in a format that is no longer read.
    #[error("{} was written by an older version of hpe-darts (checkpoint version {found}, this program goes on from {known})", .path.display())]
    Older {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The version that is read.
        known: u32,
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
    /// A file that cannot be written, for `map_err`.
    pub fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(path) => Some(format!(
                "choose another --out, or continue the run in it: `hpe-darts resume {}`",
                path.display()
            )),
            Self::NoRun { .. } => {
                Some(format!("give a folder that `hpe-darts search` or `retrain` made: it holds {CONFIG} and {EVENTS}"))
            }
            Self::Newer { .. } => Some("resume it with the version that wrote it, or a newer one".to_owned()),
            Self::Record { path, .. } => Some(format!("restore the whole {EVENTS}, or {}", begin_anew(path))),
            Self::NoCheckpoint { path, .. } => Some(begin_anew(path)),
            Self::NotKept { .. } => Some(
                "omit --epoch to use the newest checkpoint; a run with `--set run.keep_epochs=true` keeps one for every epoch"
                    .to_owned(),
            ),
            Self::Mismatch { path, why } => Some(match Changed::of(why) {
                Some(Changed::Pictures) => {
                    let place = pictures(path).map_or_else(|| "its pictures".to_owned(), |dir| format!("the pictures in {dir}"));
                    format!("restore {place} as they were, or {}", begin_anew(path))
                }
                Some(Changed::Split) => {
                    format!("restore the file that data.split in {CONFIG} names, or {}", begin_anew(path))
                }
                None => format!("restore {CONFIG} as the run wrote it"),
            }),
            Self::Older { path, .. } => Some(format!("resume it with the version that wrote it, or {}", begin_anew(path))),
            Self::Write { path, .. } => Some(match path.parent().is_some_and(|run| run.join(STARTING).exists()) {
                true => "nothing was saved yet: make room, and `hpe-darts resume` begins anew; or choose another folder".to_owned(),
                false => "the last checkpoint is intact: make room, then `hpe-darts resume`".to_owned(),
            }),
            Self::NotFinite { .. } => Some(
                "the last good checkpoint is kept; a lower `--set training.learning_rate=...` in a new run usually helps"
                    .to_owned(),
            ),
            Self::Create { .. } | Self::Open { .. } | Self::Steps { .. } | Self::Interrupted => None,
        }
    }
}

/// What is no setting but belongs to what a run was started with.
enum Changed {
    Pictures,
    Split,
}

impl Changed {
    /// By the key that a mismatch begins with.
    fn of(why: &str) -> Option<Self> {
        match why.split_once(" is ")?.0 {
            "pictures" => Some(Self::Pictures),
            "split" => Some(Self::Split),
            _ => None,
        }
    }
}

fn mismatch(run: &Path, why: &str) -> String {
    let run_shown = run.display();
    match Changed::of(why) {
        Some(Changed::Pictures) => {
            let place = pictures(run).map(|dir| format!(" in {dir}")).unwrap_or_default();
            format!("the pictures{place} have changed since the run in {run_shown} started")
        }
        Some(Changed::Split) => {
            format!("the split of the images has changed since the run in {run_shown} started")
        }
        None => format!("the checkpoint in {run_shown} does not fit the run's configuration: {why}"),
    }
}

/// The folder of pictures that a run's configuration names.
fn pictures(run: &Path) -> Option<String> {
    let config: toml::Table = std::fs::read_to_string(run.join(CONFIG)).ok()?.parse().ok()?;
    Some(shown(config.get("data")?.get("dir")?.as_str()?))
}

/// The step of an epoch as a part of a message; nothing outside of steps.
fn in_step(step: Option<usize>) -> String {
    step.map_or_else(String::new, |step| format!(", step {step}"))
}

fn begin_anew(run: &Path) -> String {
    let config = run.join(CONFIG);
    format!(
        "start again with the settings in {}, a search by `hpe-darts search --config FILE --out NEW_FOLDER`",
        config.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_data_is_told_apart_from_changed_settings() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), "[data]\ndir = '/my/cats'\n").unwrap();
        let of = |why: &str| RunError::Mismatch { path: dir.path().to_owned(), why: why.to_owned() };
        let pictures = of("pictures is \"a\", it was made with \"b\"");
        assert!(
            pictures.to_string().starts_with("the pictures in /my/cats have changed since the run in "),
            "{pictures}"
        );
        assert!(pictures.hint().unwrap().starts_with("restore the pictures in /my/cats as they were, or start again"));
        let split = of("split is \"a\", it was made with \"b\"");
        assert!(split.to_string().starts_with("the split of the images has changed since the run in "), "{split}");
        let setting = of("training.batch_size is 4, it was made with 8");
        assert!(setting.to_string().ends_with("configuration: training.batch_size is 4, it was made with 8"));
        assert_eq!(setting.hint().unwrap(), "restore config.toml as the run wrote it");
    }
}
