//! `retrain`: train an architecture from scratch.

use std::path::{Path, PathBuf};

use anyhow::Result;
use nas::{
    Here,
    files::as_text,
    retrain::{Measured, Outcome, Plan, Request, Resumed, Retrain, RetrainError},
    run::RunError,
    space::{self, SearchSpace},
};
use serde_json::json;

use super::{architecture, data, outcome};
use crate::{
    args,
    context::Context,
    error::Interrupted,
    render::{Align, Table},
};

/// Train an architecture from scratch, to know how good it is.
///
/// A recipe says how: `quick`, ours, for a first look; `nas-bench-201` and `darts` as the papers do (`hpe-darts list
/// recipes`). By default every training image trains, and the test images are looked at once, after the last epoch;
/// `--set data.train=half` keeps a half for validation after every epoch. Nothing is ever chosen by the test images.
///
/// The run folder holds the configuration (config.toml), the record (events.jsonl), the checkpoints, whose newest one has the
/// weights, model.json (what they are of, for `predict` and `export`), and result.json. Ctrl-C saves; `hpe-darts resume RUN` goes on, bit for bit.
///
/// With --json, the last line of standard output is one object {"genotype", "arch", "index", "parameters", "multiply_adds",
/// "epochs", "last_valid", "best_valid", "test", "seconds", "run_dir", "warnings"}: each measurement with "loss", "accuracy" (%) and
/// "images", null where there is none; "best_valid" with the epoch.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is trained: an architecture in quotes or an index as for `describe`, a genotype as JSON, the folder of a finished
    /// run, or @FILE with an architecture in it.
    #[arg(value_name = "GENOTYPE|ARCH|INDEX|RUN|@FILE", allow_negative_numbers = true)]
    arch: String,
    /// Search space of the architecture [default: the first whose notation it is in].
    #[arg(long, value_name = "SPACE", value_parser = space::find)]
    space: Option<&'static dyn SearchSpace>,
    /// Recipe: see `hpe-darts list recipes` [default: quick].
    #[arg(long, value_name = "NAME")]
    recipe: Option<String>,
    /// Data set: see `hpe-darts list datasets` [default: digits].
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    /// Folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Height and width of own pictures, for --dataset folder [default: what fits them, at most 64].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// Epochs [default: those of the recipe].
    #[arg(long, value_name = "N", value_parser = args::count(1, 100_000))]
    epochs: Option<usize>,
    /// Seed of everything random [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Start from the weights that the architecture has in the supernet of this search, in place of random ones [default: none].
    #[arg(long, value_name = "RUN")]
    from_supernet: Option<PathBuf>,
    #[command(flatten)]
    threads: args::Threads,
    /// Run folder, new or empty [default: runs/retrain-RECIPE-DATASET-seedN, numbered if it exists].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One setting by its dotted key, repeatable; the value is TOML, and a bare word is a string [default: none]:
    /// --set network.channels=16 --set training.test_every=10
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print the network's size, epochs, steps and the whole configuration, and exit.
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON (default: as text).
    #[arg(long)]
    json: bool,
}

/// Trains.
///
/// # Errors
/// Whatever is wrong with architecture, configuration, data and run folder; a loss that is not a number; an interruption.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let request = Request {
        genotype: architecture::read(&args.arch, args.space)?,
        recipe: args.recipe,
        dataset: args.dataset,
        data: args.data,
        size: args.size,
        epochs: args.epochs,
        seed: args.seed,
        threads: args.threads.given(),
        from_supernet: args.from_supernet,
        set: args.set,
    };
    let config = request.resolve().map_err(RetrainError::from)?;
    let home = cx.home().ok();
    let mut plan = data::interruptible(cx, |notify| Plan::new(config, home.as_deref(), notify))?;
    if args.dry_run {
        plan.inherit()?;
        return show(&plan, args.json, cx);
    }
    outcome::check_memory(&plan.memory()?, cx)?;
    let config = &plan.config;
    let name = format!("retrain-{}-{}-seed{}", config.recipe, config.dataset, config.seed);
    let place = outcome::place(args.out, &name)?;
    let folder = place.path();
    let stop = cx.interrupt()?;
    let (engines, observer) = (plan.engines(), Box::new(outcome::Progress::new(cx, "training")));
    let outcome = Retrain::start(plan, &engines, folder, observer, stop).and_then(Retrain::run);
    conclude(outcome, folder, args.json, cx)
}

