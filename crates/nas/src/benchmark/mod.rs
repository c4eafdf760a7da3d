//! Tabular benchmarks: the NAS-Bench-201 table, which knows the accuracy of every architecture of the space.
//!
//! The official file takes gigabytes and minutes to load. [`Table`] holds the same results, without the training
//! curves, as columns of numbers in a file of 4 MB; [`import`] makes it from a CSV file.

mod column;
mod error;
mod file;
mod import;
mod marginal;
mod query;
mod store;
mod table;
mod version;

pub use column::{BenchmarkDataset, Column, Epochs, Quantity, Split};
pub use error::{ImportError, TableError};
pub use import::{Import, import};
pub use query::{Accuracy, QueryResult};
pub use store::FILE_NAME;
pub use table::Table;
#[cfg(test)]
pub(crate) use table::tests::made_up;
pub use version::VERSION;
