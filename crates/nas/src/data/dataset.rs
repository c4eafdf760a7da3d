use std::fmt;

use engine::ImageShape;

use super::{DataError, Images, Verification};
use crate::checksum::Sum;

/// Per-channel shift and scale of pixels in `[0, 1]`: `(pixel - mean) / std`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalisation {
    /// `[C]`
    pub mean: Vec<f32>,
    /// `[C]`, positive.
    pub std: Vec<f32>,
}

impl Normalisation {
    /// Whether it can be applied to images of so many channels; else why not.
    pub(crate) fn check(&self, channels: usize) -> Result<(), String> {
        let Self { mean, std } = self;
        if mean.len() != channels || std.len() != channels {
            return Err(format!("{} means and {} deviations for {channels} channels", mean.len(), std.len()));
        }
        match mean.iter().find(|m| !m.is_finite()).or(std.iter().find(|s| !(s.is_finite() && **s > 0.0))) {
            Some(bad) => Err(format!("cannot normalise with {bad}: means must be finite, deviations positive")),
            None => Ok(()),
        }
    }
}

/// Mean and standard deviation (of the population) of each channel, pixels in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ChannelStatistics {
    /// `[C]`
    pub mean: Vec<f64>,
    /// `[C]`
    pub std: Vec<f64>,
}

impl From<ChannelStatistics> for Normalisation {
    fn from(statistics: ChannelStatistics) -> Self {
        let numbers = |values: &[f64]| values.iter().map(|&value| value as f32).collect();
        Self { mean: numbers(&statistics.mean), std: numbers(&statistics.std) }
    }
}

/// Which part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartName {
    /// Training images; a search splits them in two.
    Train,
    /// Test images.
    Test,
}

impl PartName {
    /// `train` or `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Images with their labels.
#[derive(Clone, Default, PartialEq)]
pub struct Part {
    /// `[n, H, W, C]`
    pub images: Images,
    /// `[n]`
    pub labels: Vec<u32>,
}

/// A part that is being put together.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// `[n, H, W, C]`
    pub(super) images: Vec<u8>,
    /// `[n]`
    pub(super) labels: Vec<u32>,
}

impl From<Samples> for Part {
    fn from(Samples { images, labels }: Samples) -> Self {
        Self { images: images.into(), labels }
    }
}

impl Part {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Samples of each class, `[classes]`; labels beyond are left out.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Mean and standard deviation of each channel over all pixels, with `pixel_max` as 1.
    ///
    /// # Errors
    /// [`DataError::Io`] if the images are on disk and cannot be read.
    pub fn channel_statistics(&self, shape: ImageShape, pixel_max: u8) -> Result<ChannelStatistics, DataError> {
        let channels = shape.channels;
        // A histogram makes it exact and fast: sums of integers, then 256 products.
        let mut histogram = vec![[0u64; 256]; channels];
        self.images.each(shape.len(), &mut |values| {
            for pixel in values.chunks_exact(channels) {
                for (counts, &value) in histogram.iter_mut().zip(pixel) {
                    counts[value as usize] += 1;
                }
            }
        })?;
        let scale = f64::from(pixel_max);
        let pixels = (self.images.values() / channels).max(1) as f64;
        let moments = histogram.iter().map(|counts| {
            let sum: f64 = counts.iter().zip(0u64..).map(|(&n, v)| (n * v) as f64).sum();
            let squares: f64 = counts.iter().zip(0u64..).map(|(&n, v)| (n * v * v) as f64).sum();
            let mean = sum / pixels;
            (mean / scale, (squares / pixels - mean * mean).max(0.0).sqrt() / scale)
        });
        let (mean, std) = moments.unzip();
        Ok(ChannelStatistics { mean, std })
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({} samples)", self.len())
    }
}

/// A classification data set in memory. Images and labels are consistent by construction.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    shape: ImageShape,
    classes: Vec<String>,
    pixel_max: u8,
    normalisation: Normalisation,
    train: Part,
    test: Part,
    /// Training images that come before those of a validation part of its own.
    before_valid: Option<usize>,
    fingerprint: Option<String>,
    verification: Verification,
}

impl Dataset {
    /// A data set from its parts. `pixel_max` is the pixel value that counts as 1 (255 for ordinary images).
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the sizes do not fit together, a label names no class, there is no training
    /// sample, or the normalisation has other than one finite mean and positive deviation a channel.
    pub fn new(
        name: impl Into<String>,
        shape: ImageShape,
        classes: Vec<String>,
        pixel_max: u8,
        normalisation: Normalisation,
        train: Part,
        test: Part,
    ) -> Result<Self, DataError> {
        let name = name.into();
        check(shape, &classes, pixel_max, &normalisation, &train, &test)
            .map_err(|why| DataError::Inconsistent { name: name.clone(), why })?;
        Ok(Self {
            name,
            shape,
            classes,
            pixel_max,
            normalisation,
            train,
            test,
            before_valid: None,
            fingerprint: None,
            verification: Verification::Structure,
        })
    }

