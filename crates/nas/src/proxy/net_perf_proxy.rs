//! NetPerfProxy: NASWOT's idea weighted by the mixing weights (HPE-DARTS, Eqs. 8-10).

use engine::{CodeDistances, Codes, EngineError};
use serde::{Deserialize, Serialize};

use super::{Candidate, Proxy, Score, add_agreement, log_det};

/// NetPerfProxy of a discrete network with random weights: every operation that reaches the output counts with weight 1,
/// the kernel is [`Kernel::Agreement`].
#[derive(Clone, Copy, Debug)]
pub struct NetPerfProxy;

impl Proxy for NetPerfProxy {
    fn name(&self) -> &'static str {
        "net-perf-proxy"
    }

    fn description(&self) -> &'static str {
        "log |det K|, K = equal bits of the samples' operation output codes, weighted (HPE-DARTS, Eqs. 8-10)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        let w = candidate.live()?;
        Ok(score(&candidate.distances(&w, Codes::OpOutputs)?, &w, Kernel::Agreement))
    }
}

/// How the codes `S_i`, `S_j` of two samples at one operation of `L` bits are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// `L - hamming(S_i, S_j)`, weighted on the diagonal as well: NASWOT's kernel, positive semi-definite for `w >= 0`.
    #[default]
    Agreement,
    /// `hamming(S_i, S_j)` off the diagonal and the unweighted total code length on it: Eqs. 8-9 to the letter.
    /// More distance lowers this determinant, so it turns NASWOT's order round, and K is often indefinite.
    Hamming,
}

/// `log |det K|` with `K_ij` the sum over edges and operations of `w[e, o] * k(S_i, S_j)`.
///
/// `distances`: of [`engine::Codes::OpOutputs`]. `w: [E, O]` row-major, clamped at 0 from below. Operations without a
/// code (`none`, removed ones) add nothing; neither do those with `w = 0`.
/// Without any code K is zero and the score is `-inf`.
///
/// # Panics
/// Where `w` has another length than `distances.ops`.
pub fn score<W: Copy + Into<f64>>(distances: &CodeDistances, w: &[W], kernel: Kernel) -> Score {
    assert_eq!(w.len(), distances.ops.len(), "mixing weights [E, O]");
    let n = distances.samples;
    let mut matrix = vec![0.0; n * n];
    let mut total_bits = 0;
    for (code, &w) in distances.ops.iter().zip(w) {
        let (Some(code), w) = (code, w.into()) else { continue };
        if w == 0.0 {
            continue;
        }
        total_bits += code.bits;
        let w = w.max(0.0);
        match kernel {
            Kernel::Agreement => add_agreement(&mut matrix, code, w),
            Kernel::Hamming => {
                for (k, &hamming) in matrix.iter_mut().zip(&code.hamming) {
                    *k += w * f64::from(hamming);
                }
            }
        }
    }
    if kernel == Kernel::Hamming {
        // The distances on the diagonal are 0, so this is all there is.
        matrix.iter_mut().step_by(n + 1).for_each(|k| *k = total_bits as f64);
    }
    log_det(matrix, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture;
    use engine::Distances;
    use proptest::prelude::*;

    const W: [f64; 6] = [0.3, 0.9, 0.7, 0.2, 1.1, 0.4];

    fn close(score: Score, sign: i8, value: f64) {
        assert_eq!(score.sign, sign);
        assert!((score.value - value).abs() < 1e-12, "{} is not {value}", score.value);
    }

    #[test]
    fn agreement_agrees_with_numpy() {
        // K += w[e, o] * (c @ c.T + (1 - c) @ (1 - c).T); numpy.linalg.slogdet(K).
        close(score(&fixture::four_samples(), &W, Kernel::Agreement), 1, 9.422_209_209_909_715);
    }

    #[test]
    fn hamming_agrees_with_numpy() {
        // K += w[e, o] * (c[:, None] != c).sum(-1); numpy.fill_diagonal(K, sum of L); numpy.linalg.slogdet(K).
        close(score(&fixture::four_samples(), &W, Kernel::Hamming), 1, 11.279_970_155_401_227);
        // Weights beyond 1 make K indefinite; the sign says so.
        close(
            score(&fixture::four_samples(), &[3.0, 0.0, 4.0, 0.0, 5.0, 0.0], Kernel::Hamming),
            -1,
            14.188_229_308_971_467,
        );
    }

    #[test]
    fn negative_weights_count_as_zero() {
        let negative = [-0.5, 0.9, 0.7, 0.2, 1.1, 0.4];
        close(score(&fixture::four_samples(), &negative, Kernel::Agreement), 1, 8.853_282_726_245_034);
        // A negative operation is still there: its length stays on the unweighted diagonal.
        close(score(&fixture::four_samples(), &negative, Kernel::Hamming), 1, 11.452_037_386_452_124);
    }

    #[test]
    fn no_code_is_singular() {
        for kernel in [Kernel::Agreement, Kernel::Hamming] {
            assert_eq!(score(&fixture::four_samples(), &[0.0; 6], kernel), Score::SINGULAR);
            let none = CodeDistances { samples: 2, ops: vec![None], outside: None };
            assert_eq!(score(&none, &[1.0], kernel), Score::SINGULAR);
        }
    }

    #[test]
    fn equal_samples_are_singular_under_agreement_only() {
        let hamming = vec![0, 0, 2, 0, 0, 2, 2, 2, 0];
        let same = CodeDistances { samples: 3, ops: vec![Some(Distances { bits: 5, hamming })], outside: None };
        assert_eq!(score(&same, &[0.7], Kernel::Agreement), Score::SINGULAR);
        assert_eq!(score(&same, &[0.7], Kernel::Hamming).sign, 1);
    }

    proptest! {
        /// Positive semi-definite: every eigenvalue is at least 0, so adding any multiple of the identity gives a
        /// positive determinant.
        #[test]
        fn agreement_is_positive_semi_definite(
            codes in fixture::codes(6, 3),
            w in prop::collection::vec(0.0..2.0_f64, 3),
        ) {
            let distances = |n: usize| CodeDistances {
                samples: 6,
                ops: codes[..n].iter().map(|c| Some(fixture::distances(c))).collect(),
                outside: None,
            };
            let mut matrix = vec![0.0; 36];
            for (code, w) in distances(3).ops.iter().flatten().zip(&w) {
                add_agreement(&mut matrix, code, *w);
            }
            for ridge in [1e-6, 1e-3, 1.0, 30.0] {
                let mut shifted = matrix.clone();
                shifted.iter_mut().step_by(7).for_each(|k| *k += ridge);
                prop_assert_eq!(log_det(shifted, 6).sign, 1);
            }
            prop_assert!(score(&distances(3), &w, Kernel::Agreement).sign >= 0);
        }

        #[test]
        fn scaling_all_weights_adds_n_logarithms(codes in fixture::codes(6, 3), scale in 0.1..9.0_f64) {
            let distances = CodeDistances {
                samples: 6,
                ops: codes.iter().map(|c| Some(fixture::distances(c))).collect(),
                outside: None,
            };
            let w = [0.2, 0.5, 0.3];
            let one = score(&distances, &w, Kernel::Agreement);
            let scaled = score(&distances, &w.map(|w| w * scale), Kernel::Agreement);
            prop_assert_eq!(one.sign, scaled.sign);
            prop_assume!(one.sign == 1);
            prop_assert!((scaled.value - one.value - 6.0 * scale.ln()).abs() < 1e-9);
        }
    }
}
