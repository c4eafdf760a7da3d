//! `bench`: checks the engine's results, then times it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use engine::{
    Batch, Codes, Engine, Engines, Gradients, ImageShape, NetworkSpec, Normalisation, Op, Pass, Sgd, StepOutput,
    TensorState, Vector,
};
use nas::{
    engines::{self, Kernels},
    proxy::{
        Score,
        net_perf_proxy::{self, Kernel},
    },
    sniff,
    space::{self, NasBench201, NetworkShape, OpName, SearchSpace, Size},
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::files;
use crate::{
    args,
    context::Context,
    error::{HintExt, Internal},
    render::{Align, Table},
};

/// Check the engine's results, then time it: a supernet on random images of 32 x 32.
///
/// The check compares loss and gradients of the fast kernels with plain loops, and of several threads with one; a
/// difference beyond rounding ends the command with exit code 2. Each task is then timed over several rounds; medians
/// are printed, with the direct convolution's operations per second and its share of the machine's own peak
/// (Winograd needs fewer, so the share can exceed 100 %). Machines are noisy: compare figures of one run only.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Images of a batch, 1 to 4096.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = args::count(1, 4096))]
    batch: usize,
    /// Search space: see `hpe-darts list spaces`.
    #[arg(long, value_name = "NAME", default_value = "nas-bench-201", value_parser = space::find)]
    space: &'static dyn SearchSpace,
    /// Channels of the first stage, 1 to 1024 [default: those of the space's paper, 16].
    #[arg(long, value_name = "C", value_parser = args::count(1, 1024))]
    channels: Option<usize>,
    /// Cells, 1 to 100: of each stage, or of the whole network in the DARTS space [default: those of the space's paper, 5
    /// and 8].
    #[arg(long, value_name = "N", value_parser = args::count(1, 100))]
    cells: Option<usize>,
    /// Operations alive on each edge, at least 1: none goes first, then pooling, skip, convolutions in the order of the
    /// space [default: all].
    #[arg(long, value_name = "N", value_parser = args::count(1, 100))]
    alive: Option<usize>,
    /// Operations alive on each edge by name, separated by commas, instead of --alive; see `hpe-darts list ops`
    /// [default: as --alive says].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "alive")]
    ops: Vec<OpName>,
    /// Timed rounds of each task, after one that is not counted; 1 to 1000. A sweep over more than 100 operations is timed once.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = args::count(1, 1000))]
    rounds: usize,
    /// Kernels of the 3x3 convolutions.
    #[arg(long, value_name = "K", default_value = "auto")]
    kernels: KernelChoice,
    #[command(flatten)]
    threads: args::Threads,
    /// Write the result to this file, as a baseline for later [default: not written].
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print ratios to a result that was saved on the same machine [default: none]. Reported, never a failure.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Columns of the operations that are alive.
    fn alive_ops(&self) -> Result<Vec<usize>> {
        let all = self.space.ops();
        let names = || all.iter().map(|op| op.as_str()).collect::<Vec<_>>().join(", ");
        if !self.ops.is_empty() {
            if let Some(op) = self.ops.iter().find(|op| !all.contains(op)) {
                bail!("--ops {op}: `{}` has no such operation, expected some of {}", self.space.name(), names());
            }
            return Ok((0..all.len()).filter(|&column| self.ops.contains(&all[column])).collect());
        }
        let alive = self.alive.unwrap_or(all.len());
        ensure!(
            alive <= all.len(),
            "--alive {alive}: `{}` has {} operations: {}",
            self.space.name(),
            all.len(),
            names()
        );
        // What a search removes first goes first.
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&column| match all[column] {
            OpName::NONE => 0,
            op if op.has_weights() => 3,
            OpName::SKIP_CONNECT => 2,
            _ => 1,
        });
        let mut left = order.split_off(all.len() - alive);
        left.sort_unstable();
        Ok(left)
    }

    /// Channels and cells.
    fn size(&self) -> Size {
        let usual = self.space.supernet_size();
        Size { channels: self.channels.unwrap_or(usual.channels), cells: self.cells.unwrap_or(usual.cells) }
    }

    /// The supernet that is timed.
    fn supernet(&self) -> Result<NetworkSpec> {
        supernet(self.space, self.size(), &self.alive_ops()?)
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KernelChoice {
    /// The fastest for each shape.
    Auto,
    /// Direct convolution.
    Direct,
    /// Winograd F(4x4, 3x3).
    Winograd,
    /// Plain loops (very slow).
    Reference,
}

impl From<KernelChoice> for Kernels {
    fn from(choice: KernelChoice) -> Self {
        match choice {
            KernelChoice::Auto => Kernels::Auto,
            KernelChoice::Direct => Kernels::Direct,
            KernelChoice::Winograd => Kernels::Winograd,
            KernelChoice::Reference => Kernels::Reference,
        }
    }
}

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    version: String,
    #[serde(default = "first_space")]
    space: String,
    simd: String,
    threads: usize,
    batch: usize,
    channels: usize,
    cells: usize,
    /// Names of the operations that are alive.
    ops: Vec<String>,
    kernels: String,
    rounds: usize,
    peak_gflops: f64,
    check: Check,
    works: Vec<Work>,
    /// Largest memory of the process so far; `None` where the system does not say.
    peak_memory_mb: Option<f64>,
}

