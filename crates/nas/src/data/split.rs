use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use super::{DataError, Dataset};

use crate::{
    checksum,
    python_random::PythonRandom,
    random::{self, Purpose},
    sniff::{self, FileKind},
    suggest,
};

/// The training part in two: omega learns on one half, alpha and the importance of operations use the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Where it comes from.
    pub kind: SplitKind,
    /// `D_train`: indices into the training part, ascending unless they come from a file.
    pub train: Vec<u32>,
    /// `D_val`, likewise.
    pub valid: Vec<u32>,
}

/// Where a split comes from, as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitKind {
    /// NAS-Bench-201's split of CIFAR-10.
    Benchmark,
    /// The first half trains omega.
    FirstHalf,
    /// A random half trains omega.
    Half {
        /// The seed it is drawn from.
        seed: u64,
    },
    /// A random part trains omega.
    Part {
        /// Share of the images.
        share: f64,
        /// The seed it is drawn from.
        seed: u64,
    },
    /// The validation images of a folder of pictures are `D_val`.
    Folder,
    /// Read from a file.
    File {
        /// The file.
        path: PathBuf,
    },
}

impl SplitKind {
    /// Whether a seed decides it.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Half { .. } | Self::Part { .. })
    }
}

/// Which split to use (`data.split`).
///
/// | value | meaning |
/// |---|---|
/// | `auto` (default) | `benchmark` for CIFAR-10, `folder` where there is a folder `val`, `half` for everything else |
/// | `benchmark` | the 25,000 + 25,000 of NAS-Bench-201, CIFAR-10 only |
/// | `first-half` | the first half trains omega (DrNAS, beta-DARTS, DARTS-PT) |
/// | `half` | a random half from the run's seed |
/// | 0.8, or another share | a random part of that size trains omega, from the run's seed |
/// | `folder` | own pictures: those in `train` and those in `val` |
/// | a path | JSON with `train` and `valid`, also gzipped, also as NAS-Bench-201's `cifar-split.txt` |
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SplitValue", into = "SplitValue")]
pub enum SplitChoice {
    /// By data set.
    #[default]
    Auto,
    /// [`SplitKind::Benchmark`]
    Benchmark,
    /// [`SplitKind::FirstHalf`]
    FirstHalf,
    /// [`SplitKind::Half`] from the run's seed.
    Half,
    /// [`SplitKind::Part`] from the run's seed; more than 0 and less than 1.
    Part(f64),
    /// [`SplitKind::Folder`]
    Folder,
    /// [`SplitKind::File`]
    File(PathBuf),
}

/// Training images of CIFAR-10.
const CIFAR10_TRAIN: usize = 50_000;

impl Split {
    /// The chosen split of a data set's training part.
    ///
    /// # Errors
    /// [`DataError::Split`] for the benchmark's split of anything but CIFAR-10, for that of a folder where there are no
    /// validation images, for fewer than 2 samples and for a file that holds no valid split; [`DataError::Io`].
    pub fn choose(choice: &SplitChoice, dataset: &Dataset, seed: u64) -> Result<Self, DataError> {
        let (name, samples) = (dataset.name(), dataset.train().len());
        let is_cifar10 = name == "cifar10" && samples == CIFAR10_TRAIN;
        let split = match choice {
            SplitChoice::Benchmark | SplitChoice::Auto if is_cifar10 => Self::benchmark(),
            SplitChoice::Benchmark => {
                let why = format!("is made for cifar10 with 50000 training images, not for {name} with {samples}");
                return Err(DataError::Split { origin: "benchmark".to_owned(), why });
            }
            SplitChoice::Folder | SplitChoice::Auto if dataset.before_valid().is_some() => {
                let valid = dataset.before_valid().unwrap_or(samples);
                let numbers = |range: std::ops::Range<usize>| range.map(|at| at as u32).collect();
                Self { kind: SplitKind::Folder, train: numbers(0..valid), valid: numbers(valid..samples) }
            }
            SplitChoice::Folder => {
                let why = "needs --dataset folder and a folder val beside train".to_owned();
                return Err(DataError::Split { origin: "folder".to_owned(), why });
            }
            SplitChoice::Auto | SplitChoice::Half => Self::half(samples, seed),
            SplitChoice::Part(share) => Self::part(samples, *share, seed),
            SplitChoice::FirstHalf => Self::first_half(samples),
            SplitChoice::File(path) => Self::read(path, samples)?,
        };
        split.check(samples)?;
        Ok(split)
    }

