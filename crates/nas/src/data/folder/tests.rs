use std::fs;
use std::sync::Arc;

use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage};

use super::super::{DatasetName, Loader, LoaderOptions, PartName, Source, Split, SplitChoice, load_with};
use super::*;

/// Class folders with pictures of one value each, 20 wide and 16 high.
fn fill(folder: &Path, classes: &[(&str, usize)]) {
    for (class, (name, count)) in classes.iter().enumerate() {
        fs::create_dir_all(folder.join(name)).unwrap();
        for i in 0..*count {
            let picture = RgbImage::from_pixel(20, 16, Rgb([i as u8, 10 * class as u8, 200]));
            picture.save(folder.join(name).join(format!("{i:03}.png"))).unwrap();
        }
    }
}

fn options(data: &Path) -> LoadOptions {
    LoadOptions { data: Some(data.to_owned()), threads: 2, ..LoadOptions::default() }
}

fn read(options: &LoadOptions) -> (Result<Dataset, String>, Vec<LoadEvent>) {
    let mut events = Vec::new();
    let loaded = load_with(DatasetName::Folder, options, &mut |event| events.push(event));
    let named = options.data.as_ref().unwrap().display().to_string();
    (loaded.map_err(|e| e.to_string().replace(&named, "DIR")), events)
}

fn dataset(options: &LoadOptions) -> Dataset {
    read(options).0.unwrap()
}

fn error(data: &Path) -> String {
    read(&options(data)).0.unwrap_err()
}

fn remarks(events: &[LoadEvent]) -> String {
    let remarks =
        events.iter().filter_map(|event| if let LoadEvent::Remark(text) = event { Some(&**text) } else { None });
    remarks.collect::<Vec<_>>().join("\n")
}

/// The first value of each image, which numbers the pictures of a class, by class.
fn numbers(part: &Part, size: usize) -> Vec<(u32, u8)> {
    let images = part.images.to_vec().unwrap();
    part.labels.iter().copied().zip(images.chunks(size).map(|image| image[0])).collect()
}

#[test]
fn class_folders_become_classes_and_test_images_are_drawn_from_each() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("b cat", 10), ("a dog", 25)]);
    let all = dataset(&options(dir.path()));
    assert_eq!(all.classes(), ["a dog", "b cat"]);
    assert_eq!((all.shape().height, all.shape().width, all.shape().channels), (16, 16, 3));
    assert_eq!((all.train().class_counts(2), all.test().class_counts(2)), (vec![20, 8], vec![5, 2]));
    let size = all.shape().len();
    let mut both = [numbers(all.train(), size), numbers(all.test(), size)].concat();
    both.sort_unstable();
    let expected: Vec<(u32, u8)> = (0..25).map(|i| (0, i)).chain((0..10).map(|i| (1, i))).collect();
    assert_eq!(both, expected);
    // Every run has the same ones; another seed of the draw has others.
    let again = dataset(&options(dir.path()));
    assert!(again.test() == all.test() && again.fingerprint() == all.fingerprint());
    let folder = FolderConfig { split_seed: Some(1), test_share: Some(0.4), ..FolderConfig::default() };
    let other = dataset(&LoadOptions { folder, ..options(dir.path()) });
    assert_eq!(other.test().class_counts(2), [10, 4]);
    assert_ne!(other.fingerprint(), all.fingerprint());
    // Normalised with the deviation of the training images.
    let statistics = all.train().channel_statistics(all.shape(), 255).unwrap();
    assert_eq!(all.normalisation().mean[0], statistics.mean[0] as f32);
    assert_eq!(all.normalisation().std[2], 1.0, "a channel of one value");
}

