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
pub(super) const UNFINISHED: &str = ".tmp-";
/// Age at which the leftovers of a killed process are removed.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

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
        let parent = self.folder.parent()?;
        fs::create_dir_all(parent).ok()?;
        remove_stale(parent);
        let folder = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent).ok()?;
        Some(Filling { folder, sums: String::new() })
    }
}

/// A cache entry that is being written beside its final place.
pub(super) struct Filling {
    folder: TempDir,
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
        let _ = fs::remove_dir_all(&slot.folder);
        fs::rename(self.folder.path(), &slot.folder).is_ok()
    }
}

pub(super) fn remove_stale(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|time| time.elapsed().ok());
        if unfinished && age.is_some_and(|age| age > STALE) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
