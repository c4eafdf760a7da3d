//! What strategies are composed of; each part is a value.

mod adam;
mod alpha;
mod criterion;
mod dropout;
mod edges;
mod events;
mod importance;
mod pruner;
mod regulariser;
mod relaxation;
mod sweep_mean;
mod update;

pub use adam::{Adam, AdamConfig};
pub use alpha::{Alpha, AlphaInit};
pub use criterion::{Criterion, Term};
pub use dropout::SkipDropout;
pub use edges::{EdgeChoice, Incoming};
pub use events::{EdgePrune, HardPrune, SoftPrune, Swept};
pub use importance::{
    Costs, Importance, ImportanceConfig, ImportanceTable, Kernel, Measure, Performance, RemovedRelu, Scores, Without,
    rank_agreement,
};
pub use pruner::{Decayed, NoneRule, Pruner, Sweep};
pub use regulariser::Regulariser;
pub use relaxation::{Mixture, Relax, Relaxation, Removal};
pub use sweep_mean::{SweepMean, Sweeps};
pub use update::AlphaUpdate;
