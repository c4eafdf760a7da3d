use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::importance::{ImportanceTable, added, unit};
use crate::{numbers::Number, supernet::PerOp};

/// Which sweeps a pruning goes by. From epoch to epoch importances change by more than the sampling of their images explains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sweeps {
    /// The one just made.
    #[default]
    Last,
    /// The mean over those by the same criterion since the stage began.
    Stage,
    /// The mean over those by the same criterion since the warm-up.
    All,
    /// The mean over those by the same criterion since the warm-up, in which a sweep counts the less the more the supernet
    /// had been decayed by then, see [`SweepMean`].
    Early,
    /// That of soft and of hard pruning together: the sum of the means, counted as with `Early`, by every criterion that has
    /// been measured, each sweep in units of its standard deviation.
    Both,
}

/// Mean of importances over several sweeps by the same criterion, each in units of its mean absolute importance over the
/// operations but `none`. With [`Sweeps::Early`] and [`Sweeps::Both`] a sweep counts by the product of the decays (Eq. 7) made
/// before it: what it measures of a supernet that has been decayed are the consequences of decisions, not their grounds.
///
/// With [`Sweeps::Both`] the unit is the standard deviation over those operations: what is compared are differences, and
/// criteria that differ in their mean by several of them would else not count alike.
#[derive(Clone, Debug)]
pub struct SweepMean {
    rule: Sweeps,
    seen: Seen,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    /// Product of the decays so far.
    left: f64,
    /// By criterion.
    sums: BTreeMap<String, Sum>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sum {
    /// Sum of what the sweeps count.
    count: f64,
    /// Scaled importances times what their sweep counts, summed, `[E, O]`.
    importance: PerOp<Option<Number>>,
}

impl Sum {
    fn mean(&self) -> PerOp<Option<Number>> {
        self.importance.map(|v| v.map(|v| Number(v.0 / self.count)))
    }
}

impl SweepMean {
    /// Of no sweep yet.
    pub fn new(rule: Sweeps) -> Self {
        Self { rule, seen: Seen { left: 1.0, sums: BTreeMap::new() } }
    }

    /// Whether sweeps before the last one count, so that every criterion has to be measured in every epoch.
    pub fn looks_back(&self) -> bool {
        self.rule != Sweeps::Last
    }

    /// A new stage begins.
    pub fn begin_stage(&mut self) {
        if self.rule == Sweeps::Stage {
            self.seen.sums.clear();
        }
    }

    /// Unimportant operations were decayed by `factor`: sweeps to come count less.
    pub fn decayed(&mut self, factor: f64) {
        self.seen.left *= factor;
    }

    /// Takes the next sweep and returns what to go by. `none`: the column that is left out of the unit. An operation that is
    /// not alive any more has no mean.
    pub fn add(&mut self, table: &ImportanceTable, none: Option<usize>) -> ImportanceTable {
        if !self.looks_back() {
            return table.clone();
        }
        let both = self.rule == Sweeps::Both;
        let count = if self.counts_decays() { self.seen.left } else { 1.0 };
        let unit = unit(if both { table.spread(none) } else { table.mean_size(none) });
        let (importance, places) = (&table.importance, || table.importance.places());
        let before = self.seen.sums.remove(&table.by.to_string());
        let sum = |at| {
            let before = before.as_ref().map_or(Some(0.0), |sum| sum.importance[at].map(|v| v.0))?;
            Some(Number(added(before, count * (importance[at]?.0 / unit))))
        };
        let sums = PerOp::from_values(importance.ops(), places().map(sum).collect());
        let count = count + before.as_ref().map_or(0.0, |sum| sum.count);
        let own = Sum { count, importance: sums };
        let mut mean = own.mean();
        if both {
            for other in self.seen.sums.values().map(Sum::mean) {
                let of_both = |at| Some(Number(added(mean[at]?.0, other[at]?.0)));
                mean = PerOp::from_values(mean.ops(), mean.places().map(of_both).collect());
            }
        }
        self.seen.sums.insert(table.by.to_string(), own);
        ImportanceTable { importance: mean, ..table.clone() }
    }

    /// Whether a sweep counts the less the more had been decayed before it.
    fn counts_decays(&self) -> bool {
        matches!(self.rule, Sweeps::Early | Sweeps::Both)
    }

