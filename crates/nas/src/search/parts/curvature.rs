//! Curvature of the validation loss as alpha sees it.

use engine::{Batch, EngineError};

use super::alpha::Alpha;
use crate::{
    data::BatchBuf,
    random,
    run::Sweep,
    search::{context::Context, error::SearchError},
    supernet::{Mask, PerOp, Supernet},
};

/// Steps of the power iteration. The eigenvalue converges with the square of the ratio of the two largest: 20 are good for 2 % at
/// a ratio of 0.9.
const STEPS: usize = 20;

/// Length of the steps along a direction, in alpha: far above the rounding of gradients in f32, and short beside the values of a
/// softmax.
const EPSILON: f64 = 1e-2;

/// The largest eigenvalue of the Hessian of the validation loss with respect to alpha (R-DARTS; Zela, Elsken, Saikia, Marrakchi,
/// Brox, Hutter, 2020, arXiv 1909.09656), on one batch of `D_val` without augmentation and without what is random in a step.
///
/// Power iteration finds the eigenvalue of the largest size. Where that is negative, a second one finds the largest of the Hessian
/// less this multiple of the identity, whose eigenvalues are all positive.
///
/// # Errors
/// An eigenvalue that is not a number; an interruption; whatever the engine refuses.
pub(super) fn largest_eigenvalue(alpha: &Alpha, cx: &mut Context<'_>) -> Result<f64, SearchError> {
    let (batch, start) = (cx.valid_sample(cx.batch_size())?, direction(cx.mask(), cx));
    let dominant = power_iteration(alpha, 0.0, &batch, &start, cx)?;
    if dominant < 0.0 {
        return Ok(dominant + power_iteration(alpha, -dominant, &batch, &start, cx)?);
    }
    Ok(dominant)
}

/// The eigenvalue of the largest size of the Hessian plus `shift` times the identity, from a unit vector.
fn power_iteration(
    alpha: &Alpha,
    shift: f64,
    batch: &BatchBuf,
    start: &[f64],
    cx: &mut Context<'_>,
) -> Result<f64, SearchError> {
    let mask = cx.mask().clone();
    let sweep = Sweep {
        what: "curvature of the validation loss".to_owned(),
        count: STEPS,
        sums: start.len() + 1,
        activity: "curvature",
    };
    let sums = cx.sweep(&sweep, |supernet, step, sums| {
        let (eigenvalue, v) = sums.split_at_mut(1);
        if step == 0 {
            v.copy_from_slice(start);
        }
        let mut product = hessian_product(alpha, &mask, supernet, batch.as_batch(), v)?;
        product.iter_mut().zip(&*v).for_each(|(h, v)| *h += shift * v);
        eigenvalue[0] = rotate(v, &product);
        Ok(())
    })?;
    if sums[0].is_finite() { Ok(sums[0]) } else { Err(cx.not_finite("the largest eigenvalue", sums[0])) }
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

/// Turns the unit vector `v` to its image; the Rayleigh quotient of `v`. Without an image it stays.
fn rotate(v: &mut [f64], image: &[f64]) -> f64 {
    let quotient = v.iter().zip(image).map(|(v, h)| v * h).sum();
    if image.iter().any(|&h| h != 0.0) {
        v.copy_from_slice(image);
        scale(v);
    }
    quotient
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

    /// The eigenvalue of the largest size by steps of power iteration.
    fn dominant(shift: f64, steps: usize, product: &mut dyn FnMut(&[f64]) -> Vec<f64>) -> f64 {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut v: Vec<f64> = (0..30).map(|_| random::standard_normal(&mut rng)).collect();
        scale(&mut v);
        let mut eigenvalue = 0.0;
        for _ in 0..steps {
            let mut image = product(&v);
            image.iter_mut().zip(&v).for_each(|(h, v)| *h += shift * v);
            eigenvalue = rotate(&mut v, &image);
        }
        eigenvalue
    }

    #[test]
    fn the_eigenvalues_of_a_network_of_a_few_numbers_are_those_of_pytorch() {
        let image = ImageShape { height: 8, width: 8, channels: 3 };
        let shape = NetworkShape { image, classes: 10, channels: 4, cells: 1, stem_stride: 1 };
        let candidates = Candidates::all(&NasBench201);
        let mut supernet = Supernet::new(Box::new(FakeEngine::new(&candidates.supernet(&shape).unwrap())));
        let mask = supernet.mask().clone();
        let values = PerOp::from_values(5, (0..30).map(|i| 0.5 * f64::from(i).sin()).collect());
        let alpha = Alpha::new(values, Mixture::new(&candidates, Relaxation::Softmax), AdamConfig::default());
        let batch = Batch { images: &[0.0; 192], labels: &[1] };
        let mut product = |v: &[f64]| hessian_product(&alpha, &mask, &mut supernet, batch, v).unwrap();
        // tests/pytorch/make_relaxations.py, "curvature": of the largest size, and the largest.
        let largest_size = dominant(0.0, 200, &mut product);
        assert!((largest_size - CURVATURE[0]).abs() < 1e-4, "{largest_size}");
        let largest = largest_size + dominant(-largest_size, 400, &mut product);
        assert!((largest - CURVATURE[1]).abs() < 1e-4, "{largest}");
        // As many steps as a search makes are good enough.
        assert!((dominant(0.0, STEPS, &mut product) / CURVATURE[0] - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_product_of_nothing_leaves_the_vector() {
        let mut v = [0.6, 0.8];
        assert_eq!(rotate(&mut v, &[0.0, 0.0]), 0.0);
        assert_eq!(v, [0.6, 0.8]);
        assert!((rotate(&mut v, &[1.2, 1.6]) - 2.0).abs() < 1e-15 && v == [0.6, 0.8]);
    }

    const CURVATURE: [f64; 2] = [-0.04379517965229332, 0.03207885015687704];
}
