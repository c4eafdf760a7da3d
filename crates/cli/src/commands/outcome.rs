//! What `search`, `retrain` and `resume` show: progress while they run, and the end.

use std::path::{Path, PathBuf};

use anyhow::Result;
use indicatif::ProgressBar;
use nas::{
    benchmark::{self, FILE_NAME},
    files::as_text,
    memory::{Bytes, Fit, MemoryNeed},
    retrain::{Measured, events::TrainEpoch},
    run::{EarlyEnd, Event, Notice, Observer, Place, RunError},
    search::{
        Outcome, SearchError,
        events::{EpochEnd, RunStart},
        parts::{HardPrune, ImportanceTable, Swept},
    },
    space::{self, Arch},
};
use serde_json::json;

use super::query;
use crate::{
    context::Context,
    error::{HintExt, Interrupted},
    output::Output,
    render::{self, Align, Charset, Table},
};

/// Says so where a plan takes more memory than is free.
///
/// # Errors
/// It takes more than there can be.
pub fn check_memory(need: &MemoryNeed, cx: &Context) -> Result<()> {
    match need.check() {
        Err(error) => Err(error).hint(error.hint()),
        Ok(Fit::Tight(free)) => {
            let free = Bytes(free);
            cx.out.note(format_args!("warning: this takes {need} of memory, and {free} are free now"));
            Ok(())
        }
        Ok(Fit::Fits | Fit::Unknown) => Ok(()),
    }
}

/// Where a run is to stand: `out`, else a folder of its own below `runs`.
///
/// # Errors
/// The folder cannot be made.
pub fn place(out: Option<PathBuf>, name: &str) -> Result<Place> {
    Ok(match out {
        Some(out) => Place::given(out),
        None => Place::claim(&Path::new("runs").join(name))?,
    })
}

/// A bar over all steps with ETA, and a line for every epoch and pruning, on standard error.
pub struct Progress {
    out: Output,
    /// What is going on.
    what: &'static str,
    bar: ProgressBar,
    epochs: usize,
    steps: usize,
    /// Of the data; 0 until it is known.
    classes: usize,
}

impl Progress {
    /// Draws nothing before `what` starts.
    pub fn new(cx: &Context, what: &'static str) -> Self {
        Self { out: cx.out.clone(), what, bar: ProgressBar::hidden(), epochs: 0, steps: 0, classes: 0 }
    }

    fn note(&self, text: String) {
        self.bar.suspend(|| self.out.note(text));
    }

    fn event(&mut self, event: &Event) {
        if let Some(end) = event.read() {
            self.note(self.epoch(&end));
        } else if let Some(end) = event.read() {
            self.note(self.train_epoch(&end));
        } else if let Some(HardPrune { phase, left, .. }) = event.read() {
            let left: Vec<String> = left.iter().map(|ops| ops.join(" ")).collect();
            self.note(format!("{phase} ends, left on the edges: {}", left.join(" | ")));
        } else if let Some(EarlyEnd { phase, finished, reason, .. }) = event.read() {
            let what = if finished { format!("the {}", self.what) } else { "the phase".to_owned() };
            self.note(format!("{phase}: {what} ends early ({reason})"));
        } else if let Some(Swept { table, .. }) = event.read() {
            self.swept(&table);
        } else if let Some(RunStart { classes, .. }) = event.read() {
            self.classes = classes;
        }
    }

    fn swept(&self, table: &ImportanceTable) {
        let ImportanceTable { by, images, signs, .. } = table;
        if !signs.is_empty() {
            let n = signs.len();
            self.note(format!(
                "importance by {by}: the determinant is not positive for {n} of the kernel matrices (see events.jsonl)"
            ));
        }
        if (1..self.classes).contains(images) {
            let classes = self.classes;
            self.note(format!(
                "warning: importance by {by}: measured on {images} of D_val, fewer images than the {classes} classes"
            ));
        }
    }

    fn epoch(&self, end: &EpochEnd) -> String {
        let EpochEnd { epoch, phase, .. } = end;
        let (loss, accuracy) = (end.supernet_train_loss.0, end.supernet_train_accuracy.0);
        let valid = end.supernet_valid_accuracy.map(|a| format!(", validation {:.1} %", a.0)).unwrap_or_default();
        format!("epoch {epoch}/{} {phase}: supernet loss {loss:.3}, accuracy {accuracy:.1} %{valid}", self.epochs)
    }
}

impl Progress {
    fn train_epoch(&self, end: &TrainEpoch) -> String {
        let on = |what: &str, measured: Option<Measured>| {
            measured.map(|m| format!(", {what} {:.2} %", m.accuracy.0)).unwrap_or_default()
        };
        let (loss, accuracy) = (end.train_loss.0, end.train_accuracy.0);
        let (valid, test) = (on("validation", end.valid), on("test", end.test));
        format!("epoch {}/{}: training loss {loss:.3}, accuracy {accuracy:.1} %{valid}{test}", end.epoch, self.epochs)
    }
}

