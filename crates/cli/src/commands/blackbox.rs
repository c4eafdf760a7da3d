//! `blackbox`: many runs of a black-box search method, on the table, by a training-free score or by training from scratch.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use nas::{
    benchmark::{self, BenchmarkDataset, Column, Epochs},
    blackbox::{
        BlackboxError, Domain, Evaluator, Follow, Interruptible, MethodConfig, Outcome, Problem, ProxyEvaluator,
        Record, Recorded, RetrainEvaluator, Settings, Summary, TableEvaluator, Trial, check, methods, run_all,
    },
    compare::COLUMNS,
    engines,
    files::{as_text as path_text, shown},
    paper::{self, PAPER_BUDGET},
    proxy::{self, Proxy},
    retrain::Request,
    run::Observer,
    search::ConfigError,
    space::{self, Arch, SearchSpace},
};
use serde_json::{Map, Value, json};

use super::{
    data, files, outcome, query,
    scoring::{Inputs, Loaded, blame},
};
use crate::{
    args,
    context::Context,
    error::{HintExt, Interrupted},
    render::{Align, Table},
};

/// Search with a black-box method: architectures are evaluated one after the other.
///
/// By default an evaluation is a simulated training: its value is the validation accuracy in the NAS-Bench-201 table after 12 epochs, its
/// cost the seconds of that training and of one validation, and a run ends before the evaluation that would exceed the budget.
/// With --proxy it is a training-free score, and the budget counts evaluations. With --retrain it is a training from scratch as by
/// `hpe-darts retrain`: its value is the accuracy on the images that validate, after the last epoch, and the budget counts epochs, so
/// that a run repeats on any machine. Methods with several fidelities (bohb with `training=rungs`) also train for a third and a ninth of the epochs.
/// `hpe-darts list methods` has the methods.
///
/// With --out every evaluation is kept in a folder, with --retrain each training in a run folder of its own below. Ctrl-C saves; the same
/// command goes on there, also after a kill, and ends as if it had never been stopped.
///
/// Printed are mean and standard deviation over the runs of the accuracies of what they found, after 200 epochs; beside them, where the
/// search is that of Table 1 of the HPE-DARTS paper (CIFAR-10, 12,000 s), what the paper reports.
///
/// With --json, standard output is one object {"method", "config", "space", "dataset", "evaluator", "budget", "unit", "seed", "runs",
/// "accuracies", "evaluations", "spent", "best", "median", "paper", "run_dir"}; statistics are {"mean", "std", "min", "max"}.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("networks").args(["proxy", "retrain"])))]
pub struct Args {
    /// Which method: see `hpe-darts list methods`.
    #[arg(value_name = "METHOD")]
    method: String,
    /// Search space: see `hpe-darts list spaces`. Only nas-bench-201 has a table.
    #[arg(long, value_name = "S", default_value = "nas-bench-201", value_parser = space::find)]
    space: &'static dyn SearchSpace,
    /// What a run may spend: simulated seconds, evaluations with --proxy, epochs with --retrain [default: 12000; 100 with --proxy; with
    /// --retrain those of 10 whole trainings].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    budget: Option<f64>,
    /// Runs, 1 to 10000, each with a seed of its own: the first one's, the next number, and so on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count(1, 10_000))]
    runs: usize,
    /// Seed of the first run; with --proxy also of the weights and the images, with --retrain of all trainings.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// One setting of the method by its key, repeatable; the value is TOML, and a bare word is a string [default: none]:
    /// --set population=20 --set mutation=edge; with --retrain also one of the trainings: --set retrain.network.channels=8
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Data set whose trainings are simulated: cifar10, cifar100 or imagenet16-120 [default: cifar10]; with --proxy the one that
    /// networks are scored on, with --retrain trained on, see `hpe-darts list datasets` [default: as for `score` and `retrain`].
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    /// Epochs of a training: 12 or 200 of a simulated one [default: 12], with --retrain any number [default: those of the recipe].
    #[arg(long, value_name = "N", value_parser = args::count(1, 100_000), conflicts_with = "proxy")]
    epochs: Option<usize>,
    /// Evaluate by a training-free score, see `hpe-darts list proxies` [default: by the table].
    #[arg(long, value_name = "NAME", value_parser = proxy::find)]
    proxy: Option<&'static dyn Proxy>,
    /// Evaluate by training from scratch (default: by the table).
    #[arg(long, requires = "out")]
    retrain: bool,
    /// With --retrain: recipe, see `hpe-darts list recipes` [default: quick].
    #[arg(long, value_name = "NAME", requires = "retrain")]
    recipe: Option<String>,
    /// With --proxy or --retrain: folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR", requires = "networks")]
    data: Option<PathBuf>,
    /// With --retrain: height and width of own pictures, for --dataset folder [default: what fits them, at most 64].
    #[arg(long, value_name = "PIXELS", requires = "retrain")]
    size: Option<usize>,
    /// With --proxy or --retrain: folder that evaluations are kept in, new, empty or of the same search [default: none].
    #[arg(long, value_name = "DIR", requires = "networks")]
    out: Option<PathBuf>,
    /// With --proxy: training images that networks are scored on, 2 to 4096 [default: 64].
    #[arg(long, value_name = "N", value_parser = args::count(2, 4096), requires = "proxy")]
    batch: Option<usize>,
    /// With --proxy: channels of the first stage, 1 to 1024 [default: those of the space's supernet].
    #[arg(long, value_name = "C", value_parser = args::count(1, 1024), requires = "proxy")]
    channels: Option<usize>,
    /// With --proxy: cells, of each stage in nas-bench-201, 1 to 100 [default: those of the space's supernet].
    #[arg(long, value_name = "N", value_parser = args::count(1, 100), requires = "proxy")]
    cells: Option<usize>,
    #[command(flatten)]
    threads: args::Threads,
    /// Write one line for each run to FILE [default: none].
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write every evaluation of every run to FILE, a line {"seed", "trial", "arch", "level", "value", "cost"} each; level 0 is the
    /// shortest training [default: none].
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON (default: as text).
    #[arg(long)]
    json: bool,
}

