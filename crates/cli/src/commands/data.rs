//! `data`: getting data sets and looking at them. Also how every command reads one.

use std::{path::PathBuf, sync::atomic::Ordering};

use anyhow::{Result, anyhow};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use nas::data::{
    self, ChannelStatistics, DataError, Dataset, DatasetName, FetchOptions, FetchOutcome, FolderConfig, LoadEvent,
    LoadOptions, PartName, Split, SplitChoice, Verification,
};
use nas::files::as_text;
use nas::search::{TrainingConfig, parts::ImportanceConfig};
use serde::Serialize;

use crate::{
    args,
    context::Context,
    error::{HintExt, Interrupted},
    output::Output,
    render::{Align, Table},
};

/// Names another server's folder with the same archives, for mirrors and tests.
const BASE: &str = "HPE_DARTS_FETCH_BASE";

/// Download data sets and check them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Fetch(Fetch),
    Check(Check),
    Export(Export),
}

/// Download a data set from its official address.
///
/// Checks the MD5. Run the command again to continue an interrupted download. HPE_DARTS_FETCH_BASE names another
/// address with the same archives.
#[derive(Debug, clap::Args)]
struct Fetch {
    /// Which: cifar10 (163 MiB) or cifar100 (161 MiB).
    #[arg(value_parser = args::dataset)]
    dataset: DatasetName,
    /// Folder to put the archive in [default: the user's data directory, where every command looks].
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print a JSON object with `path`, `bytes`, `md5` and `outcome` (already-there, downloaded, resumed).
    #[arg(long)]
    json: bool,
}

/// Check a data set's files; print images per class, mean and deviation of the channels, and the split of a search.
#[derive(Debug, clap::Args)]
struct Check {
    /// Data set: see `hpe-darts list datasets` [default: digits; with --data, cifar10].
    #[arg(value_parser = args::dataset)]
    dataset: Option<DatasetName>,
    /// The data set, given as other commands take it [default: DATASET].
    #[arg(long = "dataset", value_name = "D", value_parser = args::dataset, conflicts_with = "dataset")]
    option: Option<DatasetName>,
    /// Folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Accept files that are well-formed but not the official ones.
    #[arg(long)]
    no_verify: bool,
    /// How the training images are split: auto, benchmark, first-half, half, folder or a JSON file with `train` and `valid`.
    #[arg(long, value_name = "SPLIT", default_value_t, value_parser = split)]
    split: SplitChoice,
    /// Seed of the split, where it is random [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    pictures: Pictures,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Write a data set as PNG pictures: OUT/train/CLASS/NUMBER.png and OUT/test/CLASS/NUMBER.png.
///
/// `--dataset folder --data OUT` reads them as it reads your own pictures.
#[derive(Debug, clap::Args)]
struct Export {
    /// Data set: see `hpe-darts list datasets` [default: digits].
    #[arg(long, value_name = "D", value_parser = args::dataset, default_value = "digits", hide_default_value = true)]
    dataset: DatasetName,
    /// Folder or archive of the data set [default: what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder to write to, new or empty.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
    /// Only this part [default: both].
    #[arg(long, value_name = "PART")]
    part: Option<ExportPart>,
    /// At most so many pictures of each class in each part [default: all].
    #[arg(long, value_name = "N", value_parser = args::count(1, usize::MAX >> 1))]
    most: Option<usize>,
    /// Accept files that are well-formed but not the official ones.
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    pictures: Pictures,
    /// Print a JSON object with `out` and the numbers of pictures in `train`, `val` and `test`.
    #[arg(long)]
    json: bool,
}

/// How own pictures are read.
#[derive(Debug, clap::Args)]
struct Pictures {
    /// Height and width of own pictures, for the data set folder [default: what fits them, at most 64].
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// How own pictures are read, one setting of data.folder, repeatable [default: none]:
    /// --set data.folder.max_bad_share=0.1
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Pictures {
    /// The settings, if they are for own pictures.
    fn config(&self, dataset: DatasetName) -> Result<FolderConfig> {
        let given =
            self.size.map(|size| format!("--size {size}")).or(self.set.first().map(|set| format!("--set {set}")));
        if let Some(given) = given.filter(|_| dataset != DatasetName::Folder) {
            return Err(anyhow!("{given} is for own pictures, the data set is {dataset}"))
                .hint("name the data set `folder`, with --data DIR");
        }
        let mut config = FolderConfig::default();
        for setting in &self.set {
            config.set(setting)?;
        }
        config.size = self.size.or(config.size);
        Ok(config)
    }
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ExportPart {
    Train,
    Test,
}

fn split(text: &str) -> Result<SplitChoice, String> {
    text.parse().map_err(|e: DataError| match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    })
}

/// Runs `data fetch`, `data check` or `data export`.
///
/// # Errors
/// As [`data::fetch()`], [`data::load`] and [`data::export()`]; standard output cannot be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        Command::Fetch(args) => fetch(args, cx),
        Command::Check(args) => check(args, cx),
        Command::Export(args) => export(args, cx),
    }
}

