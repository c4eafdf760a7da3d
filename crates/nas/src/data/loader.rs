use std::fmt;
use std::sync::mpsc::SyncSender;

use super::prefetch::Prefetch;
use super::{Augmentation, DataError, Source};
use crate::random::{self, Purpose};

/// Order of the samples within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// That of the [`Source`].
    Sequential,
    /// A new one each epoch, from (seed, stream, epoch).
    Shuffled,
}

/// How a loader makes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples of a batch.
    pub batch: usize,
    /// Leave out a last batch that is not full.
    pub drop_last: bool,
    /// Order of the samples.
    pub order: Order,
    /// Applied to every image.
    pub augmentation: Augmentation,
    /// The run's seed.
    pub seed: u64,
    /// Tells loaders of the same seed apart, say omega's from alpha's.
    pub stream: u64,
}

impl LoaderOptions {
    /// Shuffled and augmented; the last batch is left out if it is not full.
    pub fn training(batch: usize, augmentation: Augmentation, seed: u64, stream: u64) -> Self {
        Self { batch, drop_last: true, order: Order::Shuffled, augmentation, seed, stream }
    }

    /// Every sample once, in order, as it is.
    pub fn evaluation(batch: usize) -> Self {
        let (order, augmentation) = (Order::Sequential, Augmentation::NONE);
        Self { batch, drop_last: false, order, augmentation, seed: 0, stream: 0 }
    }

    /// Batches of an epoch over `samples` samples.
    pub fn steps(&self, samples: usize) -> usize {
        match self.batch {
            0 => 0,
            batch if self.drop_last => samples / batch,
            batch => samples.div_ceil(batch),
        }
    }

    fn check(&self, source: &Source) -> Result<(), DataError> {
        if self.steps(source.len()) == 0 {
            return Err(DataError::Batch { batch: self.batch, samples: source.len() });
        }
        self.augmentation.check(source.shape())
    }
}

/// Yields batches that a thread prepares ahead. Their content depends on the options, epoch and step only: a loader that
/// starts later gives the same batches as one that ran through.
pub struct Loader {
    batches: Prefetch<Buffers>,
    returns: SyncSender<Buffers>,
    steps: usize,
    position: u64,
}

impl Loader {
    /// The batches of one epoch from `start_step` on.
    ///
    /// # Errors
    /// [`DataError::Batch`] if there is not a single batch in an epoch, [`DataError::Augmentation`], [`DataError::Thread`].
    pub fn epoch(source: &Source, options: &LoaderOptions, epoch: u64, start_step: usize) -> Result<Self, DataError> {
        let steps = options.steps(source.len());
        let first = epoch.saturating_mul(steps as u64);
        let start = start_step.min(steps) as u64;
        Self::spawn(source, options, first.saturating_add(start), Some(first.saturating_add(steps as u64)))
    }

    /// Batches without end, epoch after epoch. `position` counts batches from the start of epoch 0; a loader that is
    /// made with the [`Loader::position`] of another goes on where that one stands.
    ///
    /// # Errors
    /// As [`Loader::epoch`].
    pub fn cycle(source: &Source, options: &LoaderOptions, position: u64) -> Result<Self, DataError> {
        Self::spawn(source, options, position, None)
    }

    /// The single batch of an epoch and step, made by the caller's thread.
    ///
    /// # Errors
    /// [`DataError::Batch`], also for a step that the epoch does not have; [`DataError::Augmentation`]; [`DataError::Io`].
    pub fn single(source: &Source, options: &LoaderOptions, epoch: u64, step: usize) -> Result<BatchBuf, DataError> {
        options.check(source)?;
        if step >= options.steps(source.len()) {
            return Err(DataError::Batch { batch: options.batch, samples: source.len() });
        }
        let mut maker = Maker::new(source, options);
        let mut buffers = Buffers::default();
        maker.fill(epoch, step, &mut buffers)?;
        Ok(BatchBuf { buffers, returns: None })
    }

    fn spawn(source: &Source, options: &LoaderOptions, start: u64, end: Option<u64>) -> Result<Self, DataError> {
        options.check(source)?;
        let steps = options.steps(source.len());
        let mut maker = Maker::new(source, options);
        let mut next = start;
        let batches = Prefetch::spawn(move |buffers: &mut Buffers| {
            if end.is_some_and(|end| next >= end) {
                return false;
            }
            // What follows an error is of no use to anybody: the loader is dropped.
            buffers.failed = maker.fill(next / steps as u64, (next % steps as u64) as usize, buffers).err();
            next += 1;
            true
        })
        .map_err(DataError::Thread)?;
        let returns = batches.returns();
        Ok(Self { batches, returns, steps, position: start })
    }

