use std::{collections::BTreeMap, fmt, ops::Range};

use engine::{Codes, EngineError};
use serde::{Deserialize, Serialize};

use super::{Alpha, Criterion, Cut, Term, race::EdgeRace};
use crate::{
    data::{Loader, LoaderOptions, Order},
    proxy::{Score, naswot, net_perf_proxy},
    search::{Context, SearchError, numbers::Number},
    space::OpName,
    strategies::column,
    supernet::{OpAt, PerOp, Supernet},
};

pub use crate::proxy::net_perf_proxy::{CodeWeights, Kernel};

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
    /// Trainable parameters, in millions: what every proxy has to beat. Needs neither images nor weights.
    Params,
}

impl Performance {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Accuracy, Self::Loss, Self::NetPerfProxy, Self::Naswot, Self::Params];

    /// Whether it is measured on labels, image by image, and can be raced.
    pub fn by_labels(self) -> bool {
        matches!(self, Self::Accuracy | Self::Loss)
    }

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

/// What is done to an operation to see its importance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// It is taken out: `performance(supernet) - performance(supernet without it)`.
    #[default]
    Without,
    /// It is left as the only one of its edge: `performance(supernet with it alone) - performance(supernet)`. Says what the
    /// edge is worth once the others are pruned, where [`Probe::Without`] asks what the others cannot make up for.
    Alone,
}

impl Probe {
    fn is_without(&self) -> bool {
        *self == Self::Without
    }

    /// From the performances of the supernet as it is and as it was changed; of equal infinities it is 0.
    fn importance(self, whole: f64, changed: f64) -> f64 {
        match self {
            _ if whole == changed => 0.0,
            Self::Without => whole - changed,
            Self::Alone => changed - whole,
        }
    }
}

/// How long accuracy and loss are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SweepLength {
    /// Every operation on all images of the sweep.
    #[default]
    Exact,
    /// The operations of an edge until it is settled which ones go, see [`Cut`]; at most all images of the sweep.
    Racing,
}

/// How an importance is measured.
///
/// | name | default | range | source |
/// |---|---|---|---|
/// | `fraction` | 0.5 | (0, 1], part of `D_val` that accuracy and loss are measured on, drawn anew for each sweep | VP-DARTS |
/// | `images` | 0 | bound on the images of such a sweep; 0: no bound | bounds the time |
/// | `probe` | `without` | `alone` | see [`Probe`] |
/// | `sweep` | `exact` | `racing`: accuracy and loss stop early where it is settled which operations go | performance of this program |
/// | `confidence` | 0.95 | (0.5, 1), of a racing sweep, for each edge | |
/// | `proxy_batch_size` | 64 | >= 2 samples of a proxy's mini-batch, `N` | HPE-DARTS, 3.3 |
/// | `kernel` | `agreement` | `hamming`: Eqs. 8-9 to the letter | see [`Kernel`] |
/// | `code_weights` | `mixing` | `equal`, of NetPerfProxy | see [`CodeWeights`] |
/// | `removed_relu` | `dropped` | `kept` | see [`RemovedRelu`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportanceConfig {
    /// Part of `D_val` used by accuracy and loss.
    pub fraction: f64,
    /// Bound on the images used by accuracy and loss; 0: none.
    pub images: usize,
    /// What is done to an operation.
    pub probe: Probe,
    /// How long accuracy and loss are measured.
    pub sweep: SweepLength,
    /// Confidence of a racing sweep.
    pub confidence: f64,
    /// `N`: samples of the proxies' mini-batch.
    pub proxy_batch_size: usize,
    /// Kernel of NetPerfProxy.
    pub kernel: Kernel,
    /// Weights of the codes in NetPerfProxy's kernel.
    pub code_weights: CodeWeights,
    /// Treatment of a removed convolution's ReLU by NASWOT.
    pub removed_relu: RemovedRelu,
}

