use std::fmt;

use engine::TensorState;
use serde::Serialize;
use serde_json::Value;

use super::{
    checkpoint::Position,
    error::RunError,
    schedule::{At, Schedule},
    session::Session,
};

/// Something long that runs epoch by epoch: a search, the training of a network. The executor calls, for every epoch of the
/// schedule, `begin`, then `step` as often as the phase has steps, then `end`; after the last one `finish`.
///
/// It may stop after any step, or inside a sweep of `begin` and `end`, save [`Task::state`] and [`Task::tensors`], and go on
/// later with [`Task::restore`]: the rest must then be bit-identical. `begin` and `end` are called again from their start with
/// the finished part of their sweeps at hand, so they must sweep before they change anything.
pub trait Task: fmt::Debug {
    /// What can go wrong.
    type Error: TaskError;

    /// The result.
    type Found: Serialize;

    /// Name of the file of the result in the run folder.
    const RESULT: &'static str;

    /// Phases and epochs. Does not change during a run.
    fn schedule(&self) -> &Schedule;

    /// Steps of each epoch of a phase.
    fn steps(&self, phase: usize) -> usize;

    /// The record has been opened: says what is run.
    ///
    /// # Errors
    /// The record cannot be written.
    fn opened(&mut self, session: &mut Session) -> Result<(), Self::Error>;

    /// An epoch is next. Where its phase is another than before, its network, batch and learning rate are put in force.
    ///
    /// # Errors
    /// Whatever hinders that.
    fn enter(&mut self, at: &At) -> Result<(), Self::Error>;

    /// Before the first step of an epoch.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn begin(&mut self, at: &At, session: &mut Session) -> Result<(), Self::Error>;

    /// Exactly one step of the weights, told to [`Session::stepped`].
    ///
    /// # Errors
    /// Whatever stops the run.
    fn step(&mut self, at: &At, session: &mut Session) -> Result<StepReport, Self::Error>;

    /// After the last step of an epoch; records what it has come to.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn end(&mut self, at: &At, session: &mut Session) -> Result<Ended, Self::Error>;

    /// The result.
    ///
    /// # Errors
    /// Whatever hinders it.
    fn finish(&mut self, session: &mut Session) -> Result<Self::Found, Self::Error>;

    /// Everything but the tensors that [`Task::restore`] needs.
    fn state(&self) -> Value;

    /// The tensors that it needs.
    fn tensors(&mut self) -> Vec<TensorState>;

    /// Takes over a saved state.
    ///
    /// # Errors
    /// A state that is not one of this task, or does not fit `position`.
    fn restore(&mut self, position: Position, state: &Value, tensors: &[TensorState]) -> Result<(), String>;
}

/// The error of a task: its own, or one of the run.
pub trait TaskError: std::error::Error + From<RunError> {
    /// The run's, if it is one.
    fn of_run(&self) -> Option<&RunError>;
}

/// What is shown of a step: means of the epoch so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// In nats.
    pub loss: f64,
    /// In percent.
    pub accuracy: f64,
}

/// What an epoch has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// What comes next.
    pub flow: Flow,
    /// How good the epoch was, higher is better; for the policy that keeps the best.
    pub quality: f64,
}

/// What comes after an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// The next epoch of the schedule.
    #[default]
    Go,
    /// The next phase: this one ends early. With the reason, for the record.
    NextPhase(String),
    /// The result: all phases end early. With the reason, for the record.
    Finish(String),
}
