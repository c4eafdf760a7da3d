//! Search spaces, cells, genotypes.
//!
//! A space is the set of cells a strategy may choose from: for each [`CellKind`] a graph of edges, and on every
//! edge one of `ops`. A strategy sees `E` edges and `O` operations per kind; what the choice means as a network is
//! the space's matter.

mod cost;
mod error;
mod genotype;
pub mod nas_bench_201;
mod op;

use std::fmt;

pub use cost::{Cost, cost};
pub use engine::Edge;
pub use error::{ArchError, SpaceError};
pub use genotype::{CellGenotype, Genotype, GenotypeEdge};
pub use nas_bench_201::{Arch, NasBench201};
pub use op::OpName;

use crate::suggest;

/// A kind of cell: all cells of one kind share one `alpha: [E, O]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellKind {
    /// Name, unique in its space.
    pub name: &'static str,
    /// Nodes that are inputs of the cell; they come first.
    pub inputs: usize,
    /// All nodes, the inputs included.
    pub nodes: usize,
    /// Edges in the order of the rows of `alpha: [E, O]`.
    pub edges: Vec<Edge>,
    /// Incoming edges of each node in a derived cell. `None`: every edge stays.
    pub kept_inputs: Option<usize>,
}

/// What surrounds the cells: the macro network's sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// Input image size.
    pub image: engine::ImageShape,
    /// Number of classes.
    pub classes: usize,
    /// Channels of the first stage, `C`.
    pub channels: usize,
    /// Cells of each stage, `N`.
    pub cells_per_stage: usize,
}

/// A search space.
pub trait SearchSpace: fmt::Debug + Send + Sync {
    /// Name on the command line and in files.
    fn name(&self) -> &'static str;

    /// One sentence for lists.
    fn description(&self) -> &'static str;

    /// Candidate operations in the order of the columns of `alpha: [E, O]`.
    fn ops(&self) -> &'static [OpName];

    /// Cell kinds, in the order in which a strategy holds their `alpha`.
    fn kinds(&self) -> &[CellKind];

    /// Names of the edges, `to<-from`, in the order of the rows of `alpha: [E, O]`.
    fn edge_names(&self) -> Vec<String> {
        self.kinds().iter().flat_map(|k| &k.edges).map(|e| format!("{}<-{}", e.to, e.from)).collect()
    }

    /// The supernet: every operation alive on every edge, batch normalisation of the operations without scale and shift.
    fn supernet(&self, shape: &NetworkShape) -> engine::NetworkSpec;

    /// The network of one genotype: one operation alive on each edge, batch normalisation with scale and shift.
    ///
    /// # Errors
    /// [`SpaceError::Genotype`] where the genotype is not one of this space.
    fn network(&self, genotype: &Genotype, shape: &NetworkShape) -> Result<engine::NetworkSpec, SpaceError>;

    /// Reads a genotype in the notation of the space's paper.
    ///
    /// # Errors
    /// [`SpaceError::Arch`] with the position of the first character that does not fit.
    fn parse(&self, text: &str) -> Result<Genotype, SpaceError>;

    /// Writes a genotype in the notation of the space's paper.
    ///
    /// # Errors
    /// [`SpaceError::Genotype`] where the genotype is not one of this space.
    fn text(&self, genotype: &Genotype) -> Result<String, SpaceError>;

    /// Index of a genotype in the space's tabular benchmark, if there is one.
    fn table_index(&self, genotype: &Genotype) -> Option<usize>;
}

/// All search spaces.
pub fn all() -> &'static [&'static dyn SearchSpace] {
    &[&NasBench201]
}

/// The search space called `name`.
///
/// # Errors
/// [`SpaceError::UnknownSpace`], with the nearest name.
pub fn find(name: &str) -> Result<&'static dyn SearchSpace, SpaceError> {
    all().iter().copied().find(|s| s.name() == name).ok_or_else(|| {
        let names = || all().iter().map(|s| s.name());
        SpaceError::UnknownSpace {
            given: name.to_owned(),
            nearest: suggest::nearest(name, names()),
            known: suggest::one_of(names()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_knows_the_names_and_suggests_the_nearest() {
        assert_eq!(find("nas-bench-201").unwrap().name(), "nas-bench-201");
        assert_eq!(
            find("nas-bench201").unwrap_err().to_string(),
            "unknown search space `nas-bench201`, expected nas-bench-201; did you mean `nas-bench-201`?"
        );
        assert_eq!(find("zzz").unwrap_err().to_string(), "unknown search space `zzz`, expected nas-bench-201");
    }

    #[test]
    fn every_space_is_consistent_with_itself() {
        for space in all() {
            assert!(!space.ops().is_empty() && !space.description().is_empty());
            let shape = NetworkShape {
                image: engine::ImageShape { height: 8, width: 8, channels: 1 },
                classes: 10,
                channels: 4,
                cells_per_stage: 1,
            };
            let supernet = space.supernet(&shape);
            supernet.check().unwrap();
            assert!(!supernet.affine && supernet.alive.iter().all(|&a| a));
            assert_eq!(
                supernet.mixing_len(),
                space.kinds().iter().map(|k| k.edges.len()).sum::<usize>() * space.ops().len()
            );
            for kind in space.kinds() {
                assert!(kind.edges.iter().all(|e| e.from < e.to && e.to >= kind.inputs && e.to < kind.nodes));
            }
        }
    }
}
