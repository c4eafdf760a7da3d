use std::fmt;

/// A data set of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BenchmarkDataset {
    /// CIFAR-10.
    Cifar10,
    /// CIFAR-100.
    Cifar100,
    /// ImageNet16-120.
    ImageNet16x120,
}

impl BenchmarkDataset {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Cifar10, Self::Cifar100, Self::ImageNet16x120];

    /// Name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::ImageNet16x120 => "imagenet16-120",
        }
    }

    /// Side of its square images, in pixels.
    pub fn image_side(self) -> usize {
        match self {
            Self::Cifar10 | Self::Cifar100 => 32,
            Self::ImageNet16x120 => 16,
        }
    }

    /// Number of classes.
    pub fn classes(self) -> usize {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
            Self::ImageNet16x120 => 120,
        }
    }
}

/// Images that an accuracy was measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// CIFAR-10: the half of the training set that was not trained on (x-valid). The others: half of the original test set.
    Valid,
    /// CIFAR-10: the original test set, trained on all training images. The others: the other half of the original test set.
    Test,
}

impl Split {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Valid, Self::Test];

    /// Name in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// Length of the training that an accuracy comes from. Each has its own full cosine schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epochs {
    /// 12 epochs, one seed.
    Twelve,
    /// 200 epochs, mean over up to three seeds.
    TwoHundred,
}

/// What a column measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quantity {
    /// Top-1 accuracy in percent, higher is better.
    Accuracy,
    /// Millions of parameters, lower is better.
    Parameters,
    /// Millions of multiply-adds, lower is better.
    MultiplyAdds,
    /// Seconds of training on the benchmark's GPU, lower is better.
    Seconds,
}

impl Quantity {
    /// Whether the larger of two values is the better one.
    pub fn higher_is_better(self) -> bool {
        self == Self::Accuracy
    }

    /// The smallest and the largest value there can be.
    pub(super) fn range(self) -> (f64, f64) {
        match self {
            Self::Accuracy => (0.0, 100.0),
            Self::Parameters | Self::MultiplyAdds | Self::Seconds => (0.0, f64::MAX),
        }
    }

    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Accuracy => "a percentage in 0..=100",
            Self::Parameters | Self::MultiplyAdds | Self::Seconds => "a number of at least 0",
        }
    }
}

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $quantity:ident, $need:ident;)+) => {
        /// A column of the table. Accuracies come from 200 epochs of training and are means over the benchmark's seeds
        /// unless they say otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Column { $($(#[$doc])* $variant,)+ }

        impl Column {
            /// All columns.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Name in the CSV file and in the table file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the column measures.
            pub fn quantity(self) -> Quantity {
                match self { $(Self::$variant => Quantity::$quantity,)+ }
            }

            pub(super) fn need(self) -> Need {
                match self { $(Self::$variant => Need::$need,)+ }
            }
        }
    };
}

/// How much of a column must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A table has it, with a number for every architecture.
    Required,
    /// A table may lack it; if not, it has a number for every architecture.
    Optional,
    /// A table may lack it, and it may be blank for some architectures.
    Sparse,
}

columns! {
    /// CIFAR-10 x-valid, trained on half of the training set.
    Cifar10Valid = "cifar10_valid", Accuracy, Required;
    /// CIFAR-10 test, trained on the whole training set.
    Cifar10Test = "cifar10_test", Accuracy, Required;
    /// CIFAR-100 validation.
    Cifar100Valid = "cifar100_valid", Accuracy, Required;
    /// CIFAR-100 test.
    Cifar100Test = "cifar100_test", Accuracy, Required;
    /// ImageNet16-120 validation.
    ImageNet16Valid = "imagenet16_valid", Accuracy, Required;
    /// ImageNet16-120 test.
    ImageNet16Test = "imagenet16_test", Accuracy, Required;
    /// Parameters of the CIFAR-10 network.
    Cifar10Params = "params_mb", Parameters, Required;
    /// Multiply-adds of the CIFAR-10 network.
    Cifar10Flops = "flops_m", MultiplyAdds, Required;
    /// Parameters of the CIFAR-100 network.
    Cifar100Params = "cifar100_params_mb", Parameters, Required;
    /// Multiply-adds of the CIFAR-100 network.
    Cifar100Flops = "cifar100_flops_m", MultiplyAdds, Required;
    /// Parameters of the ImageNet16-120 network.
    ImageNet16Params = "imagenet16_params_mb", Parameters, Required;
    /// Multiply-adds of the ImageNet16-120 network.
    ImageNet16Flops = "imagenet16_flops_m", MultiplyAdds, Required;
    /// CIFAR-10 x-valid after 12 epochs.
    Cifar10Valid12 = "cifar10_valid_12", Accuracy, Required;
    /// CIFAR-10 test after 12 epochs.
    Cifar10Test12 = "cifar10_test_12", Accuracy, Required;
    /// CIFAR-100 validation after 12 epochs.
    Cifar100Valid12 = "cifar100_valid_12", Accuracy, Required;
    /// CIFAR-100 test after 12 epochs.
    Cifar100Test12 = "cifar100_test_12", Accuracy, Required;
    /// ImageNet16-120 validation after 12 epochs.
    ImageNet16Valid12 = "imagenet16_valid_12", Accuracy, Required;
    /// ImageNet16-120 test after 12 epochs.
    ImageNet16Test12 = "imagenet16_test_12", Accuracy, Required;
    /// 200 epochs on half of CIFAR-10's training set; 12 epochs take 12/200 of it.
    Cifar10Seconds = "cifar10valid_train_seconds_200", Seconds, Required;
    /// 200 epochs on CIFAR-100.
    Cifar100Seconds = "cifar100_train_seconds_200", Seconds, Required;
    /// 200 epochs on ImageNet16-120.
    ImageNet16Seconds = "imagenet16_train_seconds_200", Seconds, Required;
    /// CIFAR-10 test of the first seed.
    Cifar10TestSeed0 = "cifar10_test_seed0", Accuracy, Sparse;
    /// CIFAR-10 test of the second seed.
    Cifar10TestSeed1 = "cifar10_test_seed1", Accuracy, Sparse;
    /// CIFAR-10 test of the third seed.
    Cifar10TestSeed2 = "cifar10_test_seed2", Accuracy, Sparse;
    /// Training accuracy of the networks trained on half of CIFAR-10's training set.
    Cifar10HalfTrain = "cifar10valid_train", Accuracy, Optional;
    /// CIFAR-10 test of the networks trained on half of the training set.
    Cifar10HalfTest = "cifar10valid_test", Accuracy, Optional;
    /// CIFAR-100 training accuracy.
    Cifar100Train = "cifar100_train", Accuracy, Optional;
    /// CIFAR-100 test, mean over the seeds of version 1.1 of the benchmark.
    Cifar100TestV11 = "cifar100_test_v11", Accuracy, Optional;
    /// ImageNet16-120 training accuracy.
    ImageNet16Train = "imagenet16_train", Accuracy, Optional;
    /// ImageNet16-120 test, mean over the seeds of version 1.1 of the benchmark.
    ImageNet16TestV11 = "imagenet16_test_v11", Accuracy, Optional;
}

