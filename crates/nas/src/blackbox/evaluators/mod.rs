//! What gives values: one file each.

mod interruptible;
mod proxy;
mod retrain;
mod table;

pub use interruptible::Interruptible;
pub use proxy::ProxyEvaluator;
pub use retrain::{Follow, RetrainEvaluator};
pub use table::TableEvaluator;