    /// Halves that lack classes, in words.
    ///
    /// # Errors
    /// [`DataError::Split`]: a half with images of one class only.
    pub fn classes(&self, dataset: &Dataset) -> Result<Option<String>, DataError> {
        let classes = dataset.classes().len();
        let mut missing = Vec::new();
        for (name, images) in [("D_train", &self.train), ("D_val", &self.valid)] {
            let mut seen = vec![false; classes];
            images.iter().for_each(|&i| seen[dataset.train().labels[i as usize] as usize] = true);
            let known = seen.iter().filter(|&&s| s).count();
            if known < 2 {
                let why =
                    format!("{name} has {} images, all of one class of {classes}, expected at least 2", images.len());
                return Err(DataError::Split { origin: self.kind.to_string(), why });
            }
            if known < classes {
                missing.push(format!("{name} has images of {known} of {classes} classes"));
            }
        }
        Ok((!missing.is_empty()).then(|| format!("split {}: {}", self.kind, missing.join(", "))))
    }

    /// Tells splits of other images apart, wherever they come from.
    pub fn fingerprint(&self) -> String {
        let indices = |part: &[u32]| part.iter().flat_map(|i| i.to_le_bytes()).collect::<Vec<_>>();
        let count = self.train.len().to_le_bytes().to_vec();
        checksum::of_bytes(&[count, indices(&self.train), indices(&self.valid)].concat())
    }

    /// NAS-Bench-201's split of CIFAR-10 (`cifar-split.txt` of D-X-Y/AutoDL-Projects), equal to it in all 50,000 indices.
    /// It is the first half of `random.seed(1021); random.shuffle(list(range(50000)))` in Python.
    pub fn benchmark() -> Self {
        let mut order: Vec<u32> = (0..CIFAR10_TRAIN as u32).collect();
        PythonRandom::new(1021).shuffle(&mut order);
        Self::halves(SplitKind::Benchmark, order)
    }

    /// The first and the second half; the second has one more if the number is odd.
    pub fn first_half(samples: usize) -> Self {
        Self::halves(SplitKind::FirstHalf, (0..samples as u32).collect())
    }

    /// Two random halves.
    pub fn half(samples: usize, seed: u64) -> Self {
        Self::halves(SplitKind::Half { seed }, shuffled(samples, seed))
    }

    /// A random part of `share` of the images, rounded, and the rest. Half of them are those of [`Split::half`], which has one
    /// less in its first part if the number is odd.
    pub fn part(samples: usize, share: f64, seed: u64) -> Self {
        let first = (samples as f64 * share).round() as usize;
        Self::in_two(SplitKind::Part { share, seed }, shuffled(samples, seed), first.min(samples))
    }

    fn halves(kind: SplitKind, order: Vec<u32>) -> Self {
        let first = order.len() / 2;
        Self::in_two(kind, order, first)
    }

    fn in_two(kind: SplitKind, mut order: Vec<u32>, first: usize) -> Self {
        let mut valid = order.split_off(first);
        order.sort_unstable();
        valid.sort_unstable();
        Self { kind, train: order, valid }
    }

    /// A split file: JSON, plain or gzipped, with `train` and `valid`, each either a list of numbers or, as in
    /// NAS-Bench-201's own file, `["int", ["0", "5", ...]]`.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Split`].
    pub fn read(path: &Path, samples: usize) -> Result<Self, DataError> {
        let wrong = |why: String| DataError::Split { origin: path.display().to_string(), why };
        let file = BufReader::new(File::open(path).map_err(DataError::io(path))?);
        let reader: Box<dyn Read> =
            if path.extension().is_some_and(|e| e == "gz") { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        // A split of a few million samples at most: a larger file is something else.
        let json: serde_json::Value = serde_json::from_reader(reader.take(1 << 28)).map_err(|e| {
            wrong(match sniff::file(path) {
                Some(what) if what != FileKind::Gzip => format!("is {what}, expected JSON with `train` and `valid`"),
                _ => format!("no JSON: {e}"),
            })
        })?;
        let list = |key: &str| indices(json.get(key)).map_err(|why| wrong(format!("'{key}' {why}")));
        let kind = SplitKind::File { path: path.to_owned() };
        let split = Self { kind, train: list("train")?, valid: list("valid")? };
        split.check(samples)?;
        Ok(split)
    }

    /// Whether both halves have samples, all in range, none twice.
    ///
    /// # Errors
    /// [`DataError::Split`].
    pub fn check(&self, samples: usize) -> Result<(), DataError> {
        let wrong = |why| Err(DataError::Split { origin: self.kind.to_string(), why });
        let mut seen = vec![""; samples];
        for (name, list) in [("train", &self.train), ("valid", &self.valid)] {
            if list.is_empty() {
                return wrong(format!("'{name}' is empty ({samples} samples to split)"));
            }
            for &index in list {
                match seen.get_mut(index as usize) {
                    None => {
                        return wrong(format!("'{name}' has index {index}, but there are {samples} training samples"));
                    }
                    Some(place) if *place == name => return wrong(format!("'{name}' has index {index} twice")),
                    Some(place) if !place.is_empty() => return wrong(format!("index {index} is in both halves")),
                    Some(place) => *place = name,
                }
            }
        }
        Ok(())
    }
}

fn shuffled(samples: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..samples as u32).collect();
    random::shuffle(&mut random::generator(seed, Purpose::Split, 0, 0), &mut order);
    order
}

