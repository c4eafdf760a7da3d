use rand_chacha::ChaCha8Rng;

use super::edges::Incoming;
use crate::{
    random,
    search::column,
    space::{OpName, SearchSpace},
    supernet::{Mask, Mixing, OpAt, PerOp},
};

/// Single cells of a space, as paths through its supernet: one operation on each edge that the cell keeps.
#[derive(Clone, Debug)]
pub struct Paths {
    nodes: Vec<Incoming>,
    none: Option<usize>,
    /// Whether a cell never has `none`: where a space keeps fewer edges of a node than there are.
    never_none: bool,
}

impl Paths {
    /// Of the cells of a space.
    pub fn new(space: &dyn SearchSpace) -> Self {
        let never_none = !Incoming::of(space).is_empty();
        Self { nodes: Incoming::all(space), none: column(space, OpName::NONE), never_none }
    }

    /// Operations that an edge of a cell may have.
    fn ops(&self, mask: &Mask, row: usize) -> Vec<usize> {
        let never = self.none.filter(|_| self.never_none);
        (0..mask.ops()).filter(|&op| mask[(row, op)] && Some(op) != never).collect()
    }

    /// A cell at random: every set of edges that a node may keep is equally probable, and so is every operation of an edge. A
    /// node whose edges are all `none` is drawn again, unless they have nothing else.
    pub fn uniform(&self, mask: &Mask, rng: &mut ChaCha8Rng) -> Vec<OpAt> {
        let mut cell = vec![];
        for node in &self.nodes {
            let mut rows: Vec<u32> = node.rows.iter().map(|&row| row as u32).collect();
            if rows.len() > node.kept {
                random::shuffle(rng, &mut rows);
                rows.truncate(node.kept);
                rows.sort_unstable();
            }
            let edges: Vec<(usize, Vec<usize>)> = rows
                .iter()
                .map(|&row| (row as usize, self.ops(mask, row as usize)))
                .filter(|(_, ops)| !ops.is_empty())
                .collect();
            let cut = |at: &OpAt| Some(at.1) == self.none;
            let must_cut = edges.iter().all(|(_, ops)| ops.iter().all(|&op| Some(op) == self.none));
            loop {
                let drawn: Vec<OpAt> =
                    edges.iter().map(|(row, ops)| (*row, ops[random::below(rng, ops.len())])).collect();
                if must_cut || !drawn.iter().all(cut) {
                    cell.extend(drawn);
                    break;
                }
            }
        }
        cell
    }

    /// The `count` cells of the largest product of `shares: [E, O]` over their operations, the best first; of equal ones that with
    /// the earlier edges and operations.
    pub fn most_probable(&self, mask: &Mask, shares: &PerOp<f64>, count: usize) -> Vec<Vec<OpAt>> {
        let edge = |row: usize| -> Vec<Scored> {
            self.ops(mask, row).into_iter().map(|op| (shares[(row, op)].ln(), vec![(row, op)])).collect()
        };
        let mut cells: Vec<Scored> = vec![(0.0, vec![])];
        for node in &self.nodes {
            let mut of_node = vec![];
            for kept in subsets(&node.rows, node.kept) {
                let one = vec![(0.0, vec![])];
                of_node.extend(
                    kept.into_iter()
                        .map(edge)
                        .filter(|ops| !ops.is_empty())
                        .fold(one, |all, ops| join(&all, &ops, count)),
                );
            }
            cells = join(&cells, &of_node, count);
        }
        cells.into_iter().map(|(_, cell)| cell).collect()
    }
}

/// Log-probability and a part of a cell.
type Scored = (f64, Vec<OpAt>);

/// The best `count` of all pairs.
fn join(left: &[Scored], right: &[Scored], count: usize) -> Vec<Scored> {
    let mut sums: Vec<(f64, usize, usize)> = vec![];
    for (i, (a, _)) in left.iter().enumerate() {
        sums.extend(right.iter().enumerate().map(|(j, (b, _))| (a + b, i, j)));
    }
    sums.sort_by(|a, b| b.0.total_cmp(&a.0));
    sums.truncate(count);
    sums.into_iter().map(|(sum, i, j)| (sum, [&left[i].1[..], &right[j].1].concat())).collect()
}

/// All sets of `kept` of the rows, in their order.
fn subsets(rows: &[usize], kept: usize) -> Vec<Vec<usize>> {
    match rows {
        _ if rows.len() <= kept => vec![rows.to_vec()],
        _ if kept == 0 => vec![vec![]],
        [] => vec![],
        [first, rest @ ..] => {
            let with = subsets(rest, kept - 1).into_iter().map(|set| [&[*first], &set[..]].concat());
            with.chain(subsets(rest, kept)).collect()
        }
    }
}

