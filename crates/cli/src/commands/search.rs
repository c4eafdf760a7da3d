//! `search`: run a search strategy.

use std::path::PathBuf;

use anyhow::Result;
use nas::{
    run::Phase,
    search::{Plan, Request, Search, SearchError},
};
use serde_json::json;

use super::{data, outcome};
use crate::{
    args,
    context::Context,
    render::{Align, Table},
};

/// Search for an architecture.
///
/// Without arguments: HPE-DARTS on the built-in digits with a small NAS-Bench-201 supernet, in less than a minute.
/// With `--dataset cifar10 --data DIR`: the measured default; `--preset paper` has the settings of the paper.
///
/// The configuration is made of layers: a preset, then --config, then the other options, then --set. The run folder
/// holds it in full (config.toml) with the record (events.jsonl), the checkpoints and the result. Ctrl-C saves; `hpe-darts
/// resume RUN` continues it and ends as if the search had never been stopped.
///
/// With --json, the last line of standard output is one object {"genotype", "arch", "index", "seconds", "run_dir", "warnings", "table"}:
/// wall-clock seconds, a list of what the result is to be doubted for (a training accuracy that stayed at chance), and what `query --json`
/// says of the architecture or null without the table.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TOML file with settings; config.toml of any run lists all of them [default: none].
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
    /// Named settings: see `hpe-darts list presets` [default: demo with built-in data, else default].
    #[arg(long, value_name = "P")]
    preset: Option<String>,
    /// Search space: see `hpe-darts list spaces` [default: nas-bench-201].
    #[arg(long, value_name = "S")]
    space: Option<String>,
    /// Data set: see `hpe-darts list datasets` [default: digits].
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    /// Folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Height and width of own pictures, for --dataset folder [default: what fits them, at most 64].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// What of the training images trains omega: auto, benchmark, first-half, half, folder, a share such as 0.8, or a JSON file
    /// with `train` and `valid`; the rest trains alpha and measures importance [default: auto].
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,
    /// Strategy: see `hpe-darts list strategies` [default: hpe-darts].
    #[arg(long, value_name = "NAME")]
    strategy: Option<String>,
    /// Seed of everything random [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    threads: args::Threads,
    /// Run folder, new or empty [default: runs/STRATEGY-DATASET-seedN, numbered if it exists].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One setting by its dotted key, repeatable; the value is TOML, and a bare word is a string [default: none]:
    /// --set strategy.hpe-darts.pop=[1,1,2] --set strategy.hpe-darts.alpha_update=joint
    #[arg(long, value_name = "KEY=VALUE")]
    #[allow(rustdoc::broken_intra_doc_links)] // the comment is the help as it is printed
    set: Vec<String>,
    /// Print phases, epochs, steps and the whole configuration, and exit.
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON (default: as text).
    #[arg(long)]
    json: bool,
}

/// Runs a search.
///
/// # Errors
/// Whatever is wrong with configuration, data and run folder; a loss that is not a number; an interruption.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let request = Request {
        preset: args.preset,
        file: args.config,
        space: args.space,
        dataset: args.dataset,
        data: args.data,
        size: args.size,
        split: args.split,
        strategy: args.strategy,
        seed: args.seed,
        threads: args.threads.given(),
        set: args.set,
    };
    let config = request.resolve().map_err(SearchError::from)?;
    let home = cx.home().ok();
    let plan = data::interruptible(cx, |notify| Plan::new(config, home.as_deref(), notify))?;
    if args.dry_run {
        return show(&plan, args.json, cx);
    }
    outcome::check_memory(&plan.memory()?, cx)?;
    let config = &plan.config;
    let name = format!("{}-{}-seed{}", config.strategy.name(), config.dataset, config.seed);
    let place = outcome::place(args.out, &name)?;
    let folder = place.path();
    let stop = cx.interrupt()?;
    let (engines, observer) = (plan.engines(), Box::new(outcome::Progress::new(cx, "search")));
    let outcome = Search::start(plan, engines, folder, observer, stop).and_then(Search::run);
    outcome::conclude(outcome, folder, args.json, cx)
}

fn show(plan: &Plan, json: bool, cx: &Context) -> Result<()> {
    let epochs = plan.schedule.epochs();
    let steps = plan.steps_per_epoch;
    let memory = plan.memory()?;
    if json {
        return cx.out.json(&json!({
            "phases": plan.schedule.phases,
            "epochs": epochs,
            "steps_per_epoch": steps,
            "train_images": plan.train.len(),
            "valid_images": plan.valid.len(),
            "memory": memory,
            "config": plan.config,
        }));
    }
    let mut phases = Table::new([("phase", Align::Left), ("epochs", Align::Right), ("steps", Align::Right)]);
    for Phase { name, epochs } in &plan.schedule.phases {
        phases.row([name.clone(), epochs.to_string(), (epochs * steps).to_string()]);
    }
    phases.row(["all".to_owned(), epochs.to_string(), (epochs * steps).to_string()]);
    let [train, valid] = [&plan.train, &plan.valid].map(|source| source.len());
    cx.out.data(format_args!(
        "{phases}\n{steps} steps an epoch; {train} images train omega, {valid} alpha and importance\n\
         memory beside the images: {memory}\n\n{}",
        plan.config.to_toml()
    ))?;
    outcome::check_memory(&memory, cx)
}
