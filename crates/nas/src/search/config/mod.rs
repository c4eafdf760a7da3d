//! The configuration of a search, and the layers it is made of.

mod error;
pub(crate) mod folder;
mod keys;
mod layers;
mod setting;
mod settings;

pub use error::ConfigError;
pub(crate) use keys::one_line;
pub use layers::{PRESETS, Preset, Request};
pub(crate) use setting::Setting;
pub use settings::{Config, DataConfig, RunConfig, SpaceConfig, SupernetConfig, TrainingConfig};
