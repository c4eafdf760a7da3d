//! `importance`: what a run's supernet thinks of its operations, and whether that is true.

use std::{num::NonZeroUsize, path::PathBuf, time::Instant};

use anyhow::{Result, anyhow, bail};
use indicatif::ProgressBar;
use nas::{
    Here,
    benchmark::{self, Column},
    run::{Notice, Observer},
    search::{
        Study, column, cpu_engines, genotype,
        parts::{Criterion, ImportanceConfig, ImportanceTable, NoneRule, Performance, Pruner, rank_agreement},
    },
    space::{Arch, NasBench201, OpName, SearchSpace},
    supernet::{OpAt, PerOp},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, value::StrDeserializer},
};

use super::{data, outcome};
use crate::{
    args,
    context::Context,
    error::HintExt,
    output::Output,
    render::{Align, Table},
};

/// Measure the importance of every operation of a run's supernet.
///
/// Takes each operation out in turn, as pruning does, and says what that does, by each of the performances that --by names;
/// all of them on the same images of D_val for one sample. The run itself is not changed and may be going on.
///
/// If the NAS-Bench-201 table has been imported and the run searches that space, the truth stands beside it: the mean
/// CIFAR-10 validation accuracy of all architectures with the operation on that edge minus that of those without it, and
/// the same among the best tenth. Agreement is Spearman's rank correlation between the operations of an edge,
/// `none` left out, mean over the edges.
///
/// With --json, standard output is one object {"run", "epochs", "edges", "ops", "sweeps": [{"by", "sample", "seconds",
/// "least", "arch", "cifar10_valid", "table"}], "truth"}; `arch` is what is left if all but the most important
/// operation of each edge go.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder that `hpe-darts search` made.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Use the checkpoint of the end of this epoch, kept by a search with `--set run.keep_epochs=true` [default: the
    /// newest checkpoint].
    #[arg(long, value_name = "N", value_parser = args::count(1, 1_000_000))]
    epoch: Option<usize>,
    /// Performances, or sums of them as `loss+0.18*params`, separated by commas.
    #[arg(
        long, value_name = "NAMES", value_delimiter = ',', value_parser = named::<Criterion>,
        default_value = "accuracy,loss,net-perf-proxy,naswot,params"
    )]
    by: Vec<Criterion>,
    /// Samples of D_val to repeat everything on, 1 to 1000: their agreement shows how much the choice of images matters.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count(1, 1000))]
    samples: usize,
    /// Images that accuracy and loss are measured on [default: all of D_val].
    #[arg(long, value_name = "N", value_parser = args::count(1, 100_000_000))]
    images: Option<usize>,
    /// Images of a proxy's mini-batch, 2 to 4096 [default: 64].
    #[arg(long, value_name = "N", value_parser = args::count(2, 4096))]
    proxy_batch: Option<usize>,
    /// How many operations of each edge would go, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = args::count(1, 100))]
    pop: usize,
    /// Folder or archive of the data, where it has moved; other data are refused [default: where it was].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    threads: args::Threads,
    /// Print JSON (default: tables).
    #[arg(long)]
    json: bool,
}

/// One of the names that a configuration has for it.
fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let name = StrDeserializer::<serde::de::value::Error>::new(text);
    T::deserialize(name).map_err(|e| e.to_string().replace("unknown variant", "unknown name"))
}

/// One sweep.
#[derive(Debug, Serialize)]
struct Measured {
    by: Criterion,
    sample: usize,
    seconds: f64,
    /// `[edge, op]` of the operations that would go.
    least: Vec<OpAt>,
    /// What is left if all but the most important operation of each edge go.
    arch: String,
    /// The table's CIFAR-10 validation accuracy of it, in percent.
    cifar10_valid: Option<f64>,
    table: ImportanceTable,
}

/// What the table says: mean accuracy with an operation minus without it, `[E, O]`.
#[derive(Debug, Serialize)]
struct Truth {
    all: PerOp<f64>,
    best_tenth: PerOp<f64>,
}

