//! The files of the published data sets to images and labels, checked on the way.

use super::dataset::Samples;
use super::formats::{Encoding, FileFormat, Format};
use super::pickle::Pickle;
use super::{DataError, Dataset, Normalisation, Verification};
use crate::checksum;

impl Format {
    /// Checks one file and appends its samples. `verify`: only the official file is accepted; otherwise any number of
    /// well-formed records.
    fn parse(&self, file: &FileFormat, bytes: &[u8], verify: bool, into: &mut Samples) -> Result<(), DataError> {
        let (name, found) = (file.name.to_owned(), bytes.len() as u64);
        if let Some(expected) = file.bytes.filter(|&expected| verify && found != expected) {
            return Err(DataError::Size { file: name, found, expected });
        }
        match &self.encoding {
            Encoding::Records { labels } => {
                let record = labels.len() + self.shape.len();
                if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
                    return Err(DataError::Records { file: name, found, record });
                }
                // Labels first: a label out of range says more than a checksum.
                for (record, bytes) in bytes.chunks_exact(record).enumerate() {
                    for (&label, &labels) in bytes.iter().zip(*labels) {
                        check_label(file, record, label.into(), 0, labels)?;
                    }
                }
                check_sum(file, bytes, verify)?;
                into.images.reserve(bytes.len());
                for record in bytes.chunks_exact(record) {
                    let (labels, planes) = record.split_at(labels.len());
                    if let Some(&label) = labels.last() {
                        self.add(u32::from(label), planes, into);
                    }
                }
                Ok(())
            }
            Encoding::Pickle { labels, first } => {
                check_sum(file, bytes, verify)?;
                self.unpickle(bytes, labels, *first, file, into).map_err(|e| match e {
                    Unpickled::Wrong(why) => DataError::Pickle { file: name, why },
                    Unpickled::Label(error) => error,
                })
            }
        }
    }

    fn unpickle(
        &self,
        bytes: &[u8],
        labels: &[(&str, u32)],
        first: u32,
        file: &FileFormat,
        into: &mut Samples,
    ) -> Result<(), Unpickled> {
        let pickle = Pickle::read(bytes)?;
        let planes = pickle.entry("data").and_then(|data| pickle.byte_matrix(data, self.shape.len()));
        let (rows, planes) = planes.map_err(|e| format!("'data': {e}"))?;
        let mut last = Vec::new();
        for &(key, count) in labels {
            let list = pickle.entry(key).and_then(|list| pickle.integers(list));
            last = list.map_err(|e| format!("'{key}': {e}"))?;
            if last.len() != rows {
                return Err(format!("{} labels in '{key}' of {rows} images", last.len()).into());
            }
            for (record, &label) in last.iter().enumerate() {
                check_label(file, record, label, first, count).map_err(Unpickled::Label)?;
            }
        }
        if rows == 0 {
            return Err("it has no images".to_owned().into());
        }
        for (label, planes) in last.into_iter().zip(planes.chunks_exact(self.shape.len())) {
            // In range, as has been checked.
            self.add(label as u32 - first, planes, into);
        }
        Ok(())
    }

    /// Appends an image, given as planes, if its class is kept.
    fn add(&self, label: u32, planes: &[u8], into: &mut Samples) {
        if label as usize >= self.classes.len() {
            return;
        }
        into.labels.push(label);
        let (red, rest) = planes.split_at(planes.len() / 3);
        let (green, blue) = rest.split_at(red.len());
        into.images.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
    }
}

/// Why a pickle gives no images.
enum Unpickled {
    Wrong(String),
    Label(DataError),
}