/// What the runs had in common, for the output.
struct Setting {
    method: &'static str,
    config: Value,
    space: &'static str,
    dataset: String,
    evaluator: String,
    budget: f64,
    unit: &'static str,
    seed: u64,
    out: Option<PathBuf>,
    paper: Option<[(f64, f64); 6]>,
}

/// What came of an evaluator: the runs, and what they are looked at with.
struct Found {
    outcomes: Vec<Outcome>,
    dataset: String,
    evaluator: String,
    budget: f64,
    unit: &'static str,
    table: Option<benchmark::Table>,
    /// Whose test accuracy ranks the runs, with the table.
    ranked_by: BenchmarkDataset,
}

/// A search that waits for its evaluator.
struct Search<'a> {
    args: &'a Args,
    config: MethodConfig,
    domain: Arc<Domain>,
    cx: &'a Context,
}

/// Runs a method as often as asked.
///
/// # Errors
/// An unknown method or setting, a space without a table, a missing table, a budget that does not pay for an evaluation, files that cannot
/// be written, the folder of another search, an interruption.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let method = methods::find(&args.method).map_err(BlackboxError::from)?;
    let (training, own): (Vec<String>, Vec<String>) =
        args.set.iter().cloned().partition(|set| args.retrain && set.starts_with(TRAINING));
    let config = method.configure(&own).map_err(BlackboxError::from)?;
    files::check([&args.csv, &args.record].into_iter().flatten().map(PathBuf::as_path), args.force)?;
    let json = serde_json::to_value(&config)?[method.name].clone();
    let search = Search { args: &args, config, domain: Arc::new(Domain::new(args.space)), cx };
    let found = match args.proxy {
        Some(proxy) => search.by_score(proxy)?,
        None if args.retrain => search.by_training(&training)?,
        None => search.by_table()?,
    };
    let Found { outcomes, dataset, evaluator, budget, unit, table, ranked_by } = found;
    let as_in_paper = !args.retrain
        && args.proxy.is_none()
        && (ranked_by, args.epochs.unwrap_or(12), budget) == (BenchmarkDataset::Cifar10, 12, PAPER_BUDGET);
    let reported = paper::table_1(&format!("blackbox.{}", method.name)).filter(|_| as_in_paper);
    let setting = Setting {
        method: method.name,
        config: json,
        space: args.space.name(),
        dataset,
        evaluator,
        budget,
        unit,
        seed: args.seed,
        out: args.out.clone(),
        paper: reported.map(|row| row.accuracies),
    };
    let mut written = vec![];
    if let Some(path) = &args.csv {
        written.push((path, csv(&outcomes, table.as_ref())));
    }
    if let Some(path) = &args.record {
        written.push((path, record(&outcomes, &search.domain)?));
    }
    files::write(&written)?;
    let summary = Summary::new(&outcomes, table.as_ref(), ranked_by).context("no runs")?;
    match args.json {
        true => cx.out.json(&as_json(&setting, &summary)),
        false => cx.out.data(as_text(&setting, &summary)),
    }
}