/// Goes on with the training in a folder.
///
/// # Errors
/// As [`run`].
pub fn resume(folder: &Path, here: &Here, json: bool, cx: &Context) -> Result<()> {
    let stop = cx.interrupt()?;
    let observer = Box::new(outcome::Progress::new(cx, "training"));
    let mut loading = |event| data::loading(&cx.out, &event);
    let outcome = match Retrain::resume(folder, here, &mut loading, Plan::engines, observer, stop)? {
        Resumed::Ready(training) => training.run(),
        Resumed::Finished(outcome) => {
            cx.out.note(format_args!("this training has already ended; its result in {}:", folder.display()));
            outcome::warn(&outcome.found.warnings, cx);
            Ok(*outcome)
        }
    };
    conclude(outcome, folder, json, cx)
}

fn show(plan: &Plan, json: bool, cx: &Context) -> Result<()> {
    let (epochs, steps) = (plan.config.training.epochs, plan.steps_per_epoch());
    let valid = plan.valid.as_ref().map_or(0, nas::data::Source::len);
    let (train, test) = (plan.train.len(), plan.test.len());
    let memory = plan.memory()?;
    if json {
        return cx.out.json(&json!({
            "epochs": epochs,
            "steps_per_epoch": steps,
            "train_images": train,
            "valid_images": valid,
            "test_images": test,
            "parameters": plan.cost.parameters,
            "multiply_adds": plan.cost.multiply_adds,
            "memory": memory,
            "config": plan.config,
        }));
    }
    cx.out.data(format_args!(
        "{} parameters, {} multiply-adds an image\n{epochs} epochs of {steps} steps; {train} images train, {valid} validate, {test} test\n\
         memory beside the images: {memory}\n\n{}",
        plan.cost.parameters,
        plan.cost.multiply_adds,
        plan.config.to_toml()
    ))?;
    outcome::check_memory(&memory, cx)
}

fn conclude(outcome: Result<Outcome, RetrainError>, folder: &Path, as_json: bool, cx: &Context) -> Result<()> {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(RetrainError::Run(RunError::Interrupted)) => {
            outcome::interrupted(folder, cx);
            return Err(Interrupted.into());
        }
        Err(error) => return Err(error.into()),
    };
    if as_json {
        let mut result = json!(outcome.found);
        result["seconds"] = json!(outcome.total_seconds());
        result["warnings"] = json!(outcome.found.warnings);
        result["run_dir"] = json!(as_text(&outcome.folder));
        return cx.out.json(&result);
    }
    let found = &outcome.found;
    let mut table = Table::new([
        ("accuracy of the network", Align::Left),
        ("%", Align::Right),
        ("loss", Align::Right),
        ("images", Align::Right),
    ]);
    let mut row = |what: String, Measured { loss, accuracy, images }: Measured| {
        table.row([what, format!("{:.2}", accuracy.0), format!("{:.4}", loss.0), images.to_string()]);
    };
    if let Some(valid) = found.last_valid {
        row(format!("validation, last epoch ({})", found.epochs), valid);
    }
    if let Some((epoch, valid)) = found.best_valid {
        row(format!("validation, best epoch ({epoch})"), valid);
    }
    row(format!("test, last epoch ({})", found.epochs), found.test);
    cx.out.data(format_args!(
        "{}\n{} parameters, {} multiply-adds an image\n\n{table}\n{:.0} s; the run is in {} (config.toml, events.jsonl, result.json; the weights in checkpoint/weights.safetensors)",
        found.arch,
        found.parameters,
        found.multiply_adds,
        outcome.total_seconds(),
        outcome::shell(&outcome.folder),
    ))
}
