//! Data sets: reading, splitting, augmentation, loading beside the training step.
//!
//! [`load`] gives a [`Dataset`] (u8 images in memory), a [`Split`] names the samples that train omega and alpha,
//! a [`Source`] is a set of samples, and a [`Loader`] turns it into normalised f32 batches on a thread of its own.
//! Everything random depends on (seed, stream, epoch, position) only, so a loader can start at any step.

mod archive;
mod augmentation;
mod batches;
mod cache;
mod dataset;
mod digits;
mod download;
mod error;
mod export;
mod fetch;
mod folder;
mod formats;
mod images;
mod load;
mod loader;
mod options;
mod pickle;
mod picture;
mod prefetch;
mod registry;
mod repeats;
mod source;
mod split;
mod words;

pub use augmentation::Augmentation;
pub(crate) use augmentation::Converter;
pub use engine::ImageShape;

pub use dataset::{ChannelStatistics, Dataset, Normalisation, Part, PartName};
pub use download::Progress;
pub use error::{BatchSetting, DataError};
pub use export::{Exported, export};
pub use fetch::{FetchOptions, FetchOutcome, Fetched, fetch};
pub use folder::FolderConfig;
pub use images::Images;
pub use load::{load, load_with};
pub use loader::{BatchBuf, Loader, LoaderOptions, Order};
pub use options::{LoadEvent, LoadOptions, Stop};
pub use picture::{PictureError, PictureProblem, Preprocess, is_hidden, is_picture, read_picture};
pub use registry::{DatasetName, Verification};
pub use source::Source;
pub(crate) use split::SplitValue;
pub use split::{Split, SplitChoice, SplitKind};
