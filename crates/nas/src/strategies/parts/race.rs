//! Racing: a sweep that stops as soon as it is settled which operations of an edge are the least important.
//!
//! All operations are measured on the same batches, so that most of the noise cancels in their differences. After every
//! block of batches, an edge is settled when each of its least important operations is below each of the others by
//! more than chance explains. Looks and pairs share the allowed error: at look k a pair may take
//! `(1 - confidence) / (pairs * k * (k + 1))`, which sums to `1 - confidence` over all of them. The threshold in standard errors
//! is `sqrt(2 ln(1 / (2 error)))`, at least the normal quantile. The spread is taken as known although it is estimated from the
//! same batches: at the first look, after 8, an edge may err about twice as often as its share (Student's t).

use super::Pruner;
use crate::supernet::OpAt;

/// Batches between two looks. Fewer say too little about the spread.
const BLOCK: usize = 8;

/// What a sweep has to settle.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// How operations are ranked.
    pub pruner: Pruner,
    /// Operations of each edge that go.
    pub count: usize,
}

/// The race of the operations of one edge: importances of single batches, their sums and products.
#[derive(Debug)]
pub(super) struct EdgeRace<'a> {
    /// `[1 + ops * (ops + 1)]`: batches (negative once settled), sums, products.
    state: &'a mut [f64],
    ops: usize,
}

impl<'a> EdgeRace<'a> {
    /// Numbers that a race of `ops` operations keeps; it starts from zeros.
    pub(super) fn len(ops: usize) -> usize {
        1 + ops * (ops + 1)
    }

    pub(super) fn new(state: &'a mut [f64], ops: usize) -> Self {
        Self { state, ops }
    }

    /// Batches measured.
    fn batches(&self) -> usize {
        self.state[0].abs() as usize
    }

    /// Takes the importances of one batch, in the order of the edge's alive operations, and looks at the end of a block.
    pub(super) fn add(&mut self, importances: &[f64], alive: &[OpAt], cut: Cut, confidence: f64) {
        let n = self.ops;
        self.state[0] += 1.0;
        for (i, x) in importances.iter().enumerate() {
            self.state[1 + i] += x;
            for (j, y) in importances.iter().enumerate() {
                self.state[1 + n + i * n + j] += x * y;
            }
        }
        let batches = self.batches();
        if batches.is_multiple_of(BLOCK) && self.is_settled(alive, cut, confidence, batches / BLOCK) {
            self.state[0] = -self.state[0];
        }
    }

    fn is_settled(&self, alive: &[OpAt], cut: Cut, confidence: f64, look: usize) -> bool {
        let (n, batches) = (self.ops, self.state[0]);
        let mean = |i: usize| self.state[1 + i] / batches;
        let product = |i: usize, j: usize| self.state[1 + n + i * n + j] / batches;
        let scored: Vec<(OpAt, f64)> = alive.iter().enumerate().map(|(i, &at)| (at, mean(i))).collect();
        let order = cut.pruner.ranked(&scored);
        let (low, high) = order.split_at(cut.count.min(n.saturating_sub(1)));
        let by_rule = |i: &&usize| !cut.pruner.by_rule(alive[**i]);
        let low: Vec<usize> = low.iter().filter(by_rule).copied().collect();
        let pairs = low.len() * high.len();
        let error = (1.0 - confidence) / (pairs * look * (look + 1)).max(1) as f64;
        let threshold = (2.0 * (1.0 / (2.0 * error)).ln()).max(0.0).sqrt();
        low.iter().all(|&l| {
            high.iter().all(|&h| {
                let difference = mean(h) - mean(l);
                let variance = product(h, h) + product(l, l) - 2.0 * product(h, l) - difference * difference;
                let error = (variance.max(0.0) / (batches - 1.0)).sqrt();
                // Equal in every batch: more batches will not tell them apart, but a tie is not settled.
                difference > 0.0 && difference > threshold * error
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategies::parts::NoneRule;

    const ALIVE: [OpAt; 4] = [(0, 0), (0, 1), (0, 2), (0, 3)];

    /// Runs a race on importances with these means and a spread of 1; returns the batches it took, if it was settled.
    fn race(means: [f64; 4], rule: NoneRule, count: usize) -> Option<usize> {
        let mut state = vec![0.0; EdgeRace::len(4)];
        let mut race = EdgeRace::new(&mut state, 4);
        let cut = Cut { pruner: Pruner::new(rule, Some(0)), count };
        for batch in 0..800_u32 {
            // A fixed sequence without a trend.
            let noise = |i: u32| f64::from((batch * 7 + i * 13 + batch * batch * i) % 17) / 8.0 - 1.0;
            let x: Vec<f64> = means.iter().zip(0..).map(|(m, i)| m + noise(i)).collect();
            race.add(&x, &ALIVE, cut, 0.95);
            if race.state[0] < 0.0 {
                return Some(race.batches());
            }
        }
        None
    }

    #[test]
    fn clear_differences_are_settled_early_and_small_ones_later() {
        let clear = race([-9.0, 0.0, 5.0, 9.0], NoneRule::Scored, 2).unwrap();
        assert_eq!(clear, BLOCK);
        let close = race([-9.0, 0.0, 0.4, 9.0], NoneRule::Scored, 2).unwrap();
        assert!(close > clear, "{close}");
    }

    #[test]
    fn a_tie_is_never_settled() {
        assert_eq!(race([0.0; 4], NoneRule::Scored, 2), None);
    }

    #[test]
    fn what_goes_by_rule_needs_no_evidence() {
        assert_eq!(race([5.0, 5.0, 5.0, 5.0], NoneRule::First, 1), Some(BLOCK));
        assert_eq!(race([5.0, 0.0, 9.0, 9.0], NoneRule::First, 2), Some(BLOCK));
    }
}
