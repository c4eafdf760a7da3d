use engine::{CodeDistances, Codes, EngineError, Engines, NetworkSpec, Op, Pass};

/// A network to be scored at initialisation.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The network; a discrete one has one operation alive on each edge.
    pub spec: &'a NetworkSpec,
    /// `[n, H, W, C]`, normalised. Empty for proxies that need none.
    pub images: &'a [f32],
    /// What the weights are drawn from.
    pub seed: u64,
    /// What makes its engine; shared by all candidates.
    pub engines: &'a dyn Engines,
}

impl Candidate<'_> {
    /// `[E, O]`: weight 1 for the operations that are part of the function the network computes, else 0. Left out are
    /// `none` and whatever leads into a node that does not reach the cell's output: NASWOT counts only what a gradient
    /// arrives at.
    pub(super) fn live(&self) -> Vec<f32> {
        let cell = &self.spec.cell;
        let ops = cell.ops.len();
        let exists = |edge: usize, op: usize| self.spec.alive[edge * ops + op] && cell.ops[op] != Op::None;
        let mut reaches_output = vec![false; cell.nodes];
        reaches_output[cell.nodes - 1] = true;
        // Edges lead to later nodes, so targets are settled from the last node backwards.
        for node in (0..cell.nodes - 1).rev() {
            reaches_output[node] = cell
                .edges
                .iter()
                .enumerate()
                .any(|(edge, e)| e.from == node && reaches_output[e.to] && (0..ops).any(|op| exists(edge, op)));
        }
        let edges = cell.edges.iter().enumerate();
        edges
            .flat_map(|(edge, e)| (0..ops).map(move |op| (edge, e, op)))
            .map(|(edge, e, op)| f32::from(u8::from(reaches_output[e.to] && exists(edge, op))))
            .collect()
    }

    /// Code distances of the network at initialisation with the mixing weights `w: [E, O]`.
    pub(super) fn distances(&self, w: &[f32], codes: Codes) -> Result<CodeDistances, EngineError> {
        self.engines.build(self.spec, self.seed)?.code_distances(self.images, Pass::new(w), codes)
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
        let live = Candidate { spec: &spec, images: &[], seed: 0, engines: &*engines }.live();
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
