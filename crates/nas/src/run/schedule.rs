use serde::{Deserialize, Serialize};

/// A named run of epochs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Name, unique in its schedule.
    pub name: String,
    /// Epochs; a phase of 0 epochs is passed over.
    pub epochs: usize,
}

/// What a run does, epoch by epoch, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// In the order in which they run.
    pub phases: Vec<Phase>,
}

/// A place in a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Epoch from the start of the run.
    pub epoch: usize,
    /// Index of the phase.
    pub phase: usize,
    /// Name of the phase.
    pub name: String,
    /// Epoch within the phase.
    pub within: usize,
    /// Epochs of the phase.
    pub length: usize,
}

impl At {
    /// True in the last epoch of the phase.
    pub fn ends_phase(&self) -> bool {
        self.within + 1 == self.length
    }
}

impl Schedule {
    /// From `(name, epochs)`.
    pub fn new(phases: impl IntoIterator<Item = (impl Into<String>, usize)>) -> Self {
        Self { phases: phases.into_iter().map(|(name, epochs)| Phase { name: name.into(), epochs }).collect() }
    }

    /// All epochs.
    pub fn epochs(&self) -> usize {
        self.phases.iter().map(|p| p.epochs).fold(0, usize::saturating_add)
    }

    /// Where an epoch lies; `None` after the last one.
    pub fn at(&self, epoch: usize) -> Option<At> {
        let mut first = 0;
        for (phase, Phase { name, epochs }) in self.phases.iter().enumerate() {
            if epoch - first < *epochs {
                return Some(At { epoch, phase, name: name.clone(), within: epoch - first, length: *epochs });
            }
            first += epochs;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_found_and_empty_phases_passed_over() {
        let schedule = Schedule::new([("warm-up", 0), ("stage 1", 2), ("stage 2", 1)]);
        assert_eq!(schedule.epochs(), 3);
        let at = schedule.at(0).unwrap();
        assert_eq!((at.phase, at.within, at.ends_phase()), (1, 0, false));
        assert!(schedule.at(1).unwrap().ends_phase());
        let at = schedule.at(2).unwrap();
        assert_eq!((at.name.as_str(), at.within, at.ends_phase()), ("stage 2", 0, true));
        assert_eq!(schedule.at(3), None);
    }
}