#[test]
fn size_and_channels_are_settings() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a", 3), ("b", 3)]);
    let mut folder = FolderConfig { channels: 1, ..FolderConfig::default() };
    folder.settle(dir.path());
    assert_eq!((folder.size, folder.test_share, folder.split_seed), (Some(16), Some(0.2), Some(0)));
    folder.size = Some(24);
    let shape = dataset(&LoadOptions { folder, ..options(dir.path()) }).shape();
    assert_eq!((shape.height, shape.width, shape.channels), (24, 24, 1));
    for (side, usual) in [(3, 8), (12, 16), (30, 32), (43, 40), (500, 64)] {
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for i in 0..9 {
            GrayImage::new(side, 2 * side).save(dir.path().join(format!("a/{i}.png"))).unwrap();
        }
        let mut folder = FolderConfig::default();
        folder.settle(dir.path());
        assert_eq!(folder.size, Some(usual), "{side}");
    }
    let folder = FolderConfig { size: Some(2000), ..FolderConfig::default() };
    let text = read(&LoadOptions { folder, ..options(dir.path()) }).0.unwrap_err();
    assert!(text.contains("data.folder.size = 2000, expected 8 to 1024 pixels"), "{text}");
}

#[test]
fn folders_of_parts_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("train"), &[("a", 6), ("b", 5)]);
    fill(&dir.path().join("Validation"), &[("a", 2), ("b", 1)]);
    fill(&dir.path().join("test"), &[("a", 3)]);
    fill(dir.path(), &[("extra", 1)]);
    fs::copy(dir.path().join("extra/000.png"), dir.path().join("loose.png")).unwrap();
    let (all, events) = read(&options(dir.path()));
    let all = Arc::new(all.unwrap());
    assert_eq!((all.train().len(), all.before_valid(), all.test().len()), (14, Some(11), 3));
    let said = remarks(&events);
    assert!(said.contains("test has no pictures of 1 of 2 classes: b"), "{said}");
    assert!(said.contains("1 more folder beside train is not read: extra"), "{said}");
    assert!(said.contains("1 picture beside train is of no class and not read"), "{said}");
    assert!(said.contains("2 of 2 classes have fewer than 20 training images: a, b"), "{said}");
    for choice in [SplitChoice::Auto, SplitChoice::Folder] {
        let split = Split::choose(&choice, &all, 7).unwrap();
        assert_eq!((split.train, split.valid), ((0..11).collect::<Vec<_>>(), vec![11, 12, 13]));
    }
    let valid = Source::new(Arc::clone(&all), PartName::Train, vec![11, 13]).unwrap();
    let batch = Loader::single(&valid, &LoaderOptions::evaluation(2), 0, 0).unwrap();
    assert_eq!(batch.labels(), [0, 1]);
    let folder = FolderConfig { test_share: Some(0.5), ..FolderConfig::default() };
    let text = read(&LoadOptions { folder, ..options(dir.path()) }).0.unwrap_err();
    assert!(text.contains("DIR has a folder test, so none are drawn: data.folder.test_share"), "{text}");
    fill(&dir.path().join("later/train"), &[("a", 6), ("b", 5)]);
    fs::create_dir(dir.path().join("later/val")).unwrap();
    let text = error(&dir.path().join("later"));
    assert_eq!(text, "DIR/val has no pictures of the classes of train; fill it or remove it");
    fill(&dir.path().join("Validation"), &[("c", 2)]);
    assert_eq!(error(dir.path()), "DIR/Validation has a class that the training images do not have: c");
    fill(&dir.path().join("val"), &[("c", 2)]);
    assert_eq!(error(dir.path()), "DIR has two validation folders, Validation and val");
}

#[test]
fn a_class_may_have_the_name_of_a_part() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("train", 3), ("plane", 3), ("car", 3)]);
    assert_eq!(dataset(&options(dir.path())).classes(), ["car", "plane", "train"]);
}

