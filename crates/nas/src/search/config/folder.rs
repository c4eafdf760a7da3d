//! What searches and retrainings do with the settings of own pictures.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use crate::{
    data::{Augmentation, DatasetName, FolderConfig},
    files::{make_absolute, shown},
};

/// Side in pixels of the images that lengths are meant for where a recipe or a default gives them.
const USUAL_SIDE: usize = 32;

/// Makes a path of a configuration independent of the current folder.
pub(crate) fn absolute(key: &str, path: &mut PathBuf) -> Result<(), ConfigError> {
    if make_absolute(path) { Ok(()) } else { Err(ConfigError::range(key, shown(&*path), "a path in UTF-8")) }
}

/// Refuses settings of own pictures for any other data set, and writes out those that depend on the folder.
pub(crate) fn settle(
    dataset: DatasetName,
    dir: Option<&Path>,
    downsample: usize,
    folder: &mut Option<FolderConfig>,
) -> Result<(), ConfigError> {
    if dataset != DatasetName::Folder {
        return match folder {
            Some(_) => Err(ConfigError::Whole(format!(
                "data.folder is for own pictures (dataset = \"folder\"), the data set is {dataset}"
            ))),
            None => Ok(()),
        };
    }
    if downsample > 1 {
        return Err(ConfigError::range(
            "data.downsample",
            downsample,
            "1 for own pictures: data.folder.size is their size",
        ));
    }
    let folder = folder.get_or_insert_default();
    if let Some((key, value, expected)) = folder.out_of_range() {
        return Err(ConfigError::range(&format!("data.folder.{key}"), value, expected));
    }
    if let Some(dir) = dir {
        folder.settle(dir);
    }
    Ok(())
}

/// Lengths that are meant for whole images, at the size that the images have.
pub(crate) fn at_size(augmentation: Augmentation, downsample: usize, folder: Option<&FolderConfig>) -> Augmentation {
    match folder.and_then(|folder| folder.size) {
        Some(size) => augmentation.resized(size, USUAL_SIDE),
        None => augmentation.downsampled(downsample),
    }
}

/// Pictures of at least this side are halved by the stem where nothing else is set.
const HALVED_FROM: usize = 64;

/// The stem's stride for own pictures that are large; `None` where it is 1.
pub(crate) fn usual_stem_stride(folder: Option<&FolderConfig>) -> Option<usize> {
    folder.and_then(|folder| folder.size).filter(|size| *size >= HALVED_FROM).map(|_| 2)
}

/// Refuses strides that a stem cannot have.
pub(crate) fn check_stem_stride(key: &str, stride: Option<usize>) -> Result<(), ConfigError> {
    match stride {
        Some(other) if !(1..=2).contains(&other) => Err(ConfigError::range(key, other, "1 or 2")),
        _ => Ok(()),
    }
}

/// Refuses `--size` for a data set whose images have a size of their own.
pub(crate) fn check_size(size: Option<usize>, dataset: DatasetName) -> Result<(), ConfigError> {
    match size {
        Some(size) if dataset != DatasetName::Folder => Err(ConfigError::Whole(format!(
            "--size {size} is for own pictures (--dataset folder), the images of {dataset} have a size of their own"
        ))),
        _ => Ok(()),
    }
}
