//! The configuration of a search, and the layers it is made of.

mod error;
mod keys;
mod layers;
mod setting;
mod settings;

pub use error::ConfigError;
pub use layers::{PRESETS, Preset, Request};
pub use settings::{Config, DataConfig, RunConfig, SpaceConfig, SupernetConfig, TrainingConfig};
