use std::fmt;

use serde_json::Value;

use super::{
    context::Context,
    error::SearchError,
    one_shot::OneShot,
    parts::{Alpha, by_largest},
};
use crate::{
    run::{At, Flow, Schedule},
    space::Genotype,
    supernet::{Mask, OpAt, PerOp},
};

/// A [`OneShot`] whose whole state is alpha: what it is beyond that is how a step is made.
pub trait ByAlpha: fmt::Debug + Send {
    /// See [`OneShot::schedule`].
    fn schedule(&self) -> Schedule;

    /// The architecture parameters.
    fn alpha(&self) -> &Alpha;

    /// The architecture parameters.
    fn alpha_mut(&mut self) -> &mut Alpha;

    /// See [`OneShot::step`].
    ///
    /// # Errors
    /// See [`SearchError`].
    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError>;

    /// See [`OneShot::end`].
    ///
    /// # Errors
    /// See [`SearchError`].
    fn end(&mut self, _at: &At, _cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        Ok(Flow::Go)
    }

    /// The chosen architecture; by default see [`by_largest`].
    ///
    /// # Errors
    /// See [`SearchError`].
    fn derive(&self, cx: &Context<'_>) -> Result<Genotype, SearchError> {
        let alpha = self.alpha();
        by_largest(cx.space(), cx.mask(), alpha.values(), &alpha.weights(cx.mask()))
    }
}

impl<T: ByAlpha> OneShot for T {
    fn schedule(&self) -> Schedule {
        ByAlpha::schedule(self)
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        ByAlpha::step(self, at, cx)
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        ByAlpha::end(self, at, cx)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        ByAlpha::derive(self, cx)
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
        self.alpha().state()
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha_mut().restore(state)
    }
}
