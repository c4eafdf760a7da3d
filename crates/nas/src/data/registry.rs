use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Augmentation, DataError};
use crate::suggest;

/// The data sets that are known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DatasetName {
    /// Handwritten digits, 8x8 grey, 10 classes; built in.
    Digits,
    /// CIFAR-10, 32x32 colour, 10 classes.
    Cifar10,
    /// CIFAR-100, 32x32 colour, 100 (fine) classes.
    Cifar100,
    /// ImageNet16-120, 16x16 colour, the first 120 classes.
    ImageNet16,
    /// Own pictures.
    Folder,
}

/// How far a data set is known to be the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// The program carries it.
    BuiltIn,
    /// Every file has its official checksum.
    Checksums,
    /// Every file has its official size and only valid labels; checksums of the files are not known.
    Sizes,
    /// Every file consists of whole records with valid labels.
    Structure,
    /// There are no published ones.
    Own,
}

impl Verification {
    /// For people.
    pub fn description(self) -> &'static str {
        match self {
            Self::BuiltIn => "built in",
            Self::Checksums => "the official files (checksums)",
            Self::Sizes => "official sizes and valid labels",
            Self::Structure => "well-formed, not compared with the official files",
            Self::Own => "own pictures",
        }
    }
}

impl DatasetName {
    /// Every data set, in the order they are listed in.
    pub const ALL: [Self; 5] = [Self::Digits, Self::Cifar10, Self::Cifar100, Self::ImageNet16, Self::Folder];

    /// The name on the command line and in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::ImageNet16 => "imagenet16-120",
            Self::Folder => "folder",
        }
    }

    /// One line for lists.
    pub fn description(self) -> &'static str {
        match self {
            Self::Digits => "handwritten digits, 8x8 grey, 10 classes, 1,437 + 360 images; built in",
            Self::Cifar10 => "CIFAR-10, 32x32 colour, 10 classes, 50,000 + 10,000 images",
            Self::Cifar100 => "CIFAR-100, 32x32 colour, 100 classes, 50,000 + 10,000 images",
            Self::ImageNet16 => "ImageNet16-120, 16x16 colour, 120 classes, 151,700 + 6,000 images",
            Self::Folder => "own pictures in folders named by their classes (--data DIR), PNG, JPEG, WebP or BMP",
        }
    }

    /// Whether the program carries the data.
    pub fn is_built_in(self) -> bool {
        matches!(self, Self::Digits)
    }

    /// The augmentation that training uses unless told otherwise: for CIFAR flip and crop with 4 pixels of padding
    /// (He et al. 2016, and every paper of the field), for digits a crop with 1 (mirrored digits are not digits), for
    /// ImageNet16-120 a crop with 2 (Dong and Yang 2020). For own
    /// pictures that of CIFAR, at 32 pixels: the padding is an eighth of the side.
    pub fn default_augmentation(self) -> Augmentation {
        match self {
            Self::Digits => Augmentation { flip: false, crop_padding: 1, cutout: 0 },
            Self::ImageNet16 => Augmentation { flip: true, crop_padding: 2, cutout: 0 },
            Self::Cifar10 | Self::Cifar100 | Self::Folder => Augmentation { flip: true, crop_padding: 4, cutout: 0 },
        }
    }

    pub(super) fn hint_for(given: &str) -> String {
        let names = || Self::ALL.iter().map(|d| d.as_str());
        match suggest::nearest(given, names()) {
            Some(name) => {
                format!("{} Valid names are {}", suggest::did_you_mean(name), suggest::one_of(names()))
            }
            None => format!("valid names are {}", suggest::one_of(names())),
        }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DatasetName {
    type Err = DataError;

    fn from_str(given: &str) -> Result<Self, DataError> {
        let known = Self::ALL.into_iter().find(|d| d.as_str() == given);
        known.ok_or_else(|| DataError::UnknownDataset { given: given.to_owned() })
    }
}

impl TryFrom<String> for DatasetName {
    type Error = String;

    /// For configurations, where the message carries the hint along.
    fn try_from(given: String) -> Result<Self, String> {
        given.parse().map_err(|e: DataError| format!("{e}: {}", Self::hint_for(&given)))
    }
}

impl From<DatasetName> for String {
    fn from(name: DatasetName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in DatasetName::ALL {
            assert_eq!(name.to_string().parse::<DatasetName>().unwrap(), name);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<DatasetName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn unknown_names_get_a_suggestion() {
        let error = "CIFAR-10".parse::<DatasetName>().unwrap_err();
        assert_eq!(error.to_string(), "unknown data set 'CIFAR-10'");
        assert_eq!(
            error.hint().unwrap(),
            "did you mean `cifar10`? Valid names are digits, cifar10, cifar100, imagenet16-120 or folder"
        );
        let error = "imagenet".parse::<DatasetName>().unwrap_err();
        assert_eq!(error.hint().unwrap(), "valid names are digits, cifar10, cifar100, imagenet16-120 or folder");
        let error = serde_json::from_str::<DatasetName>("\"digit\"").unwrap_err().to_string();
        assert!(error.contains("did you mean `digits`?"), "{error}");
    }
}
