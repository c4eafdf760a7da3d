//! Random streams of the data pipeline.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// What randomness is used for. Each purpose has a generator of its own, so none shifts another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Order,
    Augmentation,
    Split,
    Subset,
}

/// The generator of (seed, purpose, stream, epoch).
pub(super) fn generator(seed: u64, purpose: Purpose, stream: u64, epoch: u64) -> ChaCha8Rng {
    let tag = match purpose {
        Purpose::Order => b"order\0\0\0",
        Purpose::Augmentation => b"augment\0",
        Purpose::Split => b"split\0\0\0",
        Purpose::Subset => b"subset\0\0",
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(tag);
    key[16..24].copy_from_slice(&stream.to_le_bytes());
    key[24..].copy_from_slice(b"hpe-data");
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(epoch);
    rng
}

/// A number in `0..n`; the bias of the multiplication is below `n / 2^64`.
pub(super) fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Fisher-Yates.
pub(super) fn shuffle(rng: &mut ChaCha8Rng, items: &mut [u32]) {
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
