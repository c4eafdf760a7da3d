use super::error::SearchError;
use crate::{
    space::{Genotype, OpName, SearchSpace},
    supernet::OpAt,
};

/// Column of an operation in `alpha: [E, O]`.
pub fn column(space: &dyn SearchSpace, op: OpName) -> Option<usize> {
    space.ops().iter().position(|&o| o == op)
}

/// The genotype of one chosen operation per edge; rows of `alpha: [E, O]` run through the cell kinds.
///
/// # Errors
/// A choice that makes no cell of the space.
pub fn genotype(space: &dyn SearchSpace, chosen: &[OpAt]) -> Result<Genotype, SearchError> {
    let mut first = 0;
    let mut kinds = Vec::new();
    for kind in space.kinds() {
        let rows = first..first + kind.edges.len();
        let own = chosen.iter().filter(|(edge, _)| rows.contains(edge)).map(|&(edge, op)| (edge - first, op));
        kinds.push(own.collect::<Vec<_>>());
        first = rows.end;
    }
    let kinds: Vec<&[(usize, usize)]> = kinds.iter().map(Vec::as_slice).collect();
    Ok(Genotype::from_choices(space, &kinds)?)
}
