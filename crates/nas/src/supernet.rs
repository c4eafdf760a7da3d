//! The supernet: a network with every candidate operation on every edge, over an engine.

mod mixing;
mod per_op;

use engine::{
    Batch, CodeDistances, Codes, EngineError, Evaluation, Gradients, NetworkSpec, Normalisation, Pass, Sgd, StepOutput,
    TensorState, Vector,
    reference::{self, Reference},
};

pub use engine::Engine;
pub use mixing::{Mixing, MixingGradient};
pub use per_op::{Mask, OpAt, PerOp};

/// Makes the engine of a network with initial weights of a seed.
pub type MakeEngine = Box<dyn Fn(&NetworkSpec, u64) -> Result<Box<dyn Engine>, EngineError> + Send>;

/// Omega before a virtual step.
const BEFORE: Vector = Vector::Saved(0);

/// The gradient of omega after a virtual step.
const DIRECTION: Vector = Vector::Saved(1);

/// The engine together with the mask of alive operations, in the shape that strategies think in.
#[derive(Debug)]
pub struct Supernet {
    engine: Box<dyn Engine>,
    mask: Mask,
}

impl Supernet {
    /// A supernet over `engine`; the mask is the engine's.
    pub fn new(engine: Box<dyn Engine>) -> Self {
        let spec = engine.spec();
        let mask = Mask::from_values(spec.ops.len(), spec.alive.clone());
        Self { engine, mask }
    }

    /// Operations that are alive, `[E, O]`.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }

    /// The network, with the operations that are alive.
    pub fn spec(&self) -> &NetworkSpec {
        self.engine.spec()
    }

    /// Number of trainable parameters of what is alive.
    pub fn parameters(&self) -> usize {
        self.engine.parameters()
    }

    /// Removes an operation from an edge in every cell. Removing it twice is the same as once.
    pub fn remove(&mut self, (edge, op): OpAt) {
        if std::mem::replace(&mut self.mask[(edge, op)], false) {
            self.engine.remove_op(edge, op);
        }
    }

