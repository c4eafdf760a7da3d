//! Pixels of many images: in memory, or in a file of which one image is read at a time. Positioned reads, not a memory map:
//! they are safe Rust, a file that somebody shortens is an error instead of a signal, and what the system keeps of the file in
//! its cache is as fast as a copy.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::DataError;

/// The images of a part, `[n, H, W, C]`. Cheap to clone if they are on disk.
#[derive(Clone)]
pub struct Images(Store);

#[derive(Clone)]
enum Store {
    Memory(Vec<u8>),
    Disk(Arc<Disk>),
}

struct Disk {
    path: PathBuf,
    file: File,
    /// Values of an image.
    size: usize,
    /// Which of the file's images these are.
    places: Vec<u32>,
}

impl Images {
    /// Images of a file that holds whole images of `size` values, one behind the other; `places` are those that count.
    pub(super) fn on_disk(path: PathBuf, file: File, size: usize, places: Vec<u32>) -> Self {
        Self(Store::Disk(Arc::new(Disk { path, file, size, places })))
    }

    /// Values of all images.
    pub fn values(&self) -> usize {
        match &self.0 {
            Store::Memory(values) => values.len(),
            Store::Disk(disk) => disk.places.len() * disk.size,
        }
    }

    /// The image `index` of `size` values, which may lie in `buffer`. The caller has compared [`Images::values`] with both.
    pub(super) fn get<'a>(&'a self, index: usize, size: usize, buffer: &'a mut Vec<u8>) -> Result<&'a [u8], DataError> {
        match &self.0 {
            Store::Memory(values) => Ok(&values[index * size..][..size]),
            Store::Disk(disk) => {
                buffer.resize(size, 0);
                let start = u64::from(disk.places[index]) * size as u64;
                read_at(&disk.file, buffer, start).map_err(DataError::io(&disk.path))?;
                Ok(buffer)
            }
        }
    }

    /// Gives all values to `take`, a whole number of images of `size` values at a time.
    pub(super) fn each(&self, size: usize, take: &mut dyn FnMut(&[u8])) -> Result<(), DataError> {
        match &self.0 {
            Store::Memory(values) => take(values),
            Store::Disk(disk) => {
                let mut buffer = Vec::new();
                for index in 0..disk.places.len() {
                    take(self.get(index, size, &mut buffer)?);
                }
            }
        }
        Ok(())
    }

    /// All values in memory.
    ///
    /// # Errors
    /// [`DataError::Io`] if they are on disk and cannot be read.
    pub fn to_vec(&self) -> Result<Vec<u8>, DataError> {
        let mut all = Vec::with_capacity(self.values());
        let size = if let Store::Disk(disk) = &self.0 { disk.size } else { 1 };
        self.each(size, &mut |values| all.extend_from_slice(values))?;
        Ok(all)
    }
}

impl Default for Images {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<u8>> for Images {
    fn from(values: Vec<u8>) -> Self {
        Self(Store::Memory(values))
    }
}

impl PartialEq for Images {
    /// Of the same values; what cannot be read equals nothing.
    fn eq(&self, other: &Self) -> bool {
        matches!((self.to_vec(), other.to_vec()), (Ok(a), Ok(b)) if a == b)
    }
}

#[cfg(unix)]
pub(super) fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, start)
}

#[cfg(windows)]
pub(super) fn read_at(file: &File, mut buffer: &mut [u8], mut start: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => (buffer, start) = (&mut buffer[n..], start + n as u64),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_gives_what_memory_gives() {
        let mut temporary = tempfile::NamedTempFile::new().unwrap();
        temporary.write_all(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap();
        let open = || File::open(temporary.path()).unwrap();
        let disk = Images::on_disk(temporary.path().to_owned(), open(), 2, vec![3, 0, 2]);
        let memory = Images::from(vec![6, 7, 0, 1, 4, 5]);
        assert!(disk == memory && disk.values() == 6);
        let mut buffer = Vec::new();
        assert_eq!(disk.get(2, 2, &mut buffer).unwrap(), [4, 5]);
        let beyond = Images::on_disk(temporary.path().to_owned(), open(), 2, vec![4]);
        assert!(matches!(beyond.to_vec(), Err(DataError::Io { .. })));
        assert!(beyond != memory);
    }
}
