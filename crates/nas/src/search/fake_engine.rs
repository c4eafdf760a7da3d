//! An engine of a few numbers, to test everything around an engine: deterministic, fast, learns, prefers 3x3 convolutions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use engine::{
    Batch, CodeDistances, Codes, Distances, Engine, EngineError, Evaluation, Gradients, NetworkSpec, Normalisation, Op,
    Pass, Sgd, StepOutput, TensorState, Vector,
};

/// What a training step was asked for and what came out.
#[derive(Debug)]
pub(super) struct LoggedStep {
    pub(super) gradients: Gradients,
    pub(super) run: Option<Vec<bool>>,
    pub(super) omega_grad: Vec<f32>,
    pub(super) mixing_grad: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct FakeEngine {
    spec: NetworkSpec,
    omega: Vec<f32>,
    momentum: Vec<f32>,
    gradient: Vec<f32>,
    saved: BTreeMap<u8, Vec<f32>>,
    /// Steps of omega after which the loss is NaN.
    pub(super) nan_after: Option<usize>,
    steps: usize,
    /// Every training step, where somebody wants to see them.
    pub(super) log: Option<Arc<Mutex<Vec<LoggedStep>>>>,
}

impl FakeEngine {
    pub(super) fn new(spec: &NetworkSpec) -> Self {
        let len = spec.mixing_len();
        Self {
            spec: spec.clone(),
            omega: (0..len).map(|i| 0.1 + 0.01 * i as f32).collect(),
            momentum: vec![0.0; len],
            gradient: vec![0.0; len],
            saved: BTreeMap::new(),
            nan_after: None,
            steps: 0,
            log: None,
        }
    }

    fn vector(&self, vector: Vector) -> Result<&Vec<f32>, EngineError> {
        match vector {
            Vector::Omega => Ok(&self.omega),
            Vector::Gradient => Ok(&self.gradient),
            Vector::Momentum => Ok(&self.momentum),
            Vector::Saved(number) => self.saved.get(&number).ok_or(EngineError::NoVector { number }),
        }
    }

    fn quality(&self, i: usize) -> f32 {
        match self.spec.ops[i % self.spec.ops.len()] {
            Op::None => 0.0,
            Op::Skip => 0.3,
            Op::Conv1x1 => 0.6,
            Op::AvgPool3x3 => 0.1,
            _ => 1.0,
        }
    }

    /// Whether an operation is alive and part of the pass.
    fn runs(&self, pass: Pass<'_>, i: usize) -> bool {
        self.spec.alive[i] && pass.run.is_none_or(|run| run[i])
    }

    /// Loss 2.3 exp(-s) with s = sum of w * omega * quality over what runs, shifted a little by the images.
    fn loss(&self, batch: Batch<'_>, pass: Pass<'_>) -> f64 {
        let running = (0..pass.w.len()).filter(|&i| self.runs(pass, i));
        let s: f32 = running.map(|i| pass.w[i] * self.omega[i] * self.quality(i)).sum();
        let noise: f32 = batch.images.iter().sum::<f32>() / batch.images.len() as f32;
        f64::from(2.3 * (-s).exp() + 0.05 * noise.sin().abs())
    }

    fn correct(loss: f64, samples: usize) -> usize {
        (samples as f64 * (-loss).exp()).round() as usize
    }
}

impl Engine for FakeEngine {
    fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    fn parameters(&self) -> usize {
        self.spec.alive.iter().filter(|a| **a).count()
    }

    fn remove_op(&mut self, edge: usize, op: usize) {
        let i = edge * self.spec.ops.len() + op;
        self.spec.alive[i] = false;
        self.omega[i] = 0.0;
        self.momentum[i] = 0.0;
        self.gradient[i] = 0.0;
    }

    fn train_step(
        &mut self,
        batch: Batch<'_>,
        pass: Pass<'_>,
        gradients: Gradients,
    ) -> Result<StepOutput, EngineError> {
        let w = pass.w;
        if gradients != Gradients::Mixing {
            self.steps += 1;
        }
        let mut loss = self.loss(batch, pass);
        let slope = -loss as f32;
        let mut mixing_grad = vec![0.0; w.len()];
        if gradients != Gradients::Mixing {
            self.gradient.fill(0.0);
        }
        let running: Vec<usize> = (0..w.len()).filter(|&i| self.runs(pass, i)).collect();
        for i in running {
            if gradients != Gradients::Mixing {
                self.gradient[i] = slope * w[i] * self.quality(i);
            }
            if gradients != Gradients::Omega {
                mixing_grad[i] = f64::from(slope * self.omega[i] * self.quality(i));
            }
        }
        if self.nan_after.is_some_and(|after| self.steps > after) {
            loss = f64::NAN;
        }
        if let Some(log) = &self.log {
            log.lock().unwrap().push(LoggedStep {
                gradients,
                run: pass.run.map(<[bool]>::to_vec),
                omega_grad: self.gradient.clone(),
                mixing_grad: mixing_grad.clone(),
            });
        }
        let edge_grad = vec![if gradients == Gradients::Omega { 0.0 } else { f64::from(slope) }; self.spec.rows];
        Ok(StepOutput { loss, correct: Self::correct(loss, batch.labels.len()), mixing_grad, edge_grad })
    }

