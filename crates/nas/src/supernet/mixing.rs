use engine::{Pass, StepOutput};

use super::{Mask, PerOp};

/// How the operations take part in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixing {
    /// Mixing weights `w: [E, O]`.
    pub w: PerOp<f32>,
    /// Operations that are run, `[E, O]`; one that is not costs nothing and gets no gradient, although it is alive.
    /// `None`: all that are alive.
    pub run: Option<Mask>,
}

impl Mixing {
    pub(super) fn pass(&self) -> Pass<'_> {
        Pass { run: self.run.as_ref().map(PerOp::values), ..Pass::new(self.w.values()) }
    }
}

/// Everything that is alive, mixed by these weights.
impl From<PerOp<f32>> for Mixing {
    fn from(w: PerOp<f32>) -> Self {
        Self { w, run: None }
    }
}

/// The gradient of a loss with respect to the mixing weights.
#[derive(Clone, Debug, PartialEq)]
pub struct MixingGradient {
    /// `dL/dw: [E, O]`, row-major; 0 for operations that are not alive or not run.
    pub w: Vec<f64>,
    /// `[E]`: gradient of a number that is added to the output of an edge, see [`StepOutput::edge_grad`].
    pub edges: Vec<f64>,
}

impl From<StepOutput> for MixingGradient {
    fn from(step: StepOutput) -> Self {
        Self { w: step.mixing_grad, edges: step.edge_grad }
    }
}
