//! The architecture alone, in forms that every command reads as `@FILE`.

use crate::space::{Genotype, SearchSpace, SpaceError};

/// In the notation of the space's paper.
pub(super) fn text(space: &dyn SearchSpace, genotype: &Genotype) -> Result<String, SpaceError> {
    space.text(genotype)
}

/// As JSON.
pub(super) fn json(space: &dyn SearchSpace, genotype: &Genotype) -> Result<String, SpaceError> {
    genotype.check(space)?;
    serde_json::to_string_pretty(genotype).map_err(|e| SpaceError::Genotype(e.to_string()))
}
