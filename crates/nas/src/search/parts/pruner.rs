use serde::{Deserialize, Serialize};

use super::importance::ImportanceTable;
use crate::supernet::OpAt;

/// Where `none` stands among the operations of its edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoneRule {
    /// It counts as the least important one: an edge that ends as `none` cuts the network.
    #[default]
    First,
    /// Its importance is what it is, which with raw weights is exactly 0.
    Scored,
}

/// Which operations soft pruning decays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decayed {
    /// Those that hard pruning would remove (HPE-DARTS, 3.2.3).
    #[default]
    LeastImportant,
    /// All but the most important one of each edge (VP-DARTS).
    AllButBest,
    /// Those that trail the most important one of their edge by more than a margin: what is nearly as good is left alone,
    /// since differences of that size are not decisions.
    Trailing,
}

/// What a sweep over the operations is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sweep {
    /// Weights are decayed after it.
    Soft,
    /// Operations are removed after it.
    Hard,
    /// Whole edges are removed after it.
    Edges,
    /// Nothing follows but what later sweeps by the same criterion are averaged with it for, see [`super::Sweeps`].
    Mean,
}

/// Chooses operations by importance.
#[derive(Clone, Copy, Debug)]
pub struct Pruner {
    /// Column of `none`, where it has a rule of its own.
    none: Option<usize>,
}

impl Pruner {
    /// `none`: column of the operation `none`, if the space has it.
    pub fn new(rule: NoneRule, none: Option<usize>) -> Self {
        Self { none: none.filter(|_| rule == NoneRule::First) }
    }

    /// Column of `none`, where it goes first whatever its importance.
    pub fn none(&self) -> Option<usize> {
        self.none
    }

    /// The `count` least important alive operations of each edge, least important first; at least one operation of an
    /// edge is left out. Equal importances go by column, the lower one is the less important.
    pub fn least_important(&self, table: &ImportanceTable, count: usize) -> Vec<OpAt> {
        self.choose(table, |alive| count.min(alive.saturating_sub(1)))
    }

    /// All alive operations but the most important one of each edge.
    pub fn all_but_best(&self, table: &ImportanceTable) -> Vec<OpAt> {
        self.choose(table, |alive| alive.saturating_sub(1))
    }

    /// The alive operations that trail the most important one of their edge by more than `margin`, least important first.
    /// The unit of `margin` is [`ImportanceTable::mean_size`] over all operations but `none`. An operation that goes first
    /// whatever its importance is always among them; an edge's only operation never is.
    pub fn trailing(&self, table: &ImportanceTable, margin: f64) -> Vec<OpAt> {
        let most = margin * table.mean_size(self.none);
        let mut chosen = Vec::new();
        for alive in scored_edges(table) {
            let order = self.ranked(&alive);
            let Some((&best, others)) = order.split_last() else { continue };
            let trails = |&&i: &&usize| self.by_rule(alive[i].0) || alive[best].1 - alive[i].1 > most;
            chosen.extend(others.iter().filter(trails).map(|&i| alive[i].0));
        }
        chosen
    }

    /// The operations that soft pruning decays: `count` of each edge, or by `margin`, as the rule says.
    pub fn decayed(&self, rule: Decayed, table: &ImportanceTable, count: usize, margin: f64) -> Vec<OpAt> {
        match rule {
            Decayed::LeastImportant => self.least_important(table, count),
            Decayed::AllButBest => self.all_but_best(table),
            Decayed::Trailing => self.trailing(table, margin),
        }
    }

    /// Whether an operation goes first whatever its importance.
    fn by_rule(self, (_, op): OpAt) -> bool {
        self.none == Some(op)
    }

    /// Positions in `scored` (operations of one edge with their importances), least important first.
    fn ranked(self, scored: &[(OpAt, f64)]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..scored.len()).collect();
        order.sort_by(|&i, &j| {
            let ((a, x), (b, y)) = (scored[i], scored[j]);
            let scored = |at: OpAt| !self.by_rule(at);
            scored(a).cmp(&scored(b)).then(x.total_cmp(&y)).then(a.cmp(&b))
        });
        order
    }

    fn choose(&self, table: &ImportanceTable, count: impl Fn(usize) -> usize) -> Vec<OpAt> {
        let mut chosen = Vec::new();
        for alive in scored_edges(table) {
            let take = count(alive.len());
            chosen.extend(self.ranked(&alive).into_iter().take(take).map(|i| alive[i].0));
        }
        chosen
    }
}

