//! Curvature of the validation loss as alpha sees it.

use engine::{Batch, EngineError};

use super::alpha::Alpha;
use crate::{
    eigen::eigenvalues,
    random,
    run::Sweep,
    search::{context::Context, error::SearchError},
    supernet::{Mask, PerOp, Supernet},
};

/// Most products of the Hessian with a vector.
const STEPS: usize = 20;

/// Length of the steps along a direction, in alpha: far above the rounding of gradients in f32, and short beside the values of a
/// softmax.
const EPSILON: f64 = 1e-2;

/// The largest eigenvalue of the Hessian of the validation loss with respect to alpha (R-DARTS; Zela, Elsken, Saikia, Marrakchi,
/// Brox, Hutter, 2020, arXiv 1909.09656), on one batch of `D_val` without augmentation and without what is random in a step.
///
/// By the method of Lanczos (1950), whose extreme eigenvalues converge first: 20 products are enough for the hundreds of numbers that
/// alpha has. A power iteration would find the eigenvalue of the largest size, which may be a negative one.
///
/// # Errors
/// An eigenvalue that is not a number; an interruption; whatever the engine refuses.
pub(super) fn largest_eigenvalue(alpha: &Alpha, cx: &mut Context<'_>) -> Result<f64, SearchError> {
    let (batch, mask) = (cx.valid_sample(cx.batch_size())?, cx.mask().clone());
    let start = direction(&mask, cx);
    let steps = STEPS.min(mask.alive().count());
    let len = start.len() + 2;
    let sweep = Sweep {
        what: "curvature of the validation loss".to_owned(),
        count: steps,
        sums: steps * len,
        activity: "curvature",
    };
    let kept = cx.sweep(&sweep, |supernet, step, kept| {
        if step == 0 {
            kept[2..len].copy_from_slice(&start);
        }
        let product = |v: &[f64]| hessian_product(alpha, &mask, supernet, batch.as_batch(), v);
        Ok(lanczos_step(kept, len, step, product)?)
    })?;
    let eigenvalue = largest_of(&kept, len);
    if eigenvalue.is_finite() { Ok(eigenvalue) } else { Err(cx.not_finite("the largest eigenvalue", eigenvalue)) }
}

/// A unit vector at random over what is alive.
fn direction(mask: &Mask, cx: &Context<'_>) -> Vec<f64> {
    let mut rng = cx.step_rng();
    let mut v: Vec<f64> =
        mask.values().iter().map(|&alive| if alive { random::standard_normal(&mut rng) } else { 0.0 }).collect();
    scale(&mut v);
    v
}

/// Makes a vector of length 1, unless it is 0.
fn scale(v: &mut [f64]) {
    let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    if norm > 0.0 {
        v.iter_mut().for_each(|v| *v /= norm);
    }
}

/// One step of Lanczos' method. `kept` has, step by step, `len` numbers: an entry of the diagonal of the tridiagonal matrix, the one
/// beside it, and a vector of the orthonormal basis, the first of which is given. The next vector stays 0 where the product
/// adds nothing to the basis, and steps from there on do nothing.
fn lanczos_step<E>(
    kept: &mut [f64],
    len: usize,
    step: usize,
    product: impl FnOnce(&[f64]) -> Result<Vec<f64>, E>,
) -> Result<(), E> {
    let (known, next) = kept.split_at_mut((step + 1) * len);
    let own = step * len;
    if known[own + 2..].iter().all(|&v| v == 0.0) {
        return Ok(());
    }
    let mut w = product(&known[own + 2..])?;
    known[own] = dot(&w, &known[own + 2..]);
    // Once is not enough in floating point, twice is.
    for basis in [&*known, &*known].into_iter().flat_map(|known| known.chunks_exact(len)) {
        let along = dot(&w, &basis[2..]);
        w.iter_mut().zip(&basis[2..]).for_each(|(w, v)| *w -= along * v);
    }
    let beside = dot(&w, &w).sqrt();
    let size = known.chunks_exact(len).flat_map(|of| &of[..2]).fold(0.0, |most: f64, value| most.max(value.abs()));
    if beside > NOTHING * size
        && let Some(next) = next.get_mut(2..len)
    {
        known[own + 1] = beside;
        next.copy_from_slice(&w);
        scale(next);
    }
    Ok(())
}

