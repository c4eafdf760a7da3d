use crate::{
    benchmark::{BenchmarkDataset, Column, Epochs, Split, Table},
    blackbox::{
        domain::Domain,
        error::BlackboxError,
        evaluator::{Evaluation, Evaluator, Levels},
    },
    space::{Genotype, SpaceError},
};

/// The trainings of the table, the cheapest first.
const TRAININGS: [(Epochs, f64); 2] = [(Epochs::Twelve, 12.0), (Epochs::TwoHundred, 200.0)];

/// A pass over an image without the backward pass takes a third of one with it: the usual estimate, since the table has no times of
/// validation.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// Validation accuracies of NAS-Bench-201 in percent, with the seconds that training and validation take.
///
/// The value is the accuracy on the validation split after 12 epochs (one seed) or 200 (mean over the benchmark's seeds; its authors'
/// code draws one of them). The cost is that of the benchmark's baselines, `train-all-time + valid-per-time`: the epochs' share of
/// the 200 epochs that the table has, and one pass over the validation images, which it does not have and which is estimated from
/// the training time per image.
#[derive(Clone, Debug)]
pub struct TableEvaluator {
    domain: Domain,
    usual: usize,
    trainings: [Training; 2],
}

/// By index of the architecture.
#[derive(Clone, Debug)]
struct Training {
    accuracy: Vec<f64>,
    seconds: Vec<f64>,
}

impl TableEvaluator {
    /// Checks that the table describes a space.
    ///
    /// # Errors
    /// [`BlackboxError::NoTable`].
    pub fn check(domain: &Domain) -> Result<(), BlackboxError> {
        let space = domain.space();
        let first = domain.genotype(&vec![0; domain.variables().len()])?;
        space.table_index(&first).map(drop).ok_or(BlackboxError::NoTable { space: space.name() })
    }

    /// Simulated trainings on `dataset`; `usual`: how long they are for methods with one length.
    ///
    /// # Errors
    /// [`BlackboxError::NoTable`] for a space that the table does not describe, [`BlackboxError::MissingColumn`],
    /// [`BlackboxError::NoTime`].
    pub fn new(
        domain: &Domain,
        table: &Table,
        dataset: BenchmarkDataset,
        usual: Epochs,
    ) -> Result<Self, BlackboxError> {
        Self::check(domain)?;
        let column = |column| table.column(column).ok_or(BlackboxError::MissingColumn { column });
        let seconds = column(Column::seconds(dataset))?;
        if let Some((index, &seconds)) = seconds.iter().enumerate().find(|(_, s)| s.is_nan() || **s <= 0.0) {
            return Err(BlackboxError::NoTime { index, column: Column::seconds(dataset), seconds });
        }
        let (train, valid) = images(dataset);
        let training = |(epochs, number): (Epochs, f64)| -> Result<_, BlackboxError> {
            let accuracy = column(Column::accuracy(dataset, Split::Valid, epochs))?.to_vec();
            let passes = number + FORWARD_SHARE * valid / train;
            Ok(Training { accuracy, seconds: seconds.iter().map(|s| s / 200.0 * passes).collect() })
        };
        let [short, long] = TRAININGS.map(training);
        let usual = usize::from(usual == Epochs::TwoHundred);
        Ok(Self { domain: domain.clone(), usual, trainings: [short?, long?] })
    }
}

/// Images that the accuracies on the validation split come from: trained on, validated on.
fn images(dataset: BenchmarkDataset) -> (f64, f64) {
    match dataset {
        BenchmarkDataset::Cifar10 => (25_000.0, 25_000.0),
        BenchmarkDataset::Cifar100 => (50_000.0, 5_000.0),
        BenchmarkDataset::ImageNet16x120 => (151_700.0, 3_000.0),
    }
}

impl Evaluator for TableEvaluator {
    fn levels(&self) -> Levels {
        Levels { count: TRAININGS.len(), usual: self.usual }
    }

    fn unit(&self) -> &'static str {
        "simulated seconds"
    }

    fn costs(&self, level: usize) -> (f64, f64) {
        let seconds = || self.trainings[level].seconds.iter().copied();
        (seconds().fold(f64::INFINITY, f64::min), seconds().fold(0.0, f64::max))
    }

    fn evaluate(&self, genotype: &Genotype, level: usize) -> Result<Evaluation, BlackboxError> {
        let index = self.domain.space().table_index(genotype);
        let training = &self.trainings[level];
        let found = index.and_then(|i| Some((*training.accuracy.get(i)?, *training.seconds.get(i)?)));
        let (value, cost) = found.ok_or_else(|| SpaceError::Genotype("the table does not have it".to_owned()))?;
        Ok(Evaluation { value, cost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        benchmark::made_up,
        space::{Arch, Darts, NasBench201},
    };

    #[test]
    fn a_training_costs_its_share_of_the_table_and_a_validation_pass() {
        let table = made_up();
        let arch = Arch::from_index(77).unwrap();
        for (dataset, validation) in BenchmarkDataset::ALL.into_iter().zip([1.0, 0.1, 3.0 / 151.7]) {
            let evaluator = TableEvaluator::new(&Domain::new(&NasBench201), &table, dataset, Epochs::Twelve).unwrap();
            let seconds = table.train_seconds(dataset, arch);
            for (level, (epochs, n)) in TRAININGS.into_iter().enumerate() {
                let Evaluation { value, cost } = evaluator.evaluate(&arch.into(), level).unwrap();
                assert_eq!(value, table.accuracy(dataset, Split::Valid, epochs, arch));
                assert!((cost - seconds * (n + validation / 3.0) / 200.0).abs() < 1e-9, "{cost}");
                let (cheapest, dearest) = evaluator.costs(level);
                assert!(cheapest <= cost && cost <= dearest);
            }
        }
    }

    #[test]
    fn a_space_without_a_table_and_a_table_without_a_column_are_refused() {
        let new = |domain: Domain, table: &Table| {
            TableEvaluator::new(&domain, table, BenchmarkDataset::Cifar10, Epochs::Twelve).unwrap_err()
        };
        let error = new(Domain::new(&Darts::Original), &made_up());
        assert_eq!(error.to_string(), "the space `darts` has no table of results, expected `nas-bench-201`");
        assert!(error.hint().unwrap().contains("--proxy"));
        for column in [Column::Cifar10Seconds, Column::Cifar10Valid12, Column::Cifar10Valid] {
            let error = new(Domain::new(&NasBench201), &made_up().without_column(column)).to_string();
            assert_eq!(error, format!("the table has no column `{column}`, which the simulation of a training needs"));
        }
        let mut seconds = vec![1.0; crate::space::nas_bench_201::ARCHITECTURES];
        seconds[9] = 0.0;
        let error = new(Domain::new(&NasBench201), &made_up().with_column(Column::Cifar10Seconds, seconds)).to_string();
        let column = Column::Cifar10Seconds;
        assert_eq!(error, format!("index 9, column `{column}`: 0 seconds, expected more than 0"));
    }
}
