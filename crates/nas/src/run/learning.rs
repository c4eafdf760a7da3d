use serde::{Deserialize, Serialize};

/// Standard deviations above chance that an accuracy must exceed to count as learned: one epoch of guesses gets there in about 1 of
/// 740 cases.
const DEVIATIONS: f64 = 3.0;

/// Share of its first value that a loss must fall by at least to count as moved.
const LEAST_FALL: f64 = 1e-3;

/// Whether the training loss and accuracy of a run ever told it from one that has learned nothing. Everything is of training images,
/// over a whole epoch.
///
/// An epoch is at chance if of its `n` images no more than `n p + 3 sqrt(n p (1 - p))` were answered correctly, which is what
/// guessing gets in all but 0.13 % of the cases (binomial distribution, normal approximation); `p` is the share of the most
/// frequent class, which always naming it is right for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    epochs: usize,
    /// Whether an epoch was above chance.
    learned: bool,
    /// Of the epoch that was farthest above its bound or least below it.
    best: Option<Epoch>,
    first_loss: f64,
    /// The least of the later epochs.
    later_loss: Option<f64>,
}

/// The answers of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Epoch {
    number: usize,
    correct: usize,
    images: usize,
    /// Correct answers that guessing does not exceed.
    bound: f64,
}

impl Epoch {
    fn margin(&self) -> f64 {
        (self.correct as f64 - self.bound) / self.images as f64
    }
}

impl Learning {
    /// An epoch has ended: its mean loss in nats, `correct` answers for `images`, and the share of the most frequent class, 0 to 1.
    pub fn epoch(&mut self, loss: f64, correct: usize, images: usize, chance: f64) {
        self.epochs += 1;
        if self.epochs == 1 {
            self.first_loss = loss;
        } else {
            self.later_loss = Some(self.later_loss.map_or(loss, |least| least.min(loss)));
        }
        if images == 0 {
            return;
        }
        let n = images as f64;
        let bound = n * chance + DEVIATIONS * (n * chance * (1.0 - chance)).sqrt();
        let epoch = Epoch { number: self.epochs, correct, images, bound };
        self.learned |= epoch.margin() > 0.0;
        if self.best.is_none_or(|best| epoch.margin() > best.margin()) {
            self.best = Some(epoch);
        }
    }

    /// What a user must know of it, with the numbers; empty where it has learned.
    pub fn warnings(&self) -> Vec<String> {
        let at_chance = self.best.filter(|_| !self.learned).map(|Epoch { number, correct, images, bound }| {
            let percent = |n: f64| 100.0 * n / images as f64;
            let epochs = if self.epochs == 1 { "its only epoch".to_owned() } else { format!("all {} epochs", self.epochs) };
            format!(
                "nothing was learned: the training accuracy stayed at chance in {epochs}, {:.1} % at best (epoch {number}, {correct} of \
                 {images} images) where guessing reaches {:.1} %",
                percent(correct as f64),
                percent(bound)
            )
        });
        let stood = self.later_loss.filter(|later| *later > self.first_loss * (1.0 - LEAST_FALL)).map(|later| {
            format!(
                "the training loss did not fall: {:.4} in the first epoch, {later:.4} at best in the {} after it",
                self.first_loss,
                self.epochs - 1
            )
        });
        at_chance.into_iter().chain(stood).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(epochs: &[(f64, usize)], images: usize, chance: f64) -> Vec<String> {
        let mut learning = Learning::default();
        epochs.iter().for_each(|&(loss, correct)| learning.epoch(loss, correct, images, chance));
        learning.warnings()
    }

    #[test]
    fn an_accuracy_within_the_bound_of_guessing_is_at_chance() {
        // 1000 p + 3 sqrt(1000 p (1 - p)) = 128.46 for p = 0.1.
        assert_eq!(after(&[(2.3, 129)], 1000, 0.1), [""; 0]);
        let warnings = after(&[(2.3, 128)], 1000, 0.1);
        assert!(warnings.len() == 1 && warnings[0].contains("its only epoch, 12.8 % at best"), "{warnings:?}");
        assert!(warnings[0].contains("(epoch 1, 128 of 1000 images) where guessing reaches 12.8 %"), "{warnings:?}");
        // Always naming a class that nine of ten images have is no learning either.
        assert_eq!(after(&[(0.3, 900)], 1000, 0.9).len(), 1);
        assert_eq!(after(&[(0.2, 930)], 1000, 0.9).len(), 0);
        // So few images tell nothing.
        assert_eq!(after(&[(2.3, 4)], 10, 0.3).len(), 1);
    }

    #[test]
    fn one_epoch_above_chance_is_enough() {
        let warnings = after(&[(2.31, 100), (2.30, 110), (2.29, 105)], 1000, 0.1);
        assert!(warnings.len() == 1 && warnings[0].contains("all 3 epochs, 11.0 % at best (epoch 2"), "{warnings:?}");
        assert_eq!(after(&[(2.31, 100), (2.0, 300), (2.29, 105)], 1000, 0.1), [""; 0]);
    }

    #[test]
    fn a_loss_that_does_not_fall_is_told() {
        let warnings = after(&[(2.0, 300), (2.1, 300), (1.999, 300)], 1000, 0.1);
        let told = "the training loss did not fall: 2.0000 in the first epoch, 1.9990 at best in the 2 after it";
        assert_eq!(warnings, [told]);
        assert_eq!(after(&[(2.0, 300), (2.1, 300), (1.99, 300)], 1000, 0.1), [""; 0]);
        assert_eq!(after(&[(2.0, 300)], 1000, 0.1), [""; 0]);
        assert_eq!(after(&[], 1000, 0.1), [""; 0]);
    }

    #[test]
    fn what_is_saved_goes_on_as_it_was() {
        let mut whole = Learning::default();
        whole.epoch(2.3, 100, 1000, 0.1);
        let mut resumed: Learning = serde_json::from_str(&serde_json::to_string(&whole).unwrap()).unwrap();
        assert_eq!(resumed, whole);
        for learning in [&mut whole, &mut resumed] {
            learning.epoch(2.31, 90, 1000, 0.1);
        }
        assert_eq!(resumed.warnings(), whole.warnings());
        assert_eq!(whole.warnings().len(), 2);
    }
}