    /// Batches of a whole epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps
    }

    /// Batches from the start of epoch 0 to the next one: all that must be saved to go on later.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Iterator for Loader {
    /// [`DataError::Io`] if the images are on disk and cannot be read.
    type Item = Result<BatchBuf, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut buffers = self.batches.next()?;
        self.position += 1;
        match buffers.failed.take() {
            Some(error) => Some(Err(error)),
            None => Some(Ok(BatchBuf { buffers, returns: Some(self.returns.clone()) })),
        }
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("steps", &self.steps).field("position", &self.position).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Buffers {
    images: Vec<f32>,
    labels: Vec<u32>,
    epoch: u64,
    step: usize,
    failed: Option<DataError>,
}

/// A batch. Its memory goes back to its loader when it is dropped.
pub struct BatchBuf {
    buffers: Buffers,
    returns: Option<SyncSender<Buffers>>,
}

impl BatchBuf {
    /// `[n, H, W, C]`, normalised.
    pub fn images(&self) -> &[f32] {
        &self.buffers.images
    }

    /// `[n]`
    pub fn labels(&self) -> &[u32] {
        &self.buffers.labels
    }

    /// Samples.
    pub fn len(&self) -> usize {
        self.buffers.labels.len()
    }

    /// Never, for a batch from a loader.
    pub fn is_empty(&self) -> bool {
        self.buffers.labels.is_empty()
    }

    /// Epoch it belongs to.
    pub fn epoch(&self) -> u64 {
        self.buffers.epoch
    }

    /// Its number within the epoch.
    pub fn step(&self) -> usize {
        self.buffers.step
    }

    /// As the engine takes it.
    pub fn as_batch(&self) -> engine::Batch<'_> {
        engine::Batch { images: self.images(), labels: self.labels() }
    }
}

impl Drop for BatchBuf {
    fn drop(&mut self) {
        if let Some(returns) = &self.returns {
            // No room, or the loader has gone: the memory is freed.
            let _ = returns.try_send(std::mem::take(&mut self.buffers));
        }
    }
}

impl fmt::Debug for BatchBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchBuf({} samples, epoch {}, step {})", self.len(), self.epoch(), self.step())
    }
}

/// Makes the batch of any epoch and step.
struct Maker {
    source: Source,
    options: LoaderOptions,
    /// Places in the source in the order of `ordered`'s epoch.
    places: Vec<u32>,
    ordered: Option<u64>,
    /// An image that is read from disk.
    image: Vec<u8>,
}

impl Maker {
    fn new(source: &Source, options: &LoaderOptions) -> Self {
        Self { source: source.clone(), options: *options, places: Vec::new(), ordered: None, image: Vec::new() }
    }

    fn fill(&mut self, epoch: u64, step: usize, out: &mut Buffers) -> Result<(), DataError> {
        self.arrange(epoch);
        let LoaderOptions { batch, augmentation, seed, stream, .. } = self.options;
        let first = step * batch;
        let places = &self.places[first..(first + batch).min(self.places.len())];
        let shape = self.source.shape();
        out.epoch = epoch;
        out.step = step;
        out.images.resize(places.len() * shape.len(), 0.0);
        out.labels.clear();
        let mut rng = Augmentation::generator(seed, stream, epoch, first);
        for (&place, image) in places.iter().zip(out.images.chunks_exact_mut(shape.len())) {
            let (pixels, label) = self.source.sample(place, &mut self.image)?;
            let draw = augmentation.draw(&mut rng, shape);
            augmentation.apply(draw, pixels, shape, self.source.converter(), image);
            out.labels.push(label);
        }
        Ok(())
    }

