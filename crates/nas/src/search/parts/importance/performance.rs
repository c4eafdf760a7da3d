use std::fmt;

use serde::{Deserialize, Serialize};

/// What a supernet is judged by; higher is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Performance {
    /// Top-1 accuracy on a part of `D_val`, in percent.
    Accuracy,
    /// Minus the mean cross-entropy on a part of `D_val`, in nats. Far less noisy than the accuracy.
    Loss,
    /// Eqs. 8-10 of HPE-DARTS on one mini-batch of `D_val`.
    NetPerfProxy,
    /// NASWOT with the current weights on one mini-batch of `D_val`.
    Naswot,
    /// Sum of the layers' gradient norms on one mini-batch of `D_val`.
    GradNorm,
    /// SNIP with the current weights on one mini-batch of `D_val`.
    Snip,
    /// SynFlow with the current weights. Needs no images.
    Synflow,
    /// Correlation of the Jacobians of the samples of one mini-batch of `D_val`, computed in f64.
    JacobCov,
    /// Different activation patterns of the neurons over 16 images of `D_val`, computed in f64.
    Swap,
    /// Trainable parameters, in millions: what every proxy must beat. Needs neither images nor weights.
    Params,
    /// Multiply-adds of one image, in millions. Needs neither images nor weights.
    Flops,
}

impl Performance {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Accuracy,
        Self::Loss,
        Self::NetPerfProxy,
        Self::Naswot,
        Self::GradNorm,
        Self::Snip,
        Self::Synflow,
        Self::JacobCov,
        Self::Swap,
        Self::Params,
        Self::Flops,
    ];

    /// Whether it is a score on one mini-batch.
    pub fn on_mini_batch(self) -> bool {
        matches!(self, Self::NetPerfProxy | Self::Naswot | Self::GradNorm | Self::Snip | Self::JacobCov | Self::Swap)
    }
}

impl fmt::Display for Performance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "loss",
            Self::NetPerfProxy => "net-perf-proxy",
            Self::Naswot => "naswot",
            Self::GradNorm => "grad-norm",
            Self::Snip => "snip",
            Self::Synflow => "synflow",
            Self::JacobCov => "jacob-cov",
            Self::Swap => "swap",
            Self::Params => "params",
            Self::Flops => "flops",
        })
    }
}
