use std::{collections::BTreeMap, fmt};

use engine::Codes;
use serde::{Deserialize, Serialize};

use super::Alpha;
use crate::{
    data::{Loader, LoaderOptions, Order},
    proxy::{Score, naswot, net_perf_proxy},
    search::{Context, SearchError, numbers::Number},
    supernet::{OpAt, PerOp, Supernet},
};

pub use crate::proxy::net_perf_proxy::Kernel;

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
}

impl fmt::Display for Performance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accuracy => "accuracy",
            Self::Loss => "loss",
            Self::NetPerfProxy => "net-perf-proxy",
            Self::Naswot => "naswot",
        })
    }
}

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
/// | name | default | range | source |
/// |---|---|---|---|
/// | `fraction` | 0.5 | (0, 1], part of `D_val` that accuracy and loss are measured on, drawn anew for each sweep | VP-DARTS |
/// | `images` | 0 | bound on the images of such a sweep; 0: no bound | bounds the time |
/// | `proxy_batch_size` | 64 | >= 2 samples of a proxy's mini-batch, `N` | HPE-DARTS, 3.3 |
/// | `kernel` | `agreement` | `hamming`: Eqs. 8-9 to the letter | see [`Kernel`] |
/// | `removed_relu` | `dropped` | `kept` | see [`RemovedRelu`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportanceConfig {
    /// Part of `D_val` used by accuracy and loss.
    pub fraction: f64,
    /// Bound on the images used by accuracy and loss; 0: none.
    pub images: usize,
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
            images: 0,
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

/// What a sweep over the operations is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sweep {
    /// Weights are decayed after it.
    Soft,
    /// Operations are removed after it.
    Hard,
}

/// A performance of the whole supernet and of the supernet without each operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The supernet as it is.
    pub supernet: Number,
    /// Without the operation, `[E, O]`; `None` where it is not alive.
    pub without: PerOp<Option<Number>>,
}

/// The outcome of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportanceTable {
    /// What the supernet was judged by.
    pub by: Performance,
    /// Images that each performance was measured on.
    pub images: usize,
    /// `performance(supernet) - performance(supernet without the operation)`, `[E, O]`; `None` where it is not alive.
    pub importance: PerOp<Option<Number>>,
    /// The performances themselves by name: `accuracy` (percent) and `loss` (nats), or the proxy's score.
    pub measures: BTreeMap<String, Measure>,
    /// Determinants of a proxy's kernel whose sign is not +1: `None` for the whole supernet, else the operation left
    /// out; with the sign, 0 for a singular kernel.
    pub signs: Vec<(Option<OpAt>, i8)>,
}

/// Importance of every alive operation by one performance.
#[derive(Clone, Debug)]
pub struct Importance {
    by: Performance,
    config: ImportanceConfig,
}

impl Importance {
    /// By `by`, measured as `config` says.
    pub fn new(by: Performance, config: &ImportanceConfig) -> Self {
        Self { by, config: config.clone() }
    }

    /// Takes every alive operation out in turn and measures what that costs. The whole supernet is measured once;
    /// all measurements of a sweep use the same images.
    ///
    /// # Errors
    /// A loss that is not a number; an interruption; whatever the engine refuses.
    pub fn measure(&self, cx: &mut Context, alpha: &Alpha) -> Result<ImportanceTable, SearchError> {
        let alive: Vec<OpAt> = cx.mask().alive().collect();
        let variants = Variants {
            weights: std::iter::once(alpha.weights(cx.mask()))
                .chain(alive.iter().map(|&at| alpha.weights_without(cx.mask(), at)))
                .map(|w| w.map(|&w| w as f32))
                .collect(),
            alive,
        };
        match self.by {
            Performance::Accuracy | Performance::Loss => self.by_labels(cx, &variants),
            Performance::NetPerfProxy | Performance::Naswot => self.by_codes(cx, &variants),
        }
    }

