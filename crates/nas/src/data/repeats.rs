//! Images that occur more than once: what they make of a data set nobody sees in its losses and accuracies.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::words::{count, either};
use super::{DataError, Dataset, PartName};

/// What is odd about images with the same pixels: those of several classes, which cannot be told apart, and test images that train.
/// Pixels are compared by a hash of 64 bits.
///
/// # Errors
/// [`DataError::Inconsistent`]: all training images are the same, so that there is nothing to learn from. [`DataError::Io`].
pub(super) fn remarks(dataset: &Dataset) -> Result<Vec<String>, DataError> {
    let [train, test] = [PartName::Train, PartName::Test].map(|part| hashes(dataset, part));
    let (train, test) = (train?, test?);
    let mut seen: HashMap<u64, Seen> = HashMap::new();
    for (&hash, &label) in train.iter().zip(&dataset.train().labels) {
        let seen = seen.entry(hash).or_insert(Seen { label, several: false, images: 0 });
        seen.several |= seen.label != label;
        seen.images += 1;
    }
    if seen.len() == 1 && train.len() > 1 {
        let why = format!("all {} training images have the same pixels, expected different ones", train.len());
        return Err(DataError::Inconsistent { name: dataset.name().to_owned(), why });
    }
    let ambiguous: usize = seen.values().filter(|seen| seen.several).map(|seen| seen.images).sum();
    let known = test.iter().filter(|hash| seen.contains_key(hash)).count();
    let labels = (ambiguous > 0).then(|| {
        let have = count(ambiguous, "training image has", "training images have");
        format!("{have} the same pixels as one of another class: they cannot be told apart")
    });
    let leak = (known > 0).then(|| {
        let (are, all) = (either(known, "is a training image", "are training images"), test.len());
        format!("{known} of {all} test images {are} too (the same pixels): the test accuracy is too good")
    });
    Ok(labels.into_iter().chain(leak).collect())
}

/// Training images with the same pixels.
struct Seen {
    label: u32,
    /// Whether they are of several classes.
    several: bool,
    images: usize,
}

/// Of the pixels of each image.
fn hashes(dataset: &Dataset, part: PartName) -> Result<Vec<u64>, DataError> {
    let (part, size) = (dataset.part(part), dataset.shape().len());
    let mut hashes = Vec::with_capacity(part.len());
    part.images.each(size, &mut |images| {
        hashes.extend(images.chunks_exact(size).map(|image| {
            let mut hasher = DefaultHasher::new();
            image.hash(&mut hasher);
            hasher.finish()
        }));
    })?;
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::super::{ImageShape, Normalisation, Part};
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 1, width: 2, channels: 1 };

    /// Images of two pixels, `(pixel, label)`: the second pixel is 0.
    fn dataset(train: &[(u8, u32)], test: &[(u8, u32)]) -> Dataset {
        let part = |samples: &[(u8, u32)]| Part {
            images: samples.iter().flat_map(|&(pixel, _)| [pixel, 0]).collect::<Vec<u8>>().into(),
            labels: samples.iter().map(|&(_, label)| label).collect(),
        };
        let normalisation = Normalisation { mean: vec![0.5], std: vec![0.5] };
        let classes = vec!["a".to_owned(), "b".to_owned()];
        Dataset::new("own", SHAPE, classes, u8::MAX, normalisation, part(train), part(test)).unwrap()
    }

    #[test]
    fn images_of_several_classes_and_of_both_parts_are_counted() {
        let of = |train: &[(u8, u32)], test: &[(u8, u32)]| remarks(&dataset(train, test)).unwrap();
        // Repeats within a class do no harm.
        assert_eq!(of(&[(1, 0), (1, 0), (2, 1)], &[(3, 0), (3, 1)]), [""; 0]);
        let ambiguous = "3 training images have the same pixels as one of another class: they cannot be told apart";
        assert_eq!(of(&[(1, 0), (1, 1), (1, 0), (2, 1)], &[(3, 0)]), [ambiguous]);
        let one = "1 of 2 test images is a training image too (the same pixels): the test accuracy is too good";
        assert_eq!(of(&[(1, 0), (2, 1)], &[(2, 1), (3, 0)]), [one]);
        let both = of(&[(1, 0), (1, 1), (2, 1)], &[(2, 1), (1, 0)]);
        assert!(both.len() == 2 && both[1].starts_with("2 of 2 test images are training images too"), "{both:?}");
    }

    #[test]
    fn a_single_image_is_nothing_to_learn_from() {
        let error = remarks(&dataset(&[(7, 0), (7, 1), (7, 0)], &[(1, 0)])).unwrap_err().to_string();
        assert!(error.contains("all 3 training images have the same pixels, expected different ones"), "{error}");
    }
}
