//! `blackbox`: many runs of a black-box search method, on the table or by a training-free score.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use nas::{
    benchmark::{self, BenchmarkDataset, Column, Epochs},
    blackbox::{
        BlackboxError, Domain, Evaluator, Outcome, Problem, ProxyEvaluator, Summary, TableEvaluator, Trial, methods,
        run_all,
    },
    compare::COLUMNS,
    engines,
    paper::{self, PAPER_BUDGET},
    proxy::{self, Proxy},
    space::{self, Arch, SearchSpace},
};
use serde_json::{Map, Value, json};

use super::{
    files, outcome, query,
    scoring::{Inputs, Loaded, blame},
};
use crate::{
    args,
    context::Context,
    render::{Align, Table},
};

/// Search with a black-box method: architectures are evaluated one after the other.
///
/// By default an evaluation is a simulated training: its value is the validation accuracy in the NAS-Bench-201 table after 12 epochs, its
/// cost the seconds of that training and of one validation, and a run ends before the evaluation that would exceed the budget.
/// With --proxy it is a training-free score, and the budget counts evaluations. `hpe-darts list methods` has the methods.
///
/// Printed are mean and standard deviation over the runs of the accuracies of what they found, after 200 epochs; beside them, where the
/// search is that of Table 1 of the HPE-DARTS paper (CIFAR-10, 12,000 s), what the paper reports.
///
/// With --json, standard output is one object {"method", "config", "space", "dataset", "evaluator", "budget", "unit", "seed", "runs",
/// "accuracies", "evaluations", "spent", "best", "median", "paper"}; statistics are {"mean", "std", "min", "max"}.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which method: see `hpe-darts list methods`.
    #[arg(value_name = "METHOD")]
    method: String,
    /// Search space: see `hpe-darts list spaces`. Only nas-bench-201 has a table.
    #[arg(long, value_name = "S", default_value = "nas-bench-201", value_parser = space::find)]
    space: &'static dyn SearchSpace,
    /// What a run may spend: simulated seconds, or evaluations with --proxy [default: 12000, or 100 with --proxy].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    budget: Option<f64>,
    /// Runs, 1 to 10000, each with a seed of its own: the first one's, the next number, and so on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count(1, 10_000))]
    runs: usize,
    /// Seed of the first run; with --proxy also of the weights and the images.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// One setting of the method by its key, repeatable; the value is TOML, and a bare word is a string [default: none]:
    /// --set population=20 --set mutation=edge
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Data set whose trainings are simulated: cifar10, cifar100 or imagenet16-120 [default: cifar10]; with --proxy the one that
    /// networks are scored on, see `hpe-darts list datasets` [default: as for `score`].
    #[arg(long, value_name = "D")]
    dataset: Option<String>,
    /// Length of a simulated training: 12 or 200 epochs.
    #[arg(long, value_name = "N", default_value = "12", value_parser = epochs, conflicts_with = "proxy")]
    epochs: Epochs,
    /// Evaluate by a training-free score, see `hpe-darts list proxies` [default: by the table].
    #[arg(long, value_name = "NAME", value_parser = proxy::find)]
    proxy: Option<&'static dyn Proxy>,
    /// With --proxy: folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR", requires = "proxy")]
    data: Option<PathBuf>,
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

fn epochs(text: &str) -> Result<Epochs, String> {
    match text {
        "12" => Ok(Epochs::Twelve),
        "200" => Ok(Epochs::TwoHundred),
        _ => Err("expected 12 or 200".to_owned()),
    }
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
    paper: Option<[(f64, f64); 6]>,
}

/// Runs a method as often as asked.
///
/// # Errors
/// An unknown method or setting, a space without a table, a missing table, a budget that does not pay for an evaluation, files that cannot
/// be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let method = methods::find(&args.method).map_err(BlackboxError::from)?;
    let config = method.configure(&args.set).map_err(BlackboxError::from)?;
    files::check([&args.csv, &args.record].into_iter().flatten().map(PathBuf::as_path), args.force)?;
    let domain = Arc::new(Domain::new(args.space));
    let threads = args.threads.get();
    let named = |error: String| anyhow!("--dataset: {error}");
    let mut setting = Setting {
        method: method.name,
        config: serde_json::to_value(&config)?[method.name].clone(),
        space: args.space.name(),
        dataset: BenchmarkDataset::Cifar10.name().to_owned(),
        evaluator: String::new(),
        budget: args.budget.unwrap_or(if args.proxy.is_some() { 100.0 } else { PAPER_BUDGET }),
        unit: "",
        seed: args.seed,
        paper: None,
    };
    let bar = cx.out.bar("runs", args.runs as u64);
    let mut search = |evaluator: &dyn Evaluator, threads: usize| {
        let problem = Problem { domain: Arc::clone(&domain), levels: evaluator.levels() };
        setting.unit = evaluator.unit();
        let seeds = (args.seed, args.runs);
        let outcomes = run_all(&config, &problem, evaluator, setting.budget, seeds, threads, &|| bar.inc(1));
        bar.finish_and_clear();
        outcomes.map_err(|error| match error {
            BlackboxError::Engine(error) => blame(error),
            other => other.into(),
        })
    };
    let (outcomes, table, ranked_by);
    match args.proxy {
        None => {
            TableEvaluator::check(&domain)?;
            let dataset = args.dataset.as_deref().map_or(Ok(BenchmarkDataset::Cifar10), args::benchmark_dataset);
            ranked_by = dataset.map_err(named)?;
            let known = query::open_table(cx)?;
            outcomes = search(&TableEvaluator::new(&domain, &known, ranked_by, args.epochs)?, threads)?;
            table = Some(known);
            let n = if args.epochs == Epochs::Twelve { 12 } else { 200 };
            (setting.dataset, setting.evaluator) = (ranked_by.name().to_owned(), format!("table, {n} epochs"));
            let as_in_paper =
                (ranked_by, args.epochs, setting.budget) == (BenchmarkDataset::Cifar10, Epochs::Twelve, PAPER_BUDGET);
            let reported = paper::table_1(&format!("blackbox.{}", method.name)).filter(|_| as_in_paper);
            setting.paper = reported.map(|row| row.accuracies);
        }
        Some(proxy) => {
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
            setting.dataset = inputs.name().as_str().to_owned();
            let Loaded { shape, images, labels } = inputs.load(cx)?;
            let engines = engines::cpu(threads)?;
            let evaluator = ProxyEvaluator::new(&domain, proxy, shape, (images, labels), args.seed, &*engines)?;
            // The engine has the threads.
            outcomes = search(&evaluator, 1)?;
            let has_table = TableEvaluator::check(&domain).is_ok();
            table = if has_table { outcome::open_table(cx, "accuracies") } else { None };
            ranked_by = BenchmarkDataset::Cifar10;
            setting.evaluator = format!("proxy, {}", proxy.name());
        }
    }
    let mut written = vec![];
    if let Some(path) = &args.csv {
        written.push((path, csv(&outcomes, table.as_ref())));
    }
    if let Some(path) = &args.record {
        written.push((path, record(&outcomes, &domain)?));
    }
    files::write(&written)?;
    let summary = Summary::new(&outcomes, table.as_ref(), ranked_by).context("no runs")?;
    match args.json {
        true => cx.out.json(&as_json(&setting, &summary)),
        false => cx.out.data(as_text(&setting, &summary)),
    }
}

/// Refuses a file that cannot be one before the runs begin.
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
    text
}
