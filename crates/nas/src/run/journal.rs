use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

/// A file of JSON lines that is only ever added to, except that a resumed run cuts it back to its checkpoint.
/// The file is locked while it is open: two processes cannot work on one run.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    locked: bool,
}

impl Journal {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let locked = lock(&file)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        Ok(Self { path: path.to_owned(), file, bytes, locked })
    }

    /// Whether another process is kept out: not on a file system without locks.
    pub(super) fn is_locked(&self) -> bool {
        self.locked
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Cuts the file back to `bytes`.
    pub(super) fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.seek(SeekFrom::Start(bytes))?;
        self.bytes = bytes;
        Ok(())
    }

    /// Adds a line. A line that cannot be written whole is taken away again.
    pub(crate) fn append(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.append_lines(&text)
    }

    /// Adds whole lines of another record.
    pub(super) fn append_lines(&mut self, text: &[u8]) -> io::Result<()> {
        match self.file.write_all(text) {
            Ok(()) => {
                self.bytes += text.len() as u64;
                Ok(())
            }
            Err(error) => {
                let bytes = self.bytes;
                // The first error is the one to report.
                let _ = self.truncate(bytes);
                Err(error)
            }
        }
    }

    /// Ends a line that a killed process has left open, so that the next one starts on its own.
    pub(crate) fn close_line(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        self.truncate(whole as u64)
    }

    /// Makes what was written survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Locks a file of a run until it is closed; false on a file system without locks, which is not a reason to refuse to work.
pub(super) fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(io::ErrorKind::WouldBlock, IN_USE)),
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported || is_without_locks(&e) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// What NFS says where its lock service does not run.
fn is_without_locks(error: &io::Error) -> bool {
    #[cfg(unix)]
    return error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error());
    #[cfg(not(unix))]
    return false;
}

/// Why a file cannot be locked a second time.
const IN_USE: &str = "another process is working on this run";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_added_to_cut_back_and_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&1).unwrap();
        let mark = journal.bytes();
        journal.append(&2).unwrap();
        journal.truncate(mark).unwrap();
        journal.append(&3).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n3\n");
        drop(journal);
        std::fs::write(&path, "1\n3\nhal").unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.close_line().unwrap();
        journal.append(&4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n3\n4\n");
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let first = Journal::open(&path).unwrap();
        assert_eq!(Journal::open(&path).unwrap_err().to_string(), IN_USE);
        drop(first);
        Journal::open(&path).unwrap();
    }
}
