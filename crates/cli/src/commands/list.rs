//! `list`: what there is to choose from, read from the registries.

use anyhow::Result;
use clap::ValueEnum;
use nas::{
    blackbox::METHODS,
    data::DatasetName,
    proxy,
    retrain::RECIPES,
    search::{PRESETS, STRATEGIES},
    space,
};
use serde::Serialize;

use super::export;
use crate::{
    context::Context,
    render::{Align, Table},
};

/// List the available choices.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which list to print.
    #[arg(value_enum)]
    what: Registry,
    /// Print a JSON array of objects with `name` and `description` (default: a table).
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Registry {
    /// Named sets of settings of a search.
    Presets,
    /// Ways of training a network that was found.
    Recipes,
    /// Search strategies.
    Strategies,
    /// Black-box search methods.
    Methods,
    /// Search spaces.
    Spaces,
    /// Candidate operations of the spaces' edges.
    Ops,
    /// Training-free scores of networks.
    Proxies,
    /// Data sets.
    Datasets,
    /// Formats of `export`.
    Formats,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    description: &'static str,
}

impl Registry {
    fn entries(self) -> Vec<Entry> {
        let entry = |name, description| Entry { name, description };
        match self {
            Registry::Presets => PRESETS.iter().map(|p| entry(p.name, p.about)).collect(),
            Registry::Recipes => RECIPES.iter().map(|r| entry(r.name, r.about)).collect(),
            Registry::Strategies => STRATEGIES.iter().map(|s| entry(s.name, s.about)).collect(),
            Registry::Methods => METHODS.iter().map(|m| entry(m.name, m.about)).collect(),
            Registry::Spaces => space::all().iter().map(|s| entry(s.name(), s.description())).collect(),
            Registry::Ops => space::OpName::all().map(|o| entry(o.as_str(), o.description())).collect(),
            Registry::Proxies => proxy::all().iter().map(|p| entry(p.name(), p.description())).collect(),
            Registry::Datasets => DatasetName::ALL.iter().map(|d| entry(d.as_str(), d.description())).collect(),
            Registry::Formats => export::formats().map(|f| entry(f.name, f.about)).collect(),
        }
    }
}

/// Prints one list.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let entries = args.what.entries();
    if args.json {
        return cx.out.json(&entries);
    }
    let mut table = Table::new([("name", Align::Left), ("description", Align::Left)]);
    for entry in entries {
        table.row([entry.name, entry.description]);
    }
    cx.out.data(table)
}
