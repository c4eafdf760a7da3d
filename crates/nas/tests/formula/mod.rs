//! Numbers that the scripts in `pytorch/` make by the same formula.

use engine::Engine;

/// FNV-1a of the key, then murmur3's finaliser; in [-1, 1).
pub(crate) fn uniform(key: &str, position: usize) -> f64 {
    let seed = key.bytes().fold(0x811C_9DC5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let mut h = (position as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed);
    h = (h ^ (h >> 16)).wrapping_mul(0x85EB_CA6B);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE35);
    h ^= h >> 16;
    f64::from(h >> 8) / f64::from(1 << 23) - 1.0
}

/// Weights of a network: of a convolution or a layer by their number of inputs, of a normalisation around what they are at first.
pub(crate) fn fill(network: &mut dyn Engine, case: &str) {
    let mut state = network.state();
    for tensor in state.iter_mut().filter(|t| !t.name.starts_with("momentum.")) {
        let (centre, spread) = match &tensor.shape[..] {
            [_] if tensor.name.ends_with("running_var") => (1.0, 0.5),
            [_] if tensor.name.ends_with("weight") => (1.0, 0.25),
            [_] => (0.0, 0.25),
            [_, fan_in @ ..] => (0.0, 1.0 / (fan_in.iter().product::<usize>() as f64).sqrt()),
            [] => unreachable!("no scalars"),
        };
        let key = format!("{}/{}", case, tensor.name);
        tensor.data.iter_mut().enumerate().for_each(|(i, v)| *v = (centre + spread * uniform(&key, i)) as f32);
    }
    network.load_state(&state).unwrap();
}
