use std::{io, path::PathBuf};

use super::version::VERSION;
use crate::{sniff::FileKind, space::SpaceError};

/// Why a table file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file does not exist.
    #[error("no NAS-Bench-201 table at {path}", path = .0.display())]
    NotFound(PathBuf),
    /// The system refuses to read or write it.
    #[error("cannot {action} the table {path}: {source}", path = .path.display())]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{path} is not a NAS-Bench-201 table: it does not begin with the table's signature", path = .0.display())]
    Signature(PathBuf),
    /// Written by a newer version of this program.
    #[error("the table {path} has format version {found}; this program reads up to {VERSION}", path = .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Damaged.
    #[error("the table {path} is damaged: {why}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}

/// Why a CSV file does not become a table. Lines are counted from 1, the header included.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read or unpacked.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Not well-formed CSV.
    #[error("{path} is not well-formed CSV: {why}", path = .path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The reason, with the line.
        why: String,
    },
    /// The file is something else altogether.
    #[error("{} is {what}, expected CSV, plain or compressed with gzip", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: FileKind,
    },
    /// The columns are not separated by commas.
    #[error("the columns are separated by {separator}, expected commas: `{header}`")]
    Separator {
        /// What separates them, in the plural.
        separator: &'static str,
        /// The header.
        header: String,
    },
    /// A column in another unit.
    #[error("column `{column}`: no value is larger than {largest}, expected {expected}")]
    Unit {
        /// The column.
        column: &'static str,
        /// The largest value.
        largest: f64,
        /// The unit it is in.
        expected: &'static str,
    },
    /// A column that every table has is not in the header.
    #[error("missing column `{column}`{}", .similar.as_ref().map_or_else(String::new, |s| format!(" (the header has `{s}`)")))]
    MissingColumn {
        /// The column.
        column: &'static str,
        /// A name in the header that may be meant.
        similar: Option<String>,
    },
    /// A column is in the header more than once.
    #[error("column `{0}` occurs twice in the header")]
    DuplicateColumn(String),
    /// A value that is not what its column holds: no number, NaN, out of range.
    #[error("line {line}, column `{column}`: found `{value}`, expected {expected}")]
    Value {
        /// Line of the file.
        line: u64,
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// An architecture string that cannot be read.
    #[error("line {line}, column `arch`: {source}")]
    ArchText {
        /// Line of the file.
        line: u64,
        /// What is wrong with it.
        source: SpaceError,
    },
    /// The architecture is not the one with this index.
    #[error("line {line}: the architecture with index {index} is `{expected}`, found `{found}`")]
    Arch {
        /// Line of the file.
        line: u64,
        /// The row's index.
        index: usize,
        /// The architecture in the row.
        found: String,
        /// The benchmark's architecture with this index.
        expected: String,
    },
    /// An architecture has two rows.
    #[error("lines {first} and {line} both hold index {index}")]
    DuplicateRow {
        /// The index.
        index: usize,
        /// Line of its first row.
        first: u64,
        /// Line of its second row.
        line: u64,
    },
    /// Architectures have no row.
    #[error("{found} of {expected} architectures: the row of index {first} is missing{}", others(*.expected - *.found - 1))]
    MissingRows {
        /// Rows there are.
        found: usize,
        /// Rows there should be.
        expected: usize,
        /// The first index without a row.
        first: usize,
    },
}

fn others(n: usize) -> String {
    if n == 0 { String::new() } else { format!(", and {n} more") }
}
