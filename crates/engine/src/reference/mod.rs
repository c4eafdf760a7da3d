//! A second engine: any network in f64, layer by layer as the formulas have it, forward and hand-derived backward, sharing no
//! code with the CPU engine: driven by a network's [`Graph`] and named tensors. [`Reference`] is the passes
//! alone, without a state; [`ReferenceEngines`] make networks of them that keep the contract.
//!
//! It keeps every value of a pass and gives the gradient of any value at any other, which the contract of training does not
//! offer and training-free scores need ([`Reference::trace`], [`Reference::pull_back`]). The tests hold the CPU engine to it.

mod codes;
mod engine;
mod layers;
mod random;
mod transform;
mod walk;

use std::collections::BTreeMap;

pub use codes::{AllCodes, Code, NEAR};
pub use engine::ReferenceEngines;
pub use layers::{Map, Tensor};
pub use walk::{Pass, Reference, Stats, Trace};

use crate::EngineError;
use crate::contract::{Engine, Sgd, TensorState, Vector};
use crate::spec::Graph;

/// Tensors by dotted name.
pub type Tensors = BTreeMap<String, Tensor>;

/// A new network's weights and running statistics, as [`crate::Engines::build`] draws them.
pub fn initial(graph: &Graph, seed: u64) -> Tensors {
    random::initial(graph, seed)
}

/// What `work` makes of a network with its current weights and the mixing weights `w: [R, O]`, on the threads of its engine.
/// Operations of weight 0 do not run.
///
/// # Errors
/// [`EngineError::Shape`] for a `w` of another length.
pub fn of<T: Send>(
    network: &dyn Engine,
    w: &[f32],
    work: impl FnOnce(&Reference<'_>, &[f64]) -> T + Send,
) -> Result<T, EngineError> {
    let expected = network.spec().mixing_len();
    if w.len() != expected {
        return Err(EngineError::Shape { what: "the mixing weights", got: w.len(), expected });
    }
    let tensors = tensors(&network.tensors(Vector::Omega)?);
    let run = w.iter().map(|w| *w != 0.0).collect();
    let reference = Reference { run, ..Reference::new(network.spec(), &tensors) };
    let w: Vec<f64> = w.iter().copied().map(f64::from).collect();
    let (mut work, mut result) = (Some(work), None);
    network.install(&mut || result = work.take().map(|work| work(&reference, &w)));
    let Some(result) = result else { unreachable!("an engine runs what it is given") };
    Ok(result)
}

/// Converts what [`crate::Engine::state`] or `tensors` returned.
pub fn tensors(state: &[TensorState]) -> Tensors {
    let widen =
        |t: &TensorState| Tensor { shape: t.shape.clone(), data: t.data.iter().copied().map(f64::from).collect() };
    state.iter().map(|t| (t.name.clone(), widen(t))).collect()
}

/// One step of SGD as PyTorch defines it, on the weights in `tensors` that have a gradient; momentum is 0 where absent.
/// Returns the gradient norm before clipping.
///
/// # Panics
/// Where a gradient has no weight.
pub fn sgd_step(tensors: &mut Tensors, momentum: &mut Tensors, grads: &Tensors, sgd: &Sgd, lr: f64) -> f64 {
    let norm = norm(grads);
    // PyTorch's clip_grad_norm_ adds 1e-6 to the norm.
    let clip = sgd.clip_norm.map_or(1.0, |max| (f64::from(max) / (norm + 1e-6)).min(1.0));
    let (factor, decay) = (f64::from(sgd.momentum), f64::from(sgd.weight_decay));
    for (name, grad) in grads {
        let velocity = momentum.entry(name.clone()).or_insert_with(|| Tensor::zeros_like(grad));
        let p = tensors.get_mut(name).expect("a gradient of a weight");
        for ((p, v), g) in p.data.iter_mut().zip(&mut velocity.data).zip(&grad.data) {
            let g = clip * g + decay * *p;
            *v = factor * *v + g;
            *p -= lr * if sgd.nesterov { g + factor * *v } else { *v };
        }
    }
    norm
}

/// Euclidean norm.
fn norm(tensors: &Tensors) -> f64 {
    tensors.values().flat_map(|t| &t.data).map(|v| v * v).sum::<f64>().sqrt()
}

/// To f32, which is what an engine keeps.
fn round(value: f64) -> f64 {
    f64::from(value as f32)
}
