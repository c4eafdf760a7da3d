use crate::{proxy::correlation::spearman, supernet::PerOp};

/// How alike two judgements `[E, O]` order the operations: the mean over the edges of Spearman's rho between the operations
/// that both know. `without`: a column that is left out. `None` where no edge has an order.
pub fn rank_agreement(a: &PerOp<Option<f64>>, b: &PerOp<Option<f64>>, without: Option<usize>) -> Option<f64> {
    let of_edge = |edge: usize| {
        let ops = (0..a.ops()).filter(|&op| Some(op) != without);
        let (x, y): (Vec<f64>, Vec<f64>) = ops.filter_map(|op| Some((a[(edge, op)]?, b[(edge, op)]?))).unzip();
        spearman(&x, &y)
    };
    let all: Vec<f64> = (0..a.edges()).filter_map(of_edge).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_between_the_operations_of_an_edge() {
        let p = |values: &[f64]| PerOp::from_values(4, values.iter().copied().map(Some).collect());
        // Edges differ in level only; `none`, in column 0, does not count.
        let a = p(&[9.0, 1.0, 2.0, 3.0, -9.0, 101.0, 102.0, 103.0]);
        let b = p(&[0.0, 5.0, 6.0, 7.0, 0.0, -3.0, -2.0, -1.0]);
        assert_eq!(rank_agreement(&a, &b, Some(0)), Some(1.0));
        assert!(rank_agreement(&a, &b, None).unwrap() < 1.0);
        let constant = p(&[0.0; 8]);
        assert_eq!(rank_agreement(&a, &constant, Some(0)), None);
    }
}