fn indices(value: Option<&serde_json::Value>) -> Result<Vec<u32>, String> {
    let list = value.ok_or("is missing")?.as_array().ok_or("is not a list")?;
    let list = match list.as_slice() {
        [kind, inner] if kind == "int" => inner.as_array().ok_or("is not a list")?,
        _ => list,
    };
    let number = |item: &serde_json::Value| {
        let number = item.as_u64().or_else(|| item.as_str()?.parse().ok());
        number.and_then(|n| u32::try_from(n).ok()).ok_or_else(|| format!("holds {item}, which is not an index"))
    };
    list.iter().map(number).collect()
}

impl fmt::Display for SplitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Benchmark => f.write_str("benchmark"),
            Self::FirstHalf => f.write_str("first-half"),
            Self::Half { seed } => write!(f, "half (seed {seed})"),
            Self::Part { share, seed } => write!(f, "{share} (seed {seed})"),
            Self::Folder => f.write_str("folder"),
            Self::File { path } => write!(f, "{}", path.display()),
        }
    }
}

const OTHERS: &str = "a share of the images such as 0.8, or a file (with a / or . in its path)";

const CHOICES: [&str; 5] = ["auto", "benchmark", "first-half", "half", "folder"];

impl SplitChoice {
    fn share(share: f64) -> Result<Self, DataError> {
        if share > 0.0 && share < 1.0 {
            return Ok(Self::Part(share));
        }
        let why = "is no share of the images, expected more than 0 and less than 1, such as 0.8".to_owned();
        Err(DataError::Split { origin: share.to_string(), why })
    }

    pub(super) fn hint_for(given: &str) -> String {
        let known = suggest::one_of(CHOICES);
        match suggest::nearest(given, CHOICES) {
            Some(name) => {
                let meant = suggest::did_you_mean(name);
                format!("{meant} Valid are {known}, {OTHERS}")
            }
            None => format!("valid are {known}, {OTHERS}"),
        }
    }
}

impl FromStr for SplitChoice {
    type Err = DataError;

    fn from_str(given: &str) -> Result<Self, DataError> {
        if let Ok(share) = given.parse() {
            return Self::share(share);
        }
        Ok(match given {
            "auto" => Self::Auto,
            "benchmark" => Self::Benchmark,
            "first-half" => Self::FirstHalf,
            "half" => Self::Half,
            "folder" => Self::Folder,
            path if path.contains(['/', '\\', '.']) => Self::File(path.into()),
            _ => return Err(DataError::UnknownSplit { given: given.to_owned() }),
        })
    }
}

