//! BOHB (Falkner, Klein, Hutter, 2018, arXiv 1807.01774) with categorical variables, in the form of automl/HpBandSter and, for its
//! settings, of D-X-Y/AutoDL-Projects, `exps/NAS-Bench-201-algos/BOHB.py`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    blackbox::{
        domain::Choice,
        evaluator::Evaluation,
        kde::Kde,
        method::{Configured, Judged, Method, Problem, Proposal, check_count, check_number},
    },
    random::unit,
    search::ConfigError,
};

/// What a rung of successive halving trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Training {
    /// The longest training on every rung.
    Full,
    /// The trainings that there are, spread over the rungs, the shortest on the first and the longest on the last.
    Rungs,
}

/// Settings of BOHB, `[blackbox.bohb]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `training` | `"full"` | `"rungs"` | what a rung trains: the longest training on every rung, as the code of NAS-Bench-201 charges it, or short trainings on lower rungs |
/// | `rungs` | 3 | 1 to 6 | rungs of the tallest bracket; 3 is what that code's budgets from 12 to 200 epochs make with `eta` 3 |
/// | `eta` | 3 | 2 to 10 | one in `eta` goes on to the next rung; BOHB |
/// | `samples` | 4 | 1 to 10000 | candidates drawn from the density of the good ones, of which the most promising is asked; NAS-Bench-201 (HpBandSter: 64) |
/// | `random_fraction` | 0.0 | [0, 1] | share of uniform draws; NAS-Bench-201 (HpBandSter: 1/3) |
/// | `min_bandwidth` | 0.3 | (0, 1] | smallest bandwidth of a variable; NAS-Bench-201 (HpBandSter: 1e-3) |
/// | `top_percent` | 15 | 1 to 99 | share of what has been evaluated that counts as good; HpBandSter |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BohbConfig {
    /// What a rung trains.
    pub training: Training,
    /// Rungs of the tallest bracket.
    pub rungs: usize,
    /// One in so many goes on.
    pub eta: usize,
    /// Candidates for a proposal.
    pub samples: usize,
    /// Share of uniform draws.
    pub random_fraction: f64,
    /// Smallest bandwidth.
    pub min_bandwidth: f64,
    /// Share of the good ones.
    pub top_percent: usize,
}

impl Default for BohbConfig {
    fn default() -> Self {
        Self {
            training: Training::Full,
            rungs: 3,
            eta: 3,
            samples: 4,
            random_fraction: 0.0,
            min_bandwidth: 0.3,
            top_percent: 15,
        }
    }
}

/// Hyperband whose new configurations come from a density ratio.
#[derive(Debug)]
pub struct Bohb {
    config: BohbConfig,
    problem: Problem,
    categories: Vec<usize>,
    state: State,
    /// The densities of good and bad ones on the highest rung that has enough of both.
    model: Option<[Kde; 2]>,
}

#[derive(Debug)]
struct State {
    /// Number of the bracket.
    bracket: usize,
    /// Stage of the bracket; 0 draws new configurations.
    stage: usize,
    /// What the stage has still to evaluate; at stage 0 they are drawn one by one instead.
    waiting: Vec<Choice>,
    /// What it has evaluated.
    judged: Vec<Judged>,
    /// All evaluations by rung.
    rungs: Vec<Vec<Judged>>,
}

impl Bohb {
    /// Stages of the bracket after the first, `s` in the paper.
    fn stages_after(&self) -> usize {
        self.config.rungs - 1 - self.state.bracket % self.config.rungs
    }

    /// Configurations at a stage of the bracket.
    fn count(&self, stage: usize) -> usize {
        let (s, eta) = (self.stages_after(), self.config.eta);
        // At most 6 * 10^5.
        (self.config.rungs / (s + 1) * eta.pow(s as u32) / eta.pow(stage as u32)).max(1)
    }

    fn rung(&self) -> usize {
        self.config.rungs - 1 - self.stages_after() + self.state.stage
    }

    fn level(&self) -> usize {
        let (last, top) = (self.problem.levels.last(), self.config.rungs - 1);
        match self.config.training {
            Training::Rungs if top > 0 => (2 * self.rung() * last + top) / (2 * top),
            Training::Rungs | Training::Full => last,
        }
    }

    /// A draw from the model, or uniformly where there is none yet.
    fn new_configuration(&self, rng: &mut ChaCha8Rng) -> Choice {
        let Some([good, bad]) = self.model.as_ref().filter(|_| unit(rng) >= self.config.random_fraction) else {
            return self.problem.domain.sample(rng);
        };
        let ratio = |choice: &Choice| bad.density(choice).max(1e-32) / good.density(choice).max(1e-32);
        let candidates = (0..self.config.samples).map(|_| good.sample(rng)).map(|c| (ratio(&c), c));
        let least = candidates.reduce(|least, next| if next.0 < least.0 { next } else { least });
        least.map_or_else(|| vec![0; self.categories.len()], |(_, choice)| choice)
    }

    /// Good and bad ones of the highest rung that has more of both than there are variables.
    fn fit(&mut self) {
        let least = self.categories.len() + 1;
        let split = |rung: &Vec<Judged>| {
            let good = least.max(self.config.top_percent * rung.len() / 100);
            let bad = least.max((100 - self.config.top_percent) * rung.len() / 100);
            let sorted = descending(rung);
            let choices = |judged: &[&Judged]| judged.iter().map(|j| j.choice.clone()).collect::<Vec<_>>();
            let good = choices(&sorted[..good.min(sorted.len())]);
            let bad = choices(&sorted[good.len()..(good.len() + bad).min(sorted.len())]);
            (good.len() >= least && bad.len() >= least).then_some([good, bad])
        };
        let parts = self.state.rungs.iter().rev().find_map(split);
        self.model = parts.map(|parts| parts.map(|data| Kde::fit(data, &self.categories, self.config.min_bandwidth)));
    }
}

