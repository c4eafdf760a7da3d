//! `compare`: methods, spaces, data sets, settings and seeds side by side.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use indicatif::ProgressBar;
use nas::{
    benchmark,
    compare::{
        self, Cell, CellResult, CompareError, Comparison, Draft, EXAMPLE, Entry, FORMATS, Format, Grid, Place,
        Resources, State, Summary,
    },
    data::LoadEvent,
    files::write_atomic,
    run::{Notice, Observer},
};
use serde_json::{Value, json};

use super::{data, outcome};
use crate::{
    args,
    context::Context,
    error::{HintExt, Interrupted},
    output::Output,
    render::{Align, Table},
};

/// Run searches with several methods, settings and seeds, and summarise them in one table.
///
/// The file lists seeds and settings; every combination is a cell in DIR/NAME/seedN. That of a search
/// by a supernet is an ordinary run, which `resume` and `importance` accept too. Ctrl-C saves all of
/// them; the same command continues from there, so a file may grow: more seeds, runs and values in the
/// matrix (a new key in it gives all searches new names). Searches whose settings differ only in what
/// comes after the warm-up share it, with the same results.
///
/// `strategy = "NAME"` in the settings, a run or the matrix chooses the method, and so does a setting
/// of it; `blackbox.NAME` is a black-box method. Common settings of other methods are then ignored,
/// and those of a method in the matrix multiply its rows alone.
///
/// Everything is checked before anything is begun, and all faults are told at once. A search that
/// fails leaves the others alone; where a second try can help (a full disk or memory) it is made after
/// them. The exit code is 1 if one has failed.
///
/// DIR/summary.{md,csv,json,tex} are rewritten as searches end, of what lies in DIR: mean and standard
/// deviation over the seeds of accuracies, each with its name (of the table, of the retrained network,
/// of inherited weights, of the supernet), sizes, hours, what differs from the method's own preset,
/// tests against a baseline, and apart from them what the paper reports. docs/compare.md describes
/// file and summary.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!("A file:\n\n{EXAMPLE}"))]
pub struct Args {
    /// TOML file with seeds and settings.
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// Folder of the runs and the summary.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder or archive that every data set is read from [default: data.dir of the file, else what `data fetch` has downloaded].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Searches at a time, 1 to 64; the cores are divided among them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count(1, 64), conflicts_with = "plan")]
    jobs: usize,
    /// Run only these cells of --plan, repeatable: an index, or I..J for all from I to J [default: all].
    #[arg(long, value_name = "I|I..J", value_parser = indices, value_delimiter = ',')]
    only: Vec<(usize, usize)>,
    /// Row or method that the others are tested against [default: `baseline` of the file, else none].
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// List the cells that the file asks for, how far each has come and the command for it, and exit. Looks at no data.
    #[arg(long)]
    plan: bool,
    /// List them after every check that a run makes, data included, and exit.
    #[arg(long, conflicts_with = "plan")]
    dry_run: bool,
    /// How the summary is printed: json, markdown, csv or latex [default: as text].
    #[arg(long, value_name = "FORMAT", value_parser = format, conflicts_with_all = ["json", "plan", "dry_run"])]
    format: Option<Format>,
    /// Print the summary, or the plan, as JSON (default: as text).
    #[arg(long)]
    json: bool,
}

fn format(text: &str) -> Result<Format, String> {
    let names = || FORMATS.iter().map(|format| format.name);
    let known = || format!("expected {}", nas::suggest::one_of(names()));
    FORMATS.into_iter().find(|format| format.name == text).ok_or_else(known)
}

/// An index, or all from one to another.
fn indices(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str| text.trim().parse::<usize>().map_err(|_| "expected an index or I..J".to_owned());
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last { Err(format!("{first} is more than {last}")) } else { Ok((first, last)) }
}

