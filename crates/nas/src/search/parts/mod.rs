//! What strategies are composed of; each part is a value.

mod adam;
mod alpha;
mod beta_decay;
mod cells;
pub mod checks;
mod controller;
mod criterion;
mod curvature;
mod dirichlet;
mod discrete;
mod dropout;
mod early_stop;
mod edge_weights;
mod edges;
mod events;
mod gamma;
mod gumbel;
mod importance;
mod lstm;
mod paths;
mod perturbation;
mod pruner;
mod ramp;
mod regulariser;
mod relaxation;
mod sigmoid;
mod sweep_mean;
mod update;

pub use adam::{Adam, AdamConfig};
pub use alpha::{Alpha, AlphaInit};
pub use beta_decay::BetaDecay;
pub use cells::{BestCell, CellsCompared, CellsConfig};
pub use controller::{Controller, ControllerConfig, Drawn};
pub use criterion::{Criterion, Term};
pub use dirichlet::{Dirichlet, FromUniform};
pub use discrete::by_largest;
pub use dropout::SkipDropout;
pub use early_stop::{EarlyStop, EarlyStopConfig, StopRule};
pub use edge_weights::{EdgeWeights, WeightedEdges};
pub use edges::{EdgeChoice, Incoming};
pub use events::{EdgePrune, Eigenvalue, HardPrune, SoftPrune, Swept};
pub use gumbel::{GumbelArgmax, GumbelSoftmax};
pub use importance::{
    Costs, Importance, ImportanceConfig, ImportanceTable, Kernel, Measure, Performance, RemovedRelu, Scores, Without,
    rank_agreement,
};
pub use paths::{Paths, equal_shares, path};
pub use perturbation::{Perturbation, perturb, perturb_against};
pub use pruner::{Decayed, NoneRule, Pruner, Sweep};
pub use ramp::Ramp;
pub use regulariser::Regulariser;
pub use relaxation::{Mixture, Relax, Relaxation, Removal};
pub use sigmoid::{Sigmoid, ZeroOne};
pub use sweep_mean::{SweepMean, Sweeps};
pub use update::AlphaUpdate;
