//! Local search (White, Nolen, Savani, 2021, arXiv 2005.02960), in the form of naszilla, `nas_algorithms.py`.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    blackbox::{
        domain::Choice,
        evaluator::Evaluation,
        method::{Configured, Judged, Method, Problem, Proposal, check_count},
    },
    numbers::Number,
    random::shuffle,
    search::ConfigError,
};

/// When local search moves to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// When all are known, to the best one.
    Best,
    /// To the first one that is better.
    First,
}

/// Settings of local search, `[blackbox.local-search]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `initial` | 10 | 1 to 100000 | random architectures, of which the best one is the start; naszilla |
/// | `move` | `"best"` | `"first"` | to the best of all neighbours, the basic form of the method's paper, or to the first one that is better, the default of naszilla |
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSearchConfig {
    /// Random architectures at each start.
    pub initial: usize,
    /// When it moves.
    #[serde(rename = "move")]
    pub moves: Move,
}

impl Default for LocalSearchConfig {
    fn default() -> Self {
        Self { initial: 10, moves: Move::Best }
    }
}

/// Moves to better neighbours until there is none, then starts anew. Nothing is evaluated twice.
#[derive(Debug)]
pub struct LocalSearch {
    config: LocalSearchConfig,
    problem: Problem,
    seen: BTreeMap<Choice, f64>,
    place: Place,
}

#[derive(Debug, Default)]
struct Place {
    /// Where the search stands; `None` while it draws where to start.
    current: Option<Judged>,
    /// Random architectures drawn for this start.
    drawn: usize,
    /// Neighbours that it has still to look at, the next one last.
    neighbours: Vec<Choice>,
    /// The best one so far of the random architectures, or of the neighbours.
    best: Option<Judged>,
}

impl LocalSearch {
    fn all_seen(&self) -> bool {
        self.seen.len() as u128 >= self.problem.domain.size()
    }

    /// Takes a value into account: of a random architecture, or of a neighbour.
    fn look(&mut self, judged: Judged) {
        let better = self.place.current.as_ref().is_some_and(|current| judged.beats(current));
        if self.config.moves == Move::First && better {
            self.place.neighbours.clear();
        }
        if self.place.best.as_ref().is_none_or(|best| judged.beats(best)) {
            self.place.best = Some(judged);
        }
    }

    fn stand(&mut self, at: Judged, rng: &mut ChaCha8Rng) {
        let all = self.problem.domain.neighbours(&at.choice);
        let mut order: Vec<u32> = (0..all.len() as u32).collect();
        shuffle(rng, &mut order);
        let neighbours = order.into_iter().map(|i| all[i as usize].clone()).collect();
        self.place = Place { current: Some(at), drawn: 0, neighbours, best: None };
    }

    /// A random architecture that has not been evaluated yet; there must be one.
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> Choice {
        loop {
            let choice = self.problem.domain.sample(rng);
            if !self.seen.contains_key(&choice) {
                self.place.drawn += 1;
                return choice;
            }
        }
    }

    /// The next neighbour that has not been evaluated; the values of others are taken into account on the way.
    fn next_neighbour(&mut self) -> Option<Choice> {
        while let Some(choice) = self.place.neighbours.pop() {
            match self.seen.get(&choice).copied() {
                Some(value) => self.look(Judged { choice, value: Number(value) }),
                None => return Some(choice),
            }
        }
        None
    }
}

impl Method for LocalSearch {
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        let choice = loop {
            let Some(current) = self.place.current.clone() else {
                if self.place.drawn < self.config.initial && !self.all_seen() {
                    break self.draw(rng);
                }
                // Nothing was left to start from.
                let start = self.place.best.take()?;
                self.stand(start, rng);
                continue;
            };
            if let Some(choice) = self.next_neighbour() {
                break choice;
            }
            match self.place.best.take().filter(|best| best.beats(&current)) {
                Some(better) => self.stand(better, rng),
                None => self.place = Place::default(),
            }
        };
        Some(Proposal { choice, level: self.problem.levels.usual })
    }

    fn tell(&mut self, proposal: &Proposal, evaluation: &Evaluation) {
        self.seen.insert(proposal.choice.clone(), evaluation.value);
        self.look(Judged::new(proposal, evaluation));
    }
}

impl Configured for LocalSearch {
    type Config = LocalSearchConfig;

    const ABOUT: &'static str = "moves to the best neighbour until none is better, then starts anew";

    const SOURCE: &'static str =
        "White, Nolen, Savani: Exploring the Loss Landscape in Neural Architecture Search, arXiv 2005.02960";

    fn check(config: &LocalSearchConfig) -> Result<(), ConfigError> {
        check_count("initial", config.initial, 1, 100_000)
    }

    fn new(config: &LocalSearchConfig, problem: &Problem, _rng: &mut ChaCha8Rng) -> Self {
        Self { config: config.clone(), problem: problem.clone(), seen: BTreeMap::new(), place: Place::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blackbox::tests::problem,
        random::{Purpose, generator},
    };

    /// Proposals on an objective that has no other local optimum than all fours.
    fn asked(config: &LocalSearchConfig, n: u64) -> Vec<(Choice, f64)> {
        let mut method = LocalSearch::new(config, &problem(), &mut generator(0, Purpose::Trial, 0, 0));
        let ask = |trial| {
            let proposal = method.ask(&mut generator(0, Purpose::Trial, trial, 0))?;
            let value = proposal.choice.iter().sum::<usize>() as f64;
            method.tell(&proposal, &Evaluation { value, cost: 1.0 });
            Some((proposal.choice, value))
        };
        (1..=n).map_while(ask).collect()
    }

    #[test]
    fn climbs_to_the_optimum_and_starts_anew() {
        for moves in [Move::Best, Move::First] {
            let asked = asked(&LocalSearchConfig { initial: 2, moves }, 400);
            let top = asked.iter().position(|(_, value)| *value == 24.0).unwrap();
            assert!(top < 160, "{moves:?}: {top}");
            assert_eq!(asked.len(), 400);
            let mut distinct: Vec<&Choice> = asked.iter().map(|(choice, _)| choice).collect();
            distinct.sort();
            distinct.dedup();
            assert_eq!(distinct.len(), 400, "nothing is evaluated twice");
        }
    }

    #[test]
    fn ends_when_the_whole_space_is_known() {
        assert_eq!(asked(&LocalSearchConfig::default(), 16_000).len(), 15_625);
    }
}