/// How settings of a training begin that are given beside those of the method.
const TRAINING: &str = "retrain.";

/// Trainings of the whole length that a run with --retrain may spend where nothing else is asked for.
const TRAININGS: usize = 10;

fn named(error: String) -> anyhow::Error {
    anyhow!("--dataset: {error}")
}

impl Search<'_> {
    fn by_table(&self) -> Result<Found> {
        let Self { args, domain, cx, .. } = self;
        TableEvaluator::check(domain)?;
        let (epochs, n) = match args.epochs.unwrap_or(12) {
            12 => (Epochs::Twelve, 12),
            200 => (Epochs::TwoHundred, 200),
            other => {
                return Err(anyhow!("--epochs {other}: expected 12 or 200, the trainings that the table has"))
                    .hint("--retrain trains for as many as you like");
            }
        };
        let dataset = args.dataset.as_deref().map_or(Ok(BenchmarkDataset::Cifar10), args::benchmark_dataset);
        let ranked_by = dataset.map_err(named)?;
        let budget = args.budget.unwrap_or(PAPER_BUDGET);
        let table = query::open_table(cx)?;
        let evaluator = TableEvaluator::new(domain, &table, ranked_by, epochs)?;
        let bar = cx.out.bar("runs", args.runs as u64);
        let outcomes = self.runs(&evaluator, budget, args.threads.get(), &|| bar.inc(1));
        bar.finish_and_clear();
        let (outcomes, unit) = (outcomes?, evaluator.unit());
        let (dataset, evaluator) = (ranked_by.name().to_owned(), format!("table, {n} epochs"));
        Ok(Found { outcomes, dataset, evaluator, budget, unit, table: Some(table), ranked_by })
    }

    fn by_score(&self, proxy: &'static dyn Proxy) -> Result<Found> {
        let Self { args, domain, cx, .. } = self;
        ProxyEvaluator::check(proxy)?;
        let dataset = args.dataset.as_deref().map(args::dataset).transpose().map_err(named)?;
        let size = args.space.supernet_size();
        let inputs = Inputs {
            images: proxy.needs_images(),
            dataset,
            data: args.data.clone(),
            no_verify: false,
            batch: args.batch,
            seed: args.seed,
            channels: args.channels.unwrap_or(size.channels),
            cells: args.cells.unwrap_or(size.cells),
        };
        let (dataset, budget) = (inputs.name().as_str().to_owned(), args.budget.unwrap_or(100.0));
        let Loaded { shape, images, labels } = inputs.load(cx)?;
        let engines = engines::cpu(args.threads.get())?;
        let evaluator = ProxyEvaluator::new(domain, proxy, shape, (images, labels), args.seed, &*engines)?;
        let bar = cx.out.bar("runs", args.runs as u64);
        let outcomes =
            self.long_runs(&evaluator, &Settings { evaluator: evaluator.settings(), ..self.settings(budget) }, &|| {
                bar.inc(1)
            });
        bar.finish_and_clear();
        let (outcomes, unit) = (outcomes?, evaluator.unit());
        let has_table = TableEvaluator::check(domain).is_ok();
        let table = if has_table { outcome::open_table(cx, "accuracies") } else { None };
        let (evaluator, ranked_by) = (format!("proxy, {}", proxy.name()), BenchmarkDataset::Cifar10);
        Ok(Found { outcomes, dataset, evaluator, budget, unit, table, ranked_by })
    }

    /// `set`: settings of the trainings.
    fn by_training(&self, set: &[String]) -> Result<Found> {
        let Self { args, domain, cx, .. } = self;
        let request = Request {
            recipe: args.recipe.clone(),
            dataset: args.dataset.clone(),
            data: args.data.clone(),
            size: args.size,
            epochs: args.epochs,
            seed: Some(args.seed),
            threads: args.threads.given(),
            set: set.iter().map(|set| set[TRAINING.len()..].to_owned()).collect(),
            ..RetrainEvaluator::request(domain)?
        };
        let config = RetrainEvaluator::configure(&request).map_err(of_training)?;
        let (dataset, recipe) = (config.dataset.as_str().to_owned(), config.recipe.clone());
        let (home, out) = (cx.home().ok(), args.out.clone().unwrap_or_default());
        let observer = || -> Box<dyn Observer> { Box::new(outcome::Progress::new(cx, "training")) };
        let follow = Follow { observer: &observer, stop: cx.interrupt()? };
        let evaluator =
            data::interruptible(cx, |notify| RetrainEvaluator::new(config, home.as_deref(), notify, &out, follow))?;
        let epochs = evaluator.epochs().last().copied().unwrap_or_default();
        let budget = args.budget.unwrap_or((TRAININGS * epochs) as f64);
        let outcomes =
            self.long_runs(&evaluator, &Settings { evaluator: evaluator.settings(), ..self.settings(budget) }, &|| {})?;
        let (unit, evaluator) = (evaluator.unit(), format!("training from scratch, {recipe}, {epochs} epochs"));
        Ok(Found { outcomes, dataset, evaluator, budget, unit, table: None, ranked_by: BenchmarkDataset::Cifar10 })
    }

    /// Runs whose evaluations take long: they may be interrupted, and are kept with --out. The engine has the threads.
    fn long_runs(
        &self,
        evaluator: &dyn Evaluator,
        settings: &Settings<'_>,
        ended: &(dyn Fn() + Sync),
    ) -> Result<Vec<Outcome>> {
        let Self { args, config, domain, cx } = self;
        let stop = cx.interrupt()?;
        let evaluator = Interruptible { evaluator, stop: &stop };
        let budget = settings.budget;
        let Some(out) = &args.out else { return self.runs(&evaluator, budget, 1, ended) };
        let problem = self.problem(&evaluator);
        check(config, &problem, &evaluator, budget, (args.seed, args.runs))?;
        let record = Record::open(out, settings)?;
        if !record.is_empty() {
            cx.out.note(format_args!("{}: {} evaluations are known", shown(out), record.len()));
        }
        let outcomes = self.runs(&Recorded { domain, evaluator: &evaluator, record: &record }, budget, 1, ended)?;
        record.finish(&outcomes)?;
        Ok(outcomes)
    }

    /// Of any evaluator.
    fn settings(&self, budget: f64) -> Settings<'_> {
        let Args { space, seed, runs, .. } = self.args;
        Settings {
            space: space.name(),
            seed: *seed,
            runs: *runs,
            budget,
            method: &self.config,
            evaluator: Default::default(),
        }
    }

    fn problem(&self, evaluator: &dyn Evaluator) -> Problem {
        Problem { domain: Arc::clone(&self.domain), levels: evaluator.levels() }
    }

    fn runs(
        &self,
        evaluator: &dyn Evaluator,
        budget: f64,
        threads: usize,
        ended: &(dyn Fn() + Sync),
    ) -> Result<Vec<Outcome>> {
        let Self { args, config, cx, .. } = self;
        let problem = self.problem(evaluator);
        let outcomes = run_all(config, &problem, evaluator, budget, (args.seed, args.runs), threads, ended);
        outcomes.map_err(|error| match error {
            BlackboxError::Engine(error) => blame(error),
            BlackboxError::Interrupted => {
                cx.out.note(match args.out {
                    Some(_) => format!("interrupted; everything is saved. To continue:\n  {}", this_command()),
                    None => "interrupted; without --out nothing is saved".to_owned(),
                });
                Interrupted.into()
            }
            other => other.into(),
        })
    }
}

