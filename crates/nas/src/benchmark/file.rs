//! The table's file. Little-endian, no gaps:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | signature |
//! | 4 | version of the format |
//! | 4 | CRC-32 of everything after it |
//! | 4 | rows, one per architecture in index order |
//! | 4 | columns `n` |
//! | 48 n | names of the columns, ASCII, filled up with zeros |
//! | 8 rows n | values, f64, column by column, NaN where blank |
//!
//! A reader ignores columns that it does not know, so adding one does not need a new version.

use std::path::Path;

use flate2::Crc;

use super::{Column, Table, TableError, table::Columns, version::VERSION};
use crate::space::nas_bench_201::ARCHITECTURES;

/// The first byte is not ASCII and the last two are a line end, so a transfer as text is noticed.
const SIGNATURE: [u8; 8] = *b"\x89NB201\r\n";
const HEADER: usize = 24;
const NAME: usize = 48;
const VALUE: usize = size_of::<f64>();

/// More columns than this are a sign of damage.
const MAX_COLUMNS: usize = 256;

/// No table is larger.
pub(super) const MAX_BYTES: u64 = file_size(MAX_COLUMNS) as u64;

const fn file_size(columns: usize) -> usize {
    HEADER + columns * (NAME + VALUE * ARCHITECTURES)
}

/// What is wrong with the bytes of a file.
#[derive(Debug, PartialEq)]
pub(super) enum DecodeError {
    Signature,
    Newer(u32),
    Damaged(String),
}

impl DecodeError {
    pub(super) fn at(self, path: &Path) -> TableError {
        let path = path.to_owned();
        match self {
            Self::Signature => TableError::Signature(path),
            Self::Newer(found) => TableError::Newer { path, found },
            Self::Damaged(why) => TableError::Damaged { path, why },
        }
    }
}

