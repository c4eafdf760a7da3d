//! Black-box search: methods that ask for the value of one architecture after another and never look inside a network.
//!
//! A [`Method`] proposes ([`Method::ask`]) and is told the value ([`Method::tell`]); an [`Evaluator`] gives values and says what they
//! cost: [`TableEvaluator`] looks them up in NAS-Bench-201 and charges simulated seconds, [`ProxyEvaluator`] computes a training-free
//! score, [`RetrainEvaluator`] trains from scratch and charges epochs. [`Run::complete`] is the one loop between them, [`run_all`] repeats it with one seed after another, and [`Summary`] is
//! what comes out. To a method a space is a [`Domain`] of categorical variables.
//!
//! A run on the table takes milliseconds and is repeated, not resumed, so it has no folder. Where evaluations take long they are kept
//! ([`Record`]), and a search that was stopped asks for them again: it is a function of its seed and of what it is told.

mod domain;
mod error;
mod evaluator;
mod evaluators;
mod kde;
mod method;
pub mod methods;
mod policy;
mod record;
mod run;
mod runs;
mod summary;

#[cfg(test)]
mod tests;

pub use domain::{Choice, Domain, Mutation, Variable};
pub use error::{BlackboxError, MAX_EVALUATIONS};
pub use evaluator::{Evaluation, Evaluator, Levels};
pub use evaluators::{Follow, Interruptible, ProxyEvaluator, RetrainEvaluator, TableEvaluator};
pub use method::{Configured, Judged, Method, Problem, Proposal};
pub use methods::{METHODS, MethodConfig, MethodEntry};
pub use record::{Record, Recorded, Settings};
pub use run::{End, Run, Trial};
pub use runs::{Outcome, check, run_all};
pub use summary::{Finding, Summary};
