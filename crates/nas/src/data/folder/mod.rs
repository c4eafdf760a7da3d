//! Own pictures: a folder with a folder for each class, or such folders in `train`, `val` and `test`.
//!
//! Classes are sorted by name. Hidden files and files that are no pictures are counted and left out, pictures that cannot be
//! read are named. The images of `val` come behind those of `train` in the training part; the split `folder` tells them apart.
//! Without a folder `test`, its images are drawn from each class of `train`.

mod decode;
mod scan;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;

use super::options::{LoadEvent, LoadOptions};
use super::picture::{Preprocess, shorter_side};
use super::words::{count, either, few};
use super::{DataError, Dataset, ImageShape, Part};
use crate::checksum;
use crate::random::{self, Purpose};
use decode::{IN_MEMORY, Job, statistics};
use scan::{Item, Listing, Place, balance, scan};
pub use settings::FolderConfig;

/// Pictures that the default size is taken from.
const SAMPLE: usize = 256;
/// Largest default size.
const LARGEST_USUAL: usize = 64;
/// Files that a message names.
const NAMED: usize = 5;

impl FolderConfig {
    /// Writes out what depends on the folder: the size, and the draw of test images where there is one. Leaves open what cannot
    /// be told because something is wrong with the folder, which [`super::load`] says.
    pub fn settle(&mut self, folder: &Path) {
        if self.size.is_some() && self.test_share.is_some() && self.split_seed.is_some() {
            return;
        }
        let Ok(listing) = scan(folder) else { return };
        self.size = self.size.or_else(|| usual_size(&listing.items));
        if !listing.has_test {
            self.test_share.get_or_insert(Self::TEST_SHARE);
            self.split_seed.get_or_insert(0);
        }
    }
}

/// The median of the shorter sides, to a multiple of 8.
fn usual_size(items: &[Item]) -> Option<usize> {
    let step = items.len().div_ceil(SAMPLE).max(1);
    let mut sides: Vec<usize> = items.iter().step_by(step).filter_map(|item| shorter_side(&item.path).ok()).collect();
    sides.sort_unstable();
    let median = *sides.get(sides.len() / 2)?;
    Some(((median + 4) / 8 * 8).clamp(8, LARGEST_USUAL))
}

/// Reads the pictures of `options.data`.
pub(super) fn load(options: &LoadOptions, notify: &mut dyn FnMut(LoadEvent)) -> Result<Dataset, DataError> {
    let folder = options.data.as_deref().ok_or(DataError::NoLocation { dataset: "folder" })?;
    let wrong = |why: String| DataError::Folder { path: folder.to_owned(), why };
    if !options.verify {
        let why = "has no official files that could be compared: data.verify = false (--no-verify) has no effect";
        return Err(wrong(why.to_owned()));
    }
    let config = &options.folder;
    let listing = scan(folder)?;
    if listing.has_test && (config.test_share.is_some() || config.split_seed.is_some()) {
        let why =
            "has a folder test, so none are drawn: data.folder.test_share and data.folder.split_seed have no effect";
        return Err(wrong(why.to_owned()));
    }
    if let Some((key, value, expected)) = config.out_of_range() {
        return Err(wrong(format!("cannot be read with data.folder.{key} = {value}, expected {expected}")));
    }
    for remark in remarks(&listing) {
        notify(LoadEvent::Remark(remark));
    }
    let size = config.size.or_else(|| usual_size(&listing.items));
    let preprocess = Preprocess::square(size.unwrap_or(LARGEST_USUAL), config.channels);
    let shape = ImageShape { height: preprocess.height, width: preprocess.width, channels: preprocess.channels };
    let (items, home, threads) = (&listing.items, options.home.as_deref(), options.threads);
    let pixels = Job { folder, items, preprocess, threads, home, in_memory: IN_MEMORY }.run(notify)?;
    if let Some(refused) = bad_pictures(&pixels.bad, items.len(), config.max_bad_share, notify) {
        return Err(wrong(refused));
    }
    let mut bad = vec![false; items.len()];
    pixels.bad.iter().for_each(|&(at, _)| bad[at] = true);
    let parts = Parts::of(&listing, &bad, config);
    let labels = |places: &[u32]| places.iter().map(|&at| items[at as usize].label).collect::<Vec<_>>();
    let (train, test) = (labels(&parts.train), labels(&parts.test));
    let fingerprint = parts.fingerprint(&pixels.sum, &listing.classes, &train, &test);
    let kept = pixels.statistics();
    let [train_images, test_images] = pixels.parts(shape.len(), [parts.train, parts.test])?;
    let (train, test) = (Part { images: train_images, labels: train }, Part { images: test_images, labels: test });
    let counts = train.class_counts(listing.classes.len());
    if let Some(class) = counts.iter().position(|count| *count == 0) {
        return Err(wrong(format!("has no training picture of the class {} that can be read", listing.classes[class])));
    }
    let tested = test.class_counts(listing.classes.len());
    let untested = listing.classes.iter().zip(tested).filter(|(_, n)| *n == 0).map(|(class, _)| class);
    let untested: Vec<&String> = untested.filter(|_| !listing.has_test).collect();
    if !untested.is_empty() {
        let classes = either(untested.len(), "the class", "the classes");
        let why = "a class needs 2 pictures that can be read to have one";
        notify(LoadEvent::Remark(format!("there is no test image of {classes} {}: {why}", few(&untested))));
    }
    for remark in balance(&train, &listing.classes) {
        notify(LoadEvent::Remark(remark));
    }
    let mut statistics = statistics(kept.as_deref(), &fingerprint, || train.channel_statistics(shape, u8::MAX))?;
    // A channel of one value says nothing; it becomes 0.
    statistics.std.iter_mut().filter(|std| **std == 0.0).for_each(|std| *std = 1.0);
    let name = super::DatasetName::Folder.as_str();
    let dataset = Dataset::new(name, shape, listing.classes, u8::MAX, statistics.into(), train, test)?;
    Ok(dataset.of_ones_own(parts.before_valid, fingerprint))
}