/// The file's bytes.
pub(super) fn encode(table: &Table) -> Vec<u8> {
    let columns: Vec<Column> = table.columns().collect();
    let mut bytes = Vec::with_capacity(file_size(columns.len()));
    bytes.extend(SIGNATURE);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((ARCHITECTURES as u32).to_le_bytes());
    bytes.extend((columns.len() as u32).to_le_bytes());
    for column in &columns {
        let mut name = [0; NAME];
        name[..column.name().len()].copy_from_slice(column.name().as_bytes());
        bytes.extend(name);
    }
    for value in columns.iter().filter_map(|&c| table.column(c)).flatten() {
        bytes.extend(value.to_le_bytes());
    }
    let checksum = checksum(&bytes[16..]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The table in a file's bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Table, DecodeError> {
    let damaged = |why: String| Err(DecodeError::Damaged(why));
    if bytes.is_empty() {
        return damaged("it is empty".to_owned());
    }
    if !bytes.starts_with(&SIGNATURE[..bytes.len().min(SIGNATURE.len())]) {
        return Err(DecodeError::Signature);
    }
    let Some((header, body)) = bytes.split_at_checked(HEADER) else {
        return damaged(format!("it ends after {} bytes", bytes.len()));
    };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (version, expected_checksum, rows, columns) = (word(8), word(12), word(16) as usize, word(20) as usize);
    if version > VERSION {
        return Err(DecodeError::Newer(version));
    }
    if version == 0 {
        return damaged("its version is 0".to_owned());
    }
    if rows != ARCHITECTURES || columns > MAX_COLUMNS {
        return damaged(format!("its header gives {rows} rows and {columns} columns, expected {ARCHITECTURES} rows"));
    }
    if bytes.len() != file_size(columns) {
        return damaged(format!("it has {} bytes, but its header implies {}", bytes.len(), file_size(columns)));
    }
    if checksum(&bytes[16..]) != expected_checksum {
        return damaged("its checksum does not match its content".to_owned());
    }
    let (names, values) = body.split_at(columns * NAME);
    let mut by_column: Columns = vec![None; Column::ALL.len()];
    for (name, values) in names.chunks_exact(NAME).zip(values.chunks_exact(VALUE * rows)) {
        let known =
            |c: &&Column| name.strip_prefix(c.name().as_bytes()).is_some_and(|rest| rest.iter().all(|&b| b == 0));
        if let Some(&column) = Column::ALL.iter().find(known) {
            let (values, _) = values.as_chunks::<VALUE>();
            by_column[column as usize] = Some(values.iter().map(|&v| f64::from_le_bytes(v)).collect());
        }
    }
    Table::from_columns(by_column).map_err(DecodeError::Damaged)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::{super::table::tests::made_up, *};

    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&made_up()));

    /// The file with some bytes replaced and a checksum that fits again.
    fn patched(at: usize, new: &[u8]) -> Vec<u8> {
        let mut bytes = FILE.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let checksum = checksum(&bytes[16..]);
        bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn damage(bytes: &[u8]) -> String {
        match decode(bytes) {
            Err(DecodeError::Damaged(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_fit_their_field() {
        assert!(Column::ALL.iter().all(|c| c.name().is_ascii() && c.name().len() < NAME));
    }

    #[test]
    fn other_files_newer_files_and_damaged_headers_are_told_apart() {
        assert_eq!(decode(b"index,arch\n"), Err(DecodeError::Signature));
        assert_eq!(decode(b"\x1f\x8b"), Err(DecodeError::Signature));
        assert_eq!(decode(&patched(8, &7_u32.to_le_bytes())), Err(DecodeError::Newer(7)));
        assert_eq!(damage(&patched(8, &[0; 4])), "its version is 0");
        assert_eq!(damage(b""), "it is empty");
        assert_eq!(damage(&FILE[..20]), "it ends after 20 bytes");
        assert!(damage(&FILE[..3_000_000]).starts_with("it has 3000000 bytes, but its header implies 3"));
        assert!(damage(&patched(16, &[1, 0, 0, 0])).starts_with("its header gives 1 rows"));
        assert!(damage(&patched(20, &[0xff; 4])).contains("4294967295 columns"));
    }

    #[test]
    fn content_is_checked_even_where_the_checksum_fits() {
        assert_eq!(damage(&patched(HEADER, b"x")), "column `cifar10_valid` is missing");
        let first_value = HEADER + made_up().columns().count() * NAME;
        let why = damage(&patched(first_value, &f64::NAN.to_le_bytes()));
        assert_eq!(why, "index 0, column `cifar10_valid`: NaN, expected a percentage in 0..=100");
    }

    #[test]
    fn a_column_of_a_later_program_is_ignored() {
        let complete = made_up();
        let (position, optional) = complete.columns().enumerate().find(|(_, c)| *c == Column::Cifar100Train).unwrap();
        let table = decode(&patched(HEADER + position * NAME, b"Z")).unwrap();
        assert_eq!(table.column(optional), None);
        assert_eq!(table.columns().count() + 1, complete.columns().count());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_changed_byte_is_always_noticed(at in any::<prop::sample::Index>(), change in 1_u8.., in_header: bool) {
            let mut bytes = FILE.clone();
            let at = at.index(if in_header { HEADER + NAME } else { bytes.len() });
            bytes[at] ^= change;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_shorter_or_longer_file_is_always_noticed(at in any::<prop::sample::Index>(), short: bool, more in 1_usize..100) {
            let cut = at.index(if short { 2 * HEADER } else { FILE.len() });
            prop_assert!(decode(&FILE[..cut]).is_err());
            let mut longer = FILE.clone();
            longer.resize(FILE.len() + more, 0);
            prop_assert!(decode(&longer).is_err());
        }

        #[test]
        fn any_bytes_behind_the_signature_are_refused(rest in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(&[SIGNATURE.as_slice(), &rest].concat()).is_err());
        }
    }
}
