//! How much memory a network will take, without taking it.

use std::sync::Mutex;

use super::buffer::Ptr;
use super::convolve::Transformed;
use super::dense::Dense;
use super::group::{Backward, Forward, Group};
use super::kernels::winograd::POINTS;
use super::padded::Padded;
use super::params::Params;
use super::pieces::{Grain, Run};
use super::plan::{self, Plan, Source};
use super::runtime::Runtime;
use super::unit::Units;
use crate::contract::Memory;
use crate::{EngineError, NetworkSpec};

/// Bytes of values.
fn bytes(values: impl Iterator<Item = u128>) -> u64 {
    u64::try_from(values.sum::<u128>().saturating_mul(size_of::<f32>() as u128)).unwrap_or(u64::MAX)
}

/// See [`crate::contract::Engines::memory`].
pub(super) fn of(spec: &NetworkSpec, train: usize, evaluate: usize, runtime: &Runtime) -> Result<Memory, EngineError> {
    let graph = spec.graph()?;
    let mut params = Params::default();
    let units = Units::new(&graph, &plan::planes(&graph), &mut params);
    let relus = plan::relus(&graph);
    let plan = Plan::new(&graph, &units, &spec.alive, &relus, runtime.exec.isa, runtime.kernels)?;
    let groups = || plan.sources.iter().flat_map(|s| &s.groups);
    let packed = groups().map(|group| group.packed_len(train > 0) as u128);
    let [n, images] = [train, evaluate].map(|n| n as u128);
    let of_batch = |(kept, passing): (&usize, &usize)| (*kept as u128 * n).max(*passing as u128 * images);
    let kept = plan.keep.lens.iter().zip(&plan.pass.lens).map(of_batch);
    let gradients = plan.grad_lens.iter().map(|&len| len as u128 * n);
    let most = |of: &dyn Fn(&Source) -> u128| plan.sources.iter().map(of).max().unwrap_or(0);
    let scratch = most(&|source| scratch_len(source, train > 0) as u128) * runtime.threads() as u128;
    let sums = if train > 0 { most(&|source| sums_len(source, train, runtime)) } else { 0 };
    Ok(Memory {
        // Values, gradients and momentum; and as the kernels read them.
        weights: bytes(packed.chain([3 * params.len() as u128])),
        activations: bytes(kept),
        work: bytes(gradients.chain([scratch, sums])),
    })
}

/// Values that the backward pass of a source leaves to be summed.
fn sums_len(source: &Source, n: usize, runtime: &Runtime) -> u128 {
    let partials = Mutex::default();
    let run = Run { runtime, partials: &partials, n };
    let of = |winograd: bool| {
        let own = source.groups.iter().filter(move |g| g.winograd().is_some() == winograd);
        own.map(|g| g.grad_len() as u128).sum::<u128>()
    };
    let apart = |group: &Group| {
        let dense = group.winograd()?;
        Some(Transformed::new(dense, run, source.images_per_block, Ptr::NONE).room(dense) as u128)
    };
    let images = match run.grain() {
        Grain::Chunk => 0,
        Grain::Image => n as u128 * of(false) + source.groups.iter().filter_map(apart).sum::<u128>(),
    };
    run.chunks() as u128 * (of(false) + of(true)) + images
}

/// Values of scratch that the passes of a source take, at most.
fn scratch_len(source: &Source, backward: bool) -> usize {
    let (len, per) = (source.plane.len(), source.images_per_block);
    let padded = |relu| Padded::of(source, relu, None).map_or(0, |padded| padded.len());
    let of_groups = |room: &dyn Fn(&Group) -> usize| source.groups.iter().map(room).sum::<usize>();
    let forward = 2 * len + of_groups(&|group| Forward::room(group, per));
    let back = if backward {
        let one = source.groups.iter().map(Group::grad_len).max().unwrap_or(0);
        (2 + 2 * per) * len + one + of_groups(&|group| Backward::room(group, true, per, false))
    } else {
        0
    };
    padded(true) + padded(false) + forward.max(back)
}

impl Group {
    /// Values of its packed weights.
    fn packed_len(&self, backward: bool) -> usize {
        let dense = |dense: &Dense| {
            let points = if dense.geometry.winograd { POINTS } else { 0 };
            let forward = dense.panels.len() + points * dense.point_panels.len();
            forward + if backward { dense.back_panels.len() + points * dense.point_back_panels.len() } else { 0 }
        };
        match self {
            Group::Dense(group) => dense(group),
            Group::Separable(group) => group.depthwise.len() + dense(&group.pointwise),
            Group::Reduce(group) => 2 * group.panels.len(),
            Group::Pool(_) | Group::Gather(_) => 0,
        }
    }
}
