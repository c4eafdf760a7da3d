use std::path::{Path, PathBuf};

use super::words::{count, either};
use crate::sniff::FileKind;

/// Why a data set, a split or a loader could not be made. [`DataError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A data set that is not in the registry.
    #[error("unknown data set '{given}'")]
    UnknownDataset {
        /// The name that was given.
        given: String,
    },
    /// A split that is neither a known kind nor a file.
    #[error("unknown split '{given}'")]
    UnknownSplit {
        /// The name that was given.
        given: String,
    },
    /// The files of a data set are not where they were looked for.
    #[error("{dataset} is not in {}: found neither {wanted}", .path.display())]
    NotFound {
        /// Registry name.
        dataset: &'static str,
        /// The folder.
        path: PathBuf,
        /// What was looked for.
        wanted: String,
    },
    /// Nobody said where the data set is.
    #[error("{dataset} is not built in, and no folder was given to look for it in")]
    NoLocation {
        /// Registry name.
        dataset: &'static str,
    },
    /// A folder or file that does not exist.
    #[error("{dataset}: no such file or folder: {}", .path.display())]
    NoSuchPath {
        /// Registry name.
        dataset: &'static str,
        /// The path that was given.
        path: PathBuf,
    },
    /// Some but not all files of a data set.
    #[error("{dataset} in {} is incomplete: {} missing", .path.display(), .missing.join(", "))]
    Incomplete {
        /// Registry name.
        dataset: &'static str,
        /// Folder or archive.
        path: PathBuf,
        /// Names of the missing files.
        missing: Vec<String>,
    },
    /// A file that is no pickle of a batch of images.
    #[error("{file} is not a pickled batch of images: {why}")]
    Pickle {
        /// File name.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A data file of another size than the official one.
    #[error("{file} has {found} bytes, expected {expected}")]
    Size {
        /// File name.
        file: String,
        /// Its size in bytes.
        found: u64,
        /// The official size in bytes.
        expected: u64,
    },
    /// A data file that does not consist of whole records.
    #[error("{file} has {found} bytes, which is not a whole number of records of {record} bytes")]
    Records {
        /// File name.
        file: String,
        /// Its size in bytes.
        found: u64,
        /// Bytes of a record.
        record: usize,
    },
    /// A label that names no class.
    #[error("{file}: record {record} has label {label}, expected {min} to {max}")]
    Label {
        /// File name.
        file: String,
        /// Zero-based record.
        record: usize,
        /// The label.
        label: i64,
        /// The smallest label.
        min: u32,
        /// The largest label.
        max: u32,
    },
    /// A file whose content is not the official one.
    #[error("{file} is not the official file: MD5 expected {expected}, found {found}")]
    Checksum {
        /// File name.
        file: String,
        /// The official MD5.
        expected: String,
        /// The MD5 of the file.
        found: String,
    },
    /// A place where data that the program carries is not looked for.
    #[error("the data set {dataset} is built in and not read from {}", .path.display())]
    BuiltIn {
        /// Name of the data set.
        dataset: &'static str,
        /// The place that was given.
        path: PathBuf,
    },
    /// A file that is no archive of a data set.
    #[error("{} is {what}, expected a folder, or an archive .tar, .tar.gz or .tar.xz", .path.display())]
    NoArchive {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: FileKind,
    },
    /// An archive that cannot be decoded.
    #[error("{} is damaged or not an archive: {why}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The decoder's reason.
        why: String,
    },
    /// Images, labels and classes that do not fit together.
    #[error("{name}: {why}")]
    Inconsistent {
        /// Name of the data set.
        name: String,
        /// What does not fit, with the values.
        why: String,
    },
    /// A split that is not one.
    #[error("split {origin}: {why}")]
    Split {
        /// Name of the split or its file.
        origin: String,
        /// What is wrong, with the value.
        why: String,
    },
    /// A folder of pictures that cannot be a data set.
    #[error("{} {why}", crate::files::shown(.path))]
    Folder {
        /// The folder, or one in it.
        path: PathBuf,
        /// What is wrong; reads on after the name.
        why: String,
    },
    /// A sample that the part does not have.
    #[error("sample {index} is out of range: the {part} part of {dataset} has {samples} samples")]
    Index {
        /// Name of the data set.
        dataset: String,
        /// `train` or `test`.
        part: &'static str,
        /// The index.
        index: u32,
        /// Size of the part.
        samples: usize,
    },
    /// A batch that cannot be filled.
    #[error("batch {batch} does not fit: there {}", are_samples(*.samples))]
    Batch {
        /// The batch size.
        batch: usize,
        /// Samples to take it from.
        samples: usize,
    },
    /// Settings of a search that ask for larger batches than its images make.
    #[error("{}", batches(.settings))]
    BatchSettings {
        /// Those settings, at least one.
        settings: Vec<BatchSetting>,
    },
    /// Images that cannot be made smaller by this factor.
    #[error("cannot downsample images of {height}x{width} by {factor}, expected a number that divides both sides")]
    Downsample {
        /// Side of the blocks in pixels.
        factor: usize,
        /// Image height.
        height: usize,
        /// Image width.
        width: usize,
    },
    /// An augmentation that makes no sense for the image size.
    #[error("{setting} {value} is too large for images of {height}x{width}, at most {max}")]
    Augmentation {
        /// Which setting.
        setting: &'static str,
        /// Its value in pixels.
        value: usize,
        /// Image height.
        height: usize,
        /// Image width.
        width: usize,
        /// Largest value.
        max: usize,
    },
    /// The loader's thread could not be started.
    #[error("cannot start the loader's thread: {0}")]
    Thread(std::io::Error),
    /// A setting for reading own pictures that is none.
    #[error("--set {given}: {why}")]
    Setting {
        /// As it was given.
        given: String,
        /// What is wrong.
        why: String,
    },
    /// The caller ended the work, see [`super::Stop`].
    #[error("stopped before all pictures were done")]
    Stopped,
    /// A file that cannot be read or written.
    #[error("{}: {source}", crate::files::shown(.path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A data set that there is nothing to download for.
    #[error("{0} is built in; there is nothing to download")]
    NothingToFetch(&'static str),
    /// A data set that is not to be had from an open address.
    #[error("{0} cannot be downloaded from here; `--data DIR` says where it is")]
    NoAddress(&'static str),
    /// A download that the server refused or that could not be started.
    #[error("cannot download {url}: {why}")]
    Fetch {
        /// The address.
        url: String,
        /// The reason.
        why: String,
    },
    /// A download that stopped half way; what is there is kept.
    #[error("download of {url} stopped at {done} bytes{}: {why}", .total.map(|t| format!(" of {t}")).unwrap_or_default())]
    Interrupted {
        /// The address.
        url: String,
        /// Bytes on disk.
        done: u64,
        /// Size, if the server told it.
        total: Option<u64>,
        /// The reason.
        why: String,
    },
    /// A downloaded file whose checksum is wrong; it was removed.
    #[error("{url} is not the official file: MD5 expected {expected}, found {found}")]
    Altered {
        /// The address.
        url: String,
        /// The official MD5.
        expected: String,
        /// The MD5 of what came.
        found: String,
    },
    /// A file with the name that a download would have.
    #[error("{} exists and is not the official file: MD5 expected {expected}, found {found}", .path.display())]
    Occupied {
        /// The file.
        path: PathBuf,
        /// The official MD5.
        expected: String,
        /// The file's MD5.
        found: String,
    },
    /// Another process is downloading the same file.
    #[error("{} is being downloaded by another process", .0.display())]
    Locked(PathBuf),
}

/// A setting that asks for a larger batch than there are images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSetting {
    /// Its dotted key.
    pub key: String,
    /// The batch size.
    pub batch: usize,
    /// Images to take it from.
    pub samples: usize,
}

