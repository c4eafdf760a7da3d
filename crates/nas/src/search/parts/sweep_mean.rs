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
    /// The mean over those by the same criterion since the stage began, see [`SweepMean`].
    Stage,
    /// The mean over those by the same criterion since the warm-up.
    All,
}

/// Mean of importances over several sweeps by the same criterion, each in units of its mean absolute importance over the
/// operations but `none`.
#[derive(Clone, Debug, Default)]
pub struct SweepMean {
    rule: Sweeps,
    /// By criterion.
    sums: BTreeMap<String, Sum>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sum {
    sweeps: usize,
    /// Scaled importances, `[E, O]`.
    importance: PerOp<Option<Number>>,
}

impl SweepMean {
    /// Of no sweep yet.
    pub fn new(rule: Sweeps) -> Self {
        Self { rule, sums: BTreeMap::new() }
    }

    /// Whether sweeps before the last one count, so that every criterion has to be measured in every epoch.
    pub fn looks_back(&self) -> bool {
        self.rule != Sweeps::Last
    }

    /// A new stage begins.
    pub fn begin_stage(&mut self) {
        if self.rule != Sweeps::All {
            self.sums.clear();
        }
    }

    /// Takes the next sweep and returns what to go by. `none`: the column that is left out of the unit. An operation that is
    /// not alive any more has no mean.
    pub fn add(&mut self, table: &ImportanceTable, none: Option<usize>) -> ImportanceTable {
        if !self.looks_back() {
            return table.clone();
        }
        let unit = unit(table.mean_size(none));
        let (importance, places) = (&table.importance, || table.importance.places());
        let before = self.sums.remove(&table.by.to_string());
        let sum = |at| {
            let before = before.as_ref().map_or(Some(0.0), |sum| sum.importance[at].map(|v| v.0))?;
            Some(Number(added(before, importance[at]?.0 / unit)))
        };
        let sums = PerOp::from_values(importance.ops(), places().map(sum).collect());
        let sweeps = 1 + before.as_ref().map_or(0, |sum| sum.sweeps);
        let mean = sums.map(|v| v.map(|v| Number(v.0 / sweeps as f64)));
        self.sums.insert(table.by.to_string(), Sum { sweeps, importance: sums });
        ImportanceTable { importance: mean, ..table.clone() }
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!(self.sums)
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// What is not one.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.sums = Deserialize::deserialize(state).map_err(|e| format!("sums of sweeps: {e}"))?;
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
        let mut mean = SweepMean::new(Sweeps::Stage);
        // Units without column 0: 2 and 20.
        assert_eq!(values(&mean.add(&table([8.0, 1.0, 2.0, 3.0]), Some(0))), [4.0, 0.5, 1.0, 1.5]);
        assert_eq!(values(&mean.add(&table([0.0, 30.0, -20.0, 10.0]), Some(0))), [2.0, 1.0, 0.0, 1.0]);
        mean.begin_stage();
        assert_eq!(values(&mean.add(&table([0.0, 30.0, -20.0, 10.0]), Some(0))), [0.0, 1.5, -1.0, 0.5]);
    }

    #[test]
    fn each_criterion_has_a_mean_of_its_own_which_may_outlast_a_stage() {
        let mut mean = SweepMean::new(Sweeps::All);
        let by_params = |values| ImportanceTable { by: Performance::Params.into(), ..table(values) };
        mean.add(&table([1.0, 1.0, 1.0, 1.0]), None);
        assert_eq!(values(&mean.add(&by_params([0.0, 0.0, 4.0, 4.0]), None)), [0.0, 0.0, 2.0, 2.0]);
        mean.begin_stage();
        let after = values(&mean.add(&table([f64::NAN, 2.0, 6.0, 4.0]), None));
        assert!(after[0].is_nan());
        assert_eq!(after[1..], [0.75, 1.25, 1.0]);
    }

    #[test]
    fn the_last_alone_is_left_as_it_is() {
        let mut mean = SweepMean::new(Sweeps::Last);
        mean.add(&table([0.0, 7.0, 7.0, 7.0]), Some(0));
        assert_eq!(mean.add(&table([8.0, 1.0, 2.0, 3.0]), Some(0)), table([8.0, 1.0, 2.0, 3.0]));
    }

    #[test]
    fn the_dead_infinities_and_zeros_are_borne() {
        let mut mean = SweepMean::new(Sweeps::Stage);
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        mean.add(&table([nan, inf, -inf, 1.0]), None);
        let after = values(&mean.add(&table([nan, -inf, 0.0, 3.0]), None));
        assert!(after[0].is_nan());
        // Units of the finite ones: 1 and 1.5.
        assert_eq!(after[1..], [0.0, -inf, 1.5]);
        let mut zeros = SweepMean::new(Sweeps::Stage);
        assert_eq!(values(&zeros.add(&table([0.0; 4]), None)), [0.0; 4]);
    }

    #[test]
    fn goes_on_from_its_state() {
        let mut one = SweepMean::new(Sweeps::Stage);
        one.add(&table([f64::NAN, f64::NEG_INFINITY, 2.0, 3.0]), None);
        let mut other = SweepMean::new(Sweeps::Stage);
        other.restore(&one.state()).unwrap();
        let next = table([f64::NAN, 1.0, 5.0, 3.0]);
        assert_eq!(values(&one.add(&next, None))[1..], values(&other.add(&next, None))[1..]);
        assert!(other.restore(&json!(3)).unwrap_err().starts_with("sums of sweeps: "));
    }
}
