use std::{fmt, fs, path::Path};

use serde::Serialize;

use super::{
    cell::{Cell, Search},
    error::CompareError,
};
use crate::run::{EVENTS, Event, Failed, Fields as _, Phase, is_starting};

/// How far a cell has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its folder holds nothing.
    NotBegun,
    /// So many epochs of the search are done.
    Searching {
        /// Epochs that have ended.
        epoch: usize,
        /// Of so many.
        epochs: usize,
    },
    /// The search has ended; so many epochs of the training of what it found are done.
    Retraining {
        /// Epochs that have ended.
        epoch: usize,
        /// Of so many.
        epochs: usize,
    },
    /// An error has stopped it; the same command tries again.
    Failed {
        /// What the record says.
        why: String,
    },
    /// Nothing is left to do.
    Done,
    /// Its folder holds something else, or what cannot be read.
    Unusable {
        /// Why.
        why: String,
    },
}

impl State {
    /// Of a cell, by its folder.
    pub fn of(cell: &Cell) -> Self {
        match cell.has_begun() {
            Err(CompareError::OtherSettings { key, there, now, .. }) => {
                Self::Unusable { why: format!("other settings: {key} is {there}, now {now}") }
            }
            Err(error) => Self::Unusable { why: error.to_string() },
            Ok(_) if cell.is_done() => Self::Done,
            Ok(false) => Self::NotBegun,
            Ok(true) => Self::begun(cell),
        }
    }

    fn begun(cell: &Cell) -> Self {
        let training = cell.found().is_some();
        let folder = if training { cell.retraining_folder() } else { cell.folder.clone() };
        let (epoch, epochs, failed) = record(&folder).unwrap_or_default();
        match (failed, training, &cell.search) {
            (Some(why), ..) => Self::Failed { why },
            (None, true, _) => Self::Retraining { epoch, epochs },
            (None, false, Search::OneShot(_)) => Self::Searching { epoch, epochs },
            (None, false, Search::Blackbox(_)) => Self::NotBegun,
        }
    }
}

/// Epochs that have ended, of how many, and why it failed if it has, by a run's record.
fn record(run: &Path) -> Option<(usize, usize, Option<String>)> {
    if is_starting(run) {
        return None;
    }
    let text = fs::read_to_string(run.join(EVENTS)).ok()?;
    let event = |line: &str| serde_json::from_str::<Event>(line).ok();
    let first = event(text.lines().next()?)?;
    let phases: Vec<Phase> = serde_json::from_value(first.field("phases")?.clone()).ok()?;
    let failed = event(text.lines().next_back()?).and_then(|event| event.read::<Failed>()).map(|f| f.message);
    let ends = |kind: &str| kind != Failed::KIND && kind.ends_with("epoch");
    let epoch = text.lines().rev().filter_map(event).find(|event| ends(&event.kind));
    let epoch = epoch.and_then(|event| event.field("epoch")?.as_u64()).unwrap_or(0);
    Some((epoch as usize, phases.iter().map(|phase| phase.epochs).sum(), failed))
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBegun => f.write_str("not begun"),
            Self::Searching { epoch, epochs } => write!(f, "epoch {epoch}/{epochs}"),
            Self::Retraining { epochs: 0, .. } => f.write_str("found, retraining not begun"),
            Self::Retraining { epoch, epochs } => write!(f, "retraining, epoch {epoch}/{epochs}"),
            Self::Failed { why } => write!(f, "failed: {why}"),
            Self::Done => f.write_str("done"),
            Self::Unusable { why } => f.write_str(why),
        }
    }
}