impl fmt::Display for SplitChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Benchmark => f.write_str("benchmark"),
            Self::FirstHalf => f.write_str("first-half"),
            Self::Half => f.write_str("half"),
            Self::Part(share) => write!(f, "{share}"),
            Self::Folder => f.write_str("folder"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// As a configuration has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the name of a split, a share of the images such as 0.8, or the path of a file")]
pub(crate) enum SplitValue {
    /// A share.
    Share(f64),
    /// Anything else.
    Text(String),
}

impl TryFrom<SplitValue> for SplitChoice {
    type Error = String;

    /// For configurations, where the message carries the hint along.
    fn try_from(given: SplitValue) -> Result<Self, String> {
        let said = |e: DataError, given: &str| format!("{e}: {}", Self::hint_for(given));
        match given {
            SplitValue::Share(share) => Self::share(share).map_err(|e| said(e, &share.to_string())),
            SplitValue::Text(given) => given.parse().map_err(|e| said(e, &given)),
        }
    }
}

impl From<SplitChoice> for SplitValue {
    fn from(choice: SplitChoice) -> Self {
        match choice {
            SplitChoice::Part(share) => Self::Share(share),
            other => Self::Text(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ImageShape, Normalisation, Part};
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn the_benchmark_split_begins_as_published() {
        let split = Split::benchmark();
        assert_eq!(split.train[..10], [0, 5, 7, 11, 13, 15, 16, 17, 20, 24]);
        assert_eq!(split.valid[..10], [1, 2, 3, 4, 6, 8, 9, 10, 12, 14]);
        split.check(50_000).unwrap();
    }

    proptest! {
        #[test]
        fn halves_are_a_partition(samples in 2usize..500, seed: u64) {
            for split in [Split::half(samples, seed), Split::first_half(samples)] {
                split.check(samples).unwrap();
                prop_assert_eq!(split.train.len(), samples / 2);
                prop_assert_eq!(split.train.len() + split.valid.len(), samples);
            }
            prop_assert_eq!(Split::half(samples, seed), Split::half(samples, seed));
            let part = Split::part(samples, 0.7, seed);
            prop_assert_eq!(part.train.len(), (samples as f64 * 0.7).round() as usize);
            prop_assert_eq!(part.train.len() + part.valid.len(), samples);
            prop_assert_eq!(Split::part(2 * samples, 0.5, seed).train, Split::half(2 * samples, seed).train);
        }

        #[test]
        fn no_file_content_panics(content: Vec<u8>, text in "\\PC{0,60}") {
            for bytes in [&content[..], text.as_bytes()] {
                let mut file = tempfile::NamedTempFile::new().unwrap();
                file.write_all(bytes).unwrap();
                let _ = Split::read(file.path(), 10);
            }
        }
    }

    fn read(json: &str) -> Result<Split, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(json.as_bytes()).unwrap();
        Split::read(file.path(), 6).map_err(|e| e.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn both_file_forms_are_read() {
        let plain = read(r#"{"train": [4, 0], "valid": [1, 2, 5]}"#).unwrap();
        assert_eq!((&plain.train[..], &plain.valid[..]), (&[4, 0][..], &[1, 2, 5][..]));
        let official = read(r#"{"train": ["int", ["4", "0"]], "valid": ["int", ["1", "2", "5"]]}"#).unwrap();
        assert_eq!((official.train, official.valid), (plain.train, plain.valid));
    }

    #[test]
    fn wrong_files_are_refused_with_the_reason() {
        let error = |json: &str| read(json).unwrap_err();
        assert_eq!(error(r#"{"train": [1]}"#), "split FILE: 'valid' is missing");
        assert_eq!(error(r#"{"train": [1], "valid": [1]}"#), "split FILE: index 1 is in both halves");
        assert_eq!(error(r#"{"train": [1, 1], "valid": [2]}"#), "split FILE: 'train' has index 1 twice");
        assert_eq!(
            error(r#"{"train": [1], "valid": [6]}"#),
            "split FILE: 'valid' has index 6, but there are 6 training samples"
        );
        assert_eq!(error(r#"{"train": [1], "valid": [-2]}"#), "split FILE: 'valid' holds -2, which is not an index");
        assert_eq!(error(r#"{"train": [], "valid": [2]}"#), "split FILE: 'train' is empty (6 samples to split)");
        assert!(error("{").starts_with("split FILE: no JSON"));
    }

    #[test]
    fn choices_by_data_set() {
        let kind = |choice: &str, dataset, samples| {
            let part = Part { images: vec![0; samples].into(), labels: vec![0; samples] };
            let normalisation = Normalisation { mean: vec![0.0], std: vec![1.0] };
            let (shape, classes) = (ImageShape { height: 1, width: 1, channels: 1 }, vec![String::new(); 2]);
            let dataset = Dataset::new(dataset, shape, classes, 255, normalisation, part, Part::default()).unwrap();
            Split::choose(&choice.parse().unwrap(), &dataset, 5).map(|s| s.kind).map_err(|e| e.to_string())
        };
        assert_eq!(kind("auto", "cifar10", 50_000), Ok(SplitKind::Benchmark));
        assert_eq!(kind("auto", "cifar10", 100), Ok(SplitKind::Half { seed: 5 }));
        assert_eq!(kind("auto", "digits", 1437), Ok(SplitKind::Half { seed: 5 }));
        assert_eq!(kind("first-half", "cifar10", 50_000), Ok(SplitKind::FirstHalf));
        assert_eq!(
            kind("benchmark", "digits", 1437).unwrap_err(),
            "split benchmark: is made for cifar10 with 50000 training images, not for digits with 1437"
        );
        assert_eq!(
            kind("folder", "digits", 10).unwrap_err(),
            "split folder: needs --dataset folder and a folder val beside train"
        );
        assert!(kind("half", "x", 1).unwrap_err().contains("'train' is empty (1 samples to split)"));
        let error = "benchmrk".parse::<SplitChoice>().unwrap_err();
        assert!(error.hint().unwrap().starts_with("did you mean `benchmark`?"));
        assert_eq!(kind("0.8", "x", 10), Ok(SplitKind::Part { share: 0.8, seed: 5 }));
        for share in ["0", "1", "1.5", "-0.2", "nan"] {
            let error = share.parse::<SplitChoice>().unwrap_err().to_string();
            assert!(error.contains("is no share of the images, expected more than 0 and less than 1"), "{error}");
        }
        assert!(kind("0.01", "x", 10).unwrap_err().contains("'train' is empty"));
        assert_eq!("a/b.json".parse::<SplitChoice>().unwrap().to_string(), "a/b.json");
    }
}
