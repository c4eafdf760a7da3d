use std::path::Path;

use super::{At, Event, Schedule};

/// Follows a search while it runs; a progress bar is one. What it is told is also in the run folder.
pub trait Observer {
    /// Something has happened.
    fn notice(&mut self, notice: Notice<'_>);
}

/// What an [`Observer`] is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// The search starts, or goes on at `epoch`, `step`.
    Started {
        /// The run folder.
        folder: &'a Path,
        /// All epochs.
        schedule: &'a Schedule,
        /// Steps of an epoch.
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
    /// An evaluation of a sweep over the operations has been made.
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

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&mut self, _notice: Notice<'_>) {}
}
