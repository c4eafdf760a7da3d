use serde::{Deserialize, Serialize};

use crate::{limits::AtMost, proxy::net_perf_proxy::Kernel};

/// Whether the ReLU in front of a removed convolution counts in NASWOT's kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemovedRelu {
    /// It is left out.
    #[default]
    Dropped,
    /// It stays.
    Kept,
}

/// How an importance is measured.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `fraction` | 0.5 | (0, 1] | part of `D_val` that accuracy and loss are measured on, drawn anew for each sweep; VP-DARTS |
/// | `images` | `all` | >= 1, or `all` | bound on those images, and so on the time of the sweeps |
/// | `proxy_batch_size` | 64 | >= 2 | `N`, images of a proxy's mini-batch; HPE-DARTS, 3.3 |
/// | `kernel` | `agreement` | `hamming` (Eqs. 8-9 to the letter) | of NetPerfProxy; the letter turns NASWOT's order round |
/// | `removed_relu` | `dropped` | `kept` | NASWOT: the ReLU in front of a removed convolution |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportanceConfig {
    /// Part of `D_val` used by accuracy and loss.
    pub fraction: f64,
    /// Bound on the images used by accuracy and loss.
    pub images: AtMost,
    /// `N`: samples of the proxies' mini-batch.
    pub proxy_batch_size: usize,
    /// Kernel of NetPerfProxy.
    pub kernel: Kernel,
    /// Treatment of a removed convolution's ReLU by NASWOT.
    pub removed_relu: RemovedRelu,
}

impl Default for ImportanceConfig {
    fn default() -> Self {
        Self {
            fraction: 0.5,
            images: AtMost::All,
            proxy_batch_size: 64,
            kernel: Kernel::default(),
            removed_relu: RemovedRelu::default(),
        }
    }
}

impl ImportanceConfig {
    /// What is out of range, if anything.
    pub fn fault(&self) -> Option<String> {
        if !(self.fraction > 0.0 && self.fraction <= 1.0) {
            return Some(format!("fraction = {}, expected more than 0 and at most 1", self.fraction));
        }
        (self.proxy_batch_size < 2)
            .then(|| format!("proxy_batch_size = {}, expected at least 2 samples to compare", self.proxy_batch_size))
    }
}
