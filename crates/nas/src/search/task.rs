use engine::TensorState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    context::Context,
    error::SearchError,
    events::{Derive, EpochEnd, RunStart},
    one_shot::{OneShot, PhaseRate},
    plan::Plan,
    trainer::{EpochSums, LearningRate, Trainer},
    widen::widen,
};
use crate::{
    learning_rate::Cosine,
    numbers::Number,
    random::{self, Purpose},
    run::{At, EVENTS_VERSION, Ended, Learning, Moment, Position, Schedule, Session, StepReport, Task},
    space::Genotype,
    supernet::{MakeEngine, Mask, Supernet},
};

/// `genotype.json`: what a search has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The chosen architecture.
    pub genotype: Genotype,
    /// The same in the notation of the space's paper.
    pub arch: String,
    /// Its index in the space's tabular benchmark.
    pub index: Option<usize>,
    /// What a user must know of how it came about, such as a training accuracy that stayed at chance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The training of a supernet by a strategy.
pub struct SearchTask {
    plan: Plan,
    schedule: Schedule,
    strategy: Box<dyn OneShot>,
    trainer: Trainer,
    make: MakeEngine,
    /// The phase whose settings are in force.
    phase: usize,
    learning: Learning,
}

#[derive(Deserialize)]
struct Saved {
    phase: usize,
    valid_batches: u64,
    strategy: Value,
    mask: Mask,
    sums: EpochSums,
    #[serde(default)]
    learning: Learning,
}

impl SearchTask {
    /// A search at its start.
    ///
    /// # Errors
    /// Whatever the engine refuses.
    pub fn new(plan: Plan, make: MakeEngine) -> Result<Self, SearchError> {
        let strategy = plan.strategy();
        Self::with(plan, strategy, make)
    }

    /// The same by a strategy of one's own; its schedule must be that of the plan.
    pub(super) fn with(plan: Plan, strategy: Box<dyn OneShot>, make: MakeEngine) -> Result<Self, SearchError> {
        let schedule = plan.schedule.clone();
        let phase = schedule.at(0).map_or(0, |at| at.phase);
        let spec = plan.network_of(phase, &*strategy, &schedule)?;
        let trainer = Trainer {
            space: plan.candidates.space(),
            seed: plan.config.seed,
            train: plan.train.clone(),
            valid: plan.valid.clone(),
            augmentation: plan.augmentation(),
            sgd: plan.sgd(),
            batch: 0,
            learning_rate: LearningRate::Whole(plan.learning_rate),
            supernet: Supernet::new(make(&spec, plan.config.seed)?),
            sums: EpochSums::default(),
            valid_batches: 0,
            train_loader: None,
            train_ahead: None,
            valid_loader: None,
        };
        let mut task = Self { plan, schedule, strategy, trainer, make, phase, learning: Learning::default() };
        task.put_in_force(phase);
        Ok(task)
    }

    /// Configuration, space and data.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Strategy and context for a measurement.
    pub(super) fn parts<'a>(&'a mut self, session: &'a mut Session, at: &'a At) -> (&'a dyn OneShot, Context<'a>) {
        (&*self.strategy, Context::new(&mut self.trainer, session, at))
    }

    /// Operations that are alive, `[E, O]`.
    pub(super) fn mask(&self) -> &Mask {
        self.trainer.supernet.mask()
    }

    /// Batch and learning rate of a phase.
    fn put_in_force(&mut self, phase: usize) {
        self.trainer.batch = self.plan.batch_of(phase, &*self.strategy);
        let whole = self.plan.learning_rate;
        let epochs = self.schedule.phases[phase].epochs;
        self.trainer.learning_rate = match self.strategy.phase(phase).learning_rate {
            None => LearningRate::Whole(whole),
            Some(PhaseRate::Anew) => LearningRate::OfPhase(Cosine { epochs, ..whole }),
            Some(PhaseRate::Own(own)) => LearningRate::OfPhase(own),
        };
        self.trainer.train_loader = None;
        self.trainer.train_ahead = None;
        self.trainer.valid_loader = None;
        self.phase = phase;
    }

    fn report(&self) -> StepReport {
        let sums = &self.trainer.sums;
        let images = sums.train_images.max(1) as f64;
        StepReport { loss: sums.train_loss / images, accuracy: 100.0 * sums.train_correct as f64 / images }
    }

    fn epoch_end(&self, at: &At) -> EpochEnd {
        let sums = &self.trainer.sums;
        let mean = |sum: f64, count: usize| Number(sum / count.max(1) as f64);
        let percent = |correct: usize, images: usize| mean(100.0 * correct as f64, images);
        let valid = (sums.valid_images > 0).then_some(sums.valid_images);
        EpochEnd {
            epoch: at.epoch + 1,
            phase: at.name.clone(),
            learning_rate: self.trainer.learning_rate.at(at),
            supernet_train_loss: mean(sums.train_loss, sums.train_images),
            supernet_train_accuracy: percent(sums.train_correct, sums.train_images),
            supernet_valid_loss: valid.map(|images| mean(sums.valid_loss, images)),
            supernet_valid_accuracy: valid.map(|images| percent(sums.valid_correct, images)),
            gradient_norm: mean(sums.gradient_norm, sums.steps),
            alpha: self.strategy.snapshot(),
            weights: self.strategy.weights(self.mask()),
            parameters: self.trainer.supernet.parameters(),
        }
    }
}

impl Task for SearchTask {
    type Error = SearchError;
    type Found = Found;