impl Column {
    /// Whether every table has the column.
    pub fn is_required(self) -> bool {
        self.need() == Need::Required
    }

    /// The column of an accuracy.
    pub fn accuracy(dataset: BenchmarkDataset, split: Split, epochs: Epochs) -> Self {
        use BenchmarkDataset::{Cifar10, Cifar100, ImageNet16x120};
        match (epochs, dataset, split) {
            (Epochs::TwoHundred, Cifar10, Split::Valid) => Self::Cifar10Valid,
            (Epochs::TwoHundred, Cifar10, Split::Test) => Self::Cifar10Test,
            (Epochs::TwoHundred, Cifar100, Split::Valid) => Self::Cifar100Valid,
            (Epochs::TwoHundred, Cifar100, Split::Test) => Self::Cifar100Test,
            (Epochs::TwoHundred, ImageNet16x120, Split::Valid) => Self::ImageNet16Valid,
            (Epochs::TwoHundred, ImageNet16x120, Split::Test) => Self::ImageNet16Test,
            (Epochs::Twelve, Cifar10, Split::Valid) => Self::Cifar10Valid12,
            (Epochs::Twelve, Cifar10, Split::Test) => Self::Cifar10Test12,
            (Epochs::Twelve, Cifar100, Split::Valid) => Self::Cifar100Valid12,
            (Epochs::Twelve, Cifar100, Split::Test) => Self::Cifar100Test12,
            (Epochs::Twelve, ImageNet16x120, Split::Valid) => Self::ImageNet16Valid12,
            (Epochs::Twelve, ImageNet16x120, Split::Test) => Self::ImageNet16Test12,
        }
    }

    /// The column of the parameter count of the network for a data set.
    pub fn params(dataset: BenchmarkDataset) -> Self {
        match dataset {
            BenchmarkDataset::Cifar10 => Self::Cifar10Params,
            BenchmarkDataset::Cifar100 => Self::Cifar100Params,
            BenchmarkDataset::ImageNet16x120 => Self::ImageNet16Params,
        }
    }

    /// The column of the multiply-adds of the network for a data set.
    pub fn flops(dataset: BenchmarkDataset) -> Self {
        match dataset {
            BenchmarkDataset::Cifar10 => Self::Cifar10Flops,
            BenchmarkDataset::Cifar100 => Self::Cifar100Flops,
            BenchmarkDataset::ImageNet16x120 => Self::ImageNet16Flops,
        }
    }

    /// The column of the seconds that 200 epochs of training took.
    pub fn seconds(dataset: BenchmarkDataset) -> Self {
        match dataset {
            BenchmarkDataset::Cifar10 => Self::Cifar10Seconds,
            BenchmarkDataset::Cifar100 => Self::Cifar100Seconds,
            BenchmarkDataset::ImageNet16x120 => Self::ImageNet16Seconds,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_data_set_split_and_epochs() {
        for dataset in BenchmarkDataset::ALL {
            let prefix = dataset.name().trim_end_matches("-120");
            for split in Split::ALL {
                let long = Column::accuracy(dataset, split, Epochs::TwoHundred);
                assert_eq!(long.name(), format!("{prefix}_{}", split.name()));
                let short = Column::accuracy(dataset, split, Epochs::Twelve);
                assert_eq!(short.name(), format!("{prefix}_{}_12", split.name()));
            }
            assert!(Column::seconds(dataset).name().starts_with(prefix));
            assert!(Column::params(dataset).name().ends_with("params_mb"));
            assert!(Column::flops(dataset).name().ends_with("flops_m"));
        }
    }

    #[test]
    fn all_is_in_the_order_of_the_variants() {
        assert!(Column::ALL.iter().enumerate().all(|(i, &c)| c as usize == i));
    }
}
