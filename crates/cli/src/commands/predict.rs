//! `predict`: what is on pictures.

use std::{
    fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nas::{
    data::is_picture,
    files::shown,
    retrain::{Class, Predictor, Trained},
    search::cpu_engines,
};
use serde_json::json;

use super::data;
use crate::{args, context::Context, error::HintExt, error::Interrupted};

/// Pictures that are decoded and go through the network together.
const BATCH: usize = 128;
/// Classes that are told by default.
const TOP: usize = 5;

/// Tell what is on pictures, with a trained network.
///
/// PNG, JPEG, WebP and BMP are read. A picture is turned as its EXIF orientation says, blended on white where it is
/// transparent, cut to the network's proportions around its middle and resized; a network for grey images gets its grey values.
/// One that cannot be read is named on standard error, the others are predicted, and the exit code is 1.
///
/// With --json, a line for each picture: one object {"image", "predictions": [{"class", "index", "probability"}]}, the most
/// likely class first, or {"image", "error"}.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder that `hpe-darts retrain` made (its newest checkpoint), or NAME.safetensors with NAME.json beside it, as
    /// `export --format safetensors` writes them.
    #[arg(value_name = "RUN|MODEL")]
    model: PathBuf,
    /// Pictures; folders, with all pictures below them; @FILE with a path in each line; `-`: the same from standard input.
    #[arg(value_name = "IMAGE|FOLDER|@FILE|-", required = true)]
    images: Vec<PathBuf>,
    /// The most likely classes that are told [default: 5, or all where there are fewer].
    #[arg(long, value_name = "K", value_parser = args::count(1, 1_000_000))]
    top: Option<usize>,
    /// The checkpoint kept at the end of this epoch (see run.keep_epochs) [default: the newest].
    #[arg(long, value_name = "N", value_parser = args::count(1, 1_000_000))]
    epoch: Option<usize>,
    #[command(flatten)]
    threads: args::Threads,
    /// Print JSON (default: text).
    #[arg(long)]
    json: bool,
}

/// Predicts and prints.
///
/// # Errors
/// There is no such network, or nothing to look at; pictures that could not be read, after all others have been predicted.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let home = cx.home().ok();
    let trained = Trained::open(&args.model, args.epoch, home.as_deref(), &mut |event| data::loading(&cx.out, &event))?;
    let classes = &trained.model().classes;
    let top = args.top.unwrap_or(TOP.min(classes.len()));
    if top > classes.len() {
        return Err(anyhow!("--top {top}: the network has {} classes", classes.len()))
            .hint(format!("--top {} tells all of them", classes.len()));
    }
    let pictures = pictures(&args.images)?;
    let threads = args.threads.get();
    let mut predictor = Predictor::new(&trained, &cpu_engines(Some(threads)), threads)?;
    let stop = cx.interrupt()?;
    let bar = cx.out.bar("predict", pictures.len() as u64);
    let (began, mut failed) = (Instant::now(), 0);
    for batch in pictures.chunks(BATCH) {
        if stop.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            return Err(Interrupted.into());
        }
        for (path, predicted) in batch.iter().zip(predictor.predict(batch)?) {
            bar.suspend(|| match predicted {
                Ok(found) => tell(path, &found[..top], classes, args.json, cx),
                Err(error) => {
                    failed += 1;
                    cx.out.note(&error);
                    let problem = error.problem.to_string();
                    if args.json { cx.out.json(&json!({ "image": path_text(path), "error": problem })) } else { Ok(()) }
                }
            })?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let (count, seconds) = (pictures.len(), began.elapsed().as_secs_f64());
    cx.out.note(format_args!(
        "{count} images in {seconds:.2} s, {:.0} images per second",
        count as f64 / seconds.max(1e-9)
    ));
    if failed > 0 {
        bail!("{failed} of {count} images could not be read");
    }
    Ok(())
}

fn tell(path: &Path, found: &[Class], classes: &[String], as_json: bool, cx: &Context) -> Result<()> {
    if as_json {
        let found = found.iter().map(|&Class { index, probability }| {
            json!({ "class": classes[index], "index": index, "probability": probability })
        });
        return cx.out.json(&json!({ "image": path_text(path), "predictions": found.collect::<Vec<_>>() }));
    }
    let found = found.iter().map(|c| format!("{} {:.2} %", shown(&classes[c.index]), 100.0 * c.probability));
    cx.out.data(format_args!("{}: {}", shown(path), found.collect::<Vec<_>>().join(", ")))
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Every picture that is meant, in the order given; those of a folder sorted.
fn pictures(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = vec![];
    for path in given {
        let text = path.to_str().unwrap_or_default();
        if text == "-" {
            let lines = io::stdin().lock().lines().collect::<io::Result<Vec<_>>>();
            listed(&lines.context("cannot read the list of images from standard input")?, &mut all);
        } else if let Some(list) = text.strip_prefix('@') {
            let lines = fs::read_to_string(list).with_context(|| format!("cannot read the list of images {list}"))?;
            listed(&lines.lines().map(str::to_owned).collect::<Vec<_>>(), &mut all);
        } else if path.is_dir() {
            let before = all.len();
            below(path, &mut all).with_context(|| format!("cannot read the folder {}", shown(path)))?;
            if all.len() == before {
                return Err(anyhow!("there are no pictures in {}", shown(path)))
                    .hint("pictures are files called .png, .jpg, .jpeg, .jpe, .webp or .bmp; any other file can be named itself");
            }
        } else {
            all.push(path.clone());
        }
    }
    if all.is_empty() { Err(anyhow!("the list names no images")).hint("a path in each line") } else { Ok(all) }
}

fn listed(lines: &[String], all: &mut Vec<PathBuf>) {
    all.extend(lines.iter().filter(|line| !line.trim().is_empty()).map(PathBuf::from));
}

/// The pictures of a folder and the folders in it, by name. Links to folders are not followed: they may go round in circles.
fn below(folder: &Path, all: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            below(&path, all)?;
        } else if is_picture(&path) && !path.is_dir() {
            all.push(path);
        }
    }
    Ok(())
}
