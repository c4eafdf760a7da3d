//! Signed log-determinant.

use super::Score;

/// Sign and natural logarithm of the absolute value of the determinant of `matrix: [n, n]` (row-major), by LU
/// decomposition with partial pivoting in f64.
///
/// A singular matrix has sign 0 and value `-inf`. Singular is what elimination leaves a largest pivot for that is no
/// more than its own rounding error, `n * eps * max |matrix|`. The empty matrix has determinant 1.
///
/// # Panics
/// Where `matrix` is not `n * n` long.
pub fn log_det(mut matrix: Vec<f64>, n: usize) -> Score {
    assert_eq!(matrix.len(), n * n, "a square matrix of side {n}");
    let largest = matrix.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
    let noise = n as f64 * f64::EPSILON * largest;
    let mut score = Score { value: 0.0, sign: 1 };
    for k in 0..n {
        let magnitude = |row: &usize| matrix[row * n + k].abs();
        let Some(pivot_row) = (k..n).max_by(|a, b| magnitude(a).total_cmp(&magnitude(b))) else { break };
        let pivot = matrix[pivot_row * n + k];
        if pivot.is_nan() || pivot.abs() <= noise {
            return Score::SINGULAR;
        }
        if pivot_row != k {
            for column in k..n {
                matrix.swap(k * n + column, pivot_row * n + column);
            }
            score.sign = -score.sign;
        }
        score.value += pivot.abs().ln();
        if pivot < 0.0 {
            score.sign = -score.sign;
        }
        let (above, below) = matrix.split_at_mut((k + 1) * n);
        let pivot_tail = &above[k * n + k + 1..];
        for row in below.chunks_exact_mut(n) {
            let factor = row[k] / pivot;
            for (x, p) in row[k + 1..].iter_mut().zip(pivot_tail) {
                *x -= factor * p;
            }
        }
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(score: Score, sign: i8, value: f64) {
        assert_eq!(score.sign, sign);
        assert!((score.value - value).abs() < 1e-12, "{} is not {value}", score.value);
    }

    #[test]
    fn agrees_with_numpy() {
        // numpy.linalg.slogdet(m) for each of these.
        close(log_det(vec![2.0, -1.0, 0.5, 3.0], 2), 1, 1.871_802_176_901_591_5);
        close(log_det(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 9.0], 3), -1, 1.098_612_288_668_109_6);
        close(
            log_det(vec![4.0, 2.0, 0.6, 0.1, 2.0, 5.0, 1.0, -1.0, 0.6, 1.0, 3.0, 0.5, 0.1, -1.0, 0.5, 2.0], 4),
            1,
            4.243_339_114_899_988,
        );
        close(log_det(vec![-7.5], 1), -1, 2.014_903_020_542_264_7);
    }

    #[test]
    fn a_permutation_matrix_has_the_sign_of_the_permutation() {
        let cycle = vec![0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0];
        assert_eq!(log_det(cycle, 3), Score { value: 0.0, sign: 1 });
        assert_eq!(log_det(vec![0.0, 1.0, 1.0, 0.0], 2), Score { value: 0.0, sign: -1 });
    }

    #[test]
    fn singular_matrices_score_minus_infinity() {
        assert_eq!(log_det(vec![0.0; 4], 2), Score::SINGULAR);
        assert_eq!(log_det(vec![3.0; 9], 3), Score::SINGULAR);
        // Rank 2, with rounding errors in the elimination.
        let (u, v) = ([0.1, 0.7, -0.3], [1.3, 0.2, 0.9]);
        let rank_two = (0..9).map(|i| u[i / 3] * u[i % 3] + v[i / 3] * v[i % 3]).collect();
        assert_eq!(log_det(rank_two, 3), Score::SINGULAR);
        assert_eq!(log_det(vec![f64::NAN, 1.0, 1.0, 1.0], 2), Score::SINGULAR);
    }

    proptest! {
        #[test]
        fn scaling_a_row_adds_its_logarithm(
            m in prop::collection::vec(-3.0..3.0_f64, 25),
            scale in 0.5..20.0_f64,
            row in 0..5_usize,
        ) {
            let before = log_det(m.clone(), 5);
            prop_assume!(before.value > -5.0);
            let mut scaled = m;
            scaled[row * 5..row * 5 + 5].iter_mut().for_each(|x| *x *= -scale);
            let after = log_det(scaled, 5);
            prop_assert_eq!(after.sign, -before.sign);
            prop_assert!((after.value - before.value - scale.ln()).abs() < 1e-9);
        }

        #[test]
        fn renaming_rows_and_columns_changes_nothing(
            m in prop::collection::vec(-3.0..3.0_f64, 25),
            order in Just([0_usize, 1, 2, 3, 4]).prop_shuffle(),
        ) {
            let before = log_det(m.clone(), 5);
            prop_assume!(before.value > -5.0);
            let renamed = (0..25).map(|i| m[order[i / 5] * 5 + order[i % 5]]).collect();
            let after = log_det(renamed, 5);
            prop_assert_eq!(after.sign, before.sign);
            prop_assert!((after.value - before.value).abs() < 1e-9);
        }
    }
}
