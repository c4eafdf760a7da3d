//! `resume`: continue a run that was stopped.

use std::path::PathBuf;

use anyhow::Result;
use nas::{
    Here,
    search::{Plan, Resumed, Search},
};

use super::{data, outcome, retrain};
use crate::{args, context::Context};

/// Continue a search or a training from its last checkpoint.
///
/// It ends as if it had never been stopped: record and weights are the same bit for bit. A run that has already
/// ended shows its result again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder that `hpe-darts search` or `retrain` made.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Worker threads, 1 to 1024; results do not depend on it [default: as many as it began with].
    #[arg(long, value_name = "N", value_parser = args::count(1, 1024))]
    threads: Option<usize>,
    /// Folder or archive of the data, where it has moved; other data are refused [default: where it was].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print the result as JSON, as `search --json` and `retrain --json` do (default: as text).
    #[arg(long)]
    json: bool,
}

/// Continues a run.
///
/// # Errors
/// The folder is not a run folder, is of a newer version or has no usable checkpoint; whatever stops a run.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let here = Here { home: cx.home().ok(), data: args.data, threads: args.threads };
    if nas::retrain::is_retraining(&args.run) {
        return retrain::resume(&args.run, &here, args.json, cx);
    }
    let stop = cx.interrupt()?;
    let observer = Box::new(outcome::Progress::new(cx, "search"));
    let mut loading = |event| data::loading(&cx.out, &event);
    let resumed = Search::resume(&args.run, &here, &mut loading, Plan::engines, observer, stop)?;
    let outcome = match resumed {
        Resumed::Ready(search) => search.run(),
        Resumed::Finished(outcome) => {
            cx.out.note(format_args!("this search has already ended; its result in {}:", args.run.display()));
            outcome::warn(&outcome.found.warnings, cx);
            Ok(*outcome)
        }
    };
    outcome::conclude(outcome, &args.run, args.json, cx)
}