/// Below this share of the entries of the matrix, what a product adds to the basis is rounding.
const NOTHING: f64 = 1e-6;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The largest eigenvalue of the tridiagonal matrix that the steps have made.
fn largest_of(kept: &[f64], len: usize) -> f64 {
    let steps = kept.chunks_exact(len).take_while(|of| of[2..].iter().any(|&v| v != 0.0));
    let (diagonal, beside): (Vec<f64>, Vec<f64>) = steps.map(|of| (of[0], of[1])).unzip();
    if let Some(odd) = diagonal.iter().chain(&beside).find(|value| !value.is_finite()) {
        return *odd;
    }
    let n = diagonal.len();
    let mut matrix = vec![0.0; n * n];
    for (i, (on, next)) in diagonal.into_iter().zip(beside).enumerate() {
        matrix[i * n + i] = on;
        if i + 1 < n {
            (matrix[i * n + i + 1], matrix[(i + 1) * n + i]) = (next, next);
        }
    }
    eigenvalues(matrix, n).into_iter().reduce(f64::max).unwrap_or(0.0)
}

/// The Hessian times the unit vector `v`, by central differences of the gradient.
fn hessian_product(
    alpha: &Alpha,
    mask: &Mask,
    supernet: &mut Supernet,
    batch: Batch<'_>,
    v: &[f64],
) -> Result<Vec<f64>, EngineError> {
    let mut side = |epsilon: f64| {
        let moved = alpha.values().values().iter().zip(v).map(|(alpha, v)| alpha + epsilon * v).collect();
        let values = PerOp::from_values(mask.ops(), moved);
        alpha.gradient_at(&values, mask, |mixing| Ok(supernet.mixing_gradient(batch, mixing)?.into()))
    };
    let (up, down) = (side(EPSILON)?, side(-EPSILON)?);
    Ok(up.iter().zip(&down).map(|(up, down)| (up - down) / (2.0 * EPSILON)).collect())
}

#[cfg(test)]
mod tests {
    use engine::ImageShape;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::{
        search::{
            Candidates,
            fake_engine::FakeEngine,
            parts::{AdamConfig, Mixture, Relaxation},
        },
        space::{NasBench201, NetworkShape},
    };

    fn largest(n: usize, steps: usize, mut product: impl FnMut(&[f64]) -> Vec<f64>) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut kept = vec![0.0; steps * (n + 2)];
        kept[2..n + 2].iter_mut().for_each(|v| *v = random::standard_normal(&mut rng));
        scale(&mut kept[2..n + 2]);
        for step in 0..steps {
            lanczos_step(&mut kept, n + 2, step, |v| Ok::<_, ()>(product(v))).unwrap();
        }
        largest_of(&kept, n + 2)
    }

    #[test]
    fn the_largest_eigenvalue_of_a_network_of_a_few_numbers_is_that_of_pytorch() {
        let image = ImageShape { height: 8, width: 8, channels: 3 };
        let shape = NetworkShape { image, classes: 10, channels: 4, cells: 1, stem_stride: 1 };
        let candidates = Candidates::all(&NasBench201);
        let mut supernet = Supernet::new(Box::new(FakeEngine::new(&candidates.supernet(&shape).unwrap())));
        let mask = supernet.mask().clone();
        let values = PerOp::from_values(5, (0..30).map(|i| 0.5 * f64::from(i).sin()).collect());
        let alpha = Alpha::new(values, Mixture::new(&candidates, Relaxation::Softmax), AdamConfig::default());
        let batch = Batch { images: &[0.0; 192], labels: &[1] };
        let product = |v: &[f64]| hessian_product(&alpha, &mask, &mut supernet, batch, v).unwrap();
        // tests/pytorch/make_relaxations.py, "curvature". The eigenvalue of the largest size is a negative one, -0.0438.
        let found = largest(30, STEPS, product);
        assert!((found - CURVATURE).abs() < 1e-4, "{found}");
    }

    #[test]
    fn the_largest_eigenvalue_is_found_among_many_and_where_the_basis_ends_early() {
        // Of a diagonal matrix of 200 entries, -3 to 1.
        let entry = |i: usize| -3.0 + 4.0 * i as f64 / 199.0;
        let diagonal = |v: &[f64]| v.iter().enumerate().map(|(i, v)| entry(i) * v).collect::<Vec<_>>();
        let found = largest(200, STEPS, diagonal);
        assert!(found <= 1.0 + 1e-12 && found > 0.97, "{found}");
        // Three different eigenvalues make three vectors.
        let few = |v: &[f64]| v.iter().enumerate().map(|(i, v)| [0.25, -2.0, 0.5][i % 3] * v).collect::<Vec<_>>();
        assert!((largest(12, 12, few) - 0.5).abs() < 1e-9);
        assert_eq!(largest(12, 12, |_| vec![0.0; 12]), 0.0);
        // All of them negative.
        assert!((largest(12, 12, |v| v.iter().map(|v| -0.5 * v).collect()) + 0.5).abs() < 1e-9);
        assert!(largest(12, 12, |_| vec![f64::NAN; 12]).is_nan());
    }

    const CURVATURE: f64 = 0.03207885015687704;
}