    fn arrange(&mut self, epoch: u64) {
        if self.ordered == Some(epoch) {
            return;
        }
        self.places.clear();
        self.places.extend(0..self.source.len() as u32);
        if self.options.order == Order::Shuffled {
            let mut rng = random::generator(self.options.seed, Purpose::Order, self.options.stream, epoch);
            random::shuffle(&mut rng, &mut self.places);
        }
        self.ordered = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::dataset::tests::counting;
    use super::super::{ImageShape, PartName};
    use super::*;
    use proptest::prelude::*;

    const SHAPE: ImageShape = ImageShape { height: 4, width: 5, channels: 3 };

    fn source(samples: usize) -> Source {
        Source::all(Arc::new(counting(SHAPE, samples, 3)), PartName::Train)
    }

    fn training(batch: usize) -> LoaderOptions {
        LoaderOptions::training(batch, Augmentation { flip: true, crop_padding: 2, cutout: 2 }, 11, 0)
    }

    type Content = (u64, usize, Vec<u32>, Vec<f32>);

    fn read(batch: Result<BatchBuf, DataError>) -> Content {
        content(batch.unwrap())
    }

    fn content(batch: BatchBuf) -> Content {
        (batch.epoch(), batch.step(), batch.labels().to_vec(), batch.images().to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_stream_does_not_depend_on_where_it_starts(
            samples in 1usize..40, batch in 1usize..9, drop_last: bool, start in 0usize..30, seed: u64,
        ) {
            let source = source(samples);
            let options = LoaderOptions { drop_last, seed, ..training(batch.min(samples)) };
            let steps = options.steps(samples);
            let whole: Vec<Content> =
                (0..3).flat_map(|epoch| Loader::epoch(&source, &options, epoch, 0).unwrap().map(read)).collect();
            prop_assert_eq!(whole.len(), 3 * steps);

            let at = start % whole.len();
            let (epoch, step) = (at / steps, at % steps);
            let rest: Vec<Content> =
                Loader::epoch(&source, &options, epoch as u64, step).unwrap().map(read).collect();
            prop_assert_eq!(&rest[..], &whole[at..(epoch + 1) * steps]);

            let cycled: Vec<Content> =
                Loader::cycle(&source, &options, at as u64).unwrap().take(whole.len() - at).map(read).collect();
            prop_assert_eq!(&cycled[..], &whole[at..]);

            let single = content(Loader::single(&source, &options, epoch as u64, step).unwrap());
            prop_assert_eq!(&single, &whole[at]);
        }

        #[test]
        fn an_epoch_holds_every_sample_once(samples in 1usize..60, batch in 1usize..9, seed: u64, epoch in 0u64..9) {
            let shape = ImageShape { height: 1, width: 1, channels: 1 };
            let source = Source::all(Arc::new(counting(shape, samples, 0)), PartName::Train);
            let options = LoaderOptions {
                drop_last: false, augmentation: Augmentation::NONE, seed, ..training(batch)
            };
            let mut seen: Vec<f32> =
                Loader::epoch(&source, &options, epoch, 0).unwrap().flat_map(|b| b.unwrap().images().to_vec()).collect();
            seen.sort_unstable_by(f32::total_cmp);
            let expected: Vec<f32> = (0..samples).map(|v| (v as f32 / 255.0 - 0.25) / 0.5).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn how_batches_are_consumed_does_not_matter() {
        let source = source(64);
        let options = training(4);
        let prompt: Vec<Content> = Loader::epoch(&source, &options, 1, 0).unwrap().map(read).collect();
        let held: Vec<BatchBuf> = Loader::epoch(&source, &options, 1, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(held.into_iter().map(content).collect::<Vec<_>>(), prompt);
    }

    #[test]
    fn epochs_seeds_and_streams_differ() {
        let source = source(64);
        let first = |options: LoaderOptions, epoch| content(Loader::single(&source, &options, epoch, 0).unwrap()).3;
        let base = first(training(8), 0);
        assert_ne!(base, first(training(8), 1));
        assert_ne!(base, first(LoaderOptions { seed: 12, ..training(8) }, 0));
        assert_ne!(base, first(LoaderOptions { stream: 1, ..training(8) }, 0));
    }

    #[test]
    fn evaluation_is_in_order_and_complete() {
        let batches: Vec<Content> =
            Loader::epoch(&source(10), &LoaderOptions::evaluation(4), 0, 0).unwrap().map(read).collect();
        assert_eq!(batches.iter().map(|b| b.2.len()).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!(batches.iter().flat_map(|b| b.2.clone()).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(batches[0].3[3], (3.0 / 255.0 - 0.25) / 0.5);
    }

    #[test]
    fn position_says_where_to_go_on() {
        let source = source(20);
        let mut loader = Loader::cycle(&source, &training(8), 0).unwrap();
        assert_eq!(loader.steps_per_epoch(), 2);
        loader.by_ref().take(5).for_each(drop);
        assert_eq!(loader.position(), 5);
        let expected = read(loader.next().unwrap());
        assert_eq!((expected.0, expected.1), (2, 1));
        assert_eq!(read(Loader::cycle(&source, &training(8), 5).unwrap().next().unwrap()), expected);
    }

    #[test]
    fn batches_that_cannot_be_filled_are_refused() {
        let source = source(7);
        let error = Loader::epoch(&source, &training(8), 0, 0).unwrap_err();
        assert_eq!(error.to_string(), "batch 8 does not fit: there are 7 samples");
        assert_eq!(error.hint().unwrap(), "a batch of at most 7 fits");
        assert!(Loader::cycle(&source, &training(0), 0).is_err());
        assert!(Loader::single(&source, &training(4), 0, 1).is_err());
        let wide = Augmentation { crop_padding: 5, ..Augmentation::NONE };
        assert!(Loader::epoch(&source, &LoaderOptions { augmentation: wide, ..training(4) }, 0, 0).is_err());
        // A step behind the last leaves nothing, as after the end of an epoch.
        assert_eq!(Loader::epoch(&source, &training(4), 0, 9).unwrap().count(), 0);
    }
}
