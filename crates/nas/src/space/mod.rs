//! Search spaces, cells, genotypes.
//!
//! A space is the set of cells a strategy may choose from: for each [`CellKind`] a graph of edges, and on every
//! edge one of `ops`. A strategy sees `E` edges and `O` operations per kind; what the choice means as a network is
//! the space's matter.
//!
//! ```
//! # use engine as hpe_darts_engine;
//! use hpe_darts_engine::ImageShape;
//! use hpe_darts_nas::space::{self, NetworkShape};
//!
//! // Any notation of the field, whichever space it is of.
//! let text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|";
//! let genotype = space::read(text, None)?;
//! let space = space::find(&genotype.space)?;
//! assert_eq!((space.name(), space.table_index(&genotype)), ("nas-bench-201", Some(9930)));
//!
//! let image = ImageShape { height: 32, width: 32, channels: 3 };
//! let shape = NetworkShape { image, classes: 10, channels: 16, cells: 5, stem_stride: 1 };
//! let cost = space.network(&genotype, &shape)?.graph()?.cost();
//! assert_eq!(format!("{:.3} M", cost.params_m()), "1.289 M");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursor;
pub mod darts;
mod error;
mod genotype;
pub mod nas_bench_201;
mod op;

use std::{fmt, ops::RangeInclusive};

pub use darts::Darts;
pub use engine::{Cost, Edge};
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
    /// So many of the last nodes are the output, concatenated where there are several.
    pub outputs: usize,
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
    /// Cells `N`: of each stage in NAS-Bench-201, of the whole network in DARTS.
    pub cells: usize,
    /// Stride of the stem: 1 in both papers' networks for CIFAR.
    pub stem_stride: usize,
}

impl NetworkShape {
    /// Checks what a space says of its networks: how many cells they have, and how often they halve the stem's output (rounding
    /// up). An image is too small where a single pixel would be left to halve.
    fn check(&self, space: &'static str, cells: RangeInclusive<usize>, halvings: u32) -> Result<(), SpaceError> {
        if !cells.contains(&self.cells) {
            return Err(SpaceError::Cells { space, cells: self.cells, min: *cells.start(), max: *cells.end() });
        }
        let min = (1 << halvings) / 2 * self.stem_stride + 1;
        let engine::ImageShape { height, width, .. } = self.image;
        if height.min(width) < min {
            return Err(SpaceError::Image { space, height, width, min });
        }
        Ok(())
    }
}

/// Channels and cells of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// See [`NetworkShape::channels`].
    pub channels: usize,
    /// See [`NetworkShape::cells`].
    pub cells: usize,
}

/// A search space.
pub trait SearchSpace: fmt::Debug + Send + Sync {
    /// Name on the command line and in files.
    fn name(&self) -> &'static str;

    /// Name of the space that it is a variety of: presets and published settings of that one are its own as well.
    fn family(&self) -> &'static str {
        self.name()
    }

    /// One sentence for lists.
    fn description(&self) -> &'static str;

    /// Candidate operations in the order of the columns of `alpha: [E, O]`.
    fn ops(&self) -> &'static [OpName];

    /// Cell kinds, in the order in which a strategy holds their `alpha`.
    fn kinds(&self) -> &[CellKind];

    /// Names of the edges in the order of the rows of `alpha: [E, O]`: `to<-from`, after the kind of cell where there
    /// are several.
    fn edge_names(&self) -> Vec<String> {
        let kinds = self.kinds();
        let prefix = |k: &CellKind| if kinds.len() > 1 { format!("{} ", k.name) } else { String::new() };
        kinds.iter().flat_map(|k| k.edges.iter().map(move |e| format!("{}{}<-{}", prefix(k), e.to, e.from))).collect()
    }

    /// Size of the supernet in the space's paper.
    fn supernet_size(&self) -> Size;

    /// Size of the network that the space's paper trains in the end.
    fn network_size(&self) -> Size;

    /// The supernet: every operation alive on every edge, batch normalisation of the operations without scale and shift.
    ///
    /// # Errors
    /// [`SpaceError::Cells`], [`SpaceError::Image`].
    fn supernet(&self, shape: &NetworkShape) -> Result<engine::NetworkSpec, SpaceError>;

    /// The network of one genotype: one operation alive on each edge, batch normalisation with scale and shift.
    ///
    /// # Errors
    /// [`SpaceError::Genotype`] where the genotype is not one of this space, [`SpaceError::Cells`], [`SpaceError::Image`].
    fn network(&self, genotype: &Genotype, shape: &NetworkShape) -> Result<engine::NetworkSpec, SpaceError>;

    /// Index of the block of a network of so many cells that an auxiliary head reads; `None` where the space has none.
    fn auxiliary_block(&self, _cells: usize) -> Option<usize> {
        None
    }

    /// Whether a text begins as this space's notation does.
    fn claims(&self, text: &str) -> bool;

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
    const ALL: [&dyn SearchSpace; 5] = {
        let [original, all_skip, single, single_all_skip] = &Darts::ALL;
        [&NasBench201, original, all_skip, single, single_all_skip]
    };
    &ALL
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

