//! A forward pass that goes on from another over the same images: an importance sweep takes one operation out after the other,
//! and nothing before the first cell that has it changes.

use super::codes::{CodeSink, Taken};
use super::plan::{Origin, Plan, SourceId};
use super::plane::Mode;
use crate::contract::Codes;

/// The last forward pass of a network that nothing has changed since.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    images: Vec<f32>,
    mode: Mode,
    w: Vec<f32>,
    /// Whether values are left in buffers of their own, and whether all are there already.
    pub(crate) kept: bool,
    all: bool,
    /// Of each source the codes that were taken of it, where they were kept.
    taken: Option<(Codes, Vec<Vec<Taken>>)>,
}

impl Again {
    /// A pass over these images with the mixing weights `w`.
    pub(crate) fn new(images: &[f32], mode: Mode, w: &[f32]) -> Self {
        Self { images: images.to_vec(), mode, w: w.to_vec(), kept: false, all: false, taken: None }
    }

    /// From here on values are left in buffers of their own; none is there yet.
    pub(crate) fn keep(&mut self) {
        (self.kept, self.all, self.taken) = (true, false, None);
    }

    /// Whether another pass sees the same images.
    pub(crate) fn is_like(&self, images: &[f32], mode: Mode) -> bool {
        self.mode == mode && self.images == images
    }

    /// Operations that took part in it or will in a pass with the mixing weights `w`.
    pub(crate) fn with(&self, active: &[bool], alive: &[bool]) -> Vec<bool> {
        let took = self.w.iter().zip(alive).map(|(w, alive)| *alive && *w != 0.0);
        took.zip(active).map(|(took, active)| took || *active).collect()
    }

    /// Begins a pass over `n` images with the mixing weights `w`, and returns the first source that it has to make. The codes of
    /// those before it are added to `codes`.
    pub(crate) fn begin(&mut self, plan: &Plan, w: &[f32], codes: Option<&mut CodeSink>, n: usize) -> SourceId {
        if !self.kept {
            return 0;
        }
        let changed = |place: usize| self.w[place] != w[place];
        let mut first = if self.all { first_that_weighs(plan, changed).unwrap_or(plan.sources.len()) } else { 0 };
        self.w.copy_from_slice(w);
        self.all = true;
        let Some(sink) = codes else {
            // What is made now has no codes.
            if first < plan.sources.len() {
                self.taken = None;
            }
            return first;
        };
        match &self.taken {
            Some((kind, taken)) if *kind == sink.kind() => {
                first = first.min(taken.len());
                taken[..first].iter().flatten().for_each(|taken| sink.add_taken(taken, w));
            }
            _ => {
                first = 0;
                let last = last_first(plan);
                let jobs: usize = (0..last).map(|id| plan.code_jobs(sink.kind(), id).len()).sum();
                let fits = jobs * n * n * size_of::<u32>() <= TAKEN;
                self.taken = fits.then(|| (sink.kind(), vec![vec![]; last]));
            }
        }
        first
    }

    /// Where the codes of a source are to be kept.
    pub(crate) fn of(&mut self, id: SourceId) -> Option<&mut Vec<Taken>> {
        self.taken.as_mut().and_then(|(_, taken)| taken.get_mut(id))
    }
}

/// Bytes of distances that are kept at most.
const TAKEN: usize = 1 << 25;

/// The first source into which an operation is mixed that `these` say.
fn first_that_weighs(plan: &Plan, these: impl Fn(usize) -> bool) -> Option<SourceId> {
    plan.sources.iter().position(|source| match &source.origin {
        Origin::Mix { terms, .. } => terms.iter().filter_map(|term| term.place).any(&these),
        Origin::Image | Origin::Unit { .. } | Origin::Concat(_) => false,
    })
}

/// Sources from this one on change with any operation, so that nothing of them is worth keeping.
pub(crate) fn last_first(plan: &Plan) -> SourceId {
    let places = 0..plan.active.len();
    places.filter(|&p| plan.active[p]).filter_map(|p| first_that_weighs(plan, |q| q == p)).max().unwrap_or(0)
}
