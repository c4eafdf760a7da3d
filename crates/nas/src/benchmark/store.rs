//! Where a table is kept.

use std::{fs, io, path::Path};

use super::{
    TableError,
    file::{self, DecodeError},
    table::Table,
};
use crate::files;

/// Name of the table's file in the user's data directory.
pub const FILE_NAME: &str = "nas-bench-201.table";

impl Table {
    /// Reads a table file.
    ///
    /// # Errors
    /// [`TableError`]: the file is missing, unreadable, not a table, damaged, or newer than this program.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => TableError::NotFound(path.to_owned()),
            _ => TableError::Io { action: "read", path: path.to_owned(), source },
        };
        let size = fs::metadata(path).map_err(io)?.len();
        if size > file::MAX_BYTES {
            return Err(DecodeError::Damaged(format!("{size} bytes are more than a table has")).at(path));
        }
        file::decode(&fs::read(path).map_err(io)?).map_err(|e| e.at(path))
    }

    /// Reads a table file if it is there.
    ///
    /// # Errors
    /// As [`Table::open`], but for a missing file.
    pub fn open_if_present(path: &Path) -> Result<Option<Self>, TableError> {
        match Self::open(path) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the table, whole or not at all. Returns the number of bytes.
    ///
    /// # Errors
    /// [`TableError::Io`]; a table that was there before is then unchanged.
    pub fn save(&self, path: &Path) -> Result<u64, TableError> {
        let bytes = file::encode(self);
        files::write_atomic(path, |w| w.write_all(&bytes)).map_err(|source| TableError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        })?;
        Ok(bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Column, table::tests::made_up},
        *,
    };

    #[test]
    fn a_missing_file_a_folder_and_a_huge_file_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        assert!(matches!(Table::open(&path), Err(TableError::NotFound(p)) if p == path));
        assert_eq!(Table::open_if_present(&path).unwrap(), None);
        assert!(matches!(Table::open(folder.path()), Err(TableError::Io { action: "read", .. })));
        fs::File::create(&path).unwrap().set_len(file::MAX_BYTES + 1).unwrap();
        assert!(Table::open(&path).unwrap_err().to_string().contains("more than a table has"));
        assert!(Table::open_if_present(&path).is_err());
    }

    #[test]
    fn a_saved_table_is_read_back_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(FILE_NAME);
        let size = made_up().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), size);
        let table = Table::open(&path).unwrap();
        for &column in Column::ALL {
            let bits = |t: &Table| t.column(column).map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            assert_eq!(bits(&table), bits(&made_up()));
        }
        let unwritable = path.join("file-as-folder").join(FILE_NAME);
        assert!(matches!(made_up().save(&unwritable), Err(TableError::Io { action: "write", .. })));
    }
}