#[test]
fn wrong_layouts_are_refused_with_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "").unwrap();
    assert!(
        error(&at("file"))
            .starts_with("DIR is a file, a folder with a folder for each class is needed; expected DIR/CLASS/")
    );
    assert_eq!(error(&at("none")), "folder: no such file or folder: DIR");
    fs::create_dir(at("empty")).unwrap();
    assert!(error(&at("empty")).starts_with("DIR has no class folders; expected DIR/CLASS/PICTURE"));
    fill(&at("loose"), &[("", 3)]);
    assert!(error(&at("loose")).starts_with("DIR has 3 pictures of no class and no class folders; expected"));
    fill(&at("one"), &[("cats", 3)]);
    assert!(error(&at("one")).starts_with("DIR has one class folder, cats; at least 2 classes are needed; expected"));
    fill(&at("hollow"), &[("a", 1), ("b", 0)]);
    assert_eq!(
        error(&at("hollow")),
        "DIR/b is a class folder without PNG, JPEG, WebP or BMP pictures; fill it or remove it"
    );
    fill(&at("flat/train"), &[("", 3)]);
    assert!(error(&at("flat")).starts_with("DIR/train has no class folders; expected"));
    fill(&at("tested/test"), &[("a", 3)]);
    assert!(error(&at("tested")).starts_with("DIR has no folder train beside test; expected"));
    assert!(load_with(DatasetName::Folder, &LoadOptions::default(), &mut |_| ()).is_err());
}

#[test]
fn pictures_that_cannot_be_read_are_named_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a", 30), ("b", 30)]);
    fs::write(dir.path().join("a/000.png"), "no picture").unwrap();
    fs::write(dir.path().join("a/001.png"), "").unwrap();
    fs::write(dir.path().join("a/notes.txt"), "").unwrap();
    fs::write(dir.path().join("b/.hidden.png"), "").unwrap();
    let text = error(dir.path());
    assert_eq!(
        text,
        "DIR cannot be used: 2 of 60 pictures cannot be read, data.folder.max_bad_share = 0.01 allows 1: a/000.png is not a \
         picture: PNG, JPEG, WebP and BMP are read; a/001.png is empty; `data check folder --json` with a larger one (--set \
         data.folder.max_bad_share=1) lists all"
    );
    let folder = FolderConfig { max_bad_share: 0.05, ..FolderConfig::default() };
    let (_, events) = read(&LoadOptions { folder, ..options(dir.path()) });
    assert!(remarks(&events).contains("2 of 60 pictures cannot be read and are left out: a/000.png is"), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, LoadEvent::Unreadable(bad) if bad.len() == 2)), "{events:?}");
    // One is always allowed, unless none is.
    fs::copy(dir.path().join("a/002.png"), dir.path().join("a/001.png")).unwrap();
    let folder = FolderConfig { max_bad_share: 0.0, ..FolderConfig::default() };
    let text = read(&LoadOptions { folder, ..options(dir.path()) }).0.unwrap_err();
    assert!(
        text.contains("1 of 60 pictures cannot be read, data.folder.max_bad_share = 0 allows 0: a/000.png"),
        "{text}"
    );
    let (all, events) = read(&options(dir.path()));
    let all = all.unwrap();
    assert_eq!(all.train().len() + all.test().len(), 59);
    let said = remarks(&events);
    assert!(said.contains("left out: 1 file that is no picture by its name, 1 hidden one"), "{said}");
    assert!(said.contains("1 of 60 pictures cannot be read and is left out: a/000.png is not a picture"), "{said}");
    let pictures: Vec<_> = events.iter().filter(|event| matches!(event, LoadEvent::Pictures { .. })).collect();
    assert_eq!(pictures.last(), Some(&&LoadEvent::Pictures { done: 60, total: 60 }));
}

