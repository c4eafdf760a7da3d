//! What a file is that was taken for another, by its first bytes: an error that names it says more than a decoder's.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use infer::MatcherType;

/// Bytes that are looked at: enough for a tar's signature and for a text's first lines.
const HEAD: u64 = 4096;

/// What a file is, where it is nothing that a text could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileKind {
    Folder,
    Utf16,
    Pickle,
    TorchSave,
    NumPy,
    Hdf5,
    Tar,
    Gzip,
    Xz,
    Zip,
    Bzip2,
    Zstandard,
    SevenZip,
    Rar,
    Pdf,
    Sqlite,
    Parquet,
    WebPage,
    Picture,
    Recording,
    Document,
    Program,
}

impl fmt::Display for FileKind {
    /// With its article.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "a folder",
            Self::Utf16 => "a text in UTF-16",
            Self::Pickle => "a Python pickle",
            Self::TorchSave => "a file of torch.save",
            Self::NumPy => "a NumPy array",
            Self::Hdf5 => "an HDF5 file",
            Self::Tar => "a tar archive",
            Self::Gzip => "a gzip archive",
            Self::Xz => "an xz archive",
            Self::Zip => "a zip archive",
            Self::Bzip2 => "a bzip2 archive",
            Self::Zstandard => "a Zstandard archive",
            Self::SevenZip => "a 7-Zip archive",
            Self::Rar => "a RAR archive",
            Self::Pdf => "a PDF document",
            Self::Sqlite => "an SQLite database",
            Self::Parquet => "a Parquet file",
            Self::WebPage => "a web page",
            Self::Picture => "a picture",
            Self::Recording => "a recording",
            Self::Document => "an office document",
            Self::Program => "a program",
        })
    }
}

/// What a file's first bytes say that it is.
pub fn bytes(head: &[u8]) -> Option<FileKind> {
    match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Some(FileKind::Utf16),
        [0x80, 2..=5, ..] => return Some(FileKind::Pickle),
        [0x89, b'H', b'D', b'F', ..] => return Some(FileKind::Hdf5),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => return Some(FileKind::NumPy),
        // What `torch.save` writes is a zip archive whose first member is `NAME/data.pkl`.
        [b'P', b'K', 3, 4, ..] if head.windows(9).any(|w| w == b"/data.pkl") => return Some(FileKind::TorchSave),
        _ => {}
    }
    let kind = infer::get(head)?;
    Some(match (kind.matcher_type(), kind.extension()) {
        (_, "zip") => FileKind::Zip,
        (_, "gz") => FileKind::Gzip,
        (_, "xz") => FileKind::Xz,
        (_, "bz2") => FileKind::Bzip2,
        (_, "zst") => FileKind::Zstandard,
        (_, "7z") => FileKind::SevenZip,
        (_, "rar") => FileKind::Rar,
        (_, "tar") => FileKind::Tar,
        (_, "pdf") => FileKind::Pdf,
        (_, "sqlite") => FileKind::Sqlite,
        (_, "parquet") => FileKind::Parquet,
        (_, "html") => FileKind::WebPage,
        (MatcherType::Image, _) => FileKind::Picture,
        (MatcherType::Audio | MatcherType::Video, _) => FileKind::Recording,
        (MatcherType::Doc, _) => FileKind::Document,
        (MatcherType::App, _) => FileKind::Program,
        _ => return None,
    })
}

/// [`bytes`] of a file.
pub fn file(path: &Path) -> Option<FileKind> {
    if path.is_dir() {
        return Some(FileKind::Folder);
    }
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    bytes(&head)
}

/// Reads a file as text in UTF-8.
///
/// # Errors
/// Those of the file system; [`io::ErrorKind::InvalidData`] that names what the file is.
pub fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes = fs::read(path).map_err(|e| match file(path) {
        Some(FileKind::Folder) => invalid("it is a folder, expected a file".to_owned()),
        _ => e,
    })?;
    let what = self::bytes(&bytes[..bytes.len().min(HEAD as usize)]);
    let place = match String::from_utf8(bytes) {
        // No text has zero bytes, but some archives are UTF-8 by chance.
        Ok(text) => match text.bytes().position(|b| b == 0) {
            None => return Ok(text),
            place => place,
        },
        Err(e) => Some(e.utf8_error().valid_up_to()),
    };
    let from = format!("it is not UTF-8 from byte {} on", place.unwrap_or_default() + 1);
    Err(invalid(what.map_or(from, |what| format!("it is {what}, expected a text in UTF-8"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_their_first_bytes() {
        let torch = [b"PK\x03\x04".as_slice(), &[0; 26], b"archive/data.pkl"].concat();
        let tar = [[0; 257].as_slice(), b"ustar\x0000"].concat();
        for (head, what) in [
            (b"PK\x03\x04....".as_slice(), FileKind::Zip),
            (&torch, FileKind::TorchSave),
            (&tar, FileKind::Tar),
            (b"\x80\x04\x95\x0b", FileKind::Pickle),
            (b"\xff\xfei\0n\0", FileKind::Utf16),
            (b"\x89PNG\r\n\x1a\n", FileKind::Picture),
            (b"%PDF-1.7", FileKind::Pdf),
            (b"<!DOCTYPE html><html>", FileKind::WebPage),
            (b"\x1f\x8b\x08", FileKind::Gzip),
        ] {
            assert_eq!(bytes(head), Some(what), "{head:?}");
        }
        for text in ["", "index,arch\n", "seed = 1", "{\"train\": [", "|none~0|", "Genotype("] {
            assert_eq!(bytes(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = |content: &[u8]| {
            let path = folder.path().join("file");
            fs::write(&path, content).unwrap();
            read_text(&path).unwrap_err().to_string()
        };
        assert_eq!(message(b"\x80\x04\x95"), "it is a Python pickle, expected a text in UTF-8");
        assert_eq!(message(b"PK\x03\x04\0\0"), "it is a zip archive, expected a text in UTF-8");
        assert_eq!(message(b"seed\0"), "it is not UTF-8 from byte 5 on");
        assert_eq!(message(b"Gr\xf6\xdfe"), "it is not UTF-8 from byte 3 on");
        assert_eq!(read_text(folder.path()).unwrap_err().to_string(), "it is a folder, expected a file");
        assert_eq!(read_text(&folder.path().join("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
