use serde::Serialize;

use super::runs::Outcome;
use crate::{
    benchmark::{BenchmarkDataset, Column, Epochs, Split, Table},
    compare::{COLUMNS, Statistic},
    numbers::Number,
    space::Arch,
};

/// One of the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Its seed.
    pub seed: u64,
    /// What it found.
    pub arch: String,
    /// What the runs are ranked by: test accuracy after 200 epochs in percent with a table, else the value in the run.
    pub quality: Option<Number>,
}

/// Many runs of one search.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// How many runs.
    pub runs: usize,
    /// Accuracies of what they found after 200 epochs in percent, in the order of [`COLUMNS`]; `None` without the table or outside of its
    /// space.
    pub accuracies: Option<[Statistic; 6]>,
    /// Evaluations of a run.
    pub evaluations: Statistic,
    /// What they cost together, in the evaluator's unit.
    pub spent: Statistic,
    /// The best run.
    pub best: Finding,
    /// The median run: of an even number the worse one in the middle.
    pub median: Finding,
}

impl Summary {
    /// Of at least one outcome; `dataset`: whose test accuracy ranks the runs.
    pub fn new(outcomes: &[Outcome], table: Option<&Table>, dataset: BenchmarkDataset) -> Option<Self> {
        let known = |outcome: &Outcome, column| {
            let arch = Arch::from_index(outcome.index?).ok()?;
            table?.value(column, arch)
        };
        let statistic = |column| {
            let values: Option<Vec<f64>> = outcomes.iter().map(|o| known(o, column)).collect();
            Statistic::of(&values?)
        };
        let accuracies: Option<Vec<Statistic>> = COLUMNS.iter().map(|&(column, _)| statistic(column)).collect();
        let test = Column::accuracy(dataset, Split::Test, Epochs::TwoHundred);
        let quality = |o: &Outcome| if accuracies.is_some() { known(o, test).map(Number) } else { o.value };
        let mut ranked: Vec<(Option<Number>, &Outcome)> = outcomes.iter().map(|o| (quality(o), o)).collect();
        // The best first; what has no value is last.
        let rank = |q: Option<Number>| q.map_or(f64::NEG_INFINITY, |q| q.0);
        ranked.sort_by(|(a, _), (b, _)| rank(*b).total_cmp(&rank(*a)));
        let finding =
            |&(quality, o): &(Option<Number>, &Outcome)| Finding { seed: o.seed, arch: o.arch.clone(), quality };
        let all = |value: &dyn Fn(&Outcome) -> f64| Statistic::of(&outcomes.iter().map(value).collect::<Vec<_>>());
        Some(Self {
            runs: outcomes.len(),
            evaluations: all(&|o| o.trials.len() as f64)?,
            spent: all(&|o| o.spent)?,
            best: ranked.first().map(finding)?,
            median: ranked.get(outcomes.len() / 2).map(finding)?,
            accuracies: accuracies.and_then(|a| a.try_into().ok()),
        })
    }
}