#[test]
fn decoded_pictures_are_kept_until_a_picture_changes() {
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(dir.path(), &[("a", 5), ("b", 5)]);
    let options = LoadOptions { home: Some(home.path().to_owned()), ..options(dir.path()) };
    let (first, events) = read(&options);
    assert!(events.iter().any(|event| matches!(event, LoadEvent::Cached { .. })), "{events:?}");
    let first = first.unwrap();
    let (second, events) = read(&options);
    assert!(!events.iter().any(|event| matches!(event, LoadEvent::Pictures { .. })), "{events:?}");
    let second = second.unwrap();
    assert!(first.train() == second.train() && first.test() == second.test());
    assert_eq!(first.normalisation(), second.normalisation());
    assert_eq!(first.fingerprint(), second.fingerprint());
    let plain = dataset(&LoadOptions { home: None, ..options.clone() });
    assert_eq!(first.fingerprint(), plain.fingerprint());
    // Damage is found.
    let entry = fs::read_dir(home.path().join("cache")).unwrap().next().unwrap().unwrap().path();
    let mut pixels = fs::read(entry.join("pixels")).unwrap();
    pixels[7] ^= 1;
    fs::write(entry.join("pixels"), pixels).unwrap();
    assert_eq!(dataset(&options).fingerprint(), first.fingerprint());
    // A changed picture is decoded, and takes the old entry's place.
    RgbImage::from_pixel(30, 30, Rgb([99, 0, 0])).save(dir.path().join("a/001.png")).unwrap();
    let changed = dataset(&options);
    assert_ne!(changed.fingerprint(), first.fingerprint());
    assert_eq!(fs::read_dir(home.path().join("cache")).unwrap().count(), 1);
    // A home that cannot be written is no reason to stop.
    fs::write(home.path().join("file"), "").unwrap();
    let (same, events) = read(&LoadOptions { home: Some(home.path().join("file")), ..options });
    assert_eq!(same.unwrap().fingerprint(), changed.fingerprint());
    assert!(remarks(&events).contains("the decoded pictures cannot be kept for next time"), "{events:?}");
}

#[test]
fn decoding_ends_when_asked_and_leaves_nothing_behind() {
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(dir.path(), &[("a", 40), ("b", 40)]);
    let listing = scan(dir.path()).unwrap();
    let (items, preprocess) = (&listing.items, Preprocess::square(8, 3));
    for in_memory in [0, u64::MAX] {
        let job = Job { folder: dir.path(), items, preprocess, threads: 2, home: Some(home.path()), in_memory };
        let mut decoded = 0;
        let ended = job.run(&mut |event| {
            if let LoadEvent::MayStop(stop) = event {
                decoded += 1;
                if decoded == 3 {
                    stop.now();
                }
            }
        });
        assert!(matches!(ended, Err(DataError::Stopped)), "{ended:?}");
        assert_eq!(decoded, 3);
        assert_eq!(fs::read_dir(home.path().join("cache")).map_or(0, Iterator::count), 0);
    }
}

