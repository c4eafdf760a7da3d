//! Rank correlations, with ties.

use std::cmp::Ordering;

/// Spearman's rho: Pearson's correlation of the ranks, ties sharing their mean rank. `-inf` ranks lowest.
///
/// `None` where it is not defined: fewer than two pairs, or one side constant.
///
/// # Panics
/// Where the two sides differ in length.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "pairs");
    let (x, y) = (ranks(x), ranks(y));
    let mean = (x.len() as f64 + 1.0) / 2.0;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let scale = (dot(&x, &x) * dot(&y, &y)).sqrt();
    (scale > 0.0).then(|| dot(&x, &y) / scale)
}

/// Kendall's tau-b: concordant minus discordant pairs, over the pairs that could be either, corrected for ties.
/// Knight's algorithm, `n log n`. `-inf` ranks lowest.
///
/// `None` where it is not defined: fewer than two pairs, or one side constant.
///
/// # Panics
/// Where the two sides differ in length.
pub fn kendall(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "pairs");
    let mut pairs: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = choose_two(pairs.len());
    let tied_x = tied(&pairs, |a, b| a.0 == b.0);
    let tied_both = tied(&pairs, |a, b| a == b);
    let mut y: Vec<f64> = pairs.into_iter().map(|(_, y)| y).collect();
    let discordant = sort_counting_swaps(&mut y);
    let tied_y = tied(&y, |a, b| a == b);
    let scale = ((all - tied_x) as f64 * (all - tied_y) as f64).sqrt();
    let concordant_minus_discordant = (all + tied_both) as f64 - (tied_x + tied_y) as f64 - 2.0 * discordant as f64;
    (scale > 0.0).then(|| concordant_minus_discordant / scale)
}

/// Ranks from 1, ties sharing their mean.
pub(crate) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let mean = before as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|&i| ranks[i] = mean);
        before += group.len();
    }
    ranks
}

/// Number of pairs inside the runs of equal items.
fn tied<T>(sorted: &[T], equal: impl Fn(&T, &T) -> bool) -> u64 {
    sorted.chunk_by(equal).map(|run| choose_two(run.len())).sum()
}

fn choose_two(n: usize) -> u64 {
    let n = n as u64;
    n * n.saturating_sub(1) / 2
}

/// Merge sort that returns the number of pairs that stood in the wrong order.
fn sort_counting_swaps(values: &mut [f64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let (left, right) = values.split_at_mut(values.len() / 2);
    let mut swaps = sort_counting_swaps(left) + sort_counting_swaps(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        if right[j].total_cmp(&left[i]) == Ordering::Less {
            swaps += (left.len() - i) as u64;
            merged.push(right[j]);
            j += 1;
        } else {
            merged.push(left[i]);
            i += 1;
        }
    }
    merged.extend_from_slice(&left[i..]);
    merged.extend_from_slice(&right[j..]);
    values.copy_from_slice(&merged);
    swaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const X: [f64; 10] = [1.0, 2.5, 2.5, -3.0, 7.0, 0.0, 9.0, 7.0, 2.5, 11.0];
    const Y: [f64; 10] = [4.0, 2.0, 5.0, -1.0, 5.0, 3.0, 8.0, 5.0, 1.0, 6.0];

    fn close(got: Option<f64>, expected: f64) {
        let got = got.expect("defined");
        assert!((got - expected).abs() < 1e-12, "{got} is not {expected}");
    }

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.spearmanr(X, Y).statistic, kendalltau(X, Y).statistic
        close(spearman(&X, &Y), 0.828_664_457_189_214_6);
        close(kendall(&X, &Y), 0.698_845_904_432_225_8);
    }

    #[test]
    fn minus_infinity_ranks_lowest() {
        let singular = [f64::NEG_INFINITY, f64::NEG_INFINITY, 1.0, 2.0];
        let lowest = [-9.0, -9.0, 1.0, 2.0];
        let accuracy = [10.0, 12.0, 90.0, 80.0];
        assert_eq!(spearman(&singular, &accuracy), spearman(&lowest, &accuracy));
        assert_eq!(kendall(&singular, &accuracy), kendall(&lowest, &accuracy));
    }

    #[test]
    fn undefined_without_two_different_values() {
        for f in [spearman, kendall] {
            assert_eq!(f(&[], &[]), None);
            assert_eq!(f(&[1.0], &[2.0]), None);
            assert_eq!(f(&[1.0, 1.0, 1.0], &[2.0, 3.0, 4.0]), None);
            assert_eq!(f(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), Some(1.0));
            assert_eq!(f(&[1.0, 2.0, 3.0], &[6.0, 5.0, 4.0]), Some(-1.0));
        }
    }

    proptest! {
        /// The definition of tau-b, pair by pair.
        #[test]
        fn kendall_counts_pairs(pairs in prop::collection::vec((0..6_i32, 0..6_i32), 2..40)) {
            let x: Vec<f64> = pairs.iter().map(|p| f64::from(p.0)).collect();
            let y: Vec<f64> = pairs.iter().map(|p| f64::from(p.1)).collect();
            let (mut balance, mut differ_x, mut differ_y) = (0_i32, 0_i32, 0_i32);
            for (i, a) in pairs.iter().enumerate() {
                for b in &pairs[..i] {
                    let (dx, dy) = ((a.0 - b.0).signum(), (a.1 - b.1).signum());
                    balance += dx * dy;
                    differ_x += dx.abs();
                    differ_y += dy.abs();
                }
            }
            let scale = f64::from(differ_x).sqrt() * f64::from(differ_y).sqrt();
            match kendall(&x, &y) {
                None => prop_assert_eq!(scale, 0.0),
                Some(tau) => prop_assert!((tau - f64::from(balance) / scale).abs() < 1e-12),
            }
        }
    }
}
