use rand_core::Rng;

use crate::{random, supernet::PerOp};

/// Drops `skip_connect` at random while training, so that it does not crowd the others out.
///
/// The mixing weights are all an engine takes, so what is dropped is the whole operation on one edge in all cells for one
/// step, with `w / (1 - p)` in the steps where it stays. (VP-DARTS drops single activations; the mean is the same.)
#[derive(Clone, Copy, Debug)]
pub struct SkipDropout {
    /// Column of `skip_connect`.
    pub op: usize,
    /// Probability `p` of dropping, in `[0, 1)`.
    pub probability: f64,
}

impl SkipDropout {
    /// Factors on `w: [E, O]` for one step; `None` where nothing is ever dropped.
    pub fn draw(&self, (edges, ops): (usize, usize), rng: &mut impl Rng) -> Option<PerOp<f64>> {
        if self.probability == 0.0 {
            return None;
        }
        let mut factors = PerOp::filled(edges, ops, 1.0);
        for edge in 0..edges {
            factors[(edge, self.op)] =
                if random::unit(rng) < self.probability { 0.0 } else { 1.0 / (1.0 - self.probability) };
        }
        Some(factors)
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn skip_connect_alone_is_dropped_and_keeps_its_mean() {
        let dropout = SkipDropout { op: 1, probability: 0.2 };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut sum = 0.0;
        for _ in 0..2000 {
            let factors = dropout.draw((6, 5), &mut rng).unwrap();
            for at in factors.places() {
                match at.1 {
                    1 => assert!(factors[at] == 0.0 || factors[at] == 1.25),
                    _ => assert_eq!(factors[at], 1.0),
                }
            }
            sum += (0..6).map(|edge| factors[(edge, 1)]).sum::<f64>();
        }
        // 12,000 draws of variance 0.25: five standard errors.
        assert!((sum / 12_000.0 - 1.0).abs() < 0.023, "{sum}");
        assert_eq!(SkipDropout { op: 1, probability: 0.0 }.draw((6, 5), &mut rng), None);
    }
}
