//! Search strategies, one file per method.
//!
//! A strategy owns alpha and what makes the method what it is; it sees the supernet through [`Context`] only and has no
//! loop over epochs or batches. A new one is a file with a [`Strategy`] and a line in the list at the end of this one:
//! the line gives it its name on the command line, its TOML table, its row in lists and its conformance tests.

mod darts;
mod hpe_darts;
pub mod parts;

use std::fmt;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use self::parts::Alpha;
use crate::{
    search::{At, Context, Schedule, SearchError},
    space::{Genotype, OpName, SearchSpace},
    supernet::OpAt,
};

/// A method that searches by training a supernet once.
///
/// The executor calls, for every epoch of [`OneShot::schedule`], `begin`, then `step` for each batch of `D_train`, then
/// `end`; after the last epoch `derive`. It may stop after any step, save [`OneShot::state`] and go on later with
/// [`OneShot::restore`]: the rest must then be bit-identical. `begin` and `end` may be interrupted inside a sweep and are
/// then called again from the start with the finished part of their sweeps at hand, so they must sweep before
/// they change anything.
pub trait OneShot: fmt::Debug + Send {
    /// Phases and epochs. Does not change during a search.
    fn schedule(&self) -> Schedule;

    /// Images of `D_val` that it needs in one batch of its own; 0 where batches of the training's size do.
    fn valid_batch(&self) -> usize {
        0
    }

    /// Before the first step of an epoch.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn begin(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError>;

    /// One batch of `D_train`: exactly one step of omega.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn step(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError>;

    /// After the last step of an epoch.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn end(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError>;

    /// The chosen architecture.
    ///
    /// # Errors
    /// See [`SearchError`].
    fn derive(&mut self, cx: &mut Context) -> Result<Genotype, SearchError>;

    /// The architecture parameters.
    fn architecture(&self) -> &Alpha;

    /// The architecture parameters.
    fn architecture_mut(&mut self) -> &mut Alpha;

    /// Everything that [`OneShot::restore`] needs; by default the architecture parameters.
    fn state(&self) -> Value {
        self.architecture().state()
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// A state that is not one of this strategy with this configuration.
    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.architecture_mut().restore(state)
    }
}

/// A strategy together with its name and its configuration.
pub trait Strategy: OneShot + Sized + 'static {
    /// Its TOML table `[strategy.<name>]`, every field with a default.
    type Config: Clone + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned;

    /// One sentence for lists.
    const ABOUT: &'static str;

    /// Where it is from.
    const SOURCE: &'static str;

    /// Writes out what the defaults leave to the space, and checks the rest.
    ///
    /// # Errors
    /// What does not fit, with the values.
    fn check(config: &mut Self::Config, space: &dyn SearchSpace) -> Result<(), Unsuitable>;

    /// Epochs of a warm-up at the start, and the configuration with everything at its default that has no part in it: two
    /// searches for which both are equal do the same until its end. `None` without a warm-up.
    fn warmup(_config: &Self::Config) -> Option<(usize, Self::Config)> {
        None
    }

    /// From a checked configuration. `rng` is for initial values.
    fn new(config: &Self::Config, space: &dyn SearchSpace, rng: &mut ChaCha8Rng) -> Self;
}

/// A configuration that makes no search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unsuitable {
    /// What is wrong, with the values.
    pub why: String,
    /// What would be right.
    pub hint: String,
}

impl Unsuitable {
    /// With advice.
    pub fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into() }
    }
}

/// Edges `E` (of all cell kinds together) and operations `O` of a space.
pub fn alpha_shape(space: &dyn SearchSpace) -> (usize, usize) {
    (space.kinds().iter().map(|k| k.edges.len()).sum(), space.ops().len())
}

/// Column of an operation in `alpha: [E, O]`.
pub fn column(space: &dyn SearchSpace, op: OpName) -> Option<usize> {
    space.ops().iter().position(|&o| o == op)
}

/// The genotype of one chosen operation per edge; rows of `alpha: [E, O]` run through the cell kinds.
///
/// # Errors
/// A choice that makes no cell of the space.
pub fn genotype(space: &dyn SearchSpace, chosen: &[OpAt]) -> Result<Genotype, SearchError> {
    let mut first = 0;
    let mut kinds = Vec::new();
    for kind in space.kinds() {
        let rows = first..first + kind.edges.len();
        let own = chosen.iter().filter(|(edge, _)| rows.contains(edge)).map(|&(edge, op)| (edge - first, op));
        kinds.push(own.collect::<Vec<_>>());
        first = rows.end;
    }
    let kinds: Vec<&[(usize, usize)]> = kinds.iter().map(Vec::as_slice).collect();
    Ok(Genotype::from_choices(space, &kinds)?)
}

/// A row of the list of strategies.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name on the command line and in TOML.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// Its configuration with the settings of its source.
    pub config: fn() -> StrategyConfig,
}

macro_rules! strategies {
    ($($variant:ident = $name:literal => $strategy:ty;)+) => {
        /// The strategy and its settings: the one table under `[strategy]`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum StrategyConfig {
            $(
                #[allow(missing_docs)]
                #[serde(rename = $name)]
                $variant(<$strategy as Strategy>::Config),
            )+
        }

        /// All strategies; the first one is the default.
        pub const STRATEGIES: &[Entry] = &[
            $(Entry {
                name: $name,
                about: <$strategy as Strategy>::ABOUT,
                source: <$strategy as Strategy>::SOURCE,
                config: || StrategyConfig::$variant(Default::default()),
            },)+
        ];

        impl StrategyConfig {
            /// Name of the strategy.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }

            /// See [`Strategy::check`].
            ///
            /// # Errors
            /// What does not fit, with the values.
            pub fn check(&mut self, space: &dyn SearchSpace) -> Result<(), Unsuitable> {
                match self {
                    $(Self::$variant(config) => <$strategy as Strategy>::check(config, space),)+
                }
            }

            /// See [`Strategy::warmup`].
            pub fn warmup(&self) -> Option<(usize, Self)> {
                match self {
                    $(Self::$variant(config) => {
                        let (epochs, config) = <$strategy as Strategy>::warmup(config)?;
                        Some((epochs, Self::$variant(config)))
                    })+
                }
            }

            /// See [`Strategy::new`].
            pub fn build(&self, space: &dyn SearchSpace, rng: &mut ChaCha8Rng) -> Box<dyn OneShot> {
                match self {
                    $(Self::$variant(config) => Box::new(<$strategy as Strategy>::new(config, space, rng)),)+
                }
            }
        }
    };
}

strategies! {
    HpeDarts = "hpe-darts" => hpe_darts::HpeDarts;
    Darts = "darts" => darts::Darts;
}
