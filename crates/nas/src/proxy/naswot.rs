//! NASWOT: neural architecture search without training (Mellor et al., 2021, arXiv 2006.04647).

use engine::{CodeDistances, Codes, EngineError};

use super::{Candidate, Proxy, Score, add_agreement, log_det};

/// NASWOT of a discrete network with random weights. The ReLUs of branches that do not reach the output do not count.
#[derive(Clone, Copy, Debug)]
pub struct Naswot;

impl Proxy for Naswot {
    fn name(&self) -> &'static str {
        "naswot"
    }

    fn description(&self) -> &'static str {
        "log |det K|, K = equal bits of the samples' ReLU codes (Mellor et al. 2021)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        let w = candidate.live()?;
        let dead: Vec<usize> = (0..w.len()).filter(|&place| w[place] == 0.0).collect();
        Ok(score(&candidate.distances(&w, Codes::ReluInputs)?, &dead))
    }
}

/// `log |det K|` with `K_ij` the number of equal bits of the codes of samples `i` and `j`, summed over the ReLUs.
///
/// `distances`: of [`engine::Codes::ReluInputs`]. `left_out`: operations `e * O + o` whose ReLU does not count,
/// because they do not reach the network's output or because a search has removed them.
/// Without any ReLU K is zero and the score is `-inf`.
pub fn score(distances: &CodeDistances, left_out: &[usize]) -> Score {
    let n = distances.samples;
    let mut kernel = vec![0.0; n * n];
    let of_ops = distances.ops.iter().enumerate().filter(|(place, _)| !left_out.contains(place));
    for relu in of_ops.filter_map(|(_, d)| d.as_ref()).chain(&distances.outside) {
        add_agreement(&mut kernel, relu, 1.0);
    }
    log_det(kernel, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture;
    use proptest::prelude::*;

    #[test]
    fn agrees_with_numpy() {
        // K += c @ c.T + (1 - c) @ (1 - c).T over the codes of the fixture; numpy.linalg.slogdet(K).
        let all = score(&fixture::four_samples(), &[]);
        assert_eq!(all.sign, 1);
        assert!((all.value - 12.267_355_873_947_071).abs() < 1e-12, "{all:?}");
        let without = score(&fixture::four_samples(), &[2]);
        assert!((without.value - 10.746_433_098_184_466).abs() < 1e-12, "{without:?}");
    }

    #[test]
    fn equal_samples_are_singular() {
        let same = fixture::distances(&[vec![true, false, true], vec![true, false, true], vec![false; 3]]);
        let distances = CodeDistances { samples: 3, ops: vec![Some(same)], outside: None };
        assert_eq!(score(&distances, &[]), Score::SINGULAR);
        assert_eq!(score(&distances, &[0]), Score::SINGULAR);
    }

    proptest! {
        #[test]
        fn the_order_of_the_samples_does_not_matter(
            codes in fixture::codes(6, 3),
            order in Just([0_usize, 1, 2, 3, 4, 5]).prop_shuffle(),
        ) {
            let whole = |codes: &[Vec<Vec<bool>>]| CodeDistances {
                samples: 6,
                ops: codes[1..].iter().map(|c| Some(fixture::distances(c))).collect(),
                outside: Some(fixture::distances(&codes[0])),
            };
            let shuffled: Vec<_> =
                codes.iter().map(|place| order.iter().map(|&i| place[i].clone()).collect()).collect();
            let (a, b) = (score(&whole(&codes), &[]), score(&whole(&shuffled), &[]));
            prop_assert_eq!(a.sign, b.sign);
            prop_assert!(a.value == b.value || (a.value - b.value).abs() < 1e-9, "{a:?} {b:?}");
        }
    }
}
