use std::fs;
use std::path::{Path, PathBuf};

use super::batches::Assembler;
use super::cache::Slot;
use super::formats::{self, Format};
use super::options::{LoadEvent, LoadOptions};
use super::{DataError, Dataset, DatasetName, Verification, archive, digits, folder, repeats};
use crate::checksum;

/// Reads a data set into memory.
///
/// # Errors
/// Everything that can be wrong with the files: [`DataError::NoLocation`], [`DataError::NoSuchPath`], [`DataError::NotFound`],
/// [`DataError::Incomplete`], [`DataError::Size`], [`DataError::Records`], [`DataError::Label`], [`DataError::Checksum`],
/// [`DataError::Archive`], [`DataError::Pickle`], [`DataError::Folder`], [`DataError::Io`].
pub fn load(name: DatasetName, options: &LoadOptions) -> Result<Dataset, DataError> {
    load_with(name, options, &mut |_| ())
}

/// [`load`] that tells what it does.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    name: DatasetName,
    options: &LoadOptions,
    notify: &mut dyn FnMut(LoadEvent),
) -> Result<Dataset, DataError> {
    if let Some(path) = options.data.clone().filter(|_| name.is_built_in()) {
        return Err(DataError::BuiltIn { dataset: name.as_str(), path });
    }
    if name.is_built_in() && !options.verify {
        let why = "it is built in, there are no files to accept: data.verify = false (--no-verify) has no effect";
        return Err(DataError::Inconsistent { name: name.as_str().to_owned(), why: why.to_owned() });
    }
    let dataset = match name {
        DatasetName::Digits => return digits::load(),
        DatasetName::Folder => folder::load(options, notify)?,
        DatasetName::Cifar10 | DatasetName::Cifar100 | DatasetName::ImageNet16 => published(name, options, notify)?,
    };
    // Of official files it is known.
    if dataset.verification() != Verification::Checksums {
        repeats::remarks(&dataset)?.into_iter().map(LoadEvent::Remark).for_each(notify);
    }
    Ok(dataset)
}

/// Files in a published format.
fn published(
    name: DatasetName,
    options: &LoadOptions,
    notify: &mut dyn FnMut(LoadEvent),
) -> Result<Dataset, DataError> {
    let formats = formats::of(name);
    let dataset = match locate(name.as_str(), formats, options)? {
        Found::Folder(format, folder) => {
            notify(LoadEvent::Reading { folder: folder.clone() });
            read_folder(format, &folder, options.verify, None)?
        }
        Found::Archive(path) => read_archive(name.as_str(), formats, &path, options, notify)?,
    };
    // Others of the same sizes are another data set: a run that began with these must not go on with those.
    if dataset.verification() != Verification::Checksums { dataset.fingerprinted() } else { Ok(dataset) }
}

enum Found {
    Folder(&'static Format, PathBuf),
    Archive(PathBuf),
}

fn locate(dataset: &'static str, formats: &[&'static Format], options: &LoadOptions) -> Result<Found, DataError> {
    let path = match (&options.data, &options.home) {
        (Some(data), _) => data.clone(),
        (None, Some(home)) => LoadOptions::downloads(home),
        (None, None) => return Err(DataError::NoLocation { dataset }),
    };
    if path.is_file() {
        return Ok(Found::Archive(path));
    }
    if options.data.is_some() && !path.exists() {
        return Err(DataError::NoSuchPath { dataset, path });
    }
    for format in formats {
        for folder in [path.clone(), path.join(format.folder)] {
            if format.files.iter().any(|file| folder.join(file.name).is_file()) {
                return Ok(Found::Folder(format, folder));
            }
        }
        let archives = archive::ENDINGS.iter().map(|ending| path.join(format!("{}{ending}", format.archive)));
        if let Some(archive) = archives.into_iter().find(|archive| archive.is_file()) {
            return Ok(Found::Archive(archive));
        }
    }
    let wanted = |format: &&Format| format!("{} nor {}{}", format.files[0].name, format.archive, archive::ENDINGS[0]);
    let wanted = formats.iter().map(wanted).collect::<Vec<_>>().join(" nor ");
    Err(DataError::NotFound { dataset, path, wanted })
}

/// `sums`: checksums of the files by name, for those that have no official one.
fn read_folder(
    format: &'static Format,
    folder: &Path,
    verify: bool,
    sums: Option<&[(String, String)]>,
) -> Result<Dataset, DataError> {
    let mut assembler = Assembler::new(format, verify);
    for (at, file) in format.files.iter().enumerate() {
        let path = folder.join(file.name);
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).map_err(DataError::io(&path))?;
        if let Some((_, expected)) = sums.into_iter().flatten().find(|(name, _)| name == file.name) {
            let found = checksum::of_bytes(&bytes);
            if found != *expected {
                let (file, expected) = (file.name.to_owned(), expected.clone());
                return Err(DataError::Checksum { file, expected, found });
            }
        }
        assembler.add(at, &bytes)?;
    }
    complete(assembler, format, folder)
}

