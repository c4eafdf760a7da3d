use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    random,
    supernet::{Mask, PerOp},
};

/// How mixing weights are perturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Perturbation {
    /// At random (SDARTS-RS).
    #[default]
    Random,
    /// By what makes the loss of the batch largest (SDARTS-ADV).
    Adversarial,
}

/// Adds uniform noise in +-`epsilon` to the weights of the operations that are alive, clamps them to [0, 1] and scales each edge
/// to sum 1 again (SDARTS-RS; Chen, Hsieh 2020). An edge of which nothing would be left stays as it is.
pub fn perturb(w: &mut PerOp<f64>, mask: &Mask, epsilon: f64, rng: &mut ChaCha8Rng) {
    let noisy = noisy(w, mask, epsilon, rng);
    renormalise(w, &noisy);
}

/// Projected gradient ascent in the infinity norm (SDARTS-ADV; Chen, Hsieh 2020): from weights perturbed at random, `steps` steps of
/// length `2 epsilon / steps` along the signs of `gradient`, which is dL/dw, each clamped to +-`epsilon` around the weights and to
/// [0, 1]. Each edge is scaled to sum 1 in the end; one of which nothing would be left stays as it is.
///
/// # Errors
/// Those of `gradient`.
pub fn perturb_against<E>(
    w: &mut PerOp<f64>,
    mask: &Mask,
    epsilon: f64,
    steps: usize,
    rng: &mut ChaCha8Rng,
    mut gradient: impl FnMut(&PerOp<f64>) -> Result<Vec<f64>, E>,
) -> Result<(), E> {
    let mut worst = noisy(w, mask, epsilon, rng);
    let length = 2.0 * epsilon / steps as f64;
    for _ in 0..steps {
        let gradient = gradient(&worst)?;
        for at in mask.alive() {
            let g = gradient[at.0 * mask.ops() + at.1];
            // The sign of 0 is 0.
            let step = if g == 0.0 { 0.0 } else { length * g.signum() };
            worst[at] = (worst[at] + step).clamp(w[at] - epsilon, w[at] + epsilon).clamp(0.0, 1.0);
        }
    }
    renormalise(w, &worst);
    Ok(())
}

/// Weights with uniform noise in +-`epsilon`, clamped to [0, 1]; 0 where an operation is not alive.
fn noisy(w: &PerOp<f64>, mask: &Mask, epsilon: f64, rng: &mut ChaCha8Rng) -> PerOp<f64> {
    let values = w.values().iter().zip(mask.values()).map(|(w, &alive)| {
        let noise = epsilon * (2.0 * random::unit(rng) - 1.0);
        if alive { (w + noise).clamp(0.0, 1.0) } else { 0.0 }
    });
    PerOp::from_values(w.ops(), values.collect())
}

/// Takes over the weights of each edge of which something is left, scaled to sum 1.
fn renormalise(w: &mut PerOp<f64>, to: &PerOp<f64>) {
    for (w, to) in w.rows_mut().zip(to.rows()) {
        let sum: f64 = to.iter().sum();
        if sum > 0.0 {
            w.iter_mut().zip(to).for_each(|(w, to)| *w = to / sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn perturbed_weights_stay_on_the_simplex_and_near_what_they_were() {
        let mut mask = Mask::filled(2, 5, true);
        mask[(1, 2)] = false;
        let before = PerOp::from_values(5, vec![0.2, 0.2, 0.2, 0.2, 0.2, 0.97, 0.01, 0.0, 0.01, 0.01]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for epsilon in [0.0, 0.03, 0.3, 5.0] {
            let mut moved = 0;
            for _ in 0..200 {
                let mut w = before.clone();
                perturb(&mut w, &mask, epsilon, &mut rng);
                assert!(w.rows().all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
                assert!(w.values().iter().all(|w| (0.0..=1.0).contains(w)) && w[(1, 2)] == 0.0);
                if epsilon < 0.1 {
                    assert!(
                        w.values().iter().zip(before.values()).all(|(w, b)| (w - b).abs() <= 6.0 * epsilon + 1e-12)
                    );
                }
                moved += usize::from(w != before);
            }
            // Very large noise may leave nothing of an edge, which then stays.
            assert!(moved > 190 || epsilon == 0.0, "{epsilon}: {moved}");
        }
    }

    #[test]
    fn the_worst_weights_of_a_linear_loss_are_at_the_bound() {
        let mut mask = Mask::filled(2, 5, true);
        mask[(1, 2)] = false;
        let before = PerOp::from_values(5, vec![0.2, 0.2, 0.2, 0.2, 0.2, 0.4, 0.3, 0.0, 0.2, 0.1]);
        let slope = [1.0, -2.0, 0.5, -0.1, 3.0, -1.0, 2.0, 9.0, 0.3, -4.0];
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut asked = 0;
        let mut w = before.clone();
        let linear = |_: &PerOp<f64>| {
            asked += 1;
            Ok::<_, ()>(slope.to_vec())
        };
        perturb_against(&mut w, &mask, 0.05, 7, &mut rng, linear).unwrap();
        assert_eq!(asked, 7);
        for row in 0..2 {
            let bound = |op: usize| before[(row, op)] + 0.05 * f64::signum(slope[5 * row + op]);
            let alive: Vec<usize> = (0..5).filter(|&op| mask[(row, op)]).collect();
            let sum: f64 = alive.iter().map(|&op| bound(op)).sum();
            assert!(alive.iter().all(|&op| (w[(row, op)] - bound(op) / sum).abs() < 1e-12), "{w:?}");
        }
        assert_eq!(w[(1, 2)], 0.0);
    }
}
