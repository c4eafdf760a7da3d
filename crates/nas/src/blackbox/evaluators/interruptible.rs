use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    blackbox::{
        error::BlackboxError,
        evaluator::{Evaluation, Evaluator, Levels},
    },
    space::Genotype,
};

/// An evaluator that the user can stop between two evaluations.
#[derive(Debug)]
pub struct Interruptible<'a> {
    /// What evaluates.
    pub evaluator: &'a dyn Evaluator,
    /// Once set, the next evaluation ends with [`BlackboxError::Interrupted`].
    pub stop: &'a AtomicBool,
}

impl Evaluator for Interruptible<'_> {
    fn levels(&self) -> Levels {
        self.evaluator.levels()
    }

    fn unit(&self) -> &'static str {
        self.evaluator.unit()
    }

    fn costs(&self, level: usize) -> (f64, f64) {
        self.evaluator.costs(level)
    }

    fn evaluate(&self, genotype: &Genotype, level: usize) -> Result<Evaluation, BlackboxError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(BlackboxError::Interrupted);
        }
        self.evaluator.evaluate(genotype, level)
    }
}
