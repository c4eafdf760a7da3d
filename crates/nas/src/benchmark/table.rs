use std::cmp::Ordering;

use super::{
    BenchmarkDataset, Column, Epochs, Split,
    column::Need,
    query::{Accuracy, QueryResult},
};
use crate::space::nas_bench_201::{ARCHITECTURES, Arch};

/// Values by `Column as usize`, then by the architecture's index. Blank values are NaN.
pub(super) type Columns = Vec<Option<Vec<f64>>>;

/// NAS-Bench-201: what is known of each of the 15,625 architectures.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Columns,
}

impl Table {
    /// The columns that the table has.
    pub fn columns(&self) -> impl Iterator<Item = Column> {
        Column::ALL.iter().copied().filter(|&c| self.column(c).is_some())
    }

    /// All values of a column in index order, `[15625]`, NaN where blank; `None` where the table lacks the column.
    pub fn column(&self, column: Column) -> Option<&[f64]> {
        self.columns[column as usize].as_deref()
    }

    /// A value in the column's unit; `None` where the table lacks the column or the value is blank.
    pub fn value(&self, column: Column, arch: Arch) -> Option<f64> {
        self.column(column).map(|values| values[arch.index()]).filter(|v| !v.is_nan())
    }

    /// Rank of an architecture by a column among all that have a value: 1 is the best, equal values share the better rank.
    /// `None` as for [`Table::value`].
    pub fn rank(&self, column: Column, arch: Arch) -> Option<usize> {
        let own = self.value(column, arch)?;
        let better = if column.quantity().higher_is_better() { Ordering::Greater } else { Ordering::Less };
        Some(1 + self.column(column)?.iter().filter(|v| v.partial_cmp(&&own) == Some(better)).count())
    }

    /// The best architecture by a column and its value; the one of lowest index among equals.
    /// `None` where the table lacks the column.
    pub fn best(&self, column: Column) -> Option<(Arch, f64)> {
        let sign = if column.quantity().higher_is_better() { 1.0 } else { -1.0 };
        let values = Arch::all().zip(self.column(column)?.iter().copied()).filter(|(_, v)| !v.is_nan());
        values.reduce(|best, next| if sign * next.1 > sign * best.1 { next } else { best })
    }

    /// Top-1 accuracy in percent.
    pub fn accuracy(&self, dataset: BenchmarkDataset, split: Split, epochs: Epochs, arch: Arch) -> f64 {
        self.required(Column::accuracy(dataset, split, epochs), arch)
    }

    /// Seconds of 200 epochs of training on the benchmark's GPU (CIFAR-10: on half of the training set); fewer epochs
    /// take their share.
    pub fn train_seconds(&self, dataset: BenchmarkDataset, arch: Arch) -> f64 {
        self.required(Column::seconds(dataset), arch)
    }

    /// What `query` prints: size of the CIFAR-10 network and the accuracies after 200 epochs.
    pub fn query(&self, arch: Arch) -> QueryResult {
        let accuracy = |dataset| Accuracy {
            valid: self.accuracy(dataset, Split::Valid, Epochs::TwoHundred, arch),
            test: self.accuracy(dataset, Split::Test, Epochs::TwoHundred, arch),
        };
        QueryResult {
            index: arch.index(),
            arch: arch.to_string(),
            params_m: self.required(Column::Cifar10Params, arch),
            flops_m: self.required(Column::Cifar10Flops, arch),
            cifar10: accuracy(BenchmarkDataset::Cifar10),
            cifar100: accuracy(BenchmarkDataset::Cifar100),
            imagenet16_120: accuracy(BenchmarkDataset::ImageNet16x120),
        }
    }

    /// A value of a column that every table has: [`Table::from_columns`] has checked it.
    fn required(&self, column: Column, arch: Arch) -> f64 {
        self.value(column, arch).unwrap_or(f64::NAN)
    }

    /// A table of these columns, by `Column as usize`. Checks that required columns are there, that every column has a value
    /// per architecture and that each value is in its range (or NaN in a sparse column).
    pub(super) fn from_columns(columns: Columns) -> Result<Self, String> {
        let table = Self { columns };
        for &column in Column::ALL {
            let Some(values) = table.column(column) else {
                match column.need() {
                    Need::Required => return Err(format!("column `{column}` is missing")),
                    Need::Optional | Need::Sparse => continue,
                }
            };
            if values.len() != ARCHITECTURES {
                return Err(format!("column `{column}` has {} values, expected {ARCHITECTURES}", values.len()));
            }
            if let Some(index) = values.iter().position(|&v| !is_valid(column, v)) {
                let expected = column.quantity().expected();
                return Err(format!("index {index}, column `{column}`: {}, expected {expected}", values[index]));
            }
        }
        Ok(table)
    }
}

