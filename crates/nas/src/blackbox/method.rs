use std::{fmt, sync::Arc};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    domain::{Choice, Domain},
    evaluator::{Evaluation, Levels},
};
use crate::{numbers::Number, search::ConfigError};

/// What a method is to search in.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The space.
    pub domain: Arc<Domain>,
    /// The fidelities of the evaluator.
    pub levels: Levels,
}

/// What a method wants to know the value of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The architecture.
    pub choice: Choice,
    /// Number of the fidelity to evaluate it with, the cheapest is 0.
    pub level: usize,
}

/// A choice whose value is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The architecture.
    pub choice: Choice,
    /// Its value; higher is better.
    pub value: Number,
}

impl Judged {
    pub(super) fn new(proposal: &Proposal, evaluation: &Evaluation) -> Self {
        Self { choice: proposal.choice.clone(), value: Number(evaluation.value) }
    }

    /// Whether this one is the better of two.
    pub(super) fn beats(&self, other: &Self) -> bool {
        self.value.0.total_cmp(&other.value.0).is_gt()
    }
}

/// The best one, the first among equals.
pub(super) fn best<'a>(judged: impl IntoIterator<Item = &'a Judged>) -> Option<&'a Judged> {
    judged.into_iter().reduce(|best, next| if next.beats(best) { next } else { best })
}

/// A black-box search method.
///
/// Calls alternate: `ask`, then `tell` of what was asked. It has no randomness of its own: whatever it draws comes from the generator
/// that `ask` is given, one for each trial. So one that is told the same asks the same, and a search that was stopped goes on by asking
/// again.
pub trait Method: fmt::Debug + Send {
    /// What to evaluate next; `None`: there is nothing left to ask.
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Option<Proposal>;

    /// What came of it.
    fn tell(&mut self, proposal: &Proposal, evaluation: &Evaluation);

    /// What the method itself holds to be best. `None`: what had the best value in the longest training.
    fn answer(&self) -> Option<Choice> {
        None
    }
}

/// A method together with its name and its configuration.
pub trait Configured: Method + Sized + 'static {
    /// Its settings, every field with a default.
    type Config: Clone + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned;

    /// One sentence for lists.
    const ABOUT: &'static str;

    /// Where it is from.
    const SOURCE: &'static str;

    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// [`ConfigError::Range`].
    fn check(config: &Self::Config) -> Result<(), ConfigError>;

    /// From a checked configuration. `rng` is for initial values.
    fn new(config: &Self::Config, problem: &Problem, rng: &mut ChaCha8Rng) -> Self;
}

/// A whole number of a setting.
pub(super) fn check_count(key: &str, value: usize, low: usize, high: usize) -> Result<(), ConfigError> {
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(ConfigError::range(key, value, &format!("{low} to {high}"))),
    }
}

/// A number of a setting, that `fits`.
pub(super) fn check_number(key: &str, value: f64, fits: bool, expected: &str) -> Result<(), ConfigError> {
    match value.is_finite() && fits {
        true => Ok(()),
        false => Err(ConfigError::range(key, value, expected)),
    }
}