impl Default for ImportanceConfig {
    fn default() -> Self {
        Self {
            fraction: 0.5,
            images: 0,
            probe: Probe::default(),
            sweep: SweepLength::default(),
            confidence: 0.95,
            proxy_batch_size: 64,
            kernel: Kernel::default(),
            code_weights: CodeWeights::default(),
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
        if !(self.confidence > 0.5 && self.confidence < 1.0) {
            return Some(format!("confidence = {}, expected more than 0.5 and less than 1", self.confidence));
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
    /// Nothing follows but what later sweeps by the same criterion are averaged with it for, see [`super::Sweeps`].
    Mean,
}

/// A performance of the whole supernet and of the supernet without each operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The supernet as it is.
    pub supernet: Number,
    /// Without the operation, or with it alone on its edge ([`Probe`]), `[E, O]`; `None` where it is not alive.
    pub without: PerOp<Option<Number>>,
}

/// The outcome of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportanceTable {
    /// What the supernet was judged by.
    pub by: Criterion,
    /// What was done to each operation.
    #[serde(default, skip_serializing_if = "Probe::is_without")]
    pub probe: Probe,
    /// Images that each performance was measured on; of a racing sweep, the most that an edge needed; 0 for a count of
    /// parameters.
    pub images: usize,
    /// Of a racing sweep: images that the operations of each edge were measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_by_edge: Option<Vec<usize>>,
    /// By [`Probe`], `[E, O]`; `None` where an operation is not alive. By several terms it is their weighted
    /// sum: of the sign of an importance, or of the importance in units of its mean absolute value over all alive operations.
    pub importance: PerOp<Option<Number>>,
    /// The performances themselves by name: `accuracy` (percent) and `loss` (nats), or the proxy's score.
    pub measures: BTreeMap<String, Measure>,
    /// Determinants of a proxy's kernel whose sign is not +1: `None` for the whole supernet, else the operation left
    /// out; with the sign, 0 for a singular kernel.
    pub signs: Vec<(Option<OpAt>, i8)>,
}

impl ImportanceTable {
    /// The importances by another performance that an exact sweep has measured too: a sweep by accuracy also knows
    /// the loss, and the other way round.
    pub fn by(&self, by: Performance) -> Option<Self> {
        self.by.single()?;
        let sign = if by == Performance::Loss { -1.0 } else { 1.0 };
        let Measure { supernet, without } = self.measures.get(&by.to_string())?;
        let lost =
            |v: &Option<Number>| v.as_ref().map(|v| Number(self.probe.importance(sign * supernet.0, sign * v.0)));
        self.images_by_edge.is_none().then(|| Self { by: by.into(), importance: without.map(lost), ..self.clone() })
    }

    /// The table by a criterion from the table of each of its terms.
    fn sum(by: Criterion, tables: Vec<Self>) -> Self {
        let mut terms = by
            .terms()
            .iter()
            .zip(tables)
            .map(|(term, table)| if by.single().is_some() { table } else { table.scaled(*term) });
        let Some(mut whole) = terms.next() else { unreachable!("a criterion has a term") };
        for other in terms {
            for (sum, value) in whole.importance.values_mut().iter_mut().zip(other.importance.values()) {
                if let (Some(sum), Some(value)) = (sum, value) {
                    let both = sum.0 + value.0;
                    // Opposite infinities say nothing together.
                    sum.0 = if both.is_nan() { 0.0 } else { both };
                }
            }
            whole.images = whole.images.max(other.images);
            whole.measures.extend(other.measures);
            whole.signs.extend(other.signs);
        }
        whole.by = by;
        whole
    }

    /// Mean absolute value of the importances that are finite; 0 where none is. `without`: a column that is left out.
    pub fn mean_size(&self, without: Option<usize>) -> f64 {
        let rows = self.importance.rows().flat_map(|row| row.iter().enumerate());
        let sizes = rows.filter(|(op, _)| Some(*op) != without).filter_map(|(_, v)| v.as_ref()).map(|v| v.0.abs());
        let finite: Vec<f64> = sizes.filter(|v| v.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len().max(1) as f64
    }

    /// Signs, or multiples of the mean absolute value of those that are finite; times the weight of the term.
    fn scaled(mut self, Term { weight, sign, .. }: Term) -> Self {
        let mean = self.mean_size(None);
        let scale = |v: f64| match sign {
            true if v == 0.0 => 0.0,
            true => v.signum(),
            // A table of zeros stays one.
            false if mean > 0.0 => v / mean,
            false => v,
        };
        self.importance.values_mut().iter_mut().flatten().for_each(|v| v.0 = weight * scale(v.0));
        self
    }
}

/// Importance of every alive operation by a criterion.
#[derive(Clone, Debug)]
pub struct Importance {
    by: Criterion,
    config: ImportanceConfig,
}

impl Importance {
    /// By `by`, measured as `config` says.
    pub fn new(by: &Criterion, config: &ImportanceConfig) -> Self {
        Self { by: by.clone(), config: config.clone() }
    }

