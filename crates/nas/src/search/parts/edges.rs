use serde::{Deserialize, Serialize};

use crate::space::SearchSpace;

/// By what the incoming edges of a node are chosen that stay in the derived cell, in a space whose cells keep fewer than a
/// supernet has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeChoice {
    /// One edge of each node after the other goes: the one without which the network's performance falls least (DARTS-PT).
    #[default]
    Importance,
    /// Those with the largest weights stay (DARTS).
    Weight,
}

/// The incoming edges of a node, and how many of them the derived cell keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Rows of `alpha: [E, O]`.
    pub rows: Vec<usize>,
    /// How many of them stay.
    pub kept: usize,
}

impl Incoming {
    /// The nodes of a space's cells that have more incoming edges than stay; none in a space that keeps all edges.
    pub fn of(space: &dyn SearchSpace) -> Vec<Self> {
        let mut nodes = Self::all(space);
        nodes.retain(|node| node.rows.len() > node.kept);
        nodes
    }

    /// All nodes of a space's cells but the inputs.
    pub fn all(space: &dyn SearchSpace) -> Vec<Self> {
        let mut first = 0;
        let mut nodes = vec![];
        for kind in space.kinds() {
            for node in kind.inputs..kind.nodes {
                let into = kind.edges.iter().enumerate().filter(|(_, edge)| edge.to == node);
                let rows: Vec<usize> = into.map(|(row, _)| first + row).collect();
                nodes.push(Self { kept: kind.kept_inputs.unwrap_or(rows.len()), rows });
            }
            first += kind.edges.len();
        }
        nodes
    }

    /// The row that goes first by these values, one for each row; of equal ones the first. `None` where all stay.
    pub fn weakest(&self, value: impl Fn(usize) -> f64) -> Option<usize> {
        let of_all = self.rows.iter().copied().min_by(|&a, &b| value(a).total_cmp(&value(b)));
        of_all.filter(|_| self.rows.len() > self.kept)
    }

    /// Takes a row out.
    pub fn drop(&mut self, row: usize) {
        self.rows.retain(|&other| other != row);
    }

    /// Rows that go, the weakest first, where the values do not change meanwhile.
    pub fn dropped(mut self, value: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut gone = vec![];
        while let Some(row) = self.weakest(&value) {
            self.drop(row);
            gone.push(row);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Darts, NasBench201};

    #[test]
    fn nodes_with_more_edges_than_stay() {
        assert_eq!(Incoming::of(&NasBench201), []);
        let nodes = Incoming::of(&Darts::Original);
        let rows: Vec<_> = nodes.iter().map(|n| (n.rows[0], n.rows.len(), n.kept)).collect();
        assert_eq!(rows, [(2, 3, 2), (5, 4, 2), (9, 5, 2), (16, 3, 2), (19, 4, 2), (23, 5, 2)]);
    }

    #[test]
    fn the_weakest_go_and_of_equals_the_first() {
        let node = Incoming { rows: vec![4, 5, 6, 7], kept: 2 };
        let value = |row: usize| [0.3, 0.1, 0.2, 0.1][row - 4];
        assert_eq!(node.weakest(value), Some(5));
        assert_eq!(node.clone().dropped(value), [5, 7]);
        assert_eq!(node.clone().dropped(|_| 1.0), [4, 5]);
        assert_eq!(Incoming { kept: 4, ..node }.weakest(value), None);
    }
}
