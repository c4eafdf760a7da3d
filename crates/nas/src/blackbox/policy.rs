use rand_chacha::ChaCha8Rng;

use super::domain::{Choice, Domain};
use crate::random::{standard_normal, unit};

/// Logits of a categorical distribution for each variable, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    /// `[sum of categories]`.
    pub(super) logits: Vec<f64>,
    categories: Vec<usize>,
}

impl Policy {
    /// With logits drawn from a normal distribution.
    pub(super) fn normal(domain: &Domain, std: f64, rng: &mut ChaCha8Rng) -> Self {
        let categories: Vec<usize> = domain.variables().iter().map(|v| v.categories).collect();
        let logits = (0..categories.iter().sum()).map(|_| std * standard_normal(rng)).collect();
        Self { logits, categories }
    }

    /// The logits of each variable.
    fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.categories.iter().scan(0, |first, &n| {
            *first += n;
            Some(&self.logits[*first - n..*first])
        })
    }

    /// A category of each variable, drawn by its probability.
    pub(super) fn sample(&self, rng: &mut ChaCha8Rng) -> Choice {
        let drawn = |row: &[f64]| {
            let (mut left, p) = (unit(rng), softmax(row));
            let found = p.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            // Rounding may leave a rest.
            found.unwrap_or(p.len() - 1)
        };
        self.rows().map(drawn).collect()
    }

    /// The most probable category of each variable, the first among equals.
    pub(super) fn mode(&self) -> Choice {
        let largest = |row: &[f64]| (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        self.rows().map(largest).collect()
    }

    /// `log p(choice)`.
    #[cfg(test)]
    fn log_probability(&self, choice: &Choice) -> f64 {
        self.rows().zip(choice).map(|(row, &c)| softmax(row)[c].ln()).sum()
    }

    /// Gradient of `-advantage * log p(choice)` by the logits: `advantage * (p - onehot)`.
    pub(super) fn gradient(&self, choice: &Choice, advantage: f64) -> Vec<f64> {
        let of = |(row, &chosen): (&[f64], &usize)| {
            let hot = move |i: usize| f64::from(u8::from(i == chosen));
            softmax(row).into_iter().enumerate().map(move |(i, p)| advantage * (p - hot(i))).collect::<Vec<_>>()
        };
        self.rows().zip(choice).flat_map(of).collect()
    }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = row.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.into_iter().map(|e| e / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        random::{Purpose, generator},
        space::Darts,
    };

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        let mut rng = generator(5, Purpose::Trial, 0, 0);
        let policy = Policy::normal(&Domain::new(&Darts::Original), 1.0, &mut rng);
        let (choice, advantage, step) = (policy.sample(&mut rng), -3.7, 1e-5);
        let gradient = policy.gradient(&choice, advantage);
        assert_eq!(gradient.len(), policy.logits.len());
        for (i, g) in gradient.iter().enumerate() {
            let loss = |by: f64| {
                let mut moved = policy.clone();
                moved.logits[i] += by;
                -advantage * moved.log_probability(&choice)
            };
            let numeric = (loss(step) - loss(-step)) / (2.0 * step);
            assert!((g - numeric).abs() < 1e-8, "logit {i}: {g} is not {numeric}");
        }
    }

    #[test]
    fn samples_follow_the_probabilities_and_the_mode_is_the_largest() {
        let mut rng = generator(6, Purpose::Trial, 0, 0);
        let policy = Policy { logits: vec![0.0, 1.0, 0.5, 2.0, 2.0], categories: vec![3, 2] };
        assert_eq!(policy.mode(), [1, 0]);
        let mut counts = [0; 3];
        (0..10_000).for_each(|_| counts[policy.sample(&mut rng)[0]] += 1);
        // e^x / (1 + e + e^0.5) of 10,000, within five standard deviations of at most 50.
        for (count, expected) in counts.iter().zip([1863.0, 5065.0, 3072.0]) {
            assert!((f64::from(*count) - expected).abs() < 250.0, "{counts:?}");
        }
    }
}
