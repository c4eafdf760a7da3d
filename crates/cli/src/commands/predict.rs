//! `predict`: what is on pictures.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nas::{
    Here,
    data::{is_hidden, is_picture},
    files::{as_text, shown},
    retrain::{Class, Predictor, Trained},
    search::cpu_engines,
};
use serde_json::json;

use super::data;
use crate::{args, context::Context, error::HintExt, error::Interrupted};

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
    let here = Here { home: cx.home().ok(), ..Here::default() };
    let trained = Trained::open(&args.model, args.epoch, &here, &mut |event| data::loading(&cx.out, &event))?;
    let classes = &trained.model().classes;
    let top = args.top.unwrap_or(TOP.min(classes.len()));
    if top > classes.len() {
        return Err(anyhow!("--top {top}: the network has {} classes", classes.len()))
            .hint(format!("--top {} tells all of them", classes.len()));
    }
    let mut unread = vec![];
    let pictures = pictures(&args.images, &mut unread)?;
    unread.iter().for_each(|problem| cx.out.note(problem));
    let threads = args.threads.get();
    let mut predictor = Predictor::new(&trained, &cpu_engines(Some(threads)), threads)?;
    let stop = cx.interrupt()?;
    let bar = cx.out.bar("predict", pictures.len() as u64);
    let (began, mut failed) = (Instant::now(), 0);
    let count = pictures.len();
    for batch in pictures.chunks(predictor.batch()) {
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
                    if args.json { cx.out.json(&json!({ "image": as_text(path), "error": problem })) } else { Ok(()) }
                }
            })?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let (seconds, done) = (began.elapsed().as_secs_f64(), count - failed);
    let images = |n: usize| if n == 1 { "1 image".to_owned() } else { format!("{n} images") };
    cx.out.note(format_args!(
        "{} in {seconds:.2} s, {:.0} images per second",
        images(done),
        done as f64 / seconds.max(1e-9)
    ));
    if failed > 0 {
        bail!("{failed} of {} could not be read", images(count));
    }
    if !unread.is_empty() {
        bail!("not every folder could be read");
    }
    Ok(())
}

fn tell(path: &Path, found: &[Class], classes: &[String], as_json: bool, cx: &Context) -> Result<()> {
    if as_json {
        let found = found.iter().map(|&Class { index, probability }| {
            json!({ "class": classes[index], "index": index, "probability": probability })
        });
        return cx.out.json(&json!({ "image": as_text(path), "predictions": found.collect::<Vec<_>>() }));
    }
    let found = found.iter().map(|c| format!("{} {:.2} %", shown(&classes[c.index]), 100.0 * c.probability));
    cx.out.data(format_args!("{}: {}", shown(path), found.collect::<Vec<_>>().join(", ")))
}

/// Every picture that is meant, in the order given; those of a folder sorted. `unread`: folders that cannot be looked into.
fn pictures(given: &[PathBuf], unread: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let mut all = vec![];
    for path in given {
        let text = path.to_str().unwrap_or_default();
        if text == "-" {
            let mut lines = vec![];
            io::stdin().lock().read_to_end(&mut lines).context("cannot read the list of images from standard input")?;
            listed(&lines, &mut all)?;
        } else if let Some(list) = args::file_of(text)? {
            let lines = fs::read(list).with_context(|| format!("cannot read the list of images {list}"))?;
            listed(&lines, &mut all)?;
        } else if path.is_dir() {
            let before = all.len() + unread.len();
            below(path, &mut all, unread);
            if all.len() + unread.len() == before {
                return Err(anyhow!("there are no pictures in {}", shown(path)))
                    .hint("pictures are files called .png, .jpg, .jpeg, .jpe, .jfif, .webp or .bmp; any other file can be named itself");
            }
        } else {
            all.push(path.clone());
        }
    }
    match (all.is_empty(), unread.first()) {
        (false, _) => Ok(all),
        (true, Some(problem)) => Err(anyhow!("{problem}")),
        (true, None) => Err(anyhow!("the list names no images")).hint("a path in each line"),
    }
}

/// The paths of a list, one in each line.
fn listed(text: &[u8], all: &mut Vec<PathBuf>) -> Result<()> {
    for line in text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        if !line.trim_ascii().is_empty() {
            all.push(path_of(line)?);
        }
    }
    Ok(())
}

#[cfg(unix)]
fn path_of(line: &[u8]) -> Result<PathBuf> {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    Ok(OsStr::from_bytes(line).into())
}

#[cfg(not(unix))]
fn path_of(line: &[u8]) -> Result<PathBuf> {
    Ok(std::str::from_utf8(line).context("a path in the list is not UTF-8")?.into())
}

/// The pictures of a folder and the folders in it, by name, but what is hidden. Links to folders are not followed: they may go
/// round in circles.
fn below(folder: &Path, all: &mut Vec<PathBuf>, unread: &mut Vec<String>) {
    let mut failed = |error: io::Error| unread.push(format!("cannot read the folder {}: {error}", shown(folder)));
    let mut entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries,
        Err(error) => return failed(error),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries.into_iter().filter(|entry| !is_hidden(&entry.file_name())) {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&path, all, unread);
        } else if is_picture(&path) && !path.is_dir() {
            all.push(path);
        }
    }
}
