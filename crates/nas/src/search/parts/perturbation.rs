use rand_chacha::ChaCha8Rng;

use crate::{
    random,
    supernet::{Mask, PerOp},
};

/// Adds uniform noise in +-`epsilon` to the weights of the operations that are alive, clamps them to [0, 1] and scales each edge
/// to sum 1 again (SDARTS-RS; Chen, Hsieh 2020). An edge of which nothing would be left stays as it is.
pub fn perturb(w: &mut PerOp<f64>, mask: &Mask, epsilon: f64, rng: &mut ChaCha8Rng) {
    for (w, alive) in w.rows_mut().zip(mask.rows()) {
        let noisy: Vec<f64> = w
            .iter()
            .zip(alive)
            .map(|(w, &alive)| {
                let noise = epsilon * (2.0 * random::unit(rng) - 1.0);
                if alive { (w + noise).clamp(0.0, 1.0) } else { 0.0 }
            })
            .collect();
        let sum: f64 = noisy.iter().sum();
        if sum > 0.0 {
            w.iter_mut().zip(noisy).for_each(|(w, noisy)| *w = noisy / sum);
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
}
