use serde::{Deserialize, Serialize};

use super::{importance::ImportanceTable, pruner::Sweep};
use crate::{
    numbers::Number,
    run::{At, Fields},
};

/// A sweep over the operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swept {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// What it was for.
    pub sweep: Sweep,
    /// What came out.
    #[serde(flatten)]
    pub table: ImportanceTable,
}

/// Alpha was decayed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SoftPrune {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Factor on alpha (Eq. 7 of HPE-DARTS).
    pub factor: f64,
    /// Decayed operations of each edge, least important first.
    pub decayed: Vec<Vec<String>>,
}

/// Operations were removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HardPrune {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// Removed operations of each edge, least important first.
    pub removed: Vec<Vec<String>>,
    /// Operations left on each edge.
    pub left: Vec<Vec<String>>,
}

/// Whole edges were removed: the derived cell keeps fewer of a node than there were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EdgePrune {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// The operation that each removed edge had.
    pub removed: Vec<Vec<String>>,
}

impl EdgePrune {
    /// In an epoch.
    pub fn new(at: &At, removed: Vec<Vec<String>>) -> Self {
        Self { epoch: at.epoch + 1, phase: at.name.clone(), removed }
    }
}

/// The curvature of the validation loss was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Eigenvalue {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Name of the phase.
    pub phase: String,
    /// The largest eigenvalue of the Hessian of the validation loss with respect to alpha, in nats.
    pub eigenvalue: Number,
    /// Images that it was measured on.
    pub images: usize,
}

impl Eigenvalue {
    /// In an epoch.
    pub fn new(at: &At, eigenvalue: f64, images: usize) -> Self {
        Self { epoch: at.epoch + 1, phase: at.name.clone(), eigenvalue: Number(eigenvalue), images }
    }
}

impl Fields for Eigenvalue {
    const KIND: &'static str = "eigenvalue";
}

impl Fields for EdgePrune {
    const KIND: &'static str = "edge_prune";
}

impl Swept {
    /// In an epoch.
    pub fn new(at: &At, sweep: Sweep, table: ImportanceTable) -> Self {
        Self { epoch: at.epoch + 1, phase: at.name.clone(), sweep, table }
    }
}

impl SoftPrune {
    /// In an epoch.
    pub fn new(at: &At, factor: f64, decayed: Vec<Vec<String>>) -> Self {
        Self { epoch: at.epoch + 1, phase: at.name.clone(), factor, decayed }
    }
}

impl HardPrune {
    /// In an epoch.
    pub fn new(at: &At, removed: Vec<Vec<String>>, left: Vec<Vec<String>>) -> Self {
        Self { epoch: at.epoch + 1, phase: at.name.clone(), removed, left }
    }
}

impl Fields for Swept {
    const KIND: &'static str = "importance";
}

impl Fields for SoftPrune {
    const KIND: &'static str = "soft_prune";
}

impl Fields for HardPrune {
    const KIND: &'static str = "hard_prune";
}