/// The best first; equal ones keep their order.
fn descending(judged: &[Judged]) -> Vec<&Judged> {
    let mut sorted: Vec<&Judged> = judged.iter().collect();
    sorted.sort_by(|a, b| b.value.0.total_cmp(&a.value.0));
    sorted
}

impl Method for Bohb {
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        let choice = match self.state.waiting.get(self.state.judged.len()) {
            Some(choice) => choice.clone(),
            None => self.new_configuration(rng),
        };
        Some(Proposal { choice, level: self.level() })
    }

    fn tell(&mut self, proposal: &Proposal, evaluation: &Evaluation) {
        let judged = Judged::new(proposal, evaluation);
        let rung = self.rung();
        self.state.rungs[rung].push(judged.clone());
        self.state.judged.push(judged);
        self.fit();
        if self.state.judged.len() < self.count(self.state.stage) {
            return;
        }
        if self.state.stage < self.stages_after() {
            let best = descending(&self.state.judged).into_iter().take(self.count(self.state.stage + 1));
            self.state.waiting = best.map(|j| j.choice.clone()).collect();
            self.state.stage += 1;
        } else {
            self.state.waiting.clear();
            (self.state.bracket, self.state.stage) = (self.state.bracket + 1, 0);
        }
        self.state.judged.clear();
    }
}

impl Configured for Bohb {
    type Config = BohbConfig;

    const ABOUT: &'static str =
        "Hyperband whose new architectures are drawn where good ones are dense and bad ones are not";

    const SOURCE: &'static str =
        "Falkner, Klein, Hutter: BOHB: Robust and Efficient Hyperparameter Optimization at Scale, arXiv 1807.01774";

    fn check(config: &BohbConfig) -> Result<(), ConfigError> {
        check_count("rungs", config.rungs, 1, 6)?;
        check_count("eta", config.eta, 2, 10)?;
        check_count("samples", config.samples, 1, 10_000)?;
        check_count("top_percent", config.top_percent, 1, 99)?;
        let share = (0.0..=1.0).contains(&config.random_fraction);
        check_number("random_fraction", config.random_fraction, share, "0 to 1")?;
        let bandwidth = config.min_bandwidth > 0.0 && config.min_bandwidth <= 1.0;
        check_number("min_bandwidth", config.min_bandwidth, bandwidth, "more than 0 and at most 1")
    }

    fn new(config: &BohbConfig, problem: &Problem, _rng: &mut ChaCha8Rng) -> Self {
        let categories = problem.domain.variables().iter().map(|v| v.categories).collect();
        let rungs = vec![vec![]; config.rungs];
        let state = State { bracket: 0, stage: 0, waiting: vec![], judged: vec![], rungs };
        Self { config: config.clone(), problem: problem.clone(), categories, state, model: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        blackbox::{Levels, tests::problem},
        random::{Purpose, generator},
    };

    fn proposals(config: &BohbConfig, levels: usize, n: u64) -> Vec<Proposal> {
        let problem = Problem { levels: Levels { count: levels, usual: 0 }, ..problem() };
        let mut method = Bohb::new(config, &problem, &mut generator(0, Purpose::Trial, 0, 0));
        let ask = |trial| {
            let proposal = method.ask(&mut generator(0, Purpose::Trial, trial, 0)).unwrap();
            let value = proposal.choice.iter().sum::<usize>() as f64;
            method.tell(&proposal, &Evaluation { value, cost: 1.0 });
            proposal
        };
        (1..=n).map(ask).collect()
    }

    #[test]
    fn brackets_are_hyperbands() {
        // HpBandSter with eta 3 and three budgets: 9, 3, 1; then 3, 1; then 3; then again.
        let config = BohbConfig { training: Training::Rungs, ..Default::default() };
        let levels: Vec<usize> = proposals(&config, 3, 33).iter().map(|p| p.level).collect();
        let expected = [(0, 9), (1, 3), (2, 1), (1, 3), (2, 1), (2, 3), (0, 9), (1, 3), (2, 1)];
        assert_eq!(levels, expected.iter().flat_map(|&(level, n)| vec![level; n]).collect::<Vec<_>>());
        assert!(proposals(&BohbConfig::default(), 3, 20).iter().all(|p| p.level == 2));
        // Two trainings on three rungs: the middle one is long.
        let levels: Vec<usize> = proposals(&config, 2, 13).iter().map(|p| p.level).collect();
        assert_eq!(levels, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn the_best_of_a_stage_go_on() {
        let asked = proposals(&BohbConfig::default(), 1, 13);
        let value = |p: &Proposal| p.choice.iter().sum::<usize>();
        let mut first: Vec<&Proposal> = asked[..9].iter().collect();
        first.sort_by_key(|p| std::cmp::Reverse(value(p)));
        assert_eq!(asked[9..12].iter().collect::<Vec<_>>(), first[..3]);
        assert_eq!(asked[12], *first[0]);
    }

    #[test]
    fn the_model_finds_where_the_good_ones_are() {
        let config = BohbConfig { rungs: 1, samples: 64, ..Default::default() };
        let mean = |p: &[Proposal]| p.iter().flat_map(|p| &p.choice).sum::<usize>() as f64 / p.len() as f64 / 6.0;
        let asked = proposals(&config, 1, 200);
        // Uniform draws of 0 to 4 have a mean of 2.
        assert!(
            mean(&asked[..14]) < 2.6 && mean(&asked[150..]) > 3.0,
            "{} {}",
            mean(&asked[..14]),
            mean(&asked[150..])
        );
    }
}
