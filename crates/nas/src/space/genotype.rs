use serde::{Deserialize, Serialize};

use super::{CellKind, OpName, SearchSpace, SpaceError};

/// The result of a search: the operations that were chosen, cell kind by cell kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genotype {
    /// Name of the search space.
    pub space: String,
    /// One entry per cell kind, in the space's order.
    pub cells: Vec<CellGenotype>,
}

/// The chosen operations of one cell kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellGenotype {
    /// Name of the cell kind.
    pub kind: String,
    /// Edges that remain, in the space's order.
    pub edges: Vec<GenotypeEdge>,
}

/// An edge with its one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenotypeEdge {
    /// Source node.
    pub from: usize,
    /// Target node.
    pub to: usize,
    /// The operation.
    pub op: OpName,
}

impl Genotype {
    /// The genotype with the given `(edge, op)` choices, one list per cell kind of `space`.
    /// `edge` and `op` are the row and column of `alpha: [E, O]`.
    ///
    /// # Errors
    /// [`SpaceError::Genotype`] where an edge or operation does not exist or the choice does not make a cell of the space.
    pub fn from_choices(space: &dyn SearchSpace, chosen: &[&[(usize, usize)]]) -> Result<Self, SpaceError> {
        let (ops, kinds) = (space.ops(), space.kinds());
        if chosen.len() != kinds.len() {
            return Err(fault(format!("choices for {} cells, `{}` has {}", chosen.len(), space.name(), kinds.len())));
        }
        let cell = |kind: &CellKind, chosen: &[(usize, usize)]| {
            let edge = |&(edge, op): &(usize, usize)| match (kind.edges.get(edge), ops.get(op)) {
                (Some(e), Some(&op)) => Ok(GenotypeEdge { from: e.from, to: e.to, op }),
                (None, _) => Err(fault(format!("edge {edge} of a cell with {} edges", kind.edges.len()))),
                (_, None) => Err(fault(format!("operation {op} on edge {edge}, the space has {}", ops.len()))),
            };
            Ok(CellGenotype { kind: kind.name.to_owned(), edges: chosen.iter().map(edge).collect::<Result<_, _>>()? })
        };
        let cells = kinds.iter().zip(chosen).map(|(k, c)| cell(k, c)).collect::<Result<_, SpaceError>>()?;
        let genotype = Self { space: space.name().to_owned(), cells };
        genotype.check(space)?;
        Ok(genotype)
    }

    /// Checks that this is a genotype of `space`: its cell kinds, each with edges of the space in any order,
    /// every edge once or as many incoming edges per node as the space keeps, and operations of the space.
    ///
    /// # Errors
    /// [`SpaceError::Genotype`] with the first thing that does not fit.
    pub fn check(&self, space: &dyn SearchSpace) -> Result<(), SpaceError> {
        if self.space != space.name() {
            return Err(fault(format!("it belongs to `{}`, expected `{}`", self.space, space.name())));
        }
        let kinds = space.kinds();
        if self.cells.len() != kinds.len() {
            return Err(fault(format!("{} cells, `{}` has {}", self.cells.len(), space.name(), kinds.len())));
        }
        for (cell, kind) in self.cells.iter().zip(kinds) {
            cell.check(kind, space.ops())?;
        }
        Ok(())
    }
}

impl CellGenotype {
    fn check(&self, kind: &CellKind, ops: &[OpName]) -> Result<(), SpaceError> {
        if self.kind != kind.name {
            return Err(fault(format!("cell kind `{}`, expected `{}`", self.kind, kind.name)));
        }
        for e in &self.edges {
            if !kind.edges.iter().any(|k| (k.from, k.to) == (e.from, e.to)) {
                return Err(fault(format!("edge {} -> {} does not exist in a `{}` cell", e.from, e.to, kind.name)));
            }
            if !ops.contains(&e.op) {
                return Err(fault(format!("operation `{}` is not part of the space", e.op)));
            }
        }
        match kind.kept_inputs {
            None => kind.edges.iter().try_for_each(|k| {
                match self.edges.iter().filter(|e| (e.from, e.to) == (k.from, k.to)).count() {
                    1 => Ok(()),
                    n => Err(fault(format!("edge {} -> {} occurs {n} times, expected once", k.from, k.to))),
                }
            }),
            Some(kept) => (kind.inputs..kind.nodes).try_for_each(|node| {
                match self.edges.iter().filter(|e| e.to == node).count() {
                    n if n == kept => Ok(()),
                    n => Err(fault(format!("node {node} has {n} incoming edges, expected {kept}"))),
                }
            }),
        }
    }
}

