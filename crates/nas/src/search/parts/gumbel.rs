use rand_chacha::ChaCha8Rng;

use super::relaxation::{Mixture, Relax, softmax, softmax_backward};
use crate::{
    random,
    supernet::{Mask, MixingGradient, OpAt, PerOp},
};

/// `w = softmax((alpha + G) / T)` over the operations of an edge, with Gumbel noise G (SNAS; Jang et al. 2017). Without noise
/// the weights are those of `judge`.
#[derive(Clone, Debug)]
pub struct GumbelSoftmax {
    /// `T`
    pub temperature: f64,
    /// What the supernet is judged with.
    pub judge: Mixture,
}

/// The operation of the largest `alpha + G` of an edge alone, with weight 1; backward as [`GumbelSoftmax`] (straight-through; GDAS). The weights of the others are 0 but carry gradients: that of a number added to the output of the edge.
#[derive(Clone, Debug)]
pub struct GumbelArgmax(pub GumbelSoftmax);

impl GumbelSoftmax {
    fn shares(&self, alpha: &PerOp<f64>, mask: &Mask, noise: &PerOp<f64>) -> PerOp<f64> {
        let sums = alpha.values().iter().zip(noise.values()).map(|(a, g)| (a + g) / self.temperature).collect();
        let mut w = softmax(&PerOp::from_values(alpha.ops(), sums), mask);
        for at in mask.places().filter(|&at| !mask[at]) {
            w[at] = 0.0;
        }
        w
    }

    /// `dL/dalpha` from `dL/dw`.
    fn backward(&self, alpha: &PerOp<f64>, mask: &Mask, noise: &PerOp<f64>, mut gradient: Vec<f64>) -> Vec<f64> {
        softmax_backward(&mut gradient, &self.shares(alpha, mask, noise), mask);
        gradient.iter_mut().for_each(|g| *g /= self.temperature);
        gradient
    }
}

impl Relax for GumbelSoftmax {
    fn draw(&self, (edges, ops): (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        let gumbel = (0..edges * ops).map(|_| -(-random::open_unit(rng).ln()).ln());
        Some(PerOp::from_values(ops, gumbel.collect()))
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        match noise {
            Some(noise) => self.shares(alpha, mask, noise),
            None => self.judge.weights(alpha, mask, None),
        }
    }

    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        match noise {
            Some(noise) => self.backward(alpha, mask, noise, gradient.w.clone()),
            None => self.judge.pull_back(alpha, mask, None, gradient),
        }
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.judge.weights_without(alpha, mask, out)
    }

    fn remove(&self, alpha: &mut PerOp<f64>, mask: &Mask, ops: &[OpAt]) {
        self.judge.remove(alpha, mask, ops);
    }
}

impl GumbelArgmax {
    /// The operation that is run on each edge; of equal ones the first.
    fn chosen(&self, alpha: &PerOp<f64>, mask: &Mask, noise: &PerOp<f64>) -> Mask {
        // What is compared does not depend on the temperature, so that a small one cannot make equals of different values.
        let mut run = mask.map(|_| false);
        for edge in 0..mask.edges() {
            let of = |op: usize| alpha[(edge, op)] + noise[(edge, op)];
            let alive = (0..mask.ops()).filter(|&op| mask[(edge, op)]);
            if let Some(op) = alive.reduce(|best, op| if of(op) > of(best) { op } else { best }) {
                run[(edge, op)] = true;
            }
        }
        run
    }
}

