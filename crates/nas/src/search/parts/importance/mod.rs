//! What an operation is worth: the performance of the supernet minus that of the supernet without it.

mod agreement;
mod config;
mod performance;
mod table;

use std::collections::BTreeMap;

use engine::{Batch, Codes};

use self::table::lost;
pub(super) use self::table::{added, unit};
use super::criterion::Criterion;
use crate::{
    data::{Loader, LoaderOptions, Order},
    proxy::{Score, grad_norm, jacob_cov, naswot, net_perf_proxy, snip, swap, synflow},
    run::Sweep,
    search::{column, context::Context, error::SearchError},
    space::OpName,
    supernet::{Mask, OpAt, PerOp, Supernet},
};

pub use self::{
    agreement::rank_agreement,
    config::{ImportanceConfig, RemovedRelu},
    performance::Performance,
    table::{Costs, ImportanceTable, Measure, Scores},
};
pub use crate::proxy::net_perf_proxy::Kernel;

/// Importance of operations by a criterion.
#[derive(Clone, Debug)]
pub struct Importance {
    by: Criterion,
    config: ImportanceConfig,
}

/// Mixing weights `w: [E, O]` of a supernet without some of its operations.
pub type Without<'a> = &'a dyn Fn(&Mask, &[OpAt]) -> PerOp<f64>;

impl Importance {
    /// By `by`, measured as `config` says.
    pub fn new(by: &Criterion, config: &ImportanceConfig) -> Self {
        Self { by: by.clone(), config: config.clone() }
    }

    /// Takes every alive operation out in turn and measures what that does.
    ///
    /// # Errors
    /// As [`Importance::costs`].
    pub fn measure(&self, cx: &mut Context<'_>, without: Without<'_>) -> Result<ImportanceTable, SearchError> {
        let alive: Vec<OpAt> = cx.mask().alive().collect();
        let shape = (cx.mask().edges(), cx.mask().ops());
        let sets: Vec<Vec<OpAt>> = alive.iter().map(|&at| vec![at]).collect();
        Ok(self.costs(cx, without, &sets)?.table(shape, &alive))
    }

    /// Takes each of `sets` out in turn (single operations, edges, whatever a method compares) and measures what that does.
    /// The whole supernet is measured once; all measurements of a sweep use the same images.
    ///
    /// # Errors
    /// A loss that is not a number; an interruption; whatever the engine refuses.
    pub fn costs(&self, cx: &mut Context<'_>, without: Without<'_>, sets: &[Vec<OpAt>]) -> Result<Costs, SearchError> {
        let variants = Variants::new(cx, without, sets);
        let seed = cx.sweep_seed();
        let mut terms: Vec<Costs> = Vec::new();
        for by in self.by.terms().iter().map(|term| term.performance) {
            let known = terms.iter().find_map(|costs| costs.by(by));
            terms.push(match known {
                Some(known) => known,
                None => match by {
                    Performance::Accuracy | Performance::Loss => self.by_labels(by, cx, &variants, seed)?,
                    Performance::Params | Performance::Flops => by_size(by, cx, &variants)?,
                    Performance::NetPerfProxy
                    | Performance::Naswot
                    | Performance::GradNorm
                    | Performance::Snip
                    | Performance::Synflow
                    | Performance::JacobCov
                    | Performance::Swap => self.by_score(by, cx, &variants, seed)?,
                },
            });
        }
        Ok(Costs::sum(self.by.clone(), terms))
    }

    /// Batch by batch, and on each batch variant by variant, so that every image is read once.
    fn by_labels(
        &self,
        by: Performance,
        cx: &mut Context<'_>,
        variants: &Variants,
        seed: u64,
    ) -> Result<Costs, SearchError> {
        let valid = cx.valid_source();
        let wanted = (valid.len() as f64 * self.config.fraction).round() as usize;
        let source = valid.subset(self.config.images.of(wanted).max(1), seed);
        let batch = cx.batch_size().min(source.len());
        let options = LoaderOptions { batch, drop_last: true, order: Order::Sequential, ..cx.sweep_loader() };
        let (steps, count) = (options.steps(source.len()), variants.weights.len());
        let mut loader: Option<Loader> = None;
        let mut current = None;
        let epoch = cx.epoch_index();
        // Per variant: correct answers and summed loss.
        let sums = cx.sweep(&sweep(by, steps * count, 2 * count), |supernet, i, sums| {
            let (step, variant) = (i / count, i % count);
            if variant == 0 || current.is_none() {
                let loader = match &mut loader {
                    Some(loader) => loader,
                    empty => empty.insert(Loader::epoch(&source, &options, epoch, step)?),
                };
                current = loader.next().transpose()?;
            }
            let batch = current.as_ref().ok_or(SearchError::DataEnded)?;
            if variants.like_whole(variant) {
                sums.copy_within(0..2, 2 * variant);
                return Ok(());
            }
            let result = supernet.evaluate(batch.as_batch(), &variants.weights[variant])?;
            sums[2 * variant] += result.correct as f64;
            sums[2 * variant + 1] += result.loss * batch.len() as f64;
            Ok(())
        })?;
        let images = (steps * batch) as f64;
        let accuracy: Vec<f64> = sums.iter().step_by(2).map(|correct| 100.0 * (correct / images)).collect();
        let loss: Vec<f64> = sums.iter().skip(1).step_by(2).map(|sum| sum / images).collect();
        if loss.iter().any(|v| v.is_nan()) {
            return Err(cx.not_finite("the loss of an importance sweep", f64::NAN));
        }
        let own = if by == Performance::Accuracy { &accuracy } else { &loss };
        let measures = [("accuracy", scores(&accuracy)), ("loss", scores(&loss))];
        let measures = BTreeMap::from(measures.map(|(name, scores)| (name.to_owned(), scores)));
        Ok(Costs { measures, ..by_scores(by, own, steps * batch) })
    }

