//! `evaluate`: how good a trained network is.

use std::path::PathBuf;

use anyhow::Result;
use nas::{
    Here,
    escape::csv_text,
    files::{as_text, shown},
    retrain::{Evaluator, Images, Report, RetrainError},
    run::RunError,
    search::cpu_engines,
};
use serde_json::json;

use super::{data, files};
use crate::{
    args,
    context::Context,
    error::Interrupted,
    render::{self, Align, Table},
};

/// Measure a trained network: accuracy, loss, and what it takes for what.
///
/// The network is that of the newest checkpoint of a `hpe-darts retrain`, finished or not. Images go through it as they are,
/// with running statistics.
///
/// With --json, one object {"run", "epochs", "steps" (of the epoch after them), "split", "images", "loss", "top1", "top5", "classes": [{"name", "images",
/// "accuracy"}], "confusion"}: percent and nats; "confusion" holds images by true class, then by the network's.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run folder that `hpe-darts retrain` made.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Images that it is measured on.
    #[arg(long, value_enum, default_value = "test")]
    split: Split,
    /// The checkpoint kept at the end of this epoch (see run.keep_epochs) [default: the newest].
    #[arg(long, value_name = "N", value_parser = args::count(1, 1_000_000))]
    epoch: Option<usize>,
    /// Write the confusion matrix to this file, as CSV: a row for each true class [default: not written].
    #[arg(long, value_name = "FILE")]
    confusion: Option<PathBuf>,
    /// Draw the confusion matrix into this file, as SVG: a shaded square for each true class and answer [default: not drawn].
    #[arg(long, value_name = "FILE")]
    confusion_svg: Option<PathBuf>,
    /// Write the network's outputs before softmax to this file, as CSV: a row for each image in the data set's order with its
    /// true class and an output for each class [default: not written].
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    force: bool,
    /// Folder or archive of the data, where it has moved; other data are refused [default: where it was].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    threads: args::Threads,
    /// Print JSON (default: tables).
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Split {
    /// The test images.
    Test,
    /// Those that it was validated on.
    Valid,
    /// Those that trained it.
    Train,
}

impl From<Split> for Images {
    fn from(split: Split) -> Self {
        match split {
            Split::Test => Images::Test,
            Split::Valid => Images::Valid,
            Split::Train => Images::Train,
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// The folder is not that of a training, or lacks the checkpoint or the images; an interruption; a file that cannot be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let targets = [&args.confusion, &args.confusion_svg, &args.logits];
    files::check(targets.into_iter().flatten().map(PathBuf::as_path), args.force)?;
    let stop = cx.interrupt()?;
    let threads = Some(args.threads.get());
    let here = Here { home: cx.home().ok(), data: args.data, threads };
    let mut loading = |event| data::loading(&cx.out, &event);
    let make = cpu_engines(threads);
    let mut evaluator = Evaluator::open(&args.run, args.epoch, &here, &mut loading, &make)?;
    let images = Images::from(args.split);
    let bar = cx.out.bar("evaluate", 0);
    let mut progress = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let mut outputs = String::new();
    let classes = evaluator.trained().model().classes.clone();
    let mut each = |label: usize, logits: &[f32]| {
        if args.logits.is_some() {
            outputs += &format!(
                "{},{}\n",
                quoted(&classes[label]),
                logits.iter().map(f32::to_string).collect::<Vec<_>>().join(",")
            );
        }
    };
    let report = evaluator.evaluate(images, &mut progress, &mut each, &stop);
    bar.finish_and_clear();
    let report = match report {
        Err(RetrainError::Run(RunError::Interrupted)) => return Err(Interrupted.into()),
        report => report?,
    };
    let names: Vec<&str> = report.classes.iter().map(|class| class.name.as_str()).collect();
    let write = || {
        let written: [(&Option<PathBuf>, &dyn Fn() -> String); 3] = [
            (&args.confusion, &|| csv(&names, &report)),
            (&args.confusion_svg, &|| render::heat_map(&names, &report.confusion)),
            (&args.logits, &|| format!("{}\n{outputs}", head(&names))),
        ];
        let wanted = written.into_iter().filter_map(|(path, text)| Some((path.as_ref()?, text())));
        files::write(&wanted.collect::<Vec<_>>())
    };
    let (epochs, steps) = evaluator.trained().trained().unwrap_or_default();
    if args.json {
        let mut result = json!(report);
        result["run"] = json!(as_text(&args.run));
        (result["epochs"], result["steps"]) = (json!(epochs), json!(steps));
        result["split"] = json!(images.as_str());
        cx.out.json(&result)?;
        return write();
    }
    let Report { images: count, loss, top1, top5, classes, .. } = &report;
    let top5 = top5.map(|top5| format!(", top-5 {top5:.2} %")).unwrap_or_default();
    let and = if steps > 0 { format!(" and {steps} steps") } else { String::new() };
    let mut table = Table::new([("class", Align::Left), ("images", Align::Right), ("accuracy, %", Align::Right)]);
    for class in classes {
        let accuracy = class.accuracy.map_or("-".to_owned(), |accuracy| format!("{accuracy:.2}"));
        table.row([shown(&class.name), class.images.to_string(), accuracy]);
    }
    cx.out.data(format_args!(
        "{} after {epochs} epochs{and}, {count} {} images of {}: top-1 {top1:.2} %{top5}, loss {loss:.4}\n\n{table}",
        evaluator.plan().config.arch,
        images.as_str(),
        evaluator.plan().config.dataset,
    ))?;
    write()
}

/// A name in quotes: a class may be called anything.
fn quoted(name: &str) -> String {
    format!("\"{}\"", csv_text(name).replace('"', "\"\""))
}

/// The first line: what a row is of, then a column for each class.
fn head(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("true class,{}", names.join(","))
}

fn csv(names: &[&str], report: &Report) -> String {
    let mut text = head(names) + "\n";
    for (name, row) in names.iter().zip(&report.confusion) {
        let row: Vec<String> = row.iter().map(usize::to_string).collect();
        text += &format!("{},{}\n", quoted(name), row.join(","));
    }
    text
}
