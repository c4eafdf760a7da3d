use rand_chacha::ChaCha8Rng;

use super::domain::Choice;
use crate::random::{below, unit};

/// Kernel density of categorical variables: a mean over the data of products of Aitchison-Aitken kernels, `1 - h` for the same
/// category and `h / (c - 1)` for each of the `c - 1` others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Kde {
    categories: Vec<usize>,
    data: Vec<Choice>,
    bandwidth: Vec<f64>,
}

impl Kde {
    /// Of at least one point. The bandwidth of a variable is `1.06 * std * n^(-1 / (4 + d))` with the standard deviation of its category numbers,
    /// the normal reference rule that HpBandSter takes from statsmodels; at least `min_bandwidth`, and at most `(c - 1) / c`, where the
    /// kernel is uniform.
    pub(super) fn fit(data: Vec<Choice>, categories: &[usize], min_bandwidth: f64) -> Self {
        let n = data.len() as f64;
        let scale = 1.06 * n.powf(-1.0 / (4.0 + categories.len() as f64));
        let of = |(variable, &c): (usize, &usize)| {
            let values = || data.iter().map(|choice| choice[variable] as f64);
            let mean = values().sum::<f64>() / n;
            let std = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            (scale * std).max(min_bandwidth).min((c - 1) as f64 / c as f64)
        };
        let bandwidth = categories.iter().enumerate().map(of).collect();
        Self { categories: categories.to_vec(), data, bandwidth }
    }

    /// Density at a choice; all choices together have 1.
    pub(super) fn density(&self, choice: &Choice) -> f64 {
        let kernel = |point: &Choice| -> f64 {
            let variables = point.iter().zip(choice).zip(self.bandwidth.iter().zip(&self.categories));
            variables.map(|((a, b), (h, &c))| if a == b { 1.0 - h } else { h / (c - 1) as f64 }).product()
        };
        self.data.iter().map(kernel).sum::<f64>() / self.data.len() as f64
    }

    /// A point of the data, of which each variable is drawn anew with the probability that is its bandwidth.
    pub(super) fn sample(&self, rng: &mut ChaCha8Rng) -> Choice {
        let point = &self.data[below(rng, self.data.len())];
        let variables = point.iter().zip(self.bandwidth.iter().zip(&self.categories));
        variables.map(|(&own, (&h, &c))| if unit(rng) < 1.0 - h { own } else { below(rng, c) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, generator};

    fn kde() -> Kde {
        let data = vec![vec![0, 2, 1], vec![0, 2, 0], vec![1, 3, 1], vec![4, 2, 0]];
        Kde::fit(data, &[5, 4, 2], 0.3)
    }

    #[test]
    fn bandwidth_and_density_agree_with_python() {
        // The formulas of the comments above, in Python; the standard deviations with divisor n.
        let kde = kde();
        for (h, expected) in kde.bandwidth.iter().zip([0.8, 0.376_528_566_700_337_9, 0.434_777_738_684_048_1]) {
            assert!((h - expected).abs() < 1e-12, "{h} is not {expected}");
        }
        for (choice, expected) in
            [(vec![0, 2, 1], 0.048_274_185_458_863_215), (vec![3, 0, 0], 0.012_550_952_223_344_597)]
        {
            let density = kde.density(&choice);
            assert!((density - expected).abs() < 1e-12, "{density} is not {expected}");
        }
    }

    #[test]
    fn the_density_sums_to_one() {
        let all = (0..40).map(|i| vec![i / 8, i / 2 % 4, i % 2]);
        let sum: f64 = all.map(|choice| kde().density(&choice)).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }

    #[test]
    fn a_variable_that_never_varies_is_still_drawn_anew() {
        let kde = Kde::fit(vec![vec![1, 0]; 7], &[5, 1], 0.3);
        assert_eq!(kde.bandwidth, [0.3, 0.0]);
        let mut rng = generator(2, Purpose::Trial, 0, 0);
        let other = (0..10_000).filter(|_| kde.sample(&mut rng)[0] != 1).count();
        // 0.3 * 4/5 of 10,000, five standard deviations of 43.
        assert!((2400 - 215..2400 + 215).contains(&other), "{other}");
        assert!((kde.density(&vec![1, 0]) - 0.7).abs() < 1e-12);
    }
}
