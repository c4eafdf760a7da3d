//! AZ-NAS: four training-free measures, ranked among networks and put together (Lee & Ham 2024, arXiv 2403.19232).

use engine::{
    EngineError, Part, ValueId,
    reference::{Map, Reference, Stats},
};
use rand_core::Rng;

use super::{Candidate, Composite, Proxy, Score, correlation::ranks};
use crate::{
    eigen::{eigenvalues, largest_singular_value},
    random::{Purpose, generator},
};

/// Expressivity, progressivity and trainability of the cells' outputs, and the number of multiply-adds. What a network scores
/// depends on those that it is compared with; alone it scores 0.
#[derive(Clone, Copy, Debug)]
pub struct AzNas;

impl Proxy for AzNas {
    fn name(&self) -> &'static str {
        "az-nas"
    }

    fn description(&self) -> &'static str {
        "sum of log(rank/n) of expressivity, progressivity, trainability and FLOPs among n networks (Lee & Ham 2024)"
    }

    fn needs_images(&self) -> bool {
        true
    }

    fn score(&self, _candidate: &Candidate<'_>) -> Result<Score, EngineError> {
        Ok(Score::of(0.0))
    }

    fn composite(&self) -> Option<&dyn Composite> {
        Some(self)
    }
}

impl Composite for AzNas {
    fn measure(&self, candidate: &Candidate<'_>) -> Result<Vec<f64>, EngineError> {
        let mut rng = generator(candidate.seed, Purpose::Probe, 0, 0);
        let mut sign = || if rng.next_u32() >> 31 == 0 { 1.0 } else { -1.0 };
        let of_cells = candidate.in_f64(|network, w| measures(network, candidate.images, w, &mut sign))?;
        Ok([&of_cells[..], &[candidate.cost.flops_m()]].concat())
    }

    fn combine(&self, measured: &[Vec<f64>]) -> Vec<f64> {
        let mut sums = vec![0.0; measured.len()];
        for i in 0..measured.first().map_or(0, Vec::len) {
            let of: Vec<f64> = measured.iter().map(|m| m[i]).collect();
            let share = |rank: f64| rank / measured.len() as f64;
            sums.iter_mut().zip(ranks(&of)).for_each(|(sum, rank)| *sum += share(rank).ln());
        }
        sums
    }
}

/// Expressivity, progressivity and trainability, from the outputs of stem and blocks, normalised by the batch's statistics.
/// `sign`: draws 1 or -1. What is not defined (a block whose output is constant) is `-inf`.
///
/// - expressivity: sum of the entropies of the outputs' normalised principal components;
/// - progressivity: the least increase of that entropy from a block to the next;
/// - trainability: mean of `2 - s - 1/s` over the blocks, s the spectral norm of the mean outer product of a gradient of random
///   signs at a block's output and what comes of it at the output of the block before; `-inf` where they are equal.
pub fn measures(
    network: &Reference<'_>,
    images: &[f32],
    w: &[f64],
    sign: &mut (dyn FnMut() -> f64 + Send),
) -> [f64; 3] {
    let network = Reference { omega: false, ..network.clone() };
    let trace = network.trace(images, w, Stats::Batch);
    let outputs = outputs(&network);
    let entropies: Vec<f64> = outputs.iter().map(|&value| entropy(&trace.values[value])).collect();
    let progressivity = entropies.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let trainability = outputs.windows(2).rev().map(|pair| {
        let out = &trace.values[pair[1]];
        let signs = Map { data: out.data.iter().map(|_| sign()).collect(), ..*out };
        let (back, _) = network.pull_back(&trace, w, (pair[1], signs.data.clone()), pair[0]);
        isometry(&back, &signs)
    });
    let trainability = trainability.sum::<f64>() / (outputs.len() - 1) as f64;
    let defined = |v: f64| if v.is_nan() { f64::NEG_INFINITY } else { v };
    // A constant block makes every difference to it meaningless, not only the least.
    let broken = entropies.iter().any(|e| e.is_nan());
    [entropies.iter().sum(), if broken { f64::NEG_INFINITY } else { progressivity }, trainability].map(defined)
}

/// Outputs of the stem and of each block.
fn outputs(network: &Reference<'_>) -> Vec<ValueId> {
    let layers = &network.graph.layers;
    let ends = |i: &usize| layers.get(i + 1).is_none_or(|next| next.part != layers[*i].part);
    let counts = |part: Part| matches!(part, Part::Stem | Part::Block(_));
    (0..layers.len()).filter(ends).map(|i| &layers[i]).filter(|l| counts(l.part)).map(|l| l.output).collect()
}