    /// As [`Self::add`], for a removal: where sweeps count by the decays before them, what to go by is the mean times the weight
    /// that an operation has left, `weights: [E, O]`, relative to the largest one of its edge. The mean is of sweeps that saw
    /// less of the decays than have been made.
    pub fn add_weighed(
        &mut self,
        table: &ImportanceTable,
        none: Option<usize>,
        weights: &PerOp<f64>,
    ) -> ImportanceTable {
        let mut by = self.add(table, none);
        if self.counts_decays() {
            for (row, weights) in by.importance.rows_mut().zip(weights.rows()) {
                let largest = weights.iter().copied().fold(0.0, f64::max);
                for (value, weight) in row.iter_mut().zip(weights) {
                    // A weight cannot make an operation that does harm better than another one.
                    let Some(value) = value.as_mut().filter(|v| v.0 > 0.0 && largest > 0.0) else { continue };
                    // Of an infinity nothing is left either, where no weight is.
                    value.0 = if *weight > 0.0 { value.0 * (weight / largest) } else { 0.0 };
                }
            }
        }
        by
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!(self.seen)
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// What is not one.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.seen = Deserialize::deserialize(state).map_err(|e| format!("sums of sweeps: {e}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::parts::Performance;

    fn table(values: [f64; 4]) -> ImportanceTable {
        ImportanceTable {
            by: Performance::Loss.into(),
            images: 1,
            importance: PerOp::from_values(4, values.iter().map(|v| (!v.is_nan()).then_some(Number(*v))).collect()),
            measures: BTreeMap::new(),
            signs: Vec::new(),
        }
    }

    fn values(table: &ImportanceTable) -> Vec<f64> {
        table.importance.values().iter().map(|v| v.as_ref().map_or(f64::NAN, |v| v.0)).collect()
    }

    #[test]
    fn sweeps_count_alike_whatever_their_scale() {
        let mut mean = SweepMean::new(Sweeps::Early);
        // Units without column 0: 2 and 20.
        assert_eq!(values(&mean.add(&table([8.0, 1.0, 2.0, 3.0]), Some(0))), [4.0, 0.5, 1.0, 1.5]);
        assert_eq!(values(&mean.add(&table([0.0, 30.0, -20.0, 10.0]), Some(0))), [2.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn means_of_a_stage_forget_and_those_since_the_warm_up_do_not() {
        for (rule, last) in [(Sweeps::Stage, [2.0, 0.0, 1.0, 1.0]), (Sweeps::All, [1.5, 0.5, 1.0, 1.0])] {
            let mut mean = SweepMean::new(rule);
            mean.add(&table([1.0; 4]), None);
            mean.decayed(0.5);
            mean.begin_stage();
            let by = mean.add_weighed(&table([2.0, 0.0, 1.0, 1.0]), None, &PerOp::filled(1, 4, 0.25));
            assert_eq!(values(&by), last);
        }
    }

    #[test]
    fn a_sweep_counts_by_the_product_of_the_decays_before_it() {
        let mut mean = SweepMean::new(Sweeps::Early);
        let sweep = table([1.0, 1.0, 1.0, 1.0]);
        mean.add(&sweep, None);
        mean.decayed(0.5);
        mean.decayed(0.5);
        // 1 and 0.25 of it.
        assert_eq!(values(&mean.add(&table([2.0, 0.0, 1.0, 1.0]), None)), [1.2, 0.8, 1.0, 1.0]);
        // Each criterion has a mean of its own, and none of its sweeps came before the decays.
        let by_params = ImportanceTable { by: Performance::Params.into(), ..table([0.0, 0.0, 4.0, 4.0]) };
        assert_eq!(values(&mean.add(&by_params, None)), [0.0, 0.0, 2.0, 2.0]);
    }

    /// Standard deviations without column 0: 1 by the proxy, 2 by the loss.
    #[test]
    fn both_criteria_are_added_in_units_of_their_spread() {
        let proxy = |values| ImportanceTable { by: Performance::NetPerfProxy.into(), ..table(values) };
        let spread = 1.5_f64.sqrt();
        let mut mean = SweepMean::new(Sweeps::Both);
        let first = proxy([9.0, 4.0, 4.0 + spread, 4.0 - spread]);
        assert_eq!(values(&mean.add(&first, Some(0)))[1..], [4.0, 4.0 + spread, 4.0 - spread]);
        let loss = table([9.0, 0.0, -2.0 * spread, 2.0 * spread]);
        let both = values(&mean.add(&loss, Some(0)));
        assert!(both[1..].iter().all(|v| (v - 4.0).abs() < 1e-12), "{both:?}");
        // A sweep after all has been decayed counts nothing; the other criterion is what it was.
        mean.decayed(0.0);
        assert_eq!(values(&mean.add(&proxy([9.0, 1.0, 2.0, 0.0]), Some(0)))[1..], both[1..]);
        // Removals go by what is left; the dead have no value in either.
        let gone = proxy([9.0, 1.0, 2.0, f64::NAN]);
        let left = PerOp::from_values(4, vec![0.2, 0.1, 0.2, 0.2]);
        let by = values(&mean.add_weighed(&gone, Some(0), &left));
        assert!((by[1] - 2.0).abs() < 1e-12 && (by[2] - 4.0).abs() < 1e-12 && by[3].is_nan(), "{by:?}");
        let mut other = SweepMean::new(Sweeps::Both);
        other.restore(&mean.state()).unwrap();
        assert_eq!(values(&other.add(&loss, Some(0)))[1..3], values(&mean.add(&loss, Some(0)))[1..3]);
        // All equal: no unit.
        assert_eq!(values(&SweepMean::new(Sweeps::Both).add(&table([3.0; 4]), None)), [3.0; 4]);
    }

    #[test]
    fn removals_go_by_the_weight_left_as_well() {
        let weights = PerOp::from_values(4, vec![0.05, 0.2, 0.1, 0.05]);
        let table = table([8.0, 1.0, 2.0, -3.0]);
        let mut mean = SweepMean::new(Sweeps::Early);
        assert_eq!(values(&mean.add_weighed(&table, Some(0), &weights)), [1.0, 0.5, 0.5, -1.5]);
        let nothing = PerOp::filled(1, 4, 0.0);
        assert_eq!(values(&mean.add_weighed(&table, Some(0), &nothing)), [4.0, 0.5, 1.0, -1.5]);
        let (endless, gone) =
            (self::table([0.0, f64::INFINITY, 1.0, 3.0]), PerOp::from_values(4, vec![0.1, 0.0, 0.1, 0.1]));
        assert_eq!(values(&SweepMean::new(Sweeps::Early).add_weighed(&endless, Some(0), &gone)), [0.0, 0.0, 0.5, 1.5]);
        let mut last = SweepMean::new(Sweeps::Last);
        assert_eq!(last.add_weighed(&table, Some(0), &weights), table);
    }

    #[test]
    fn the_last_alone_is_left_as_it_is() {
        let mut mean = SweepMean::new(Sweeps::Last);
        mean.add(&table([0.0, 7.0, 7.0, 7.0]), Some(0));
        assert_eq!(mean.add(&table([8.0, 1.0, 2.0, 3.0]), Some(0)), table([8.0, 1.0, 2.0, 3.0]));
    }

    #[test]
    fn the_dead_infinities_and_zeros_are_borne() {
        let mut mean = SweepMean::new(Sweeps::Early);
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        mean.add(&table([nan, inf, -inf, 1.0]), None);
        let after = values(&mean.add(&table([nan, -inf, 0.0, 3.0]), None));
        assert!(after[0].is_nan());
        // Units of the finite ones: 1 and 1.5.
        assert_eq!(after[1..], [0.0, -inf, 1.5]);
        let mut zeros = SweepMean::new(Sweeps::Early);
        assert_eq!(values(&zeros.add(&table([0.0; 4]), None)), [0.0; 4]);
    }

    #[test]
    fn goes_on_from_its_state() {
        let mut one = SweepMean::new(Sweeps::Early);
        one.add(&table([f64::NAN, f64::NEG_INFINITY, 2.0, 3.0]), None);
        one.decayed(0.25);
        let mut other = SweepMean::new(Sweeps::Early);
        other.restore(&one.state()).unwrap();
        let next = table([f64::NAN, 1.0, 5.0, 3.0]);
        assert_eq!(values(&one.add(&next, None))[1..], values(&other.add(&next, None))[1..]);
        assert!(other.restore(&json!(3)).unwrap_err().starts_with("sums of sweeps: "));
    }
}
