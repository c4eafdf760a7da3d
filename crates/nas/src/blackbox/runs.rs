use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde::Serialize;

use super::{
    domain::Choice,
    error::{BlackboxError, MAX_EVALUATIONS},
    evaluator::Evaluator,
    method::Problem,
    methods::MethodConfig,
    run::{End, Run, Trial},
};
use crate::{numbers::Number, space::Genotype};

/// How one run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Why it ended.
    pub end: End,
    /// What its evaluations cost together, in the evaluator's unit.
    pub spent: f64,
    /// What it found, in the space's notation.
    pub arch: String,
    /// Its index in the space's table.
    pub index: Option<usize>,
    /// The value it had in its longest training; `None` where the method names what it has not evaluated.
    pub value: Option<Number>,
    /// What it found.
    #[serde(skip)]
    pub genotype: Genotype,
    /// All evaluations.
    #[serde(skip)]
    pub trials: Vec<Trial>,
}

/// Repeats a search with the seeds `seed`, `seed + 1`, ... on `threads` threads, of which the outcomes do not depend. `ended` is called after
/// each run.
///
/// # Errors
/// No runs, a budget that does not pay for every evaluation or pays for too many, all before the first run; those of the evaluator.
pub fn run_all(
    config: &MethodConfig,
    problem: &Problem,
    evaluator: &dyn Evaluator,
    budget: f64,
    (seed, runs): (u64, usize),
    threads: usize,
    ended: &(dyn Fn() + Sync),
) -> Result<Vec<Outcome>, BlackboxError> {
    check(config, problem, evaluator, budget, (seed, runs))?;
    let next = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<Option<Result<Outcome, BlackboxError>>>> = Mutex::new((0..runs).map(|_| None).collect());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= runs {
                return;
            }
            let outcome = one(config, problem, evaluator, budget, seed + number as u64);
            if outcome.is_err() {
                next.store(runs, Ordering::Relaxed);
            }
            outcomes.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(outcome);
            ended();
        }
    };
    thread::scope(|scope| {
        (1..threads.clamp(1, runs)).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

/// Checks what [`run_all`] checks before the first run.
///
/// # Errors
/// No runs, a budget that does not pay for every evaluation or pays for too many.
pub fn check(
    config: &MethodConfig,
    problem: &Problem,
    evaluator: &dyn Evaluator,
    budget: f64,
    (seed, runs): (u64, usize),
) -> Result<(), BlackboxError> {
    if runs == 0 {
        return Err(BlackboxError::NoRuns);
    }
    if seed.checked_add(runs as u64 - 1).is_none() {
        return Err(BlackboxError::Seeds { seed, runs });
    }
    // What a method asks first is of the fidelity that it starts with, whatever the seed.
    let level = Run::new(config, problem, seed).ask().map_or(problem.levels.usual, |p| p.level);
    let (cheapest, dearest) = evaluator.costs(level);
    if budget.is_nan() || budget < dearest {
        return Err(BlackboxError::Budget { budget, unit: evaluator.unit(), cheapest, dearest });
    }
    let most = MAX_EVALUATIONS as f64 * evaluator.costs(0).0;
    if budget > most {
        return Err(BlackboxError::TooMuch { budget, unit: evaluator.unit(), most });
    }
    Ok(())
}

fn one(
    config: &MethodConfig,
    problem: &Problem,
    evaluator: &dyn Evaluator,
    budget: f64,
    seed: u64,
) -> Result<Outcome, BlackboxError> {
    let mut run = Run::new(config, problem, seed);
    let end = run.complete(evaluator, budget)?;
    // The budget pays for the first evaluation, so there is one.
    let choice: Choice = run.answer().unwrap_or_else(|| vec![0; problem.domain.variables().len()]);
    let genotype = problem.domain.genotype(&choice)?;
    let space = problem.domain.space();
    let own = run.trials().iter().filter(|t| t.proposal.choice == choice);
    Ok(Outcome {
        seed,
        end,
        spent: run.spent(),
        arch: space.text(&genotype)?,
        index: space.table_index(&genotype),
        value: own.max_by_key(|t| t.proposal.level).map(|t| t.value),
        genotype,
        trials: run.trials().to_vec(),
    })
}
