use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ImportanceTable;
use crate::{search::numbers::Number, supernet::PerOp};

/// Which sweeps of its stage soft pruning goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SoftSweeps {
    /// The one just made.
    #[default]
    Last,
    /// The mean over those made since the stage began, each in units of its mean absolute importance over the
    /// operations but `none`. From epoch to epoch importances change by more than the sampling of their images explains.
    Stage,
}

/// Mean of the importances of a stage's sweeps.
#[derive(Clone, Debug, Default)]
pub struct SweepMean {
    rule: SoftSweeps,
    /// Scaled importances of the sweeps so far, `[E, O]` each.
    sweeps: Vec<PerOp<Option<Number>>>,
}

impl SweepMean {
    /// Of no sweep yet.
    pub fn new(rule: SoftSweeps) -> Self {
        Self { rule, sweeps: Vec::new() }
    }

    /// Forgets the sweeps of the stage before.
    pub fn clear(&mut self) {
        self.sweeps.clear();
    }

    /// Takes the next sweep and returns what to go by. `none`: the column that is left out of the unit.
    pub fn add(&mut self, table: &ImportanceTable, none: Option<usize>) -> ImportanceTable {
        if self.rule == SoftSweeps::Last {
            return table.clone();
        }
        let unit = table.mean_size(none);
        // A table of zeros stays one.
        let scaled = |v: &Number| Number(if unit > 0.0 { v.0 / unit } else { v.0 });
        self.sweeps.push(table.importance.map(|v| v.as_ref().map(scaled)));
        let mean = |at| {
            let values = self.sweeps.iter().filter_map(|sweep| sweep[at].as_ref().map(|v| v.0));
            let mean = values.sum::<f64>() / self.sweeps.len() as f64;
            // Opposite infinities say nothing together.
            Number(if mean.is_nan() { 0.0 } else { mean })
        };
        let places = table.importance.places();
        let values = places.map(|at| table.importance[at].as_ref().map(|_| mean(at))).collect();
        ImportanceTable { importance: PerOp::from_values(table.importance.ops(), values), ..table.clone() }
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!(self.sweeps)
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// What is not one.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.sweeps = Deserialize::deserialize(state).map_err(|e| format!("sweeps of the stage: {e}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::strategies::parts::{Performance, Probe};

    fn table(values: [f64; 4]) -> ImportanceTable {
        ImportanceTable {
            by: Performance::Loss.into(),
            probe: Probe::Without,
            images: 1,
            images_by_edge: None,
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
        let mut mean = SweepMean::new(SoftSweeps::Stage);
        // Units without column 0: 2 and 20.
        assert_eq!(values(&mean.add(&table([8.0, 1.0, 2.0, 3.0]), Some(0))), [4.0, 0.5, 1.0, 1.5]);
        assert_eq!(values(&mean.add(&table([0.0, 30.0, -20.0, 10.0]), Some(0))), [2.0, 1.0, 0.0, 1.0]);
        mean.clear();
        assert_eq!(values(&mean.add(&table([0.0, 30.0, -20.0, 10.0]), Some(0))), [0.0, 1.5, -1.0, 0.5]);
    }

    #[test]
    fn the_last_alone_is_left_as_it_is() {
        let mut mean = SweepMean::new(SoftSweeps::Last);
        mean.add(&table([0.0, 7.0, 7.0, 7.0]), Some(0));
        assert_eq!(mean.add(&table([8.0, 1.0, 2.0, 3.0]), Some(0)), table([8.0, 1.0, 2.0, 3.0]));
    }

    #[test]
    fn the_dead_infinities_and_zeros_are_borne() {
        let mut mean = SweepMean::new(SoftSweeps::Stage);
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        mean.add(&table([nan, inf, -inf, 1.0]), None);
        let after = values(&mean.add(&table([nan, -inf, 0.0, 3.0]), None));
        assert!(after[0].is_nan());
        // Units of the finite ones: 1 and 1.5.
        assert_eq!(after[1..], [0.0, -inf, 1.5]);
        let mut zeros = SweepMean::new(SoftSweeps::Stage);
        assert_eq!(values(&zeros.add(&table([0.0; 4]), None)), [0.0; 4]);
    }

    #[test]
    fn goes_on_from_its_state() {
        let mut one = SweepMean::new(SoftSweeps::Stage);
        one.add(&table([f64::NAN, f64::NEG_INFINITY, 2.0, 3.0]), None);
        let mut other = SweepMean::new(SoftSweeps::Stage);
        other.restore(&one.state()).unwrap();
        let next = table([f64::NAN, 1.0, 5.0, 3.0]);
        assert_eq!(values(&one.add(&next, None))[1..], values(&other.add(&next, None))[1..]);
        assert!(other.restore(&json!(3)).unwrap_err().starts_with("sweeps of the stage: "));
    }
}