    const RESULT: &'static str = "genotype.json";

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    fn steps(&self, phase: usize) -> usize {
        self.plan.steps_of(self.plan.batch_of(phase, &*self.strategy))
    }

    fn opened(&mut self, session: &mut Session) -> Result<(), SearchError> {
        let Plan { config, candidates, schedule, train, valid, network, .. } = &self.plan;
        let space = candidates.space();
        let start = RunStart {
            version: EVENTS_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            strategy: config.strategy.name().to_owned(),
            space: space.name().to_owned(),
            dataset: config.dataset.as_str().to_owned(),
            classes: network.classes,
            train_images: train.len(),
            valid_images: valid.len(),
            seed: config.seed,
            edges: space.edge_names(),
            ops: space.ops().iter().map(ToString::to_string).collect(),
            offered: config.space.ops.is_some().then(|| candidates.names()),
            phases: schedule.phases.clone(),
            steps_per_epoch: self.steps(schedule.at(0).map_or(0, |at| at.phase)),
            parameters: self.trainer.supernet.parameters(),
        };
        Ok(session.record(&start)?)
    }

    fn enter(&mut self, at: &At) -> Result<(), SearchError> {
        if at.phase == self.phase {
            return Ok(());
        }
        let anew = self.strategy.phase(at.phase).added_cells.is_some();
        let spec = self.plan.network_of(at.phase, &*self.strategy, &self.schedule)?;
        if anew || spec.partial != self.trainer.spec().partial {
            let mask = self.mask().clone();
            let mut supernet = Supernet::new((self.make)(&spec, self.plan.config.seed)?);
            mask.places().filter(|&place| !mask[place]).for_each(|place| supernet.remove(place));
            if !anew {
                let mut rng = random::generator(self.plan.config.seed, Purpose::Widening, at.phase as u64, 0);
                let before = &self.trainer.supernet;
                let state = widen(&before.state(), &before.spec().graph()?, &supernet.spec().graph()?, &mut rng);
                supernet.restore(&mask, &state)?;
            }
            self.trainer.supernet = supernet;
        }
        self.put_in_force(at.phase);
        Ok(())
    }

    fn begin(&mut self, at: &At, session: &mut Session) -> Result<(), SearchError> {
        self.strategy.begin(at, &mut Context::new(&mut self.trainer, session, at))
    }

    fn step(&mut self, at: &At, session: &mut Session) -> Result<StepReport, SearchError> {
        self.strategy.step(at, &mut Context::new(&mut self.trainer, session, at))?;
        Ok(self.report())
    }

    fn end(&mut self, at: &At, session: &mut Session) -> Result<Ended, SearchError> {
        let flow = self.strategy.end(at, &mut Context::new(&mut self.trainer, session, at))?;
        session.record(&self.epoch_end(at))?;
        let report = self.report();
        let EpochSums { train_correct, train_images, .. } = self.trainer.sums;
        self.learning.epoch(report.loss, train_correct, train_images, self.plan.train.largest_class());
        let quality = -report.loss;
        self.trainer.close_epoch();
        Ok(Ended { flow, quality })
    }

    fn finish(&mut self, session: &mut Session) -> Result<Found, SearchError> {
        let last = self.schedule.epochs();
        let at = At { epoch: last, phase: self.phase, name: String::new(), within: 0, length: 0 };
        let genotype = self.strategy.derive(&mut Context::new(&mut self.trainer, session, &at))?;
        let space = self.plan.candidates.space();
        let (arch, index) = (space.text(&genotype)?, space.table_index(&genotype));
        session.record(&Derive { genotype: genotype.clone(), arch: arch.clone(), index })?;
        let warnings = self.learning.warnings();
        warnings.iter().for_each(|warning| session.warn(warning));
        Ok(Found { genotype, arch, index, warnings })
    }

    fn state(&self) -> Value {
        json!({
            "phase": self.phase,
            "valid_batches": self.trainer.valid_batches,
            "strategy": self.strategy.state(),
            "mask": self.mask(),
            "sums": self.trainer.sums,
            "learning": self.learning,
        })
    }

    fn tensors(&mut self) -> Vec<TensorState> {
        self.trainer.supernet.state()
    }

    fn restore(&mut self, position: Position, state: &Value, tensors: &[TensorState]) -> Result<(), String> {
        let saved = Saved::deserialize(state).map_err(|e| e.to_string())?;
        let steps = match position.moment {
            Moment::Step(step) => step,
            Moment::Begin => 0,
            Moment::End => self.steps(saved.phase),
        };
        if saved.phase >= self.schedule.phases.len() || saved.sums.steps != steps {
            return Err(format!("it stands at {position:?} of phase {}", saved.phase));
        }
        self.strategy.restore(&saved.strategy)?;
        if saved.phase != self.phase {
            let spec = self.plan.network_of(saved.phase, &*self.strategy, &self.schedule);
            let spec = spec.map_err(|e| e.to_string())?;
            let engine = (self.make)(&spec, self.plan.config.seed).map_err(|e| e.to_string())?;
            self.trainer.supernet = Supernet::new(engine);
        }
        self.trainer.supernet.restore(&saved.mask, tensors).map_err(|e| e.to_string())?;
        self.put_in_force(saved.phase);
        self.trainer.sums = saved.sums;
        self.learning = saved.learning;
        self.trainer.valid_batches = saved.valid_batches;
        Ok(())
    }
}

impl std::fmt::Debug for SearchTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchTask")
            .field("strategy", &self.strategy)
            .field("trainer", &self.trainer)
            .finish_non_exhaustive()
    }
}