/// Entropy of the shares of the principal components in the variance of the channels, in nats.
fn entropy(x: &Map) -> f64 {
    let pixels = (x.n * x.h * x.w) as f64;
    let mut mean = vec![0.0; x.c];
    x.pixels().for_each(|pixel| mean.iter_mut().zip(pixel).for_each(|(m, v)| *m += v / pixels));
    let centred: Vec<f64> = x.pixels().flat_map(|pixel| pixel.iter().zip(&mean).map(|(v, m)| v - m)).collect();
    let components = eigenvalues(mean_outer(&centred, &centred, x.c, x.c), x.c);
    let total: f64 = components.iter().sum();
    components.iter().map(|l| l / total).map(|share| -share * (share + 1e-8).ln()).sum()
}

/// How near to an isometry the way back through a block is: 0 at best.
fn isometry(back: &Map, signs: &Map) -> f64 {
    let unfolded = pixel_unshuffle(back, back.h.div_ceil(signs.h));
    if unfolded.data == signs.data {
        return f64::NEG_INFINITY;
    }
    let s = largest_singular_value(&mean_outer(&unfolded.data, &signs.data, unfolded.c, signs.c), signs.c);
    2.0 - s - 1.0 / (s + 1e-6)
}

/// Mean over the pixels of `a: [pixels, m]` times `b: [pixels, n]`: `[m, n]`.
fn mean_outer(a: &[f64], b: &[f64], m: usize, n: usize) -> Vec<f64> {
    let mut sum = vec![0.0; m * n];
    for (a, b) in a.chunks_exact(m).zip(b.chunks_exact(n)) {
        for (row, a) in sum.chunks_exact_mut(n).zip(a) {
            row.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
        }
    }
    let pixels = (a.len() / m) as f64;
    sum.iter_mut().for_each(|v| *v /= pixels);
    sum
}

/// Squares of `side` pixels become channels, zeros beyond the border.
fn pixel_unshuffle(x: &Map, side: usize) -> Map {
    let (h, w) = (x.h.div_ceil(side), x.w.div_ceil(side));
    let mut data = Vec::with_capacity(x.n * h * w * side * side * x.c);
    for (n, y, x_) in (0..x.n).flat_map(|n| (0..h).flat_map(move |y| (0..w).map(move |x_| (n, y, x_)))) {
        for (y, x_) in (0..side).flat_map(|dy| (0..side).map(move |dx| (y * side + dy, x_ * side + dx))) {
            let pixel = &x.sample(n)[(y.min(x.h - 1) * x.w + x_.min(x.w - 1)) * x.c..][..x.c];
            let inside = y < x.h && x_ < x.w;
            data.extend(pixel.iter().map(|v| if inside { *v } else { 0.0 }));
        }
    }
    Map { n: x.n, h, w, c: x.c * side * side, data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fixture::{Small, conv_chain};

    #[test]
    fn ranks_are_put_together() {
        let measured = [vec![1.0, -2.0], vec![3.0, -1.0], vec![2.0, f64::NEG_INFINITY]];
        let of = |a: f64, b: f64| (a / 3.0).ln() + (b / 3.0).ln();
        assert_eq!(AzNas.combine(&measured), [of(1.0, 2.0), of(3.0, 3.0), of(2.0, 1.0)]);
        assert_eq!(AzNas.combine(&measured[..1]), [0.0]);
    }

    #[test]
    fn what_lets_gradients_through_unchanged_is_not_trainable() {
        // All skips: each cell adds its input to itself, so it is no identity; a single skip is.
        let mut sign = || 1.0;
        let identity = Small::new(&[0, 0, 0, 1, 0, 0]);
        let [expressivity, _, trainability] = measures(&identity.network(), &identity.images, &identity.w, &mut sign);
        assert_eq!(trainability, f64::NEG_INFINITY);
        assert!(expressivity > 0.0);
        let conv = Small::new(&conv_chain());
        let [_, progressivity, trainability] = measures(&conv.network(), &conv.images, &conv.w, &mut sign);
        assert!(trainability.is_finite() && trainability < 0.0 && progressivity.is_finite());
        let nothing = Small::new(&[0; 6]);
        let found = measures(&nothing.network(), &nothing.images, &nothing.w, &mut sign);
        assert_eq!(found[..2], [f64::NEG_INFINITY; 2]);
    }

    #[test]
    fn squares_become_channels() {
        let x = Map { n: 1, h: 3, w: 2, c: 1, data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let Map { h, w, c, data, .. } = pixel_unshuffle(&x, 2);
        assert_eq!((h, w, c, data), (2, 1, 4, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]));
    }

    #[test]
    fn entropy_is_that_of_the_components() {
        // Two independent channels of equal variance, then of one alone.
        let map = |data: &[f64]| Map { n: 1, h: 2, w: 2, c: 2, data: data.to_vec() };
        let equal = entropy(&map(&[1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0]));
        assert!((equal - 2f64.ln()).abs() < 1e-6, "{equal}");
        let single = entropy(&map(&[1.0, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0]));
        assert!(single.abs() < 1e-6, "{single}");
    }
}
