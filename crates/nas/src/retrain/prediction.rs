use std::{
    iter,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use engine::ImageShape;

use super::{
    error::RetrainError,
    plan::evaluation_batch,
    trained::{Classifier, Trained},
};
use crate::{
    data::{Converter, PictureError, Preprocess, read_picture},
    supernet::MakeEngine,
};

/// Tells what is on pictures.
#[derive(Debug)]
pub struct Predictor {
    preprocess: Preprocess,
    converter: Converter,
    classifier: Classifier,
    classes: usize,
    threads: usize,
}

/// A class with how likely it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Class {
    /// Its number.
    pub index: usize,
    /// Softmax of the network's outputs.
    pub probability: f64,
}

impl Predictor {
    /// `threads`: those that decode pictures.
    ///
    /// # Errors
    /// [`RetrainError::Pictures`]; whatever the engine refuses.
    pub fn new(trained: &Trained, make: &MakeEngine, threads: usize) -> Result<Self, RetrainError> {
        let (model, classifier) = (trained.model(), trained.classifier(make)?);
        let preprocess = model.preprocess;
        preprocess.check().map_err(RetrainError::Pictures)?;
        // Pictures have values up to 255, whatever those of the data set are: mean and deviation are of pixels in [0, 1].
        let converter = Converter::new(u8::MAX, &model.normalisation.mean, &model.normalisation.std);
        Ok(Self { preprocess, converter, classifier, classes: model.classes.len(), threads: threads.max(1) })
    }

    /// Pictures that should go through the network together: more take memory, and no less time.
    pub fn batch(&self) -> usize {
        let Preprocess { height, width, channels } = self.preprocess;
        evaluation_batch(ImageShape { height, width, channels }).min(128)
    }

    /// The classes of each picture, the most likely first, of equal ones the lower first; or why it cannot be read. They go
    /// through the network together.
    ///
    /// # Errors
    /// [`RetrainError::PictureOutput`].
    pub fn predict(
        &mut self,
        pictures: &[impl AsRef<Path> + Sync],
    ) -> Result<Vec<Result<Vec<Class>, PictureError>>, RetrainError> {
        let decoded = decode(pictures, &self.preprocess, self.threads);
        let mut images = vec![];
        for pixels in decoded.iter().flatten() {
            self.converter.append(pixels, &mut images);
        }
        let logits = if images.is_empty() { Ok(vec![]) } else { self.classifier.logits(&images, 0) };
        let logits = logits.map_err(|error| match error {
            RetrainError::Output { image } => {
                let good = pictures.iter().zip(&decoded).filter(|(_, pixels)| pixels.is_ok());
                let path = good.map(|(picture, _)| picture.as_ref().to_owned()).nth(image);
                path.map_or(error, RetrainError::PictureOutput)
            }
            other => other,
        })?;
        let mut rows = logits.chunks_exact(self.classes);
        let mut next = || rows.next().map_or_else(Vec::new, ranked);
        Ok(decoded.into_iter().map(|pixels| pixels.map(|_| next())).collect())
    }
}

/// Reads pictures on `threads` threads.
fn decode(
    pictures: &[impl AsRef<Path> + Sync],
    preprocess: &Preprocess,
    threads: usize,
) -> Vec<Result<Vec<u8>, PictureError>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![]));
    let take = || {
        let i = next.fetch_add(1, Ordering::Relaxed);
        pictures.get(i).map(|picture| (i, picture))
    };
    thread::scope(|scope| {
        for _ in 0..threads.min(pictures.len()) {
            scope.spawn(|| {
                for (i, picture) in iter::from_fn(take) {
                    let pixels = read_picture(picture.as_ref(), preprocess);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((i, pixels));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, pixels)| pixels).collect()
}

/// Softmax, sorted.
fn ranked(logits: &[f32]) -> Vec<Class> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let likely: Vec<f64> = logits.iter().map(|&l| (f64::from(l) - f64::from(max)).exp()).collect();
    let sum: f64 = likely.iter().sum();
    let class = |(index, likely): (usize, f64)| Class { index, probability: likely / sum };
    let mut classes: Vec<Class> = likely.into_iter().enumerate().map(class).collect();
    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_become_probabilities_the_largest_first() {
        let classes = ranked(&[1.0, 3.0, 3.0, -1e4]);
        assert_eq!(classes.iter().map(|c| c.index).collect::<Vec<_>>(), [1, 2, 0, 3]);
        let sum: f64 = classes.iter().map(|c| c.probability).sum();
        assert!((sum - 1.0).abs() < 1e-12 && classes[3].probability == 0.0);
        assert!((classes[0].probability - 1.0 / (2.0 + (-2f64).exp())).abs() < 1e-12);
    }
}
