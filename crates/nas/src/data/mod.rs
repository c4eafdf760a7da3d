//! Data sets: reading, splitting, augmentation, loading beside the training step.
//!
//! [`load`] gives a [`Dataset`] (u8 images in memory), a [`Split`] names the samples that train omega and alpha,
//! a [`Source`] is a set of samples, and a [`Loader`] turns it into normalised f32 batches on a thread of its own.
//! Everything random depends on (seed, stream, epoch, position) only, so a loader can start at any step.

mod augmentation;
#[allow(dead_code)]
mod checksum;
#[allow(dead_code)]
mod cifar;
mod dataset;
mod digits;
mod error;
mod load;
mod loader;
mod prefetch;
mod python_random;
mod random;
mod registry;
mod source;
mod split;

pub use augmentation::Augmentation;
pub use dataset::{ChannelStatistics, Dataset, ImageShape, Normalisation, Part, PartName};
pub use error::DataError;
pub use load::{LoadOptions, load};
pub use loader::{BatchBuf, Loader, LoaderOptions, Order};
pub use registry::DatasetName;
pub use source::Source;
pub use split::{Split, SplitChoice, SplitKind};
