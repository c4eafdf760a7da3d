use std::fmt;

use rand_core::Rng;

use super::{ARCHITECTURES, EDGE_LIST, EDGES, NasBench201, OPS, order};
use crate::space::{CellGenotype, Genotype, GenotypeEdge, NetworkShape, OpName, SearchSpace, SpaceError};

/// One cell of NAS-Bench-201: the operation on each edge, as its number in [`super::OPS`].
///
/// Read and written as the benchmark writes it: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, node after node, each
/// incoming edge as `op~source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Arch([u8; EDGES]);

impl Arch {
    /// The cell with these operation numbers.
    ///
    /// # Errors
    /// [`SpaceError::OpIndex`] for a number without an operation.
    pub fn new(ops: [u8; EDGES]) -> Result<Self, SpaceError> {
        let max = OPS.len() - 1;
        match ops.iter().position(|&op| usize::from(op) > max) {
            Some(edge) => Err(SpaceError::OpIndex { edge, op: ops[edge].into(), max }),
            None => Ok(Self(ops)),
        }
    }

    /// The architecture with this index of the benchmark.
    ///
    /// # Errors
    /// [`SpaceError::Index`].
    pub fn from_index(index: usize) -> Result<Self, SpaceError> {
        match order::combination(index) {
            Some(combination) => Ok(Self::from_combination(combination)),
            None => Err(SpaceError::Index { index: index.to_string(), max: ARCHITECTURES - 1 }),
        }
    }

    /// The benchmark's index of this architecture.
    pub fn index(self) -> usize {
        let combination = self.0.iter().fold(0, |sum, &op| sum * OPS.len() + usize::from(op));
        order::index(combination)
    }

    /// All architectures, in the order of their index.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        order::combinations().iter().map(|&c| Self::from_combination(c.into()))
    }

    /// An architecture drawn uniformly.
    pub fn sample(rng: &mut impl Rng) -> Self {
        Self::from_combination(below(rng, ARCHITECTURES))
    }

    /// `count` different architectures drawn uniformly, in random order.
    ///
    /// # Errors
    /// [`SpaceError::Sample`] where there are not that many.
    pub fn sample_distinct(count: usize, rng: &mut impl Rng) -> Result<Vec<Self>, SpaceError> {
        if count > ARCHITECTURES {
            return Err(SpaceError::Sample { asked: count, available: ARCHITECTURES });
        }
        // The first `count` steps of a Fisher-Yates shuffle.
        let mut pool: Vec<usize> = (0..ARCHITECTURES).collect();
        for i in 0..count {
            let j = i + below(rng, ARCHITECTURES - i);
            pool.swap(i, j);
        }
        Ok(pool[..count].iter().map(|&c| Self::from_combination(c)).collect())
    }

    /// The operation number on each edge.
    pub fn ops(self) -> [u8; EDGES] {
        self.0
    }

    /// The operation on each edge.
    pub fn op_names(self) -> [OpName; EDGES] {
        self.0.map(|op| OPS[usize::from(op)])
    }

    /// Whether the cell's input reaches its output on a path without `none`. Otherwise the network is blind: its output is
    /// the same for every image.
    pub fn is_connected(self) -> bool {
        let mut reached = [true, false, false, false];
        // Edges are sorted by target, so every source is settled before it is read.
        for (edge, op) in EDGE_LIST.iter().zip(self.op_names()) {
            reached[edge.to] |= reached[edge.from] && op != OpName::NONE;
        }
        reached[3]
    }

    /// The network with this cell, as the benchmark trains it: one operation alive on each edge, batch normalisation
    /// with scale and shift.
    pub fn network_spec(self, shape: &NetworkShape) -> engine::NetworkSpec {
        let alive = self.0.iter().flat_map(|&chosen| (0..OPS.len()).map(move |op| op == usize::from(chosen)));
        super::network_spec(shape, alive.collect(), true)
    }

    /// `combination`: the operation numbers as digits of base 5, the first edge's first.
    fn from_combination(mut combination: usize) -> Self {
        let mut ops = [0; EDGES];
        for op in ops.iter_mut().rev() {
            *op = (combination % OPS.len()) as u8;
            combination /= OPS.len();
        }
        Self(ops)
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut node = 1;
        f.write_str("|")?;
        for (edge, op) in EDGE_LIST.iter().zip(self.op_names()) {
            if edge.to != node {
                node = edge.to;
                f.write_str("+|")?;
            }
            write!(f, "{op}~{}|", edge.from)?;
        }
        Ok(())
    }
}

impl From<Arch> for Genotype {
    fn from(arch: Arch) -> Self {
        let edges = EDGE_LIST.iter().zip(arch.op_names());
        let edges = edges.map(|(e, op)| GenotypeEdge { from: e.from, to: e.to, op }).collect();
        let kind = NasBench201.kinds()[0].name.to_owned();
        Self { space: NasBench201.name().to_owned(), cells: vec![CellGenotype { kind, edges }] }
    }
}

impl TryFrom<&Genotype> for Arch {
    type Error = SpaceError;

