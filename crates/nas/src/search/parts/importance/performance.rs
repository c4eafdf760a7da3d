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
    /// Trainable parameters, in millions: what every proxy must beat. Needs neither images nor weights.
    Params,
}

impl Performance {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Accuracy, Self::Loss, Self::NetPerfProxy, Self::Naswot, Self::Params];

    /// Whether it compares the codes of the samples of a mini-batch.
    pub fn by_codes(self) -> bool {
        matches!(self, Self::NetPerfProxy | Self::Naswot)
    }
}

impl fmt::Display for Performance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "loss",
            Self::NetPerfProxy => "net-perf-proxy",
            Self::Naswot => "naswot",
            Self::Params => "params",
        })
    }
}
