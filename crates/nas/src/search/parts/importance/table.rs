use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Performance;
use crate::{
    numbers::Number,
    search::parts::criterion::{Criterion, Term},
    supernet::{OpAt, PerOp},
};

/// A performance of the whole supernet and of the supernet without each of some sets of operations.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The supernet as it is.
    pub supernet: f64,
    /// Without each set, in the order of the sets.
    pub without: Vec<f64>,
}

/// What taking each of some sets of operations out costs, in the order of the sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Costs {
    /// What the supernet was judged by.
    pub by: Criterion,
    /// Images that each performance was measured on; 0 for a count of parameters.
    pub images: usize,
    /// Performance of the supernet minus that without the set; by several terms their weighted sum, each in units of its
    /// mean absolute value over all sets.
    pub values: Vec<f64>,
    /// The performances themselves by name: `accuracy` (percent) and `loss` (nats), or the proxy's score.
    pub measures: BTreeMap<String, Scores>,
    /// Determinants of a proxy's kernel whose sign is not +1: `None` for the whole supernet, else the set left out; with
    /// the sign, 0 for a singular kernel.
    pub signs: Vec<(Option<usize>, i8)>,
}

impl Costs {
    /// The costs by another performance that the same sweep has measured: one by accuracy also knows the loss, and the
    /// other way round.
    pub(super) fn by(&self, by: Performance) -> Option<Self> {
        self.by.single()?;
        let Scores { supernet, without } = self.measures.get(&by.to_string())?;
        let values = without.iter().map(|&w| lost(by, *supernet, w)).collect();
        Some(Self { by: by.into(), values, ..self.clone() })
    }

    /// The costs by a criterion from those of each of its terms.
    pub(super) fn sum(by: Criterion, terms: Vec<Self>) -> Self {
        let single = by.single().is_some();
        let mut terms = by.terms().iter().zip(terms).map(|(t, costs)| if single { costs } else { costs.scaled(*t) });
        let Some(mut whole) = terms.next() else { unreachable!("a criterion has a term") };
        for other in terms {
            for (sum, value) in whole.values.iter_mut().zip(other.values) {
                *sum = added(*sum, value);
            }
            whole.images = whole.images.max(other.images);
            whole.measures.extend(other.measures);
            whole.signs.extend(other.signs);
        }
        whole.by = by;
        whole
    }

    /// Multiples of the mean absolute value of those that are finite, times the weight of the term.
    fn scaled(mut self, Term { weight, .. }: Term) -> Self {
        let unit = unit(mean_size(self.values.iter().copied()));
        self.values.iter_mut().for_each(|v| *v = weight * (*v / unit));
        self
    }

    /// As a table `[edges, ops]`; the sets are single operations, `at`.
    pub fn table(self, (edges, ops): (usize, usize), at: &[OpAt]) -> ImportanceTable {
        let place = |values: &[f64]| {
            let mut table = PerOp::filled(edges, ops, None);
            at.iter().zip(values).for_each(|(&at, &value)| table[at] = Some(Number(value)));
            table
        };
        let measure = |(name, scores): (String, Scores)| {
            (name, Measure { supernet: Number(scores.supernet), without: place(&scores.without) })
        };
        ImportanceTable {
            importance: place(&self.values),
            by: self.by,
            images: self.images,
            measures: self.measures.into_iter().map(measure).collect(),
            signs: self.signs.into_iter().map(|(set, sign)| (set.map(|set| at[set]), sign)).collect(),
        }
    }
}

/// What a change costs: the performance before it minus that after it; of equal infinities 0.
pub(super) fn lost(by: Performance, whole: f64, changed: f64) -> f64 {
    match by {
        _ if whole == changed => 0.0,
        Performance::Loss => changed - whole,
        _ => whole - changed,
    }
}

/// Sum of two importances. Opposite infinities say nothing together: 0.
pub(in crate::search::parts) fn added(one: f64, other: f64) -> f64 {
    let both = one + other;
    if both.is_nan() { 0.0 } else { both }
}

/// What importances of this mean size are divided by; those of zero stay what they are.
pub(in crate::search::parts) fn unit(mean_size: f64) -> f64 {
    if mean_size > 0.0 { mean_size } else { 1.0 }
}

fn mean_size(values: impl Iterator<Item = f64>) -> f64 {
    let finite: Vec<f64> = values.map(f64::abs).filter(|v| v.is_finite()).collect();
    finite.iter().sum::<f64>() / finite.len().max(1) as f64
}