/// Measures and prints.
///
/// # Errors
/// The folder is not a run folder or lacks that checkpoint; an interruption; whatever the engine refuses.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    if nas::retrain::is_retraining(&args.run) {
        return Err(anyhow!("{} is the folder of a training, which has no supernet", args.run.display()))
            .hint("give the folder of a search; `hpe-darts evaluate` measures a training");
    }
    let mut terms = args.by.iter().flat_map(Criterion::terms);
    let on_images = terms.any(|term| matches!(term.performance, Performance::Accuracy | Performance::Loss));
    args::without_effect([("--images", args.images.is_some() && !on_images)], "neither accuracy nor loss is measured")?;
    let on_mini_batch = args.by.iter().any(Criterion::on_mini_batch);
    let proxy_batch = args.proxy_batch.is_some() && !on_mini_batch;
    args::without_effect([("--proxy-batch", proxy_batch)], "no proxy is measured on images")?;
    let proxy_batch = args.proxy_batch.unwrap_or(ImportanceConfig::default().proxy_batch_size);
    let stop = cx.interrupt()?;
    let threads = Some(args.threads.get());
    let here = Here { home: cx.home().ok(), data: args.data, threads };
    let mut loading = |event| data::loading(&cx.out, &event);
    let observer = Box::new(SweepBar { out: cx.out.clone(), bar: ProgressBar::hidden(), total: 0 });
    let engines = |_: &nas::search::Plan| cpu_engines(threads);
    let mut study = Study::open(&args.run, args.epoch, &here, &mut loading, engines, observer, stop)?;
    let space = study.plan().candidates.space();
    let valid = study.plan().valid.len();
    for (option, number) in
        [("--images", args.images.unwrap_or(0)), ("--proxy-batch", if on_mini_batch { proxy_batch } else { 0 })]
    {
        if number > valid {
            bail!("{option} {number} is more than the {valid} images of D_val");
        }
    }
    let none = column(space, OpName::NONE);
    let pruner = Pruner::new(NoneRule::First, none);
    let config = ImportanceConfig {
        fraction: 1.0,
        images: args.images.and_then(NonZeroUsize::new).into(),
        proxy_batch_size: proxy_batch,
        ..Default::default()
    };
    let known = (space.name() == NasBench201.name()).then(|| outcome::open_table(cx, "truth")).flatten();
    let mut sweeps: Vec<Measured> = Vec::new();
    for sample in 0..args.samples {
        for by in &args.by {
            let began = Instant::now();
            // A sweep by accuracy has measured the loss as well, and the other way round.
            let before = sweeps.iter().filter(|m| m.sample == sample);
            let before = before.filter_map(|m| Some((m.table.by(by.single()?)?, m.seconds))).next();
            let (table, seconds) = match before {
                Some(before) => before,
                None => (study.importance(by, &config, sample)?, began.elapsed().as_secs_f64()),
            };
            let least = pruner.least_important(&table, args.pop);
            let dropped = pruner.all_but_best(&table);
            let best: Vec<OpAt> = study.mask().alive().filter(|at| !dropped.contains(at)).collect();
            let best = genotype(space, &best)?;
            let row = space.table_index(&best).and_then(|index| Arch::from_index(index).ok());
            let cifar10_valid = known.as_ref().zip(row).and_then(|(table, row)| table.value(Column::Cifar10Valid, row));
            let arch = space.text(&best)?;
            sweeps.push(Measured { by: by.clone(), sample, seconds, least, arch, cifar10_valid, table });
        }
    }
    let truth = known.as_ref().and_then(truth);
    if args.json {
        return cx.out.json(&serde_json::json!({
            "run": args.run,
            "epochs": study.epochs(),
            "edges": space.edge_names(),
            "ops": space.ops().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "sweeps": sweeps,
            "truth": truth,
        }));
    }
    cx.out.data(format_args!("{} after {} epochs\n", args.run.display(), study.epochs()))?;
    for measured in sweeps.iter().filter(|m| m.sample == 0) {
        cx.out.data(format_args!("{}", show(measured, space)))?;
    }
    if let Some(truth) = &truth {
        for (values, what) in [(&truth.all, "all architectures"), (&truth.best_tenth, "the best tenth")] {
            let title = format!("Table: CIFAR-10 validation accuracy with the operation minus without, {what}\n");
            cx.out.data(format_args!("{title}{}", grid(space, |at| Some(values[at]))))?;
        }
    }
    let rows = candidates(&sweeps, truth.as_ref());
    if rows.len() > 1 {
        cx.out.data(format_args!("Agreement of the orders\n{}", agreement(&rows, none)))?;
    }
    Ok(())
}

