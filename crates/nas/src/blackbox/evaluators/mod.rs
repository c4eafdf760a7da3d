//! What gives values: one file each. An evaluator that trains networks from scratch would be another, made of [`crate::retrain`]:
//! its fidelities are numbers of epochs, its costs seconds.

mod proxy;
mod table;

pub use proxy::ProxyEvaluator;
pub use table::TableEvaluator;