    /// One step of omega on a batch. `with_mixing` asks for the gradient of the mixing weights from the same pass.
    /// Returns the step and the gradient norm before clipping.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    pub fn omega_step(
        &mut self,
        batch: Batch<'_>,
        mixing: &Mixing,
        with_mixing: bool,
        sgd: &Sgd,
        lr: f32,
    ) -> Result<(StepOutput, f64), EngineError> {
        let gradients = if with_mixing { Gradients::Both } else { Gradients::Omega };
        let output = self.engine.train_step(batch, mixing.pass(), gradients)?;
        // A loss that is not a number would destroy the weights too.
        let norm = if output.loss.is_finite() { self.engine.sgd_step(sgd, lr) } else { f64::NAN };
        Ok((output, norm))
    }

    /// The gradient of the mixing weights on a batch; omega stays what it is.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    pub fn mixing_gradient(&mut self, batch: Batch<'_>, mixing: &Mixing) -> Result<StepOutput, EngineError> {
        self.engine.train_step(batch, mixing.pass(), Gradients::Mixing)
    }

    /// The gradient of the mixing weights on `valid` after a virtual step of omega on `train`, differentiated through that step
    /// (DARTS, Eqs. 7-8): `dL_val/dw(omega') - lr d2L_train/(dw domega) dL_val/domega'`, with
    /// `omega' = omega - lr (momentum * buffer + gradient + weight_decay * omega)` and the product by central differences.
    /// Omega and its momentum stay what they are. Loss and correct answers are those on `valid`.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    pub fn unrolled_gradient(
        &mut self,
        train: Batch<'_>,
        valid: Batch<'_>,
        mixing: &Mixing,
        sgd: &Sgd,
        lr: f32,
    ) -> Result<StepOutput, EngineError> {
        self.engine.combine(BEFORE, &[(1.0, Vector::Omega)])?;
        let output = self.through_virtual_step(train, valid, mixing, sgd, lr);
        self.engine.combine(Vector::Omega, &[(1.0, BEFORE)])?;
        output
    }

    fn through_virtual_step(
        &mut self,
        train: Batch<'_>,
        valid: Batch<'_>,
        mixing: &Mixing,
        sgd: &Sgd,
        lr: f32,
    ) -> Result<StepOutput, EngineError> {
        use Vector::{Gradient, Momentum, Omega};
        self.engine.train_step(train, mixing.pass(), Gradients::Omega)?;
        let step = [(1.0 - lr * sgd.weight_decay, Omega), (-lr * sgd.momentum, Momentum), (-lr, Gradient)];
        self.engine.combine(Omega, &step)?;
        let mut output = self.engine.train_step(valid, mixing.pass(), Gradients::Both)?;
        let norm = self.engine.norm(Gradient)?;
        if !(norm.is_finite() && norm > 0.0) {
            return Ok(output);
        }
        self.engine.combine(DIRECTION, &[(1.0, Gradient)])?;
        let epsilon = (0.01 / norm) as f32;
        let mut sides = Vec::with_capacity(2);
        for epsilon in [epsilon, -epsilon] {
            self.engine.combine(Omega, &[(1.0, BEFORE), (epsilon, DIRECTION)])?;
            sides.push(self.engine.train_step(train, mixing.pass(), Gradients::Mixing)?);
        }
        let factor = f64::from(lr) / (2.0 * f64::from(epsilon));
        let [up, down] = [&sides[0], &sides[1]];
        let subtract = |of: &mut [f64], up: &[f64], down: &[f64]| {
            of.iter_mut().zip(up.iter().zip(down)).for_each(|(g, (up, down))| *g -= factor * (up - down));
        };
        subtract(&mut output.mixing_grad, &up.mixing_grad, &down.mixing_grad);
        subtract(&mut output.edge_grad, &up.edge_grad, &down.edge_grad);
        Ok(output)
    }

    /// Omega and the gradient of the loss on a batch with respect to it, tensor by tensor in the same order. Omega stays what it is.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    pub fn omega_gradient(&mut self, batch: Batch<'_>, w: &PerOp<f32>) -> Result<[Vec<TensorState>; 2], EngineError> {
        self.engine.train_step(batch, Pass::new(w.values()), Gradients::Omega)?;
        Ok([self.engine.tensors(Vector::Omega)?, self.engine.tensors(Vector::Gradient)?])
    }

    /// What `work` makes of the supernet with these mixing weights in f64. Operations of weight 0 do not run.
    ///
    /// # Errors
    /// Mixing weights of another shape.
    pub fn in_f64<T: Send>(
        &self,
        w: &PerOp<f32>,
        work: impl FnOnce(&Reference<'_>, &[f64]) -> T + Send,
    ) -> Result<T, EngineError> {
        reference::of(&*self.engine, w.values(), work)
    }

    /// Loss and correct answers on a batch, normalised by the batch's own statistics.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    pub fn evaluate(&mut self, batch: Batch<'_>, w: &PerOp<f32>) -> Result<Evaluation, EngineError> {
        self.engine.evaluate(batch, Pass::new(w.values()), Normalisation::Batch)
    }

    /// The same of the operations that are run.
    ///
    /// # Errors
    /// A batch that does not fit the network.
    pub fn evaluate_mixing(&mut self, batch: Batch<'_>, mixing: &Mixing) -> Result<Evaluation, EngineError> {
        self.engine.evaluate(batch, mixing.pass(), Normalisation::Batch)
    }

    /// Distances between the binary codes of the samples `images: [n, H, W, C]`.
    ///
    /// # Errors
    /// Images that do not fit the network.
    pub fn code_distances(
        &mut self,
        images: &[f32],
        w: &PerOp<f32>,
        codes: Codes,
    ) -> Result<CodeDistances, EngineError> {
        self.engine.code_distances(images, Pass::new(w.values()), codes)
    }

    /// Omega, running statistics and momentum, for a checkpoint.
    pub fn state(&self) -> Vec<TensorState> {
        self.engine.state()
    }

    /// Goes back to a saved mask and state.
    ///
    /// # Errors
    /// A mask of another shape or with an operation that has been removed since; tensors that do not fit.
    pub fn restore(&mut self, mask: &Mask, tensors: &[TensorState]) -> Result<(), EngineError> {
        if (mask.edges(), mask.ops()) != (self.mask.edges(), self.mask.ops()) {
            return Err(EngineError::State(format!(
                "a mask of {} edges x {} operations, expected {} x {}",
                mask.edges(),
                mask.ops(),
                self.mask.edges(),
                self.mask.ops()
            )));
        }
        if let Some((edge, op)) = mask.alive().find(|&at| !self.mask[at]) {
            return Err(EngineError::State(format!("operation {op} of edge {edge} is alive but was removed earlier")));
        }
        for at in mask.places().filter(|&at| !mask[at]) {
            self.remove(at);
        }
        self.engine.load_state(tensors)
    }
}
