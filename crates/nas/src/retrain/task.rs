use std::{collections::HashMap, fmt, time::Instant};

use engine::{DropPath, Engine, Gradients, Normalisation, Pass, TensorState};
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    error::RetrainError,
    events::{Measured, RetrainStart, TrainEpoch},
    model::{MODEL, Model},
    plan::{Plan, evaluation_batch},
};
use crate::{
    data::{BatchBuf, Loader, LoaderOptions, Source},
    numbers::Number,
    random::{self, Purpose},
    run::{At, EVENTS_VERSION, Ended, Flow, Learning, Moment, Position, Schedule, Session, StepReport, Sweep, Task},
    space::Genotype,
    supernet::MakeEngine,
};

/// `result.json`: what a training has come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retrained {
    /// What was trained.
    pub genotype: Genotype,
    /// The same in the notation of the space's paper.
    pub arch: String,
    /// Its index in the space's tabular benchmark.
    pub index: Option<usize>,
    /// Trainable parameters without the auxiliary head.
    pub parameters: u64,
    /// Multiply-adds of an image.
    pub multiply_adds: u64,
    /// Epochs.
    pub epochs: usize,
    /// Of the last epoch, on the images that validate.
    pub last_valid: Option<Measured>,
    /// The epoch with the best accuracy on the images that validate, counted from 1, and that accuracy.
    pub best_valid: Option<(usize, Measured)>,
    /// Of the last epoch, on the test images. Nothing was chosen by them.
    pub test: Measured,
    /// What a user must know of how it came about, such as a training accuracy that stayed at chance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The training of one network.
pub struct RetrainTask {
    plan: Plan,
    network: Box<dyn Engine>,
    /// Every operation that is alive counts once.
    w: Vec<f32>,
    loader: Option<Loader>,
    state: State,
}

/// What a checkpoint holds beside the tensors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    sums: Sums,
    valid: Option<Measured>,
    best: Option<(usize, Measured)>,
    test: Option<Measured>,
    #[serde(default)]
    learning: Learning,
}

/// Sums over the steps of an epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sums {
    loss: f64,
    correct: usize,
    images: usize,
    gradient_norm: f64,
    steps: usize,
}

impl RetrainTask {
    /// A training at its start.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn new(plan: Plan, make: &MakeEngine) -> Result<Self, RetrainError> {
        let network = make(&plan.network, plan.config.seed)?;
        let w = vec![1.0; plan.network.mixing_len()];
        Ok(Self { plan, network, w, loader: None, state: State::default() })
    }

    /// Starts from these tensors, by their names, in place of initial values.
    pub(super) fn take_over(&mut self, tensors: Vec<TensorState>) -> Result<(), RetrainError> {
        let mut given: HashMap<String, TensorState> = tensors.into_iter().map(|t| (t.name.clone(), t)).collect();
        let state = self.network.state().into_iter().map(|own| given.remove(&own.name).unwrap_or(own));
        Ok(self.network.load_state(&state.collect::<Vec<_>>())?)
    }

    fn next(&mut self, epoch: usize) -> Result<BatchBuf, RetrainError> {
        let options = self.plan.loader();
        let loader = match &mut self.loader {
            Some(loader) => loader,
            none => none.insert(Loader::epoch(&self.plan.train, &options, epoch as u64, self.state.sums.steps)?),
        };
        Ok(loader.next().ok_or(RetrainError::DataEnded)??)
    }

    /// Runs the network over images; may be interrupted between two batches.
    fn measure(&mut self, what: &str, source: &Source, session: &mut Session) -> Result<Measured, RetrainError> {
        let options = LoaderOptions::evaluation(evaluation_batch(self.plan.network.image));
        let count = options.steps(source.len());
        let sweep = Sweep { what: format!("measuring on the {what} images"), activity: "evaluation", count, sums: 2 };
        // Made with the first batch that is needed, and ahead of the next ones from there.
        let mut loader = None;
        let evaluate = |task: &mut Self, step: usize, sums: &mut [f64]| {
            let loader = match &mut loader {
                Some(loader) => loader,
                none => none.insert(Loader::epoch(source, &options, 0, step)?),
            };
            let batch = loader.next().ok_or(RetrainError::DataEnded)??;
            let out = task.network.evaluate(batch.as_batch(), Pass::new(&task.w), Normalisation::Running)?;
            sums[0] += out.loss * batch.len() as f64;
            sums[1] += out.correct as f64;
            Ok::<_, RetrainError>(())
        };
        let sums = session.sweep(&sweep, self, evaluate, |task| task.network.state())?;
        let images = source.len();
        let mean = |sum: f64| Number(sum / images as f64);
        Ok(Measured { loss: mean(sums[0]), accuracy: mean(100.0 * sums[1]), images })
    }

    fn report(&self) -> StepReport {
        let Sums { loss, correct, images, .. } = self.state.sums;
        let images = images.max(1) as f64;
        StepReport { loss: loss / images, accuracy: 100.0 * correct as f64 / images }
    }
}

impl Task for RetrainTask {
    type Error = RetrainError;
    type Found = Retrained;

    const RESULT: &'static str = "result.json";

    fn schedule(&self) -> &Schedule {
        &self.plan.schedule
    }

    fn steps(&self, _phase: usize) -> usize {
        self.plan.steps_per_epoch()
    }