/// The one space that reports without a name are of.
fn first_space() -> String {
    NasBench201.name().to_owned()
}

/// Relative differences (norm of the difference over norm) between the fast kernels and plain loops.
#[derive(Debug, Serialize, Deserialize)]
struct Check {
    loss: f64,
    mixing_gradient: f64,
    weight_gradient: f64,
    threads_agree_to_the_bit: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Work {
    work: String,
    milliseconds: f64,
    fastest: f64,
    gflops: f64,
}

/// Checks, times, prints.
///
/// # Errors
/// The check failed, the threads cannot be started, or a file cannot be read or written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    if let Some(path) = &args.save {
        files::check([&**path], true)?;
    }
    let baseline = args.baseline.as_ref().map(|path| read(path, &args)).transpose()?;
    let spec = args.supernet()?;
    let threads = args.threads.get();
    let engines = engines::cpu_with(threads, args.kernels.into())?;
    let check = check(args.space, threads, args.kernels.into()).map_err(|e| anyhow::Error::new(Internal(e)))?;
    cx.out.note("checked: fast kernels agree with plain loops");
    let peak_gflops = engines::peak_gflops(threads)?;
    let works = time(&args, &spec, &*engines, cx)?;
    let Size { channels, cells } = args.size();
    let names = args.space.ops();
    let report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        simd: engines.info().instruction_set,
        threads,
        batch: args.batch,
        space: args.space.name().to_owned(),
        channels,
        cells,
        ops: args.alive_ops()?.into_iter().map(|op| names[op].to_string()).collect(),
        kernels: engines.info().kernels,
        rounds: args.rounds,
        peak_gflops,
        check,
        works,
        peak_memory_mb: peak_memory(),
    };
    if let Some(baseline) = &baseline {
        let how =
            |r: &Report| format!("{} with {} threads, {} kernels, version {}", r.simd, r.threads, r.kernels, r.version);
        if how(baseline) != how(&report) {
            cx.out.note(format_args!("note: the baseline was measured on {}", how(baseline)));
        }
    }
    if let Some(path) = &args.save {
        let text = serde_json::to_string_pretty(&report).context("cannot write the result as JSON")?;
        files::write(&[(path, text)])?;
    }
    if args.json { cx.out.json(&report) } else { cx.out.data(show(&report, baseline.as_ref())) }
}

/// A saved result, which must be one of the same work.
fn read(path: &Path, args: &Args) -> Result<Report> {
    let text = sniff::read_text(path)
        .with_context(|| format!("cannot read the baseline {}", path.display()))
        .hint("make one with `hpe-darts bench --save FILE`")?;
    let report: Report = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a saved result of bench", path.display()))
        .hint("make one with `hpe-darts bench --save FILE`")?;
    let Size { channels, cells } = args.size();
    let ops = args.alive_ops()?.into_iter().map(|op| args.space.ops()[op].to_string()).collect::<Vec<_>>();
    let settings = [
        ("the space", report.space.clone(), args.space.name().to_owned()),
        ("--batch", report.batch.to_string(), args.batch.to_string()),
        ("--channels", report.channels.to_string(), channels.to_string()),
        ("--cells", report.cells.to_string(), cells.to_string()),
        ("--ops", report.ops.join(","), ops.join(",")),
    ];
    let other = settings.iter().find(|(_, there, now)| there != now);
    if let Some((key, there, now)) = other {
        bail!("{} was measured with {key} {there}, and this is {key} {now}: expected the same", path.display());
    }
    Ok(report)
}