fn are_samples(n: usize) -> String {
    format!("{} {}", either(n, "is", "are"), count(n, "sample", "samples"))
}

/// What is wrong with these settings, each by its name.
fn batches(settings: &[BatchSetting]) -> String {
    let of = |s: &BatchSetting| {
        let BatchSetting { key, batch, samples } = s;
        format!("batch {batch} does not fit: there {} for {key} = {batch}", are_samples(*samples))
    };
    settings.iter().map(of).collect::<Vec<_>>().join("; ")
}

impl DataError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the files were refused for not being the official ones, which [`super::LoadOptions::verify`] asks for.
    pub fn is_unofficial(&self) -> bool {
        matches!(self, Self::Size { .. } | Self::Checksum { .. })
    }

    /// What the user can do about it, for the `hint:` line.
    pub fn hint(&self) -> Option<String> {
        let allow = "official files are checked; `--set data.verify=false` accepts your own data";
        match self {
            Self::UnknownDataset { given } => Some(super::DatasetName::hint_for(given)),
            Self::UnknownSplit { given } => Some(super::SplitChoice::hint_for(given)),
            Self::NoLocation { dataset: "folder" } => {
                Some("--data DIR says where it is: a folder with a folder of pictures for each class".to_owned())
            }
            Self::NoSuchPath { dataset: "folder", .. } => Some(
                "--data DIR says where the pictures are; a run looks where data.dir in its config.toml says, which may be changed \
                 if they were moved"
                    .to_owned(),
            ),
            Self::NotFound { dataset: "imagenet16-120", .. }
            | Self::NoSuchPath { dataset: "imagenet16-120", .. }
            | Self::NoLocation { dataset: "imagenet16-120" }
            | Self::Incomplete { dataset: "imagenet16-120", .. } => Some(
                "--data DIR says where train_data_batch_1 to train_data_batch_10 and val_data are: ImageNet at 16x16, from \
                 image-net.org"
                    .to_owned(),
            ),
            Self::NotFound { dataset, .. }
            | Self::NoSuchPath { dataset, .. }
            | Self::NoLocation { dataset }
            | Self::Incomplete { dataset, .. } => {
                Some(format!("`hpe-darts data fetch {dataset}` downloads it, `--data DIR` says where it is"))
            }
            Self::Size { found, expected, .. } if found < expected => {
                Some(format!("the file is too short: copy or download it again ({allow})"))
            }
            Self::Size { .. } | Self::Checksum { .. } => Some(allow.to_owned()),
            Self::NoArchive { what: FileKind::Zip, .. } => Some("unpack it, and give the folder".to_owned()),
            Self::NoArchive { .. } => None,
            Self::BuiltIn { .. } => {
                Some("`--dataset folder` reads own pictures from there, `--dataset cifar10` the files of CIFAR-10".to_owned())
            }
            Self::Archive { .. } => Some("copy or download the archive again".to_owned()),
            Self::Batch { batch: 0, .. } => Some("a batch has at least 1 sample".to_owned()),
            Self::Batch { samples: 0, .. } => Some("at least 1 image is needed for training and for each measurement".to_owned()),
            Self::Batch { samples, .. } => Some(format!("a batch of at most {samples} fits")),
            Self::BatchSettings { settings } => {
                let most = settings.iter().map(|setting| setting.samples).min().unwrap_or_default();
                let fits: Vec<String> = settings.iter().map(|s| format!("--set {}={}", s.key, s.samples)).collect();
                Some(match most {
                    0 | 1 => "there are too few images: a search needs at least 2 in each half".to_owned(),
                    most => format!("a batch of at most {most} fits: {}", fits.join(" ")),
                })
            }
            Self::Interrupted { .. } => {
                Some("what was downloaded is kept: run the same command again to continue".to_owned())
            }
            Self::Altered { .. } => {
                Some("the download was removed: try again, or obtain the file another way".to_owned())
            }
            Self::Occupied { .. } => Some("move the file away and run the same command again".to_owned()),
            _ => None,
        }
    }
}
