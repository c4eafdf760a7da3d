//! `list`: what there is to choose from, read from the registries.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::context::Context;

/// List what there is to choose from.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which registry.
    #[arg(value_enum)]
    what: Registry,
    /// Print a JSON array of objects with `name` and `about` (default: a table).
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Registry {
    Proxies,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    about: &'static str,
}

/// Prints one registry.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let entries: Vec<Entry> = match args.what {
        Registry::Proxies => vec![],
    };
    if args.json {
        return cx.out.json(&entries);
    }
    for entry in entries {
        cx.out.data(format_args!("{}  {}", entry.name, entry.about))?;
    }
    Ok(())
}
