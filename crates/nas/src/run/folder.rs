use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    checkpoint::{self, Moment},
    environment::Environment,
    error::RunError,
    journal::{Journal, lock},
    names::{CONFIG, ENVIRONMENT, EVENTS, STARTING, TIMING},
};
use crate::files::{self, write_atomic};

/// A run folder that is being worked on.
#[derive(Clone, Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder, which must not exist or be empty, with what is known at the start. What a process has left that
    /// was killed at its start is taken away.
    pub(super) fn create(path: &Path, config: &str, environment: &Environment) -> Result<(Self, Starting), RunError> {
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
            Err(e) => return Err(failed(e)),
        };
        fs::File::create_new(folder.file(EVENTS)).map_err(failed)?;
        write_atomic(&folder.file(CONFIG), |w| w.write_all(config.as_bytes())).map_err(failed)?;
        write_atomic(&folder.file(ENVIRONMENT), |w| Ok(serde_json::to_writer_pretty(w, environment)?))
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
    pub(super) fn open(path: &Path) -> Result<Self, RunError> {
        let no_run = |why: String| RunError::NoRun { path: path.to_owned(), why };
        if !path.is_dir() {
            return Err(no_run("no such folder".to_owned()));
        }
        let folder = Self { path: path.to_owned() };
        for name in [CONFIG, EVENTS] {
            if !folder.file(name).is_file() {
                return Err(no_run(format!("{name} is missing")));
            }
        }
        Ok(folder)
    }

    /// Takes away what a killed process has left half-written. The caller holds the lock of the record: another process
    /// may be writing a checkpoint otherwise.
    pub(super) fn sweep_up(&self) -> Result<(), RunError> {
        let path = &self.path;
        checkpoint::sweep_up(path).map_err(|source| RunError::Open { path: path.clone(), source })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens one of its journals, and locks it.
    pub(super) fn journal(&self, name: &str) -> Result<Journal, RunError> {
        let path = self.file(name);
        Journal::open(&path).map_err(|source| RunError::Open { path, source })
    }

    /// The newest checkpoint that is whole.
    pub(super) fn read_checkpoint(&self) -> Result<checkpoint::Checkpoint, RunError> {
        checkpoint::read(&self.path).map_err(|e| self.unreadable(e))
    }

    /// The checkpoint kept at the end of `epoch`, counted from 1.
    pub(super) fn read_kept(&self, epoch: usize) -> Result<checkpoint::Checkpoint, RunError> {
        let absent = || RunError::NotKept { path: self.path.clone(), epoch };
        checkpoint::read_kept(&self.path, epoch).ok_or_else(absent)?.map_err(|e| self.unreadable(e))
    }

    fn unreadable(&self, error: checkpoint::ReadError) -> RunError {
        let path = self.path.clone();
        match error {
            checkpoint::ReadError::Newer(found) => {
                RunError::Newer { path, found, known: checkpoint::CHECKPOINT_VERSION }
            }
            checkpoint::ReadError::Older(found) => {
                RunError::Older { path, found, known: checkpoint::CHECKPOINT_VERSION }
            }
            checkpoint::ReadError::Broken(why) => RunError::NoCheckpoint { path, why },
        }
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
    pub(super) fn done(self) -> Result<(), RunError> {
        fs::remove_file(&self.path).map_err(RunError::write(&self.path))
    }
}

/// Whether a run stands in the folder: one that can go on, or has ended.
pub fn is_run(folder: &Path) -> bool {
    folder.join(CONFIG).exists() && !is_starting(folder)
}

/// Whether a run in the folder has not come to its first checkpoint: it starts just now, or was killed at that.
pub fn is_starting(folder: &Path) -> bool {
    folder.join(STARTING).exists()
}

/// Whether the run in a folder is past the end of `epoch`, counted from 1, so that it comes no more to keeping it; a run that
/// has ended is known by its result.
pub fn is_past(run: &Path, epoch: usize) -> bool {
    checkpoint::position(run).is_some_and(|at| at.epoch > epoch || (at.epoch == epoch && at.moment != Moment::Begin))
}

/// Whether a run keeps the checkpoint of the end of `epoch`, counted from 1.
pub fn keeps(run: &Path, epoch: usize) -> bool {
    checkpoint::kept(run).join(epoch.to_string()).is_dir()
}

/// Where a new run is to stand.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Made here, and taken away if nothing is put into it.
    claimed: bool,
}

impl Place {
    /// A folder that the user has named.
    pub fn given(path: PathBuf) -> Self {
        Self { path, claimed: false }
    }

    /// A folder of its own: `base`, then `base-2`, `base-3`, ... It is made at once, so that of several processes each gets
    /// another.
    ///
    /// # Errors
    /// [`RunError::Create`].
    pub fn claim(base: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::Create { path: base.to_owned(), source };
        if let Some(parent) = base.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        for n in 1.. {
            let mut name = base.file_name().unwrap_or_default().to_owned();
            if n > 1 {
                name.push(format!("-{n}"));
            }
            let path = base.with_file_name(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path, claimed: true }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        unreachable!("a folder holds fewer than 2^31 others")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.claimed {
            // Refused where a run stands in it.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(path: &Path) -> Result<(RunFolder, Starting), RunError> {
        RunFolder::create(path, "seed = 1\n", &Environment::default())
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("precious.txt"), "x").unwrap();
        let error = create(out.path()).unwrap_err();
        assert!(error.to_string().contains("exists and is not empty"), "{error}");
        assert!(error.hint().unwrap().contains("--out"));
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_start_has_left_is_taken_away() {
        let out = tempfile::tempdir().unwrap();
        let (_, starting) = create(out.path()).unwrap();
        fs::write(out.path().join(EVENTS), "half a li").unwrap();
        fs::write(out.path().join(".tmp-x"), "").unwrap();
        fs::create_dir(out.path().join("checkpoint")).unwrap();
        let error = create(out.path()).unwrap_err();
        assert!(error.to_string().contains("another process is working on this run"), "{error}");
        drop(starting);
        assert!(!is_run(out.path()));
        let (_, starting) = create(out.path()).unwrap();
        assert_eq!(fs::read(out.path().join(EVENTS)).unwrap(), b"");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 4);
        starting.done().unwrap();
        assert!(is_run(out.path()));
        assert!(create(out.path()).is_err());
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_made() {
        let out = tempfile::tempdir().unwrap();
        fs::write(out.path().join("file"), "x").unwrap();
        let error = create(&out.path().join("file/run")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create run folder"), "{error}");
    }

    #[test]
    fn what_is_no_run_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunFolder::open(folder.path()).unwrap_err();
        assert!(error.to_string().ends_with("is not a run folder: config.toml is missing"), "{error}");
        let error = RunFolder::open(&folder.path().join("absent")).unwrap_err();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }

    #[test]
    fn every_claim_gets_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("runs/run");
        let claim = || Place::claim(&base).unwrap();
        let (first, second) = (claim(), claim());
        assert_eq!((first.path(), second.path()), (&*base, &*base.with_file_name("run-2")));
        create(second.path()).unwrap().1.done().unwrap();
        drop((first, second));
        assert!(!base.exists() && is_run(&base.with_file_name("run-2")), "what stays empty is taken away again");
        drop(Place::given(folder.path().join("absent")));
        let all: Vec<Place> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut paths: Vec<&Path> = all.iter().map(Place::path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), 8);
        fs::write(folder.path().join("file"), "").unwrap();
        let error = Place::claim(&folder.path().join("file/run")).unwrap_err();
        assert!(error.to_string().starts_with("cannot create run folder"), "{error}");
    }
}
