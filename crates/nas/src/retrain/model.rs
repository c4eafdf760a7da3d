use std::{fs, path::Path};

use engine::{ImageShape, NetworkSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{error::RetrainError, plan::Plan};
use crate::{
    data::{Normalisation, Preprocess},
    space::{self, Genotype, NetworkShape, SearchSpace},
};

/// What a training writes beside its weights: a [`Model`].
pub const MODEL: &str = "model.json";

/// Version of its format. Fields that come later than this version are passed over.
pub const MODEL_VERSION: u32 = 1;

/// What a trained network is, apart from its weights: all that a use of it needs to know, so that the data set need not be
/// there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// [`MODEL_VERSION`]
    pub version: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Name of the search space.
    pub space: String,
    /// The architecture in its notation.
    pub arch: String,
    /// Size of the images that the network takes.
    pub image: ImageShape,
    /// What pictures are made into for it: that size.
    pub preprocess: Preprocess,
    /// Channels of the first cells.
    pub channels: usize,
    /// Cells: of each stage, or of the whole network in the DARTS space.
    pub cells: usize,
    /// Stride of the stem.
    #[serde(default = "one")]
    pub stem_stride: usize,
    /// Name of the data set that it was trained on.
    pub dataset: String,
    /// Names of the classes, in the order of the network's outputs.
    pub classes: Vec<String>,
    /// The pixel value that counts as 1 in the data set: 255 for ordinary images.
    pub pixel_max: u8,
    /// Of pixels in `[0, 1]`.
    pub normalisation: Normalisation,
}

impl Model {
    /// The model that a training makes.
    pub(super) fn of(plan: &Plan) -> Self {
        let Plan { config, space, train, .. } = plan;
        let (dataset, size) = (train.dataset(), config.network.size(*space));
        Self {
            version: MODEL_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            space: space.name().to_owned(),
            arch: config.arch.clone(),
            image: dataset.shape(),
            preprocess: made_into(dataset.shape()),
            channels: size.channels,
            cells: size.cells,
            stem_stride: config.network.stem_stride.unwrap_or(1),
            dataset: dataset.name().to_owned(),
            classes: dataset.classes().to_vec(),
            pixel_max: dataset.pixel_max(),
            normalisation: dataset.normalisation().clone(),
        }
    }

    /// Reads a model and checks all of it.
    ///
    /// # Errors
    /// [`RetrainError::Model`]: no such file, a damaged one, one of a newer version, or one that describes no network.
    pub fn read(path: &Path) -> Result<Self, RetrainError> {
        let failed = |why: String| RetrainError::Model { path: path.to_owned(), why };
        let bytes = fs::read(path).map_err(|e| failed(e.to_string()))?;
        Self::parse(&bytes).map_err(failed)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        // The version comes first: a newer format may differ in anything else.
        let version = value.get("version").and_then(Value::as_u64).ok_or("it has no version")?;
        if version != u64::from(MODEL_VERSION) {
            return Err(format!("it has format version {version}, this program reads {MODEL_VERSION}"));
        }
        let model: Self = serde_json::from_value(value).map_err(|e| e.to_string())?;
        for (what, value, most) in [("channels", model.channels, 1024), ("cells", model.cells, 1000)] {
            if !(1..=most).contains(&value) {
                return Err(format!("{what} is {value}, expected 1 to {most}"));
            }
        }
        model.network().map_err(|e| e.to_string())?;
        if model.classes.len() < 2 {
            return Err(format!("{} classes, at least 2 are needed", model.classes.len()));
        }
        if let Some(twice) = (1..model.classes.len()).find(|&k| model.classes[..k].contains(&model.classes[k])) {
            return Err(format!("class `{}` is listed twice", model.classes[twice].escape_debug()));
        }
        if model.pixel_max == 0 {
            return Err("pixel_max is 0, expected at least 1".to_owned());
        }
        model.normalisation.check(model.image.channels)?;
        if model.preprocess != made_into(model.image) {
            let Preprocess { height, width, channels } = model.preprocess;
            return Err(format!(
                "pictures are made into {height}x{width} with {channels} channels, the image is another"
            ));
        }
        Ok(model)
    }

    /// As it is written to a file.
    pub fn to_json(&self) -> String {
        // A plain struct of numbers and strings: nothing in it can fail to be written.
        serde_json::to_string_pretty(self).unwrap_or_else(|e| panic!("a model that cannot be written: {e}")) + "\n"
    }

    /// The search space, what it is in it, and the network, without an auxiliary head.
    ///
    /// # Errors
    /// [`RetrainError::Space`], [`RetrainError::Engine`].
    pub fn network(&self) -> Result<(&'static dyn SearchSpace, Genotype, NetworkSpec), RetrainError> {
        let space = space::find(&self.space)?;
        let genotype = space.parse(&self.arch)?;
        let Self { image, channels, cells, stem_stride, .. } = *self;
        let classes = self.classes.len();
        let network = space.network(&genotype, &NetworkShape { image, classes, channels, cells, stem_stride })?;
        network.check()?;
        Ok((space, genotype, network))
    }

    /// The first thing in which another model, that of the configuration, differs from this one.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let ImageShape { height, width, channels } = self.image;
        let size = format!("images of {height}x{width} with {channels} channels");
        let mut names = self.classes.iter().zip(&other.classes).enumerate();
        let renamed = names.find(|(_, (own, other))| own != other);
        let renamed = renamed.map(|(number, (own, _))| format!("{number} is `{}`", own.escape_debug()));
        let differs = [
            (self.space != other.space, format!("a network of `{}`", self.space)),
            (self.arch != other.arch, format!("the architecture {}", self.arch)),
            (self.image != other.image, size),
            (self.channels != other.channels, format!("{} channels", self.channels)),
            (self.cells != other.cells, format!("{} cells", self.cells)),
            (self.stem_stride != other.stem_stride, format!("a stem of stride {}", self.stem_stride)),
            (self.classes.len() != other.classes.len(), format!("{} classes", self.classes.len())),
            (renamed.is_some(), format!("class {}", renamed.unwrap_or_default())),
            (self.pixel_max != other.pixel_max, format!("pixels up to {}", self.pixel_max)),
            (self.normalisation != other.normalisation, format!("the normalisation {:?}", self.normalisation)),
        ];
        differs.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
    }
}

/// Of a description that says nothing of it.
fn one() -> usize {
    1
}

fn made_into(image: ImageShape) -> Preprocess {
    let ImageShape { height, width, channels } = image;
    Preprocess { height, width, channels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_description_says_otherwise_is_named_on_one_line() {
        let model = |classes: &[&str]| -> Model {
            let image = serde_json::json!({ "height": 8, "width": 8, "channels": 1 });
            let arch = "|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|";
            serde_json::from_value(serde_json::json!({
                "version": MODEL_VERSION, "program": "0", "space": "nas-bench-201", "arch": arch, "image": image, "preprocess": image, "channels": 4,
                "cells": 1, "stem_stride": 1, "dataset": "folder", "classes": classes, "pixel_max": 255,
                "normalisation": { "mean": [0.5], "std": [0.5] },
            }))
            .unwrap()
        };
        let own = model(&["cat", "a\nb", "dog"]);
        assert_eq!(own.difference(&own), None);
        assert_eq!(own.difference(&model(&["cat", "horse", "dog"])).unwrap(), r"class 1 is `a\nb`");
        assert_eq!(own.difference(&model(&["cat", "horse"])).unwrap(), "3 classes");
        let narrow = Model { channels: 2, ..own.clone() };
        assert_eq!(narrow.difference(&own).unwrap(), "2 channels");
    }
}
