//! What the HPE-DARTS paper (Lin, Kuo, Wang) reports, as data: Tables 1 and 2. None of it was measured with this program.

use serde::Serialize;

/// Mean and standard deviation.
pub type Reported = (f64, f64);

/// A row of Table 1: searches on CIFAR-10 in the space of NAS-Bench-201, mean and standard deviation over ten runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Table1Row {
    /// Name in the paper.
    pub label: &'static str,
    /// Its name here, if it exists here: a strategy, or `blackbox.` and a black-box method.
    pub method: Option<&'static str>,
    /// Search cost in hours on the paper's machine; of the methods without weight sharing, simulated.
    pub hours: f64,
    /// Validation and test accuracy after 200 epochs on CIFAR-10, CIFAR-100 and ImageNet16-120, in percent.
    pub accuracies: [Reported; 6],
}

/// A row of Table 2: searches on CIFAR-10 in the space of DARTS, retrained networks, mean and standard deviation over three runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Table2Row {
    /// Name in the paper.
    pub label: &'static str,
    /// Its name here, if it exists here.
    pub method: Option<&'static str>,
    /// Search cost in hours on the paper's machine.
    pub hours: f64,
    /// Millions of parameters of the network for CIFAR-10 and for CIFAR-100.
    pub parameters: [f64; 2],
    /// Accuracy of the retrained network on CIFAR-10 and on CIFAR-100, in percent.
    pub accuracies: [Reported; 2],
}

/// Where a number is from.
pub const TABLE_1_SOURCE: &str = "HPE-DARTS paper, Table 1 (n = 10, its own machine)";

/// Where a number is from.
pub const TABLE_2_SOURCE: &str = "HPE-DARTS paper, Table 2 (n = 3, its own machine)";

/// Budget of the searches without weight sharing in Table 1, in simulated seconds.
pub const PAPER_BUDGET: f64 = 12_000.0;

/// The largest accuracies of Table 1, its row "Optimal".
pub const OPTIMAL: [f64; 6] = [91.61, 94.37, 73.49, 73.51, 46.77, 47.31];

const fn one(label: &'static str, method: Option<&'static str>, hours: f64, accuracies: [Reported; 6]) -> Table1Row {
    Table1Row { label, method, hours, accuracies }
}

/// Table 1.
#[rustfmt::skip]
pub const TABLE_1: [Table1Row; 15] = [
    one("Random Search", Some("blackbox.random-search"), 3.33, [(91.02, 0.34), (93.73, 0.37), (71.21, 1.17), (71.46, 1.21), (44.87, 1.25), (45.06, 1.37)]),
    one("REA", Some("blackbox.regularized-evolution"), 3.33, [(91.17, 0.31), (93.94, 0.26), (71.55, 0.77), (71.91, 1.03), (44.74, 0.93), (45.24, 0.99)]),
    one("REINFORCE", Some("blackbox.reinforce"), 3.33, [(90.07, 0.66), (93.14, 0.65), (69.87, 1.59), (69.94, 1.51), (43.30, 1.51), (43.24, 1.90)]),
    one("BOHB", Some("blackbox.bohb"), 3.33, [(89.43, 0.70), (92.55, 0.63), (68.68, 1.20), (68.54, 1.40), (41.64, 1.58), (41.67, 1.80)]),
    one("RSPS", Some("rsps"), 0.80, [(81.04, 9.23), (84.59, 9.61), (55.95, 8.85), (55.92, 8.85), (30.77, 6.69), (30.00, 6.51)]),
    one("ENAS", Some("enas"), 1.51, [(39.80, 3.54), (55.76, 3.22), (14.17, 1.67), (14.83, 1.54), (16.17, 0.54), (15.95, 0.71)]),
    one("GDAS", Some("gdas"), 2.10, [(90.10, 0.17), (93.44, 0.14), (70.89, 0.34), (70.54, 0.24), (41.71, 0.95), (42.05, 0.82)]),
    one("SETN", Some("setn"), 3.18, [(84.00, 4.34), (87.20, 3.74), (58.40, 7.05), (58.55, 7.05), (32.64, 5.32), (31.91, 5.55)]),
    one("DARTS(1st)", Some("darts"), 1.00, [(39.77, 0.0), (54.30, 0.0), (15.03, 0.0), (15.61, 0.0), (16.43, 0.0), (16.32, 0.0)]),
    one("DARTS(2nd)", Some("darts-2nd"), 3.26, [(39.77, 0.0), (54.30, 0.0), (15.03, 0.0), (15.61, 0.0), (16.43, 0.0), (16.32, 0.0)]),
    one("DrNAS w/o PL", Some("dr-nas"), 2.19, [(91.55, 0.0), (94.36, 0.0), (73.49, 0.0), (73.51, 0.0), (46.37, 0.0), (46.34, 0.0)]),
    one("DrNAS", None, 1.66, [(90.20, 0.0), (93.76, 0.0), (70.71, 0.0), (71.11, 0.0), (40.78, 0.0), (41.44, 0.0)]),
    one("β-DARTS", Some("beta-darts"), 2.25, [(91.39, 0.17), (94.13, 0.28), (72.63, 0.98), (72.74, 0.83), (46.01, 0.35), (45.59, 0.89)]),
    one("VP-DARTS", Some("vp-darts"), 2.06, [(91.28, 0.63), (94.06, 0.44), (72.61, 1.38), (72.61, 1.40), (45.80, 1.55), (46.00, 1.33)]),
    one("HPE-DARTS", Some("hpe-darts"), 0.61, [(91.52, 0.04), (94.31, 0.07), (73.17, 0.34), (73.24, 0.22), (46.25, 0.28), (46.42, 0.09)]),
];

