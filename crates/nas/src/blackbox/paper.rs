/// Table 1 of the HPE-DARTS paper, the rows without weight sharing: mean and standard deviation of validation and test accuracy on
/// CIFAR-10, CIFAR-100 and ImageNet16-120, in percent, after searches on CIFAR-10 with 12,000
/// simulated seconds; of the whole table the paper says that it averages ten runs.
const TABLE_1: [(&str, [(f64, f64); 6]); 4] = [
    ("random-search", [(91.02, 0.34), (93.73, 0.37), (71.21, 1.17), (71.46, 1.21), (44.87, 1.25), (45.06, 1.37)]),
    (
        "regularized-evolution",
        [(91.17, 0.31), (93.94, 0.26), (71.55, 0.77), (71.91, 1.03), (44.74, 0.93), (45.24, 0.99)],
    ),
    ("reinforce", [(90.07, 0.66), (93.14, 0.65), (69.87, 1.59), (69.94, 1.51), (43.30, 1.51), (43.24, 1.90)]),
    ("bohb", [(89.43, 0.70), (92.55, 0.63), (68.68, 1.20), (68.54, 1.40), (41.64, 1.58), (41.67, 1.80)]),
];

/// Budget of those searches, in simulated seconds.
pub const PAPER_BUDGET: f64 = 12_000.0;

/// What the paper reports of a method.
pub fn paper_row(method: &str) -> Option<[(f64, f64); 6]> {
    TABLE_1.iter().find(|(name, _)| *name == method).map(|(_, row)| *row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blackbox::METHODS;

    #[test]
    fn every_row_is_of_a_method_that_exists() {
        assert!(TABLE_1.iter().all(|(name, _)| METHODS.iter().any(|m| m.name == *name)));
        assert_eq!(paper_row("local-search"), None);
    }
}