/// Whether a column may hold this value.
pub(super) fn is_valid(column: Column, value: f64) -> bool {
    let (low, high) = column.quantity().range();
    (low..=high).contains(&value) || (value.is_nan() && column.need() == Need::Sparse)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Made-up values, all different, in every column but the last; the third seed is blank for odd indices.
    pub(crate) fn made_up() -> Table {
        let value = |column: Column, index: usize| match column {
            Column::Cifar10TestSeed2 if index % 2 == 1 => f64::NAN,
            _ => (index * 37 % ARCHITECTURES) as f64 / 200.0 + column as usize as f64 / 100.0,
        };
        let mut columns: Vec<_> =
            Column::ALL.iter().map(|&c| Some((0..ARCHITECTURES).map(|i| value(c, i)).collect())).collect();
        columns[Column::ImageNet16TestV11 as usize] = None;
        Table::from_columns(columns).unwrap()
    }

    impl Table {
        /// With other values in a column.
        pub(crate) fn with_column(mut self, column: Column, values: Vec<f64>) -> Table {
            self.columns[column as usize] = Some(values);
            self
        }

        /// Without a column, which no table has lost that was read from a file.
        pub(crate) fn without_column(mut self, column: Column) -> Table {
            self.columns[column as usize] = None;
            self
        }
    }

    fn at(index: usize) -> Arch {
        Arch::from_index(index).unwrap()
    }

    #[test]
    fn rank_counts_from_the_best_and_lower_is_better_for_sizes() {
        let table = made_up();
        let column = Column::Cifar100Test;
        let (best, value) = table.best(column).unwrap();
        assert_eq!(table.rank(column, best), Some(1));
        assert!(Arch::all().all(|a| table.value(column, a).unwrap() <= value));
        let (smallest, value) = table.best(Column::Cifar10Params).unwrap();
        assert_eq!(table.rank(Column::Cifar10Params, smallest), Some(1));
        assert_eq!(value, table.value(Column::Cifar10Params, at(0)).unwrap());
        // Every rank once, since no two values are equal.
        let mut ranks: Vec<usize> = Arch::all().step_by(25).map(|a| table.rank(column, a).unwrap()).collect();
        ranks.sort_unstable();
        ranks.dedup();
        assert_eq!(ranks.len(), 625);
    }

    #[test]
    fn equal_values_share_the_better_rank() {
        let mut table = made_up();
        let values = table.columns[Column::Cifar10Test as usize].as_mut().unwrap();
        values.fill(50.0);
        values[7] = 60.0;
        values[8] = 40.0;
        assert_eq!([7, 0, 9, 8].map(|i| table.rank(Column::Cifar10Test, at(i)).unwrap()), [1, 2, 2, 15_625]);
    }

    #[test]
    fn a_blank_value_and_a_missing_column_are_none() {
        let table = made_up();
        assert!(table.value(Column::Cifar10TestSeed2, at(2)).is_some());
        assert_eq!(table.value(Column::Cifar10TestSeed2, at(3)), None);
        assert_eq!(table.rank(Column::Cifar10TestSeed2, at(3)), None);
        assert_eq!(table.value(Column::ImageNet16TestV11, at(2)), None);
        assert_eq!(table.best(Column::ImageNet16TestV11), None);
        assert_eq!(table.columns().count(), Column::ALL.len() - 1);
    }

    #[test]
    fn columns_that_make_no_table_are_refused() {
        let refused = |change: &dyn Fn(&mut Columns)| {
            let mut columns = made_up().columns;
            change(&mut columns);
            Table::from_columns(columns).unwrap_err()
        };
        assert_eq!(refused(&|c| c[0] = None), "column `cifar10_valid` is missing");
        let too_few = refused(&|c| c[1] = Some(vec![1.0]));
        assert_eq!(too_few, "column `cifar10_test` has 1 values, expected 15625");
        for (value, shown) in [(f64::NAN, "NaN"), (100.5, "100.5"), (-1.0, "-1"), (f64::INFINITY, "inf")] {
            let error = refused(&|c| c[2].as_mut().unwrap()[9] = value);
            assert_eq!(error, format!("index 9, column `cifar100_valid`: {shown}, expected a percentage in 0..=100"));
        }
    }
}
