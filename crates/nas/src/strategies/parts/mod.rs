//! What strategies are composed of; each part is a value.

mod adam;
mod alpha;
mod criterion;
mod importance;
mod pruner;
mod race;
mod relaxation;
mod sweep_mean;
mod update;

pub use adam::{Adam, AdamConfig};
pub use alpha::{Alpha, AlphaInit};
pub use criterion::{Criterion, Term};
pub use importance::{
    CodeWeights, Importance, ImportanceConfig, ImportanceTable, Kernel, Measure, Performance, Probe, RemovedRelu,
    Sweep, SweepLength,
};
pub use pruner::{Decayed, NoneRule, Pruner};
pub use race::Cut;
pub use relaxation::{Relaxation, Removal};
pub use sweep_mean::{SweepMean, Sweeps};
pub use update::{AlphaUpdate, SkipDropout};
