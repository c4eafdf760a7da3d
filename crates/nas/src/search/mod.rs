//! Configuration, plan, executor, events, checkpoints, run folder.
//!
//! [`Request::resolve`] makes a [`Config`] of preset, file and command line, [`Plan::new`] checks it against space and
//! data, an [`Executor`] runs the one loop over epochs and calls the strategy, which sees the supernet and the data through
//! its [`Context`]. A [`Study`] measures the supernet of a run without changing it.

mod checkpoint;
mod clock;
pub mod config;
mod context;
mod error;
/// The lines of `events.jsonl`.
pub mod events;
mod executor;
mod journal;
mod learning_rate;
pub mod numbers;
mod observer;
mod plan;
mod random;
pub mod run_folder;
mod schedule;
mod study;

#[cfg(test)]
mod fake_engine;

pub use clock::PhaseSeconds;
pub use config::{Config, ConfigError, PRESETS, Preset, Request};
pub use context::Context;
pub use error::SearchError;
pub use events::Event;
pub use executor::{Executor, Outcome, Resumed, finished};
pub use learning_rate::Cosine;
pub use observer::{Notice, Observer, Silent};
pub use plan::Plan;
pub(crate) use plan::fit;
pub use run_folder::RunError;
pub use schedule::{At, Phase, Schedule};
pub use study::Study;
