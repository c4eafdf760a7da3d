//! Drop-path: what the outputs of operations are multiplied by, image by image.

use super::kernels::elementwise::Term;
use super::params::stream;
use super::plan::{Origin, Plan};
use super::plane::Terms;
use super::unit::{UnitId, Units};
use crate::contract::DropPath;

/// Of each image of a batch; `None` where nothing is dropped.
pub(super) type Factors<'a> = Option<&'a [f32]>;

/// The factors of a pass, by the unit that makes the output of an operation.
#[derive(Debug, Default)]
pub(super) struct Paths(Vec<Option<Vec<f32>>>);

impl Paths {
    /// Draws for a batch of `n` images, as [`DropPath`] says.
    pub(super) fn new(plan: &Plan, units: &Units, drop_path: Option<DropPath>, n: usize) -> Self {
        let Some(DropPath { rate, seed }) = drop_path.filter(|drop| drop.rate > 0.0) else { return Self::default() };
        let mut factors = vec![None; units.len()];
        let rate = f64::from(rate);
        for source in &plan.sources {
            let Origin::Mix { terms, .. } = &source.origin else { continue };
            for unit in terms.iter().filter_map(|term| term.path) {
                let mut draw = stream(seed, &units[unit].name);
                let factor = |_| if draw() < rate { 0.0 } else { (1.0 / (1.0 - rate)) as f32 };
                factors[unit] = Some((0..n).map(factor).collect());
            }
        }
        Self(factors)
    }

    /// Of the output of an operation.
    pub(super) fn of(&self, path: Option<UnitId>) -> Factors<'_> {
        self.0.get(path?)?.as_deref()
    }
}

/// Terms with what drop-path multiplies them by.
#[derive(Debug, Default)]
pub(super) struct PathTerms<'a> {
    pub(super) terms: Terms,
    pub(super) factors: Vec<Factors<'a>>,
}

impl<'a> PathTerms<'a> {
    pub(super) fn push(&mut self, term: Term, factors: Factors<'a>) {
        self.terms.0.push(term);
        self.factors.push(factors);
    }

    /// Values of the scratch that [`PathTerms::at`] needs for scales of `c` channels.
    pub(super) fn scratch(&self, c: usize) -> usize {
        if self.factors.iter().any(Option::is_some) { self.factors.len() * c } else { 0 }
    }

    /// The terms of an image, moved on by `offset` values, into `out`; scales that are multiplied lie in `scratch`.
    ///
    /// # Safety
    /// Scales are of `c` channels.
    pub(super) unsafe fn at(&self, image: usize, offset: usize, c: usize, scratch: &mut [f32], out: &mut Vec<Term>) {
        self.terms.at(offset, out);
        for ((term, factors), own) in out.iter_mut().zip(&self.factors).zip(scratch.chunks_exact_mut(c)) {
            if let Some(factors) = factors {
                // SAFETY: the caller's contract.
                let scale = unsafe { std::slice::from_raw_parts(term.scale, c) };
                own.iter_mut().zip(scale).for_each(|(own, scale)| *own = factors[image] * scale);
                term.scale = own.as_ptr();
            }
        }
    }
}