/// A performance of the whole supernet and of the supernet without each operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The supernet as it is.
    pub supernet: Number,
    /// Without the operation, `[E, O]`; `None` where it is not alive.
    pub without: PerOp<Option<Number>>,
}

/// The importance of single operations: [`Costs`] as a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportanceTable {
    /// What the supernet was judged by.
    pub by: Criterion,
    /// Images that each performance was measured on; 0 for a count of parameters.
    pub images: usize,
    /// See [`Costs::values`], `[E, O]`; `None` where an operation is not alive.
    pub importance: PerOp<Option<Number>>,
    /// See [`Costs::measures`].
    pub measures: BTreeMap<String, Measure>,
    /// See [`Costs::signs`].
    pub signs: Vec<(Option<OpAt>, i8)>,
}

impl ImportanceTable {
    /// The importances by another performance that the same sweep has measured.
    pub fn by(&self, by: Performance) -> Option<Self> {
        self.by.single()?;
        let Measure { supernet, without } = self.measures.get(&by.to_string())?;
        let lost = |v: &Option<Number>| v.as_ref().map(|v| Number(lost(by, supernet.0, v.0)));
        Some(Self { by: by.into(), importance: without.map(lost), ..self.clone() })
    }

    /// Mean absolute value of the importances that are finite; 0 where none is. `without`: a column that is left out.
    pub fn mean_size(&self, without: Option<usize>) -> f64 {
        mean_size(self.finite(without))
    }

    /// Standard deviation of the importances that are finite; 0 where none is. `without`: a column that is left out.
    pub fn spread(&self, without: Option<usize>) -> f64 {
        let values: Vec<f64> = self.finite(without).collect();
        let count = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / count;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt()
    }

    fn finite(&self, without: Option<usize>) -> impl Iterator<Item = f64> {
        let rows = self.importance.rows().flat_map(|row| row.iter().enumerate());
        let there = rows.filter(move |(op, _)| Some(*op) != without).filter_map(|(_, v)| v.as_ref());
        there.map(|v| v.0).filter(|v| v.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(by: Performance, values: &[f64]) -> Costs {
        let images = if by == Performance::Loss { 128 } else { 64 };
        Costs { by: by.into(), images, values: values.to_vec(), measures: BTreeMap::new(), signs: vec![] }
    }

    #[test]
    fn several_performances_are_added_in_units_of_their_mean_size() {
        let loss = costs(Performance::Loss, &[0.25, -0.75, 0.5]);
        let naswot = costs(Performance::Naswot, &[6.0, -3.0, f64::NEG_INFINITY]);
        let by = Criterion::try_from("loss+naswot".to_owned()).unwrap();
        let sum = Costs::sum(by.clone(), vec![loss.clone(), naswot]);
        assert_eq!((&sum.by, sum.images), (&by, 128));
        for (found, expected) in sum.values.iter().zip([0.5 + 6.0 / 4.5, -1.5 - 3.0 / 4.5, f64::NEG_INFINITY]) {
            assert!(*found == expected || (found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        // One alone is what it is; costs of zero add nothing.
        assert_eq!(Costs::sum(Performance::Loss.into(), vec![loss.clone()]), loss);
        let zeros = costs(Performance::Naswot, &[0.0; 3]);
        assert_eq!(Costs::sum(by, vec![loss, zeros]).values[0], 0.5);
    }

    #[test]
    fn single_operations_make_a_table_and_the_dead_have_no_value() {
        let mut lost = costs(Performance::Naswot, &[1.0, 2.0, 3.0]);
        lost.signs = vec![(None, -1), (Some(2), 0)];
        lost.measures.insert("naswot".to_owned(), Scores { supernet: 5.0, without: vec![4.0, 3.0, 2.0] });
        let table = lost.table((2, 2), &[(0, 0), (1, 0), (1, 1)]);
        let values = |p: &PerOp<Option<Number>>| p.values().iter().map(|v| v.map(|v| v.0)).collect::<Vec<_>>();
        assert_eq!(values(&table.importance), [Some(1.0), None, Some(2.0), Some(3.0)]);
        assert_eq!(values(&table.measures["naswot"].without), [Some(4.0), None, Some(3.0), Some(2.0)]);
        assert_eq!(table.signs, [(None, -1), (Some((1, 1)), 0)]);
        assert_eq!(table.by(Performance::Naswot).unwrap().importance, table.importance);
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let line = r#"{"by":"loss","probe":"alone","images":512,"images_by_edge":[512],"importance":[[1.0,null]],
            "measures":{},"signs":[]}"#;
        assert_eq!(serde_json::from_str::<ImportanceTable>(line).unwrap().images, 512);
    }
}
