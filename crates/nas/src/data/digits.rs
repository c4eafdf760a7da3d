//! The built-in data set: the test part of the UCI "Optical Recognition of Handwritten Digits" as scikit-learn ships it
//! (E. Alpaydin and C. Kaynak, 1998, CC BY 4.0). 1,797 images of 8x8, pixel values 0 to 16.
//! The last 360 images are the test part; the file's writers are in order, so these are by other hands than the first.

use std::io::Read;

use flate2::read::GzDecoder;

use super::dataset::{Part, Samples};
use super::{DataError, Dataset, ImageShape, Verification};

static FILE: &[u8] = include_bytes!("digits.csv.gz");
const FILE_NAME: &str = "digits.csv.gz";
const SHAPE: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };
const PIXEL_MAX: u8 = 16;
const TEST: usize = 360;

pub(super) fn load() -> Result<Dataset, DataError> {
    let mut text = String::new();
    GzDecoder::new(FILE).read_to_string(&mut text).map_err(|e| broken(&e.to_string()))?;
    let mut all = Samples::default();
    for line in text.lines() {
        let values = line.split(',').map(str::parse::<u8>).collect::<Result<Vec<_>, _>>();
        let values = values.map_err(|e| broken(&e.to_string()))?;
        let (label, pixels) = values.split_last().ok_or_else(|| broken("empty line"))?;
        all.images.extend_from_slice(pixels);
        all.labels.push(u32::from(*label));
    }
    let first_test = all.labels.len().checked_sub(TEST).ok_or_else(|| broken("too few images"))?;
    let test =
        Samples { images: all.images.split_off(first_test * SHAPE.len()), labels: all.labels.split_off(first_test) };
    let train = Part::from(all);
    let normalisation = train.channel_statistics(SHAPE, PIXEL_MAX)?.into();
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    let digits = Dataset::new("digits", SHAPE, classes, PIXEL_MAX, normalisation, train, test.into())?;
    Ok(digits.verified(Verification::BuiltIn))
}

fn broken(why: &str) -> DataError {
    DataError::Archive { path: FILE_NAME.into(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_its_description_says() {
        let digits = load().unwrap();
        assert_eq!((digits.train().len(), digits.test().len()), (1437, 360));
        let counts = |part: &Part| part.class_counts(10);
        // The counts that scikit-learn's `load_digits` gives for the whole set.
        let whole: Vec<usize> = counts(digits.train()).iter().zip(counts(digits.test())).map(|(a, b)| a + b).collect();
        assert_eq!(whole, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert!(counts(digits.test()).iter().all(|&n| n >= 30));
        assert_eq!(digits.train().images.to_vec().unwrap().into_iter().max(), Some(16));
        // First image, second row: a 0.
        assert_eq!(digits.train().labels[0], 0);
        assert_eq!(&digits.train().images.to_vec().unwrap()[8..16], [0, 0, 13, 15, 10, 15, 5, 0]);
    }
}
