use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    adam::{Adam, AdamConfig},
    edges::Incoming,
    relaxation::{Mixture, Relax},
};
use crate::{
    random,
    space::SearchSpace,
    supernet::{Mask, MixingGradient, OpAt, PerOp},
};

/// Edge normalisation (Xu et al. 2020, PC-DARTS, Eq. 3): parameters `beta: [E]` whose softmax over the edges that end in a node
/// weighs these edges, with their optimiser.
#[derive(Debug)]
pub struct EdgeWeights {
    beta: Vec<f64>,
    adam: Adam,
    /// Rows that end in the same node.
    nodes: Vec<Vec<usize>>,
}

#[derive(Deserialize)]
struct Saved {
    beta: Vec<f64>,
    adam: Adam,
}

impl EdgeWeights {
    /// From independent normal values of mean 0 and this standard deviation.
    pub fn new(space: &dyn SearchSpace, sigma: f64, adam: AdamConfig, rng: &mut ChaCha8Rng) -> Self {
        let nodes: Vec<Vec<usize>> = Incoming::all(space).into_iter().map(|node| node.rows).collect();
        let edges = nodes.iter().map(Vec::len).sum();
        let beta = (0..edges).map(|_| sigma * random::standard_normal(rng)).collect();
        Self { beta, adam: Adam::new(adam, edges), nodes }
    }

    /// Weight of each edge, `[E]`; those of the edges into a node sum to 1.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.beta.len()];
        for rows in &self.nodes {
            let largest = rows.iter().map(|&row| self.beta[row]).fold(f64::NEG_INFINITY, f64::max);
            rows.iter().for_each(|&row| shares[row] = (self.beta[row] - largest).exp());
            let sum: f64 = rows.iter().map(|&row| shares[row]).sum();
            rows.iter().for_each(|&row| shares[row] /= sum);
        }
        shares
    }

    /// `dL/dbeta: [E]` from the gradient of [`EdgeWeights::shares`].
    fn pull_back(&self, gradient: &[f64]) -> Vec<f64> {
        let shares = self.shares();
        let mut back = vec![0.0; gradient.len()];
        for rows in &self.nodes {
            let mean: f64 = rows.iter().map(|&row| shares[row] * gradient[row]).sum();
            rows.iter().for_each(|&row| back[row] = shares[row] * (gradient[row] - mean));
        }
        back
    }

    /// One step of the optimiser along the gradient of the mixing weights; `within: [E, O]` are the weights of the operations
    /// within their edges.
    pub fn descend(&mut self, within: &PerOp<f64>, gradient: &MixingGradient) {
        let of_edge = |(w, g): (&[f64], &[f64])| w.iter().zip(g).map(|(w, g)| w * g).sum();
        let of_shares: Vec<f64> = within.rows().zip(gradient.w.chunks_exact(within.ops())).map(of_edge).collect();
        let gradient = self.pull_back(&of_shares);
        self.adam.step(&mut self.beta, &gradient, &vec![true; gradient.len()]);
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!({ "beta": self.beta, "adam": self.adam })
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// Anything that is not such a state; one of another number of edges.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        let saved = Saved::deserialize(state).map_err(|e| format!("beta: {e}"))?;
        if saved.beta.len() != self.beta.len() {
            return Err(format!("beta is of {} edges, expected {}", saved.beta.len(), self.beta.len()));
        }
        self.adam.restore(saved.adam)?;
        self.beta = saved.beta;
        Ok(())
    }
}

/// A [`Mixture`] on edges that have weights themselves: `w = share of the edge * weight of the operation within it`.
#[derive(Clone, Debug)]
pub struct WeightedEdges {
    /// Within the edges.
    pub mixture: Mixture,
    /// Of the edges, `[E]`.
    pub shares: Vec<f64>,
}

impl WeightedEdges {
    fn scaled(&self, mut w: PerOp<f64>) -> PerOp<f64> {
        for (row, share) in w.rows_mut().zip(&self.shares) {
            row.iter_mut().for_each(|w| *w *= share);
        }
        w
    }
}

impl Relax for WeightedEdges {
    fn draw(&self, shape: (usize, usize), rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        self.mixture.draw(shape, rng)
    }

    fn weights(&self, alpha: &PerOp<f64>, mask: &Mask, noise: Option<&PerOp<f64>>) -> PerOp<f64> {
        self.scaled(self.mixture.weights(alpha, mask, noise))
    }

    fn pull_back(
        &self,
        alpha: &PerOp<f64>,
        mask: &Mask,
        noise: Option<&PerOp<f64>>,
        gradient: &MixingGradient,
    ) -> Vec<f64> {
        let w = self.scaled(PerOp::from_values(alpha.ops(), gradient.w.clone())).values().to_vec();
        self.mixture.pull_back(alpha, mask, noise, &MixingGradient { w, edges: gradient.edges.clone() })
    }

