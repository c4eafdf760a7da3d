//! The files of a data set out of a `.tar`, `.tar.gz` or `.tar.xz`, decoded as a stream.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;

use super::DataError;
use super::formats::{FileFormat, Format};
use crate::sniff::{self, FileKind};

/// Endings that an archive may have, in the order they are looked for.
pub(super) const ENDINGS: [&str; 4] = [".tar.gz", ".tgz", ".tar.xz", ".tar"];

/// Largest file taken out of an archive where the official size is not asked for.
const LARGEST: u64 = 1 << 30;
/// Memory that a `.xz` may ask for, in KiB; the strongest preset needs 65 MiB.
const XZ_MEMORY: u32 = 1 << 20;

/// Takes a file: the version that it belongs to, its number there, and its content.
pub(super) type Take<'a> = dyn FnMut(&'static Format, usize, &[u8]) -> Result<(), DataError> + 'a;

/// Gives each file of one of the `formats` to `take`, in the archive's order: that which the first file belongs to.
pub(super) fn read(
    path: &Path,
    mut formats: &[&'static Format],
    verify: bool,
    take: &mut Take<'_>,
) -> Result<(), DataError> {
    let damaged = |e: io::Error| DataError::Archive { path: path.to_owned(), why: e.to_string() };
    // Whatever is neither a tar nor one of the compressions below is named, in place of what a decoder makes of it.
    if let Some(what) = sniff::file(path).filter(|what| !matches!(what, FileKind::Tar | FileKind::Gzip | FileKind::Xz))
    {
        return Err(DataError::NoArchive { path: path.to_owned(), what });
    }
    let mut archive = tar::Archive::new(open(path).map_err(DataError::io(path))?);
    let mut bytes = Vec::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let inner = entry.path().map_err(damaged)?.into_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let found = formats.iter().position(|format| format.file_at(&inner).is_some());
        let Some((which, at)) = found.and_then(|which| Some((which, formats[which].file_at(&inner)?))) else {
            continue;
        };
        formats = &formats[which..=which];
        let format = formats[0];
        check_size(path, &format.files[at], entry.size(), verify)?;
        bytes.clear();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        take(format, at, &bytes)?;
    }
    // The compressor's own checksums come last.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

fn check_size(path: &Path, file: &FileFormat, found: u64, verify: bool) -> Result<(), DataError> {
    if let Some(expected) = file.bytes.filter(|&expected| verify && found != expected) {
        return Err(DataError::Size { file: file.name.to_owned(), found, expected });
    }
    if found > LARGEST {
        let why = format!("{} has {found} bytes, which is implausible", file.name);
        return Err(DataError::Archive { path: path.to_owned(), why });
    }
    Ok(())
}

/// The uncompressed stream; what it is compressed with is told by its first bytes, not by its name.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(6).read_to_end(&mut magic)?;
    file.rewind()?;
    let reader = BufReader::with_capacity(1 << 18, file);
    Ok(match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(GzDecoder::new(reader)),
        b"\xfd7zXZ\0" => Box::new(XzReader::new_mem_limit(reader, true, XZ_MEMORY)),
        _ => Box::new(reader),
    })
}