    /// The same with what only data sets without published files have: how many of the training images come before those
    /// of a validation part, and what tells images and labels apart from all others.
    pub(super) fn of_ones_own(self, before_valid: Option<usize>, fingerprint: String) -> Self {
        Self { before_valid, fingerprint: Some(fingerprint), verification: Verification::Own, ..self }
    }

    /// The same with a fingerprint of all images and labels.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub(super) fn fingerprinted(self) -> Result<Self, DataError> {
        let mut all = Sum::default();
        for part in [&self.train, &self.test] {
            let (mut images, mut labels) = (Sum::default(), Sum::default());
            part.images.each(self.shape.len(), &mut |values| images.add(values))?;
            part.labels.iter().for_each(|label| labels.add(&label.to_le_bytes()));
            [images, labels].into_iter().for_each(|sum| all.add(sum.finish().as_bytes()));
        }
        Ok(Self { fingerprint: Some(all.finish()), ..self })
    }

    /// The same, known to be the published one so far.
    pub(super) fn verified(self, verification: Verification) -> Self {
        Self { verification, ..self }
    }

    /// The same with every `factor` x `factor` block of pixels averaged into one (rounded to the nearest): images of
    /// `[H / factor, W / factor, C]`. The normalisation stays (Chrabaszcz et al. 2017, "box").
    ///
    /// # Errors
    /// [`DataError::Downsample`] if `factor` is 0 or does not divide both sides; [`DataError::Io`].
    pub fn downsampled(mut self, factor: usize) -> Result<Self, DataError> {
        let ImageShape { height, width, .. } = self.shape;
        if factor == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            return Err(DataError::Downsample { factor, height, width });
        }
        if factor > 1 {
            for part in [&mut self.train, &mut self.test] {
                part.images = box_average(&part.images.to_vec()?, self.shape, factor).into();
            }
            self.shape = ImageShape { height: height / factor, width: width / factor, ..self.shape };
        }
        Ok(self)
    }

    /// Whether there is something to tell apart.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`]: all training images are of one class.
    pub(crate) fn several_classes(&self) -> Result<(), DataError> {
        let counts = self.train.class_counts(self.classes.len());
        match counts.iter().filter(|&&count| count > 0).count() {
            0 | 1 => {
                let (images, classes) = (self.train.len(), self.classes.len());
                let why = format!("all {images} training images are of one class of {classes}, expected at least 2");
                Err(DataError::Inconsistent { name: self.name.clone(), why })
            }
            _ => Ok(()),
        }
    }

    /// How far it is known to be the published one.
    pub fn verification(&self) -> Verification {
        self.verification
    }

    /// The name it is recorded under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size of every image.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Class names, by label.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The pixel value that counts as 1.
    pub fn pixel_max(&self) -> u8 {
        self.pixel_max
    }

    /// What a loader normalises with.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// Training images that come before those of the data set's own validation part; `None` without one.
    pub fn before_valid(&self) -> Option<usize> {
        self.before_valid
    }

    /// Tells images and labels apart from all others, where they are not those of published files.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// One of the two parts.
    pub fn part(&self, name: PartName) -> &Part {
        match name {
            PartName::Train => &self.train,
            PartName::Test => &self.test,
        }
    }

    /// Training part.
    pub fn train(&self) -> &Part {
        &self.train
    }

    /// Test part.
    pub fn test(&self) -> &Part {
        &self.test
    }
}

/// Means of blocks of `factor` x `factor` pixels of images of this shape, whose sides `factor` divides.
fn box_average(images: &[u8], shape: ImageShape, factor: usize) -> Vec<u8> {
    let row = shape.width * shape.channels;
    let area = (factor * factor) as u32;
    let mut small = Vec::with_capacity(images.len() / (factor * factor));
    let mut sums = vec![0u32; row / factor];
    // Images lie one behind the other and their heights are multiples of `factor`: rows need not know their image.
    for rows in images.chunks_exact(row * factor) {
        sums.fill(0);
        for line in rows.chunks_exact(row) {
            for (column, pixel) in line.chunks_exact(shape.channels).enumerate() {
                let sums = &mut sums[column / factor * shape.channels..];
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += u32::from(value);
                }
            }
        }
        small.extend(sums.iter().map(|sum| ((sum + area / 2) / area) as u8));
    }
    small
}

