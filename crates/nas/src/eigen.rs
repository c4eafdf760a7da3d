//! Eigenvalues of symmetric matrices.

/// A rotation that turns less than this share of the matrix's size changes nothing any more.
const NEGLIGIBLE: f64 = 1e-15;

/// Sweeps after which Jacobi's method has converged for every matrix that is not full of infinities.
const SWEEPS: usize = 60;

/// Eigenvalues of the symmetric `matrix: [n, n]` (row-major) in no particular order, by cyclic Jacobi rotations.
///
/// # Panics
/// Where `matrix` is not `n * n` long.
pub(crate) fn eigenvalues(mut matrix: Vec<f64>, n: usize) -> Vec<f64> {
    assert_eq!(matrix.len(), n * n, "a square matrix of side {n}");
    let size = matrix.iter().map(|v| v * v).sum::<f64>().sqrt();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for p in 0..n {
            for q in p + 1..n {
                if matrix[p * n + q].abs() > NEGLIGIBLE * size {
                    rotate(&mut matrix, n, p, q);
                    turned = true;
                }
            }
        }
        if !turned {
            break;
        }
    }
    matrix.into_iter().step_by(n + 1).collect()
}

/// Makes `matrix[p, q]` zero by a rotation of the plane of `p` and `q`.
fn rotate(matrix: &mut [f64], n: usize, p: usize, q: usize) {
    let theta = (matrix[q * n + q] - matrix[p * n + p]) / (2.0 * matrix[p * n + q]);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    for k in 0..n {
        let (a, b) = (matrix[k * n + p], matrix[k * n + q]);
        matrix[k * n + p] = cosine * a - sine * b;
        matrix[k * n + q] = sine * a + cosine * b;
    }
    let (upper, lower) = matrix.split_at_mut(q * n);
    for (a, b) in upper[p * n..][..n].iter_mut().zip(&mut lower[..n]) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
}

/// Largest singular value of `matrix: [rows, columns]`: the root of the largest eigenvalue of its smaller Gram matrix.
pub(crate) fn largest_singular_value(matrix: &[f64], columns: usize) -> f64 {
    let rows = matrix.len() / columns;
    let (n, stride, other, step) =
        if columns <= rows { (columns, 1, rows, columns) } else { (rows, columns, columns, 1) };
    let dot = |i: usize, j: usize| {
        (0..other).map(|k| matrix[i * stride + k * step] * matrix[j * stride + k * step]).sum::<f64>()
    };
    let gram = (0..n * n).map(|at| dot(at / n, at % n)).collect();
    eigenvalues(gram, n).into_iter().fold(0.0, f64::max).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn agrees_with_numpy() {
        // numpy.linalg.eigvalsh
        let matrix = vec![4.0, 2.0, 0.6, 0.1, 2.0, 5.0, 1.0, -1.0, 0.6, 1.0, 3.0, 0.5, 0.1, -1.0, 0.5, 2.0];
        let expected = [1.1748697643721218, 2.6727933453609, 3.18132219767424, 6.971014692592736];
        for (found, expected) in sorted(eigenvalues(matrix, 4)).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        // numpy.linalg.svd of a matrix of two rows, and of its transpose
        let wide = [1.0, -2.0, 0.5, 3.0, 4.0, -1.0];
        let tall = [1.0, 3.0, -2.0, 4.0, 0.5, -1.0];
        for (matrix, columns) in [(wide, 3), (tall, 2)] {
            let found = largest_singular_value(&matrix, columns);
            assert!((found - 5.231413183121265).abs() < 1e-12, "{found}");
        }
    }

    proptest! {
        #[test]
        fn trace_and_squares_are_kept(values in prop::collection::vec(-3.0..3.0_f64, 36)) {
            let symmetric: Vec<f64> = (0..36).map(|at| values[at] + values[at % 6 * 6 + at / 6]).collect();
            let found = eigenvalues(symmetric.clone(), 6);
            let trace: f64 = symmetric.iter().step_by(7).sum();
            let squares: f64 = symmetric.iter().map(|v| v * v).sum();
            prop_assert!((found.iter().sum::<f64>() - trace).abs() < 1e-9);
            prop_assert!((found.iter().map(|v| v * v).sum::<f64>() - squares).abs() < 1e-9);
        }
    }
}
