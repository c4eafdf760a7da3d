//! The whole network in f64 with obvious loops, forward and hand-derived backward, sharing no code with the engine:
//! driven by a network's [`Graph`](hpe_darts_engine::Graph) and named tensors. [`Reference`] is the passes alone, without
//! a state; [`ReferenceEngines`] make networks of them that keep the contract.

mod codes;
mod engine;
mod layers;
mod random;
mod transform;
mod walk;

use std::collections::BTreeMap;

pub(crate) use codes::{AllCodes, Code, NEAR};
pub(crate) use engine::ReferenceEngines;
use hpe_darts_engine::{Sgd, TensorState};
pub(crate) use layers::Tensor;
pub(crate) use walk::{Pass, Reference, Stats};

/// Tensors by dotted name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// Converts what [`hpe_darts_engine::Engine::state`] or `tensors` returned.
pub(crate) fn tensors(state: &[TensorState]) -> Tensors {
    let widen =
        |t: &TensorState| Tensor { shape: t.shape.clone(), data: t.data.iter().copied().map(f64::from).collect() };
    state.iter().map(|t| (t.name.clone(), widen(t))).collect()
}

/// One step of SGD as PyTorch defines it, on the weights in `tensors` that have a gradient; momentum is 0 where absent.
/// Returns the gradient norm before clipping.
pub(crate) fn sgd_step(tensors: &mut Tensors, momentum: &mut Tensors, grads: &Tensors, sgd: &Sgd, lr: f64) -> f64 {
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
