//! Training-free scores of networks: one mini-batch at most, no step of an optimiser.
//!
//! The kernels take the pairwise code distances of one mini-batch from the engine
//! ([`engine::Engine::code_distances`]) and know nothing of networks; a search calls [`naswot::score`] and
//! [`net_perf_proxy::score`] on its supernet. A [`Proxy`] scores a network at initialisation; a new one is a file
//! here and a line in [`all`].
//!
//! ```
//! # use engine as hpe_darts_engine;
//! use hpe_darts_engine::ImageShape;
//! use hpe_darts_nas::{engines, proxy::{self, Candidate}, space::{self, NetworkShape}};
//!
//! let engines = engines::cpu(1)?;
//! let image = ImageShape { height: 8, width: 8, channels: 3 };
//! let shape = NetworkShape { image, classes: 10, channels: 4, cells: 1, stem_stride: 1 };
//! let images: Vec<f32> = (0..8 * 8 * 8 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
//! let score = |text: &str| {
//!     let genotype = space::read(text, None)?;
//!     let spec = space::find(&genotype.space)?.network(&genotype, &shape)?;
//!     let cost = spec.graph()?.cost();
//!     let candidate = Candidate { spec: &spec, cost, images: &images, labels: &[0; 8], seed: 0, engines: &*engines };
//!     Ok::<_, Box<dyn std::error::Error>>(proxy::find("naswot")?.score(&candidate)?.value)
//! };
//! let convolutions = score("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|")?;
//! let pools = score("|avg_pool_3x3~0|+|avg_pool_3x3~0|avg_pool_3x3~1|+|avg_pool_3x3~0|avg_pool_3x3~1|avg_pool_3x3~2|")?;
//! assert!(convolutions > pools);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod az_nas;
mod candidate;
pub mod correlation;
pub mod flops;
pub mod grad_norm;
pub mod jacob_cov;
mod log_det;
pub mod naswot;
pub mod net_perf_proxy;
pub mod params;
pub mod snip;
pub mod swap;
pub mod synflow;

use std::fmt;

pub use candidate::Candidate;
use engine::{Distances, EngineError};
pub use log_det::log_det;

use crate::suggest;

/// A training-free score of a network at initialisation.
pub trait Proxy: fmt::Debug + Send + Sync {
    /// Name on the command line.
    fn name(&self) -> &'static str;

    /// One sentence for lists.
    fn description(&self) -> &'static str;

    /// Whether [`Candidate::images`] and their labels are read.
    fn needs_images(&self) -> bool;

    /// Whether it depends on a seed, of weights or images: not if it only counts.
    fn is_random(&self) -> bool {
        true
    }

    /// The score; higher is better.
    ///
    /// # Errors
    /// Those of the engine.
    fn score(&self, candidate: &Candidate<'_>) -> Result<Score, EngineError>;

    /// Where a score depends on the networks that one is compared with: how it is made.
    fn composite(&self) -> Option<&dyn Composite> {
        None
    }
}

/// A score among several networks.
pub trait Composite {
    /// What is compared; higher is better.
    ///
    /// # Errors
    /// Those of the engine.
    fn measure(&self, candidate: &Candidate<'_>) -> Result<Vec<f64>, EngineError>;

    /// The score of each of the networks that were measured.
    fn combine(&self, measured: &[Vec<f64>]) -> Vec<f64>;
}

/// All proxies.
pub fn all() -> &'static [&'static dyn Proxy] {
    &[
        &naswot::Naswot,
        &net_perf_proxy::NetPerfProxy,
        &grad_norm::GradNorm,
        &snip::Snip,
        &synflow::Synflow,
        &jacob_cov::JacobCov,
        &swap::Swap,
        &az_nas::AzNas,
        &params::Params,
        &flops::Flops,
    ]
}

/// The proxy called `name`.
///
/// # Errors
/// [`UnknownProxy`], with the nearest name.
pub fn find(name: &str) -> Result<&'static dyn Proxy, UnknownProxy> {
    all().iter().copied().find(|p| p.name() == name).ok_or_else(|| UnknownProxy { given: name.to_owned() })
}

/// A proxy name that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownProxy {
    /// The name that was given.
    pub given: String,
}

