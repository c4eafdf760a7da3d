//! Which pictures a folder holds, and of which class and part they are.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use super::super::picture::{is_hidden, is_picture};
use super::super::words::{count, either, few};
use super::super::{DataError, Part};
use crate::files::shown;

/// Names of the folder with validation images.
const VALID: [&str; 3] = ["val", "valid", "validation"];
/// Most pictures: their numbers are `u32`, and a slip of the keyboard (`--data /`) should end.
const MOST: usize = 100_000_000;

/// Which of the folders a picture lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Train,
    Valid,
    Test,
}

/// A picture that was found.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) label: u32,
}

/// What is in the folder. The items are in the order of place, class and path.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names as they are shown, sorted by the names of their folders.
    pub(super) classes: Vec<String>,
    pub(super) items: Vec<Item>,
    /// There is a folder of test images.
    pub(super) has_test: bool,
    /// There is a folder of validation images.
    pub(super) has_valid: bool,
    /// Files that are neither hidden nor pictures.
    pub(super) other_files: usize,
    /// Hidden files and folders.
    pub(super) hidden: usize,
    /// What is odd but no error, in words.
    pub(super) remarks: Vec<String>,
    /// Folders that were read, without links, with the class that they were read for and their path.
    read: HashMap<PathBuf, (Place, u32, PathBuf)>,
    /// Folders that were read for another class or part before, with their path then.
    again: Vec<(PathBuf, PathBuf)>,
    /// Links to folders that they lie in.
    upward: Vec<PathBuf>,
}

/// The layouts that are understood.
pub(super) const LAYOUT: &str = "expected DIR/CLASS/PICTURE, or DIR/train/CLASS/PICTURE with DIR/test/ and DIR/val/ beside \
                                 train if there are any";

fn wrong(folder: &Path, why: impl Into<String>) -> DataError {
    DataError::Folder { path: folder.to_owned(), why: why.into() }
}

/// The files and folders in a folder, by name; hidden ones are counted.
#[derive(Default)]
struct Inside {
    folders: Vec<OsString>,
    files: Vec<OsString>,
    hidden: usize,
}

fn inside(folder: &Path) -> Result<Inside, DataError> {
    let mut found = Inside::default();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let entry = entry.map_err(DataError::io(folder))?;
        let name = entry.file_name();
        if is_hidden(&name) {
            found.hidden += 1;
            continue;
        }
        let kind = entry.file_type().map_err(DataError::io(&entry.path()))?;
        // A link counts as what it leads to; one that leads nowhere is a file that cannot be read.
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        if is_folder { found.folders.push(name) } else { found.files.push(name) }
    }
    found.folders.sort();
    found.files.sort();
    Ok(found)
}

