//! What is measured of a cell, each with its name: four kinds of accuracy, sizes, times.

use super::result::CellResult;
use crate::{
    benchmark::{Column, Table},
    data::ImageShape,
    space::{self, Arch, NetworkShape},
};

/// The accuracies that a summary takes from the table, after 200 epochs, in percent.
pub const COLUMNS: [(Column, &str); 6] = [
    (Column::Cifar10Valid, "CIFAR-10 valid"),
    (Column::Cifar10Test, "CIFAR-10 test"),
    (Column::Cifar100Valid, "CIFAR-100 valid"),
    (Column::Cifar100Test, "CIFAR-100 test"),
    (Column::ImageNet16Valid, "ImageNet16-120 valid"),
    (Column::ImageNet16Test, "ImageNet16-120 test"),
];

/// How many values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Mean and deviation.
    Deviation,
    /// Mean, smallest and largest value.
    Range,
}

/// A quantity of a cell.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name in JSON and CSV.
    pub key: &'static str,
    /// Head of its column.
    pub head: &'static str,
    pub(super) shown: Shown,
    pub(super) value: fn(&CellResult, Option<&Table>) -> Option<f64>,
}

macro_rules! metrics {
    ($($key:literal, $head:literal, $shown:ident, $value:expr;)+) => {
        /// All metrics, in the order of the columns of a summary. A column without a value is not shown.
        pub const METRICS: &[Metric] =
            &[$(Metric { key: $key, head: $head, shown: Shown::$shown, value: $value }),+];
    };
}

metrics! {
    "table_cifar10_valid", "table: CIFAR-10 valid", Deviation, |r, t| table(r, t, Column::Cifar10Valid);
    "table_cifar10_test", "table: CIFAR-10 test", Deviation, |r, t| table(r, t, Column::Cifar10Test);
    "table_cifar100_valid", "table: CIFAR-100 valid", Deviation, |r, t| table(r, t, Column::Cifar100Valid);
    "table_cifar100_test", "table: CIFAR-100 test", Deviation, |r, t| table(r, t, Column::Cifar100Test);
    "table_imagenet16_valid", "table: ImageNet16-120 valid", Deviation, |r, t| table(r, t, Column::ImageNet16Valid);
    "table_imagenet16_test", "table: ImageNet16-120 test", Deviation, |r, t| table(r, t, Column::ImageNet16Test);
    "table_rank", "table: rank (best to worst)", Range, |r, t| Some(t?.rank(Column::Cifar10Test, arch(r)?)? as f64);
    "retrained_valid", "retrained network: valid", Deviation, |r, _| Some(r.retrained.as_ref()?.last_valid?.accuracy.0);
    "retrained_test", "retrained network: test", Deviation, |r, _| Some(r.retrained.as_ref()?.test.accuracy.0);
    "inherited_valid", "inherited weights: batch of D_val", Deviation, |r, _| r.inherited_valid;
    "supernet_train", "supernet: D_train", Deviation, |r, _| r.supernet_train;
    "supernet_valid", "supernet: D_val", Deviation, |r, _| r.supernet_valid;
    "parameters_m", "parameters (M)", Deviation, |r, _| Some(size(r)?.0);
    "multiply_adds_m", "multiply-adds (M)", Deviation, |r, _| Some(size(r)?.1);
    "hours", "hours", Deviation, |r, _| Some(r.seconds / 3600.0);
    "simulated_hours", "simulated hours", Deviation, |r, _| Some(r.simulated_seconds? / 3600.0);
    "retraining_hours", "retraining hours", Deviation, |r, _| Some(r.retraining_seconds? / 3600.0);
}

/// The metric of a key.
pub(super) fn metric(key: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.key == key)
}

fn arch(result: &CellResult) -> Option<Arch> {
    Arch::from_index(result.index?).ok()
}

fn table(result: &CellResult, table: Option<&Table>, column: Column) -> Option<f64> {
    table?.value(column, arch(result)?)
}

/// Millions of parameters and of multiply-adds of the network for CIFAR-10 that the space's paper trains.
fn size(result: &CellResult) -> Option<(f64, f64)> {
    let space = space::find(&result.genotype.space).ok()?;
    let size = space.network_size();
    let image = ImageShape { height: 32, width: 32, channels: 3 };
    let shape = NetworkShape { image, classes: 10, channels: size.channels, cells: size.cells, stem_stride: 1 };
    let cost = space.network(&result.genotype, &shape).ok()?.graph().ok()?.cost();
    Some((cost.parameters as f64 / 1e6, cost.multiply_adds as f64 / 1e6))
}
