//! The number of trainable parameters, in millions: the score that every other proxy must beat.

use engine::EngineError;

use super::{Candidate, Proxy, Score};

/// The number of trainable parameters, in millions: the score that every other proxy must beat. As [`engine::Graph::cost`] counts.
#[derive(Clone, Copy, Debug)]
pub struct Params;

impl Proxy for Params {
    fn name(&self) -> &'static str {
        "params"
    }

    fn description(&self) -> &'static str {
        "trainable parameters in millions: the baseline that every other proxy must beat"
    }

    fn needs_images(&self) -> bool {
        false
    }

    fn is_random(&self) -> bool {
        false
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        Ok(Score::of(candidate.cost.params_m()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engines,
        space::{Arch, nas_bench_201},
    };

    #[test]
    fn is_the_published_size() {
        let spec = Arch::new([3; 6]).unwrap().network_spec(&nas_bench_201::benchmark_shape(32, 10));
        let engines = engines::cpu(1).unwrap();
        let cost = spec.graph().unwrap().cost();
        let candidate = Candidate { spec: &spec, cost, images: &[], labels: &[], seed: 0, engines: &*engines };
        assert_eq!(Params.score(&candidate).unwrap(), Score { value: 1.531_546, sign: 1 });
        assert_eq!(crate::proxy::flops::Flops.score(&candidate).unwrap(), Score { value: 220.119_69, sign: 1 });
    }
}