impl From<String> for Unpickled {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

fn check_label(file: &FileFormat, record: usize, label: i64, first: u32, count: u32) -> Result<(), DataError> {
    let (min, max) = (first, first + count - 1);
    if (i64::from(min)..=i64::from(max)).contains(&label) {
        return Ok(());
    }
    Err(DataError::Label { file: file.name.to_owned(), record, label, min, max })
}

fn check_sum(file: &FileFormat, bytes: &[u8], verify: bool) -> Result<(), DataError> {
    let Some(expected) = file.md5.filter(|_| verify) else { return Ok(()) };
    let found = checksum::of_bytes(bytes);
    if found == expected {
        return Ok(());
    }
    Err(DataError::Checksum { file: file.name.to_owned(), expected: expected.to_owned(), found })
}

/// Puts a data set together from its files, which may come in any order.
pub(super) struct Assembler {
    format: &'static Format,
    verify: bool,
    /// Files that came before their turn.
    waiting: Vec<Option<Samples>>,
    /// Files that are in `train` or `test`.
    done: usize,
    train: Samples,
    test: Samples,
}

impl Assembler {
    pub(super) fn new(format: &'static Format, verify: bool) -> Self {
        let mut parts = [Samples::default(), Samples::default()];
        if verify {
            for file in format.files {
                // A few bytes too many, of labels.
                let bytes = file.bytes.and_then(|bytes| usize::try_from(bytes).ok());
                parts[usize::from(file.is_test)].images.reserve_exact(bytes.unwrap_or(0));
            }
        }
        let [train, test] = parts;
        let waiting = format.files.iter().map(|_| None).collect();
        Self { format, verify, waiting, done: 0, train, test }
    }

    /// Checks and takes the file `format.files[at]`. A file that comes again is ignored.
    pub(super) fn add(&mut self, at: usize, bytes: &[u8]) -> Result<(), DataError> {
        if at < self.done || self.waiting[at].is_some() {
            return Ok(());
        }
        let file = &self.format.files[at];
        if at > self.done {
            let mut part = Samples::default();
            self.format.parse(file, bytes, self.verify, &mut part)?;
            self.waiting[at] = Some(part);
            return Ok(());
        }
        let into = if file.is_test { &mut self.test } else { &mut self.train };
        self.format.parse(file, bytes, self.verify, into)?;
        self.done += 1;
        while let Some(part) = self.waiting.get_mut(self.done).and_then(Option::take) {
            let into = if self.format.files[self.done].is_test { &mut self.test } else { &mut self.train };
            into.images.extend_from_slice(&part.images);
            into.labels.extend_from_slice(&part.labels);
            self.done += 1;
        }
        Ok(())
    }

    /// Names of the files that have not come.
    pub(super) fn missing(&self) -> Vec<String> {
        let files = self.format.files.iter().enumerate();
        let absent = files.filter(|&(at, _)| at >= self.done && self.waiting[at].is_none());
        absent.map(|(_, file)| file.name.to_owned()).collect()
    }

    /// The data set, once no file is missing.
    pub(super) fn finish(self) -> Result<Dataset, DataError> {
        let Format { dataset, shape, classes, normalisation: (mean, std), .. } = self.format;
        let normalisation = Normalisation { mean: mean.to_vec(), std: std.to_vec() };
        let (train, test) = (self.train.into(), self.test.into());
        let verification = match (self.verify, self.format.has_checksums()) {
            (false, _) => Verification::Structure,
            (true, true) => Verification::Checksums,
            (true, false) => Verification::Sizes,
        };
        let whole = Dataset::new(dataset.as_str(), *shape, classes.names(), 255, normalisation, train, test)?;
        Ok(whole.verified(verification))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::DatasetName;
    use super::super::formats::{self, CIFAR10, CIFAR10_PYTHON, CIFAR100, CIFAR100_PYTHON, IMAGENET16};
    use super::*;
    use proptest::prelude::*;

    const PLANE: usize = 32 * 32;
    const PIXELS: usize = 3 * PLANE;

    fn label_bytes(format: &Format) -> &'static [u32] {
        match format.encoding {
            Encoding::Records { labels } => labels,
            Encoding::Pickle { .. } => &[],
        }
    }

    /// `records` well-formed records; sample `i` has the label `i % classes` and pixels that tell `i`, plane and place.
    pub(in super::super) fn records(format: &Format, records: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for i in 0..records {
            bytes.extend(label_bytes(format).iter().map(|&labels| (i as u32 % labels) as u8));
            bytes.extend((0..PIXELS).map(|p| (i * 7 + p / PLANE * 100 + p % PLANE % 50) as u8));
        }
        bytes
    }

