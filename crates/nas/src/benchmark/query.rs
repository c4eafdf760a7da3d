use serde::{Deserialize, Serialize};

/// What the table knows of one architecture. Accuracies are means over the benchmark's seeds after 200 epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryResult {
    /// The benchmark's index.
    pub index: usize,
    /// Architecture string.
    pub arch: String,
    /// Millions of parameters of the CIFAR-10 network.
    pub params_m: f64,
    /// Millions of multiply-adds of the CIFAR-10 network.
    pub flops_m: f64,
    /// CIFAR-10.
    pub cifar10: Accuracy,
    /// CIFAR-100.
    pub cifar100: Accuracy,
    /// ImageNet16-120.
    #[serde(rename = "imagenet16-120")]
    pub imagenet16_120: Accuracy,
}

/// Top-1 accuracy in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// On the validation split.
    pub valid: f64,
    /// On the test split.
    pub test: f64,
}
