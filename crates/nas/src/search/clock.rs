use std::{collections::BTreeMap, time::Instant};

use serde::{Deserialize, Serialize};

/// Seconds of wall-clock time of one phase, over all processes that worked on the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseSeconds {
    /// Steps of omega (of omega and alpha where one pass trains both), waiting for data included.
    pub omega: f64,
    /// Steps of alpha.
    pub alpha: f64,
    /// Sweeps over the operations.
    pub importance: f64,
    /// Writing checkpoints.
    pub checkpoints: f64,
}

impl PhaseSeconds {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.omega + self.alpha + self.importance + self.checkpoints
    }
}

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    Omega,
    Alpha,
    Importance,
    Checkpoints,
}

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

    pub(super) fn book(&mut self, activity: Activity, since: Instant) {
        let seconds = self.seconds.entry(self.phase.clone()).or_default();
        *match activity {
            Activity::Omega => &mut seconds.omega,
            Activity::Alpha => &mut seconds.alpha,
            Activity::Importance => &mut seconds.importance,
            Activity::Checkpoints => &mut seconds.checkpoints,
        } += since.elapsed().as_secs_f64();
    }

    pub(super) fn seconds(&self) -> &BTreeMap<String, PhaseSeconds> {
        &self.seconds
    }
}