    fn parse(format: &'static Format, bytes: &[u8], verify: bool) -> Result<Samples, String> {
        let mut part = Samples::default();
        format.parse(&format.files[0], bytes, verify, &mut part).map(|()| part).map_err(|e| e.to_string())
    }

    #[test]
    fn planes_become_pixels() {
        for format in [&CIFAR10, &CIFAR100] {
            let part = parse(format, &records(format, 25), false).unwrap();
            let classes = *label_bytes(format).last().unwrap();
            assert_eq!(part.labels, (0..25).map(|i| i % classes).collect::<Vec<_>>());
            // Sample 3, row 2, column 5: place 69, 69 % 50 = 19.
            let at = 3 * PIXELS + (2 * 32 + 5) * 3;
            assert_eq!(part.images[at..at + 3], [21 + 19, 21 + 100 + 19, 21 + 200 + 19].map(|v: u32| v as u8));
        }
    }

    #[test]
    fn wrong_files_are_refused_with_the_reason() {
        let good = records(&CIFAR10, 3);
        assert_eq!(parse(&CIFAR10, &good, true).unwrap_err(), "data_batch_1.bin has 9219 bytes, expected 30730000");
        assert_eq!(
            parse(&CIFAR10, &good[..9218], false).unwrap_err(),
            "data_batch_1.bin has 9218 bytes, which is not a whole number of records of 3073 bytes"
        );
        assert!(parse(&CIFAR10, &[], false).is_err());
        let mut bad = good.clone();
        bad[3073] = 10;
        assert_eq!(
            parse(&CIFAR10, &bad, false).unwrap_err(),
            "data_batch_1.bin: record 1 has label 10, expected 0 to 9"
        );
        let mut bad = records(&CIFAR100, 2);
        bad[3074] = 20;
        assert_eq!(parse(&CIFAR100, &bad, false).unwrap_err(), "train.bin: record 1 has label 20, expected 0 to 19");
    }

    #[test]
    fn a_modified_file_of_the_official_size_is_refused() {
        let bytes = records(&CIFAR10, 10_000);
        let error = parse(&CIFAR10, &bytes, true).unwrap_err();
        assert!(error.contains("data_batch_1.bin is not the official file: MD5 expected 5dd7e06a"), "{error}");
        assert!(error.contains(&format!("found {}", checksum::of_bytes(&bytes))), "{error}");
        assert_eq!(parse(&CIFAR10, &bytes, false).unwrap().labels.len(), 10_000);
    }

    #[test]
    fn files_may_come_in_any_order() {
        let files: Vec<Vec<u8>> = (1..=6).map(|n| records(&CIFAR10, n)).collect();
        let assemble = |order: [usize; 6]| {
            let mut assembler = Assembler::new(&CIFAR10, false);
            for at in order {
                assembler.add(at, &files[at]).unwrap();
            }
            assert!(assembler.missing().is_empty());
            assembler.finish().unwrap()
        };
        let straight = assemble([0, 1, 2, 3, 4, 5]);
        assert_eq!((straight.train().len(), straight.test().len()), (15, 6));
        for order in [[5, 4, 3, 2, 1, 0], [5, 0, 2, 1, 4, 3]] {
            let other = assemble(order);
            assert_eq!((straight.train(), straight.test()), (other.train(), other.test()));
        }
        let mut partial = Assembler::new(&CIFAR10, false);
        partial.add(1, &files[1]).unwrap();
        assert_eq!(partial.missing().len(), 5);
    }

    #[test]
    fn class_names_match_the_label_ranges() {
        for format in [&CIFAR10, &CIFAR100] {
            assert_eq!(format.classes.len(), *label_bytes(format).last().unwrap() as usize);
        }
        assert!(CIFAR100.classes.names().is_sorted());
        for format in DatasetName::ALL.into_iter().flat_map(formats::of) {
            assert!(format.files.iter().all(|file| file.md5.is_none_or(|md5| md5.len() == 32)));
        }
        assert_eq!(IMAGENET16.classes.names()[119], "120");
    }

