//! The one loop over epochs and steps, for whatever is long: folder, record, checkpoints, interruptions, time.
//!
//! An [`Executor`] runs a [`Task`]. It knows phases and positions, and nothing of what is trained: no strategy, no supernet, no
//! data. The law that it keeps for every task: stopped after any step and resumed, a run leaves the same record and the same
//! weights, bit for bit.

mod checkpoint;
mod clock;
mod environment;
mod error;
mod events;
mod executor;
mod folder;
mod journal;
mod keep;
mod learning;
mod names;
mod observer;
mod schedule;
mod session;
mod task;

pub use checkpoint::{Moment, Position};
pub use clock::PhaseSeconds;
pub use environment::Environment;
pub use error::RunError;
pub use events::{EVENTS_VERSION, EarlyEnd, End, Event, Failed, Fields};
pub use executor::{Executor, Kept, Outcome, Reopened, Resumed, finished};
pub use folder::{Place, is_past, is_run, is_starting, keeps};
pub(crate) use journal::Journal;
pub use keep::Keep;
pub use learning::Learning;
pub use names::{CONFIG, ENVIRONMENT, EVENTS, TIMING};
pub use observer::{Mode, Notice, Observer, Observers};
pub use schedule::{At, Phase, Schedule};
pub use session::{Session, Setup, Sweep};
pub use task::{Ended, Flow, StepReport, Task, TaskError};
