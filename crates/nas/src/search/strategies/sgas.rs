//! SGAS (Li, Qian, Delgadillo, Mueller, Thabet, Ghanem, 2020, arXiv 1912.00195).

use std::{collections::VecDeque, ops::Range};

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    run::{At, Flow, Schedule},
    search::{
        Candidates, Context, OneShot, PhaseSettings, Published, SearchError, Strategy, Unsuitable, column,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, HardPrune, Incoming, Mixture, Relaxation, Removal, by_largest,
            checks,
        },
    },
    space::{Genotype, OpName, SearchSpace},
    supernet::{Mask, OpAt, PerOp},
};

/// Settings of SGAS, `[strategy.sgas]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | enough for a decision on every edge that stays | all epochs; the authors' code |
/// | `warmup_epochs` | 9 | >= 0 | epochs before the one that ends with the first decision; the authors' code |
/// | `decision_epochs` | 5 | >= 1 | epochs from one decision to the next; the authors' code |
/// | `history` | 4 | >= 0 | epochs whose weights an edge's are compared with (criterion 2); 0: criterion 1, without that; the authors' code |
/// | `added_images` | 8 | >= 0 | images by which a batch grows with each decision; the authors' code |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | as DARTS |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgasConfig {
    /// All epochs.
    pub epochs: usize,
    /// Epochs before the one that ends with the first decision.
    pub warmup_epochs: usize,
    /// Epochs from one decision to the next.
    pub decision_epochs: usize,
    /// Epochs that stability is measured over.
    pub history: usize,
    /// Images by which a batch grows with each decision.
    pub added_images: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for SgasConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            warmup_epochs: 9,
            decision_epochs: 5,
            history: 4,
            added_images: 8,
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// A supernet of DARTS whose edges are decided one after the other, by how important, certain and stable their weights are.
#[derive(Debug)]
pub struct Sgas {
    config: SgasConfig,
    /// Decisions that there are.
    decisions: usize,
    alpha: Alpha,
    /// Weights of the last epochs, oldest first.
    history: VecDeque<PerOp<f64>>,
}

/// Rows of `alpha: [E, O]` of each kind of cell, and decisions that it takes.
fn kinds(space: &dyn SearchSpace) -> Vec<(Range<usize>, usize)> {
    let mut first = 0;
    let nodes = Incoming::all(space);
    let kind = |edges: usize| {
        let rows = first..first + edges;
        first = rows.end;
        let own = nodes.iter().filter(|node| node.rows.iter().all(|row| rows.contains(row)));
        let decisions = own.map(|node| node.kept).sum();
        (rows, decisions)
    };
    space.kinds().iter().map(|kind| kind.edges.len()).map(kind).collect()
}

/// Decisions of a search: one edge of each kind of cell at a time.
fn decisions(space: &dyn SearchSpace) -> usize {
    kinds(space).iter().map(|(_, decisions)| *decisions).max().unwrap_or(1).max(1)
}

/// Epochs up to the one that ends with the last decision.
fn needed(decisions: usize, config: &SgasConfig) -> usize {
    let SgasConfig { warmup_epochs, decision_epochs, .. } = *config;
    (decisions - 1).saturating_mul(decision_epochs).saturating_add(warmup_epochs).saturating_add(1)
}

/// Shares of the operations of an edge but `none`, and their sum before they are scaled to 1.
fn without_none(w: &[f64], none: Option<usize>) -> (Vec<f64>, f64) {
    let shares: Vec<f64> = (0..w.len()).filter(|&op| Some(op) != none).map(|op| w[op]).collect();
    let sum: f64 = shares.iter().sum();
    (shares.iter().map(|share| if sum > 0.0 { share / sum } else { 0.0 }).collect(), sum)
}

/// 1 minus the entropy of shares, in units of that of `count` equal ones.
fn certainty(shares: &[f64], count: usize) -> f64 {
    let entropy: f64 = shares.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
    if count < 2 { 1.0 } else { 1.0 - entropy / (count as f64).ln() }
}

/// Scales values to 0 to 1; equal ones are all 1.
fn scaled(values: &[f64]) -> Vec<f64> {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.iter().map(|v| if most > least { (v - least) / (most - least) } else { 1.0 }).collect()
}