/// What a user should know of what was found.
fn remarks(listing: &Listing) -> Vec<String> {
    let mut remarks = listing.remarks.clone();
    let Listing { other_files, hidden, .. } = listing;
    if *other_files > 0 || *hidden > 0 {
        let others =
            count(*other_files, "file that is no picture by its name", "files that are no pictures by their names");
        let hidden = count(*hidden, "hidden one", "hidden ones");
        remarks.push(format!("left out: {others}, {hidden}"));
    }
    remarks
}

/// Says which pictures are left out; why the folder is refused if there are too many.
fn bad_pictures(
    bad: &[(usize, String)],
    all: usize,
    max_share: f64,
    notify: &mut dyn FnMut(LoadEvent),
) -> Option<String> {
    if bad.is_empty() {
        return None;
    }
    let mut first: Vec<&str> = bad.iter().take(NAMED).map(|(_, why)| &**why).collect();
    if bad.len() > NAMED {
        first.push("...");
    }
    let (n, first) = (bad.len(), first.join("; "));
    // One is no reason to refuse a small set, unless none is wanted.
    let least = if max_share > 0.0 { 1 } else { 0 };
    let most = ((max_share * all as f64) as usize).max(least);
    if n > most {
        return Some(format!(
            "cannot be used: {n} of {all} pictures cannot be read, data.folder.max_bad_share = {max_share} allows {most}: {first}; \
             `data check folder --json` with a larger one (--set data.folder.max_bad_share=1) lists all"
        ));
    }
    notify(LoadEvent::Unreadable(bad.iter().map(|(_, why)| why.clone()).collect()));
    let are = either(n, "is", "are");
    notify(LoadEvent::Remark(format!("{n} of {all} pictures cannot be read and {are} left out: {first}")));
    None
}

/// Numbers of the pictures of each part.
struct Parts {
    train: Vec<u32>,
    test: Vec<u32>,
    /// Training images that come before those of `val`.
    before_valid: Option<usize>,
}

impl Parts {
    fn of(listing: &Listing, bad: &[bool], config: &FolderConfig) -> Self {
        let good = |place: Place| {
            let items = listing.items.iter().enumerate().filter(move |(at, item)| item.place == place && !bad[*at]);
            items.map(|(at, item)| (at as u32, item.label))
        };
        let mut train: Vec<u32> = good(Place::Train).map(|(at, _)| at).collect();
        let mut test: Vec<u32> = good(Place::Test).map(|(at, _)| at).collect();
        if !listing.has_test {
            let share = config.test_share.unwrap_or(FolderConfig::TEST_SHARE);
            let mut classes = vec![Vec::new(); listing.classes.len()];
            good(Place::Train).for_each(|(at, label)| classes[label as usize].push(at));
            train.clear();
            for (label, mut places) in classes.into_iter().enumerate() {
                let mut rng = random::generator(config.split_seed.unwrap_or(0), Purpose::Split, 1, label as u64);
                random::shuffle(&mut rng, &mut places);
                // At least one on either side, where there are two.
                let most = places.len().saturating_sub(1);
                let drawn = ((places.len() as f64 * share).round() as usize).clamp(most.min(1), most);
                test.extend(places.drain(..drawn));
                train.extend(places);
            }
            train.sort_unstable();
            test.sort_unstable();
        }
        let before_valid = listing.has_valid.then_some(train.len());
        train.extend(good(Place::Valid).map(|(at, _)| at));
        Self { train, test, before_valid }
    }

    /// Of pixels, labels, names of the classes and all parts.
    fn fingerprint(&self, pixels: &str, classes: &[String], train: &[u32], test: &[u32]) -> String {
        let numbers = |list: &[u32]| list.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let head = format!("{pixels}\n{}\n{:?} {}\n", classes.join("\n"), self.before_valid, train.len());
        let lists = [&self.train, &self.test].map(|list| numbers(list));
        checksum::of_bytes(&[head.as_bytes(), &lists[0], &lists[1], &numbers(train), &numbers(test)].concat())
    }
}
