//! The reference as an engine of its own: what the contract asks for and nothing to be fast.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::{
    Batch, CodeDistances, Codes, Distances, Engine, EngineError, EngineInfo, Engines, Evaluation, Gradients, Memory,
    NetworkSpec, Normalisation, Pass, Sgd, StepOutput, TensorState, Vector,
};

use super::codes::Code;
use super::layers::Tensor;
use super::{Reference, Stats, Tensors, norm, random, round, sgd_step};

/// Makes reference networks, of any specification.
#[derive(Debug)]
pub struct ReferenceEngines;

impl Engines for ReferenceEngines {
    fn build(&self, spec: &NetworkSpec, seed: u64) -> Result<Box<dyn Engine>, EngineError> {
        let graph = spec.graph()?;
        let zeros: Tensors = graph.parameters().map(|p| (p.name, Tensor::zeros(p.shape))).collect();
        Ok(Box::new(ReferenceNetwork {
            spec: spec.clone(),
            tensors: random::initial(&graph, seed),
            gradient: zeros.clone(),
            momentum: zeros,
            saved: BTreeMap::new(),
        }))
    }

    /// Every value of every layer in f64, forward and backward, at once.
    fn memory(&self, spec: &NetworkSpec, train: usize, evaluate: usize) -> Result<Memory, EngineError> {
        let graph = spec.graph()?;
        let values: usize = graph.values.iter().map(|v| v.shape.len()).sum();
        let weights: usize = graph.parameters().map(|p| p.shape.iter().product::<usize>()).sum();
        let bytes = |values: usize| (8 * values) as u64;
        Ok(Memory {
            weights: bytes(3 * weights),
            activations: bytes(values * train.max(evaluate)),
            work: bytes(values * train),
        })
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            engine: "reference",
            instruction_set: "any".to_owned(),
            kernels: "loops in f64".to_owned(),
            threads: 1,
        }
    }
}

/// A network with its state. All values are rounded to f32 when they are stored: it can be saved without loss.
struct ReferenceNetwork {
    spec: NetworkSpec,
    /// Weights and running statistics.
    tensors: Tensors,
    /// One tensor for each weight, as in every vector below.
    gradient: Tensors,
    momentum: Tensors,
    saved: BTreeMap<u8, Tensors>,
}

impl fmt::Debug for ReferenceNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReferenceNetwork").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl ReferenceNetwork {
    fn check_images(&self, images: &[f32], n: usize) -> Result<(), EngineError> {
        let expected = n.max(1) * self.spec.image.len();
        if images.len() == expected {
            Ok(())
        } else {
            Err(EngineError::Shape { what: "the images", got: images.len(), expected })
        }
    }

    fn check_batch(&self, batch: Batch<'_>) -> Result<(), EngineError> {
        self.check_images(batch.images, batch.labels.len())?;
        let classes = self.spec.classes;
        match batch.labels.iter().position(|&label| label as usize >= classes) {
            Some(sample) => Err(EngineError::Label { sample, label: batch.labels[sample], classes }),
            None => Ok(()),
        }
    }

    /// The walk of a pass, and its w. `zeros`: operations of weight 0 run as well.
    fn walk(&self, pass: Pass<'_>, zeros: bool) -> Result<(Reference<'_>, Vec<f64>), EngineError> {
        let expected = self.spec.mixing_len();
        for got in [pass.w.len(), pass.run.map_or(expected, <[bool]>::len)] {
            if got != expected {
                return Err(EngineError::Shape { what: "w or the run mask", got, expected });
            }
        }
        if let Some(drop) = pass.drop_path.filter(|drop| !(0.0..1.0).contains(&drop.rate)) {
            return Err(EngineError::Rate { rate: drop.rate });
        }
        let runs = |i: usize| pass.run.is_none_or(|run| run[i]) && (zeros || pass.w[i] != 0.0);
        let walk = Reference {
            run: (0..expected).map(runs).collect(),
            drop_path: pass.drop_path,
            auxiliary: f64::from(pass.auxiliary),
            ..Reference::new(&self.spec, &self.tensors)
        };
        Ok((walk, pass.w.iter().copied().map(f64::from).collect()))
    }

    fn stats(&self, norm: Normalisation) -> Result<Stats, EngineError> {
        match norm {
            Normalisation::Batch => Ok(Stats::Batch),
            Normalisation::Running if self.spec.norm.affine => Ok(Stats::Running),
            Normalisation::Running => Err(EngineError::Spec("a supernet has no running statistics".to_owned())),
        }
    }

    fn samples(&self, images: &[f32]) -> Result<usize, EngineError> {
        let n = images.len() / self.spec.image.len();
        self.check_images(images, n).map(|()| n)
    }

    fn omega(&self) -> Tensors {
        self.tensors
            .iter()
            .filter(|(name, _)| self.gradient.contains_key(*name))
            .map(|(n, t)| (n.clone(), t.clone()))
            .collect()
    }

    fn vector(&self, vector: Vector) -> Result<Tensors, EngineError> {
        match vector {
            Vector::Omega => Ok(self.omega()),
            Vector::Gradient => Ok(self.gradient.clone()),
            Vector::Momentum => Ok(self.momentum.clone()),
            Vector::Saved(number) => self.saved.get(&number).cloned().ok_or(EngineError::NoVector { number }),
        }
    }
}

impl Engine for ReferenceNetwork {
    fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    fn parameters(&self) -> usize {
        self.gradient.values().map(|t| t.data.len()).sum()
    }