    /// By a proxy on one mini-batch.
    fn by_score(
        &self,
        by: Performance,
        cx: &mut Context<'_>,
        variants: &Variants,
        seed: u64,
    ) -> Result<Costs, SearchError> {
        let batch = self.config.proxy_batch_size;
        let source = cx.valid_source().subset(batch, seed);
        let options = LoaderOptions { batch, drop_last: true, order: Order::Sequential, ..cx.sweep_loader() };
        let batch = Loader::single(&source, &options, cx.epoch_index(), 0)?;
        let count = variants.weights.len();
        let sums = cx.sweep(&sweep(by, count, 2 * count), |supernet, variant, sums| {
            if variants.like_whole(variant) {
                sums.copy_within(0..2, 2 * variant);
                return Ok(());
            }
            let score =
                self.score(by, supernet, batch.as_batch(), &variants.weights[variant], &variants.removed[variant])?;
            sums[2 * variant] = score.value;
            sums[2 * variant + 1] = f64::from(score.sign);
            Ok(())
        })?;
        let values: Vec<f64> = sums.iter().step_by(2).copied().collect();
        let signs = sums.iter().skip(1).step_by(2).enumerate().filter(|(_, sign)| **sign != 1.0);
        let signs = signs.map(|(i, &sign)| (i.checked_sub(1), sign as i8)).collect();
        let images = if by.on_mini_batch() { source.len() } else { 0 };
        Ok(Costs { signs, ..by_scores(by, &values, images) })
    }

    fn score(
        &self,
        by: Performance,
        supernet: &mut Supernet,
        batch: Batch<'_>,
        w: &PerOp<f32>,
        removed: &[usize],
    ) -> Result<Score, SearchError> {
        let images = batch.images;
        Ok(match by {
            Performance::Naswot => {
                let distances = supernet.code_distances(images, w, Codes::ReluInputs)?;
                let dropped = self.config.removed_relu == RemovedRelu::Dropped;
                naswot::score(&distances, if dropped { removed } else { &[] })
            }
            Performance::GradNorm => {
                let [_, gradient] = supernet.omega_gradient(batch, w)?;
                grad_norm::score(&gradient)
            }
            Performance::Snip => {
                let [omega, gradient] = supernet.omega_gradient(batch, w)?;
                snip::score(&omega, &gradient)
            }
            Performance::Synflow => supernet.in_f64(w, synflow::score)?,
            Performance::JacobCov => supernet.in_f64(w, |network, w| jacob_cov::score(network, images, w))?,
            Performance::Swap => supernet.in_f64(w, |network, w| swap::score(network, images, w))?,
            Performance::NetPerfProxy => {
                let distances = supernet.code_distances(images, w, Codes::OpOutputs)?;
                net_perf_proxy::score(&distances, w.values(), self.config.kernel)
            }
            Performance::Accuracy | Performance::Loss | Performance::Params | Performance::Flops => {
                unreachable!("{by} is no score of a mini-batch")
            }
        })
    }
}

fn sweep(by: Performance, count: usize, sums: usize) -> Sweep {
    Sweep { what: format!("importance by {by}"), count, sums, activity: "importance" }
}

/// No sweep: nothing is evaluated, so there is nothing to interrupt.
fn by_size(by: Performance, cx: &Context<'_>, variants: &Variants) -> Result<Costs, SearchError> {
    let costs = cx.spec().graph()?.cost_table();
    let size = |removed: &Vec<usize>| {
        let mut alive = cx.spec().alive.clone();
        removed.iter().for_each(|&place| alive[place] = false);
        let cost = costs.of(&alive);
        if by == Performance::Flops { cost.flops_m() } else { cost.params_m() }
    };
    Ok(by_scores(by, &variants.removed.iter().map(size).collect::<Vec<_>>(), 0))
}

/// The costs by a performance that was taken of each variant.
fn by_scores(by: Performance, values: &[f64], images: usize) -> Costs {
    Costs {
        by: by.into(),
        images,
        values: values[1..].iter().map(|&changed| lost(by, values[0], changed)).collect(),
        measures: BTreeMap::from([(by.to_string(), scores(values))]),
        signs: Vec::new(),
    }
}

fn scores(values: &[f64]) -> Scores {
    Scores { supernet: values[0], without: values[1..].to_vec() }
}

/// The supernet (first) and the supernet without each of the sets.
struct Variants {
    weights: Vec<PerOp<f32>>,
    /// Of each: places `e * O + o` of the operations that were taken out.
    removed: Vec<Vec<usize>>,
    /// Column of `none`.
    none: Option<usize>,
}

impl Variants {
    fn new(cx: &Context<'_>, without: Without<'_>, sets: &[Vec<OpAt>]) -> Self {
        let ops = cx.mask().ops();
        let all = || std::iter::once(&[][..]).chain(sets.iter().map(Vec::as_slice));
        Self {
            weights: all().map(|out| without(cx.mask(), out).map(|&w| w as f32)).collect(),
            removed: all().map(|out| out.iter().map(|&(e, o)| e * ops + o).collect()).collect(),
            none: column(cx.space(), OpName::NONE),
        }
    }

    /// Whether a variant computes what the whole supernet does: `none` outputs zeros, so that without it nothing
    /// changes unless the other weights do.
    fn like_whole(&self, variant: usize) -> bool {
        let same = |(at, w): (OpAt, &f32)| Some(at.1) == self.none || *w == self.weights[0][at];
        let of = &self.weights[variant];
        variant > 0 && of.places().zip(of.values()).all(same)
    }
}