/// Lists a folder of pictures.
pub(super) fn scan(folder: &Path) -> Result<Listing, DataError> {
    if folder.is_file() {
        return Err(wrong(folder, format!("is a file, a folder with a folder for each class is needed; {LAYOUT}")));
    }
    if !folder.exists() {
        return Err(DataError::NoSuchPath { dataset: "folder", path: folder.to_owned() });
    }
    let top = inside(folder)?;
    let mut listing = Listing { hidden: top.hidden, ..Listing::default() };
    let is_named = |names: &'static [&'static str]| {
        move |name: &&OsString| names.iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    let named = |names| top.folders.iter().filter(is_named(names)).collect::<Vec<_>>();
    let (train, valid, test) = (named(&["train"]), named(&VALID), named(&["test"]));
    for (names, what) in [(&train, "train"), (&valid, "validation"), (&test, "test")] {
        if let [one, other, ..] = names[..] {
            return Err(wrong(folder, format!("has two {what} folders, {} and {}", shown(one), shown(other))));
        }
    }
    let parts = train.len() + valid.len() + test.len();
    let with_classes = match train.first() {
        Some(train) => !inside(&folder.join(train))?.folders.is_empty(),
        None => false,
    };
    if with_classes {
        let others: Vec<_> =
            top.folders.iter().filter(|name| ![&train, &valid, &test].iter().any(|p| p.contains(name))).collect();
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(shown).collect();
            let more = count(names.len(), "more folder beside train is", "more folders beside train are");
            listing.remarks.push(format!("{more} not read: {}", few(&names)));
        }
        let loose = top.files.iter().filter(|name| is_picture(Path::new(name))).count();
        if loose > 0 {
            let pictures = count(loose, "picture beside train is", "pictures beside train are");
            listing.remarks.push(format!("{pictures} of no class and not read"));
        }
        listing.other_files += top.files.len() - loose;
        (listing.has_valid, listing.has_test) = (!valid.is_empty(), !test.is_empty());
        let all = [(Place::Train, train), (Place::Valid, valid), (Place::Test, test)];
        let mut known = Vec::new();
        for (place, name) in all.into_iter().filter_map(|(place, names)| Some((place, names.into_iter().next()?))) {
            read_part(&folder.join(name), place, &mut known, &mut listing)?;
        }
    } else if parts > 0 && parts == top.folders.len() {
        let Some(train) = train.first() else {
            return Err(wrong(folder, format!("has no folder train beside {}; {LAYOUT}", shown(&top.folders[0]))));
        };
        return Err(wrong(&folder.join(train), format!("has no class folders; {LAYOUT}")));
    } else {
        read_part(folder, Place::Train, &mut Vec::new(), &mut listing)?;
    }
    if !listing.upward.is_empty() {
        let names: Vec<String> = listing.upward.iter().map(|path| below(path, folder)).collect();
        let links = count(
            names.len(),
            "link leads to a folder that it lies in and is",
            "links lead to folders that they lie in and are",
        );
        listing.remarks.push(format!("{links} not followed: {}", few(&names)));
    }
    if let Some((path, before)) = listing.again.first() {
        let (path, before) = (below(path, folder), below(before, folder));
        let folders = count(listing.again.len(), "folder is", "folders are");
        listing.remarks.push(format!("by links, {folders} read for more than one class or part: {path} is {before}"));
    }
    Ok(listing)
}

/// Reads the class folders of a part. `known`: names of the classes, which the training part gives.
fn read_part(folder: &Path, place: Place, known: &mut Vec<OsString>, listing: &mut Listing) -> Result<(), DataError> {
    let found = inside(folder)?;
    listing.hidden += found.hidden;
    let pictures = found.files.iter().filter(|name| is_picture(Path::new(name))).count();
    if pictures > 0 {
        let why = if found.folders.is_empty() { "and no class folders" } else { "beside its class folders" };
        let pictures = count(pictures, "picture", "pictures");
        return Err(wrong(folder, format!("has {pictures} of no class {why}; {LAYOUT}")));
    }
    listing.other_files += found.files.len();
    if place == Place::Train {
        if found.folders.len() < 2 {
            let there = match found.folders.first() {
                Some(one) => format!("one class folder, {}; at least 2 classes are needed", shown(one)),
                None => "no class folders".to_owned(),
            };
            return Err(wrong(folder, format!("has {there}; {LAYOUT}")));
        }
        listing.classes = found.folders.iter().map(shown).collect();
        let mut names = HashMap::new();
        for (class, name) in listing.classes.iter().zip(&found.folders) {
            if let Some(other) = names.insert(class, name) {
                let why = format!(
                    "has two class folders that are both shown as {class}: {other:?} and {name:?}; rename one of them"
                );
                return Err(wrong(folder, why));
            }
        }
        known.clone_from(&found.folders);
    }
    let mut missing = Vec::new();
    for (label, class) in known.iter().enumerate() {
        let there = found.folders.binary_search(class).is_ok();
        let before = listing.items.len();
        if there {
            read_class(&folder.join(class), place, label as u32, listing)?;
        }
        if listing.items.len() == before {
            if place == Place::Train {
                return Err(wrong(
                    &folder.join(class),
                    "is a class folder without PNG, JPEG, WebP or BMP pictures; fill it or remove it",
                ));
            }
            missing.push(shown(class));
        }
    }
    if let Some(class) = found.folders.iter().find(|name| known.binary_search(name).is_err()) {
        return Err(wrong(folder, format!("has a class that the training images do not have: {}", shown(class))));
    }
    if missing.len() == known.len() {
        return Err(wrong(folder, "has no pictures of the classes of train; fill it or remove it"));
    }
    if !missing.is_empty() {
        let (n, all, names) = (missing.len(), known.len(), few(&missing));
        listing.remarks.push(format!("{} has no pictures of {n} of {all} classes: {names}", shown(folder)));
    }
    Ok(())
}