#[test]
fn what_is_too_much_for_memory_stays_on_disk() {
    let (dir, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(dir.path(), &[("a", 9), ("b", 8)]);
    fs::write(dir.path().join("b/bad.png"), "").unwrap();
    let listing = scan(dir.path()).unwrap();
    let (items, preprocess) = (&listing.items, Preprocess::square(8, 3));
    let job = Job { folder: dir.path(), items, preprocess, threads: 3, home: Some(home.path()), in_memory: 0 };
    let places = || [(0..9).collect::<Vec<u32>>(), vec![16, 10]];
    let mut events = Vec::new();
    let disk = job.run(&mut |event| events.push(event)).unwrap();
    assert!(matches!(events.last(), Some(LoadEvent::Cached { .. })), "{events:?}");
    let kept = job.run(&mut |_| ()).unwrap();
    let memory = Job { in_memory: u64::MAX, home: None, ..job }.run(&mut |_| ()).unwrap();
    assert_eq!((&disk.sum, &disk.bad), (&memory.sum, &memory.bad));
    assert_eq!((&kept.sum, &kept.bad), (&memory.sum, &memory.bad));
    assert_eq!(disk.bad, [(17, "b/bad.png is empty".to_owned())]);
    let size = 8 * 8 * 3;
    let [disk, kept, memory] = [disk, kept, memory].map(|pixels| pixels.parts(size, places()).unwrap());
    assert!(disk == memory && kept == memory);
    // The pixels go on being read where the cache is cleared meanwhile.
    fs::remove_dir_all(home.path().join("cache")).unwrap();
    assert!(cfg!(windows) || disk == memory);
}

#[cfg(unix)]
#[test]
fn odd_names_and_links_do_no_harm() {
    use std::ffi::OsStr;
    use std::os::unix::{ffi::OsStrExt, fs::symlink};
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a", 2), ("b\n\u{1b}[2J", 2)]);
    let odd = dir.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&odd).unwrap();
    let picture = DynamicImage::from(GrayImage::from_pixel(4, 4, Luma([1])));
    picture.save(dir.path().join("one.png")).unwrap();
    fs::rename(dir.path().join("one.png"), odd.join(OsStr::from_bytes(b"\xfd.PNG"))).unwrap();
    // Folders that lead back to themselves, a link to a folder of pictures, and one that leads nowhere.
    symlink(dir.path().join("a"), dir.path().join("a/again")).unwrap();
    fill(&dir.path().join("a/deep/er"), &[("", 3)]);
    symlink(dir.path().join("a/deep"), odd.join("linked")).unwrap();
    let all = dataset(&options(dir.path()));
    assert_eq!(all.classes(), ["a", "b\\n\\u{1b}[2J", "\\xff\\xfe"]);
    let counts = |part: &Part| part.class_counts(3);
    let both: Vec<usize> = counts(all.train()).iter().zip(counts(all.test())).map(|(a, b)| a + b).collect();
    assert_eq!(both, [5, 2, 4]);
    symlink("nowhere", odd.join("x\n.png")).unwrap();
    let said = remarks(&read(&options(dir.path())).1);
    assert!(said.contains("\\xff\\xfe/x\\n.png cannot be read: "), "{said}");
}

#[test]
fn a_class_without_a_test_image_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a", 4), ("lone", 1)]);
    let said = remarks(&read(&options(dir.path())).1);
    assert!(said.contains("there is no test image of the class lone: a class needs 2 pictures"), "{said}");
}

#[test]
fn settings_are_taken_by_their_keys() {
    let mut config = FolderConfig::default();
    config.set("data.folder.max_bad_share = 1").unwrap();
    config.set("data.folder.size=48").unwrap();
    assert_eq!((config.max_bad_share, config.size), (1.0, Some(48)));
    let mut error = |given: &str| config.set(given).unwrap_err().to_string();
    assert_eq!(error("data.folder.size"), "--set data.folder.size: `=` is missing");
    assert!(error("training.epochs=1").contains("only the settings data.folder.NAME have a meaning here"));
    assert!(error("data.folder.size=many").ends_with("`many` is not a number"));
    assert!(error("data.folder.sise=8").contains("unknown field `sise`, expected one of `size`"));
    assert!(error("data.folder.size=-8").contains("invalid value"));
}

#[cfg(unix)]
#[test]
fn classes_that_are_shown_alike_are_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a", 2), (r"b\xff", 2)]);
    fs::create_dir(dir.path().join(OsStr::from_bytes(b"b\xff"))).unwrap();
    let text = error(dir.path());
    let both = r#"DIR has two class folders that are both shown as b\xff: "b\\xff" and "b\xFF"; rename one of them"#;
    assert_eq!(text, both);
}

#[cfg(unix)]
#[test]
fn links_to_folders_around_a_class_are_not_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[("a", 4), ("b", 3)]);
    symlink("..", dir.path().join("a/up")).unwrap();
    symlink("../..", dir.path().join("b/higher")).unwrap();
    symlink("../b", dir.path().join("a/side")).unwrap();
    let listing = scan(dir.path()).unwrap();
    let of = |label| listing.items.iter().filter(|item| item.label == label).count();
    assert_eq!((of(0), of(1)), (7, 3));
    let said = listing.remarks.join("\n");
    assert!(
        said.contains("3 links lead to folders that they lie in and are not followed: a/up, a/side/higher, b/higher"),
        "{said}"
    );
    assert!(said.contains("by links, 1 folder is read for more than one class or part: b is a/side"), "{said}");
    symlink("..", dir.path().join("c")).unwrap();
    assert!(error(dir.path()).starts_with("DIR/c is a link to a folder that it lies in; a folder with"));
}
