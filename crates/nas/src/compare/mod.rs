//! Several searches side by side: methods, spaces, data sets, settings and seeds, each cell a folder of its own that can be stopped and
//! gone on with, summarised into one table.
//!
//! A search by a supernet is an ordinary run folder. Those whose settings differ only in what comes after the warm-up share it: one
//! trains it, the others go on from its checkpoint and end as if they had trained it themselves. A black-box search is so short that
//! it is done or not. What a cell finds can be trained from scratch as a part of the comparison.

mod baseline;
mod blackbox;
mod cell;
mod check;
mod error;
mod file;
mod metrics;
mod queue;
mod reference;
mod render;
mod result;
mod retraining;
mod rows;
mod significance;
mod state;
mod statistic;
mod summary;
mod warmup;
mod work;

pub use blackbox::{BlackboxConfig, BlackboxSettings, EvaluatorConfig, Resources};
pub use cell::{Cell, EXAMPLE, OneShot, SUMMARIES, Search};
pub use error::CompareError;
pub use file::{Comparison, Draft, Place};
pub use metrics::{COLUMNS, METRICS, Metric};
pub use queue::{Progress, Results};
pub use reference::Variation;
pub use render::{FORMATS, Format, Grid};
pub use result::CellResult;
pub use retraining::Retraining;
pub use significance::{Kind, Test, holm, rank_sum, signed_rank};
pub use state::State;
pub use statistic::Statistic;
pub use summary::{Against, Best, Comparisons, Entry, Measure, Row, Summary, strays};
pub use work::run;