impl Relax for GumbelArgmax {
    fn draw(&self, shape: (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        self.0.draw(shape, rng)
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        match noise {
            Some(noise) => self.chosen(alpha, mask, noise).map(|&runs| if runs { 1.0 } else { 0.0 }),
            None => self.0.weights(alpha, mask, None),
        }
    }

    fn run(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> Option<Mask> {
        Some(self.chosen(alpha, mask, noise?))
    }

    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        let Some(noise) = noise else { return self.0.pull_back(alpha, mask, None, gradient) };
        let run = self.chosen(alpha, mask, noise);
        let of = |at: OpAt| if run[at] { gradient.w[at.0 * run.ops() + at.1] } else { gradient.edges[at.0] };
        let of_shares = run.places().map(|at| if mask[at] { of(at) } else { 0.0 }).collect();
        self.0.backward(alpha, mask, noise, of_shares)
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.0.weights_without(alpha, mask, out)
    }

    fn remove(&self, alpha: &mut PerOp<f64>, mask: &Mask, ops: &[OpAt]) {
        self.0.remove(alpha, mask, ops);
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    fn soft(temperature: f64) -> GumbelSoftmax {
        GumbelSoftmax { temperature, judge: Mixture::softmax() }
    }

    fn case() -> (PerOp<f64>, PerOp<f64>) {
        let alpha = PerOp::from_values(3, vec![0.2, -0.3, 0.5, 0.9, 0.1, -0.4]);
        (alpha, PerOp::from_values(3, vec![0.3, 1.7, -0.4, -0.8, 0.6, 2.1]))
    }

    fn gradient() -> MixingGradient {
        MixingGradient { w: vec![0.7, -1.1, 0.4, 0.3, 0.9, 1.3], edges: vec![-0.6, 0.8] }
    }

    fn close(ours: &[f64], other: &[f64]) {
        assert_eq!(ours.len(), other.len());
        assert!(ours.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-9), "{ours:?}\n{other:?}");
    }

    #[test]
    fn weights_and_gradients_agree_with_pytorch() {
        let (alpha, noise) = case();
        let mask = Mask::filled(2, 3, true);
        close(soft(0.7).weights(&alpha, &mask, Some(&noise)).values(), &SOFT_WEIGHTS);
        close(&soft(0.7).pull_back(&alpha, &mask, Some(&noise), &gradient()), &SOFT_GRADIENT);
        close(&GumbelArgmax(soft(0.7)).pull_back(&alpha, &mask, Some(&noise), &gradient()), &HARD_GRADIENT);
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (alpha, noise) = case();
        let mut mask = Mask::filled(2, 3, true);
        mask[(1, 2)] = false;
        let hard = GumbelArgmax(soft(0.7));
        let MixingGradient { w, edges } = gradient();
        // Straight-through: what is not run has the gradient of a number added to its edge.
        assert_eq!(hard.weights(&alpha, &mask, Some(&noise)).values(), [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
        let of_hard = [edges[0], w[1], edges[0], edges[1], w[4], 0.0];
        for (relax, c) in [(&soft(0.7) as &dyn Relax, w.clone()), (&hard, of_hard.to_vec())] {
            let analytic = relax.pull_back(&alpha, &mask, Some(&noise), &gradient());
            let loss = |alpha: &PerOp<f64>| -> f64 {
                soft(0.7).weights(alpha, &mask, Some(&noise)).values().iter().zip(&c).map(|(w, c)| c * w).sum()
            };
            for at in mask.places() {
                let (mut up, mut down) = (alpha.clone(), alpha.clone());
                up[at] += 1e-6;
                down[at] -= 1e-6;
                let numeric = (loss(&up) - loss(&down)) / 2e-6;
                assert!((numeric - analytic[at.0 * 3 + at.1]).abs() < 1e-8, "{at:?} {numeric} {analytic:?}");
            }
        }
    }

    #[test]
    fn one_operation_of_each_edge_runs_and_the_others_still_get_a_gradient() {
        let alpha = PerOp::filled(6, 5, 0.0);
        let mask = Mask::filled(6, 5, true);
        let hard = GumbelArgmax(soft(10.0));
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..50 {
            let noise = hard.draw((6, 5), &mut rng);
            let (run, w) =
                (hard.run(&alpha, &mask, noise.as_ref()).unwrap(), hard.weights(&alpha, &mask, noise.as_ref()));
            assert!(run.rows().all(|row| row.iter().filter(|&&runs| runs).count() == 1));
            assert!(run.places().all(|at| w[at] == if run[at] { 1.0 } else { 0.0 }));
            let of_w = run.values().iter().map(|&runs| if runs { 2.0 } else { 0.0 }).collect();
            let gradient = MixingGradient { w: of_w, edges: vec![-1.0; 6] };
            let pulled = hard.pull_back(&alpha, &mask, noise.as_ref(), &gradient);
            assert!(run.places().all(|at| pulled[at.0 * 5 + at.1] != 0.0));
        }
    }

    #[test]
    fn choices_follow_the_shares() {
        // Shares 0.7, 0.2, 0.1.
        let alpha = PerOp::from_values(3, [0.7_f64, 0.2, 0.1].map(f64::ln).to_vec());
        let mask = Mask::filled(1, 3, true);
        let hard = GumbelArgmax(soft(0.1));
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut counts = [0; 3];
        for _ in 0..10_000 {
            let noise = hard.draw((1, 3), &mut rng);
            let run = hard.run(&alpha, &mask, noise.as_ref()).unwrap();
            counts[run.alive().next().unwrap().1] += 1;
        }
        // Five standard deviations each.
        for (count, expected) in counts.iter().zip([7000, 2000, 1000]) {
            assert!(i32::abs(count - expected) < 230, "{counts:?}");
        }
    }

    // tests/pytorch/make_relaxations.py, "gumbel".
    const SOFT_WEIGHTS: [f64; 6] = [
        0.1929768429531278,
        0.6980456367033956,
        0.10897752034347659,
        0.07582003813815355,
        0.17866373617097753,
        0.745516225690869,
    ];
    const SOFT_GRADIENT: [f64; 6] = [
        0.3554014273191892,
        -0.5093984023379832,
        0.15399697501879395,
        -0.09236120491246726,
        -0.0645013013271049,
        0.15686250623957215,
    ];
    const HARD_GRADIENT: [f64; 6] = [
        0.09621903086301954,
        -0.15055566127339057,
        0.05433663041037103,
        -0.040375049046067125,
        -0.0951405101842974,
        0.1355155592303645,
    ];
}
