//! REINFORCE (Williams, 1992) with a softmax per edge, in the form of D-X-Y/AutoDL-Projects,
//! `exps/NAS-Bench-201-algos/reinforce.py`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    blackbox::{
        domain::Choice,
        evaluator::Evaluation,
        method::{Configured, Method, Problem, Proposal, check_number},
        policy::Policy,
    },
    search::{
        ConfigError,
        parts::{Adam, AdamConfig},
    },
};

/// Which architecture REINFORCE names in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The most probable one.
    Policy,
    /// The best one that was evaluated.
    Best,
}

/// Settings of REINFORCE, `[blackbox.reinforce]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `learning_rate` | 0.01 | > 0, <= 1000 | of Adam on the logits; the scripts around the code of NAS-Bench-201 name 0.5, 0.01 and 0.001 |
/// | `betas` | [0.9, 0.999] | [0, 1) each | of Adam; PyTorch |
/// | `initial_std` | 1e-3 | 0 to 1000 | standard deviation of the initial logits; the code of NAS-Bench-201 |
/// | `momentum` | 0.9 | [0, 1) | of the running mean of the values that is the baseline, corrected for its start; the code of NAS-Bench-201 |
/// | `answer` | `"policy"` | `"best"` | the most probable architecture, as in the first version of that code, or the best one that was evaluated, as in the current one |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReinforceConfig {
    /// Step size of Adam.
    pub learning_rate: f64,
    /// Decays of Adam's moments.
    pub betas: [f64; 2],
    /// Standard deviation of the initial logits.
    pub initial_std: f64,
    /// Of the baseline.
    pub momentum: f64,
    /// What is named in the end.
    pub answer: Answer,
}

impl Default for ReinforceConfig {
    fn default() -> Self {
        Self { learning_rate: 0.01, betas: [0.9, 0.999], initial_std: 1e-3, momentum: 0.9, answer: Answer::Policy }
    }
}

impl ReinforceConfig {
    fn adam(&self) -> AdamConfig {
        AdamConfig { learning_rate: self.learning_rate, betas: self.betas, weight_decay: 0.0, ..Default::default() }
    }
}

/// A policy that makes what was better than usual more probable.
#[derive(Debug)]
pub struct Reinforce {
    config: ReinforceConfig,
    problem: Problem,
    policy: Policy,
    adam: Adam,
    baseline: Baseline,
}

/// Running mean of the values.
#[derive(Clone, Copy, Debug, Default)]
struct Baseline {
    numerator: f64,
    denominator: f64,
    /// The worst value that is a number: what minus infinity counts as.
    worst: Option<f64>,
}

impl Method for Reinforce {
    fn ask(&mut self, rng: &mut ChaCha8Rng) -> Option<Proposal> {
        Some(Proposal { choice: self.policy.sample(rng), level: self.problem.levels.usual })
    }

    /// One step of Adam on `-(value - baseline) log p(choice)`, the baseline being the running mean up to and with this value.
    fn tell(&mut self, proposal: &Proposal, evaluation: &Evaluation) {
        let Some(value) = self.baseline.update(evaluation.value, self.config.momentum) else { return };
        let advantage = value - self.baseline.numerator / self.baseline.denominator;
        let gradient = self.policy.gradient(&proposal.choice, advantage);
        let all = vec![true; gradient.len()];
        self.adam.step(&mut self.policy.logits, &gradient, &all);
    }

    fn answer(&self) -> Option<Choice> {
        match self.config.answer {
            Answer::Policy => Some(self.policy.mode()),
            Answer::Best => None,
        }
    }
}

impl Baseline {
    /// Takes a value in and returns it; minus infinity as the worst number so far, if there is one.
    fn update(&mut self, value: f64, momentum: f64) -> Option<f64> {
        let value = if value.is_finite() { value } else { self.worst? };
        self.worst = Some(self.worst.map_or(value, |worst| worst.min(value)));
        self.numerator = momentum * self.numerator + (1.0 - momentum) * value;
        self.denominator = momentum * self.denominator + (1.0 - momentum);
        Some(value)
    }
}

impl Configured for Reinforce {
    type Config = ReinforceConfig;

    const ABOUT: &'static str = "a probability for each operation of each edge, trained by the policy gradient";

    const SOURCE: &'static str = "Williams: Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning, Machine Learning 8, 1992; as in Dong, Yang: NAS-Bench-201, arXiv 2001.00326";

    fn check(config: &ReinforceConfig) -> Result<(), ConfigError> {
        if let Some(fault) = config.adam().fault() {
            return Err(ConfigError::Whole(fault));
        }
        // Larger steps end in logits that are no numbers.
        check_number("learning_rate", config.learning_rate, config.learning_rate <= 1000.0, "at most 1000")?;
        check_number("initial_std", config.initial_std, (0.0..=1000.0).contains(&config.initial_std), "0 to 1000")?;
        let momentum = (0.0..1.0).contains(&config.momentum);
        check_number("momentum", config.momentum, momentum, "at least 0 and less than 1")
    }

    fn new(config: &ReinforceConfig, problem: &Problem, rng: &mut ChaCha8Rng) -> Self {
        let policy = Policy::normal(&problem.domain, config.initial_std, rng);
        let adam = Adam::new(config.adam(), policy.logits.len());
        Self { config: config.clone(), problem: problem.clone(), policy, adam, baseline: Baseline::default() }
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
    fn the_baseline_is_the_bias_corrected_mean() {
        // With momentum 0.5: (0.25 * 4 + 0.5 * 7) / 0.75.
        let mut baseline = Baseline::default();
        assert_eq!(baseline.update(f64::NEG_INFINITY, 0.5), None);
        baseline.update(4.0, 0.5);
        assert_eq!(baseline.numerator / baseline.denominator, 4.0);
        baseline.update(7.0, 0.5);
        assert_eq!(baseline.numerator / baseline.denominator, 6.0);
        assert_eq!(baseline.update(f64::NEG_INFINITY, 0.5), Some(4.0));
    }

    #[test]
    fn what_is_better_than_usual_becomes_more_probable() {
        let mut rng = generator(1, Purpose::Trial, 0, 0);
        let mut method = Reinforce::new(&ReinforceConfig::default(), &problem(), &mut rng);
        let tell = |method: &mut Reinforce, op: usize, value: f64| {
            method.tell(&Proposal { choice: vec![op; 6], level: 0 }, &Evaluation { value, cost: 1.0 });
        };
        // The first value is its own baseline and teaches nothing.
        let before = method.policy.clone();
        tell(&mut method, 2, 50.0);
        assert_eq!(method.policy, before);
        (0..50).for_each(|i| if i % 2 == 0 { tell(&mut method, 3, 90.0) } else { tell(&mut method, 0, 10.0) });
        assert_eq!(method.answer(), Some(vec![3; 6]));
    }
}
