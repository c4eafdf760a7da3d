//! Whether two methods differ by more than chance: rank tests, exact for the numbers of seeds that searches have.
//!
//! Both condition on the values that were seen, so that equal values (several seeds that find the same cell) are counted for what they
//! are: the p-value is that of all ways to give out the signs, or the seeds, that would have been as likely. No crate that is
//! maintained does that with equal values.

use serde::Serialize;

use crate::proxy::correlation::ranks;

/// Pairs up to which the signed-rank distribution is counted out.
const EXACT_PAIRS: usize = 500;

/// The same for the rank-sum test: the product of the numbers of values.
const EXACT_PRODUCT: usize = 2_500;

/// Which test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Wilcoxon's signed-rank test of pairs (Wilcoxon, 1945); pairs without a difference are left out.
    SignedRank,
    /// The test of Mann and Whitney (1947), for values that are no pairs.
    RankSum,
}

impl Kind {
    /// For people.
    pub fn description(self) -> &'static str {
        match self {
            Self::SignedRank => "Wilcoxon signed-rank, paired by seed",
            Self::RankSum => "Mann-Whitney U",
        }
    }
}

/// What a test says of the hypothesis that there is no difference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Test {
    /// Which one.
    pub kind: Kind,
    /// Two-sided p-value: twice the smaller of the one-sided ones, at most 1.
    pub p: f64,
    /// The smallest p-value that so many values, with the ties they have, could have given.
    pub smallest_p: f64,
    /// Whether the distribution was counted out; else the normal approximation, corrected for ties and continuity.
    pub exact: bool,
}

/// Wilcoxon's test of differences of pairs; `None` without a pair.
pub fn signed_rank(differences: &[f64]) -> Option<Test> {
    if differences.is_empty() {
        return None;
    }
    let kept: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let ranks = doubled_ranks(&kept.iter().map(|d| d.abs()).collect::<Vec<_>>());
    let positive: usize = kept.iter().zip(&ranks).filter(|(d, _)| **d > 0.0).map(|(_, r)| r).sum();
    let exact = kept.len() <= EXACT_PAIRS;
    let (p, smallest_p) = if exact {
        let distribution = signs(&ranks);
        (two_sided(&distribution, positive), two_sided(&distribution, 0))
    } else {
        // Of doubled ranks, whose squares' sum holds the correction for ties.
        let mean = ranks.iter().sum::<usize>() as f64 / 2.0;
        let variance = ranks.iter().map(|&r| (r as f64).powi(2)).sum::<f64>() / 4.0;
        (normal(positive as f64, mean, variance), normal(0.0, mean, variance))
    };
    Some(Test { kind: Kind::SignedRank, p, smallest_p, exact })
}

/// The test of Mann and Whitney; `None` where there is no value on a side.
pub fn rank_sum(one: &[f64], other: &[f64]) -> Option<Test> {
    if one.is_empty() || other.is_empty() {
        return None;
    }
    let pooled: Vec<f64> = one.iter().chain(other).copied().collect();
    let mut ranks = doubled_ranks(&pooled);
    let (n, all) = (one.len(), pooled.len());
    let sum: usize = ranks[..n].iter().sum();
    let exact = n * other.len() <= EXACT_PRODUCT;
    let (p, smallest_p) = if exact {
        let distribution = subsets(&ranks, n);
        let possible: Vec<usize> = (0..distribution.len()).filter(|&s| distribution[s] > 0.0).collect();
        let ends = [possible.first(), possible.last()].into_iter().flatten();
        let smallest = ends.map(|&end| two_sided(&distribution, end)).fold(1.0, f64::min);
        (two_sided(&distribution, sum), smallest)
    } else {
        let mean = (n * (all + 1)) as f64;
        let spread: f64 = ranks.iter().map(|&r| (r as f64 - (all + 1) as f64).powi(2)).sum();
        let variance = spread * (n * other.len()) as f64 / (all * (all - 1)) as f64;
        ranks.sort_unstable();
        let least: usize = ranks[..n].iter().sum();
        (normal(sum as f64, mean, variance), normal(least as f64, mean, variance))
    };
    Some(Test { kind: Kind::RankSum, p, smallest_p, exact })
}

/// Holm's step-down correction for several comparisons (Holm, 1979), in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![1.0; p.len()];
    let mut largest: f64 = 0.0;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p[i] * (p.len() - rank) as f64).min(1.0));
        corrected[i] = largest;
    }
    corrected
}

/// Twice the rank of every value from 1 on; equal values share the mean of theirs, which is then a whole number.
fn doubled_ranks(values: &[f64]) -> Vec<usize> {
    ranks(values).into_iter().map(|rank| (2.0 * rank) as usize).collect()
}