const fn two(
    label: &'static str,
    method: Option<&'static str>,
    hours: f64,
    parameters: [f64; 2],
    accuracies: [Reported; 2],
) -> Table2Row {
    Table2Row { label, method, hours, parameters, accuracies }
}

/// Table 2. Its search of DrNAS has progressive learning, which `dr-nas` has not.
#[rustfmt::skip]
pub const TABLE_2: [Table2Row; 7] = [
    two("DARTS(1st)", Some("darts"), 3.11, [3.34, 3.39], [(97.41, 0.12), (83.22, 0.45)]),
    two("DARTS(2nd)", Some("darts-2nd"), 12.67, [3.13, 3.18], [(97.30, 0.10), (82.64, 0.23)]),
    two("P-DARTS", Some("p-darts"), 2.44, [3.47, 3.52], [(97.28, 0.13), (82.53, 0.41)]),
    two("DrNAS", None, 6.05, [4.70, 4.75], [(97.03, 0.15), (82.66, 0.52)]),
    two("β-DARTS", Some("beta-darts"), 3.01, [3.92, 3.97], [(96.48, 0.62), (80.66, 1.18)]),
    two("VP-DARTS", Some("vp-darts"), 23.00, [2.44, 2.49], [(96.92, 0.19), (81.21, 0.56)]),
    two("HPE-DARTS", Some("hpe-darts"), 1.34, [3.42, 3.47], [(97.26, 0.14), (82.67, 0.29)]),
];

/// What Table 1 reports of a method, by its name here.
pub fn table_1(method: &str) -> Option<&'static Table1Row> {
    TABLE_1.iter().find(|row| row.method == Some(method))
}

/// What Table 2 reports of a method, by its name here.
pub fn table_2(method: &str) -> Option<&'static Table2Row> {
    TABLE_2.iter().find(|row| row.method == Some(method))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{blackbox::METHODS, search::STRATEGIES};

    #[test]
    fn every_row_is_of_a_method_that_exists() {
        let exists = |name: &str| match name.strip_prefix("blackbox.") {
            Some(name) => METHODS.iter().any(|m| m.name == name),
            None => STRATEGIES.iter().any(|s| s.name == name),
        };
        let named = TABLE_1.iter().filter_map(|row| row.method).chain(TABLE_2.iter().filter_map(|row| row.method));
        let missing: Vec<&str> = named.filter(|name| !exists(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(table_1("blackbox.local-search"), None);
        assert_eq!(table_2("gdas"), None);
    }

    #[test]
    fn nothing_reported_is_better_than_the_optimum_but_for_noise() {
        for row in TABLE_1 {
            for ((mean, _), best) in row.accuracies.into_iter().zip(OPTIMAL) {
                assert!(mean <= best, "{}: {mean} > {best}", row.label);
            }
        }
    }
}
