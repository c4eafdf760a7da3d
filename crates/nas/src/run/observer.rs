use std::{fmt, path::Path};

use super::{
    events::Event,
    schedule::{At, Schedule},
};

/// Follows a run; a progress bar is one. What it is told is also in the run folder.
pub trait Observer: Send {
    /// Something has happened.
    fn notice(&mut self, notice: Notice<'_>);
}

/// What an [`Observer`] is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// The run starts, or goes on at `epoch`, `step`.
    Started {
        /// The run folder.
        folder: &'a Path,
        /// All epochs.
        schedule: &'a Schedule,
        /// Steps of each epoch of the phase that is next.
        steps: usize,
        /// Epoch that is next, counted from 0.
        epoch: usize,
        /// Step that is next, counted from 0.
        step: usize,
    },
    /// A step has been made.
    Step {
        /// The epoch.
        at: &'a At,
        /// Steps made in this epoch.
        done: usize,
        /// Mean loss of the epoch so far, in nats.
        loss: f64,
        /// Accuracy of the epoch so far, in percent.
        accuracy: f64,
    },
    /// An evaluation of a sweep has been made.
    Sweep {
        /// What is measured.
        what: &'a str,
        /// Evaluations made.
        done: usize,
        /// Evaluations of the sweep.
        of: usize,
    },
    /// A line was written to `events.jsonl`.
    Event(&'a Event),
    /// A checkpoint was written.
    Saved,
    /// Something worth a message.
    Warning(&'a str),
}

/// How much an observer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    #[default]
    Always,
    /// Steps and evaluations of sweeps only where their number divides by this, everything else always.
    Every(std::num::NonZeroUsize),
    /// No steps and no evaluations of sweeps.
    Events,
}

impl Mode {
    fn wants(self, notice: Notice<'_>) -> bool {
        match (self, notice) {
            (Self::Every(n), Notice::Step { done, .. } | Notice::Sweep { done, .. }) => done.is_multiple_of(n.get()),
            (Self::Events, Notice::Step { .. } | Notice::Sweep { .. }) => false,
            _ => true,
        }
    }
}

/// Everyone who follows a run, told in this order.
#[derive(Default)]
pub struct Observers(Vec<(Mode, Box<dyn Observer>)>);

impl Observers {
    /// Nobody.
    pub fn none() -> Self {
        Self::default()
    }

    /// One more.
    #[must_use]
    pub fn and(mut self, mode: Mode, observer: impl Observer + 'static) -> Self {
        self.0.push((mode, Box::new(observer)));
        self
    }

    pub(super) fn notice(&mut self, notice: Notice<'_>) {
        self.0.iter_mut().filter(|(mode, _)| mode.wants(notice)).for_each(|(_, o)| o.notice(notice));
    }
}

impl<O: Observer + 'static> From<Box<O>> for Observers {
    fn from(observer: Box<O>) -> Self {
        Self(vec![(Mode::Always, observer)])
    }
}

impl From<Box<dyn Observer>> for Observers {
    fn from(observer: Box<dyn Observer>) -> Self {
        Self(vec![(Mode::Always, observer)])
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(mode, _)| mode)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Steps(Arc<Mutex<Vec<usize>>>);

    impl Observer for Steps {
        fn notice(&mut self, notice: Notice<'_>) {
            let seen = if let Notice::Sweep { done, .. } = notice { done } else { 0 };
            self.0.lock().unwrap().push(seen);
        }
    }

    #[test]
    fn everyone_is_told_as_much_as_they_want() {
        let modes = [Mode::Always, Mode::Every(std::num::NonZeroUsize::new(2).unwrap()), Mode::Events];
        let seen = modes.map(|_| Arc::new(Mutex::new(Vec::new())));
        let add = |all: Observers, (mode, seen): (Mode, &Arc<_>)| all.and(mode, Steps(Arc::clone(seen)));
        let mut all = modes.into_iter().zip(&seen).fold(Observers::none(), add);
        for done in 1..=4 {
            all.notice(Notice::Sweep { what: "loss", done, of: 4 });
        }
        all.notice(Notice::Saved);
        assert_eq!(seen.map(|s| s.lock().unwrap().clone()), [vec![1, 2, 3, 4, 0], vec![2, 4, 0], vec![0]]);
    }
}
