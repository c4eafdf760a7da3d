//! Random streams, keyed by what they are for and where: a position is all that has to be saved of them.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What randomness is used for. Each purpose has a generator of its own, so none shifts another. (The weights of a network are
/// the engine's.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The order of images; by stream and epoch.
    Order,
    /// Random changes of images; by stream and epoch.
    Augmentation,
    /// The halves of the training images (0, 0); test images that are drawn out of a class (1, class).
    Split,
    /// A part of some images.
    Subset,
    /// Initial values of alpha.
    Alpha,
    /// Whatever a strategy draws in a step; by epoch and step.
    Step,
    /// Paths that are dropped while a network is trained; by epoch and step.
    DropPath,
    /// Channels that are copied where a supernet is widened; by phase.
    Widening,
    /// Images of a sweep over the operations; by epoch and number of the sweep.
    Sweep,
    /// Whatever a black-box method draws; by number of the trial from 1, 0 is for initial values.
    Trial,
    /// Directions in which a network is probed.
    Probe,
}

/// The generator of a purpose at a place of two coordinates.
pub(crate) fn generator(seed: u64, purpose: Purpose, first: u64, second: u64) -> ChaCha8Rng {
    let (tag, domain) = match purpose {
        Purpose::Order => (b"order\0\0\0", b"hpe-data"),
        Purpose::Augmentation => (b"augment\0", b"hpe-data"),
        Purpose::Split => (b"split\0\0\0", b"hpe-data"),
        Purpose::Subset => (b"subset\0\0", b"hpe-data"),
        Purpose::Alpha => (b"alpha\0\0\0", b"hpe-srch"),
        Purpose::Step => (b"step\0\0\0\0", b"hpe-srch"),
        Purpose::Widening => (b"widening", b"hpe-srch"),
        Purpose::DropPath => (b"droppath", b"hpe-trai"),
        Purpose::Sweep => (b"sweep\0\0\0", b"hpe-srch"),
        Purpose::Trial => (b"trial\0\0\0", b"hpe-blbx"),
        Purpose::Probe => (b"probe\0\0\0", b"hpe-prox"),
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(tag);
    key[16..24].copy_from_slice(&first.to_le_bytes());
    key[24..].copy_from_slice(domain);
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(second);
    rng
}

/// Uniform in `[0, 1)`, 53 bits.
pub(crate) fn unit(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Uniform in `(0, 1)`, 52 bits: neither end, so that logarithms of it and of 1 minus it are finite.
pub(crate) fn open_unit(rng: &mut impl Rng) -> f64 {
    ((rng.next_u64() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// Standard normal: Box-Muller on 53-bit uniform numbers in `(0, 1]`.
pub(crate) fn standard_normal(rng: &mut impl Rng) -> f64 {
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let radius = (-2.0 * uniform().ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}

/// A number in `0..n`; the bias of the multiplication is below `n / 2^64`.
pub(crate) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Fisher-Yates.
pub(crate) fn shuffle(rng: &mut ChaCha8Rng, items: &mut [u32]) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_in_every_coordinate_and_repeat() {
        let draw = |seed, purpose, stream, epoch| generator(seed, purpose, stream, epoch).next_u64();
        let first = draw(1, Purpose::Order, 0, 0);
        assert_eq!(first, draw(1, Purpose::Order, 0, 0));
        for other in [
            draw(2, Purpose::Order, 0, 0),
            draw(1, Purpose::Augmentation, 0, 0),
            draw(1, Purpose::Order, 1, 0),
            draw(1, Purpose::Order, 0, 1),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn shuffles_are_uniform_enough() {
        // 6 orders of 3 items, 6,000 shuffles: each 1,000 +- 5 standard deviations (29 each).
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = generator(7, Purpose::Order, 0, 0);
        for _ in 0..6000 {
            let mut items = [0, 1, 2];
            shuffle(&mut rng, &mut items);
            *counts.entry(items).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|n| (855..=1145).contains(n)), "{counts:?}");
    }
}