/// Reads a genotype in the notation of its space or as JSON; `space`: which one it has to be of, if that is known. Spaces of a
/// family share a notation; without `space` it is the first of them.
///
/// # Errors
/// [`SpaceError`]: no space recognises the text, or it is not a genotype of its space.
pub fn read(text: &str, space: Option<&'static dyn SearchSpace>) -> Result<Genotype, SpaceError> {
    let claiming = space.into_iter().chain(all().iter().copied()).find(|s| s.claims(text));
    match (claiming, space) {
        (Some(claiming), Some(space)) if claiming.name() != space.name() => {
            Err(SpaceError::OtherSpace { given: claiming.name(), expected: space.name() })
        }
        (Some(claiming), _) => claiming.parse(text),
        (None, _) if cursor::bare(text).starts_with('{') => json(cursor::bare(text), space),
        (None, Some(space)) => space.parse(text),
        (None, None) => Err(SpaceError::Unrecognised {
            given: text.to_owned(),
            expected: "`|op~0|+|op~0|op~1|+...`, an index, `Genotype(normal=[...], ...)` or a genotype as JSON"
                .to_owned(),
        }),
    }
}

fn json(text: &str, space: Option<&'static dyn SearchSpace>) -> Result<Genotype, SpaceError> {
    let genotype: Genotype = serde_json::from_str(text).map_err(|e| SpaceError::Genotype(format!("as JSON: {e}")))?;
    genotype.check(space.map_or_else(|| find(&genotype.space), Ok)?)?;
    Ok(genotype)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "nas-bench-201, darts, darts-all-skip, darts-single-cell or darts-single-cell-all-skip";

    #[test]
    fn find_knows_the_names_and_suggests_the_nearest() {
        assert_eq!(find("nas-bench-201").unwrap().name(), "nas-bench-201");
        assert_eq!(
            find("nas-bench201").unwrap_err().to_string(),
            format!("unknown search space `nas-bench201`, expected {KNOWN}; did you mean `nas-bench-201`?")
        );
        assert_eq!(find("zzz").unwrap_err().to_string(), format!("unknown search space `zzz`, expected {KNOWN}"));
    }

    #[test]
    fn every_space_is_consistent_with_itself() {
        for space in all() {
            assert!(!space.ops().is_empty() && !space.description().is_empty());
            let shape = NetworkShape {
                image: engine::ImageShape { height: 8, width: 8, channels: 1 },
                classes: 10,
                channels: 4,
                cells: space.supernet_size().cells.min(3),
                stem_stride: 1,
            };
            assert!(find(space.family()).is_ok_and(|first| first.family() == first.name()));
            let supernet = space.supernet(&shape).unwrap();
            supernet.check().unwrap();
            assert!(!supernet.norm.affine && supernet.alive.iter().all(|&a| a));
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
