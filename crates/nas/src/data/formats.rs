//! The published data sets: which files they consist of and what is in these. CIFAR-10 and CIFAR-100: A. Krizhevsky, "Learning
//! Multiple Layers of Features from Tiny Images", 2009, <https://www.cs.toronto.edu/~kriz/cifar.html>, in its binary and its
//! Python version. ImageNet16-120: P. Chrabaszcz et al., "A Downsampled Variant of ImageNet", 2017, of which NAS-Bench-201 uses
//! the first 120 classes (X. Dong and Y. Yang, 2020; the checksums are those of its code).

use super::{DatasetName, ImageShape};

/// One file of a data set.
#[derive(Debug)]
pub(super) struct FileFormat {
    pub(super) name: &'static str,
    /// Bytes of the official file, where known.
    pub(super) bytes: Option<u64>,
    /// MD5 of the official file, where known.
    pub(super) md5: Option<&'static str>,
    pub(super) is_test: bool,
}

/// How a file holds images and labels.
#[derive(Debug)]
pub(super) enum Encoding {
    /// A row of records: the label bytes, then the planes of red, green and blue.
    Records {
        /// Number of labels of each label byte; the last byte is the one that counts.
        labels: &'static [u32],
    },
    /// A pickled dictionary: `data` is a matrix with the planes of an image in a row.
    Pickle {
        /// Entries with a list of labels, and how many labels there are; the last list is the one that counts.
        labels: &'static [(&'static str, u32)],
        /// The smallest label.
        first: u32,
    },
}

/// How a data set is stored.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) dataset: DatasetName,
    /// Folder inside the archive.
    pub(super) folder: &'static str,
    /// Name of the archive without its endings.
    pub(super) archive: &'static str,
    /// MD5 of the official `.tar.gz`, where known.
    pub(super) archive_md5: Option<&'static str>,
    /// Training files in their order, then the test file.
    pub(super) files: &'static [FileFormat],
    pub(super) encoding: Encoding,
    pub(super) shape: ImageShape,
    pub(super) normalisation: ([f32; 3], [f32; 3]),
    pub(super) classes: Classes,
}

/// The classes that are kept: those with the smallest labels.
#[derive(Debug)]
pub(super) enum Classes {
    Named(&'static [&'static str]),
    /// By the numbers that the files give them, with three digits, so that they are sorted.
    Numbered(u32),
}

impl Classes {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Named(names) => names.len(),
            Self::Numbered(count) => *count as usize,
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Named(names) => names.iter().map(|&name| name.to_owned()).collect(),
            Self::Numbered(count) => (1..=*count).map(|number| format!("{number:03}")).collect(),
        }
    }
}

const fn binary(name: &'static str, bytes: u64, md5: Option<&'static str>, is_test: bool) -> FileFormat {
    FileFormat { name, bytes: Some(bytes), md5, is_test }
}

const fn pickle(name: &'static str, md5: &'static str, is_test: bool) -> FileFormat {
    FileFormat { name, bytes: None, md5: Some(md5), is_test }
}

const fn square(side: usize) -> ImageShape {
    ImageShape { height: side, width: side, channels: 3 }
}

/// The versions that a data set is published in, in the order they are looked for.
pub(super) fn of(dataset: DatasetName) -> &'static [&'static Format] {
    static CIFAR10_VERSIONS: [&Format; 2] = [&CIFAR10, &CIFAR10_PYTHON];
    static CIFAR100_VERSIONS: [&Format; 2] = [&CIFAR100, &CIFAR100_PYTHON];
    static IMAGENET16_VERSIONS: [&Format; 1] = [&IMAGENET16];
    match dataset {
        DatasetName::Digits | DatasetName::Folder => &[],
        DatasetName::Cifar10 => &CIFAR10_VERSIONS,
        DatasetName::Cifar100 => &CIFAR100_VERSIONS,
        DatasetName::ImageNet16 => &IMAGENET16_VERSIONS,
    }
}

const NORMALISATION10: ([f32; 3], [f32; 3]) =
    ([0.491_399_68, 0.482_158_27, 0.446_531_24], [0.247_032_33, 0.243_485_05, 0.261_587_68]);
