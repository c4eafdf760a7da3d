//! Decoded archives, kept so that the next run does not decode them again. A cache is only a convenience: whatever goes
//! wrong with it, the archive is still there, so no failure is reported. Files are compared with their checksums when they
//! are used, so they need not be synced when they are written.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::formats::Format;
use crate::checksum;

const SUMS: &str = "MD5SUMS";
const UNFINISHED: &str = ".tmp-";
/// In an unfinished folder; its process holds a lock on it.
const LOCK: &str = "lock";
/// Age at which the leftovers of a killed process are removed where nothing tells whether it lives.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// The same where its lock is free. It has taken it by then.
const ABANDONED: Duration = Duration::from_secs(60);

/// A folder that is being filled beside the place that it will have. Dropped, it is removed.
pub(super) struct Unfinished {
    // Closed before the folder is removed, which some systems demand.
    lock: File,
    folder: TempDir,
}

impl Unfinished {
    /// A new one in `parent`, from which the leftovers of others are removed.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        remove_stale(parent);
        let folder = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
        let lock = File::create(folder.path().join(LOCK))?;
        // Where the file system knows no locks, the age decides.
        let _ = lock.try_lock();
        Ok(Self { lock, folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts it in its place, instead of what is there.
    pub(super) fn finish(self, place: &Path) -> io::Result<()> {
        let Self { lock, folder } = self;
        drop(lock);
        fs::remove_file(folder.path().join(LOCK))?;
        match fs::remove_dir_all(place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => fs::rename(folder.path(), place),
        }
    }
}

/// The place of one archive's files, named by the archive's content.
pub(super) struct Slot {
    folder: PathBuf,
}

impl Slot {
    /// `sum`: [`Slot::sum`] of the archive.
    pub(super) fn of(home: &Path, format: &Format, sum: &str) -> Self {
        Self { folder: home.join("cache").join(format!("{}-{sum}", format.folder)) }
    }

    pub(super) fn sum(archive: &Path) -> io::Result<String> {
        checksum::of_reader(File::open(archive)?)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The checksum of each file when it was written, by name. `None` if nothing is cached.
    pub(super) fn sums(&self) -> Option<Vec<(String, String)>> {
        let text = fs::read_to_string(self.folder.join(SUMS)).ok()?;
        text.lines().map(|line| line.split_once("  ").map(|(sum, name)| (name.to_owned(), sum.to_owned()))).collect()
    }

    /// Starts to fill the slot. `None` if that is impossible.
    pub(super) fn fill(&self) -> Option<Filling> {
        let folder = Unfinished::new(self.folder.parent()?).ok()?;
        Some(Filling { folder, sums: String::new() })
    }
}

/// A cache entry that is being written beside its final place.
pub(super) struct Filling {
    folder: Unfinished,
    sums: String,
}

impl Filling {
    /// Adds a file; `None` and everything is removed if it cannot be written.
    pub(super) fn add(mut self, name: &str, bytes: &[u8]) -> Option<Self> {
        fs::write(self.folder.path().join(name), bytes).ok()?;
        self.sums += &format!("{}  {name}\n", checksum::of_bytes(bytes));
        Some(self)
    }

    /// Puts the files in their place, which holds either all of them or none. Says whether it worked.
    pub(super) fn finish(self, slot: &Slot) -> bool {
        if fs::write(self.folder.path().join(SUMS), self.sums).is_err() {
            return false;
        }
        // A damaged entry goes; an intact one that another process has just put there is as good as this one.
        self.folder.finish(&slot.folder).is_ok()
    }
}

fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        let is_free = || File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if unfinished && age.is_some_and(|age| age > STALE || age > ABANDONED && is_free()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn leftovers_go_unless_their_process_lives() {
        let dir = tempfile::tempdir().unwrap();
        let minutes = |folder: &Path, minutes: u64| {
            let time = SystemTime::now() - Duration::from_secs(60 * minutes);
            File::open(folder).unwrap().set_modified(time).unwrap();
        };
        let alive = Unfinished::new(dir.path()).unwrap();
        let Unfinished { lock, folder } = Unfinished::new(dir.path()).unwrap();
        drop(lock);
        let left = folder.keep();
        remove_stale(dir.path());
        assert!(left.exists(), "too young");
        minutes(alive.path(), 5);
        minutes(&left, 5);
        remove_stale(dir.path());
        assert!(alive.path().exists() && !left.exists());
        alive.finish(&dir.path().join("entry")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(dir.path().join("entry")).unwrap().count(), 0);
    }
}
