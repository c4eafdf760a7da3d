//! The optimiser of the weights.

use rayon::prelude::*;

use crate::params::Params;

/// SGD with momentum as PyTorch defines it: `g = clip(grad) + wd * p; v = momentum * v + g; p -= lr * (g + momentum * v)`
/// with Nesterov, `p -= lr * v` without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Momentum factor.
    pub momentum: f32,
    /// Nesterov's form.
    pub nesterov: bool,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f32,
    /// Largest gradient norm over all parameters; a larger one is scaled down. `None`: no clipping.
    pub clip_norm: Option<f32>,
}

/// Values that one task handles; the norm is summed per task, in order, so that it does not depend on the threads.
const TASK: usize = 1 << 15;

/// One step; returns the gradient norm before clipping.
pub(crate) fn step(params: &mut Params, sgd: &Sgd, lr: f32) -> f64 {
    let squares: Vec<f64> =
        params.grads.par_chunks(TASK).map(|g| g.iter().map(|&g| f64::from(g) * f64::from(g)).sum()).collect();
    let norm = squares.iter().sum::<f64>().sqrt();
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