const CLASSES10: Classes =
    Classes::Named(&["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]);

pub(super) static CIFAR10: Format = Format {
    dataset: DatasetName::Cifar10,
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary",
    archive_md5: Some("c32a1d4ab5d03f1284b67883e8d87530"),
    files: &[
        binary("data_batch_1.bin", 30_730_000, Some("5dd7e06a14cb22eb9f671a540d1b7c25"), false),
        binary("data_batch_2.bin", 30_730_000, Some("5ea93a67294ea407fff1d09f752e9692"), false),
        binary("data_batch_3.bin", 30_730_000, Some("942cd6a4bcdd0dd3c604fbe906cb4421"), false),
        binary("data_batch_4.bin", 30_730_000, Some("ae636b3ba5c66a11e91e8cb52e771fcb"), false),
        binary("data_batch_5.bin", 30_730_000, Some("53f37980c15c3d472c316c40844f3f0d"), false),
        binary("test_batch.bin", 30_730_000, Some("803d5f7f4d78ea53de84dbe85f74fb6d"), true),
    ],
    encoding: Encoding::Records { labels: &[10] },
    shape: square(32),
    normalisation: NORMALISATION10,
    classes: CLASSES10,
};

pub(super) static CIFAR10_PYTHON: Format = Format {
    dataset: DatasetName::Cifar10,
    folder: "cifar-10-batches-py",
    archive: "cifar-10-python",
    archive_md5: Some("c58f30108f718f92721af3b95e74349a"),
    files: &[
        pickle("data_batch_1", "c99cafc152244af753f735de768cd75f", false),
        pickle("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec", false),
        pickle("data_batch_3", "54ebc095f3ab1f0389bbae665268c751", false),
        pickle("data_batch_4", "634d18415352ddfa80567beed471001a", false),
        pickle("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb", false),
        pickle("test_batch", "40351d587109b95175f43aff81a1287e", true),
    ],
    encoding: Encoding::Pickle { labels: &[("labels", 10)], first: 0 },
    shape: square(32),
    normalisation: NORMALISATION10,
    classes: CLASSES10,
};

const NORMALISATION100: ([f32; 3], [f32; 3]) =
    ([0.507_075_16, 0.486_548_87, 0.440_917_84], [0.267_334_3, 0.256_438_46, 0.276_150_47]);

pub(super) static CIFAR100: Format = Format {
    dataset: DatasetName::Cifar100,
    folder: "cifar-100-binary",
    archive: "cifar-100-binary",
    archive_md5: Some("03b5dce01913d631647c71ecec9e9cb8"),
    files: &[binary("train.bin", 153_700_000, None, false), binary("test.bin", 30_740_000, None, true)],
    encoding: Encoding::Records { labels: &[20, 100] },
    shape: square(32),
    normalisation: NORMALISATION100,
    classes: CLASSES100,
};

pub(super) static CIFAR100_PYTHON: Format = Format {
    dataset: DatasetName::Cifar100,
    folder: "cifar-100-python",
    archive: "cifar-100-python",
    archive_md5: Some("eb9058c3a382ffc7106e4002c42a8d85"),
    files: &[
        pickle("train", "16019d7e3df5f24257cddd939b257f8d", false),
        pickle("test", "f0ef6b0ae62326f3e7ffdfab6717acfc", true),
    ],
    encoding: Encoding::Pickle { labels: &[("coarse_labels", 20), ("fine_labels", 100)], first: 0 },
    shape: square(32),
    normalisation: NORMALISATION100,
    classes: CLASSES100,
};

pub(super) static IMAGENET16: Format = Format {
    dataset: DatasetName::ImageNet16,
    folder: "ImageNet16",
    archive: "ImageNet16",
    archive_md5: None,
    files: &[
        pickle("train_data_batch_1", "27846dcaa50de8e21a7d1a35f30f0e91", false),
        pickle("train_data_batch_2", "c7254a054e0e795c69120a5727050e3f", false),
        pickle("train_data_batch_3", "4333d3df2e5ffb114b05d2ffc19b1e87", false),
        pickle("train_data_batch_4", "1620cdf193304f4a92677b695d70d10f", false),
        pickle("train_data_batch_5", "348b3c2fdbb3940c4e9e834affd3b18d", false),
        pickle("train_data_batch_6", "6e765307c242a1b3d7d5ef9139b48945", false),
        pickle("train_data_batch_7", "564926d8cbf8fc4818ba23d2faac7564", false),
        pickle("train_data_batch_8", "f4755871f718ccb653440b9dd0ebac66", false),
        pickle("train_data_batch_9", "bb6dd660c38c58552125b1a92f86b5d4", false),
        pickle("train_data_batch_10", "8f03f34ac4b42271a294f91bf480f29b", false),
        pickle("val_data", "3410e3017fdaefba8d5073aaa65e4bd6", true),
    ],
    encoding: Encoding::Pickle { labels: &[("labels", 1000)], first: 1 },
    shape: square(16),
    // [122.68, 116.66, 104.01] / 255 and [63.22, 61.26, 65.09] / 255, as in NAS-Bench-201's code.
    normalisation: ([122.68 / 255.0, 116.66 / 255.0, 104.01 / 255.0], [63.22 / 255.0, 61.26 / 255.0, 65.09 / 255.0]),
    classes: Classes::Numbered(120),
};

#[rustfmt::skip]
const CLASSES100: Classes = Classes::Named(&[
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
]);

impl Format {
    /// Whether the official checksum of every file is known.
    pub(super) fn has_checksums(&self) -> bool {
        self.files.iter().all(|file| file.md5.is_some())
    }

    /// Which of the files a path in an archive names. `train` and `test` are so common that the folder must fit too.
    pub(super) fn file_at(&self, path: &std::path::Path) -> Option<usize> {
        let name = path.file_name()?;
        let at = self.files.iter().position(|file| name == file.name)?;
        let is_rare = self.files[at].name.contains(['_', '.']);
        let folder = || path.parent().and_then(std::path::Path::file_name);
        (is_rare || folder().is_some_and(|folder| folder == self.folder)).then_some(at)
    }
}