fn check(
    shape: ImageShape,
    classes: &[String],
    pixel_max: u8,
    normalisation: &Normalisation,
    train: &Part,
    test: &Part,
) -> Result<(), String> {
    if shape.is_empty() {
        let ImageShape { height, width, channels } = shape;
        return Err(format!("images of {height}x{width} with {channels} channels have no values"));
    }
    if classes.len() < 2 {
        return Err(format!("{} classes, at least 2 are needed", classes.len()));
    }
    if pixel_max == 0 {
        return Err("the largest pixel value is 0".to_owned());
    }
    if train.is_empty() {
        return Err("no training samples".to_owned());
    }
    normalisation.check(shape.channels)?;
    for (part, name) in [(train, "train"), (test, "test")] {
        if part.images.values() != part.len() * shape.len() {
            let expected = part.len() * shape.len();
            return Err(format!("{name}: {} pixel values, expected {expected}", part.images.values()));
        }
        if let Some(record) = part.labels.iter().position(|&label| label as usize >= classes.len()) {
            let (label, max) = (part.labels[record], classes.len() - 1);
            return Err(format!("{name}: sample {record} has label {label}, expected 0 to {max}"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `train` and `test` samples of 2 classes, each pixel telling where it came from.
    pub(in super::super) fn counting(shape: ImageShape, train: usize, test: usize) -> Dataset {
        let part = |n: usize| Part {
            images: (0..n * shape.len()).map(|i| (i % 251) as u8).collect::<Vec<_>>().into(),
            labels: (0..n as u32).map(|i| i % 2).collect(),
        };
        let normalisation = Normalisation { mean: vec![0.25; shape.channels], std: vec![0.5; shape.channels] };
        let classes = vec!["even".to_owned(), "odd".to_owned()];
        Dataset::new("counting", shape, classes, 255, normalisation, part(train), part(test)).unwrap()
    }

    #[test]
    fn statistics_are_those_of_the_pixels() {
        let part = Part { images: vec![0, 10, 16, 10, 0, 10, 16, 10].into(), labels: vec![0] };
        let shape = ImageShape { height: 2, width: 2, channels: 2 };
        let stats = part.channel_statistics(shape, 16).unwrap();
        assert_eq!(stats.mean, [0.5, 0.625]);
        assert_eq!(stats.std, [0.5, 0.0]);
    }

    #[test]
    fn downsampling_averages_blocks() {
        let shape = ImageShape { height: 2, width: 4, channels: 2 };
        // Two images; channel 0 counts, channel 1 is constant.
        let images = (0..16u8).flat_map(|i| [10 * i, 7]).collect::<Vec<_>>().into();
        let part = Part { images, labels: vec![0, 1] };
        let normalisation = Normalisation { mean: vec![0.5; 2], std: vec![0.5; 2] };
        let classes = vec!["a".to_owned(), "b".to_owned()];
        let whole = Dataset::new("x", shape, classes, 255, normalisation, part, Part::default()).unwrap();
        let same = whole.clone().downsampled(1).unwrap();
        assert_eq!((same.shape(), same.train()), (shape, whole.train()));
        let half = whole.clone().downsampled(2).unwrap();
        assert_eq!(half.shape(), ImageShape { height: 1, width: 2, channels: 2 });
        assert_eq!(half.train().images.to_vec().unwrap(), [25, 7, 45, 7, 105, 7, 125, 7]);
        assert_eq!((half.train().len(), half.test().len()), (2, 0));
        for (factor, text) in [(0, "0"), (3, "3"), (4, "4")] {
            let error = whole.clone().downsampled(factor).unwrap_err();
            let start = format!("cannot downsample images of 2x4 by {text}");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
        assert_eq!(
            box_average(&[0, 1, 0, 1, 255, 255, 255, 255], ImageShape { height: 2, width: 2, channels: 1 }, 2),
            [1, 255]
        );
    }

    proptest! {
        #[test]
        fn downsampling_keeps_the_mean(factor in 1usize..4, height in 1usize..4, width in 1usize..4, seed: u64) {
            let shape = ImageShape { height: height * factor, width: width * factor, channels: 3 };
            let images: Vec<u8> = (0..4 * shape.len() as u64)
                .map(|i| ((i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
                .collect();
            let small = box_average(&images, shape, factor);
            prop_assert_eq!(small.len() * factor * factor, images.len());
            let mean = |values: &[u8]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
            prop_assert!((mean(&small) - mean(&images)).abs() <= 0.5);
        }
    }

    #[test]
    fn inconsistent_parts_are_refused() {
        let shape = ImageShape { height: 1, width: 2, channels: 1 };
        let make = |images: Vec<u8>, labels: Vec<u32>, std: f32| {
            let classes = vec!["a".to_owned(), "b".to_owned()];
            let normalisation = Normalisation { mean: vec![0.0], std: vec![std] };
            Dataset::new(
                "x",
                shape,
                classes,
                255,
                normalisation,
                Part { images: images.into(), labels },
                Part::default(),
            )
            .map_err(|e| e.to_string())
        };
        assert!(make(vec![1, 2], vec![1], 1.0).is_ok());
        assert_eq!(make(vec![1, 2, 3], vec![1], 1.0).unwrap_err(), "x: train: 3 pixel values, expected 2");
        assert_eq!(make(vec![1, 2], vec![2], 1.0).unwrap_err(), "x: train: sample 0 has label 2, expected 0 to 1");
        assert!(make(vec![1, 2], vec![1], 0.0).unwrap_err().contains("cannot normalise with 0"));
        assert_eq!(make(vec![], vec![], 1.0).unwrap_err(), "x: no training samples");
    }
}