impl Sgas {
    /// The edge to decide among these rows: that of the largest product of scaled importance, certainty and stability.
    fn greediest(&self, rows: &[usize], w: &PerOp<f64>, mask: &Mask, none: Option<usize>) -> Option<usize> {
        let shares: Vec<(Vec<f64>, f64)> = rows.iter().map(|&row| without_none(w.row(row), none)).collect();
        let alive = |row: usize| (0..mask.ops()).filter(|&op| mask[(row, op)] && Some(op) != none).count();
        let importance: Vec<f64> = shares.iter().map(|(_, sum)| *sum).collect();
        let sure: Vec<f64> = rows.iter().zip(&shares).map(|(&row, (of, _))| certainty(of, alive(row))).collect();
        let overlap = |(&row, (of, _)): (&usize, &(Vec<f64>, f64))| -> f64 {
            let with = |then: &PerOp<f64>| -> f64 {
                without_none(then.row(row), none).0.iter().zip(of).map(|(a, b)| a.min(*b)).sum()
            };
            self.history.iter().map(with).sum()
        };
        let stable: Vec<f64> = rows.iter().zip(&shares).map(overlap).collect();
        let [a, b, c] = [&importance, &sure, &stable].map(|values| scaled(values));
        let score = |i: usize| a[i] * b[i] * c[i];
        (0..rows.len()).reduce(|best, i| if score(i) > score(best) { i } else { best }).map(|best| rows[best])
    }

    /// Operations that go when one edge of each kind is decided: the others of that edge, and all of the edges into a node that
    /// has as many as it keeps.
    fn decision(&self, space: &dyn SearchSpace, mask: &Mask) -> Vec<OpAt> {
        let none = column(space, OpName::NONE);
        let w = self.alpha.weights(mask);
        let nodes = Incoming::all(space);
        let mut removed = vec![];
        let alive = |row: usize| (0..mask.ops()).map(move |op| (row, op)).filter(|&at| mask[at]);
        for (rows, _) in kinds(space) {
            let open: Vec<usize> = rows.filter(|&row| alive(row).count() > 1).collect();
            let Some(row) = self.greediest(&open, &w, mask, none) else { continue };
            let candidates = alive(row).filter(|at| Some(at.1) != none);
            let chosen = candidates.reduce(|best, at| if w[at] > w[best] { at } else { best });
            removed.extend(alive(row).filter(|&at| Some(at) != chosen));
            for node in nodes.iter().filter(|node| node.rows.contains(&row)) {
                let decided = |&other: &usize| other == row || alive(other).count() == 1;
                let (settled, others): (Vec<usize>, Vec<usize>) = node.rows.iter().copied().partition(decided);
                if settled.len() >= node.kept {
                    removed.extend(others.into_iter().flat_map(alive));
                }
            }
        }
        removed
    }
}

impl OneShot for Sgas {
    /// Each decision ends a phase.
    fn schedule(&self) -> Schedule {
        let SgasConfig { epochs, warmup_epochs, decision_epochs, .. } = self.config;
        let warmup = ("warm-up".to_owned(), warmup_epochs);
        let decision = |n: usize| (format!("decision {n}"), if n == 1 { 1 } else { decision_epochs });
        let rest = epochs - needed(self.decisions, &self.config);
        let decisions = (1..=self.decisions).map(decision);
        Schedule::new(std::iter::once(warmup).chain(decisions).chain([("rest".to_owned(), rest)]))
    }

    fn phase(&self, phase: usize) -> PhaseSettings {
        // Decisions that have been made before it.
        let made = phase.saturating_sub(1);
        PhaseSettings { added_images: made.saturating_mul(self.config.added_images), ..PhaseSettings::default() }
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        if (1..=self.decisions).contains(&at.phase) && at.ends_phase() {
            let removed = self.decision(cx.space(), cx.mask());
            if !removed.is_empty() {
                self.alpha.remove(&removed, cx.mask());
                cx.remove(&removed);
                cx.record(&HardPrune::new(at, cx.op_names(&removed), cx.ops_left()))?;
            }
        }
        self.history.push_back(self.alpha.weights(cx.mask()));
        while self.history.len() > self.config.history {
            self.history.pop_front();
        }
        Ok(Flow::Go)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        by_largest(cx.space(), cx.mask(), self.alpha.values(), &self.alpha.weights(cx.mask()))
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        Some(self.alpha.values().clone())
    }

    fn state(&self) -> Value {
        let mut state = self.alpha.state();
        state["history"] = json!(self.history);
        state
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)?;
        self.history = Deserialize::deserialize(&state["history"]).map_err(|e| format!("weights of epochs: {e}"))?;
        let shape = |p: &PerOp<f64>| (p.edges(), p.ops());
        match self.history.iter().map(shape).find(|&of| of != shape(self.alpha.values())) {
            Some(of) => Err(format!("weights are {of:?}, expected {:?}", shape(self.alpha.values()))),
            None => Ok(()),
        }
    }
}

impl Strategy for Sgas {
    type Config = SgasConfig;

    const ABOUT: &'static str =
        "a supernet of DARTS, decided edge by edge where its weights are important, certain and stable";

    const SOURCE: &'static str =
        "Li, Qian, Delgadillo, Mueller, Thabet, Ghanem: SGAS: Sequential Greedy Architecture Search, arXiv 1912.00195";

