//! Genotypes in the notation of the field.

use super::{Darts, INPUTS, KINDS, NODES};
use crate::space::{Genotype, GenotypeEdge, SpaceError};

/// The edges of the normal and of the reduction cell, those of a node together, nodes in order.
pub(super) fn cells(genotype: &Genotype) -> Result<[Vec<GenotypeEdge>; 2], SpaceError> {
    genotype.check(&Darts)?;
    Ok([0, 1].map(|kind| {
        let mut edges = genotype.cells[kind].edges.clone();
        edges.sort_by_key(|e| e.to);
        edges
    }))
}

/// `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))`, as
/// Python prints it.
pub(super) fn write(genotype: &Genotype) -> Result<String, SpaceError> {
    let fields = KINDS.iter().zip(cells(genotype)?).map(|(kind, edges)| {
        let pairs: Vec<String> = edges.iter().map(|e| format!("('{}', {})", e.op, e.from)).collect();
        let name = kind.name;
        format!("{name}=[{}], {name}_concat=range({INPUTS}, {NODES})", pairs.join(", "))
    });
    Ok(format!("Genotype({})", fields.collect::<Vec<_>>().join(", ")))
}