    /// Changes the supernet at every alive operation in turn ([`Probe`]) and measures what that does. The whole one is measured once;
    /// all measurements of a sweep use the same images. `cut` is what the importances are for: what a racing sweep
    /// settles. Several performances are measured by exact sweeps.
    ///
    /// # Errors
    /// A loss that is not a number; an interruption; whatever the engine refuses.
    pub fn measure(&self, cx: &mut Context, alpha: &Alpha, cut: Cut) -> Result<ImportanceTable, SearchError> {
        let variants = Variants::new(cx, alpha, self.config.probe);
        let seed = cx.sweep_seed();
        let mut tables: Vec<ImportanceTable> = Vec::new();
        for by in self.by.terms().iter().map(|term| term.performance) {
            let known = tables.iter().find_map(|table| table.by(by));
            tables.push(match known {
                Some(known) => known,
                None => match by {
                    Performance::Accuracy | Performance::Loss => self.by_labels(by, cx, &variants, cut, seed)?,
                    Performance::NetPerfProxy | Performance::Naswot => self.by_codes(by, cx, &variants, seed)?,
                    Performance::Params => self.by_size(cx, &variants)?,
                },
            });
        }
        Ok(ImportanceTable::sum(self.by.clone(), tables))
    }

    /// Batch by batch, and on each batch variant by variant, so that every image is read once.
    fn by_labels(
        &self,
        by: Performance,
        cx: &mut Context,
        variants: &Variants,
        cut: Cut,
        seed: u64,
    ) -> Result<ImportanceTable, SearchError> {
        let valid = cx.valid_source();
        let wanted = (valid.len() as f64 * self.config.fraction).round() as usize;
        let bound = if self.config.images == 0 { usize::MAX } else { self.config.images };
        let source = valid.subset(wanted.min(bound).max(1), seed);
        let batch = cx.batch_size().min(source.len());
        let options = LoaderOptions { batch, drop_last: true, order: Order::Sequential, ..cx.sweep_loader() };
        let (steps, count) = (options.steps(source.len()), variants.weights.len());
        let mut loader: Option<Loader> = None;
        let mut current = None;
        let epoch = cx.epoch_index();
        let racing = self.config.sweep == SweepLength::Racing && self.by.single().is_some();
        let layout = Layout::new(variants);
        let sums = cx.sweep(by.to_string(), steps * count, layout.len(), |supernet, i, sums| {
            let (step, variant) = (i / count, i % count);
            if racing && layout.is_settled(sums, variant) {
                return Ok(());
            }
            if variant == 0 || current.is_none() {
                let loader = match &mut loader {
                    Some(loader) => loader,
                    empty => empty.insert(Loader::epoch(&source, &options, epoch, step)?),
                };
                current = loader.next();
            }
            let batch = current.as_ref().ok_or(SearchError::DataEnded)?;
            let now = if variants.like_whole(variant) {
                [sums[layout.now(0)], sums[layout.now(0) + 1]]
            } else {
                let result = supernet.evaluate(batch.as_batch(), &variants.weights[variant])?;
                [result.correct as f64, result.loss * batch.len() as f64]
            };
            for (at, now) in now.into_iter().enumerate() {
                sums[layout.now(variant) + at] = now;
                sums[layout.total(variant) + at] += now;
            }
            if racing {
                layout.race(sums, variant, by, cut, &self.config);
            }
            Ok(())
        })?;
        let batches = |variant: usize| if racing { layout.batches(&sums, variant, steps) } else { steps };
        let shape = variants.shape();
        let mean = |at: usize| -> Vec<f64> {
            (0..count).map(|v| sums[layout.total(v) + at] / (batches(v) * batch) as f64).collect()
        };
        let accuracy: Vec<f64> = mean(0).iter().map(|a| 100.0 * a).collect();
        let loss = mean(1);
        let exact = || -> Vec<f64> {
            let performance = |v: usize| if by == Performance::Accuracy { accuracy[v] } else { -loss[v] };
            (1..count).map(|v| self.config.probe.importance(performance(0), performance(v))).collect()
        };
        // Of a race: the mean of the differences on the edge's own batches.
        let importance = if racing { layout.importances(&sums, batch, by) } else { exact() };
        // In a race, infinite losses can make differences of both signs on one edge.
        if loss.iter().chain(&importance).any(|v| v.is_nan()) {
            return Err(cx.not_finite("the loss of an importance sweep", f64::NAN));
        }
        let by_edge = racing.then(|| layout.edge_batches(&sums).into_iter().map(|b| b * batch).collect::<Vec<_>>());
        Ok(ImportanceTable {
            by: by.into(),
            probe: self.config.probe,
            images: by_edge.as_ref().map_or(steps * batch, |e| e.iter().copied().max().unwrap_or(0)),
            images_by_edge: by_edge,
            importance: variants.table(shape, importance.into_iter()),
            measures: BTreeMap::from([
                ("accuracy".to_owned(), variants.measure(shape, &accuracy)),
                ("loss".to_owned(), variants.measure(shape, &loss)),
            ]),
            signs: Vec::new(),
        })
    }