/// Probability of every sum of ranks, each of which counts or not with equal chance.
fn signs(ranks: &[usize]) -> Vec<f64> {
    let mut p = vec![0.0; ranks.iter().sum::<usize>() + 1];
    p[0] = 1.0;
    let mut reach = 0;
    for &rank in ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= rank { p[sum - rank] } else { 0.0 };
            p[sum] = (p[sum] + with) / 2.0;
        }
    }
    p
}

/// Probability of every sum of `n` of the ranks, all choices with equal chance.
fn subsets(ranks: &[usize], n: usize) -> Vec<f64> {
    let most: usize = ranks.iter().sum();
    let mut ways = vec![vec![0.0; most + 1]; n + 1];
    ways[0][0] = 1.0;
    for &rank in ranks {
        for k in (1..=n).rev() {
            for sum in (rank..=most).rev() {
                let with = ways[k - 1][sum - rank];
                ways[k][sum] += with;
            }
        }
    }
    let all: f64 = ways[n].iter().sum();
    ways[n].iter().map(|w| w / all).collect()
}

fn two_sided(distribution: &[f64], at: usize) -> f64 {
    let below: f64 = distribution[..=at].iter().sum();
    let above: f64 = distribution[at..].iter().sum();
    (2.0 * below.min(above)).min(1.0)
}

/// Two-sided tail of doubled ranks, of which a step is 1: half of one is the continuity correction.
fn normal(at: f64, mean: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let z = ((at - mean).abs() - 1.0).max(0.0) / variance.sqrt();
    libm::erfc(z / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Fixture {
        signed_rank: Vec<Paired>,
        rank_sum: Vec<Unpaired>,
        holm: Vec<Corrected>,
    }

    #[derive(Deserialize)]
    struct Paired {
        differences: Vec<f64>,
        p: f64,
        exact: bool,
    }

    #[derive(Deserialize)]
    struct Unpaired {
        one: Vec<f64>,
        other: Vec<f64>,
        p: f64,
        exact: bool,
    }

    #[derive(Deserialize)]
    struct Corrected {
        p: Vec<f64>,
        corrected: Vec<f64>,
    }

    /// Made by `tests/fixtures/make_significance.py` with scipy.
    fn fixture() -> Fixture {
        serde_json::from_str(include_str!("../../tests/fixtures/significance.json")).unwrap()
    }

    #[test]
    fn p_values_are_those_of_scipy() {
        let Fixture { signed_rank: paired, rank_sum: unpaired, holm: corrected } = fixture();
        assert!(paired.len() > 10 && unpaired.len() > 10 && corrected.len() > 2);
        for Paired { differences, p, exact } in paired {
            let test = signed_rank(&differences).unwrap();
            assert_eq!(test.exact, exact);
            assert!((test.p - p).abs() < 1e-10 * p.max(1e-3), "{differences:?}: {} for {p}", test.p);
        }
        for Unpaired { one, other, p, exact } in unpaired {
            let test = rank_sum(&one, &other).unwrap();
            assert_eq!(test.exact, exact);
            assert!((test.p - p).abs() < 1e-10 * p.max(1e-3), "{one:?} {other:?}: {} for {p}", test.p);
            assert!((rank_sum(&other, &one).unwrap().p - test.p).abs() < 1e-12);
        }
        for Corrected { p, corrected } in corrected {
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
            assert!(holm(&p).iter().zip(&corrected).all(close), "{p:?}: {:?} for {corrected:?}", holm(&p));
        }
    }

    #[test]
    fn few_seeds_cannot_be_significant() {
        let smallest = |n: usize| signed_rank(&vec![1.0; n]).unwrap();
        assert_eq!([1, 2, 3, 5, 6].map(|n| smallest(n).smallest_p), [1.0, 0.5, 0.25, 0.0625, 0.03125]);
        assert_eq!(smallest(6).p, 0.03125);
        // A pair without a difference says nothing.
        let test = signed_rank(&[0.0, 0.0, 1.0, 2.0]).unwrap();
        assert_eq!((test.p, test.smallest_p), (0.5, 0.5));
        let none = signed_rank(&[0.0; 3]).unwrap();
        assert_eq!((none.p, none.smallest_p), (1.0, 1.0));
        let apart = rank_sum(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]).unwrap();
        assert!((apart.p - 0.1).abs() < 1e-12 && (apart.smallest_p - 0.1).abs() < 1e-12);
        let equal = rank_sum(&[1.0; 3], &[1.0; 3]).unwrap();
        assert_eq!((equal.p, equal.smallest_p), (1.0, 1.0));
        assert_eq!((signed_rank(&[]), rank_sum(&[1.0], &[])), (None, None));
    }
}
