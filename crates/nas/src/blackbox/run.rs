use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    domain::Choice,
    error::BlackboxError,
    evaluator::{Evaluation, Evaluator},
    method::{Judged, Method, Problem, Proposal, best, saved},
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

/// A method with its record. Between any two calls it can be saved.
#[derive(Debug)]
pub struct Run {
    problem: Problem,
    method: Box<dyn Method>,
    record: Record,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    seed: u64,
    pending: Option<Proposal>,
    trials: Vec<Trial>,
    spent: f64,
}

#[derive(Deserialize)]
struct Saved {
    method: Value,
    record: Record,
}

impl Run {
    /// Before its first trial.
    pub fn new(config: &MethodConfig, problem: &Problem, seed: u64) -> Self {
        let method = config.build(problem, &mut generator(seed, Purpose::Trial, 0, 0));
        Self { problem: problem.clone(), method, record: Record { seed, ..Record::default() } }
    }

    /// What to evaluate next, the same until it is told; `None`: the method has nothing left to ask.
    pub fn ask(&mut self) -> Option<&Proposal> {
        if self.record.pending.is_none() {
            let trial = self.record.trials.len() as u64 + 1;
            self.record.pending = self.method.ask(&mut generator(self.record.seed, Purpose::Trial, trial, 0));
        }
        self.record.pending.as_ref()
    }

    /// What came of the last proposal; nothing happens where there is none.
    pub fn tell(&mut self, evaluation: Evaluation) {
        let Some(proposal) = self.record.pending.take() else { return };
        self.method.tell(&proposal, &evaluation);
        self.record.spent += evaluation.cost;
        self.record.trials.push(Trial { proposal, value: Number(evaluation.value), cost: evaluation.cost });
    }

    /// Evaluates until the next evaluation does not fit into the budget or the method has nothing left to ask.
    ///
    /// # Errors
    /// Those of the evaluator.
    pub fn complete(&mut self, evaluator: &dyn Evaluator, budget: f64) -> Result<End, BlackboxError> {
        let problem = self.problem.clone();
        while let Some(proposal) = self.ask() {
            let genotype = problem.domain.genotype(&proposal.choice)?;
            let evaluation = evaluator.evaluate(&genotype, proposal.level)?;
            if self.record.spent + evaluation.cost > budget {
                return Ok(End::Budget);
            }
            self.tell(evaluation);
        }
        Ok(End::Exhausted)
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.record.seed
    }

    /// Its evaluations so far.
    pub fn trials(&self) -> &[Trial] {
        &self.record.trials
    }

    /// What they cost together.
    pub fn spent(&self) -> f64 {
        self.record.spent
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

    /// Everything that a restored run needs.
    pub fn state(&self) -> Value {
        serde_json::json!({ "method": self.method.state(), "record": saved(&self.record) })
    }

    /// Takes over the state of a run of the same method and configuration.
    ///
    /// # Errors
    /// [`BlackboxError::State`].
    pub fn restore(&mut self, state: &Value) -> Result<(), BlackboxError> {
        let saved = Saved::deserialize(state).map_err(|e| BlackboxError::State(e.to_string()))?;
        let proposals = saved.record.trials.iter().map(|t| &t.proposal).chain(&saved.record.pending);
        for proposal in proposals {
            self.problem.domain.check(&proposal.choice).map_err(BlackboxError::State)?;
            if proposal.level >= self.problem.levels.count {
                let (level, last) = (proposal.level, self.problem.levels.last());
                return Err(BlackboxError::State(format!("fidelity {level}, expected 0..={last}")));
            }
        }
        self.method.restore(&saved.method).map_err(BlackboxError::State)?;
        self.record = saved.record;
        Ok(())
    }
}