/// Where a command looks for a data set, and how strictly.
pub fn options(data: Option<PathBuf>, no_verify: bool, cx: &Context) -> LoadOptions {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    LoadOptions { data, home: cx.home().ok(), verify: !no_verify, threads, ..LoadOptions::default() }
}

/// Reads a data set and says on standard error what takes long.
///
/// # Errors
/// As [`data::load`].
pub fn load(name: DatasetName, options: &LoadOptions, cx: &Context) -> Result<Dataset> {
    load_with(name, options, &mut |event| loading(&cx.out, &event))
}

/// Says what takes its time while data is read.
pub fn loading(out: &Output, event: &LoadEvent) {
    match event {
        LoadEvent::Reading { .. } | LoadEvent::MayStop(_) | LoadEvent::Unreadable(_) => {}
        LoadEvent::Decoding { archive } => out.note(format_args!("decoding {} (a few seconds)", archive.display())),
        LoadEvent::Cached { folder } => {
            out.note(format_args!("decoded files kept in {} for next time", folder.display()));
        }
        LoadEvent::Pictures { done, total } => {
            if *done == 0 {
                out.note(format_args!("decoding {total} pictures"));
            }
            out.progress("pictures", *done, *total);
        }
        LoadEvent::Remark(remark) => out.note(remark),
    }
}

/// Reads data by `read`, which Ctrl-C ends.
///
/// # Errors
/// [`Interrupted`]; those of `read`.
pub fn interruptible<T, E: Into<anyhow::Error>>(
    cx: &Context,
    read: impl FnOnce(&mut dyn FnMut(LoadEvent)) -> Result<T, E>,
) -> Result<T> {
    let stop = cx.interrupt()?;
    let result = read(&mut |event| {
        if let LoadEvent::MayStop(reading) = &event
            && stop.load(Ordering::Relaxed)
        {
            reading.now();
        }
        loading(&cx.out, &event);
    });
    go_on(cx)?;
    result.map_err(Into::into)
}

/// Refuses to go on after Ctrl-C.
fn go_on(cx: &Context) -> Result<()> {
    if !cx.interrupt()?.load(Ordering::Relaxed) {
        return Ok(());
    }
    cx.out.note("interrupted before anything was started; run the same command again");
    Err(Interrupted.into())
}

fn load_with(name: DatasetName, options: &LoadOptions, notify: &mut dyn FnMut(LoadEvent)) -> Result<Dataset> {
    match data::load_with(name, options, notify) {
        Err(e) if e.is_unofficial() => {
            Err(e).hint("--no-verify accepts your own data (in a search: --set data.verify=false)")
        }
        other => Ok(other?),
    }
}