    /// Batch by batch, and on each batch variant by variant, so that every image is read once.
    fn by_labels(&self, cx: &mut Context, variants: &Variants) -> Result<ImportanceTable, SearchError> {
        let valid = cx.valid_source();
        let wanted = (valid.len() as f64 * self.config.fraction).round() as usize;
        let bound = if self.config.images == 0 { usize::MAX } else { self.config.images };
        let source = valid.subset(wanted.min(bound).max(1), cx.sweep_seed());
        let batch = cx.batch_size().min(source.len());
        let options = LoaderOptions { batch, drop_last: true, order: Order::Sequential, ..cx.sweep_loader() };
        let (steps, count) = (options.steps(source.len()), variants.weights.len());
        let mut loader: Option<Loader> = None;
        let mut current = None;
        let epoch = cx.epoch_index();
        let sums = cx.sweep(self.by.to_string(), steps * count, 2 * count, |supernet, i, sums| {
            let (step, variant) = (i / count, i % count);
            if variant == 0 || current.is_none() {
                let loader = match &mut loader {
                    Some(loader) => loader,
                    empty => empty.insert(Loader::epoch(&source, &options, epoch, step)?),
                };
                current = loader.next();
            }
            let batch = current.as_ref().ok_or(SearchError::DataEnded)?;
            let result = supernet.evaluate(batch.as_batch(), &variants.weights[variant])?;
            sums[2 * variant] += result.correct as f64;
            sums[2 * variant + 1] += result.loss * batch.len() as f64;
            Ok(())
        })?;
        let images = steps * batch;
        let mean = |at: usize| sums.iter().skip(at).step_by(2).map(|s| s / images as f64).collect::<Vec<f64>>();
        let accuracy: Vec<f64> = mean(0).iter().map(|a| 100.0 * a).collect();
        let loss = mean(1);
        if loss.iter().any(|l| l.is_nan()) {
            return Err(cx.not_finite("the loss of an importance sweep", f64::NAN));
        }
        let shape = variants.shape();
        let performance: Vec<f64> =
            if self.by == Performance::Accuracy { accuracy.clone() } else { loss.iter().map(|l| -l).collect() };
        let cost = |without: f64| difference(performance[0], without);
        Ok(ImportanceTable {
            by: self.by,
            images,
            importance: variants.table(shape, performance[1..].iter().map(|&p| cost(p))),
            measures: BTreeMap::from([
                ("accuracy".to_owned(), variants.measure(shape, &accuracy)),
                ("loss".to_owned(), variants.measure(shape, &loss)),
            ]),
            signs: Vec::new(),
        })
    }

    fn by_codes(&self, cx: &mut Context, variants: &Variants) -> Result<ImportanceTable, SearchError> {
        let source = cx.valid_source().subset(self.config.proxy_batch_size, cx.sweep_seed());
        let options =
            LoaderOptions { batch: source.len(), drop_last: true, order: Order::Sequential, ..cx.sweep_loader() };
        let batch = Loader::single(&source, &options, cx.epoch_index(), 0)?;
        let count = variants.weights.len();
        let sums = cx.sweep(self.by.to_string(), count, 2 * count, |supernet, variant, sums| {
            let removed = variant.checked_sub(1).map(|i| variants.alive[i]);
            let score = self.score(supernet, batch.images(), &variants.weights[variant], removed)?;
            sums[2 * variant] = score.value;
            sums[2 * variant + 1] = f64::from(score.sign);
            Ok(())
        })?;
        let scores: Vec<f64> = sums.iter().step_by(2).copied().collect();
        let signs = sums.iter().skip(1).step_by(2).enumerate().filter(|(_, sign)| **sign != 1.0);
        let shape = variants.shape();
        Ok(ImportanceTable {
            by: self.by,
            images: source.len(),
            importance: variants.table(shape, scores[1..].iter().map(|&s| difference(scores[0], s))),
            measures: BTreeMap::from([(self.by.to_string(), variants.measure(shape, &scores))]),
            signs: signs.map(|(i, &sign)| (i.checked_sub(1).map(|i| variants.alive[i]), sign as i8)).collect(),
        })
    }

    fn score(
        &self,
        supernet: &mut Supernet,
        images: &[f32],
        w: &PerOp<f32>,
        removed: Option<OpAt>,
    ) -> Result<Score, SearchError> {
        if self.by == Performance::Naswot {
            let distances = supernet.code_distances(images, w, Codes::ReluInputs)?;
            let left_out = removed.filter(|_| self.config.removed_relu == RemovedRelu::Dropped);
            let left_out: Vec<usize> = left_out.map(|(e, o)| e * w.ops() + o).into_iter().collect();
            return Ok(naswot::score(&distances, &left_out));
        }
        let distances = supernet.code_distances(images, w, Codes::OpOutputs)?;
        Ok(net_perf_proxy::score(&distances, w.values(), self.config.kernel))
    }
}

/// The supernet (first) and the supernet without each alive operation.
struct Variants {
    weights: Vec<PerOp<f32>>,
    alive: Vec<OpAt>,
}

impl Variants {
    fn shape(&self) -> (usize, usize) {
        (self.weights[0].edges(), self.weights[0].ops())
    }

    /// One value per alive operation as a table.
    fn table(&self, (edges, ops): (usize, usize), values: impl Iterator<Item = f64>) -> PerOp<Option<Number>> {
        let mut table = PerOp::filled(edges, ops, None);
        self.alive.iter().zip(values).for_each(|(&at, value)| table[at] = Some(Number(value)));
        table
    }

    fn measure(&self, shape: (usize, usize), values: &[f64]) -> Measure {
        Measure { supernet: Number(values[0]), without: self.table(shape, values[1..].iter().copied()) }
    }
}

/// `a - b`, and 0 where both are the same infinity.
fn difference(a: f64, b: f64) -> f64 {
    if a == b { 0.0 } else { a - b }
}