fn complete(assembler: Assembler, format: &Format, path: &Path) -> Result<Dataset, DataError> {
    let missing = assembler.missing();
    if !missing.is_empty() {
        return Err(DataError::Incomplete { dataset: format.dataset.as_str(), path: path.to_owned(), missing });
    }
    assembler.finish()
}

fn read_archive(
    dataset: &'static str,
    formats: &[&'static Format],
    path: &Path,
    options: &LoadOptions,
    notify: &mut dyn FnMut(LoadEvent),
) -> Result<Dataset, DataError> {
    let home = options.home.as_deref().and_then(|home| Some((home, Slot::sum(path).ok()?)));
    let slot = |format: &Format| home.as_ref().map(|(home, sum)| Slot::of(home, format, sum));
    for format in formats {
        let Some((slot, sums)) = slot(format).and_then(|slot| slot.sums().map(|sums| (slot, sums))) else { continue };
        // Official checksums, where there are any, make the cache's own superfluous.
        let sums = (!options.verify || !format.has_checksums()).then_some(sums.as_slice());
        // Anything wrong with the cached files: the archive decides.
        if let Ok(dataset) = read_folder(format, slot.folder(), options.verify, sums) {
            notify(LoadEvent::Reading { folder: slot.folder().to_owned() });
            return Ok(dataset);
        }
    }
    notify(LoadEvent::Decoding { archive: path.to_owned() });
    // Both begin with the first file, which tells the version.
    let mut begun: Option<(&'static Format, Assembler)> = None;
    let mut filling = None;
    archive::read(path, formats, options.verify, &mut |format, at, bytes| {
        let (_, assembler) = begun.get_or_insert_with(|| {
            filling = slot(format).as_ref().and_then(Slot::fill);
            (format, Assembler::new(format, options.verify))
        });
        assembler.add(at, bytes)?;
        filling = filling.take().and_then(|filling| filling.add(format.files[at].name, bytes));
        Ok(())
    })?;
    let Some((format, assembler)) = begun else {
        let missing = formats.iter().map(|format| format.files[0].name.to_owned()).collect::<Vec<_>>().join(" or ");
        return Err(DataError::Incomplete { dataset, path: path.to_owned(), missing: vec![missing] });
    };
    let dataset = complete(assembler, format, path)?;
    if let (Some(filling), Some(slot)) = (filling, slot(format))
        && filling.finish(&slot)
    {
        notify(LoadEvent::Cached { folder: slot.folder().to_owned() });
    }
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    use super::super::Verification;
    use super::super::batches::tests::{as_pickle, pickled, records};
    use super::super::formats::{CIFAR10, CIFAR10_PYTHON, CIFAR100, CIFAR100_PYTHON, IMAGENET16};
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use lzma_rust2::{XzOptions, XzWriter};
    use proptest::prelude::*;
    use std::io::Write;

    /// A tar with `n + 1` records in file `n`.
    fn tarball(format: &'static Format, folder: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (at, file) in format.files.iter().enumerate() {
            let bytes = records(format, at + 1);
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, format!("{folder}/{}", file.name), &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn own(data: &Path) -> LoadOptions {
        LoadOptions { data: Some(data.to_owned()), verify: false, ..LoadOptions::default() }
    }

    fn message(result: Result<Dataset, DataError>, folder: &Path) -> String {
        result.unwrap_err().to_string().replace(&folder.display().to_string(), "DIR")
    }

    #[test]
    fn folders_and_archives_give_the_same() {
        for (name, format) in [(DatasetName::Cifar10, &CIFAR10), (DatasetName::Cifar100, &CIFAR100)] {
            let dir = tempfile::tempdir().unwrap();
            let plain = dir.path().join("plain");
            fs::create_dir_all(plain.join(format.folder)).unwrap();
            for (at, file) in format.files.iter().enumerate() {
                fs::write(plain.join(format.folder).join(file.name), records(format, at + 1)).unwrap();
            }
            let expected = load(name, &own(&plain)).unwrap();
            assert_eq!(expected.test().len(), format.files.len());
            let tar = tarball(format, format.folder);
            for (ending, bytes) in [(".tar", tar.clone()), (".tar.gz", gz(&tar)), (".tar.xz", xz(&tar))] {
                let folder = dir.path().join(&ending[1..]);
                fs::create_dir(&folder).unwrap();
                let archive = folder.join(format!("{}{ending}", format.archive));
                fs::write(&archive, bytes).unwrap();
                for place in [plain.join(format.folder), archive, folder] {
                    let dataset = load(name, &own(&place)).unwrap();
                    assert_eq!((dataset.train(), dataset.test()), (expected.train(), expected.test()));
                }
            }
        }
    }

    #[test]
    fn the_python_version_gives_the_same_as_the_binary_one() {
        for (name, format, python) in
            [(DatasetName::Cifar10, &CIFAR10, &CIFAR10_PYTHON), (DatasetName::Cifar100, &CIFAR100, &CIFAR100_PYTHON)]
        {
            let dir = tempfile::tempdir().unwrap();
            let (plain, pickles) = (dir.path().join(format.folder), dir.path().join("py").join(python.folder));
            fs::create_dir_all(&plain).unwrap();
            fs::create_dir_all(&pickles).unwrap();
            for (at, (file, other)) in format.files.iter().zip(python.files).enumerate() {
                let records = records(format, at + 1);
                fs::write(plain.join(file.name), &records).unwrap();
                fs::write(pickles.join(other.name), as_pickle(format, python, &records)).unwrap();
            }
            let expected = load(name, &own(&plain)).unwrap();
            let mut tar = tar::Builder::new(Vec::new());
            tar.append_dir_all(python.folder, &pickles).unwrap();
            let tar = tar.into_inner().unwrap();
            let (any, named) = (dir.path().join("any name"), dir.path().join("downloads"));
            fs::write(&any, &tar).unwrap();
            fs::create_dir(&named).unwrap();
            fs::write(named.join(format!("{}.tar.gz", python.archive)), gz(&tar)).unwrap();
            for place in [dir.path().join("py"), pickles, any, named] {
                let options = LoadOptions { home: Some(dir.path().join("home")), ..own(&place) };
                for _ in ["decoded", "cached"] {
                    let dataset = load(name, &options).unwrap();
                    assert_eq!((dataset.train(), dataset.test()), (expected.train(), expected.test()));
                    assert_eq!(dataset.classes(), expected.classes());
                }
            }
        }
    }

    /// Batches of the layout that is published; the data themselves are not for tests to have.
    #[test]
    fn imagenet16_is_read_from_its_batches() {
        let dir = tempfile::tempdir().unwrap();
        let batches = dir.path().join("ImageNet16");
        fs::create_dir(&batches).unwrap();
        for (at, file) in IMAGENET16.files.iter().enumerate() {
            let planes: Vec<u8> = (0..3 * 768).map(|i| (at * 20 + i / 256) as u8).collect();
            fs::write(batches.join(file.name), pickled(&planes, 768, &[("labels", &[1 + at as i64, 121, 120])]))
                .unwrap();
        }
        let whole = load(DatasetName::ImageNet16, &own(dir.path())).unwrap();
        assert_eq!((whole.shape().height, whole.shape().width, whole.classes().len()), (16, 16, 120));
        assert_eq!((whole.classes()[0].as_str(), whole.verification()), ("001", Verification::Structure));
        assert_eq!((whole.train().len(), whole.test().labels.as_slice()), (20, &[10, 119][..]));
        assert_eq!(whole.train().labels[..4], [0, 119, 1, 119]);
        // The last image of the second batch: its planes are 6, 7 and 8 values above the first.
        assert_eq!(whole.train().images.to_vec().unwrap()[3 * 768..][..4], [26, 27, 28, 26]);
        fs::remove_file(batches.join("val_data")).unwrap();
        let error = message(load(DatasetName::ImageNet16, &own(&batches)), &batches);
        assert_eq!(error, "imagenet16-120 in DIR is incomplete: val_data missing");
    }

    #[test]
    fn what_is_missing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(DatasetName::Cifar10, &own(&dir.path().join("nowhere"))).unwrap_err();
        assert!(error.to_string().starts_with("cifar10: no such file or folder: "));
        assert!(error.hint().unwrap().contains("`hpe-darts data fetch cifar10`"));
        assert_eq!(
            message(load(DatasetName::Cifar10, &own(dir.path())), dir.path()),
            "cifar10 is not in DIR: found neither data_batch_1.bin nor cifar-10-binary.tar.gz nor data_batch_1 nor \
             cifar-10-python.tar.gz"
        );
        fs::write(dir.path().join("data_batch_2.bin"), records(&CIFAR10, 1)).unwrap();
        assert_eq!(
            message(load(DatasetName::Cifar10, &own(dir.path())), dir.path()),
            "cifar10 in DIR is incomplete: data_batch_1.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin, \
             test_batch.bin missing"
        );
        let home = LoadOptions { home: Some(dir.path().to_owned()), ..LoadOptions::default() };
        let error = message(load(DatasetName::Cifar100, &home), dir.path());
        assert!(error.starts_with("cifar100 is not in DIR/datasets"), "{error}");
        assert!(load(DatasetName::Cifar10, &LoadOptions::default()).is_err());
        assert!(load(DatasetName::Digits, &LoadOptions::default()).is_ok());
    }

    #[test]
    fn damaged_archives_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cifar-10-binary.archive");
        let tar = tarball(&CIFAR10, CIFAR10.folder);
        for whole in [gz(&tar), xz(&tar)] {
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let error = message(load(DatasetName::Cifar10, &own(&path)), dir.path());
            assert!(error.starts_with("DIR/cifar-10-binary.archive is damaged or not an archive: "), "{error}");
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            assert!(load(DatasetName::Cifar10, &own(&path)).is_err());
        }
        fs::write(&path, "this is not an archive".repeat(100)).unwrap();
        assert!(message(load(DatasetName::Cifar10, &own(&path)), dir.path()).contains("damaged or not an archive"));
        // Well-formed, but not the official files.
        fs::write(&path, gz(&tar)).unwrap();
        let strict = LoadOptions { verify: true, ..own(&path) };
        let error = load(DatasetName::Cifar10, &strict).unwrap_err();
        assert_eq!(error.to_string(), "data_batch_1.bin has 3073 bytes, expected 30730000");
        assert!(error.hint().unwrap().contains("--set data.verify=false"));
    }

    fn events(options: &LoadOptions) -> Vec<LoadEvent> {
        let mut events = Vec::new();
        let dataset = load_with(DatasetName::Cifar10, options, &mut |event| events.push(event)).unwrap();
        // The records repeat pixels, which is remarked.
        events.retain(|event| !matches!(event, LoadEvent::Remark(_)));
        assert_eq!((dataset.train().len(), dataset.test().len()), (15, 6));
        events
    }

    #[test]
    fn decoded_archives_are_kept_by_content_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("c.tar.gz");
        fs::write(&archive, gz(&tarball(&CIFAR10, "x"))).unwrap();
        let options = LoadOptions { home: Some(dir.path().join("home")), ..own(&archive) };
        let first = events(&options);
        let [LoadEvent::Decoding { .. }, LoadEvent::Cached { folder }] = &first[..] else { panic!("{first:?}") };
        assert_eq!(events(&options), [LoadEvent::Reading { folder: folder.clone() }]);
        // No trace of the writing.
        assert_eq!(fs::read_dir(dir.path().join("home/cache")).unwrap().count(), 1);
        // A cached file that changed is found out and replaced.
        let file = folder.join("data_batch_3.bin");
        let mut bytes = fs::read(&file).unwrap();
        bytes[100] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert_eq!(events(&options), first);
        assert_eq!(events(&options), [LoadEvent::Reading { folder: folder.clone() }]);
        // Another archive under the same name is another content.
        fs::write(&archive, gz(&tarball(&CIFAR10, "y"))).unwrap();
        assert!(matches!(events(&options)[..], [LoadEvent::Decoding { .. }, LoadEvent::Cached { .. }]));
    }

    #[test]
    fn a_cache_that_cannot_be_written_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("c.tar.gz");
        fs::write(&archive, gz(&tarball(&CIFAR10, "x"))).unwrap();
        // A file where the cache's folder would be: refused even for root.
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("cache"), "").unwrap();
        let options = LoadOptions { home: Some(home), ..own(&archive) };
        assert!(matches!(events(&options)[..], [LoadEvent::Decoding { .. }]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_archive_bytes_panic(
            kind in 0usize..4, cut in 0.0f64..1.0, flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 0..4),
            noise: Vec<u8>,
        ) {
            static ARCHIVES: std::sync::OnceLock<[Vec<u8>; 3]> = std::sync::OnceLock::new();
            let archives = ARCHIVES.get_or_init(|| {
                let tar = tarball(&CIFAR100, "x");
                [gz(&tar), xz(&tar), tar]
            });
            let mut bytes = archives.get(kind).cloned().unwrap_or(noise);
            for (place, value) in flips {
                let at = (place * bytes.len() as f64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            if cut > 0.5 {
                bytes.truncate((cut * bytes.len() as f64) as usize);
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), &bytes).unwrap();
            let _ = load(DatasetName::Cifar100, &own(file.path()));
        }
    }
}
