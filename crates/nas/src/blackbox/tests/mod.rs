//! What every method has to hold to, and the loop with its failures.

mod conformance;
mod record;
mod retrain;
mod runs;

use std::sync::Arc;

use super::{BlackboxError, Domain, Evaluation, Evaluator, Levels, METHODS, MethodConfig, Problem};
use crate::space::{Genotype, NasBench201, SearchSpace};

/// NAS-Bench-201 with one fidelity.
pub(super) fn problem() -> Problem {
    Problem { domain: Arc::new(Domain::new(&NasBench201)), levels: Levels { count: 1, usual: 0 } }
}

/// How many edges have the operation `nor_conv_3x3`, and half as much for `skip_connect`; an evaluation costs 1 or, on the second level,
/// 10. The optimum is 6, which one architecture has.
#[derive(Debug)]
struct Convolutions {
    levels: Levels,
}

impl Evaluator for Convolutions {
    fn levels(&self) -> Levels {
        self.levels
    }

    fn unit(&self) -> &'static str {
        "units"
    }

    fn costs(&self, level: usize) -> (f64, f64) {
        let cost = if level == 0 { 1.0 } else { 10.0 };
        (cost, cost)
    }

    fn evaluate(&self, genotype: &Genotype, level: usize) -> Result<Evaluation, BlackboxError> {
        let text = NasBench201.text(genotype)?;
        let value = text.matches("nor_conv_3x3").count() as f64 + text.matches("skip_connect").count() as f64 / 2.0;
        Ok(Evaluation { value, cost: self.costs(level).0 })
    }
}

const ONE_LEVEL: Convolutions = Convolutions { levels: Levels { count: 1, usual: 0 } };
const TWO_LEVELS: Convolutions = Convolutions { levels: Levels { count: 2, usual: 0 } };

fn problem_of(evaluator: &dyn Evaluator) -> Problem {
    Problem { levels: evaluator.levels(), ..problem() }
}

/// Every method with its defaults.
fn defaults() -> Vec<MethodConfig> {
    METHODS.iter().map(|m| m.configure(&[]).unwrap()).collect()
}
