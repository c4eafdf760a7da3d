use serde::{Deserialize, Serialize};
use toml::Table;

use super::super::DataError;
use crate::tables;

/// Own pictures, `[data.folder]`; only with `dataset = "folder"`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `size` | fits the pictures | 8 to 1024 | height and width in pixels; own pictures only, as all of `data.folder`; the default is the median of their shorter sides (of up to 256 pictures), rounded to a multiple of 8, at least 8 and at most 64 |
/// | `channels` | 3 | 1 or 3 | 3: red, green, blue; 1: grey |
/// | `test_share` | 0.2 | (0, 1) | of each class, drawn as test images; only where there is no folder `test` |
/// | `split_seed` | 0 | | of that draw. It is not the seed of the run: all runs have the same test images |
/// | `max_bad_share` | 0.01 | [0, 1] | pictures that cannot be read are left out up to this share of all, one in any case unless it is 0; more are refused |
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FolderConfig {
    /// Height and width in pixels. `None`: what fits the pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// 3: colour, 1: grey.
    pub channels: usize,
    /// Share of each class that is drawn as test images. `None`: the default, or there is a folder with test images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_share: Option<f64>,
    /// Seed of that draw, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Largest share of pictures that may be left out.
    pub max_bad_share: f64,
}

impl Default for FolderConfig {
    fn default() -> Self {
        Self { size: None, channels: 3, test_share: None, split_seed: None, max_bad_share: 0.01 }
    }
}

impl FolderConfig {
    /// Default of `test_share`.
    pub const TEST_SHARE: f64 = 0.2;
    /// Sizes that are accepted.
    pub const SIZES: std::ops::RangeInclusive<usize> = 8..=1024;

    /// Takes over a setting by its dotted key: `data.folder.size=32`.
    ///
    /// # Errors
    /// [`DataError::Setting`]
    pub fn set(&mut self, given: &str) -> Result<(), DataError> {
        let wrong = |why: String| DataError::Setting { given: given.to_owned(), why };
        let (key, text) = given.split_once('=').ok_or_else(|| wrong("`=` is missing".to_owned()))?;
        let Some(name) = key.trim().strip_prefix("data.folder.") else {
            return Err(wrong("only the settings data.folder.NAME have a meaning here".to_owned()));
        };
        let value = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
        let value = value.and_then(|mut table| table.remove("value"));
        let value = value.ok_or_else(|| wrong(format!("`{}` is not a number", text.trim())))?;
        let mut table = Table::try_from(*self).map_err(|e| wrong(e.to_string()))?;
        table.insert(name.to_owned(), value);
        *self = table.try_into().map_err(|e: toml::de::Error| wrong(tables::message(&e)))?;
        Ok(())
    }

    /// Every setting at some value: for lists of their names.
    pub fn full() -> Self {
        Self { size: Some(32), test_share: Some(Self::TEST_SHARE), split_seed: Some(0), ..Self::default() }
    }

    /// The first setting that is out of range: its name, its value and what is expected.
    pub fn out_of_range(&self) -> Option<(&'static str, String, &'static str)> {
        if let Some(size) = self.size.filter(|size| !Self::SIZES.contains(size)) {
            return Some(("size", size.to_string(), "8 to 1024 pixels"));
        }
        if !matches!(self.channels, 1 | 3) {
            return Some(("channels", self.channels.to_string(), "1 or 3"));
        }
        if let Some(share) = self.test_share.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            return Some(("test_share", share.to_string(), "more than 0 and less than 1"));
        }
        let bad = self.max_bad_share;
        (!(0.0..=1.0).contains(&bad)).then(|| ("max_bad_share", bad.to_string(), "0 to 1"))
    }
}
