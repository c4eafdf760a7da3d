use std::sync::Arc;

use super::augmentation::Converter;
use super::{DataError, Dataset, ImageShape, PartName};
use crate::random::{self, Purpose};

/// Samples of one part of a data set, in a fixed order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    dataset: Arc<Dataset>,
    part: PartName,
    indices: Arc<[u32]>,
    converter: Arc<Converter>,
}

impl Source {
    /// The samples `indices` of a part.
    ///
    /// # Errors
    /// [`DataError::Index`] for a sample that the part does not have.
    pub fn new(dataset: Arc<Dataset>, part: PartName, indices: impl Into<Arc<[u32]>>) -> Result<Self, DataError> {
        let indices = indices.into();
        let samples = dataset.part(part).len();
        if let Some(&index) = indices.iter().find(|&&i| i as usize >= samples) {
            return Err(DataError::Index { dataset: dataset.name().to_owned(), part: part.as_str(), index, samples });
        }
        let normalisation = dataset.normalisation();
        let converter = Arc::new(Converter::new(dataset.pixel_max(), &normalisation.mean, &normalisation.std));
        Ok(Self { dataset, part, indices, converter })
    }

    /// All samples of a part.
    pub fn all(dataset: Arc<Dataset>, part: PartName) -> Self {
        let samples = dataset.part(part).len() as u32;
        let indices: Arc<[u32]> = (0..samples).collect();
        let normalisation = dataset.normalisation();
        let converter = Arc::new(Converter::new(dataset.pixel_max(), &normalisation.mean, &normalisation.std));
        Self { dataset, part, indices, converter }
    }

    /// `count` of the samples (all, if there are fewer), drawn from `seed` without replacement, in their old order.
    pub fn subset(&self, count: usize, seed: u64) -> Self {
        let mut places: Vec<u32> = (0..self.indices.len() as u32).collect();
        random::shuffle(&mut random::generator(seed, Purpose::Subset, 0, 0), &mut places);
        places.truncate(count);
        places.sort_unstable();
        let indices = places.iter().map(|&p| self.indices[p as usize]).collect();
        Self { indices, ..self.clone() }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Indices into the part.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Share of the samples that are of the most frequent class, 0 to 1: the accuracy of always naming it.
    pub fn largest_class(&self) -> f64 {
        let labels = &self.dataset.part(self.part).labels;
        let mut counts = vec![0; self.dataset.classes().len()];
        self.indices.iter().for_each(|&index| counts[labels[index as usize] as usize] += 1);
        counts.into_iter().max().unwrap_or(0) as f64 / self.indices.len().max(1) as f64
    }

    /// Size of every image.
    pub fn shape(&self) -> ImageShape {
        self.dataset.shape()
    }

    /// The data set it reads.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    pub(super) fn converter(&self) -> &Converter {
        &self.converter
    }

    /// Pixels `[H, W, C]` and label of the sample at `place`; the pixels may lie in `buffer`.
    pub(super) fn sample<'a>(&'a self, place: u32, buffer: &'a mut Vec<u8>) -> Result<(&'a [u8], u32), DataError> {
        let index = self.indices[place as usize] as usize;
        let part = self.dataset.part(self.part);
        Ok((part.images.get(index, self.shape().len(), buffer)?, part.labels[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::tests::counting;
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    #[test]
    fn indices_are_checked() {
        let data = Arc::new(counting(SHAPE, 10, 4));
        let error = Source::new(data.clone(), PartName::Test, vec![3, 4]).unwrap_err();
        assert_eq!(error.to_string(), "sample 4 is out of range: the test part of counting has 4 samples");
        let source = Source::new(data, PartName::Train, vec![9, 1]).unwrap();
        assert_eq!(source.sample(0, &mut Vec::new()).unwrap(), (&[36, 37, 38, 39][..], 1));
    }

    #[test]
    fn the_most_frequent_class_has_a_share() {
        let data = Arc::new(counting(SHAPE, 20, 0));
        let labels = &data.train().labels;
        let (of_first, other): (Vec<u32>, Vec<u32>) = (0..20).partition(|&i| labels[i as usize] == labels[0]);
        let share = |indices: Vec<u32>| Source::new(data.clone(), PartName::Train, indices).unwrap().largest_class();
        assert_eq!(share(vec![of_first[0], of_first[1], other[0], of_first[1]]), 0.75);
        assert_eq!(share(of_first), 1.0);
        assert_eq!(share(vec![]), 0.0);
    }

    #[test]
    fn subsets_repeat_and_differ_by_seed() {
        let source = Source::all(Arc::new(counting(SHAPE, 100, 0)), PartName::Train).subset(50, 1);
        let again = Source::all(Arc::new(counting(SHAPE, 100, 0)), PartName::Train);
        assert_eq!(source.indices(), again.subset(50, 1).indices());
        assert_ne!(source.indices(), again.subset(50, 2).indices());
        assert_eq!(source.len(), 50);
        assert!(source.indices().is_sorted_by(|a, b| a < b));
        assert_eq!(again.subset(1000, 3).indices(), again.indices());
    }
}