/// A supernet on images of 32 x 32 with these operations on every edge.
fn supernet(space: &dyn SearchSpace, size: Size, alive: &[usize]) -> Result<NetworkSpec> {
    let Size { channels, cells } = size;
    let image = ImageShape { height: 32, width: 32, channels: 3 };
    let mut spec = space.supernet(&NetworkShape { image, classes: 10, channels, cells, stem_stride: 1 })?;
    let ops = spec.ops.len();
    spec.alive.iter_mut().enumerate().for_each(|(eo, a)| *a = alive.contains(&(eo % ops)));
    Ok(spec)
}

struct Inputs {
    images: Vec<f32>,
    labels: Vec<u32>,
    w: Vec<f32>,
}

fn inputs(spec: &NetworkSpec, batch: usize) -> Inputs {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut uniform = || rng.next_u32() as f32 / u32::MAX as f32;
    Inputs {
        images: (0..batch * spec.image.len()).map(|_| 4.0 * uniform() - 2.0).collect(),
        labels: (0..batch as u32).map(|i| i % spec.classes as u32).collect(),
        w: vec![1.0 / spec.ops.len() as f32; spec.mixing_len()],
    }
}

fn check(space: &dyn SearchSpace, threads: usize, kernels: Kernels) -> Result<Check> {
    let all: Vec<usize> = (0..space.ops().len()).collect();
    // The smallest that has cells of every kind.
    let cells = if space.kinds().len() > 1 { 3 } else { 1 };
    let spec = supernet(space, Size { channels: 16, cells }, &all)?;
    let Inputs { images, labels, w } = inputs(&spec, 8);
    let step = |kernels, threads| -> Result<(StepOutput, Vec<TensorState>)> {
        let mut network = engines::cpu_with(threads, kernels)?.build(&spec, 1)?;
        let out = network.train_step(Batch { images: &images, labels: &labels }, Pass::new(&w), Gradients::Both)?;
        Ok((out, network.tensors(Vector::Gradient)?))
    };
    let (reference, fast, single) = (step(Kernels::Reference, threads)?, step(kernels, threads)?, step(kernels, 1)?);
    let flat = |g: &[TensorState]| g.iter().flat_map(|t| t.data.iter().map(|&v| f64::from(v))).collect::<Vec<_>>();
    let check = Check {
        loss: (fast.0.loss - reference.0.loss).abs() / reference.0.loss,
        mixing_gradient: difference(&fast.0.mixing_grad, &reference.0.mixing_grad),
        weight_gradient: difference(&flat(&fast.1), &flat(&reference.1)),
        threads_agree_to_the_bit: fast == single,
    };
    // A value within rounding of zero may fall on the other side of a ReLU, which moves gradients by some tenths of a
    // percent in so small a batch; a wrong kernel moves them by far more.
    ensure!(check.loss < 1e-5, "the loss differs from that of plain loops by {:e} (relative)", check.loss);
    let worst = check.mixing_gradient.max(check.weight_gradient);
    ensure!(worst < 2e-2, "gradients differ from those of plain loops by {worst:e} of their norm");
    if !check.threads_agree_to_the_bit {
        bail!("{threads} threads and 1 thread do not agree to the bit");
    }
    Ok(check)
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

fn time(args: &Args, spec: &NetworkSpec, engines: &dyn Engines, cx: &Context) -> Result<Vec<Work>> {
    let Inputs { images, labels, w } = inputs(spec, args.batch);
    let alive = spec.alive.iter().filter(|&&alive| alive).count();
    let others: Vec<f32> = images.iter().map(|v| -v).collect();
    let batch = Batch { images: &images, labels: &labels };
    let mut network = engines.build(spec, 1)?;
    let pass = Pass::new(&w);
    let sgd = Sgd { momentum: 0.9, nesterov: false, weight_decay: 3e-4, clip_norm: Some(5.0) };
    let forward = 2.0 * spec.graph()?.cost().multiply_adds as f64 * args.batch as f64 / 1e9;
    let works = ["training step", "step for alpha only", "evaluation", "evaluation with codes", SWEEP];
    let rounds = |work: &str| if work == SWEEP && alive > LONG_SWEEP { 0 } else { args.rounds };
    let bar = cx.out.bar("bench", works.iter().map(|work| rounds(work) as u64 + 1).sum());
    let mut report = vec![];
    for (i, work) in works.into_iter().enumerate() {
        let mut seconds = vec![];
        for round in 0..=rounds(work) {
            // Over the same images an evaluation would go on from the one before, as those of a sweep do.
            let images = [&images, &others][round % 2];
            let start = Instant::now();
            match i {
                0 => {
                    network.train_step(batch, pass, Gradients::Both)?;
                    network.sgd_step(&sgd, 1e-4);
                }
                1 => drop(network.train_step(batch, pass, Gradients::Mixing)?),
                2 => drop(network.evaluate(Batch { images, ..batch }, pass, Normalisation::Batch)?),
                3 => drop(network.code_distances(images, pass, Codes::OpOutputs)?),
                _ => sweep(&mut *network, spec, images, &w)?,
            }
            seconds.push(start.elapsed().as_secs_f64());
            bar.inc(1);
        }
        // The first round fills memory and caches.
        let mut seconds = if seconds.len() > 1 { seconds.split_off(1) } else { seconds };
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        // Of a sweep: an evaluation for each operation, as if `none` were not known to change nothing.
        let passes = [3.0, 2.0, 1.0, 1.0, alive as f64][i];
        report.push(Work {
            work: work.to_owned(),
            milliseconds: median * 1e3,
            fastest: seconds[0] * 1e3,
            gflops: passes * forward / median,
        });
    }
    bar.finish_and_clear();
    Ok(report)
}

const SWEEP: &str = "importance sweep";
/// A sweep over more operations takes a minute, and is itself a median of as many evaluations: once is enough.
const LONG_SWEEP: usize = 100;

/// What an importance sweep by NetPerfProxy does: codes and determinant of the supernet and of the supernet without each
/// operation; without `none` it is the whole one.
fn sweep(network: &mut dyn Engine, spec: &NetworkSpec, images: &[f32], w: &[f32]) -> Result<()> {
    let ops = spec.ops.len();
    let mut score = |w: &[f32]| -> Result<Score> {
        let distances = network.code_distances(images, Pass::new(w), Codes::OpOutputs)?;
        Ok(net_perf_proxy::score(&distances, w, Kernel::Agreement))
    };
    std::hint::black_box(score(w)?);
    for eo in (0..w.len()).filter(|&eo| spec.alive[eo] && spec.ops[eo % ops] != Op::None) {
        let mut without = w.to_vec();
        without[eo] = 0.0;
        std::hint::black_box(score(&without)?);
    }
    Ok(())
}

fn show(report: &Report, baseline: Option<&Report>) -> String {
    let mut table = Table::new([
        ("work", Align::Left),
        ("ms", Align::Right),
        ("fastest", Align::Right),
        ("GFLOP/s", Align::Right),
        ("of peak", Align::Right),
        (if baseline.is_some() { "ms / baseline" } else { "" }, Align::Right),
    ]);
    for w in &report.works {
        let before = baseline.and_then(|b| b.works.iter().find(|o| o.work == w.work));
        table.row([
            w.work.clone(),
            format!("{:.1}", w.milliseconds),
            format!("{:.1}", w.fastest),
            format!("{:.0}", w.gflops),
            format!("{:.0} %", 100.0 * w.gflops / report.peak_gflops),
            before.map_or(String::new(), |o| format!("{:.3}", w.milliseconds / o.milliseconds)),
        ]);
    }
    let ms = |name: &str| report.works.iter().find(|w| w.work == name).map_or(f64::NAN, |w| w.milliseconds);
    let edges = space::find(&report.space).map_or(0, |s| s.kinds().iter().map(|k| k.edges.len()).sum());
    let evaluations = edges * report.ops.len();
    let swept = ms(SWEEP) / (evaluations as f64 * ms("evaluation"));
    let memory = report.peak_memory_mb.map_or(String::new(), |mb| format!(", peak memory {mb:.0} MB"));
    format!(
        "{} supernet, 32 x 32, batch {}, C {}, N {}, {} on every edge, {} kernels\n\
         {} with {} threads, peak {:.0} GFLOP/s{memory}\n\n{table}\n\
         the sweep takes {swept:.2} times {evaluations} evaluations, one for each operation\n",
        report.space,
        report.batch,
        report.channels,
        report.cells,
        report.ops.join(" "),
        report.kernels,
        report.simd,
        report.threads,
        report.peak_gflops
    )
}

/// Largest resident memory of this process in MB, from Linux's accounting.
fn peak_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kb| kb * 1024.0 / 1e6)
}
