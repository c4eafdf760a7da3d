use std::fmt;

use serde_json::Value;

use super::{
    context::Context,
    error::SearchError,
    one_shot::OneShot,
    parts::{Alpha, EarlyStop, by_largest},
};
use crate::{
    run::{At, Flow, Schedule},
    space::Genotype,
    supernet::{Mask, OpAt, PerOp},
};

/// A [`OneShot`] whose state is alpha, what an early stop remembers and little else: what it is beyond that is how a step is made.
pub trait ByAlpha: fmt::Debug + Send {
    /// See [`OneShot::schedule`].
    fn schedule(&self) -> Schedule;

    /// See [`OneShot::partial_channels`].
    fn partial_channels(&self, _phase: usize) -> usize {
        1
    }

    /// The architecture parameters.
    fn alpha(&self) -> &Alpha;

    /// The architecture parameters.
    fn alpha_mut(&mut self) -> &mut Alpha;

    /// See [`OneShot::step`].
    ///
    /// # Errors
    /// See [`SearchError`].
    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError>;

    /// See [`OneShot::end`]; an early stop looks at the epoch before it.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn end(&mut self, _at: &At, _cx: &mut Context<'_>) -> Result<(), SearchError> {
        Ok(())
    }

    /// What may end the search before its last epoch; by default nothing.
    fn early_stop(&self) -> Option<&EarlyStop> {
        None
    }

    /// The same.
    fn early_stop_mut(&mut self) -> Option<&mut EarlyStop> {
        None
    }

    /// Whether a step of this epoch trains alpha, so that an early stop looks at it; by default every one does.
    fn trains_alpha(&self, _at: &At) -> bool {
        true
    }

    /// The chosen architecture; by default see [`by_largest`].
    ///
    /// # Errors
    /// See [`SearchError`].
    fn derive(&self, cx: &Context<'_>) -> Result<Genotype, SearchError> {
        let alpha = self.alpha();
        by_largest(cx.space(), cx.mask(), alpha.values(), &alpha.weights(cx.mask()))
    }

    /// Adds what is remembered beside alpha to its state, under keys of its own; by default nothing.
    fn remember(&self, _state: &mut Value) {}

    /// Takes that over from a saved state, after alpha.
    ///
    /// # Errors
    /// See [`OneShot::restore`].
    fn recall(&mut self, _state: &Value) -> Result<(), String> {
        Ok(())
    }
}

impl<T: ByAlpha> OneShot for T {
    fn schedule(&self) -> Schedule {
        ByAlpha::schedule(self)
    }

    fn partial_channels(&self, phase: usize) -> usize {
        ByAlpha::partial_channels(self, phase)
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        ByAlpha::step(self, at, cx)
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        let stop = self.early_stop().filter(|_| self.trains_alpha(at));
        let observed = match stop {
            Some(stop) => Some(stop.observe(self.alpha(), ByAlpha::derive(self, cx)?, at, cx)?),
            None => None,
        };
        let flow = observed.and_then(|observed| Some(self.early_stop_mut()?.decide(at, observed)));
        ByAlpha::end(self, at, cx)?;
        Ok(flow.unwrap_or(Flow::Go))
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        match self.early_stop().and_then(EarlyStop::result) {
            Some(earlier) => Ok(earlier.clone()),
            None => ByAlpha::derive(self, cx),
        }
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha().weights(mask)
    }

    fn weights_without(&self, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.alpha().weights_without(mask, out)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        Some(self.alpha().values().clone())
    }

    fn state(&self) -> Value {
        let mut state = self.alpha().state();
        if let Some(stop) = self.early_stop() {
            state["early_stop"] = stop.state();
        }
        self.remember(&mut state);
        state
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha_mut().restore(state)?;
        self.recall(state)?;
        self.early_stop_mut().map_or(Ok(()), |stop| stop.restore(&state["early_stop"]))
    }
}
