//! The search by a supernet: configuration, plan, strategies, and the task that a run executes.
//!
//! [`Request::resolve`] makes a [`Config`] of preset, file and command line, [`Plan::new`] checks it against space and data, and
//! a [`Search`] runs it: a [`SearchTask`] calls the strategy, a [`OneShot`], which sees the supernet and the data through its
//! [`Context`]. A [`Study`] measures the supernet of a run without changing it.

mod by_alpha;
mod candidates;
mod config;
mod context;
mod error;
pub mod events;
mod launch;
mod one_shot;
pub mod parts;
mod places;
mod plan;
pub mod strategies;
mod strategy;
mod study;
mod task;
mod trainer;
mod unsuitable;
mod widen;

#[cfg(test)]
mod fake_engine;
#[cfg(test)]
mod tests;

pub use crate::learning_rate::Cosine;
pub use by_alpha::ByAlpha;
pub use candidates::{Candidates, OpSets};
pub use config::{
    Config, ConfigError, DataConfig, PRESETS, Preset, Request, RunConfig, SpaceConfig, SupernetConfig, TrainingConfig,
};
pub(crate) use config::{Setting, folder, one_line};
pub use context::Context;
pub use error::SearchError;
pub use launch::{GENOTYPE, Outcome, Resumed, Search, finished, is_past};
pub use one_shot::{OneShot, PhaseRate, PhaseSettings};
pub use places::{column, genotype};
pub use plan::{Plan, cpu_engines};
pub(crate) use plan::{fit, load};
pub use strategies::{Entry, STRATEGIES, StrategyConfig};
pub use strategy::{Published, Strategy};
pub use study::Study;
pub use task::{Found, SearchTask};
pub use unsuitable::Unsuitable;
