//! Genotypes in the notation of the field.

use super::Darts;
use crate::space::{CellGenotype, Genotype, GenotypeEdge, SearchSpace, SpaceError};

/// The edges of each kind of cell, those of a node together, nodes in order.
pub(super) fn cells(space: Darts, genotype: &Genotype) -> Result<Vec<Vec<GenotypeEdge>>, SpaceError> {
    genotype.check(&space)?;
    let sorted = |cell: &CellGenotype| {
        let mut edges = cell.edges.clone();
        edges.sort_by_key(|e| e.to);
        edges
    };
    Ok(genotype.cells.iter().map(sorted).collect())
}

/// `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))`, as
/// Python prints it; of the kinds of cells that the space has.
pub(super) fn write(space: Darts, genotype: &Genotype) -> Result<String, SpaceError> {
    let fields = space.kinds().iter().zip(cells(space, genotype)?).map(|(kind, edges)| {
        let pairs: Vec<String> = edges.iter().map(|e| format!("('{}', {})", e.op, e.from)).collect();
        let (name, nodes) = (kind.name, kind.nodes);
        format!("{name}=[{}], {name}_concat=range({}, {nodes})", pairs.join(", "), nodes - kind.outputs)
    });
    Ok(format!("Genotype({})", fields.collect::<Vec<_>>().join(", ")))
}
