use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::FolderConfig;

/// Where a data set is looked for and how strictly it is checked.
///
/// | field | default | meaning |
/// |---|---|---|
/// | `data` | none | folder or archive given by the user (`--data`) |
/// | `home` | none | the program's folder in the user's data directory: downloads and decoded archives |
/// | `verify` | true | only the official files are accepted (`data.verify`); false: any well-formed ones |
/// | `folder` | | how own pictures are read |
/// | `threads` | 1 | that decode pictures |
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Folder with the files, with an archive, or an archive itself. Without it `home`'s downloads are used.
    pub data: Option<PathBuf>,
    /// The program's own folder.
    pub home: Option<PathBuf>,
    /// Whether sizes and checksums must be the official ones.
    pub verify: bool,
    /// How own pictures are read; the other data sets have no use for it.
    pub folder: FolderConfig,
    /// Threads that decode pictures.
    pub threads: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { data: None, home: None, verify: true, folder: FolderConfig::default(), threads: 1 }
    }
}

impl LoadOptions {
    /// Where downloads are kept below the program's own folder.
    pub fn downloads(home: &Path) -> PathBuf {
        home.join("datasets")
    }
}

/// What [`super::load_with`] tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadEvent {
    /// The files are read from a folder, the user's own or that of decoded archives.
    Reading {
        /// The folder.
        folder: PathBuf,
    },
    /// An archive is being decoded, which takes seconds.
    Decoding {
        /// The archive.
        archive: PathBuf,
    },
    /// The decoded files were kept for the next time.
    Cached {
        /// Their folder.
        folder: PathBuf,
    },
    /// Pictures are being decoded.
    Pictures {
        /// So many are done.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Sent after every picture that was decoded, for those who want to end the reading.
    MayStop(Stop),
    /// Every picture that cannot be read and is left out, with the reason.
    Unreadable(Vec<String>),
    /// What is odd but no error, in words: files that were left out, few images of a class.
    Remark(String),
}

/// Ends the reading of a data set, with [`super::DataError::Stopped`].
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end, which comes with the next picture.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for Stop {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Stop {}