/// The pictures of a class, those in folders below its own included (as in torchvision). Every folder is read once, wherever
/// links lead, but for those that the class lies in: they hold the pictures of other classes.
fn read_class(folder: &Path, place: Place, label: u32, listing: &mut Listing) -> Result<(), DataError> {
    let real = |path: &Path| path.canonicalize().map_err(DataError::io(path));
    let (own, around) = (real(folder)?, real(folder.parent().unwrap_or(folder))?);
    if around.starts_with(&own) {
        return Err(wrong(
            folder,
            "is a link to a folder that it lies in; a folder with the pictures of one class is needed",
        ));
    }
    let mut waiting = vec![folder.to_owned()];
    let mut paths = Vec::new();
    while let Some(folder) = waiting.pop() {
        let to = real(&folder)?;
        if to != own && own.starts_with(&to) || around.starts_with(&to) {
            listing.upward.push(folder);
            continue;
        }
        if let Some((at, of, before)) = listing.read.insert(to, (place, label, folder.clone())) {
            if (at, of) == (place, label) {
                continue;
            }
            listing.again.push((folder.clone(), before));
        }
        let found = inside(&folder)?;
        listing.hidden += found.hidden;
        waiting.extend(found.folders.iter().map(|name| folder.join(name)));
        let (pictures, others): (Vec<_>, Vec<_>) = found.files.iter().partition(|name| is_picture(Path::new(name)));
        listing.other_files += others.len();
        paths.extend(pictures.into_iter().map(|name| folder.join(name)));
    }
    paths.sort();
    if listing.items.len() + paths.len() > MOST {
        return Err(wrong(folder, format!("has more than {MOST} pictures with those before it")));
    }
    listing.items.extend(paths.into_iter().map(|path| Item { path, place, label }));
    Ok(())
}

/// Reports what is few or uneven: numbers that a user should know before a search starts.
pub(super) fn balance(train: &Part, classes: &[String]) -> Vec<String> {
    /// Fewer images of a class than this are called few.
    const FEW: usize = 20;
    /// Larger ratios than this are called uneven.
    const UNEVEN: usize = 10;
    let mut remarks = Vec::new();
    let counts = train.class_counts(classes.len());
    let small: Vec<&String> = classes.iter().zip(&counts).filter(|(_, n)| **n < FEW).map(|(name, _)| name).collect();
    if !small.is_empty() {
        let (n, all, names) = (small.len(), counts.len(), few(&small));
        let have = either(n, "has", "have");
        remarks.push(format!("{n} of {all} classes {have} fewer than {FEW} training images: {names}"));
    }
    let extreme = |most: bool| {
        let of = classes.iter().zip(&counts);
        if most { of.max_by_key(|(_, n)| **n) } else { of.min_by_key(|(_, n)| **n) }
    };
    if let (Some((large, most)), Some((small, least))) = (extreme(true), extreme(false))
        && *most > UNEVEN * *least
    {
        let most = count(*most, "training image", "training images");
        remarks.push(format!("the classes are uneven: {most} of {large}, {least} of {small}"));
    }
    remarks
}

/// The name of a file below the folder, for messages.
pub(super) fn below(path: &Path, folder: &Path) -> String {
    shown(path.strip_prefix(folder).map_or(path.as_os_str(), Path::as_os_str))
}

/// As bytes, for sums.
pub(super) fn bytes(name: &OsStr) -> &[u8] {
    name.as_encoded_bytes()
}
