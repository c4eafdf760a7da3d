use serde::{Deserialize, Serialize};

use super::{
    domain::Choice,
    error::BlackboxError,
    evaluator::{Evaluation, Evaluator},
    method::{Judged, Method, Problem, Proposal, best},
    methods::MethodConfig,
};
use crate::{
    numbers::Number,
    random::{Purpose, generator},
};

/// One evaluation of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What was asked.
    #[serde(flatten)]
    pub proposal: Proposal,
    /// Its value.
    pub value: Number,
    /// What it cost, in the evaluator's unit.
    pub cost: f64,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The next evaluation would have cost more than was left.
    Budget,
    /// The method had nothing left to ask.
    Exhausted,
}

/// A method with its record.
#[derive(Debug)]
pub struct Run {
    problem: Problem,
    method: Box<dyn Method>,
    seed: u64,
    pending: Option<Proposal>,
    trials: Vec<Trial>,
    spent: f64,
}

impl Run {
    /// Before its first trial.
    pub fn new(config: &MethodConfig, problem: &Problem, seed: u64) -> Self {
        let method = config.build(problem, &mut generator(seed, Purpose::Trial, 0, 0));
        Self { problem: problem.clone(), method, seed, pending: None, trials: vec![], spent: 0.0 }
    }

    /// What to evaluate next, the same until it is told; `None`: the method has nothing left to ask.
    pub fn ask(&mut self) -> Option<&Proposal> {
        if self.pending.is_none() {
            let trial = self.trials.len() as u64 + 1;
            self.pending = self.method.ask(&mut generator(self.seed, Purpose::Trial, trial, 0));
        }
        self.pending.as_ref()
    }

    /// What came of the last proposal; nothing happens where there is none.
    pub fn tell(&mut self, evaluation: Evaluation) {
        let Some(proposal) = self.pending.take() else { return };
        self.method.tell(&proposal, &evaluation);
        self.spent += evaluation.cost;
        self.trials.push(Trial { proposal, value: Number(evaluation.value), cost: evaluation.cost });
    }

    /// Evaluates until the next evaluation does not fit into the budget or the method has nothing left to ask.
    ///
    /// # Errors
    /// Those of the evaluator.
    pub fn complete(&mut self, evaluator: &dyn Evaluator, budget: f64) -> Result<End, BlackboxError> {
        let problem = self.problem.clone();
        while let Some(proposal) = self.ask() {
            let (level, genotype) = (proposal.level, problem.domain.genotype(&proposal.choice)?);
            // An evaluation may take long: one that cannot fit is not begun.
            if self.spent + evaluator.costs(level).0 > budget {
                return Ok(End::Budget);
            }
            let evaluation = evaluator.evaluate(&genotype, level)?;
            if self.spent + evaluation.cost > budget {
                return Ok(End::Budget);
            }
            self.tell(evaluation);
        }
        Ok(End::Exhausted)
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Its evaluations so far.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// What they cost together.
    pub fn spent(&self) -> f64 {
        self.spent
    }

    /// What the run found: what the method itself names, else what had the best value in the longest training that was made; `None`
    /// before the first trial.
    pub fn answer(&self) -> Option<Choice> {
        let trials = self.trials();
        let longest = trials.iter().map(|t| t.proposal.level).max()?;
        let judged = |t: &Trial| Judged { choice: t.proposal.choice.clone(), value: t.value };
        let judged: Vec<Judged> = trials.iter().filter(|t| t.proposal.level == longest).map(judged).collect();
        self.method.answer().or_else(|| best(&judged).map(|b| b.choice.clone()))
    }
}
