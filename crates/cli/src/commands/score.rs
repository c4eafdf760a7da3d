//! `score`: training-free scores of discrete networks, and how well they rank what the benchmark has trained.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result};
use nas::{
    data::DatasetName,
    engines,
    proxy::{self, Candidate, Proxy},
    space::{Arch, nas_bench_201},
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

use super::{
    outcome,
    ranking::{self, Accuracies, Scored},
    scoring::{Inputs, Loaded, blame},
};
use crate::{args, context::Context, error::Interrupted};

/// Score NAS-Bench-201 architectures without training.
///
/// Every network is scored at random initialisation, all of them on the same images, without augmentation and with
/// the statistics of the batch. Higher is better. If the NAS-Bench-201 table has been imported, the rank correlations
/// with its accuracies follow, beside those of the plain parameter count, which a proxy must beat.
///
/// With --all every score is computed: the architectures with their scores, then for each proxy the seconds that an
/// architecture takes and, with the table, Spearman's rho and Kendall's tau.
///
/// With --json, standard output is one array of {"arch", "score", "seconds"} and nothing else; a score of minus infinity
/// (the kernel matrix is singular: the network cannot tell its inputs apart) is written as null. With --all it is one
/// object {"architectures": [{"arch", "scores"}], "proxies": [{"proxy", "seconds", "correlations"}]}: "scores" has a number
/// for each proxy, "correlations" (null without the table) an {"accuracy", "spearman", "kendall"} for each accuracy.
#[derive(Debug, clap::Args)]
#[command(
    group(clap::ArgGroup::new("which").required(true).args(["archs", "sample"])),
    group(clap::ArgGroup::new("by").required(true).args(["proxy", "all"]))
)]
pub struct Args {
    /// Which score: see `hpe-darts list proxies`.
    #[arg(long, value_name = "NAME", value_parser = proxy::find)]
    proxy: Option<&'static dyn Proxy>,
    /// Every score of `hpe-darts list proxies`.
    #[arg(long)]
    all: bool,
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
    /// Seed of the weights, the images and the sample [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Training images that the networks are scored on, 2 to 4096 [default: 64].
    #[arg(long, value_name = "N", value_parser = args::count(2, 4096))]
    batch: Option<usize>,
    /// Channels of the first stage, 1 to 1024.
    #[arg(long, value_name = "C", default_value_t = 16, value_parser = args::count(1, 1024))]
    channels: usize,
    /// Cells of each stage, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = args::count(1, 100))]
    cells: usize,
    #[command(flatten)]
    threads: args::Threads,
    /// Print JSON (default: lines of score, seconds, architecture; with --all tables).
    #[arg(long)]
    json: bool,
}

