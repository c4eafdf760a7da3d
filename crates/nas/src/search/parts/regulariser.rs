use std::fmt;

use crate::supernet::{Mask, PerOp};

/// A penalty on alpha beside the loss, as several successors of DARTS have one. (L2 is a setting of the optimiser.)
pub trait Regulariser: fmt::Debug + Send {
    /// Adds the gradient of the penalty at `alpha: [E, O]` to `gradient: [E, O]`, row-major.
    fn add(&self, alpha: &PerOp<f64>, mask: &Mask, gradient: &mut [f64]);
}