fn fetch(args: Fetch, cx: &Context) -> Result<()> {
    let elsewhere = args.to.clone();
    let to = match args.to {
        Some(to) => to,
        None => LoadOptions::downloads(&cx.home()?),
    };
    let base = std::env::var(BASE).ok().filter(|base| !base.is_empty());
    let bar = bytes_bar(cx);
    let options = FetchOptions { to, base };
    let fetched = data::fetch(args.dataset, &options, &mut |progress| {
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    let fetched = fetched?;
    if args.json {
        return cx.out.json(&fetched);
    }
    let what = match fetched.outcome {
        FetchOutcome::AlreadyThere => "already there",
        FetchOutcome::Downloaded => "downloaded",
        FetchOutcome::Resumed => "download completed",
    };
    let (path, bytes) = (fetched.path.display(), HumanBytes(fetched.bytes));
    cx.out.data(format_args!("{what}: {path} ({bytes}, MD5 {})", fetched.md5))?;
    let data = elsewhere.map(|to| format!(" --data {}", to.display())).unwrap_or_default();
    cx.out.note(format_args!("use it with: --dataset {}{data}", args.dataset));
    Ok(())
}

fn bytes_bar(cx: &Context) -> ProgressBar {
    let template = "{prefix} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} (ETA {eta})";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    cx.out.bar("download", 0).with_style(style.progress_chars("=> "))
}

#[derive(Debug, Serialize)]
struct Report {
    dataset: &'static str,
    /// Folder or archive; null for a built-in data set.
    location: Option<String>,
    verification: Verification,
    /// Height, width, channels.
    image: [usize; 3],
    train: usize,
    test: usize,
    classes: Vec<Class>,
    /// Of the training pixels, in `[0, 1]`.
    #[serde(flatten)]
    statistics: ChannelStatistics,
    split: SplitReport,
    /// Own pictures that cannot be read and are left out, with the reason.
    unreadable: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Class {
    name: String,
    train: usize,
    test: usize,
}

#[derive(Debug, Serialize)]
struct SplitReport {
    kind: String,
    train: usize,
    valid: usize,
}

fn export(args: Export, cx: &Context) -> Result<()> {
    let folder = args.pictures.config(args.dataset)?;
    let options = LoadOptions { folder, ..options(args.data, args.no_verify, cx) };
    let dataset = interruptible(cx, |notify| load_with(args.dataset, &options, notify))?;
    let parts: &[PartName] = match args.part {
        Some(ExportPart::Train) => &[PartName::Train],
        Some(ExportPart::Test) => &[PartName::Test],
        None => &[PartName::Train, PartName::Test],
    };
    let most = args.most.unwrap_or(usize::MAX);
    let stop = cx.interrupt()?;
    let exported = match data::export(&dataset, parts, most, &args.out, &mut |done, total| {
        cx.out.progress("pictures", done, total);
        !stop.load(Ordering::Relaxed)
    }) {
        Err(DataError::Stopped) => {
            cx.out.note("interrupted; what was written is removed");
            return Err(Interrupted.into());
        }
        other => other?,
    };
    if args.json {
        return cx.out.json(&exported);
    }
    let numbers = [("train", exported.train), ("val", exported.val), ("test", exported.test)];
    let numbers = numbers.iter().filter(|(_, n)| *n > 0).map(|(part, n)| format!("{n} {part}"));
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    cx.out.data(format_args!("{numbers} pictures in {}", exported.out.display()))?;
    if exported.train > 0 {
        cx.out.note(format_args!("use them with: --dataset folder --data {}", exported.out.display()));
    }
    Ok(())
}

fn check(args: Check, cx: &Context) -> Result<()> {
    let default = if args.data.is_some() { DatasetName::Cifar10 } else { DatasetName::Digits };
    let name = args.dataset.or(args.option).unwrap_or(default);
    let folder = args.pictures.config(name)?;
    let options = LoadOptions { folder, ..options(args.data, args.no_verify, cx) };
    let (mut location, mut unreadable) = (None, Vec::new());
    let own = options.data.clone().filter(|_| name == DatasetName::Folder);
    let dataset = interruptible(cx, |notify| {
        load_with(name, &options, &mut |event| {
            if let LoadEvent::Reading { folder: path } | LoadEvent::Decoding { archive: path } = &event {
                location = Some(path.clone());
            }
            if let LoadEvent::Unreadable(all) = &event {
                unreadable.clone_from(all);
            }
            notify(event);
        })
    })?;
    let split = Split::choose(&args.split, &dataset, args.seed.unwrap_or(0))?;
    let why = format!("the split {} is not random", split.kind);
    args::without_effect([("--seed", args.seed.is_some() && !split.kind.is_random())], why)?;
    let report = Report { unreadable, ..report(name, &dataset, own.or(location), &split)? };
    if let Some(remark) = too_few(&split).filter(|_| name == DatasetName::Folder) {
        cx.out.note(remark);
    }
    if args.json { cx.out.json(&report) } else { cx.out.data(text(&report)) }
}

fn report(name: DatasetName, dataset: &Dataset, location: Option<PathBuf>, split: &Split) -> Result<Report> {
    let data::ImageShape { height, width, channels } = dataset.shape();
    let counts = |part| dataset.part(part).class_counts(dataset.classes().len());
    let counts = counts(PartName::Train).into_iter().zip(counts(PartName::Test));
    let classes = dataset.classes().iter().zip(counts);
    let split = SplitReport { kind: split.kind.to_string(), train: split.train.len(), valid: split.valid.len() };
    Ok(Report {
        dataset: name.as_str(),
        location: location.as_deref().map(as_text),
        verification: dataset.verification(),
        image: [height, width, channels],
        train: dataset.train().len(),
        test: dataset.test().len(),
        classes: classes.map(|(name, (train, test))| Class { name: name.clone(), train, test }).collect(),
        statistics: dataset.train().channel_statistics(dataset.shape(), dataset.pixel_max())?,
        split,
        unreadable: Vec::new(),
    })
}

/// What a search must be told where the split has fewer images than its batches take.
fn too_few(split: &Split) -> Option<String> {
    let least = split.train.len().min(split.valid.len());
    let usual = TrainingConfig::default().batch_size.max(ImportanceConfig::default().proxy_batch_size);
    let needed = format!("a search needs {usual} images in each half of the split; the smaller one has {least}");
    match least {
        _ if least >= usual => None,
        0 | 1 => Some(format!("{needed}, and no batch can be made of fewer than 2")),
        _ => Some(format!(
            "{needed}: --set training.batch_size={least} --set strategy.hpe-darts.importance.proxy_batch_size={least} takes smaller \
             batches"
        )),
    }
}

fn text(report: &Report) -> String {
    let mut classes = Table::new([("class", Align::Left), ("train", Align::Right), ("test", Align::Right)]);
    for Class { name, train, test } in &report.classes {
        classes.row([name.clone(), train.to_string(), test.to_string()]);
    }
    let numbers = |values: &[f64]| values.iter().map(|v| format!("{v:.5}")).collect::<Vec<_>>().join(" ");
    let location = report.location.as_ref().map(|path| format!(" from {path}")).unwrap_or_default();
    let [height, width, channels] = report.image;
    let Report { dataset, verification, train, test, statistics: ChannelStatistics { mean, std }, split, .. } = report;
    format!(
        "{dataset}{location}: {}\nimages {height}x{width}x{channels}, {train} train, {test} test\nmean {}\nstd  {}\n\
         split {}: {} train, {} valid\n\n{classes}",
        verification.description(),
        numbers(mean),
        numbers(std),
        split.kind,
        split.train,
        split.valid,
    )
}
