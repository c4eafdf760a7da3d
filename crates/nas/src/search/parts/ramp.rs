use serde::{Deserialize, Serialize};

/// A number that goes linearly from the first epoch's value to the last one's. Written `[first, last]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ramp(pub f64, pub f64);

impl Ramp {
    /// In an epoch, counted from 0, of `epochs`.
    pub fn at(self, epoch: usize, epochs: usize) -> f64 {
        let Self(first, last) = self;
        match epochs.saturating_sub(1) {
            0 => first,
            // Exact at both ends.
            steps if epoch >= steps => last,
            steps => first + (last - first) * epoch as f64 / steps as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_linear_and_exact_at_its_ends() {
        let ramp = Ramp(10.0, 0.1);
        assert_eq!([0, 249].map(|epoch| ramp.at(epoch, 250)), [10.0, 0.1]);
        assert!((ramp.at(1, 3) - 5.05).abs() < 1e-12);
        assert_eq!(ramp.at(0, 1), 10.0);
    }
}