    fn try_from(genotype: &Genotype) -> Result<Self, SpaceError> {
        genotype.check(&NasBench201)?;
        let mut ops = [0; EDGES];
        for chosen in &genotype.cells[0].edges {
            let edge = EDGE_LIST.iter().position(|e| (e.from, e.to) == (chosen.from, chosen.to));
            let op = OPS.iter().position(|&op| op == chosen.op);
            // Both exist: `check` has seen them.
            if let (Some(edge), Some(op)) = (edge, op) {
                ops[edge] = op as u8;
            }
        }
        Ok(Self(ops))
    }
}

/// Uniform in `0..n`, without the bias of a plain remainder.
fn below(rng: &mut impl Rng, n: usize) -> usize {
    let n = n as u64;
    let zone = u64::MAX - u64::MAX % n;
    loop {
        let r = rng.next_u64();
        if r < zone {
            return (r % n) as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn the_benchmarks_first_last_and_best_architectures_have_their_index() {
        for (index, text) in [
            (0, "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
            (3, "|avg_pool_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|skip_connect~2|"),
            (1835, "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"),
            (6111, "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"),
            (9930, "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"),
            (15_624, "|nor_conv_1x1~0|+|none~0|nor_conv_1x1~1|+|none~0|nor_conv_1x1~1|nor_conv_1x1~2|"),
        ] {
            let arch: Arch = text.parse().unwrap();
            assert_eq!(arch.index(), index);
            assert_eq!(Arch::from_index(index).unwrap().to_string(), text);
        }
        assert_eq!(
            Arch::from_index(15_625).unwrap_err().to_string(),
            "architecture index 15625 is out of range, expected 0..=15624"
        );
    }

    #[test]
    fn all_lists_every_architecture_once_in_index_order() {
        let all: Vec<Arch> = Arch::all().collect();
        assert_eq!(all.len(), ARCHITECTURES);
        assert!(all.iter().enumerate().all(|(i, a)| a.index() == i));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), ARCHITECTURES);
    }

    #[test]
    fn connected_means_a_path_without_none() {
        let connected = |ops| Arch::new(ops).unwrap().is_connected();
        assert!(!connected([0; 6]));
        assert!(connected([0, 0, 0, 1, 0, 0]));
        assert!(connected([1, 0, 1, 0, 0, 1]));
        assert!(connected([1, 0, 0, 0, 4, 0]));
        assert!(!connected([3, 3, 3, 0, 0, 0]));
        assert!(!connected([0, 0, 3, 0, 3, 3]));
        for arch in Arch::all() {
            let on = arch.ops().map(|op| op != 0);
            // The paths 0-3, 0-1-3, 0-2-3, 0-1-2-3.
            let path = on[3] || on[0] && on[4] || on[1] && on[5] || on[0] && on[2] && on[5];
            assert_eq!(arch.is_connected(), path, "{arch}");
        }
    }

    #[test]
    fn samples_are_uniform_and_distinct_ones_do_not_repeat() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut seen = [0_usize; 5];
        for _ in 0..10_000 {
            seen[usize::from(Arch::sample(&mut rng).ops()[2])] += 1;
        }
        // 2,000 expected, standard deviation 40.
        assert!(seen.iter().all(|n| (1_800..2_200).contains(n)), "{seen:?}");
        let some = Arch::sample_distinct(200, &mut rng).unwrap();
        assert_eq!(some.iter().collect::<HashSet<_>>().len(), 200);
        let all = Arch::sample_distinct(ARCHITECTURES, &mut rng).unwrap();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), ARCHITECTURES);
        assert!(Arch::sample_distinct(ARCHITECTURES + 1, &mut rng).is_err());
    }

    #[test]
    fn a_discrete_network_has_the_chosen_operation_alive_on_each_edge() {
        let arch = Arch::new([0, 1, 2, 3, 4, 3]).unwrap();
        let spec = arch.network_spec(&super::super::benchmark_shape(32, 10));
        spec.check().unwrap();
        assert!(spec.norm.affine);
        for (edge, row) in spec.alive.chunks(5).enumerate() {
            let alive: Vec<usize> = (0..5).filter(|&op| row[op]).collect();
            assert_eq!(alive, [usize::from(arch.ops()[edge])]);
        }
    }

    #[test]
    fn an_operation_number_out_of_range_is_refused() {
        let error = Arch::new([0, 5, 0, 0, 0, 0]).unwrap_err().to_string();
        assert_eq!(error, "operation 5 on edge 1 is out of range, expected 0..=4");
    }

    proptest! {
        #[test]
        fn operations_string_index_and_genotype_round_trip(ops in prop::array::uniform6(0_u8..5)) {
            let arch = Arch::new(ops).unwrap();
            prop_assert_eq!(arch.ops(), ops);
            prop_assert_eq!(arch.to_string().parse::<Arch>().unwrap(), arch);
            prop_assert_eq!(Arch::from_index(arch.index()).unwrap(), arch);
            let genotype = Genotype::from(arch);
            prop_assert_eq!(Arch::try_from(&genotype).unwrap(), arch);
            let json = serde_json::to_string(&genotype).unwrap();
            prop_assert_eq!(serde_json::from_str::<Genotype>(&json).unwrap(), genotype);
        }
    }
}
