//! The training of one architecture from scratch, to know how good it is and to use it.
//!
//! A [`Recipe`] is data with a source. [`Request::resolve`] makes a [`RetrainConfig`] of recipe, options and settings,
//! [`Plan::new`] checks it against space and data, and [`Retrain`] runs it: a task of the loop in [`crate::run`].

mod config;
mod error;
mod evaluation;
pub mod events;
mod inherit;
mod launch;
mod plan;
mod recipe;
mod request;
mod task;

pub use config::{Inherit, NetworkConfig, RetrainConfig, RetrainDataConfig, RetrainTrainingConfig, SizeOf, TrainOn};
pub use error::RetrainError;
pub use evaluation::{ClassReport, Images, Report, Trained};
pub use events::Measured;
pub use launch::{Outcome, RESULT, Resumed, Retrain, is_retraining};
pub use plan::Plan;
pub use recipe::{RECIPES, Recipe};
pub use request::Request;
pub use task::{RetrainTask, Retrained};

#[cfg(test)]
mod tests;
