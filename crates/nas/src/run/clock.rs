use std::{collections::BTreeMap, time::Instant};

use serde::{Deserialize, Serialize};

/// Seconds of wall-clock time of one phase by activity, over all processes that worked on the run. A search's activities are
/// `omega`, `alpha`, `importance` and `checkpoints`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PhaseSeconds(BTreeMap<String, f64>);

impl PhaseSeconds {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }

    /// Of one activity.
    pub fn of(&self, activity: &str) -> f64 {
        self.0.get(activity).copied().unwrap_or(0.0)
    }
}

/// Writing checkpoints.
pub(super) const CHECKPOINTS: &str = "checkpoints";

/// Books the time by phase and activity.
#[derive(Debug)]
pub(super) struct Clock {
    phase: String,
    seconds: BTreeMap<String, PhaseSeconds>,
}

impl Clock {
    pub(super) fn new(seconds: BTreeMap<String, PhaseSeconds>) -> Self {
        Self { phase: String::new(), seconds }
    }

    pub(super) fn enter(&mut self, phase: &str) {
        phase.clone_into(&mut self.phase);
    }

    pub(super) fn book(&mut self, activity: &str, since: Instant) {
        let seconds = &mut self.seconds.entry(self.phase.clone()).or_default().0;
        *seconds.entry(activity.to_owned()).or_default() += since.elapsed().as_secs_f64();
    }

    pub(super) fn seconds(&self) -> &BTreeMap<String, PhaseSeconds> {
        &self.seconds
    }
}
