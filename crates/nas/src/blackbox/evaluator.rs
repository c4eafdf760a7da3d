use std::fmt;

use super::error::BlackboxError;
use crate::space::Genotype;

/// The fidelities that an evaluator offers, from the cheapest, 0, to the one that counts in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// How many; at least 1.
    pub count: usize,
    /// The one for methods that use a single one.
    pub usual: usize,
}

impl Levels {
    /// The one that counts in the end.
    pub fn last(self) -> usize {
        self.count - 1
    }
}

/// What came of a proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Higher is better; never NaN.
    pub value: f64,
    /// In the evaluator's unit, more than 0.
    pub cost: f64,
}

/// Gives the value of an architecture: a look-up, a score, or a training from scratch.
pub trait Evaluator: fmt::Debug + Sync {
    /// Its fidelities.
    fn levels(&self) -> Levels;

    /// What costs and budgets are counted in.
    fn unit(&self) -> &'static str;

    /// The least and the most that an evaluation of this fidelity costs.
    fn costs(&self, level: usize) -> (f64, f64);

    /// Evaluates a genotype.
    ///
    /// # Errors
    /// [`BlackboxError`]: the genotype is not one that it knows, or computing failed.
    fn evaluate(&self, genotype: &Genotype, level: usize) -> Result<Evaluation, BlackboxError>;
}
