use std::fmt;

use engine::ImageShape;

use super::DataError;

/// Per-channel shift and scale of pixels in `[0, 1]`: `(pixel - mean) / std`.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// `[C]`
    pub mean: Vec<f32>,
    /// `[C]`, positive.
    pub std: Vec<f32>,
}

/// Mean and standard deviation (of the population) of each channel, pixels in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ChannelStatistics {
    /// `[C]`
    pub mean: Vec<f64>,
    /// `[C]`
    pub std: Vec<f64>,
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
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Part {
    /// `[n, H, W, C]`
    pub images: Vec<u8>,
    /// `[n]`
    pub labels: Vec<u32>,
}

impl Part {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
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
    pub fn channel_statistics(&self, channels: usize, pixel_max: u8) -> ChannelStatistics {
        // A histogram makes it exact and fast: sums of integers, then 256 products.
        let mut histogram = vec![[0u64; 256]; channels];
        for pixel in self.images.chunks_exact(channels) {
            for (counts, &value) in histogram.iter_mut().zip(pixel) {
                counts[value as usize] += 1;
            }
        }
        let scale = f64::from(pixel_max);
        let pixels = (self.images.len() / channels).max(1) as f64;
        let moments = histogram.iter().map(|counts| {
            let sum: f64 = counts.iter().zip(0u64..).map(|(&n, v)| (n * v) as f64).sum();
            let squares: f64 = counts.iter().zip(0u64..).map(|(&n, v)| (n * v * v) as f64).sum();
            let mean = sum / pixels;
            (mean / scale, (squares / pixels - mean * mean).max(0.0).sqrt() / scale)
        });
        let (mean, std) = moments.unzip();
        ChannelStatistics { mean, std }
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
        Ok(Self { name, shape, classes, pixel_max, normalisation, train, test })
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
    let Normalisation { mean, std } = normalisation;
    if mean.len() != shape.channels || std.len() != shape.channels {
        return Err(format!("{} means and {} deviations for {} channels", mean.len(), std.len(), shape.channels));
    }
    if let Some(bad) = mean.iter().find(|m| !m.is_finite()).or(std.iter().find(|s| !(s.is_finite() && **s > 0.0))) {
        return Err(format!("cannot normalise with {bad}: means must be finite, deviations positive"));
    }
    for (part, name) in [(train, "train"), (test, "test")] {
        if part.images.len() != part.len() * shape.len() {
            let expected = part.len() * shape.len();
            return Err(format!("{name}: {} pixel values, expected {expected}", part.images.len()));
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

    /// `train` and `test` samples of 2 classes, each pixel telling where it came from.
    pub(in super::super) fn counting(shape: ImageShape, train: usize, test: usize) -> Dataset {
        let part = |n: usize| Part {
            images: (0..n * shape.len()).map(|i| (i % 251) as u8).collect(),
            labels: (0..n as u32).map(|i| i % 2).collect(),
        };
        let normalisation = Normalisation { mean: vec![0.25; shape.channels], std: vec![0.5; shape.channels] };
        let classes = vec!["even".to_owned(), "odd".to_owned()];
        Dataset::new("counting", shape, classes, 255, normalisation, part(train), part(test)).unwrap()
    }

    #[test]
    fn statistics_are_those_of_the_pixels() {
        let part = Part { images: vec![0, 10, 16, 10, 0, 10, 16, 10], labels: vec![0] };
        let stats = part.channel_statistics(2, 16);
        assert_eq!(stats.mean, [0.5, 0.625]);
        assert_eq!(stats.std, [0.5, 0.0]);
    }

    #[test]
    fn inconsistent_parts_are_refused() {
        let shape = ImageShape { height: 1, width: 2, channels: 1 };
        let make = |images: Vec<u8>, labels: Vec<u32>, std: f32| {
            let classes = vec!["a".to_owned(), "b".to_owned()];
            let normalisation = Normalisation { mean: vec![0.0], std: vec![std] };
            Dataset::new("x", shape, classes, 255, normalisation, Part { images, labels }, Part::default())
                .map_err(|e| e.to_string())
        };
        assert!(make(vec![1, 2], vec![1], 1.0).is_ok());
        assert_eq!(make(vec![1, 2, 3], vec![1], 1.0).unwrap_err(), "x: train: 3 pixel values, expected 2");
        assert_eq!(make(vec![1, 2], vec![2], 1.0).unwrap_err(), "x: train: sample 0 has label 2, expected 0 to 1");
        assert!(make(vec![1, 2], vec![1], 0.0).unwrap_err().contains("cannot normalise with 0"));
        assert_eq!(make(vec![], vec![], 1.0).unwrap_err(), "x: no training samples");
    }
}
