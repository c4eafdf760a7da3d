//! What a method's own preset is, and in which settings a search differs from it: its numbers are then those of a variant.

use serde::Serialize;
use toml::{Table, Value};

use super::cell::{OneShot, Search};
use crate::{
    search::{Config, Request, fit},
    tables::{self, Difference},
};

/// Name of the preset with the settings of the papers.
const PRESET: &str = "paper";

/// A setting that is not as in the method's own preset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variation {
    /// Dotted key.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// Its value in the preset.
    pub preset: String,
}

impl Search {
    /// The settings that differ from the method's own preset: of a search by a supernet the preset `paper` of its space with the method's
    /// defaults, of a black-box search the simulated trainings of the paper's Table 1. Data set and seed are no part of it.
    pub fn variations(&self) -> Vec<Variation> {
        let (own, usual) = match self {
            Self::OneShot(search) => (decisive(&search.config), usual(search).as_ref().map(decisive)),
            Self::Blackbox(config) => (config.decisive(), config.usual().map(|usual| usual.decisive())),
        };
        let variation = |Difference { key, one, other }| Variation { key, value: one, preset: other };
        usual.map_or_else(Vec::new, |usual| tables::differences(&own, &usual).into_iter().map(variation).collect())
    }
}

impl Search {
    /// What decides the result, as if it had this seed.
    pub(super) fn with_seed(&self, seed: u64) -> Table {
        let mut table = match self {
            Self::OneShot(search) => decisive(&search.config),
            Self::Blackbox(config) => config.decisive(),
        };
        table.insert("seed".to_owned(), Value::Integer(seed as i64));
        table
    }
}

fn usual(search: &OneShot) -> Option<Config> {
    let config = &search.config;
    let request = Request {
        preset: Some(PRESET.to_owned()),
        space: Some(config.space.name.clone()),
        dataset: Some(config.dataset.as_str().to_owned()),
        strategy: Some(config.strategy.name().to_owned()),
        threads: config.threads,
        seed: Some(config.seed),
        ..Default::default()
    };
    let mut usual = request.resolve().ok()?;
    fit(&mut usual).ok()?;
    Some(usual)
}

/// Without what says only where the data is.
fn decisive(config: &Config) -> Table {
    let mut config = config.decisive();
    config.data.dir = None;
    config.data.verify = true;
    config.table()
}