    /// A pickled batch: the planes of `images`, and lists of labels.
    pub(in super::super) fn pickled(images: &[u8], columns: usize, lists: &[(&str, &[i64])]) -> Vec<u8> {
        let mut bytes =
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
                .to_vec();
        let long = |bytes: &mut Vec<u8>, number: i64| {
            bytes.push(b'J');
            bytes.extend((number as i32).to_le_bytes());
        };
        long(&mut bytes, (images.len() / columns) as i64);
        long(&mut bytes, columns as i64);
        bytes.extend(
            b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T",
        );
        bytes.extend((images.len() as u32).to_le_bytes());
        bytes.extend(images);
        bytes.extend(b"tb");
        for (key, labels) in lists {
            bytes.extend([b'U', key.len() as u8]);
            bytes.extend(key.bytes());
            bytes.extend(b"](");
            labels.iter().for_each(|&label| long(&mut bytes, label));
            bytes.push(b'e');
        }
        bytes.extend(b"u.");
        bytes
    }

    /// The records of a file of the binary version as its Python version has them.
    pub(in super::super) fn as_pickle(format: &Format, python: &Format, records: &[u8]) -> Vec<u8> {
        let count = label_bytes(format).len();
        let Encoding::Pickle { labels, .. } = python.encoding else { panic!() };
        let rows: Vec<&[u8]> = records.chunks_exact(count + PIXELS).collect();
        let planes: Vec<u8> = rows.iter().flat_map(|row| &row[count..]).copied().collect();
        let lists: Vec<Vec<i64>> = (0..count).map(|at| rows.iter().map(|row| row[at].into()).collect()).collect();
        let lists: Vec<(&str, &[i64])> = labels.iter().zip(&lists).map(|((key, _), list)| (*key, &**list)).collect();
        pickled(&planes, PIXELS, &lists)
    }

    #[test]
    fn the_python_version_holds_the_same() {
        for (format, python) in [(&CIFAR10, &CIFAR10_PYTHON), (&CIFAR100, &CIFAR100_PYTHON)] {
            let records = records(format, 25);
            let (part, other) =
                (parse(format, &records, false).unwrap(), parse(python, &as_pickle(format, python, &records), false));
            let other = other.unwrap();
            assert!(part.labels == other.labels && part.images == other.images);
        }
    }

    #[test]
    fn imagenet_keeps_its_first_classes() {
        let images: Vec<u8> = (0..4 * 768usize).map(|i| (i / 256 + i % 7) as u8).collect();
        let bytes = pickled(&images, 768, &[("labels", &[1, 121, 120, 1000])]);
        let part = parse(&IMAGENET16, &bytes, false).unwrap();
        assert_eq!((part.labels, part.images.len()), (vec![0, 119], 2 * 768));
        // The second pixel of the third image: red, green and blue planes are 256 values apart.
        let third = |at: usize| images[2 * 768 + at];
        assert_eq!(part.images[768 + 3..768 + 6], [third(1), third(257), third(513)]);
        let error =
            |labels: &[i64]| parse(&IMAGENET16, &pickled(&images, 768, &[("labels", labels)]), false).unwrap_err();
        assert_eq!(error(&[1, 2, 0, 4]), "train_data_batch_1: record 2 has label 0, expected 1 to 1000");
        assert_eq!(
            error(&[1, 2, 3]),
            "train_data_batch_1 is not a pickled batch of images: 3 labels in 'labels' of 4 images"
        );
        let narrow = parse(&IMAGENET16, &pickled(&images, 384, &[("labels", &[1; 8])]), false).unwrap_err();
        assert!(narrow.contains("'data': an array of 8 x 384 with 3072 bytes, expected rows of 768"), "{narrow}");
        assert!(parse(&IMAGENET16, &bytes, true).unwrap_err().contains("MD5 expected 27846dca"));
        assert!(parse(&IMAGENET16, &pickled(&[], 768, &[("labels", &[])]), false).unwrap_err().contains("no images"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..7000), cut in 0usize..20) {
            for format in [&CIFAR10, &CIFAR100] {
                for verify in [false, true] {
                    let _ = parse(format, &bytes, verify);
                }
                let mut whole = records(format, 2);
                whole.truncate(whole.len() - cut);
                prop_assert_eq!(parse(format, &whole, false).is_ok(), cut == 0);
            }
        }
    }
}
