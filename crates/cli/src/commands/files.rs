//! Files that a command leaves for the user: looked at before the work, written whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow, bail};
use nas::files::{check_writable, shown, write_together};

use crate::{args, error::HintExt};

/// Checks that the files can be written: in folders that are there, each once, in the place of nothing but, with `force`, another
/// file. Without files there is nothing to `force`.
///
/// # Errors
/// The first that cannot.
pub fn check<'a>(paths: impl IntoIterator<Item = &'a Path>, force: bool) -> Result<()> {
    let mut paths = paths.into_iter().peekable();
    args::without_effect([("--force", force && paths.peek().is_none())], "no file is to be written")?;
    let mut seen: Vec<PathBuf> = vec![];
    for path in paths {
        if path.as_os_str() == "-" {
            return Err(anyhow!("this does not go to standard output")).hint("give the name of a file; `./-` is one");
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            bail!("there is no folder {} to write into", shown(folder));
        }
        check_writable(folder).map_err(|(there, e)| anyhow!("cannot write into {}: {e}", shown(there)))?;
        let place =
            fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned()).join(path.file_name().unwrap_or_default());
        if seen.contains(&place) {
            bail!("{} is to be written twice", shown(path));
        }
        seen.push(place);
        let Ok(there) = fs::symlink_metadata(path) else { continue };
        // What a link leads to is what would be meant; a pipe or a device would be replaced by a file.
        match if there.is_symlink() { fs::metadata(path).ok() } else { Some(there) } {
            Some(there) if there.is_dir() => bail!("{} is a folder, expected the name of a file", shown(path)),
            Some(there) if !there.is_file() => {
                bail!("{} is no ordinary file, which is all that can be replaced", shown(path))
            }
            _ if !force => return Err(anyhow!("{} exists", shown(path))).hint("--force replaces it"),
            _ => {}
        }
    }
    Ok(())
}

/// Writes files that [`check`] has let pass, all or, where one of them cannot be written, none; where a link stands, what it
/// leads to. They take their places in the order that is given.
///
/// # Errors
/// The first that cannot be written.
pub fn write(files: &[(impl AsRef<Path>, impl AsRef<[u8]>)]) -> Result<()> {
    let place = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let placed: Vec<_> = files.iter().map(|(path, bytes)| (place(path.as_ref()), bytes)).collect();
    write_together(&placed)
        .map_err(|(at, e)| anyhow::Error::new(e).context(format!("cannot write {}", shown(files[at].0.as_ref()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn nothing_but_files_is_replaced_and_that_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |names: &[&str], force: bool| {
            let paths: Vec<PathBuf> = names.iter().map(|name| path(name)).collect();
            let result = check(paths.iter().map(PathBuf::as_path), force);
            result.err().map(|e| e.to_string().replace(&folder.path().display().to_string(), ""))
        };
        fs::write(path("old"), "old").unwrap();
        fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("old"), path("link")).unwrap();
        std::os::unix::fs::symlink("/dev/null", path("device")).unwrap();
        assert_eq!(error(&["a", "b"], false), None);
        assert_eq!(error(&["a", "folder/../a"], false).unwrap(), "/folder/../a is to be written twice");
        assert_eq!(error(&["new/a"], true).unwrap(), "there is no folder /new to write into");
        assert_eq!(error(&["old"], false).unwrap(), "/old exists");
        assert_eq!(error(&["link"], false).unwrap(), "/link exists");
        assert_eq!(error(&["old", "folder/a"], true), None);
        assert_eq!(error(&["folder"], true).unwrap(), "/folder is a folder, expected the name of a file");
        assert_eq!(error(&["device"], true).unwrap(), "/device is no ordinary file, which is all that can be replaced");
        assert!(check([Path::new("-")], true).is_err());
        assert!(check([], true).unwrap_err().to_string().starts_with("--force has no effect"));
        assert!(check([], false).is_ok());
        write(&[(path("link"), b"new")]).unwrap();
        assert_eq!(fs::read_to_string(path("old")).unwrap(), "new");
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
    }
}