    fn remove_op(&mut self, edge: usize, op: usize) {
        self.spec.alive[edge * self.spec.ops.len() + op] = false;
        let graph = self.spec.graph().expect("a network without an operation is one");
        let statistics = graph.statistics().map(|(name, _)| name);
        let left: HashSet<String> = graph.parameters().map(|p| p.name).chain(statistics).collect();
        let vectors = [&mut self.tensors, &mut self.gradient, &mut self.momentum];
        vectors.into_iter().chain(self.saved.values_mut()).for_each(|v| v.retain(|name, _| left.contains(name)));
    }

    fn train_step(
        &mut self,
        batch: Batch<'_>,
        pass: Pass<'_>,
        gradients: Gradients,
    ) -> Result<StepOutput, EngineError> {
        self.check_batch(batch)?;
        let mixing = gradients != Gradients::Omega;
        let (walk, w) = self.walk(pass, mixing)?;
        let step = walk.train(batch, &w);
        if gradients != Gradients::Mixing {
            self.gradient = rounded(step.grads);
        }
        self.tensors.extend(rounded(step.running));
        let asked = |values: Vec<f64>| if mixing { values } else { vec![0.0; values.len()] };
        Ok(StepOutput {
            loss: step.loss,
            correct: step.correct,
            mixing_grad: asked(step.mixing_grad),
            edge_grad: asked(step.edge_grad),
        })
    }

    fn sgd_step(&mut self, sgd: &Sgd, lr: f32) -> f64 {
        let (mut omega, mut momentum) = (self.omega(), self.momentum.clone());
        let norm = sgd_step(&mut omega, &mut momentum, &self.gradient, sgd, f64::from(lr));
        self.tensors.extend(rounded(omega));
        self.momentum = rounded(momentum);
        norm
    }

    fn evaluate(&mut self, batch: Batch<'_>, pass: Pass<'_>, norm: Normalisation) -> Result<Evaluation, EngineError> {
        self.check_batch(batch)?;
        let (walk, w) = self.walk(pass, false)?;
        let (loss, correct) = walk.evaluate(batch, &w, self.stats(norm)?);
        Ok(Evaluation { loss, correct })
    }

    fn logits(&mut self, images: &[f32], pass: Pass<'_>, norm: Normalisation) -> Result<Vec<f32>, EngineError> {
        self.samples(images)?;
        let (walk, w) = self.walk(pass, false)?;
        Ok(walk.logits(images, &w, self.stats(norm)?).into_iter().map(|l| l as f32).collect())
    }

    fn code_distances(&mut self, images: &[f32], pass: Pass<'_>, codes: Codes) -> Result<CodeDistances, EngineError> {
        let samples = self.samples(images)?;
        let (walk, w) = self.walk(pass, false)?;
        let all = walk.codes(images, &w);
        let (ops, outside) = match codes {
            Codes::OpOutputs => (all.op_outputs, None),
            Codes::ReluInputs => (all.op_relus, distances(&all.outside)),
        };
        Ok(CodeDistances { samples, ops: ops.iter().map(distances).collect(), outside })
    }

    fn state(&self) -> Vec<TensorState> {
        let momentum = self.momentum.iter().map(|(name, tensor)| named(&format!("momentum.{name}"), tensor));
        self.tensors.iter().map(|(name, tensor)| named(name, tensor)).chain(momentum).collect()
    }

    fn load_state(&mut self, tensors: &[TensorState]) -> Result<(), EngineError> {
        let shapes = |tensors: &[TensorState]| {
            let mut shapes: Vec<_> = tensors.iter().map(|t| (t.name.clone(), t.shape.clone(), t.data.len())).collect();
            shapes.sort();
            shapes
        };
        if shapes(tensors) != shapes(&self.state()) {
            return Err(EngineError::State("names or shapes of the tensors are not those of the network".to_owned()));
        }
        for (name, tensor) in super::tensors(tensors) {
            match name.strip_prefix("momentum.") {
                Some(weight) => self.momentum.insert(weight.to_owned(), tensor),
                None => self.tensors.insert(name, tensor),
            };
        }
        Ok(())
    }

    fn tensors(&self, vector: Vector) -> Result<Vec<TensorState>, EngineError> {
        Ok(self.vector(vector)?.iter().map(|(name, tensor)| named(name, tensor)).collect())
    }

    fn combine(&mut self, to: Vector, terms: &[(f32, Vector)]) -> Result<(), EngineError> {
        let mut sum: Tensors = self.gradient.iter().map(|(name, t)| (name.clone(), Tensor::zeros_like(t))).collect();
        for &(factor, vector) in terms {
            for (name, term) in self.vector(vector)? {
                let sum = &mut sum.get_mut(&name).expect("every vector has every weight").data;
                sum.iter_mut().zip(term.data).for_each(|(s, v)| *s += f64::from(factor) * v);
            }
        }
        let sum = rounded(sum);
        match to {
            Vector::Omega => self.tensors.extend(sum),
            Vector::Gradient => self.gradient = sum,
            Vector::Momentum => self.momentum = sum,
            Vector::Saved(number) => drop(self.saved.insert(number, sum)),
        }
        Ok(())
    }

    fn norm(&self, vector: Vector) -> Result<f64, EngineError> {
        Ok(norm(&self.vector(vector)?))
    }
}

fn rounded(mut tensors: Tensors) -> Tensors {
    tensors.values_mut().flat_map(|t| &mut t.data).for_each(|v| *v = round(*v));
    tensors
}

fn named(name: &str, Tensor { shape, data }: &Tensor) -> TensorState {
    TensorState { name: name.to_owned(), shape: shape.clone(), data: data.iter().map(|&v| v as f32).collect() }
}

/// Distances of all pairs of samples; `None` where there is no code.
fn distances(code: &Code) -> Option<Distances> {
    let n = code.bits.len();
    let hamming = (0..n * n).map(|pair| code.hamming(pair / n, pair % n) as u32).collect();
    code.bits.first().map(|bits| Distances { bits: bits.len() as u64, hamming })
}