/// Runs what is missing and prints the summary.
///
/// # Errors
/// Whatever is wrong with the file; a search that failed, after the others have ended; an interruption.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / args.jobs).max(1);
    let place = Place { out: &args.out, threads, data: args.data.as_deref(), baseline: args.baseline.as_deref() };
    let draft = Draft::read(&args.config, &place)?;
    let only = draft.cells().map(|n| chosen(&args.only, n)).transpose()?.unwrap_or_default();
    if args.plan {
        return plan(&draft.settled()?.cells, &only, &args, cx);
    }
    let table = outcome::open_table(cx, "accuracies");
    let (home, stop) = (cx.home().ok(), cx.interrupt()?);
    let resources = Resources { home: home.as_deref(), table: table.as_ref() };
    let comparison =
        data::interruptible(cx, |notify| -> Result<_> { Ok(draft.checked(&only, &args.out, resources, notify)?) })?;
    let cells = &comparison.cells;
    if args.dry_run {
        return plan(cells, &only, &args, cx);
    }
    let followed = Followed::new(&comparison, &only, &args.out, table.as_ref(), cx);
    if followed.before.contains(&true) {
        // What there is so far, with the table that there is now.
        followed.summary()?;
    }
    let results = compare::run(cells, &only, args.jobs, resources, &stop, &followed);
    followed.bar.finish_and_clear();
    let summary = followed.summary()?;
    match (args.format, args.json) {
        (Some(format), _) => cx.out.data((format.write)(&summary))?,
        (None, true) => cx.out.json(&serde_json::from_str::<Value>(&(FORMATS[0].write)(&summary))?)?,
        (None, false) => cx.out.data(show(&summary))?,
    }
    conclude(&results, &only, cx)
}

/// The cells that are asked for.
fn chosen(only: &[(usize, usize)], cells: usize) -> Result<Vec<usize>> {
    if let Some((_, beyond)) = only.iter().find(|(_, last)| *last >= cells) {
        return Err(anyhow!("--only {beyond}: this comparison has the cells 0..{}", cells - 1))
            .hint("--plan lists them");
    }
    let all = only.is_empty();
    Ok((0..cells).filter(|i| all || only.iter().any(|(first, last)| (first..=last).contains(&i))).collect())
}

fn conclude(results: &compare::Results, only: &[usize], cx: &Context) -> Result<()> {
    let errors = results.iter().flatten().filter_map(|r| r.as_ref().err());
    let (stopped, failed): (Vec<_>, Vec<_>) = errors.partition(|e| e.is_interruption());
    let begun = results.iter().flatten().count();
    let stopped = !stopped.is_empty() || begun < only.len();
    if stopped {
        cx.out.note("interrupted; everything is saved, and the same command continues");
    }
    if let [first, ..] = failed[..] {
        let message = anyhow!("{} of {} searches failed; the first: {first}", failed.len(), only.len());
        return match first.hint() {
            Some(hint) => Err(message).hint(hint),
            None => Err(message),
        };
    }
    if stopped { Err(Interrupted.into()) } else { Ok(()) }
}

/// The command for one cell.
fn command(args: &Args, index: usize) -> String {
    let option = |name: &str, path: &Path| format!(" --{name} {}", outcome::shell(path));
    let data = args.data.as_deref().map(|data| option("data", data)).unwrap_or_default();
    let (config, out) = (option("config", &args.config), option("out", &args.out));
    format!("hpe-darts compare{config}{out}{data} --only {index}")
}