/// Scores the architectures.
///
/// # Errors
/// An option has no effect, the data set cannot be read, the batch is larger than it, the threads cannot be started, or Ctrl-C was pressed.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let interrupt = cx.interrupt()?;
    let proxies = args.proxy.map_or_else(|| proxy::all().to_vec(), |proxy| vec![proxy]);
    let random = args.sample.is_some() || proxies.iter().any(|p| p.is_random());
    args::without_effect([("--seed", !random && args.seed.is_some())], "the score only counts")?;
    let seed = args.seed.unwrap_or(0);
    let archs = match args.sample {
        Some(n) => Arch::sample_distinct(n, &mut ChaCha8Rng::seed_from_u64(seed))?,
        None => args.archs.clone(),
    };
    let inputs = Inputs {
        images: proxies.iter().any(|p| p.needs_images()),
        dataset: args.dataset,
        data: args.data.clone(),
        no_verify: args.no_verify,
        batch: args.batch,
        seed,
        channels: args.channels,
        cells: args.cells,
    };
    let loaded = inputs.load(cx)?;
    let table = if archs.len() > 1 { outcome::open_table(cx, "correlations") } else { None };
    let mut scored = score(&args, &archs, &proxies, &loaded, &interrupt, cx)?;
    ranking::combine(&proxies, &mut scored);

    let accuracies = table.map(|table| Accuracies::new(&table, &scored));
    let ranked = ranking::rank(&proxies, &scored, accuracies.as_ref());
    match (args.all, args.json) {
        (false, false) if streams(&args) => {}
        (false, false) => scored.iter().try_for_each(|s| cx.out.data(line(s)))?,
        (false, true) => cx.out.json(&scored.iter().map(as_json).collect::<Vec<_>>())?,
        (true, false) => {
            let (scores, tables) = (ranking::scores(&proxies, &scored), ranking::tables(&ranked, scored.len()));
            cx.out.data(format_args!("{scores}\n{tables}"))?;
        }
        (true, true) => {
            let architectures: Vec<Value> = scored.iter().map(|s| s.json(&proxies)).collect();
            cx.out.json(&json!({ "architectures": architectures, "proxies": ranked }))?;
        }
    }
    for (i, proxy) in proxies.iter().enumerate() {
        let negative = scored.iter().filter(|s| s.scores[i].sign < 0).count();
        if negative > 0 {
            let of = if args.all { format!("{}: ", proxy.name()) } else { String::new() };
            cx.out.note(format_args!("note: {of}det K is negative for {negative} of {} architectures", scored.len()));
        }
    }
    if interrupt.load(Ordering::Relaxed) {
        cx.out.note(format_args!("interrupted: {} architectures scored", scored.len()));
        return Err(Interrupted.into());
    }
    if let (false, [one], Some(accuracies)) = (args.all, &ranked[..], &accuracies) {
        let correlations = ranking::beside_params(one, &scored, accuracies);
        match args.json {
            true => cx.out.note(correlations.trim_end()),
            false => cx.out.data(format_args!("\n{correlations}"))?,
        }
    }
    Ok(())
}

/// By every proxy, until Ctrl-C; lines of a single one are printed as they come.
fn score(
    args: &Args,
    archs: &[Arch],
    proxies: &[&'static dyn Proxy],
    Loaded { shape, images, labels }: &Loaded,
    interrupt: &AtomicBool,
    cx: &Context,
) -> Result<Vec<Scored>> {
    let engines = engines::cpu(args.threads.get())?;
    let costs = nas_bench_201::network_costs(shape).map_err(blame)?;
    let bar = cx.out.bar(args.proxy.map_or("all proxies", |p| p.name()), archs.len() as u64);
    let mut all = Vec::with_capacity(archs.len());
    for &arch in archs {
        let spec = arch.network_spec(shape);
        let cost = costs.of(&spec.alive);
        let candidate =
            Candidate { spec: &spec, cost, images, labels, seed: args.seed.unwrap_or(0), engines: &*engines };
        let mut scored =
            Scored { arch, parameters: cost.parameters, scores: vec![], measured: vec![], seconds: vec![] };
        for proxy in proxies {
            if interrupt.load(Ordering::Relaxed) {
                bar.finish_and_clear();
                return Ok(all);
            }
            let start = Instant::now();
            let scoring = || format!("scoring {arch} by {}", proxy.name());
            let measured = proxy.composite().map_or(Ok(vec![]), |composite| composite.measure(&candidate));
            scored.measured.push(measured.map_err(blame).with_context(scoring)?);
            scored.scores.push(proxy.score(&candidate).map_err(blame).with_context(scoring)?);
            scored.seconds.push(start.elapsed().as_secs_f64());
        }
        if streams(args) {
            bar.suspend(|| cx.out.data(line(&scored)))?;
        }
        all.push(scored);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// Whether lines are printed as they come: one score, which does not wait for the other architectures.
fn streams(args: &Args) -> bool {
    !args.json && args.proxy.is_some_and(|proxy| proxy.composite().is_none())
}

/// The only score.
fn line(Scored { arch, scores, seconds, .. }: &Scored) -> String {
    format!("{:>12.4}  {:>8.3} s  {arch}", scores[0].value, seconds[0])
}

/// JSON has no infinity: serde_json writes null.
fn as_json(Scored { arch, scores, seconds, .. }: &Scored) -> Value {
    json!({ "arch": arch.to_string(), "score": scores[0].value, "seconds": seconds[0] })
}
