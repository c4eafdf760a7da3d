use std::fmt;

use rand_chacha::ChaCha8Rng;
use serde::{Serialize, de::DeserializeOwned};

use super::{candidates::Candidates, one_shot::OneShot, unsuitable::Unsuitable};

/// A strategy together with its name and its configuration.
pub trait Strategy: OneShot + Sized + 'static {
    /// Its TOML table `[strategy.<name>]`, every field with a default.
    type Config: Clone + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned;

    /// One sentence for lists.
    const ABOUT: &'static str;

    /// Where it is from.
    const SOURCE: &'static str;

    /// Settings `key=value` of its table that make a search of a few epochs, for the tests that every strategy has to pass.
    const SHORT: &'static [&'static str];

    /// Published settings, at most one set for a space; by default none are known.
    const PUBLISHED: &'static [Published] = &[];

    /// Writes out what the defaults leave to space and operations, and checks the rest.
    ///
    /// # Errors
    /// What does not fit, with the values.
    fn check(config: &mut Self::Config, candidates: &Candidates) -> Result<(), Unsuitable>;

    /// Epochs of a warm-up at the start, and the configuration with everything at its default that has no part in it: two
    /// searches for which both are equal do the same until its end. `None` without a warm-up.
    fn warmup(_config: &Self::Config) -> Option<(usize, Self::Config)> {
        None
    }

    /// From a checked configuration. `rng` is for initial values.
    fn new(config: &Self::Config, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self;
}

/// Settings with which a method was published on a space.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Name of the space.
    pub space: &'static str,
    /// Where they stand.
    pub source: &'static str,
    /// `key = value`, dotted keys of a configuration in TOML; what they do not name is left to the defaults of the strategy.
    pub settings: &'static [&'static str],
}

impl Published {
    /// The setting of the sources that search the DARTS space without `none`.
    pub const DARTS_WITHOUT_NONE: &'static str = "space.ops = [\"max_pool_3x3\", \"avg_pool_3x3\", \"skip_connect\", \"sep_conv_3x3\", \"sep_conv_5x5\", \"dil_conv_3x3\", \"dil_conv_5x5\"]";
}
