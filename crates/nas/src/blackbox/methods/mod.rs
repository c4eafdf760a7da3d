//! Black-box methods, one file each.
//!
//! A new one is a file with a [`Configured`] method and a line in the list at the end of this one: the line makes the file a module
//! and gives the method its name on the command line, its row in lists, its section of the documentation and its conformance tests.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::method::{Configured, Method, Problem};
use crate::{
    search::{ConfigError, Setting, one_line},
    tables,
};

/// A row of the list of methods.
#[derive(Clone, Copy, Debug)]
pub struct MethodEntry {
    /// Name on the command line.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Where it is from.
    pub source: &'static str,
    /// Its configuration with `key=value` settings.
    configure: fn(&[String]) -> Result<MethodConfig, ConfigError>,
}

impl MethodEntry {
    /// The configuration of this method with `key=value` settings, the value in TOML; what they leave out has its default.
    ///
    /// # Errors
    /// [`ConfigError`]: an unknown key, a value that does not fit it or is out of range.
    pub fn configure(&self, set: &[String]) -> Result<MethodConfig, ConfigError> {
        (self.configure)(set)
    }
}

/// The method called `name`.
///
/// # Errors
/// [`ConfigError::Unknown`], with the nearest name.
pub fn find(name: &str) -> Result<&'static MethodEntry, ConfigError> {
    let names = METHODS.iter().map(|m| m.name);
    METHODS.iter().find(|m| m.name == name).ok_or_else(|| ConfigError::unknown("method", name, names))
}

fn with_settings<M: Configured>(set: &[String]) -> Result<M::Config, ConfigError> {
    let whole = |e: String| ConfigError::Whole(e);
    let mut table = Table::try_from(M::Config::default()).map_err(|e| whole(e.to_string()))?;
    let known = tables::keys(&table);
    for given in set {
        Setting::parse(given)?.write(&mut table, &known, |table| M::Config::deserialize(table).map(drop))?;
    }
    let config = M::Config::deserialize(table).map_err(|e| whole(one_line(&e)))?;
    M::check(&config)?;
    Ok(config)
}

macro_rules! methods {
    ($($module:ident::$method:ident = $name:literal;)+) => {
        $(mod $module;)+

        /// A method and its settings.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum MethodConfig {
            $(
                #[allow(missing_docs)]
                #[serde(rename = $name)]
                $method(<$module::$method as Configured>::Config),
            )+
        }

        /// All methods.
        pub const METHODS: &[MethodEntry] = &[
            $(MethodEntry {
                name: $name,
                about: <$module::$method as Configured>::ABOUT,
                source: <$module::$method as Configured>::SOURCE,
                configure: |set| Ok(MethodConfig::$method(with_settings::<$module::$method>(set)?)),
            },)+
        ];

        impl MethodConfig {
            /// Name of the method.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$method(_) => $name,)+
                }
            }

            /// See [`Configured::new`].
            pub fn build(&self, problem: &Problem, rng: &mut ChaCha8Rng) -> Box<dyn Method> {
                match self {
                    $(Self::$method(config) => {
                        Box::new(<$module::$method as Configured>::new(config, problem, rng))
                    })+
                }
            }
        }
    };
}

methods! {
    random_search::RandomSearch = "random-search";
    regularized_evolution::RegularizedEvolution = "regularized-evolution";
    reinforce::Reinforce = "reinforce";
    bohb::Bohb = "bohb";
    local_search::LocalSearch = "local-search";
}