    fn by_codes(
        &self,
        by: Performance,
        cx: &mut Context,
        variants: &Variants,
        seed: u64,
    ) -> Result<ImportanceTable, SearchError> {
        let batch = self.config.proxy_batch_size;
        let source = cx.valid_source().subset(batch, seed);
        let options = LoaderOptions { batch, drop_last: true, order: Order::Sequential, ..cx.sweep_loader() };
        let batch = Loader::single(&source, &options, cx.epoch_index(), 0)?;
        let count = variants.weights.len();
        let sums = cx.sweep(by.to_string(), count, 2 * count, |supernet, variant, sums| {
            if variants.like_whole(variant) {
                sums.copy_within(0..2, 2 * variant);
                return Ok(());
            }
            let score =
                self.score(by, supernet, batch.images(), &variants.weights[variant], &variants.removed[variant])?;
            sums[2 * variant] = score.value;
            sums[2 * variant + 1] = f64::from(score.sign);
            Ok(())
        })?;
        let scores: Vec<f64> = sums.iter().step_by(2).copied().collect();
        let signs = sums.iter().skip(1).step_by(2).enumerate().filter(|(_, sign)| **sign != 1.0);
        let signs = signs.map(|(i, &sign)| (i.checked_sub(1).map(|i| variants.alive[i]), sign as i8)).collect();
        Ok(ImportanceTable { signs, ..self.by_scores(by, variants, &scores, source.len()) })
    }

    /// No sweep: nothing is evaluated, so there is nothing to interrupt.
    fn by_size(&self, cx: &Context, variants: &Variants) -> Result<ImportanceTable, SearchError> {
        let sizes = variants
            .removed
            .iter()
            .map(|removed| {
                let mut spec = cx.spec().clone();
                removed.iter().for_each(|&place| spec.alive[place] = false);
                Ok(spec.graph()?.cost().params_m())
            })
            .collect::<Result<Vec<f64>, EngineError>>()?;
        Ok(self.by_scores(Performance::Params, variants, &sizes, 0))
    }

    /// The table of a score that was taken of each variant.
    fn by_scores(&self, by: Performance, variants: &Variants, scores: &[f64], images: usize) -> ImportanceTable {
        let shape = variants.shape();
        let importance = scores[1..].iter().map(|&score| self.config.probe.importance(scores[0], score));
        ImportanceTable {
            by: by.into(),
            probe: self.config.probe,
            images,
            images_by_edge: None,
            importance: variants.table(shape, importance),
            measures: BTreeMap::from([(by.to_string(), variants.measure(shape, scores))]),
            signs: Vec::new(),
        }
    }

