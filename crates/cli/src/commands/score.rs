//! `score`: training-free scores of discrete networks, and how well they rank what the benchmark has trained.

use std::{path::PathBuf, sync::atomic::Ordering, time::Instant};

use anyhow::{Context as _, Result};
use nas::{
    benchmark::{self, BenchmarkDataset},
    data::DatasetName,
    engines,
    proxy::{self, Candidate, Proxy, Score, correlation},
    space::{Arch, nas_bench_201},
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde::Serialize;

use super::scoring::{Inputs, blame};
use crate::{
    args,
    context::Context,
    error::Interrupted,
    render::{Align, Table},
};

/// Score NAS-Bench-201 architectures without training.
///
/// Every network is scored at random initialisation, all of them on the same images, without augmentation and with
/// the statistics of the batch. Higher is better. If the NAS-Bench-201 table has been imported, the rank correlations
/// with its accuracies follow, beside those of the plain parameter count, which a proxy must beat.
///
/// With --json, standard output is one array of {"arch", "score", "seconds"} and nothing else; a score of minus infinity
/// (the kernel matrix is singular: the network cannot tell its inputs apart) is written as null.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["archs", "sample"])))]
pub struct Args {
    /// Which score: see `hpe-darts list proxies`.
    #[arg(long, value_name = "NAME", value_parser = proxy::find)]
    proxy: &'static dyn Proxy,
    /// Architectures to score, as `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
    #[arg(long = "arch", value_name = "A", num_args = 1..)]
    archs: Vec<Arch>,
    /// Score N different architectures drawn at random, 1 to 15625.
    #[arg(long, value_name = "N", value_parser = args::count(1, nas_bench_201::ARCHITECTURES))]
    sample: Option<usize>,
    /// Data set: see `hpe-darts list datasets` [default: digits; cifar10 with --data and for a proxy that needs
    /// no images].
    #[arg(long, value_name = "D", value_parser = args::dataset)]
    dataset: Option<DatasetName>,
    /// Folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Accept files that are well-formed but not the official ones.
    #[arg(long)]
    no_verify: bool,
    /// Seed of the weights, the images and the sample.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Training images that the networks are scored on, 2 to 4096.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = args::count(2, 4096))]
    batch: usize,
    /// Channels of the first stage, 1 to 1024.
    #[arg(long, value_name = "C", default_value_t = 16, value_parser = args::count(1, 1024))]
    channels: usize,
    /// Cells of each stage, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = args::count(1, 100))]
    cells: usize,
    #[command(flatten)]
    threads: args::Threads,
    /// Print JSON (default: lines of score, seconds, architecture).
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Scored {
    #[serde(serialize_with = "as_text")]
    arch: Arch,
    /// JSON has no infinity: serde_json writes null.
    score: f64,
    seconds: f64,
    #[serde(skip)]
    parameters: u64,
}

fn as_text<S: serde::Serializer>(arch: &Arch, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(arch)
}

/// Scores the architectures.
///
/// # Errors
/// The data set cannot be read, the batch is larger than it, the threads cannot be started, or Ctrl-C was pressed.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let interrupt = cx.interrupt()?;
    let archs = match args.sample {
        Some(n) => Arch::sample_distinct(n, &mut ChaCha8Rng::seed_from_u64(args.seed))?,
        None => args.archs.clone(),
    };
    let inputs = Inputs {
        proxy: args.proxy,
        dataset: args.dataset,
        data: args.data.clone(),
        verify: !args.no_verify,
        batch: args.batch,
        seed: args.seed,
        channels: args.channels,
        cells: args.cells,
    };
    let (shape, images) = inputs.load(cx)?;
    let table = if archs.len() > 1 { super::outcome::open_table(cx, "correlations") } else { None };
    let engines = engines::cpu(args.threads.get())?;
    let costs = nas_bench_201::network_costs(&shape).map_err(blame)?;

    let bar = cx.out.bar(args.proxy.name(), archs.len() as u64);
    let mut scored = Vec::with_capacity(archs.len());
    let mut indefinite = 0;
    for arch in archs {
        if interrupt.load(Ordering::Relaxed) {
            break;
        }
        let spec = arch.network_spec(&shape);
        let start = Instant::now();
        let cost = costs.of(&spec.alive);
        let candidate = Candidate { spec: &spec, cost, images: &images, seed: args.seed, engines: &*engines };
        let Score { value: score, sign } =
            args.proxy.score(&candidate).map_err(blame).with_context(|| format!("scoring {arch}"))?;
        let seconds = start.elapsed().as_secs_f64();
        indefinite += usize::from(sign < 0);
        if !args.json {
            bar.suspend(|| cx.out.data(format_args!("{score:>12.4}  {seconds:>8.3} s  {arch}")))?;
        }
        scored.push(Scored { arch, score, seconds, parameters: cost.parameters });
        bar.inc(1);
    }
    bar.finish_and_clear();

    if args.json {
        cx.out.json(&scored)?;
    }
    if indefinite > 0 {
        cx.out.note(format_args!("note: det K is negative for {indefinite} of {} architectures", scored.len()));
    }
    if interrupt.load(Ordering::Relaxed) {
        cx.out.note(format_args!("interrupted: {} architectures scored", scored.len()));
        return Err(Interrupted.into());
    }
    if let Some(table) = table {
        let correlations = correlations(&args, &scored, &table);
        match args.json {
            true => cx.out.note(correlations.trim_end()),
            false => cx.out.data(format_args!("\n{correlations}"))?,
        }
    }
    Ok(())
}

fn correlations(args: &Args, scored: &[Scored], table: &benchmark::Table) -> String {
    let scores: Vec<f64> = scored.iter().map(|s| s.score).collect();
    let params: Vec<f64> = scored.iter().map(|s| s.parameters as f64).collect();
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
    let mut rows = Table::new([
        ("accuracy", Align::Left),
        ("spearman", Align::Right),
        ("kendall", Align::Right),
        ("params: spearman", Align::Right),
        ("kendall", Align::Right),
    ]);
    for dataset in BenchmarkDataset::ALL {
        for split in benchmark::Split::ALL {
            let accuracy = |s: &Scored| table.accuracy(dataset, split, benchmark::Epochs::TwoHundred, s.arch);
            let accuracies: Vec<f64> = scored.iter().map(accuracy).collect();
            rows.row([
                format!("{} {}", dataset.name(), split.name()),
                show(correlation::spearman(&scores, &accuracies)),
                show(correlation::kendall(&scores, &accuracies)),
                show(correlation::spearman(&params, &accuracies)),
                show(correlation::kendall(&params, &accuracies)),
            ]);
        }
    }
    let (proxy, n) = (args.proxy.name(), scored.len());
    format!("Rank correlation of {proxy} with the accuracy after 200 epochs, {n} architectures:\n{rows}")
}