fn plan(cells: &[Cell], only: &[usize], args: &Args, cx: &Context) -> Result<()> {
    let from = |cell: &Cell| cell.warmup().map(|(first, _)| first);
    if args.json {
        let cell = |&index: &usize| {
            let cell = &cells[index];
            json!({
                "index": index,
                "name": cell.name,
                "seed": cell.seed,
                "method": cell.search.method(),
                "space": cell.search.space(),
                "dataset": cell.search.dataset(),
                "warmup_of": from(cell),
                "progress": State::of(cell),
                "folder": cell.folder,
                "command": command(args, index),
            })
        };
        return cx.out.json(&json!({ "cells": only.iter().map(cell).collect::<Vec<_>>() }));
    }
    let heads = ["search", "method", "warm-up", "state"].map(|head| (head, Align::Left));
    let numbers = [("index", Align::Right), ("seed", Align::Right)];
    let mut rows = Table::new([numbers[0], heads[0], numbers[1], heads[1], heads[2], heads[3]]);
    for &index in only {
        let cell = &cells[index];
        let from = from(cell).map_or("its own".to_owned(), |first| format!("of {}", cells[first].name));
        let from = if cell.one_shot().is_some() { from } else { "-".to_owned() };
        let state = State::of(cell).to_string();
        rows.row([index.to_string(), cell.name.clone(), cell.seed.to_string(), cell.search.method(), from, state]);
    }
    let one = command(args, 0);
    let any = one.strip_suffix('0').unwrap_or(&one);
    cx.out.data(format_args!("{rows}\none cell: {any}INDEX"))
}

fn show(summary: &Summary) -> String {
    let table = |grid: &Grid| {
        let aligned = (0..grid.heads.len()).map(|i| if i < grid.words { Align::Left } else { Align::Right });
        let mut rows = Table::with_heads(grid.heads.iter().map(String::as_str).zip(aligned));
        grid.rows.iter().for_each(|row| {
            rows.row(row.clone());
        });
        rows
    };
    let mut text = table(&summary.measured()).to_string();
    for grid in summary.significance().iter().chain(&summary.reported_grids()) {
        text += &format!("\n{}\n{}", grid.title, table(grid));
    }
    // The files have them as a table.
    let varied: Vec<_> = summary.rows.iter().filter(|row| !row.variations.is_empty()).collect();
    if !varied.is_empty() {
        text += "\nSettings that differ from the method's own preset (its value)\n";
    }
    for row in varied {
        let settings = row.variations.iter().map(|v| format!("{} = {} ({})", v.key, v.value, v.preset));
        text += &format!("  {}: {}\n", row.name, settings.collect::<Vec<_>>().join(", "));
    }
    text
}

/// A bar over all searches, a line for every one that ends, and the summary on disk.
struct Followed<'a> {
    comparison: &'a Comparison,
    out: &'a Path,
    output: Output,
    table: Option<&'a benchmark::Table>,
    bar: ProgressBar,
    /// Which had ended before this command began.
    before: Vec<bool>,
    results: Mutex<Vec<Option<CellResult>>>,
    strays: Vec<(Cell, CellResult)>,
    /// When the summary was written last.
    written: Mutex<Option<Instant>>,
}

/// Time between two summaries while searches that take milliseconds end.
const PAUSE: Duration = Duration::from_secs(2);

/// Held while a summary is made, so that one of another process is not replaced by one that knows less.
const LOCK: &str = ".summary.lock";

impl<'a> Followed<'a> {
    fn new(
        comparison: &'a Comparison,
        only: &[usize],
        out: &'a Path,
        table: Option<&'a benchmark::Table>,
        cx: &Context,
    ) -> Self {
        let cells = &comparison.cells;
        let before: Vec<bool> = cells.iter().map(Cell::is_done).collect();
        let ended = only.iter().filter(|&&i| before[i]).count();
        if ended > 0 {
            cx.out.note(format_args!("{ended} of {} searches had already ended", only.len()));
        }
        let bar = cx.out.bar("compare", only.len() as u64);
        bar.set_position(ended as u64);
        bar.reset_eta();
        let strays = compare::strays(cells, out);
        let results = Mutex::new(vec![None; cells.len()]);
        let (output, written) = (cx.out.clone(), Mutex::new(None));
        Followed { comparison, out, output, table, bar, before, results, strays, written }
    }