    const SHORT: &'static [&'static str] = &["epochs=9", "warmup_epochs=1", "decision_epochs=1", "history=2"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "darts",
        source: "lightaime/sgas, cnn/train_search.py",
        settings: &["strategy.sgas.epochs = 50", "data.split = \"first-half\""],
    }];

    fn check(config: &mut SgasConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("decision_epochs", config.decision_epochs as f64, 1.0)?;
        let SgasConfig { epochs, warmup_epochs, decision_epochs, .. } = *config;
        let decisions = decisions(candidates.space());
        let needed = needed(decisions, config);
        if epochs < needed {
            return Err(Unsuitable::new(
                format!(
                    "epochs = {epochs} end before the last of {decisions} decisions, with warmup_epochs = {warmup_epochs} and one every decision_epochs = {decision_epochs}"
                ),
                format!("epochs must be at least {needed}"),
            ));
        }
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &SgasConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        // An operation that is alone on its edge has weight 1.
        let mixture = Mixture { removal: Removal::Renormalise, ..Mixture::new(candidates, Relaxation::Softmax) };
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        Self { config: config.clone(), decisions: decisions(candidates.space()), alpha, history: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::{
        search::genotype,
        space::{Darts, NasBench201},
    };

    fn sgas(space: &'static dyn SearchSpace) -> Sgas {
        Sgas::new(&SgasConfig::default(), &Candidates::all(space), &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn as_many_decisions_as_edges_stay_leave_a_cell_of_the_space() {
        for (space, expected) in [(&NasBench201 as &'static dyn SearchSpace, 6), (&Darts::Original, 8)] {
            let mut mask = Candidates::all(space).offered().clone();
            let mut method = sgas(space);
            let mut decisions = 0;
            loop {
                method.history.push_back(method.alpha.weights(&mask));
                let removed = method.decision(space, &mask);
                if removed.is_empty() {
                    break;
                }
                removed.iter().for_each(|&at| mask[at] = false);
                decisions += 1;
            }
            assert_eq!(decisions, expected);
            let cell = genotype(space, &mask.alive().collect::<Vec<_>>()).unwrap();
            assert!(cell.cells.iter().flat_map(|cell| &cell.edges).all(|edge| edge.op != OpName::NONE));
        }
    }

    #[test]
    fn the_important_certain_and_stable_edge_is_decided_first() {
        let mut method = sgas(&NasBench201);
        let mask = Mask::filled(6, 5, true);
        let mut w = PerOp::filled(6, 5, 0.2);
        w.row_mut(2).copy_from_slice(&[0.02, 0.9, 0.04, 0.02, 0.02]);
        // As certain, but mostly `none`.
        w.row_mut(4).copy_from_slice(&[0.9, 0.09, 0.005, 0.0025, 0.0025]);
        let rows: Vec<usize> = (0..6).collect();
        assert_eq!(method.greediest(&rows, &w, &mask, Some(0)), Some(2));
        // Once its weights were others, and those of an edge nearly as certain were not.
        w.row_mut(3).copy_from_slice(&[0.02, 0.04, 0.86, 0.04, 0.04]);
        let mut then = w.clone();
        then.row_mut(2).copy_from_slice(&[0.02, 0.02, 0.02, 0.04, 0.9]);
        method.history.push_back(then);
        assert_eq!(method.greediest(&rows, &w, &mask, Some(0)), Some(3));
    }

    #[test]
    fn scores_are_scaled_and_entropies_are_of_what_there_is() {
        assert_eq!(scaled(&[2.0, 4.0, 3.0]), [0.0, 1.0, 0.5]);
        assert_eq!(scaled(&[2.0, 2.0]), [1.0, 1.0]);
        assert!(certainty(&[0.5, 0.5, 0.0], 2).abs() < 1e-15 && certainty(&[1.0, 0.0], 2) == 1.0);
    }

    #[test]
    fn a_decision_ends_a_phase_and_the_batch_grows_with_it() {
        let method = sgas(&Darts::Original);
        let schedule = method.schedule();
        assert_eq!((schedule.epochs(), schedule.phases.len()), (50, 10));
        // The 10th, 15th, ... 45th epochs end with one.
        let last: Vec<usize> = (0..50).filter(|&e| schedule.at(e).is_some_and(|at| at.ends_phase())).collect();
        assert_eq!(last, [8, 9, 14, 19, 24, 29, 34, 39, 44, 49]);
        let added = |epoch: usize| method.phase(schedule.at(epoch).unwrap().phase).added_images;
        assert_eq!([0, 9, 10, 14, 15, 44, 45].map(added), [0, 0, 8, 8, 16, 56, 64]);
    }

    #[test]
    fn epochs_that_end_before_the_last_decision_are_refused() {
        let mut config = SgasConfig { epochs: 34, ..Default::default() };
        let error = Sgas::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert!(error.why.starts_with("epochs = 34 end before the last of 6 decisions"), "{error}");
        assert_eq!(error.hint, "epochs must be at least 35");
        assert_eq!(Sgas::check(&mut SgasConfig::default(), &Candidates::all(&Darts::Original)), Ok(()));
    }
}
