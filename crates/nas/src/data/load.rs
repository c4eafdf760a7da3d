use std::fs;
use std::path::{Path, PathBuf};

use super::cifar::{self, Assembler, Format};
use super::{DataError, Dataset, DatasetName, digits};

/// Where a data set is looked for and how strictly it is checked.
///
/// | field | default | meaning |
/// |---|---|---|
/// | `data` | none | folder or archive given by the user (`--data`) |
/// | `home` | none | the program's folder in the user's data directory: downloads and decoded archives |
/// | `verify` | true | only the official files are accepted (`data.verify`); false: any well-formed ones |
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Folder with the files, with an archive, or an archive itself. Without it `home`'s downloads are used.
    pub data: Option<PathBuf>,
    /// The program's own folder.
    pub home: Option<PathBuf>,
    /// Whether sizes and checksums must be the official ones.
    pub verify: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { data: None, home: None, verify: true }
    }
}

/// Reads a data set into memory.
///
/// # Errors
/// Everything that can be wrong with the files: [`DataError::NoSuchPath`], [`DataError::NotFound`], [`DataError::Incomplete`],
/// [`DataError::Size`], [`DataError::Records`], [`DataError::Label`], [`DataError::Checksum`], [`DataError::Archive`],
/// [`DataError::PythonVersion`], [`DataError::Io`].
pub fn load(name: DatasetName, options: &LoadOptions) -> Result<Dataset, DataError> {
    match name {
        DatasetName::Digits => digits::load(),
        DatasetName::Cifar10 => load_cifar(&cifar::CIFAR10, options),
        DatasetName::Cifar100 => load_cifar(&cifar::CIFAR100, options),
    }
}

fn load_cifar(format: &'static Format, options: &LoadOptions) -> Result<Dataset, DataError> {
    let downloads = options.home.as_deref().map(|home| home.join("datasets"));
    let path = options.data.clone().or(downloads).unwrap_or_else(|| PathBuf::from("."));
    if options.data.is_some() && !path.exists() {
        return Err(DataError::NoSuchPath { dataset: format.dataset.as_str(), path });
    }
    for folder in [path.clone(), path.join(format.folder)] {
        if format.files.iter().any(|file| folder.join(file.name).is_file()) {
            return read_folder(format, &folder, options.verify);
        }
    }
    let wanted = format!("{} nor {}.tar.gz", format.files[0].name, format.archive);
    Err(DataError::NotFound { dataset: format.dataset.as_str(), path, wanted })
}

fn read_folder(format: &'static Format, folder: &Path, verify: bool) -> Result<Dataset, DataError> {
    let mut assembler = Assembler::new(format, verify);
    for (at, file) in format.files.iter().enumerate() {
        let path = folder.join(file.name);
        if path.is_file() {
            assembler.add(at, &fs::read(&path).map_err(DataError::io(&path))?)?;
        }
    }
    let missing = assembler.missing();
    if !missing.is_empty() {
        return Err(DataError::Incomplete { dataset: format.dataset.as_str(), path: folder.to_owned(), missing });
    }
    assembler.finish()
}