    fn score(
        &self,
        by: Performance,
        supernet: &mut Supernet,
        images: &[f32],
        w: &PerOp<f32>,
        removed: &[usize],
    ) -> Result<Score, SearchError> {
        if by == Performance::Naswot {
            let distances = supernet.code_distances(images, w, Codes::ReluInputs)?;
            let dropped = self.config.removed_relu == RemovedRelu::Dropped;
            return Ok(naswot::score(&distances, if dropped { removed } else { &[] }));
        }
        let distances = supernet.code_distances(images, w, Codes::OpOutputs)?;
        Ok(net_perf_proxy::score(&distances, w.values(), self.config.kernel, self.config.code_weights))
    }
}

/// The supernet (first) and the supernet changed at each alive operation.
struct Variants {
    weights: Vec<PerOp<f32>>,
    /// Of each: places `e * O + o` of the operations that were taken out.
    removed: Vec<Vec<usize>>,
    alive: Vec<OpAt>,
    /// Column of `none`.
    none: Option<usize>,
}

impl Variants {
    fn new(cx: &Context, alpha: &Alpha, probe: Probe) -> Self {
        let alive: Vec<OpAt> = cx.mask().alive().collect();
        let mut weights = vec![alpha.weights(cx.mask())];
        let mut removed = vec![vec![]];
        for &at in &alive {
            let others = alive.iter().copied().filter(|other| other.0 == at.0 && *other != at);
            let out: Vec<OpAt> = if probe == Probe::Without { vec![at] } else { others.collect() };
            removed.push(out.iter().map(|&(e, o)| e * weights[0].ops() + o).collect());
            weights.push(alpha.weights_without(cx.mask(), &out));
        }
        let weights = weights.into_iter().map(|w| w.map(|&w| w as f32)).collect();
        Self { weights, removed, alive, none: column(cx.space(), OpName::NONE) }
    }

    /// Whether a variant computes what the whole supernet does: `none` outputs zeros, so that without it nothing
    /// changes unless the other weights do.
    fn like_whole(&self, variant: usize) -> bool {
        let same = |(at, w): (OpAt, &f32)| Some(at.1) == self.none || *w == self.weights[0][at];
        let of = &self.weights[variant];
        variant > 0 && of.places().zip(of.values()).all(same)
    }

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

/// Where a sweep by labels keeps its numbers: per variant correct answers and summed loss, of the current batch and of all
/// batches; per edge the state of its race.
struct Layout<'a> {
    variants: &'a Variants,
    /// Per edge: its alive operations, which are the variants `first + 1..`.
    edges: Vec<(usize, &'a [OpAt])>,
}

impl<'a> Layout<'a> {
    fn new(variants: &'a Variants) -> Self {
        let mut edges = vec![];
        let mut first = 0;
        for alive in variants.alive.chunk_by(|a, b| a.0 == b.0) {
            edges.push((first, alive));
            first += alive.len();
        }
        Self { variants, edges }
    }

    fn now(&self, variant: usize) -> usize {
        4 * variant
    }

    fn total(&self, variant: usize) -> usize {
        4 * variant + 2
    }

    fn state(&self, edge: usize) -> Range<usize> {
        let before: usize = self.edges[..edge].iter().map(|(_, alive)| EdgeRace::len(alive.len())).sum();
        let start = 4 * self.variants.weights.len() + before;
        start..start + EdgeRace::len(self.edges[edge].1.len())
    }

    fn len(&self) -> usize {
        self.state(self.edges.len() - 1).end
    }

    /// Batches of a race, negative once it is settled.
    fn raced(&self, sums: &[f64], edge: usize) -> f64 {
        sums[self.state(edge).start]
    }

    fn edge_of(&self, variant: usize) -> Option<usize> {
        self.edges.iter().position(|&(first, alive)| (first + 1..=first + alive.len()).contains(&variant))
    }

    /// Whether a variant need not be measured any more; the whole supernet as long as any other is.
    fn is_settled(&self, sums: &[f64], variant: usize) -> bool {
        match self.edge_of(variant) {
            Some(edge) => self.raced(sums, edge) < 0.0,
            None => (0..self.edges.len()).all(|edge| self.raced(sums, edge) < 0.0),
        }
    }

