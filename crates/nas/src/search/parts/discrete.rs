use super::edges::Incoming;
use crate::{
    search::{column, error::SearchError, genotype},
    space::{Genotype, OpName, SearchSpace},
    supernet::{Mask, OpAt, PerOp},
};

/// The operation of the largest of `values: [E, O]` on each edge; of equal ones the first. Where the space keeps fewer edges of a
/// node than there are, `none` is never chosen, and the edges stay whose operation has the largest of `weights: [E, O]` (DARTS).
///
/// # Errors
/// A choice that makes no cell of the space.
pub fn by_largest(
    space: &dyn SearchSpace,
    mask: &Mask,
    values: &PerOp<f64>,
    weights: &PerOp<f64>,
) -> Result<Genotype, SearchError> {
    let nodes = Incoming::of(space);
    let never = column(space, OpName::NONE).filter(|_| !nodes.is_empty());
    let chosen = |(row, alive): (&[f64], &[bool])| {
        let allowed = |op: usize| alive[op] && Some(op) != never;
        largest(&(0..row.len()).map(|op| if allowed(op) { row[op] } else { f64::NEG_INFINITY }).collect::<Vec<_>>())
    };
    let mut chosen: Vec<OpAt> = values.rows().zip(mask.rows()).map(chosen).enumerate().collect();
    let dropped: Vec<usize> = nodes.into_iter().flat_map(|node| node.dropped(|row| weights[chosen[row]])).collect();
    chosen.retain(|(row, _)| !dropped.contains(row));
    genotype(space, &chosen)
}

fn largest(row: &[f64]) -> usize {
    (1..row.len()).fold(0, |best, op| if row[op] > row[best] { op } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_values_wins() {
        assert_eq!(largest(&[0.1, 0.3, -0.2, 0.3]), 1);
        assert_eq!(largest(&[-1.0]), 0);
    }
}
