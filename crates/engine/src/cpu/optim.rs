//! The optimiser of the weights.

use rayon::prelude::*;

use super::params::Params;
use crate::contract::Sgd;

/// Values that one task handles; the norm is summed per task, in order, so that it does not depend on the threads.
const TASK: usize = 1 << 15;

/// Euclidean norm.
pub(crate) fn norm(values: &[f32]) -> f64 {
    let squares: Vec<f64> =
        values.par_chunks(TASK).map(|v| v.iter().map(|&v| f64::from(v) * f64::from(v)).sum()).collect();
    squares.iter().sum::<f64>().sqrt()
}

/// One step; returns the gradient norm before clipping.
pub(crate) fn step(params: &mut Params, sgd: &Sgd, lr: f32) -> f64 {
    let norm = norm(&params.grads);
    let scale = match sgd.clip_norm {
        // PyTorch's clip_grad_norm_ adds 1e-6 to the norm.
        Some(max) => (f64::from(max) / (norm + 1e-6)).min(1.0) as f32,
        None => 1.0,
    };
    let Params { values, grads, momentum, .. } = params;
    values.par_chunks_mut(TASK).zip(grads.par_chunks(TASK)).zip(momentum.par_chunks_mut(TASK)).for_each(
        |((values, grads), momentum)| {
            for ((p, &g), v) in values.iter_mut().zip(grads).zip(momentum) {
                let g = scale * g + sgd.weight_decay * *p;
                *v = sgd.momentum * *v + g;
                *p -= lr * if sgd.nesterov { g + sgd.momentum * *v } else { *v };
            }
        },
    );
    norm
}
