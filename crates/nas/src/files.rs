//! Files that are either whole or absent, and paths that outlive the current folder.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// How a file begins that is being written.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Makes a path independent of the current folder, where the system says what that is: a run goes on from anywhere. Whether it
/// can be written into a text afterwards: the folder around it may have a name that is no UTF-8.
#[must_use]
pub(crate) fn make_absolute(path: &mut PathBuf) -> bool {
    if let Ok(whole) = std::path::absolute(&*path) {
        *path = whole;
    }
    path.to_str().is_some()
}

/// A path in JSON: as it is, or with the bytes written out that are no UTF-8, so that two files stay two.
pub fn as_text(path: &Path) -> String {
    path.to_str().map_or_else(|| shown(path), str::to_owned)
}

/// [`as_text`] of a field.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize_path<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&as_text(path))
}

/// A path or a name for people: control characters and bytes that are no UTF-8 are escaped.
pub fn shown(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    for chunk in path.as_ref().as_os_str().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Takes away what a killed process has left half-written in a folder: the files and folders that begin so.
pub(crate) fn sweep_up(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
    }
    Ok(())
}

/// Checks that a folder, or the one that it will be made in, can be written to. Leaves nothing there.
///
/// # Errors
/// The folder that is there and cannot, and why.
pub fn check_writable(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = whole.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let checked = match there.is_dir() {
        false => Err(io::ErrorKind::NotADirectory.into()),
        true => {
            fs::read_dir(there).and_then(|_| tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(there).map(drop))
        }
    };
    checked.map_err(|e| (there.to_owned(), e))
}

/// Writes a file so that nothing but the whole of it ever stands under `path`: into a temporary file of the same folder,
/// synced, then renamed over what was there. The folder is created if need be.
///
/// # Errors
/// Those of `write` and of the file system; an existing file is then as it was and the temporary file is gone.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    Staged::new(path, write)?.finish()
}

/// Writes files that belong together: all of them stand on the disk before the first takes its place, so that a disk that is
/// full leaves none.
///
/// # Errors
/// The first that cannot be written, with its index.
pub fn write_together(files: &[(impl AsRef<Path>, impl AsRef<[u8]>)]) -> Result<(), (usize, io::Error)> {
    let numbered = |at| move |e| (at, e);
    let staged = files
        .iter()
        .enumerate()
        .map(|(at, (path, bytes))| Staged::new(path.as_ref(), |w| w.write_all(bytes.as_ref())).map_err(numbered(at)));
    let staged: Vec<Staged<'_>> = staged.collect::<Result<_, _>>()?;
    staged.into_iter().enumerate().try_for_each(|(at, file)| file.finish().map_err(numbered(at)))
}

/// A file that is written but not in its place yet.
struct Staged<'a> {
    temporary: NamedTempFile,
    folder: &'a Path,
    path: &'a Path,
}

impl<'a> Staged<'a> {
    fn new(path: &'a Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(TEMPORARY);
        // A temporary file is private by default; this one will be an ordinary file, so the umask decides.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut temporary = builder.tempfile_in(folder)?;
        let mut writer = io::BufWriter::new(temporary.as_file_mut());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        temporary.as_file().sync_all()?;
        Ok(Self { temporary, folder, path })
    }

    fn finish(self) -> io::Result<()> {
        self.temporary.persist(self.path).map_err(|e| e.error)?;
        sync_folder(self.folder)
    }
}

/// Makes a rename in `folder` survive a power cut.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_in_a_new_folder_and_replaces_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.txt");
        write_atomic(&path, |w| w.write_all(b"one")).unwrap();
        write_atomic(&path, |w| w.write_all(b"two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomic(&path, |w| w.write_all(b"old")).unwrap();
        let failed = write_atomic(&path, |w| {
            w.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_that_belong_together_appear_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("c/d")).unwrap();
        // A folder in the place of a parent.
        fs::write(path("file"), "x").unwrap();
        let (at, _) = write_together(&[(path("a"), "1"), (path("b"), "2"), (path("file/c"), "3")]).unwrap_err();
        assert_eq!(at, 2);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "neither a nor b nor what is temporary");
        write_together(&[(path("a"), "1"), (path("b"), "2")]).unwrap();
        assert_eq!((fs::read(path("a")).unwrap(), fs::read(path("b")).unwrap()), (b"1".to_vec(), b"2".to_vec()));
    }

    #[cfg(unix)]
    #[test]
    fn names_are_shown_without_what_a_terminal_would_obey() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        assert_eq!(shown("a/Größe 猫.png"), "a/Größe 猫.png");
        assert_eq!(shown(OsStr::from_bytes(b"a\x1b[2J\n\xff")), "a\\u{1b}[2J\\n\\xff");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_ordinary_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomic(&ours, |w| w.write_all(b"x")).unwrap();
        fs::write(&plain, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