/// A faulty setting of the trainings by the key that was given.
fn of_training(error: BlackboxError) -> BlackboxError {
    match error {
        BlackboxError::Config(ConfigError::Set { given, why, hint }) => {
            ConfigError::Set { given: format!("{TRAINING}{given}"), why, hint }.into()
        }
        other => other,
    }
}

/// The command that this process was started with, as a shell takes it.
fn this_command() -> String {
    let words = std::env::args_os().skip(1).map(|word| outcome::shell(Path::new(&word)));
    std::iter::once("hpe-darts".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A line for each run.
fn csv(outcomes: &[Outcome], table: Option<&benchmark::Table>) -> String {
    let columns = COLUMNS.map(|(column, _)| column.name()).join(",");
    let mut text = format!("seed,evaluations,spent,value,index,{columns},arch\n");
    for o in outcomes {
        let known = |column: Column| table?.value(column, Arch::from_index(o.index?).ok()?);
        let shown = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
        let accuracies = COLUMNS.map(|(column, _)| shown(known(column))).join(",");
        let (value, index) = (shown(o.value.map(|v| v.0)), o.index.map_or_else(String::new, |i| i.to_string()));
        // A genotype of the DARTS space has commas.
        text += &format!("{},{},{},{value},{index},{accuracies},\"{}\"\n", o.seed, o.trials.len(), o.spent, o.arch);
    }
    text
}

fn record(outcomes: &[Outcome], domain: &Domain) -> Result<String> {
    let mut text = String::new();
    for outcome in outcomes {
        for (number, Trial { proposal, value, cost }) in outcome.trials.iter().enumerate() {
            let arch = domain.space().text(&domain.genotype(&proposal.choice)?)?;
            let (trial, level) = (number + 1, proposal.level);
            let line = json!({
                "seed": outcome.seed, "trial": trial, "arch": arch, "level": level, "value": value, "cost": cost,
            });
            text += &format!("{line}\n");
        }
    }
    Ok(text)
}

fn as_json(setting: &Setting, summary: &Summary) -> Value {
    let by_column = |values: [Value; 6]| -> Map<String, Value> {
        COLUMNS.iter().zip(values).map(|((column, _), value)| (column.name().to_owned(), value)).collect()
    };
    let paper = setting.paper.map(|row| by_column(row.map(|(mean, std)| json!({ "mean": mean, "std": std }))));
    json!({
        "method": setting.method,
        "config": setting.config,
        "space": setting.space,
        "dataset": setting.dataset,
        "evaluator": setting.evaluator,
        "budget": setting.budget,
        "unit": setting.unit,
        "seed": setting.seed,
        "runs": summary.runs,
        "accuracies": summary.accuracies.map(|a| by_column(a.map(|s| json!(s)))),
        "evaluations": summary.evaluations,
        "spent": summary.spent,
        "best": summary.best,
        "median": summary.median,
        "paper": paper,
        "run_dir": setting.out.as_deref().map(path_text),
    })
}

fn as_text(setting: &Setting, summary: &Summary) -> String {
    let Setting { method, space, dataset, evaluator, budget, unit, seed, .. } = setting;
    let runs = match summary.runs {
        1 => format!("1 run, seed {seed}"),
        n => format!("{n} runs from seed {seed} on"),
    };
    let mut text = format!("{method} on {space}, {dataset} ({evaluator}), {budget} {unit}, {runs}\n\n");
    if let Some(accuracies) = &summary.accuracies {
        let heads = [("accuracy in %, 200 epochs", Align::Left), ("found here", Align::Right)];
        let paper = setting.paper.map(|_| ("reported in the paper, Table 1 (n = 10)", Align::Right));
        let mut rows = Table::with_heads(heads.into_iter().chain(paper));
        for (i, ((_, name), found)) in COLUMNS.iter().zip(accuracies).enumerate() {
            let paper = setting.paper.map(|row| format!("{:.2} ± {:.2}", row[i].0, row[i].1));
            rows.row([(*name).to_owned(), format!("{found:.2}")].into_iter().chain(paper));
        }
        text += &format!("{rows}\n");
    }
    let quality = if summary.accuracies.is_some() { "test accuracy in %" } else { "value" };
    let mut rows =
        Table::new([("", Align::Left), ("seed", Align::Right), (quality, Align::Right), ("found", Align::Left)]);
    for (name, f) in [("best", &summary.best), ("median", &summary.median)] {
        let shown = f.quality.map_or_else(|| "-".to_owned(), |q| format!("{:.2}", q.0));
        rows.row([name.to_owned(), f.seed.to_string(), shown, f.arch.clone()]);
    }
    text += &format!("{:.1} evaluations", summary.evaluations);
    if *unit != ProxyEvaluator::UNIT {
        text += &format!(" and {:.1} {unit}", summary.spent);
    }
    text += &format!(" a run\n\n{rows}");
    if summary.runs > 1 {
        text += &format!("\n± is the standard deviation over {} runs\n", summary.runs);
    }
    if let Some(out) = &setting.out {
        text +=
            &format!("\nthe search is in {} (blackbox.toml, evaluations.jsonl, result.json)\n", outcome::shell(out));
    }
    text
}
