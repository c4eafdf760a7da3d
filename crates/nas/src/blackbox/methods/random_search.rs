//! Random search (Bergstra, Bengio, 2012), as the NAS-Bench-201 baselines have it.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    blackbox::{
        evaluator::Evaluation,
        method::{Configured, Method, Problem, Proposal},
    },
    search::ConfigError,
};

/// Settings of random search, `[blackbox.random-search]`: there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomSearchConfig {}

/// Every edge uniformly, each trial by itself.
#[derive(Debug)]
pub struct RandomSearch {
    problem: Problem,
}

impl Method for RandomSearch {
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        Some(Proposal { choice: self.problem.domain.sample(rng), level: self.problem.levels.usual })
    }

    fn tell(&mut self, _proposal: &Proposal, _evaluation: &Evaluation) {}
}

impl Configured for RandomSearch {
    type Config = RandomSearchConfig;

    const ABOUT: &'static str = "architectures drawn uniformly; the best one wins";

    const SOURCE: &'static str = "Bergstra, Bengio: Random Search for Hyper-Parameter Optimization, JMLR 13, 2012; as in Dong, Yang: NAS-Bench-201, arXiv 2001.00326";

    fn check(_config: &RandomSearchConfig) -> Result<(), ConfigError> {
        Ok(())
    }

    fn new(_config: &RandomSearchConfig, problem: &Problem, _rng: &mut ChaCha8Rng) -> Self {
        Self { problem: problem.clone() }
    }
}
