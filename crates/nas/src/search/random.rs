use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// What the search itself draws. Weights, order and augmentation have generators of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Initial values of alpha.
    Alpha,
    /// Whatever a strategy draws in a step.
    Step,
    /// Images of a sweep over the operations.
    Sweep,
}

/// The generator of a purpose, epoch and place in it. It has no history: to go on after a resume, the position is enough.
pub(super) fn generator(seed: u64, purpose: Purpose, epoch: usize, place: u64) -> ChaCha8Rng {
    let tag = match purpose {
        Purpose::Alpha => b"alpha\0\0\0",
        Purpose::Step => b"step\0\0\0\0",
        Purpose::Sweep => b"sweep\0\0\0",
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(tag);
    key[16..24].copy_from_slice(&(epoch as u64).to_le_bytes());
    key[24..].copy_from_slice(b"hpe-srch");
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(place);
    rng
}
