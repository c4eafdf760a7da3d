//! What is drawn from a seed: every name has a stream of random numbers of its own.

use std::collections::HashMap;

use crate::{DropPath, Graph, Init};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::layers::Tensor;
use super::{Tensors, round};

/// Uniform in [0, 1), multiples of 2^-24: ChaCha8 of the seed, in the stream that the name's FNV-1a hash numbers.
fn stream(seed: u64, name: &str) -> impl FnMut() -> f64 + use<> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, hash));
    move || f64::from(rng.next_u32() >> 8) / f64::from(1 << 24)
}

/// A new network's weights and running statistics.
pub(super) fn initial(graph: &Graph, seed: u64) -> Tensors {
    let mut streams = HashMap::new();
    let mut tensors = Tensors::new();
    for parameter in graph.parameters() {
        let len = parameter.shape.iter().product();
        let data = match parameter.init {
            Init::Ones => vec![1.0; len],
            Init::Zeros => vec![0.0; len],
            Init::Uniform(weight) => {
                let draw = streams.entry(&weight.stream).or_insert_with(|| stream(seed, &weight.stream));
                let bound = 1.0 / (weight.fan_in as f64).sqrt();
                (0..len).map(|_| round((2.0 * draw() - 1.0) * bound)).collect()
            }
        };
        tensors.insert(parameter.name, Tensor { shape: parameter.shape, data });
    }
    for (name, channels) in graph.statistics() {
        let start = if name.ends_with(".running_var") { 1.0 } else { 0.0 };
        tensors.insert(name, Tensor::vector(vec![start; channels]));
    }
    tensors
}

/// What the output of an operation is multiplied by, for each of `n` samples. `layer`: the name of the layer that makes
/// the output.
pub(super) fn path_factors(DropPath { rate, seed }: DropPath, layer: &str, n: usize) -> Vec<f64> {
    let rate = f64::from(rate);
    let mut draw = stream(seed, layer);
    (0..n).map(|_| if draw() < rate { 0.0 } else { 1.0 / (1.0 - rate) }).collect()
}