/// Edge by edge the alive operations with their importances.
fn scored_edges(table: &ImportanceTable) -> impl Iterator<Item = Vec<(OpAt, f64)>> {
    table.importance.rows().enumerate().map(|(edge, row)| {
        row.iter().enumerate().filter_map(|(op, value)| Some(((edge, op), value.as_ref()?.0))).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{numbers::Number, search::parts::Performance, supernet::PerOp};

    fn table(rows: &[&[f64]]) -> ImportanceTable {
        // A NaN stands for an operation that is gone.
        let values = rows.concat().into_iter().map(|v| (!v.is_nan()).then_some(Number(v))).collect();
        ImportanceTable {
            by: Performance::Loss.into(),
            images: 1,
            importance: PerOp::from_values(rows[0].len(), values),
            measures: BTreeMap::new(),
            signs: Vec::new(),
        }
    }

    #[test]
    fn none_goes_first_or_by_its_score() {
        let t = table(&[&[0.0, -1.0, 2.0, 1.0, -0.5]]);
        assert_eq!(Pruner::new(NoneRule::First, Some(0)).least_important(&t, 2), [(0, 0), (0, 1)]);
        assert_eq!(Pruner::new(NoneRule::Scored, Some(0)).least_important(&t, 2), [(0, 1), (0, 4)]);
    }

    #[test]
    fn equal_importances_go_by_column_and_minus_infinity_is_least() {
        let t = table(&[&[1.0, 1.0, f64::NEG_INFINITY, 1.0]]);
        assert_eq!(Pruner::new(NoneRule::Scored, None).least_important(&t, 3), [(0, 2), (0, 0), (0, 1)]);
    }

    #[test]
    fn the_dead_are_not_chosen_and_one_operation_always_stays() {
        let t = table(&[&[f64::NAN, 0.1, 0.2], &[f64::NAN, f64::NAN, 0.3]]);
        let pruner = Pruner::new(NoneRule::First, Some(0));
        assert_eq!(pruner.least_important(&t, 2), [(0, 1)]);
        assert_eq!(pruner.decayed(Decayed::AllButBest, &t, 1, 0.0), [(0, 1)]);
    }

    #[test]
    fn decay_covers_the_least_important_or_all_but_the_best() {
        let t = table(&[&[0.4, 0.1, 0.3, 0.2]]);
        let pruner = Pruner::new(NoneRule::Scored, None);
        assert_eq!(pruner.decayed(Decayed::LeastImportant, &t, 1, 0.0), [(0, 1)]);
        assert_eq!(pruner.decayed(Decayed::AllButBest, &t, 1, 0.0), [(0, 1), (0, 3), (0, 2)]);
    }

    #[test]
    fn what_trails_the_best_clearly_decays_and_a_near_tie_does_not() {
        // The mean size without `none` (column 0) is 1, so that a margin is in the table's own numbers.
        let t = table(&[&[0.0, 1.5, 1.0, 0.5, 1.0], &[9.0, 1.0, 1.0, 1.0, 1.0]]);
        let first = Pruner::new(NoneRule::First, Some(0));
        assert_eq!(first.trailing(&t, 0.6), [(0, 0), (0, 3), (1, 0)]);
        assert_eq!(first.trailing(&t, 0.4), [(0, 0), (0, 3), (0, 2), (0, 4), (1, 0)]);
        // A difference of just the margin is not more than it; equal importances never decay each other.
        assert_eq!(first.trailing(&t, 0.5), [(0, 0), (0, 3), (1, 0)]);
        assert_eq!(first.trailing(&t, 0.0), [(0, 0), (0, 3), (0, 2), (0, 4), (1, 0)]);
        // By its score, `none` counts in the unit (1.7 here) and may be the best of its edge.
        let scored = Pruner::new(NoneRule::Scored, Some(0));
        assert_eq!(scored.trailing(&t, 1.0), [(1, 1), (1, 2), (1, 3), (1, 4)]);
        // In multiples of the mean, so the scale of the importances does not matter.
        let large = table(&[&[0.0, 150.0, 100.0, 50.0, 100.0], &[900.0, 100.0, 100.0, 100.0, 100.0]]);
        assert_eq!(first.trailing(&large, 0.6), first.trailing(&t, 0.6));
    }

    #[test]
    fn a_margin_leaves_the_dead_and_the_last_operation_and_bears_infinities() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let first = Pruner::new(NoneRule::First, Some(0));
        let t = table(&[&[nan, 3.0, nan, 0.1], &[0.0, nan, nan, nan], &[nan, nan, nan, nan]]);
        assert_eq!(first.trailing(&t, 0.5), [(0, 3)]);
        let t = table(&[&[nan, inf, 1.0, -inf], &[nan, -inf, -inf, -inf], &[nan, inf, inf, 1.0]]);
        assert_eq!(first.trailing(&t, 0.5), [(0, 3), (0, 2), (2, 3)]);
        let zeros = table(&[&[0.0; 4]]);
        assert_eq!(first.trailing(&zeros, 0.5), [(0, 0)]);
        let endless = table(&[&[nan, inf, -inf, inf]]);
        assert_eq!(first.trailing(&endless, 0.5), [(0, 2)]);
    }
}