    /// Gives the current batch to the race of an edge when the last of its operations has been measured.
    fn race(&self, sums: &mut [f64], variant: usize, by: Performance, cut: Cut, config: &ImportanceConfig) {
        let Some(edge) = self.edge_of(variant) else { return };
        let (first, alive) = self.edges[edge];
        if variant != first + alive.len() {
            return;
        }
        let whole = performance(by, &sums[self.now(0)..]);
        let importances: Vec<f64> = (first + 1..=variant)
            .map(|v| config.probe.importance(whole, performance(by, &sums[self.now(v)..])))
            .collect();
        EdgeRace::new(&mut sums[self.state(edge)], alive.len()).add(&importances, alive, cut, config.confidence);
    }

    /// Batches that the operations of each edge were measured on.
    fn edge_batches(&self, sums: &[f64]) -> Vec<usize> {
        (0..self.edges.len()).map(|edge| self.raced(sums, edge).abs() as usize).collect()
    }

    /// Batches that a variant was measured on.
    fn batches(&self, sums: &[f64], variant: usize, steps: usize) -> usize {
        let batches = self.edge_batches(sums);
        self.edge_of(variant).map_or(batches.iter().copied().max().unwrap_or(steps), |edge| batches[edge])
    }

    /// Mean importance of every variant but the first, on the batches of its edge.
    fn importances(&self, sums: &[f64], batch: usize, by: Performance) -> Vec<f64> {
        let unit = if by == Performance::Accuracy { 100.0 } else { 1.0 };
        let edges = (0..self.edges.len()).zip(self.edge_batches(sums));
        edges
            .flat_map(|(edge, batches)| {
                let start = self.state(edge).start + 1;
                let sums = &sums[start..start + self.edges[edge].1.len()];
                sums.iter().map(move |s| unit * s / (batches * batch) as f64)
            })
            .collect()
    }
}

/// Performance on one batch, from its correct answers and summed loss.
fn performance(by: Performance, batch: &[f64]) -> f64 {
    if by == Performance::Accuracy { batch[0] } else { -batch[1] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(by: Performance, values: &[Option<f64>]) -> ImportanceTable {
        ImportanceTable {
            by: by.into(),
            probe: Probe::Without,
            images: if by.by_labels() { 128 } else { 64 },
            images_by_edge: None,
            importance: PerOp::from_values(2, values.iter().map(|v| v.map(Number)).collect()),
            measures: BTreeMap::new(),
            signs: vec![],
        }
    }

    #[test]
    fn several_performances_are_added_in_units_of_their_mean_size() {
        let loss = table(Performance::Loss, &[Some(0.25), Some(-0.75), Some(0.5), None]);
        let naswot = table(Performance::Naswot, &[Some(6.0), Some(-3.0), Some(f64::NEG_INFINITY), None]);
        let by = Criterion::try_from("loss+naswot".to_owned()).unwrap();
        let sum = ImportanceTable::sum(by.clone(), vec![loss.clone(), naswot.clone()]);
        assert_eq!((&sum.by, sum.images), (&by, 128));
        let values: Vec<Option<f64>> = sum.importance.values().iter().map(|v| v.as_ref().map(|v| v.0)).collect();
        let expected = [Some(0.5 + 6.0 / 4.5), Some(-1.5 - 3.0 / 4.5), Some(f64::NEG_INFINITY), None];
        for (found, expected) in values.iter().zip(expected) {
            match (found, expected) {
                (Some(found), Some(expected)) => assert!(*found == expected || (found - expected).abs() < 1e-12),
                (found, expected) => assert_eq!(*found, expected),
            }
        }
        let by_sign = Criterion::try_from("loss+0.5*sign(naswot)".to_owned()).unwrap();
        let sum = ImportanceTable::sum(by_sign, vec![loss.clone(), naswot]).importance;
        let values: Vec<Option<f64>> = sum.values().iter().map(|v| v.as_ref().map(|v| v.0)).collect();
        assert_eq!(values, [Some(1.0), Some(-2.0), Some(0.5), None]);
        // One alone is what it is; a table of zeros adds nothing.
        assert_eq!(ImportanceTable::sum(Performance::Loss.into(), vec![loss.clone()]), loss);
        let zeros = table(Performance::Naswot, &[Some(0.0); 4]);
        let same = ImportanceTable::sum(by, vec![loss, zeros]).importance;
        assert_eq!(same.values()[0].as_ref().map(|v| v.0), Some(0.5));
    }
}
