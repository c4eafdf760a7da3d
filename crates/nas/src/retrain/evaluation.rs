use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use super::{
    error::RetrainError,
    model::{MODEL, Model},
    plan::{Plan, evaluation_batch},
    trained::{Classifier, Saved, Trained},
};
use crate::{
    Here,
    data::{LoadEvent, Loader, LoaderOptions, Source},
    run::RunError,
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

/// A trained network with the data set that it is measured on. Nothing in the run folder changes.
#[derive(Debug)]
pub struct Evaluator {
    plan: Plan,
    trained: Trained,
    classifier: Classifier,
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

impl Evaluator {
    /// The newest checkpoint of a training, or the one kept at the end of `epoch` (counted from 1; see `run.keep_epochs`).
    ///
    /// # Errors
    /// The folder holds no training, or not that checkpoint; everything that [`Plan::new`] refuses; a model of another network
    /// than the configuration's.
    pub fn open(
        run: &Path,
        epoch: Option<usize>,
        here: &Here,
        notify: &mut dyn FnMut(LoadEvent),
        make: &MakeEngine,
    ) -> Result<Self, RetrainError> {
        let saved = Saved::open(run, epoch)?;
        let plan = saved.plan(here, notify)?;
        let of_plan = Model::of(&plan);
        let trained = saved.into_trained(|_| Ok(of_plan.clone()))?;
        if let Some(what) = trained.model().difference(&of_plan) {
            let why = format!("it says {what}, and configuration and data set something else");
            return Err(RetrainError::Model { path: run.join(MODEL), why });
        }
        let classifier = trained.classifier(make)?;
        Ok(Self { plan, trained, classifier })
    }

    /// Configuration, space and data.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The network that is measured.
    pub fn trained(&self) -> &Trained {
        &self.trained
    }

    /// Runs the network over images, with running statistics. `progress` is told the batches done and all of them, `each`
    /// every image's true class and the outputs `[classes]` before softmax, in the data set's order; once `stop` is set, it ends with [`RunError::Interrupted`].
    ///
    /// # Errors
    /// [`RetrainError::NoImages`]: it has no validation images; an output that is not a number.
    pub fn evaluate(
        &mut self,
        images: Images,
        progress: &mut dyn FnMut(usize, usize),
        each: &mut dyn FnMut(usize, &[f32]),
        stop: &AtomicBool,
    ) -> Result<Report, RetrainError> {
        let source: Source = match images {
            Images::Train => self.plan.train.clone(),
            Images::Valid => self.plan.valid.clone().ok_or(RetrainError::NoImages)?,
            Images::Test => self.plan.test.clone(),
        };
        let names = self.trained.model().classes.clone();
        let options = LoaderOptions::evaluation(evaluation_batch(source.shape()));
        let steps = options.steps(source.len());
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        let (mut loss, mut among_five, mut seen) = (0.0, 0, 0);
        for (step, batch) in Loader::epoch(&source, &options, 0, 0)?.enumerate() {
            let batch = batch?;
            if stop.load(Ordering::Relaxed) {
                return Err(RunError::Interrupted.into());
            }
            let logits = self.classifier.logits(batch.images(), seen)?;
            for (row, &label) in logits.chunks_exact(names.len()).zip(batch.labels()) {
                let label = label as usize;
                each(label, row);
                let scored = score(row, label);
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

fn score(logits: &[f32], label: usize) -> Scored {
    let chosen = (1..logits.len()).fold(0, |best, k| if logits[k] > logits[best] { k } else { best });
    let max = f64::from(logits[chosen]);
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - max).exp()).sum();
    let own = logits[label];
    let before = |(k, &l): (usize, &f32)| l > own || (l == own && k < label);
    let rank = logits.iter().enumerate().filter(|&other| before(other)).count();
    Scored { loss: sum.ln() + max - f64::from(own), chosen, rank }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_scored() {
        let scored = score(&[1.0, 3.0, 3.0, -1.0], 2);
        assert_eq!((scored.chosen, scored.rank), (1, 1));
        let exact = (1f64.exp() + 2.0 * 3f64.exp() + (-1f64).exp()).ln() - 3.0;
        assert!((scored.loss - exact).abs() < 1e-12);
        assert_eq!(score(&[2.0, 1.0], 0).rank, 0);
        // Large outputs do not overflow.
        assert!(score(&[1e4, -1e4], 1).loss.is_finite());
    }
}
