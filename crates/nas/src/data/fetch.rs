use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::download::{Download, Outcome, Progress};
use super::{DataError, DatasetName, archive, formats};

/// Where the archives' author publishes them.
const OFFICIAL: &str = "https://www.cs.toronto.edu/~kriz";

/// Where a download goes and comes from.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Folder for the archive; created if need be.
    pub to: PathBuf,
    /// Address of another server's folder with the same archives. `None`: the official one.
    pub base: Option<String>,
}

/// A downloaded archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fetched {
    /// The archive.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its MD5, which is the official one.
    pub md5: String,
    /// How it came to be there.
    pub outcome: FetchOutcome,
}

/// How an archive came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchOutcome {
    /// It was there before; its checksum was checked.
    AlreadyThere,
    /// Downloaded as a whole.
    Downloaded,
    /// The rest of an earlier download was added.
    Resumed,
}

/// Downloads a data set's official archive and checks its MD5. A download that is interrupted leaves `<archive>.part`, from
/// which the next one goes on; a broken connection is taken up again by itself a few times.
///
/// # Errors
/// [`DataError::NothingToFetch`], [`DataError::NoAddress`], [`DataError::Fetch`], [`DataError::Interrupted`], [`DataError::Altered`] (wrong checksum),
/// [`DataError::Occupied`] (another file has the archive's name), [`DataError::Locked`], [`DataError::Io`].
pub fn fetch(
    name: DatasetName,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fetched, DataError> {
    if name.is_built_in() {
        return Err(DataError::NothingToFetch(name.as_str()));
    }
    let fetched = formats::of(name).first().and_then(|format| Some((format, format.archive_md5?)));
    let (format, md5) = fetched.ok_or(DataError::NoAddress(name.as_str()))?;
    let file = format!("{}{}", format.archive, archive::ENDINGS[0]);
    let base = options.base.as_deref().unwrap_or(OFFICIAL).trim_end_matches('/');
    let path = options.to.join(&file);
    let url = format!("{base}/{file}");
    let download = Download { url: &url, md5, target: &path, retries: 5, pause: Duration::from_secs(1) };
    let outcome = match download.run(progress)? {
        Outcome::AlreadyThere => FetchOutcome::AlreadyThere,
        Outcome::Complete => FetchOutcome::Downloaded,
        Outcome::Resumed => FetchOutcome::Resumed,
    };
    let bytes = path.metadata().map_err(DataError::io(&path))?.len();
    Ok(Fetched { path, bytes, md5: md5.to_owned(), outcome })
}
