//! What commands that score networks without training share: the network's sizes, the images, and whose fault an error is.

use std::{path::PathBuf, sync::Arc};

use anyhow::Result;
use engine::EngineError;
use nas::{
    benchmark::BenchmarkDataset,
    data::{self, DataError, DatasetName, LoaderOptions, PartName},
    space::NetworkShape,
};

use crate::{args, context::Context, error::Internal};

/// Sizes of the networks and the mini-batch that they are scored on.
#[derive(Debug)]
pub struct Loaded {
    /// Sizes of the networks.
    pub shape: NetworkShape,
    /// `[batch, H, W, C]`; empty where no score reads images.
    pub images: Vec<f32>,
    /// `[batch]`.
    pub labels: Vec<u32>,
}

/// Images that networks are scored on where nothing else is asked for.
pub const BATCH: usize = 64;

/// What networks are scored on.
#[derive(Debug)]
pub struct Inputs {
    /// Whether a score reads images.
    pub images: bool,
    /// Data set; `None`: the built-in one, CIFAR-10 with `data` and where no images are read.
    pub dataset: Option<DatasetName>,
    /// Folder or archive of the data set.
    pub data: Option<PathBuf>,
    /// Whether files are accepted that are not the official ones.
    pub no_verify: bool,
    /// Images; `None`: [`BATCH`].
    pub batch: Option<usize>,
    /// What they are drawn with.
    pub seed: u64,
    /// Channels of the first stage.
    pub channels: usize,
    /// Cells.
    pub cells: usize,
}

impl Inputs {
    /// The data set that was named, else the usual one.
    pub fn name(&self) -> DatasetName {
        let built_in = self.images && self.data.is_none();
        self.dataset.unwrap_or(if built_in { DatasetName::Digits } else { DatasetName::Cifar10 })
    }

    /// The network's sizes and the mini-batch, where it is read.
    ///
    /// # Errors
    /// The data set cannot be read, the batch is larger than it, or an option has no effect.
    pub fn load(self, cx: &Context) -> Result<Loaded> {
        let shape = |height, width, channels, classes| NetworkShape {
            image: engine::ImageShape { height, width, channels },
            classes,
            channels: self.channels,
            cells: self.cells,
            stem_stride: 1,
        };
        let name = self.name();
        let known = BenchmarkDataset::ALL.into_iter().find(|b| b.name() == name.as_str());
        // The sizes of a benchmark's images are known; of others they are read.
        let unread = !self.images && known.is_some();
        args::without_effect(
            [
                ("--data", unread && self.data.is_some()),
                ("--no-verify", unread && self.no_verify),
                ("--batch", !self.images && self.batch.is_some()),
            ],
            "the score reads no images",
        )?;
        let only = |shape| Loaded { shape, images: Vec::new(), labels: Vec::new() };
        if let Some(known) = known.filter(|_| !self.images) {
            return Ok(only(shape(known.image_side(), known.image_side(), 3, known.classes())));
        }
        let load = super::data::options(self.data.clone(), self.no_verify, cx);
        let dataset = Arc::new(super::data::load(name, &load, cx)?);
        let data::ImageShape { height, width, channels } = dataset.shape();
        let shape = shape(height, width, channels, dataset.classes().len());
        if !self.images {
            return Ok(only(shape));
        }
        let (samples, batch) = (dataset.train().len(), self.batch.unwrap_or(BATCH));
        if batch > samples {
            return Err(DataError::Batch { batch, samples }.into());
        }
        let source = data::Source::all(dataset, PartName::Train).subset(batch, self.seed);
        let batch = data::Loader::single(&source, &LoaderOptions::evaluation(batch), 0, 0)?;
        Ok(Loaded { shape, images: batch.images().to_vec(), labels: batch.labels().to_vec() })
    }
}

/// What an engine error means here: threads and instruction set are the user's choice, everything else was checked before.
pub fn blame(error: EngineError) -> anyhow::Error {
    match error {
        EngineError::Threads { .. } | EngineError::Simd { .. } => error.into(),
        other => Internal(other.into()).into(),
    }
}
