//! The binary versions of CIFAR-10 and CIFAR-100 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images",
//! 2009; <https://www.cs.toronto.edu/~kriz/cifar.html>). A file is a row of records: one label byte (CIFAR-100: coarse
//! label, fine label), then 3,072 pixel bytes, the red, green and blue planes of 32x32.

use super::dataset::Samples;
use super::{DataError, Dataset, DatasetName, ImageShape, Normalisation};
use crate::checksum;

const SHAPE: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
const PLANE: usize = SHAPE.height * SHAPE.width;
const PIXELS: usize = 3 * PLANE;

/// One file of a data set.
#[derive(Debug)]
pub(super) struct FileFormat {
    pub(super) name: &'static str,
    /// Records of the official file.
    records: usize,
    /// MD5 of the official file, where known.
    md5: Option<&'static str>,
    is_test: bool,
}

/// How a data set is stored.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) dataset: DatasetName,
    /// Folder inside the archive.
    pub(super) folder: &'static str,
    /// Name of the archive without its endings.
    pub(super) archive: &'static str,
    /// MD5 of the official `.tar.gz`.
    pub(super) archive_md5: &'static str,
    /// Folder and file that only the Python version has.
    pub(super) python: (&'static str, &'static str),
    /// Training files in their order, then the test file.
    pub(super) files: &'static [FileFormat],
    /// Number of labels of each label byte; the last byte is the one that counts.
    label_bytes: &'static [u32],
    normalisation: ([f32; 3], [f32; 3]),
    classes: &'static [&'static str],
}

const fn file(name: &'static str, records: usize, md5: Option<&'static str>, is_test: bool) -> FileFormat {
    FileFormat { name, records, md5, is_test }
}

pub(super) static CIFAR10: Format = Format {
    dataset: DatasetName::Cifar10,
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary",
    archive_md5: "c32a1d4ab5d03f1284b67883e8d87530",
    python: ("cifar-10-batches-py", "data_batch_1"),
    files: &[
        file("data_batch_1.bin", 10_000, Some("5dd7e06a14cb22eb9f671a540d1b7c25"), false),
        file("data_batch_2.bin", 10_000, Some("5ea93a67294ea407fff1d09f752e9692"), false),
        file("data_batch_3.bin", 10_000, Some("942cd6a4bcdd0dd3c604fbe906cb4421"), false),
        file("data_batch_4.bin", 10_000, Some("ae636b3ba5c66a11e91e8cb52e771fcb"), false),
        file("data_batch_5.bin", 10_000, Some("53f37980c15c3d472c316c40844f3f0d"), false),
        file("test_batch.bin", 10_000, Some("803d5f7f4d78ea53de84dbe85f74fb6d"), true),
    ],
    label_bytes: &[10],
    normalisation: ([0.491_399_68, 0.482_158_27, 0.446_531_24], [0.247_032_33, 0.243_485_05, 0.261_587_68]),
    classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
};

pub(super) static CIFAR100: Format = Format {
    dataset: DatasetName::Cifar100,
    folder: "cifar-100-binary",
    archive: "cifar-100-binary",
    archive_md5: "03b5dce01913d631647c71ecec9e9cb8",
    python: ("cifar-100-python", "train"),
    files: &[file("train.bin", 50_000, None, false), file("test.bin", 10_000, None, true)],
    label_bytes: &[20, 100],
    normalisation: ([0.507_075_16, 0.486_548_87, 0.440_917_84], [0.267_334_3, 0.256_438_46, 0.276_150_47]),
    #[rustfmt::skip]
    classes: &[
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy",
        "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock",
        "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish",
        "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
        "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange",
        "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
        "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
        "willow_tree", "wolf", "woman", "worm",
    ],
};

impl Format {
    /// Bytes of a record.
    fn record(&self) -> usize {
        self.label_bytes.len() + PIXELS
    }

    /// Whether the official checksum of every file is known.
    pub(super) fn has_checksums(&self) -> bool {
        self.files.iter().all(|file| file.md5.is_some())
    }

    /// Bytes of an official file.
    pub(super) fn size(&self, file: &FileFormat) -> u64 {
        (file.records * self.record()) as u64
    }

    /// Checks one file and appends its samples. `verify`: only the official file is accepted; otherwise any number of
    /// well-formed records.
    fn parse(&self, file: &FileFormat, bytes: &[u8], verify: bool, into: &mut Samples) -> Result<(), DataError> {
        let (name, found) = (file.name.to_owned(), bytes.len() as u64);
        if verify && found != self.size(file) {
            return Err(DataError::Size { file: name, found, expected: self.size(file) });
        }
        if bytes.is_empty() || !bytes.len().is_multiple_of(self.record()) {
            return Err(DataError::Records { file: name, found, record: self.record() });
        }
        // Labels first: a label out of range says more than a checksum.
        for (record, bytes) in bytes.chunks_exact(self.record()).enumerate() {
            for (&label, &labels) in bytes.iter().zip(self.label_bytes) {
                if u32::from(label) >= labels {
                    return Err(DataError::Label { file: name, record, label: label.into(), max: labels - 1 });
                }
            }
        }
        if let Some(expected) = file.md5.filter(|_| verify) {
            let found = checksum::of_bytes(bytes);
            if found != expected {
                return Err(DataError::Checksum { file: name, expected: expected.to_owned(), found });
            }
        }
        into.images.reserve(bytes.len() / self.record() * PIXELS);
        for record in bytes.chunks_exact(self.record()) {
            let (labels, planes) = record.split_at(self.label_bytes.len());
            into.labels.extend(labels.last().map(|&label| u32::from(label)));
            let (red, rest) = planes.split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            into.images.extend(red.iter().zip(green).zip(blue).flat_map(|((&r, &g), &b)| [r, g, b]));
        }
        Ok(())
    }
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
                parts[usize::from(file.is_test)].images.reserve_exact(file.records * PIXELS);
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
        let classes = self.format.classes.iter().map(|&name| name.to_owned()).collect();
        let (mean, std) = self.format.normalisation;
        let normalisation = Normalisation { mean: mean.to_vec(), std: std.to_vec() };
        Dataset::new(
            self.format.dataset.as_str(),
            SHAPE,
            classes,
            255,
            normalisation,
            self.train.into(),
            self.test.into(),
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `records` well-formed records; sample `i` has the label `i % classes` and pixels that tell `i`, plane and place.
    pub(in super::super) fn records(format: &Format, records: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for i in 0..records {
            bytes.extend(format.label_bytes.iter().map(|&labels| (i as u32 % labels) as u8));
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
            let classes = *format.label_bytes.last().unwrap();
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
            assert_eq!(format.classes.len(), *format.label_bytes.last().unwrap() as usize);
        }
        assert!(CIFAR100.classes.is_sorted());
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
