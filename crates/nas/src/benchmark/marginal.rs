use super::{Column, Table};
use crate::{
    space::{
        Arch,
        nas_bench_201::{EDGES, OPS},
    },
    supernet::PerOp,
};

impl Table {
    /// What an operation is worth on an edge by the table, `[E, O]`: the mean of a column over all architectures with the
    /// operation there minus the mean over those without it, in the column's unit. `top`: among that part of all
    /// architectures, the best by the column (1: among all). `None` where the table lacks the column; NaN where one of the
    /// two sides is empty.
    pub fn marginals(&self, column: Column, top: f64) -> Option<PerOp<f64>> {
        let sign = if column.quantity().higher_is_better() { 1.0 } else { -1.0 };
        let values = self.column(column)?;
        let mut known: Vec<(Arch, f64)> =
            Arch::all().zip(values.iter().copied()).filter(|(_, v)| !v.is_nan()).collect();
        known.sort_by(|a, b| (sign * b.1).total_cmp(&(sign * a.1)));
        known.truncate((known.len() as f64 * top).ceil() as usize);
        let (count, sum) = (known.len() as f64, known.iter().map(|(_, v)| v).sum::<f64>());
        let mut with = PerOp::filled(EDGES, OPS.len(), (0.0, 0.0));
        for (arch, value) in known {
            for (edge, op) in arch.ops().into_iter().enumerate() {
                let (n, s) = &mut with[(edge, usize::from(op))];
                *n += 1.0;
                *s += value;
            }
        }
        Some(with.map(|&(n, s)| s / n - (sum - s) / (count - n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::table::tests::made_up;

    #[test]
    fn a_column_that_counts_an_operation_has_its_marginal() {
        // Worth 1 for every operation of column 3, wherever it stands.
        let count = |arch: Arch| arch.ops().iter().filter(|&&op| op == 3).count() as f64;
        let table = made_up().with_column(Column::Cifar10Valid, Arch::all().map(count).collect());
        let m = table.marginals(Column::Cifar10Valid, 1.0).unwrap();
        for edge in 0..EDGES {
            assert!((m[(edge, 3)] - 1.0).abs() < 1e-9, "{}", m[(edge, 3)]);
            assert!((m[(edge, 0)] + 0.25).abs() < 1e-9, "{}", m[(edge, 0)]);
        }
        // Only one architecture is the best: with it everywhere, there is nothing to compare.
        assert!(table.marginals(Column::Cifar10Valid, 1e-9).unwrap()[(0, 3)].is_nan());
    }
}