    fn sgd_step(&mut self, sgd: &Sgd, lr: f32) -> f64 {
        let norm = self.gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        for i in (0..self.omega.len()).filter(|&i| self.spec.alive[i]) {
            self.momentum[i] = sgd.momentum * self.momentum[i] + self.gradient[i] + sgd.weight_decay * self.omega[i];
            self.omega[i] -= lr * self.momentum[i];
        }
        norm
    }

    fn evaluate(&mut self, batch: Batch<'_>, pass: Pass<'_>, _: Normalisation) -> Result<Evaluation, EngineError> {
        let loss = self.loss(batch, pass);
        Ok(Evaluation { loss, correct: Self::correct(loss, batch.labels.len()) })
    }

    /// The codes are the low bits of the pixels, longer for better operations.
    fn code_distances(&mut self, images: &[f32], pass: Pass<'_>, codes: Codes) -> Result<CodeDistances, EngineError> {
        let w = pass.w;
        let pixels = self.spec.image.len();
        let samples = images.len() / pixels;
        let distances = |place: usize| {
            let bits = 24.min(pixels);
            let bit = |sample: usize, b: usize| {
                let pixel = images[sample * pixels + (b * (place + 1)) % pixels];
                (pixel * self.omega[place].max(0.01) * 7.0).sin() > 0.0
            };
            let hamming = (0..samples * samples).map(|ij| {
                let (i, j) = (ij / samples, ij % samples);
                (0..bits).filter(|&b| bit(i, b) != bit(j, b)).count() as u32
            });
            Distances { bits: bits as u64, hamming: hamming.collect() }
        };
        let has_code = |i: usize| {
            let op = self.spec.ops[i % self.spec.ops.len()];
            let kind = if codes == Codes::ReluInputs { op.is_conv() } else { op != Op::None && w[i] != 0.0 };
            self.runs(pass, i) && kind
        };
        Ok(CodeDistances {
            samples,
            ops: (0..w.len()).map(|i| has_code(i).then(|| distances(i))).collect(),
            outside: (codes == Codes::ReluInputs).then(|| distances(0)),
        })
    }

    fn state(&self) -> Vec<TensorState> {
        let tensor = |name: &str, data: &[f32]| TensorState {
            name: name.to_owned(),
            shape: vec![data.len()],
            data: data.to_vec(),
        };
        vec![tensor("omega", &self.omega), tensor("momentum", &self.momentum)]
    }

    fn load_state(&mut self, tensors: &[TensorState]) -> Result<(), EngineError> {
        for (name, own) in [("omega", &mut self.omega), ("momentum", &mut self.momentum)] {
            let saved = tensors.iter().find(|t| t.name == name && t.data.len() == own.len());
            own.clone_from(&saved.ok_or_else(|| EngineError::State(format!("{name} is missing")))?.data);
        }
        Ok(())
    }

    fn logits(&mut self, _: &[f32], _: Pass<'_>, _: Normalisation) -> Result<Vec<f32>, EngineError> {
        Err(EngineError::Unsupported("logits".to_owned()))
    }

    fn tensors(&self, _: Vector) -> Result<Vec<TensorState>, EngineError> {
        Err(EngineError::Unsupported("vectors".to_owned()))
    }

    fn combine(&mut self, to: Vector, terms: &[(f32, Vector)]) -> Result<(), EngineError> {
        let mut sum = vec![0.0; self.omega.len()];
        for &(factor, vector) in terms {
            self.vector(vector)?.iter().zip(&mut sum).for_each(|(v, sum)| *sum += factor * v);
        }
        match to {
            Vector::Omega => self.omega = sum,
            Vector::Gradient => self.gradient = sum,
            Vector::Momentum => self.momentum = sum,
            Vector::Saved(number) => drop(self.saved.insert(number, sum)),
        }
        Ok(())
    }

    fn norm(&self, vector: Vector) -> Result<f64, EngineError> {
        Ok(self.vector(vector)?.iter().map(|v| f64::from(v * v)).sum::<f64>().sqrt())
    }
}
