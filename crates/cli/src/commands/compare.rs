//! `compare`: several searches side by side.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use nas::{
    benchmark,
    compare::{self, Cell, CompareError, Comparison, EXAMPLE, SUMMARIES, Summary},
    data::LoadEvent,
    files::write_atomic,
    run::{Notice, Observer, RunError},
    search::{Outcome, SearchError},
};

use super::{data, outcome};
use crate::{
    args,
    context::Context,
    error::Interrupted,
    output::Output,
    render::{Align, Table},
};

/// Run searches with several settings and seeds, and summarise them in one table.
///
/// The file lists seeds and settings; every combination is an ordinary run in DIR/NAME/seedN, which
/// `resume` and `importance` accept too. Ctrl-C saves all of them; the same command continues from
/// there, so a file may grow: more seeds, runs and values in the matrix (a new key in it
/// gives all searches new names). Searches whose settings differ only in what comes after the
/// warm-up share it, with the same results.
///
/// `strategy = "NAME"` in the settings, a run or the matrix chooses the strategy, and so does a
/// setting of it; common settings of other strategies are then ignored.
///
/// After every search that ends, DIR/summary.md and DIR/summary.json are rewritten: mean and
/// standard deviation over the seeds of the six accuracies that the NAS-Bench-201 table has, mean,
/// best and worst rank among all architectures by CIFAR-10 test accuracy, hours, and the
/// architectures found.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = format!("A file:\n\n{EXAMPLE}"))]
pub struct Args {
    /// TOML file with seeds and settings.
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// Folder of the runs and the summary.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Searches at a time, 1 to 64; the cores are divided among them.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = args::count(1, 64))]
    jobs: usize,
    /// Print the searches that the file asks for and how far each has come, and exit.
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON (default: as a table).
    #[arg(long)]
    json: bool,
}

/// Runs what is missing and prints the summary.
///
/// # Errors
/// Whatever is wrong with the file; a search that failed, after the others have ended; an interruption.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let cells = Comparison::read(&args.config, &args.out, (cores / args.jobs).max(1))?.cells;
    if args.dry_run {
        return list(&cells, cx);
    }
    let table = outcome::open_table(cx, "accuracies");
    let (home, stop) = (cx.home().ok(), cx.interrupt()?);
    let followed = Followed::new(&cells, &args.out, table, cx);
    if followed.before.contains(&true) {
        // What there is so far, with the table that there is now.
        followed.summary()?;
    }
    let results = compare::run(&cells, args.jobs, home.as_deref(), &stop, &followed);
    followed.bar.finish_and_clear();
    let summary = followed.summary()?;
    if args.json {
        cx.out.json(&summary)?
    } else {
        cx.out.data(show(&summary))?
    };
    let interrupted =
        |e: &CompareError| matches!(e, CompareError::Search { source: SearchError::Run(RunError::Interrupted), .. });
    let failed: Vec<&CompareError> =
        results.iter().flatten().filter_map(|r| r.as_ref().err()).filter(|e| !interrupted(e)).collect();
    let stopped = results.iter().any(|r| r.as_ref().is_none_or(|r| r.as_ref().is_err_and(interrupted)));
    if stopped {
        cx.out.note("interrupted; everything is saved, and the same command continues");
    }
    if let [first, ..] = failed[..] {
        let hint = first.hint().map(|h| format!("\n{h}")).unwrap_or_default();
        bail!("{} of {} searches failed; the first: {first}{hint}", failed.len(), cells.len());
    }
    if stopped {
        return Err(Interrupted.into());
    }
    Ok(())
}

fn list(cells: &[Cell], cx: &Context) -> Result<()> {
    let mut rows =
        Table::new([("search", Align::Left), ("seed", Align::Right), ("warm-up", Align::Left), ("state", Align::Left)]);
    for cell in cells {
        let from = cell.warmup.map_or("its own".to_owned(), |(first, _)| format!("of {}", cells[first].name));
        let state = match cell.has_begun() {
            Ok(true) if cell.outcome().is_some() => "ended".to_owned(),
            Ok(true) => "begun".to_owned(),
            Ok(false) => String::new(),
            Err(CompareError::OtherSettings { key, there, now, .. }) => {
                format!("other settings: {key} is {there}, now {now}")
            }
            Err(error) => error.to_string(),
        };
        rows.row([cell.name.clone(), cell.seed.to_string(), from, state]);
    }
    cx.out.data(rows)
}

fn show(summary: &Summary) -> Table {
    let aligned = std::iter::once(Align::Left).chain(std::iter::repeat(Align::Right));
    let mut rows = Table::with_heads(compare::heads().zip(aligned));
    for row in &summary.rows {
        let seeds = format!("{} of {}", row.seeds.len(), row.of);
        rows.row([row.name.clone(), seeds].into_iter().chain(row.numbers()));
    }
    rows
}

/// A bar over all searches, a line for every one that ends, and the summary on disk.
struct Followed<'a> {
    cells: &'a [Cell],
    out: &'a Path,
    output: Output,
    table: Option<benchmark::Table>,
    bar: ProgressBar,
    /// Which had ended before this command began.
    before: Vec<bool>,
    outcomes: Mutex<Vec<Option<Outcome>>>,
}

impl<'a> Followed<'a> {
    fn new(cells: &'a [Cell], out: &'a Path, table: Option<benchmark::Table>, cx: &Context) -> Self {
        let outcomes: Vec<_> = cells.iter().map(Cell::outcome).collect();
        let before: Vec<bool> = outcomes.iter().map(Option::is_some).collect();
        let ended = before.iter().filter(|&&ended| ended).count();
        if ended > 0 {
            cx.out.note(format_args!("{ended} of {} searches had already ended", cells.len()));
        }
        let bar = cx.out.bar("compare", cells.len() as u64);
        bar.set_position(ended as u64);
        bar.reset_eta();
        Followed { cells, out, output: cx.out.clone(), table, bar, before, outcomes: Mutex::new(outcomes) }
    }

    /// Of all searches that have ended, those of another process too; also written to the folder.
    fn summary(&self) -> Result<Summary> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        for (cell, outcome) in self.cells.iter().zip(outcomes.iter_mut()).filter(|(_, outcome)| outcome.is_none()) {
            *outcome = cell.outcome();
        }
        let summary = Summary::new(self.cells, &outcomes, self.table.as_ref());
        let json = serde_json::to_vec_pretty(&summary).context("cannot write the summary as JSON")?;
        for (name, bytes) in SUMMARIES.into_iter().zip([&json[..], summary.to_markdown().as_bytes()]) {
            let path = self.out.join(name);
            write_atomic(&path, |w| w.write_all(bytes)).with_context(|| format!("cannot write {}", path.display()))?;
        }
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

    fn ended(&self, cell: usize, result: &Result<Outcome, CompareError>) {
        let label = self.cells[cell].label();
        match result {
            Ok(_) if self.before[cell] => {}
            Ok(outcome) => {
                self.bar.inc(1);
                self.note(format_args!("{label}: {} in {:.2} h", outcome.found.arch, outcome.total_seconds() / 3600.0));
                if let Err(error) = self.summary() {
                    self.note(format_args!("warning: {error:#}"));
                }
            }
            Err(CompareError::Search { source: SearchError::Run(RunError::Interrupted), .. }) => {}
            Err(error) => self.note(format_args!("failed: {error}")),
        }
    }
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