/// A pass through one cell: its operations alone are run, with weight 1.
pub fn path(cell: &[OpAt], mask: &Mask) -> Mixing {
    let mut run = mask.map(|_| false);
    cell.iter().for_each(|&at| run[at] = mask[at]);
    Mixing { w: run.map(|&runs| if runs { 1.0 } else { 0.0 }), run: Some(run) }
}

/// Equal shares of what is alive: the mean over cells drawn uniformly, but for the edges that a space leaves out.
pub fn equal_shares(mask: &Mask) -> PerOp<f64> {
    let mut w = mask.map(|_| 0.0);
    for (w, alive) in w.rows_mut().zip(mask.rows()) {
        let count = alive.iter().filter(|&&alive| alive).count();
        w.iter_mut().zip(alive).filter(|(_, alive)| **alive).for_each(|(w, _)| *w = 1.0 / count as f64);
    }
    w
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::{
        search::{Candidates, genotype},
        space::{Darts, NasBench201},
    };

    #[test]
    fn cells_are_of_the_space_and_no_node_is_cut_off() {
        for space in [&NasBench201 as &'static dyn SearchSpace, &Darts::Original] {
            let mask = Candidates::all(space).offered().clone();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let paths = Paths::new(space);
            for _ in 0..500 {
                let cell = paths.uniform(&mask, &mut rng);
                genotype(space, &cell).unwrap();
                for node in Incoming::all(space) {
                    let ops: Vec<usize> =
                        cell.iter().filter(|(row, _)| node.rows.contains(row)).map(|at| at.1).collect();
                    assert!(ops.len() == node.kept && ops.iter().any(|&op| op != 0), "{cell:?}");
                }
                let mixing = path(&cell, &mask);
                assert_eq!(mixing.run.unwrap().alive().count(), cell.len());
            }
        }
    }

    #[test]
    fn a_node_that_has_nothing_but_none_is_let_be() {
        let mut mask = Mask::filled(6, 5, true);
        // The first edge is the only one into its node.
        mask.row_mut(0).copy_from_slice(&[true, false, false, false, false]);
        let cell = Paths::new(&NasBench201).uniform(&mask, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(cell[0], (0, 0));
    }

    #[test]
    fn draws_are_uniform_but_for_the_cut_nodes() {
        let (mut rng, mask) = (ChaCha8Rng::seed_from_u64(3), Mask::filled(6, 5, true));
        let mut counts = [0; 5];
        for _ in 0..8000 {
            counts[Paths::new(&NasBench201).uniform(&mask, &mut rng)[0].1] += 1;
        }
        // The first node has one edge, which is never `none`: 2,000 each, five standard deviations of 39.
        assert!(counts[0] == 0 && counts[1..].iter().all(|n| (1806..=2194).contains(n)), "{counts:?}");
    }

    #[test]
    fn the_most_probable_cells_are_those_of_all_15625() {
        let mask = Mask::filled(6, 5, true);
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut shares = PerOp::from_values(5, (0..30).map(|_| 0.05 + random::unit(&mut rng)).collect());
        shares.rows_mut().for_each(|row| {
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= sum);
        });
        let probability = |cell: &[usize]| cell.iter().enumerate().map(|at| shares[(at.0, *at.1)].ln()).sum::<f64>();
        let cell = |i: usize| -> Vec<usize> { (0..6).map(|edge| i / 5_usize.pow(edge) % 5).collect() };
        let mut all: Vec<Vec<usize>> = (0..15_625).map(cell).collect();
        all.sort_by(|a, b| probability(b).total_cmp(&probability(a)));
        let found = Paths::new(&NasBench201).most_probable(&mask, &shares, 100);
        let found: Vec<Vec<usize>> = found.iter().map(|cell| cell.iter().map(|at| at.1).collect()).collect();
        assert_eq!(found, all[..100]);
    }

    #[test]
    fn in_the_darts_space_the_best_pair_of_edges_is_part_of_the_best_cell() {
        let mask = Candidates::all(&Darts::Original).offered().clone();
        let mut shares = PerOp::filled(28, 8, 0.1);
        // Node 3 has the edges 2 to 4; `none` never counts.
        shares[(2, 5)] = 0.5;
        shares[(4, 7)] = 0.4;
        shares[(3, 0)] = 0.9;
        let cells = Paths::new(&Darts::Original).most_probable(&mask, &shares, 3);
        let of_node: Vec<OpAt> = cells[0].iter().copied().filter(|at| (2..5).contains(&at.0)).collect();
        assert_eq!(of_node, [(2, 5), (4, 7)]);
        for cell in cells {
            genotype(&Darts::Original, &cell).unwrap();
        }
    }
}
