use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use engine::{Engine, Normalisation, Pass};
use serde::Serialize;

use super::{
    error::RetrainError,
    launch,
    plan::Plan,
    task::{EVALUATION_BATCH, RetrainTask},
};
use crate::{
    data::{LoadEvent, Loader, LoaderOptions, Source},
    run::{CONFIG, Kept, Moment, RunError},
    supernet::MakeEngine,
};

/// Images of a trained network's data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Images {
    /// Those that trained it, as they are.
    Train,
    /// Those that it was validated on.
    Valid,
    /// The test images.
    Test,
}

impl Images {
    /// Name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// The network of a training as a checkpoint has it. Nothing in the run folder changes.
#[derive(Debug)]
pub struct Trained {
    plan: Plan,
    network: Box<dyn Engine>,
    trained: (usize, usize),
}

/// How good a network is on some images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Images.
    pub images: usize,
    /// Mean cross-entropy, in nats.
    pub loss: f64,
    /// In percent; of equal outputs the first class counts.
    pub top1: f64,
    /// In percent: the true class is among the five with the largest outputs. `None` for five classes or fewer.
    pub top5: Option<f64>,
    /// Class by class.
    pub classes: Vec<ClassReport>,
    /// Images by true class, then by the class that the network chose.
    pub confusion: Vec<Vec<usize>>,
}

/// How good a network is on the images of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassReport {
    /// Name of the class.
    pub name: String,
    /// Images.
    pub images: usize,
    /// Top-1, in percent; `None` without images.
    pub accuracy: Option<f64>,
}

impl Trained {
    /// The newest checkpoint of a training, or the one kept at the end of `epoch` (counted from 1; see `run.keep_epochs`).
    ///
    /// # Errors
    /// The folder holds no training, or not that checkpoint; everything that [`Plan::new`] refuses.
    pub fn open(
        run: &Path,
        epoch: Option<usize>,
        home: Option<&Path>,
        notify: &mut dyn FnMut(LoadEvent),
        make: impl FnOnce(&Plan) -> MakeEngine,
    ) -> Result<Self, RetrainError> {
        if !launch::is_retraining(run) {
            return Err(RetrainError::NoTraining(run.to_owned()));
        }
        let kept = Kept::open(run, epoch)?;
        let plan = Plan::new(launch::read(&run.join(CONFIG))?, home, notify)?;
        kept.same_settings(&plan.decisive())?;
        let make = make(&plan);
        let mut task = RetrainTask::new(plan, &make)?;
        let position = kept.restore(&mut task)?;
        let steps = if let Moment::Step(step) = position.moment { step } else { 0 };
        let epochs = position.epoch + usize::from(position.moment == Moment::End);
        let (plan, network) = task.into_network();
        Ok(Self { plan, network, trained: (epochs, steps) })
    }

    /// Configuration, space and data.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whole epochs that it has been trained for, and steps of the one after them.
    pub fn trained(&self) -> (usize, usize) {
        self.trained
    }

    /// Runs the network over images, with running statistics. `progress` is told the batches done and all of them; once `stop` is
    /// set, it ends with [`RunError::Interrupted`].
    ///
    /// # Errors
    /// [`RetrainError::NoImages`]: it has no validation images; an output that is not a number.
    pub fn evaluate(
        &mut self,
        images: Images,
        progress: &mut dyn FnMut(usize, usize),
        stop: &AtomicBool,
    ) -> Result<Report, RetrainError> {
        let source: Source = match images {
            Images::Train => self.plan.train.clone(),
            Images::Valid => self.plan.valid.clone().ok_or(RetrainError::NoImages)?,
            Images::Test => self.plan.test.clone(),
        };
        let names = self.plan.train.dataset().classes().to_vec();
        let w = vec![1.0; self.plan.network.mixing_len()];
        let options = LoaderOptions::evaluation(EVALUATION_BATCH);
        let steps = options.steps(source.len());
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        let (mut loss, mut among_five, mut seen) = (0.0, 0, 0);
        for (step, batch) in Loader::epoch(&source, &options, 0, 0)?.enumerate() {
            let batch = batch?;
            if stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted.into());
            }
            let logits = self.network.logits(batch.images(), Pass::new(&w), Normalisation::Running)?;
            for (row, &label) in logits.chunks_exact(names.len()).zip(batch.labels()) {
                let label = label as usize;
                let scored = score(row, label).ok_or(RetrainError::Output { image: seen })?;
                loss += scored.loss;
                among_five += usize::from(scored.rank < 5);
                confusion[label][scored.chosen] += 1;
                seen += 1;
            }
            progress(step + 1, steps);
        }
        let percent = |part: usize, of: usize| 100.0 * part as f64 / of as f64;
        let classes = names.into_iter().zip(&confusion).enumerate().map(|(k, (name, row))| {
            let images = row.iter().sum();
            ClassReport { name, images, accuracy: (images > 0).then(|| percent(row[k], images)) }
        });
        let correct = confusion.iter().enumerate().map(|(k, row)| row[k]).sum();
        Ok(Report {
            images: seen,
            loss: loss / seen as f64,
            top1: percent(correct, seen),
            top5: (confusion.len() > 5).then(|| percent(among_five, seen)),
            classes: classes.collect(),
            confusion,
        })
    }
}

struct Scored {
    /// Cross-entropy, in nats.
    loss: f64,
    /// The class with the largest output, the first of equal ones.
    chosen: usize,
    /// How many classes come before the true one; of equal outputs the lower class comes first.
    rank: usize,
}

/// `None` where an output is not a number.
fn score(logits: &[f32], label: usize) -> Option<Scored> {
    if logits.iter().any(|l| !l.is_finite()) {
        return None;
    }
    let chosen = (1..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best });
    let max = f64::from(logits[chosen]);
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - max).exp()).sum();
    let own = logits[label];
    let before = |(k, &l): (usize, &f32)| l > own || (l == own && k < label);
    let rank = logits.iter().enumerate().filter(|&other| before(other)).count();
    Some(Scored { loss: sum.ln() + max - f64::from(own), chosen, rank })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_scored() {
        let scored = score(&[1.0, 3.0, 3.0, -1.0], 2).unwrap();
        assert_eq!((scored.chosen, scored.rank), (1, 1));
        let exact = (1f64.exp() + 2.0 * 3f64.exp() + (-1f64).exp()).ln() - 3.0;
        assert!((scored.loss - exact).abs() < 1e-12);
        assert_eq!(score(&[2.0, 1.0], 0).unwrap().rank, 0);
        assert!(score(&[f32::NAN, 1.0], 1).is_none() && score(&[f32::INFINITY, 1.0], 0).is_none());
        // Large outputs do not overflow.
        assert!(score(&[1e4, -1e4], 1).unwrap().loss.is_finite());
    }
}
