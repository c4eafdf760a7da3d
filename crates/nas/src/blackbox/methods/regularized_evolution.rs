//! Regularised (aging) evolution (Real, Aggarwal, Huang, Le, 2019, arXiv 1802.01548, algorithm 1), in the form of D-X-Y/AutoDL-Projects,
//! `exps/NAS-Bench-201-algos/R_EA.py`.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    blackbox::{
        domain::Mutation,
        evaluator::Evaluation,
        method::{Configured, Judged, Method, Problem, Proposal, best, check_count},
    },
    random::below,
    search::ConfigError,
};

/// Settings of regularised evolution, `[blackbox.regularized-evolution]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `population` | 10 | 1 to 100000 | architectures alive; NAS-Bench-201 (the paper of the method has 100) |
/// | `sample` | 3 | 1 to 100000 | size of the tournament, drawn with replacement; NAS-Bench-201 (the paper of the method has 25) |
/// | `mutation` | `"node-then-edge"` | `"edge"` | what changes in a child: an edge of a node drawn before it, as the code of NAS-Bench-201 does, or any edge |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegularizedEvolutionConfig {
    /// Architectures alive.
    pub population: usize,
    /// Size of the tournament.
    pub sample: usize,
    /// What changes in a child.
    pub mutation: Mutation,
}

impl Default for RegularizedEvolutionConfig {
    fn default() -> Self {
        Self { population: 10, sample: 3, mutation: Mutation::NodeThenEdge }
    }
}

/// The best of a random sample has a mutated child, and the oldest one dies.
#[derive(Debug)]
pub struct RegularizedEvolution {
    config: RegularizedEvolutionConfig,
    problem: Problem,
    /// The oldest one first.
    population: VecDeque<Judged>,
}

impl Method for RegularizedEvolution {
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        let domain = &self.problem.domain;
        let drawn = |rng: &mut ChaCha8Rng| {
            let sample: Vec<usize> = (0..self.config.sample).map(|_| below(rng, self.population.len())).collect();
            best(sample.into_iter().map(|i| &self.population[i]))
        };
        let full = self.population.len() == self.config.population;
        let choice = match full.then(|| drawn(rng)).flatten() {
            Some(parent) => domain.mutate(&parent.choice, self.config.mutation, rng),
            None => domain.sample(rng),
        };
        Some(Proposal { choice, level: self.problem.levels.usual })
    }

    fn tell(&mut self, proposal: &Proposal, evaluation: &Evaluation) {
        if self.population.len() == self.config.population {
            self.population.pop_front();
        }
        self.population.push_back(Judged::new(proposal, evaluation));
    }
}

impl Configured for RegularizedEvolution {
    type Config = RegularizedEvolutionConfig;

    const ABOUT: &'static str = "the best of a small sample has a child, the oldest one dies";

    const SOURCE: &'static str =
        "Real, Aggarwal, Huang, Le: Regularized Evolution for Image Classifier Architecture Search, arXiv 1802.01548";

    fn check(config: &RegularizedEvolutionConfig) -> Result<(), ConfigError> {
        check_count("population", config.population, 1, 100_000)?;
        check_count("sample", config.sample, 1, 100_000)
    }

    fn new(config: &RegularizedEvolutionConfig, problem: &Problem, _rng: &mut ChaCha8Rng) -> Self {
        Self { config: config.clone(), problem: problem.clone(), population: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blackbox::tests::problem,
        random::{Purpose, generator},
    };

    #[test]
    fn the_oldest_dies_and_children_are_near_the_population() {
        let config = RegularizedEvolutionConfig { population: 3, sample: 9, ..Default::default() };
        let mut rng = generator(1, Purpose::Trial, 0, 0);
        let mut method = RegularizedEvolution::new(&config, &problem(), &mut rng);
        for value in [1.0, 5.0, 2.0, 3.0] {
            let proposal = method.ask(&mut rng).unwrap();
            method.tell(&proposal, &Evaluation { value, cost: 1.0 });
        }
        let values: Vec<f64> = method.population.iter().map(|j| j.value.0).collect();
        assert_eq!(values, [5.0, 2.0, 3.0]);
        // A sample as large as that holds the best of three but in (2/3)^9 = 2.6 % of cases.
        let best = method.population[0].choice.clone();
        let children = (0..1000).map(|_| method.ask(&mut rng).unwrap().choice);
        let own = children.filter(|c| c.iter().zip(&best).filter(|(a, b)| a != b).count() == 1).count();
        assert!(own > 940, "{own}");
    }
}