impl Observer for Progress {
    fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Started { folder, schedule, steps, epoch, step } => {
                self.epochs = schedule.epochs();
                self.steps = steps;
                self.out.note(format_args!("run folder: {}", folder.display()));
                self.bar = self.out.bar(self.what, (self.epochs * steps) as u64);
                self.bar.set_position((epoch * steps + step) as u64);
                // What an earlier process did says nothing about the speed of this one.
                self.bar.reset_eta();
            }
            Notice::Step { at, done, loss, accuracy } => {
                self.bar.set_position((at.epoch * self.steps + done) as u64);
                self.bar.set_message(format!("{}: loss {loss:.3}, accuracy {accuracy:.1} %", at.name));
            }
            Notice::Sweep { what, done, of } => self.bar.set_message(format!("{what} {done}/{of}")),
            Notice::Event(event) => self.event(event),
            Notice::Warning(text) => self.note(format!("warning: {text}")),
            _ => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows the result, or how to continue.
///
/// # Errors
/// That of the search; standard output cannot be written.
pub fn conclude(outcome: Result<Outcome, SearchError>, folder: &Path, json: bool, cx: &Context) -> Result<()> {
    match outcome {
        Ok(outcome) => show(&outcome, json, cx),
        Err(SearchError::Run(RunError::Interrupted)) => {
            interrupted(folder, cx);
            Err(Interrupted.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Says what the result of a run that had already ended was warned of.
pub fn warn(warnings: &[String], cx: &Context) {
    warnings.iter().for_each(|warning| cx.out.note(format_args!("warning: {warning}")));
}

/// Says how to go on.
pub fn interrupted(folder: &Path, cx: &Context) {
    let folder = shell(folder);
    cx.out.note(format_args!("interrupted; everything is saved. To continue:\n  hpe-darts resume {folder}"));
}

fn show(outcome: &Outcome, json: bool, cx: &Context) -> Result<()> {
    let arch = outcome.found.index.and_then(|index| Arch::from_index(index).ok());
    // Without a table the result itself says what to do.
    let imported = cx.home().is_ok_and(|home| home.join(FILE_NAME).exists());
    let table = arch.filter(|_| imported).and_then(|arch| Some((open_table(cx, "accuracies")?, arch)));
    if json {
        return cx.out.json(&json!({
            "genotype": outcome.found.genotype,
            "arch": outcome.found.arch,
            "index": outcome.found.index,
            "seconds": outcome.total_seconds(),
            "run_dir": as_text(&outcome.folder),
            "warnings": outcome.found.warnings,
            "table": table.map(|(table, arch)| table.query(arch)),
        }));
    }
    let space = space::find(&outcome.found.genotype.space)?;
    let cell = render::genotype(space, &outcome.found.genotype, Charset::of_terminal());
    cx.out.data(format_args!("{}\n\n{}\n\n", outcome.found.arch, cell.to_string().trim_end()))?;
    match (table, outcome.found.index) {
        (Some((table, arch)), Some(index)) => {
            let accuracies = query::accuracies(&table, arch).to_string();
            cx.out.data(format_args!("index {index}\n{}\n\n", accuracies.trim_end()))?;
        }
        (None, Some(index)) => cx.out.data(format_args!(
            "index {index} of NAS-Bench-201; its accuracies are known once the table is imported: hpe-darts table import FILE.csv\n\n"
        ))?,
        _ => {}
    }
    cx.out.data(format_args!("{}\n", times(outcome)))?;
    let run = shell(&outcome.folder);
    let again = format!("hpe-darts search --config {run}/config.toml --seed N");
    let look = outcome.found.index.map(|index| format!("\n  hpe-darts query {index}")).unwrap_or_default();
    cx.out.data(format_args!("the run is in {run} (config.toml, events.jsonl, genotype.json)\nnext:{look}\n  hpe-darts retrain {run}\n  {again}"))
}

/// What the time of a search is booked as.
const ACTIVITIES: [&str; 4] = ["omega", "alpha", "importance", "checkpoints"];

fn times(outcome: &Outcome) -> Table {
    let activities = ACTIVITIES.map(|activity| (activity, Align::Right));
    let mut rows =
        Table::with_heads([("seconds", Align::Left)].into_iter().chain(activities).chain([("all", Align::Right)]));
    let mut sums = [0.0; 5];
    for (name, s) in &outcome.seconds {
        let [omega, alpha, importance, checkpoints] = ACTIVITIES.map(|activity| s.of(activity));
        let row = [omega, alpha, importance, checkpoints, s.total()];
        sums.iter_mut().zip(row).for_each(|(sum, seconds)| *sum += seconds);
        rows.row(std::iter::once(name.clone()).chain(row.map(|s| format!("{s:.1}"))));
    }
    rows.row(std::iter::once("all".to_owned()).chain(sums.map(|s| format!("{s:.1}"))));
    rows
}

/// The table, if there is one. Its caller can do without it, so a table that is missing or cannot be read is
/// no more than a message, which says what is missing `without` it.
pub fn open_table(cx: &Context, without: &str) -> Option<benchmark::Table> {
    match benchmark::Table::open_if_present(&cx.home().ok()?.join(FILE_NAME)) {
        Ok(Some(table)) => return Some(table),
        Ok(None) => cx
            .out
            .note(format_args!("note: no {without}: the NAS-Bench-201 table is missing (`hpe-darts table import`)")),
        Err(error) => cx.out.note(format_args!("note: no {without}: {error}")),
    }
    None
}

/// A path as a shell takes it.
pub fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        assert_eq!(shell(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(shell(Path::new("my runs/it's")), "'my runs/it'\\''s'");
    }
}