    fn opened(&mut self, session: &mut Session) -> Result<(), RetrainError> {
        let Plan { config, space, cost, train, valid, test, network, .. } = &self.plan;
        let start = RetrainStart {
            version: EVENTS_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: config.recipe.clone(),
            space: space.name().to_owned(),
            arch: config.arch.clone(),
            dataset: config.dataset.as_str().to_owned(),
            classes: network.classes,
            train_images: train.len(),
            valid_images: valid.as_ref().map_or(0, Source::len),
            test_images: test.len(),
            seed: config.seed,
            phases: self.plan.schedule.phases.clone(),
            steps_per_epoch: self.plan.steps_per_epoch(),
            parameters: cost.parameters,
            multiply_adds: cost.multiply_adds,
        };
        session.write_file(MODEL, Model::of(&self.plan).to_json().as_bytes())?;
        Ok(session.record(&start)?)
    }

    fn enter(&mut self, _at: &At) -> Result<(), RetrainError> {
        Ok(())
    }

    fn begin(&mut self, _at: &At, _session: &mut Session) -> Result<(), RetrainError> {
        Ok(())
    }

    fn step(&mut self, at: &At, session: &mut Session) -> Result<StepReport, RetrainError> {
        let batch = self.next(at.epoch)?;
        let began = Instant::now();
        let rate = self.plan.drop_path(at.epoch) as f32;
        let (seed, step) = (self.plan.config.seed, self.state.sums.steps as u64);
        let draw = || random::generator(seed, Purpose::DropPath, at.epoch as u64, step).next_u64();
        let pass = Pass {
            drop_path: (rate > 0.0).then(|| DropPath { rate, seed: draw() }),
            auxiliary: self.plan.config.network.auxiliary as f32,
            ..Pass::new(&self.w)
        };
        let out = self.network.train_step(batch.as_batch(), pass, Gradients::Omega)?;
        // A loss that is not a number would destroy the weights too.
        let lr = self.plan.learning_rate().at(at.epoch) as f32;
        let norm = if out.loss.is_finite() { self.network.sgd_step(&self.plan.sgd(), lr) } else { f64::NAN };
        session.book("training", began);
        for (what, value) in [("the training loss", out.loss), ("the gradient norm", norm)] {
            if !value.is_finite() {
                return Err(session.not_finite(what, value).into());
            }
        }
        let sums = &mut self.state.sums;
        sums.loss += out.loss * batch.len() as f64;
        sums.correct += out.correct;
        sums.images += batch.len();
        sums.gradient_norm += norm;
        sums.steps += 1;
        session.stepped();
        Ok(self.report())
    }

    fn end(&mut self, at: &At, session: &mut Session) -> Result<Ended, RetrainError> {
        let epoch = at.epoch + 1;
        let valid = self.plan.valid.clone();
        let valid = valid.map(|source| self.measure("validation", &source, session)).transpose()?;
        let every = self.plan.config.training.test_every;
        let due = at.ends_phase() || (every > 0 && epoch.is_multiple_of(every));
        let source = self.plan.test.clone();
        let test = due.then(|| self.measure("test", &source, session)).transpose()?;
        let report = self.report();
        let Sums { gradient_norm, steps, correct, images, .. } = self.state.sums;
        self.state.learning.epoch(report.loss, correct, images, self.plan.train.largest_class());
        session.record(&TrainEpoch {
            epoch,
            learning_rate: self.plan.learning_rate().at(at.epoch),
            drop_path: self.plan.drop_path(at.epoch),
            train_loss: Number(report.loss),
            train_accuracy: Number(report.accuracy),
            gradient_norm: Number(gradient_norm / steps.max(1) as f64),
            valid,
            test,
        })?;
        if let Some(valid) = valid
            && self.state.best.is_none_or(|(_, best)| valid.accuracy.0 > best.accuracy.0)
        {
            self.state.best = Some((epoch, valid));
        }
        (self.state.valid, self.state.test) = (valid, test);
        self.state.sums = Sums::default();
        self.loader = None;
        let quality = valid.map_or(-report.loss, |valid| valid.accuracy.0);
        Ok(Ended { flow: Flow::Go, quality })
    }

    fn finish(&mut self, session: &mut Session) -> Result<Retrained, RetrainError> {
        let Plan { config, space, genotype, cost, .. } = &self.plan;
        let warnings = self.state.learning.warnings();
        warnings.iter().for_each(|warning| session.warn(warning));
        Ok(Retrained {
            genotype: genotype.clone(),
            arch: config.arch.clone(),
            index: space.table_index(genotype),
            parameters: cost.parameters,
            multiply_adds: cost.multiply_adds,
            epochs: config.training.epochs,
            last_valid: self.state.valid,
            best_valid: self.state.best,
            test: self.state.test.ok_or(RetrainError::DataEnded)?,
            warnings,
        })
    }

    fn state(&self) -> Value {
        json!(self.state)
    }

    fn tensors(&mut self) -> Vec<TensorState> {
        self.network.state()
    }

    fn restore(&mut self, position: Position, state: &Value, tensors: &[TensorState]) -> Result<(), String> {
        let state = State::deserialize(state).map_err(|e| e.to_string())?;
        if let Moment::Step(step) = position.moment
            && step != state.sums.steps
        {
            return Err(format!("it stands at step {step}, its sums are of {}", state.sums.steps));
        }
        self.network.load_state(tensors).map_err(|e| e.to_string())?;
        (self.state, self.loader) = (state, None);
        Ok(())
    }
}

impl fmt::Debug for RetrainTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetrainTask").field("arch", &self.plan.config.arch).finish_non_exhaustive()
    }
}