    /// Of all searches that have ended, those of another process too; also written to the folder.
    fn summary(&self) -> Result<Summary> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        let lock = self.out.join(LOCK);
        fs::create_dir_all(self.out).with_context(|| cannot(self.out))?;
        let lock = fs::File::create(&lock).with_context(|| cannot(&lock))?;
        // A file system without locks is no reason to have no summary.
        let _ = lock.lock();
        let cells = &self.comparison.cells;
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        for (cell, result) in cells.iter().zip(results.iter_mut()) {
            let whole = |result: &CellResult| cell.retraining.is_none() || result.retrained.is_some();
            if !result.as_ref().is_some_and(whole) {
                *result = cell.result();
            }
        }
        let entries: Vec<Entry<'_>> = cells.iter().zip(results.iter().map(Option::as_ref)).collect();
        let strays: Vec<Entry<'_>> = self.strays.iter().map(|(cell, result)| (cell, Some(result))).collect();
        let summary = Summary::new(&entries, &strays, self.comparison.baseline.as_deref(), self.table);
        for Format { file, write, .. } in FORMATS {
            let path = self.out.join(file);
            write_atomic(&path, |w| w.write_all(write(&summary).as_bytes())).with_context(|| cannot(&path))?;
        }
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(summary)
    }

    fn note(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| self.output.note(text));
    }
}

impl compare::Progress for Followed<'_> {
    fn observer(&self, cell: &Cell) -> Box<dyn Observer> {
        let label = cell.label();
        Box::new(Line { bar: self.bar.clone(), output: self.output.clone(), label, epochs: 0, shown: None })
    }

    fn loading(&self, _cell: &Cell, event: &LoadEvent) {
        data::loading(&self.output, event);
    }

    fn again(&self, cell: usize, why: &CompareError) {
        self.note(format_args!("{} has failed and is tried once more after the others: {why}", self.label(cell)));
    }

    fn ended(&self, cell: usize, result: &Result<CellResult, CompareError>) {
        match result {
            Ok(_) if self.before[cell] => {}
            Ok(result) => {
                self.bar.inc(1);
                self.note(format_args!("{}: {}", self.label(cell), said(result)));
                let written = *self.written.lock().unwrap_or_else(PoisonError::into_inner);
                if written.is_some_and(|at| at.elapsed() < PAUSE) {
                    return;
                }
                if let Err(error) = self.summary() {
                    self.note(format_args!("warning: {error:#}"));
                }
            }
            Err(error) if error.is_interruption() => {}
            Err(error) => self.note(format_args!("failed: {error}")),
        }
    }
}

impl Followed<'_> {
    fn label(&self, cell: usize) -> String {
        self.comparison.cells[cell].label()
    }
}

/// What has come of a search, in a line.
fn said(result: &CellResult) -> String {
    let retrained = result.retrained.as_ref().map(|r| format!(", retrained {:.2} % on test images", r.test.accuracy.0));
    let hours = (result.seconds + result.retraining_seconds.unwrap_or(0.0)) / 3600.0;
    format!("{} in {hours:.2} h{}", result.arch, retrained.unwrap_or_default())
}

/// What one search does, as the message of the common bar.
struct Line {
    bar: ProgressBar,
    output: Output,
    label: String,
    epochs: usize,
    shown: Option<Instant>,
}

impl Observer for Line {
    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Started { schedule, .. } => self.epochs = schedule.epochs(),
            Notice::Step { at, loss, .. } if self.shown.is_none_or(|t| t.elapsed() > Duration::from_secs(1)) => {
                self.shown = Some(Instant::now());
                self.bar.set_message(format!("{}: epoch {}/{}, loss {loss:.3}", self.label, at.epoch + 1, self.epochs));
            }
            Notice::Warning(text) => self.bar.suspend(|| self.output.note(format_args!("{}: {text}", self.label))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_chosen_by_index_and_range() {
        assert_eq!(indices("3"), Ok((3, 3)));
        assert_eq!(indices("1..4"), Ok((1, 4)));
        for bad in ["", "-1", "1..", "a", "1...3", "4..1"] {
            assert!(indices(bad).is_err(), "{bad}");
        }
        assert_eq!(chosen(&[(1, 2), (2, 2)], 5).unwrap(), [1, 2]);
        assert_eq!(chosen(&[], 2).unwrap(), [0, 1]);
        assert_eq!(chosen(&[(0, 5)], 5).unwrap_err().to_string(), "--only 5: this comparison has the cells 0..4");
    }
}
