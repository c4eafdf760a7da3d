//! Search strategies, one file per method.
//!
//! A strategy owns its architecture parameters and what makes the method what it is; it sees the supernet through
//! [`Context`](super::Context) only and has no loop over epochs or batches. A new one is a file with a [`Strategy`] and a
//! line in the list at the end of this one: the line makes the file a module and gives the strategy its name on the command
//! line, its TOML table, its row in lists, its section of the documentation and its conformance tests.
//! See `docs/adding-a-strategy.md`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{
    candidates::Candidates,
    one_shot::OneShot,
    strategy::{Published, Strategy},
    unsuitable::Unsuitable,
};

/// A row of the list of strategies.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Name on the command line and in TOML.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// See [`Strategy::SHORT`].
    pub short: &'static [&'static str],
    /// See [`Strategy::PUBLISHED`].
    pub published: &'static [Published],
    /// Its configuration with the settings of its source.
    pub config: fn() -> StrategyConfig,
}

macro_rules! strategies {
    ($($module:ident::$strategy:ident = $name:literal;)+) => {
        $(mod $module;)+

        /// The strategy and its settings: the one table under `[strategy]`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum StrategyConfig {
            $(
                #[allow(missing_docs)]
                #[serde(rename = $name)]
                $strategy(<$module::$strategy as Strategy>::Config),
            )+
        }

        /// All strategies; the first one is the default.
        pub const STRATEGIES: &[Entry] = &[
            $(Entry {
                name: $name,
                about: <$module::$strategy as Strategy>::ABOUT,
                source: <$module::$strategy as Strategy>::SOURCE,
                short: <$module::$strategy as Strategy>::SHORT,
                published: <$module::$strategy as Strategy>::PUBLISHED,
                config: || StrategyConfig::$strategy(Default::default()),
            },)+
        ];

        impl StrategyConfig {
            /// Name of the strategy.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$strategy(_) => $name,)+
                }
            }

            /// See [`Strategy::check`].
            ///
            /// # Errors
            /// What does not fit, with the values.
            pub fn check(&mut self, candidates: &Candidates) -> Result<(), Unsuitable> {
                match self {
                    $(Self::$strategy(config) => <$module::$strategy as Strategy>::check(config, candidates),)+
                }
            }

            /// See [`Strategy::warmup`].
            pub fn warmup(&self) -> Option<(usize, Self)> {
                match self {
                    $(Self::$strategy(config) => {
                        let (epochs, config) = <$module::$strategy as Strategy>::warmup(config)?;
                        Some((epochs, Self::$strategy(config)))
                    })+
                }
            }

            /// See [`Strategy::new`].
            pub fn build(&self, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Box<dyn OneShot> {
                match self {
                    $(Self::$strategy(config) => {
                        Box::new(<$module::$strategy as Strategy>::new(config, candidates, rng))
                    })+
                }
            }
        }
    };
}

strategies! {
    hpe_darts::HpeDarts = "hpe-darts";
    darts::Darts = "darts";
    beta_darts::BetaDarts = "beta-darts";
    gdas::Gdas = "gdas";
    snas::Snas = "snas";
    rsps::Rsps = "rsps";
    setn::Setn = "setn";
    darts_2nd::Darts2nd = "darts-2nd";
    sdarts::Sdarts = "sdarts";
    fair_darts::FairDarts = "fair-darts";
    darts_minus::DartsMinus = "darts-minus";
    dr_nas::DrNas = "dr-nas";
    vp_darts::VpDarts = "vp-darts";
    darts_pt::DartsPt = "darts-pt";
    sgas::Sgas = "sgas";
    darts_plus::DartsPlus = "darts-plus";
    enas::Enas = "enas";
    p_darts::PDarts = "p-darts";
    pc_darts::PcDarts = "pc-darts";
}