fn truth(table: &benchmark::Table) -> Option<Truth> {
    let of = |top| table.marginals(Column::Cifar10Valid, top);
    Some(Truth { all: of(1.0)?, best_tenth: of(0.1)? })
}

/// A table of numbers, a row per edge.
fn grid(space: &dyn SearchSpace, value: impl Fn(OpAt) -> Option<f64>) -> Table {
    let heads: Vec<String> = space.ops().iter().map(ToString::to_string).collect();
    let mut rows = Table::with_heads(
        std::iter::once(("edge", Align::Left)).chain(heads.iter().map(|h| (h.as_str(), Align::Right))),
    );
    for (edge, name) in space.edge_names().into_iter().enumerate() {
        let cell = |op| value((edge, op)).map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"));
        rows.row(std::iter::once(name).chain((0..heads.len()).map(cell)));
    }
    rows
}

fn show(measured: &Measured, space: &dyn SearchSpace) -> String {
    let Measured { by, seconds, least, arch, cifar10_valid, table, .. } = measured;
    let unit = match by.single() {
        Some(Performance::Accuracy) => "points",
        Some(Performance::Loss | Performance::NetPerfProxy | Performance::Naswot) => "nats",
        Some(Performance::Params | Performance::Flops) => "millions",
        Some(Performance::Swap) => "patterns",
        Some(Performance::GradNorm | Performance::Snip | Performance::Synflow | Performance::JacobCov) => {
            "units of the score"
        }
        None => "multiples of the mean size",
    };
    let grid = grid(space, |at| table.importance[at].as_ref().map(|v| v.0));
    let names = |edge: usize| {
        let ops: Vec<String> =
            least.iter().filter(|(e, _)| *e == edge).map(|&(_, op)| space.ops()[op].to_string()).collect();
        ops.join(" ")
    };
    let goes: Vec<String> = (0..space.edge_names().len()).map(names).collect();
    let valid = cifar10_valid.map_or_else(String::new, |v| format!(": {v:.2} % on CIFAR-10 validation by the table"));
    format!(
        "Importance by {by}, {unit} ({} images, {seconds:.1} s)\n{grid}least important: {}\nmost important: {arch}{valid}\n",
        table.images,
        goes.join(" | ")
    )
}

/// Everything that orders the operations, by name.
fn candidates(sweeps: &[Measured], truth: Option<&Truth>) -> Vec<(String, PerOp<Option<f64>>)> {
    let many = sweeps.iter().any(|m| m.sample > 0);
    let measured = sweeps.iter().map(|m| {
        let name = if many { format!("{} {}", m.by, m.sample + 1) } else { m.by.to_string() };
        (name, m.table.importance.map(|v| v.as_ref().map(|v| v.0)))
    });
    let tables = truth.into_iter().flat_map(|t| [("table", &t.all), ("table, best tenth", &t.best_tenth)]);
    measured.chain(tables.map(|(name, values)| (name.to_owned(), values.map(|&v| Some(v))))).collect()
}

fn agreement(rows: &[(String, PerOp<Option<f64>>)], none: Option<usize>) -> Table {
    let heads = rows.iter().map(|(name, _)| (name.as_str(), Align::Right));
    let mut table = Table::with_heads(std::iter::once(("rho", Align::Left)).chain(heads));
    for (name, a) in rows {
        let cells =
            rows.iter().map(|(_, b)| rank_agreement(a, b, none).map_or_else(|| "-".to_owned(), |v| format!("{v:.2}")));
        table.row(std::iter::once(name.clone()).chain(cells));
    }
    table
}

/// A bar for the sweep that is being made.
struct SweepBar {
    out: Output,
    bar: ProgressBar,
    total: usize,
}

impl Observer for SweepBar {
    fn notice(&mut self, notice: Notice<'_>) {
        if let Notice::Sweep { what, done, of } = notice {
            if self.total != of || done == 1 {
                self.bar.finish_and_clear();
                self.bar = self.out.bar("importance", of as u64);
                self.total = of;
            }
            self.bar.set_message(what.to_owned());
            self.bar.set_position(done as u64);
            if done == of {
                self.bar.finish_and_clear();
            }
        }
    }
}

impl Drop for SweepBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn performances_are_read_or_explained() {
        assert_eq!(named("loss"), Ok(Criterion::from(Performance::Loss)));
        assert!(named::<Criterion>("losses").unwrap_err().contains("`losses`, expected `accuracy`"));
    }
}