impl fmt::Display for UnknownProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = || all().iter().map(|p| p.name());
        write!(f, "unknown proxy `{}`, expected {}", self.given, suggest::one_of(names()))?;
        match suggest::nearest(&self.given, names()) {
            Some(nearest) => write!(f, "; {}", suggest::did_you_mean(nearest)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownProxy {}

/// What a proxy gives a network. Higher is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// `log |det K|`, `-inf` where K is singular; or a count. Never NaN.
    pub value: f64,
    /// Sign of `det K`: 1, -1, or 0 where K is singular. Other than 1 is worth a report: K is not positive definite.
    /// 1 for a count.
    pub sign: i8,
}

impl Score {
    /// The score of a singular kernel matrix.
    pub const SINGULAR: Score = Score { value: f64::NEG_INFINITY, sign: 0 };

    /// A score that is no determinant; what is not a number ranks lowest.
    fn of(value: f64) -> Self {
        Self { value: if value.is_nan() { f64::NEG_INFINITY } else { value }, sign: 1 }
    }
}

/// Whether a tensor of this shape holds the weights of a convolution or of the classifier: the parameters that pruning scores are summed
/// over, without the vectors (bias, scale and shift of normalisations), as their authors' code does.
fn is_weight(shape: &[usize]) -> bool {
    shape.len() > 1
}

/// Adds `weight * (bits - hamming)` to `kernel: [n, n]`; the diagonal receives `weight * bits`.
fn add_agreement(kernel: &mut [f64], distances: &Distances, weight: f64) {
    for (k, &hamming) in kernel.iter_mut().zip(&distances.hamming) {
        *k += weight * (distances.bits as f64 - f64::from(hamming));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_knows_the_names_and_suggests_the_nearest() {
        for proxy in all() {
            assert_eq!(find(proxy.name()).unwrap().name(), proxy.name());
            assert!(!proxy.description().is_empty());
        }
        let expected = "unknown proxy `naswt`, expected naswot, net-perf-proxy, grad-norm, snip, synflow, jacob-cov, swap, az-nas, \
             params or flops; did you mean `naswot`?";
        assert_eq!(find("naswt").unwrap_err().to_string(), expected);
    }
}

/// Code distances for the tests of the kernels.
#[cfg(test)]
pub(crate) mod fixture {
    use engine::{
        CodeDistances, Distances, NetworkSpec, TensorState,
        reference::{Reference, Tensors, initial},
    };
    use proptest::prelude::*;

    use crate::space::{Arch, NetworkShape, nas_bench_201};

    /// A small network of NAS-Bench-201 at initialisation, with images of no meaning.
    pub(crate) struct Small {
        spec: NetworkSpec,
        pub(crate) tensors: Tensors,
        pub(crate) images: Vec<f32>,
        pub(crate) w: Vec<f64>,
    }

    impl Small {
        pub(crate) const SAMPLES: usize = 8;

        /// `ops`: by edge.
        pub(crate) fn new(ops: &[u8; 6]) -> Self {
            let shape = NetworkShape { channels: 4, cells: 1, ..nas_bench_201::benchmark_shape(8, 10) };
            let spec = Arch::new(*ops).unwrap().network_spec(&shape);
            let images = (0..Self::SAMPLES * spec.image.len()).map(|i| (i as f32 * 1.37).sin()).collect();
            let tensors = initial(&spec.graph().unwrap(), 3);
            Self { images, tensors, w: spec.alive.iter().map(|&a| f64::from(u8::from(a))).collect(), spec }
        }

        pub(crate) fn network(&self) -> Reference<'_> {
            Reference::new(&self.spec, &self.tensors)
        }
    }

    /// Each cell is one 3x3 convolution.
    pub(crate) fn conv_chain() -> [u8; 6] {
        [0, 0, 0, 3, 0, 0]
    }

    /// Four samples, two edges of three operations; codes drawn by `numpy.random.default_rng(7).integers(0, 2, ...)`
    /// of 6 bits at (0, 0), 9 at (0, 2), 5 at (1, 1) and 8 outside the cells, distances counted with numpy.
    pub(crate) fn four_samples() -> CodeDistances {
        let codes = |bits, hamming: [u32; 16]| Some(Distances { bits, hamming: hamming.to_vec() });
        CodeDistances {
            samples: 4,
            ops: vec![
                codes(6, [0, 4, 3, 5, 4, 0, 1, 3, 3, 1, 0, 4, 5, 3, 4, 0]),
                None,
                codes(9, [0, 6, 5, 5, 6, 0, 3, 3, 5, 3, 0, 6, 5, 3, 6, 0]),
                None,
                codes(5, [0, 1, 3, 4, 1, 0, 4, 3, 3, 4, 0, 3, 4, 3, 3, 0]),
                None,
            ],
            outside: codes(8, [0, 4, 3, 6, 4, 0, 3, 6, 3, 3, 0, 5, 6, 6, 5, 0]),
        }
    }

    /// A named tensor.
    pub(crate) fn tensor(name: &str, shape: &[usize], data: &[f32]) -> TensorState {
        TensorState { name: name.to_owned(), shape: shape.to_vec(), data: data.to_vec() }
    }

    /// Distances of one code per row of `codes: [samples][bits]`.
    pub(crate) fn distances(codes: &[Vec<bool>]) -> Distances {
        let hamming = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a != b).count() as u32;
        Distances {
            bits: codes[0].len() as u64,
            hamming: codes.iter().flat_map(|a| codes.iter().map(|b| hamming(a, b))).collect(),
        }
    }

    /// Random codes of `samples` samples at the operations of `edges_by_ops` places, each 40 bits long.
    pub(crate) fn codes(samples: usize, places: usize) -> impl Strategy<Value = Vec<Vec<Vec<bool>>>> {
        let code = prop::collection::vec(any::<bool>(), 40);
        prop::collection::vec(prop::collection::vec(code, samples), places)
    }
}
