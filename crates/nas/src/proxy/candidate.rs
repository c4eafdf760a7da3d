use engine::{
    Batch, CodeDistances, Codes, Cost, EngineError, Engines, Gradients, LayerKind, NetworkSpec, Pass, TensorState,
    Vector,
    reference::{self, Reference},
};

/// A network to be scored at initialisation.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The network; a discrete one has one operation alive on each edge.
    pub spec: &'a NetworkSpec,
    /// Its size.
    pub cost: Cost,
    /// `[n, H, W, C]`, normalised. Empty for proxies that need none.
    pub images: &'a [f32],
    /// `[n]` their classes. Empty for proxies that need no images.
    pub labels: &'a [u32],
    /// What the weights are drawn from.
    pub seed: u64,
    /// What makes its engine; shared by all candidates.
    pub engines: &'a dyn Engines,
}

impl Candidate<'_> {
    /// `[E, O]`: weight 1 for the operations that are part of the function the network computes, else 0. Left out are
    /// `none` and whatever leads into a node that does not reach the logits: NASWOT counts only what a gradient
    /// arrives at.
    pub(super) fn live(&self) -> Result<Vec<f32>, EngineError> {
        let graph = self.spec.graph()?;
        let mut w = vec![0.0; self.spec.mixing_len()];
        let mut reaches_logits = vec![false; graph.values.len()];
        reaches_logits[graph.logits] = true;
        for layer in graph.layers.iter().rev() {
            if !reaches_logits[layer.output] {
                continue;
            }
            layer.inputs.iter().for_each(|&x| reaches_logits[x] = true);
            if let LayerKind::Mix { weights, .. } = &layer.kind {
                weights.iter().flatten().for_each(|at| w[at.row * self.spec.ops.len() + at.op] = 1.0);
            }
        }
        Ok(w)
    }

    /// Code distances of the network at initialisation with the mixing weights `w: [E, O]`.
    pub(super) fn distances(&self, w: &[f32], codes: Codes) -> Result<CodeDistances, EngineError> {
        self.engines.build(self.spec, self.seed)?.code_distances(self.images, Pass::new(w), codes)
    }

    /// What `work` makes of the network at initialisation in f64, with weight 1 for the operations that are part of what it
    /// computes.
    pub(super) fn in_f64<T: Send>(
        &self,
        work: impl FnOnce(&Reference<'_>, &[f64]) -> T + Send,
    ) -> Result<T, EngineError> {
        reference::of(&*self.engines.build(self.spec, self.seed)?, &self.live()?, work)
    }

    /// Weights at initialisation and the gradient of the cross-entropy with respect to them, normalised by the batch's
    /// statistics, tensor by tensor in the same order.
    pub(super) fn gradient(&self) -> Result<[Vec<TensorState>; 2], EngineError> {
        let mut network = self.engines.build(self.spec, self.seed)?;
        let batch = Batch { images: self.images, labels: self.labels };
        network.train_step(batch, Pass::new(&self.live()?), Gradients::Omega)?;
        Ok([network.tensors(Vector::Omega)?, network.tensors(Vector::Gradient)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engines,
        space::{Arch, nas_bench_201},
    };

    /// Live edges of a cell.
    fn live(arch: &str) -> Vec<usize> {
        let spec = arch.parse::<Arch>().unwrap().network_spec(&nas_bench_201::benchmark_shape(32, 10));
        let engines = engines::cpu(1).unwrap();
        let cost = Cost::default();
        let live =
            Candidate { spec: &spec, cost, images: &[], labels: &[], seed: 0, engines: &*engines }.live().unwrap();
        live.chunks(5).enumerate().filter(|(_, ops)| ops.contains(&1.0)).map(|(edge, _)| edge).collect()
    }

    #[test]
    fn dead_ends_and_none_are_not_live() {
        let conv = "nor_conv_3x3";
        let arch = |ops: [&str; 6]| {
            format!("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|", ops[0], ops[1], ops[2], ops[3], ops[4], ops[5])
        };
        assert_eq!(live(&arch([conv; 6])), [0, 1, 2, 3, 4, 5]);
        assert_eq!(live(&arch(["none"; 6])), [0; 0]);
        // Node 2 leads nowhere, so its inputs are dead; node 1 still reaches the output by itself.
        assert_eq!(live(&arch([conv, conv, conv, conv, conv, "none"])), [0, 3, 4]);
        // Nothing reaches the output.
        assert_eq!(live(&arch([conv, conv, conv, "none", "none", "none"])), [0; 0]);
        // An edge out of a node without input is live: it is computed, if on zeros.
        assert_eq!(live(&arch(["none", "none", "none", conv, conv, conv])), [3, 4, 5]);
    }
}