fn fault(why: String) -> SpaceError {
    SpaceError::Genotype(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Edge, NasBench201};

    fn all_skip() -> Genotype {
        Genotype::from_choices(&NasBench201, &[&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]]).unwrap()
    }

    #[test]
    fn json_is_readable_and_round_trips() {
        let json = serde_json::to_string(&all_skip()).unwrap();
        assert!(json.starts_with(
            r#"{"space":"nas-bench-201","cells":[{"kind":"cell","edges":[{"from":0,"to":1,"op":"skip_connect"},"#
        ));
        assert_eq!(serde_json::from_str::<Genotype>(&json).unwrap(), all_skip());
    }

    #[test]
    fn json_with_an_unknown_operation_or_key_is_refused() {
        let json = serde_json::to_string(&all_skip()).unwrap();
        let error = |text: &str| serde_json::from_str::<Genotype>(text).unwrap_err().to_string();
        assert!(error(&json.replace("skip_connect", "skip_conect")).contains("did you mean `skip_connect`?"));
        assert!(error(&json.replace("\"kind\"", "\"kin\"")).contains("kin"));
    }

    #[test]
    fn what_is_not_a_cell_of_the_space_is_refused() {
        let refused = |change: &dyn Fn(&mut Genotype), part: &str| {
            let mut genotype = all_skip();
            change(&mut genotype);
            let error = genotype.check(&NasBench201).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(&|g| g.space = "darts".into(), "`darts`");
        refused(&|g| g.cells.clear(), "0 cells");
        refused(&|g| g.cells[0].kind = "normal".into(), "`normal`");
        refused(&|g| g.cells[0].edges[0].to = 0, "edge 0 -> 0");
        refused(&|g| g.cells[0].edges.truncate(5), "edge 2 -> 3 occurs 0 times");
        refused(&|g| g.cells[0].edges[1] = g.cells[0].edges[0], "edge 0 -> 1 occurs 2 times");
        assert!(Genotype::from_choices(&NasBench201, &[&[], &[]]).unwrap_err().to_string().contains("for 2 cells"));
        assert!(Genotype::from_choices(&NasBench201, &[&[(6, 0)]]).unwrap_err().to_string().contains("edge 6"));
        assert!(Genotype::from_choices(&NasBench201, &[&[(0, 5)]]).unwrap_err().to_string().contains("operation 5"));
    }

    #[test]
    fn a_kind_that_keeps_two_incoming_edges_counts_them() {
        let kind = CellKind {
            name: "normal",
            inputs: 2,
            nodes: 4,
            outputs: 2,
            edges: [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)].map(|(from, to)| Edge { from, to }).to_vec(),
            kept_inputs: Some(2),
        };
        let edge = |from, to| GenotypeEdge { from, to, op: OpName::SKIP_CONNECT };
        let mut cell =
            CellGenotype { kind: "normal".into(), edges: vec![edge(0, 2), edge(1, 2), edge(0, 3), edge(2, 3)] };
        cell.check(&kind, &[OpName::SKIP_CONNECT]).unwrap();
        assert!(cell.check(&kind, &[OpName::NONE]).unwrap_err().to_string().contains("`skip_connect` is not part"));
        cell.edges.push(edge(1, 3));
        let error = cell.check(&kind, &[OpName::SKIP_CONNECT]).unwrap_err().to_string();
        assert!(error.contains("node 3 has 3 incoming edges, expected 2"), "{error}");
    }
}
