//! Search spaces, cells, genotypes.
