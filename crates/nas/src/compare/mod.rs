//! Several searches side by side: a matrix of settings and seeds, each cell an ordinary run folder that can be stopped and
//! resumed, summarised into one table.
//!
//! Searches whose settings differ only in what comes after the warm-up share it: one trains it, the others go on
//! from its checkpoint and end as if they had trained it themselves.

mod cell;
mod file;
mod runner;
mod summary;

pub use cell::{Cell, CompareError, EXAMPLE, SUMMARIES};
pub use file::Comparison;
pub use runner::{Progress, run};
pub use summary::{COLUMNS, Row, Statistic, Summary, heads};