    fn weights_without(&self, alpha: &PerOp<f64>, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.scaled(self.mixture.weights_without(alpha, mask, out))
    }

    fn remove(&self, alpha: &mut PerOp<f64>, mask: &Mask, ops: &[OpAt]) {
        self.mixture.remove(alpha, mask, ops);
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::space::{Darts, NasBench201};

    fn edges(space: &dyn SearchSpace) -> EdgeWeights {
        EdgeWeights::new(space, 0.5, AdamConfig::default(), &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn the_shares_of_a_node_sum_to_one() {
        for (space, nodes) in [(&NasBench201 as &dyn SearchSpace, 3), (&Darts::Original, 8)] {
            let edges = edges(space);
            let shares = edges.shares();
            assert_eq!((edges.nodes.len(), shares.len()), (nodes, edges.beta.len()));
            for rows in &edges.nodes {
                let sum: f64 = rows.iter().map(|&row| shares[row]).sum();
                assert!((sum - 1.0).abs() < 1e-15, "{rows:?}: {sum}");
            }
        }
    }

    /// L = sum of c * w^2, by alpha and by beta.
    #[test]
    fn gradients_agree_with_finite_differences() {
        let (ops, mask) = (5, Mask::filled(6, 5, true));
        let alpha = PerOp::from_values(ops, (0..30).map(|i| f64::from(i * 7 % 11) / 10.0 - 0.5).collect());
        let c: Vec<f64> = (0..30).map(|i| f64::from(i * 5 % 13) / 6.0 - 1.0).collect();
        let mut edges = edges(&NasBench201);
        let relax = |edges: &EdgeWeights| WeightedEdges { mixture: Mixture::softmax(), shares: edges.shares() };
        let loss = |alpha: &PerOp<f64>, edges: &EdgeWeights| -> f64 {
            relax(edges).weights(alpha, &mask, None).values().iter().zip(&c).map(|(w, c)| c * w * w).sum()
        };
        let w = relax(&edges).weights(&alpha, &mask, None);
        let of_w: Vec<f64> = w.values().iter().zip(&c).map(|(w, c)| 2.0 * c * w).collect();
        let gradient = MixingGradient { w: of_w.clone(), edges: vec![0.0; 6] };
        let by_alpha = relax(&edges).pull_back(&alpha, &mask, None, &gradient);
        let within = Mixture::softmax().weights(&alpha, &mask, None);
        let of_shares: Vec<f64> =
            (0..6).map(|edge| within.row(edge).iter().zip(&of_w[edge * ops..]).map(|(w, g)| w * g).sum()).collect();
        let by_beta = edges.pull_back(&of_shares);
        let step = 1e-6;
        for (i, analytic) in by_alpha.into_iter().enumerate() {
            let (mut up, mut down) = (alpha.clone(), alpha.clone());
            up.values_mut()[i] += step;
            down.values_mut()[i] -= step;
            let numeric = (loss(&up, &edges) - loss(&down, &edges)) / (2.0 * step);
            assert!((numeric - analytic).abs() < 1e-9, "alpha {i}: {numeric} {analytic}");
        }
        assert!(by_beta.iter().any(|g| g.abs() > 1e-3));
        for (edge, analytic) in by_beta.into_iter().enumerate() {
            let at = edges.beta[edge];
            let mut moved = |to: f64| {
                edges.beta[edge] = to;
                loss(&alpha, &edges)
            };
            let numeric = (moved(at + step) - moved(at - step)) / (2.0 * step);
            moved(at);
            assert!((numeric - analytic).abs() < 1e-9, "beta {edge}: {numeric} {analytic}");
        }
    }

    #[test]
    fn what_costs_loses_weight_and_a_state_comes_back() {
        let mut weights = edges(&NasBench201);
        let before = weights.shares();
        let mut gradient = MixingGradient { w: vec![0.0; 30], edges: vec![0.0; 6] };
        // The second edge into the second node costs.
        gradient.w[10..15].fill(1.0);
        weights.descend(&PerOp::filled(6, 5, 0.2), &gradient);
        let after = weights.shares();
        assert!(after[2] < before[2] && after[1] > before[1], "{before:?} {after:?}");
        let mut other = edges(&NasBench201);
        other.restore(&weights.state()).unwrap();
        assert_eq!(other.shares(), after);
        let error = edges(&Darts::Original).restore(&weights.state()).unwrap_err();
        assert_eq!(error, "beta is of 6 edges, expected 28");
    }
}
