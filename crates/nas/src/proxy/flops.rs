//! The number of multiply-adds for one image, in millions.

use engine::EngineError;

use super::{Candidate, Proxy, Score};

/// The number of multiply-adds for one image, in millions. As [`engine::Graph::cost`] counts.
#[derive(Clone, Copy, Debug)]
pub struct Flops;

impl Proxy for Flops {
    fn name(&self) -> &'static str {
        "flops"
    }

    fn description(&self) -> &'static str {
        "multiply-adds of one image in millions (the literature's FLOPs)"
    }

    fn needs_images(&self) -> bool {
        false
    }

    fn is_random(&self) -> bool {
        false
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        Ok(Score::of(candidate.cost.flops_m()))
    }
}
