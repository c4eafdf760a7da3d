//! Black-box search: methods that ask for the value of one architecture after another and never look inside a network.
//!
//! A [`Method`] proposes ([`Method::ask`]) and is told the value ([`Method::tell`]); an [`Evaluator`] gives values and says what they
//! cost: [`TableEvaluator`] looks them up in NAS-Bench-201 and charges simulated seconds, [`ProxyEvaluator`] computes a training-free
//! score. [`Run::complete`] is the one loop between them, [`run_all`] repeats it with one seed after another, and [`Summary`] is
//! what comes out. To a method a space is a [`Domain`] of categorical variables.
//!
//! A run on the table takes milliseconds and is repeated, not resumed, so it has no run folder. A run can still be saved and restored
//! between any two calls ([`Run::state`]), which an evaluator that trains for hours needs.

mod domain;
mod error;
mod evaluator;
mod evaluators;
mod kde;
mod method;
pub mod methods;
mod policy;
mod run;
mod runs;
mod summary;

#[cfg(test)]
mod tests;

pub use domain::{Choice, Domain, Mutation, Variable};
pub use error::{BlackboxError, MAX_EVALUATIONS};
pub use evaluator::{Evaluation, Evaluator, Levels};
pub use evaluators::{ProxyEvaluator, TableEvaluator};
pub use method::{Configured, Judged, Method, Problem, Proposal};
pub use methods::{METHODS, MethodConfig, MethodEntry};
pub use run::{End, Run, Trial};
pub use runs::{Outcome, check, run_all};
pub use summary::{Finding, Summary};
