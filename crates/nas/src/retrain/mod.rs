//! The training of one architecture from scratch, to know how good it is and to use it.
//!
//! A [`Recipe`] is data with a source. [`Request::resolve`] makes a [`RetrainConfig`] of recipe, options and settings,
//! [`Plan::new`] checks it against space and data, and [`Retrain`] runs it: a task of the loop in [`crate::run`]. Beside the
//! weights it leaves a [`Model`], which says what they are of; [`Trained`] opens both, for whoever uses the network.

mod config;
mod error;
mod evaluation;
pub mod events;
mod inherit;
mod launch;
mod model;
mod plan;
mod prediction;
mod recipe;
mod request;
mod task;
mod trained;

pub use config::{Inherit, NetworkConfig, RetrainConfig, RetrainDataConfig, RetrainTrainingConfig, SizeOf, TrainOn};
pub use error::RetrainError;
pub use evaluation::{ClassReport, Evaluator, Images, Report};
pub use events::Measured;
pub use launch::{Outcome, RESULT, Resumed, Retrain, is_retraining};
pub use model::{MODEL, MODEL_VERSION, Model};
pub use plan::Plan;
pub(crate) use plan::load;
pub use prediction::{Class, Predictor};
pub use recipe::{RECIPES, Recipe};
pub use request::Request;
pub use task::{RetrainTask, Retrained};
pub use trained::{Classifier, Trained};

#[cfg(test)]
mod tests;
