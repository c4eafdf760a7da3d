//! What is drawn from a seed: every name has a stream of random numbers of its own.

use hpe_darts_engine::DropPath;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Uniform in [0, 1), multiples of 2^-24: ChaCha8 of the seed, in the stream that the name's FNV-1a hash numbers.
fn stream(seed: u64, name: &str) -> impl FnMut() -> f64 + use<> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, hash));
    move || f64::from(rng.next_u32() >> 8) / f64::from(1 << 24)
}

/// What the output of an operation is multiplied by, for each of `n` samples. `layer`: the name of the layer that makes
/// the output.
pub(super) fn path_factors(DropPath { rate, seed }: DropPath, layer: &str, n: usize) -> Vec<f64> {
    let rate = f64::from(rate);
    let mut draw = stream(seed, layer);
    (0..n).map(|_| if draw() < rate { 0.0 } else { 1.0 / (1.0 - rate) }).collect()
}
