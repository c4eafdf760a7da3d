//! A data set as a folder of pictures, as [`super::DatasetName::Folder`] reads it.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Cursor},
    path::{Path, PathBuf},
};

use image::{ExtendedColorType, ImageFormat};
use serde::Serialize;

use super::{DataError, Dataset, ImageShape, PartName};

/// What [`export`] wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The folder.
    pub out: PathBuf,
    /// Pictures in `train`.
    pub train: usize,
    /// Pictures in `val`: the validation images of own pictures.
    pub val: usize,
    /// Pictures in `test`.
    pub test: usize,
}

/// Writes PNG files `out/{train,val,test}/CLASS/NUMBER.png`, with pixel values of 0 to 255. `most`: of each class in each of
/// these. `progress` is told the pictures done and all of them, and says whether to go on. What is written goes again where not
/// everything is.
///
/// # Errors
/// [`DataError::Stopped`]; [`DataError::Folder`] if `out` is not an empty or new folder; [`DataError::Io`].
pub fn export(
    dataset: &Dataset,
    parts: &[PartName],
    most: usize,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<Exported, DataError> {
    fs::create_dir_all(out).map_err(DataError::io(out))?;
    if fs::read_dir(out).map_err(DataError::io(out))?.next().is_some() {
        return Err(DataError::Folder { path: out.to_owned(), why: "is not empty; a new folder is needed".to_owned() });
    }
    let ImageShape { height, width, channels } = dataset.shape();
    let colour = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => {
            let why = format!("images of {channels} channels are no pictures, expected 1 or 3");
            return Err(DataError::Inconsistent { name: dataset.name().to_owned(), why });
        }
    };
    let folders = folder_names(dataset.classes());
    let mut wanted = Vec::new();
    for &part in parts {
        let mut counts = [vec![0; folders.len()], vec![0; folders.len()]];
        for (index, &label) in dataset.part(part).labels.iter().enumerate() {
            let valid = part == PartName::Train && dataset.before_valid().is_some_and(|first| index >= first);
            let count = &mut counts[usize::from(valid)][label as usize];
            *count += 1;
            if *count <= most {
                wanted.push((part, if valid { "val" } else { part.as_str() }, index, label as usize));
            }
        }
    }
    let scale = |value: &u8| {
        let max = u32::from(dataset.pixel_max());
        ((u32::from(*value) * 255 + max / 2) / max).min(255) as u8
    };
    let mut exported = Exported { out: out.to_owned(), ..Exported::default() };
    let mut parts = Parts { out, made: BTreeSet::new() };
    let mut buffer = Vec::new();
    for (done, &(part, folder, index, class)) in wanted.iter().enumerate() {
        let folder_of_class = parts.folder(folder).join(&folders[class]);
        fs::create_dir_all(&folder_of_class).map_err(DataError::io(&folder_of_class))?;
        let path = folder_of_class.join(format!("{index:06}.png"));
        let pixels = dataset.part(part).images.get(index, dataset.shape().len(), &mut buffer)?;
        let pixels: Vec<u8> = pixels.iter().map(scale).collect();
        // Encoded in memory: the encoder, writing into a file, does not say when the end of it could not be written.
        let mut png = Cursor::new(Vec::new());
        image::write_buffer_with_format(&mut png, &pixels, width as u32, height as u32, colour, ImageFormat::Png)
            .map_err(io::Error::other)
            .and_then(|()| fs::write(&path, png.get_ref()))
            .map_err(DataError::io(&path))?;
        match folder {
            "train" => exported.train += 1,
            "val" => exported.val += 1,
            _ => exported.test += 1,
        }
        if !progress(done + 1, wanted.len()) {
            return Err(DataError::Stopped);
        }
    }
    parts.made.clear();
    Ok(exported)
}

/// Folders that are being filled. Dropped, they are removed.
struct Parts<'a> {
    out: &'a Path,
    made: BTreeSet<&'static str>,
}

impl Parts<'_> {
    fn folder(&mut self, name: &'static str) -> PathBuf {
        self.made.insert(name);
        self.out.join(name)
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for name in &self.made {
            // What stands in the way of writing may stand in that of removing; the first error is the one to report.
            let _ = fs::remove_dir_all(self.out.join(name));
        }
    }
}

/// A folder's name for each class: as the class is called, but for what a file system or the reader has no place for.
fn folder_names(classes: &[String]) -> Vec<String> {
    let plain = |name: &String| {
        let name: String =
            name.chars().map(|c| if c.is_control() || r#"/\:*?"<>|"#.contains(c) { '_' } else { c }).collect();
        if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
    };
    let mut names: Vec<String> = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let name = plain(class);
        names.push(if names.contains(&name) { format!("{name}-{label}") } else { name });
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::{DatasetName, FolderConfig, LoadOptions, load};
    use super::*;

    const BOTH: [PartName; 2] = [PartName::Train, PartName::Test];

    #[test]
    fn digits_come_back_as_they_were() {
        let digits = load(DatasetName::Digits, &LoadOptions::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("digits");
        let mut last = (0, 0);
        let exported = export(&digits, &BOTH, usize::MAX, &out, &mut |done, all| {
            last = (done, all);
            true
        })
        .unwrap();
        assert_eq!((exported.train, exported.val, exported.test, last), (1437, 0, 360, (1797, 1797)));
        let folder = FolderConfig { channels: 1, ..FolderConfig::default() };
        let options = LoadOptions { data: Some(out.clone()), folder, threads: 2, ..LoadOptions::default() };
        let again = load(DatasetName::Folder, &options).unwrap();
        assert_eq!((again.shape(), again.classes()), (digits.shape(), digits.classes()));
        for part in BOTH {
            let (from, to) = (digits.part(part), again.part(part));
            // The folder's images lie class by class, in the old order within each.
            let mut order: Vec<usize> = (0..from.len()).collect();
            order.sort_by_key(|&at| from.labels[at]);
            let (pixels, size) = (from.images.to_vec().unwrap(), digits.shape().len());
            let scaled = |&value: &u8| (f64::from(value) * 255.0 / 16.0).round() as u8;
            let expected: Vec<u8> =
                order.iter().flat_map(|&at| pixels[at * size..][..size].iter().map(scaled)).collect();
            assert_eq!(to.images.to_vec().unwrap(), expected);
            assert_eq!(to.labels, order.iter().map(|&at| from.labels[at]).collect::<Vec<_>>());
        }
        let error = export(&digits, &BOTH, 1, &out, &mut |_, _| true).unwrap_err().to_string();
        assert!(error.ends_with("is not empty; a new folder is needed"), "{error}");
        let few = export(&digits, &[PartName::Test], 2, &dir.path().join("few"), &mut |_, _| true).unwrap();
        assert_eq!((few.train, few.test), (0, 20));
    }

    #[test]
    fn an_export_that_is_stopped_leaves_nothing() {
        let digits = load(DatasetName::Digits, &LoadOptions::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let stopped = export(&digits, &BOTH, usize::MAX, dir.path(), &mut |done, _| done < 1500);
        assert!(matches!(stopped, Err(DataError::Stopped)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn classes_become_names_of_folders() {
        let names = ["a/b", "a_b", "..", "", "fine name"].map(str::to_owned);
        assert_eq!(folder_names(&names), ["a_b", "a_b-1", "_..", "_", "fine name"]);
    }
}
