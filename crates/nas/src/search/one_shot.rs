use std::fmt;

use serde_json::Value;

use super::{context::Context, error::SearchError};
use crate::{
    learning_rate::Cosine,
    run::{At, Flow, Schedule},
    space::Genotype,
    supernet::{Mask, OpAt, PerOp},
};

/// A method that searches by training a supernet once.
///
/// For every epoch of [`OneShot::schedule`] `begin` is called, then `step` for each batch of `D_train`, then `end`; after the
/// last epoch `derive`. The search may stop after any step, save [`OneShot::state`] and go on later with [`OneShot::restore`]: the
/// rest must then be bit-identical. `begin` and `end` may be interrupted inside a sweep and are then called again from the
/// start with the finished part of their sweeps at hand, so they must sweep before they change anything.
pub trait OneShot: fmt::Debug + Send {
    /// Phases and epochs. Does not change during a search.
    fn schedule(&self) -> Schedule;

    /// What a phase of the schedule changes of network and training; by default nothing. Does not change during a search.
    fn phase(&self, _phase: usize) -> PhaseSettings {
        PhaseSettings::default()
    }

    /// Parts of the channels, of which operations see one in a phase ([`engine::NetworkSpec::partial`]); 1, all channels, by
    /// default. Where it falls, the supernet is widened: channels are copied at random. Does not change during a search.
    fn partial_channels(&self, _phase: usize) -> usize {
        1
    }

    /// Images of `D_val` that it needs in one batch of its own, with the key below `strategy.NAME` that says so; `None` where
    /// batches of the training's size do.
    fn valid_batch(&self) -> Option<(&'static str, usize)> {
        None
    }

    /// Before the first step of an epoch; by default nothing.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn begin(&mut self, _at: &At, _cx: &mut Context<'_>) -> Result<(), SearchError> {
        Ok(())
    }

    /// One batch of `D_train`: exactly one step of omega.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError>;

    /// After the last step of an epoch; by default nothing. Says whether the phase goes on.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn end(&mut self, _at: &At, _cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        Ok(Flow::Go)
    }

    /// The chosen architecture.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError>;

    /// Mixing weights `w: [E, O]` that the supernet is judged with, 0 for operations that are not alive.
    fn weights(&self, mask: &Mask) -> PerOp<f64>;

    /// The same with some operations taken out; by default the other weights stay what they are.
    fn weights_without(&self, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        let mut w = self.weights(mask);
        out.iter().for_each(|&at| w[at] = 0.0);
        w
    }

    /// Architecture parameters for the record, `[E, O]`; `None` where a method has none of that shape.
    fn snapshot(&self) -> Option<PerOp<f64>>;

    /// Everything that [`OneShot::restore`] needs.
    fn state(&self) -> Value;

    /// Takes over a saved state.
    ///
    /// # Errors
    /// A state that is not one of this strategy with this configuration.
    fn restore(&mut self, state: &Value) -> Result<(), String>;
}

/// What a phase changes of network and training, in the place of the search's own settings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseSettings {
    /// Images of a batch beside those of the search.
    pub added_images: usize,
    /// Learning rate of omega over the epochs of the phase.
    pub learning_rate: Option<PhaseRate>,
    /// A supernet of so many more cells than that of the search, built anew with initial weights; the operations that are alive
    /// stay. It remains in the phases after it.
    pub added_cells: Option<usize>,
}

/// Learning rate of omega over the epochs of a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PhaseRate {
    /// That of the search, from its beginning to its end.
    Anew,
    /// Another one.
    Own(Cosine),
}
