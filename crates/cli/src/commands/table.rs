//! `table`: the NAS-Bench-201 table in the user's data directory.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use nas::{
    benchmark::{
        BenchmarkDataset, Column, Epochs, FILE_NAME, Import, ImportError, Split, Table, VERSION, import as read_csv,
    },
    files::serialize_path,
    sniff::FileKind,
};
use serde::Serialize;

use super::query::advise;
use crate::{
    context::Context,
    error::HintExt,
    render::{self, Align},
};

/// Import the NAS-Bench-201 table, or describe the imported one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Import(ImportArgs),
    Info(InfoArgs),
}

/// Make the table from a CSV file, plain or gzip, and keep it for `query`, `score` and `search`.
///
/// Everything is checked before an existing table is replaced.
#[derive(Debug, clap::Args)]
#[command(after_long_help = format!(
    "The file has a header line and a line for each of the 15,625 architectures, in any order. Columns, in any order: \
     index, arch, {}. Accuracies are in percent, parameters and multiply-adds in millions. Other columns are ignored.",
    Column::ALL.iter().map(|c| format!("{c}{}", if c.is_required() { "" } else { " (optional)" }))
        .collect::<Vec<_>>().join(", ")
))]
struct ImportArgs {
    /// The CSV file; --help lists its columns.
    #[arg(value_name = "CSV")]
    file: PathBuf,
}

/// Show where the table is, what it holds and its best architectures.
#[derive(Debug, clap::Args)]
struct InfoArgs {
    /// Print one JSON object with `path`, `version`, `bytes`, `columns` and `best`.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The CSV file is unreadable or not a whole table; the table is missing, unusable or not writable.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    match args.command {
        Command::Import(args) => import(&args, cx),
        Command::Info(args) => info(&args, cx),
    }
}

fn import(args: &ImportArgs, cx: &Context) -> Result<()> {
    let Import { table, ignored } = read_csv(&args.file)
        .or_else(advise_import)
        .with_context(|| format!("{} is not imported", args.file.display()))?;
    if !ignored.is_empty() {
        cx.out.note(format_args!("note: ignored columns: {}", ignored.join(", ")));
    }
    let path = cx.home()?.join(FILE_NAME);
    let bytes = table
        .save(&path)
        .hint("check the folder's permissions and free space, or set HPE_DARTS_HOME to another folder")?;
    let columns = table.columns().count();
    cx.out.data(format_args!("imported 15625 architectures, {columns} columns, {bytes} bytes: {}", path.display()))
}

fn advise_import(error: ImportError) -> Result<Import> {
    let hint = match error {
        ImportError::MissingColumn { .. } => "hpe-darts table import --help lists all columns",
        ImportError::MissingRows { .. } => "the file seems truncated: get a complete copy",
        ImportError::Foreign { what: FileKind::TorchSave | FileKind::Pickle, .. } => {
            "the benchmark's own file is opened by its Python API (`nas_201_api`), which can write the numbers as CSV; \
             hpe-darts table import --help lists the columns"
        }
        ImportError::Arch { .. } => "index counts architectures in the order of NAS-Bench-201's own files",
        _ => return Err(error.into()),
    };
    Err(error).hint(hint)
}

/// What `info --json` prints.
#[derive(Debug, Serialize)]
struct Info {
    #[serde(serialize_with = "serialize_path")]
    path: PathBuf,
    version: u32,
    bytes: u64,
    architectures: usize,
    columns: Vec<&'static str>,
    best: Vec<Best>,
}

/// The best architecture of one data set and split after 200 epochs.
#[derive(Debug, Serialize)]
struct Best {
    dataset: &'static str,
    split: &'static str,
    accuracy: f64,
    index: usize,
    arch: String,
}

fn info(args: &InfoArgs, cx: &Context) -> Result<()> {
    let path = cx.home()?.join(FILE_NAME);
    let table = advise(Table::open(&path))?;
    let best = BenchmarkDataset::ALL.into_iter().flat_map(|d| Split::ALL.map(|s| (d, s)));
    let best = best.filter_map(|(dataset, split)| {
        let (arch, accuracy) = table.best(Column::accuracy(dataset, split, Epochs::TwoHundred))?;
        let (dataset, split) = (dataset.name(), split.name());
        Some(Best { dataset, split, accuracy, index: arch.index(), arch: arch.to_string() })
    });
    let info = Info {
        bytes: fs::metadata(&path).with_context(|| format!("cannot read {}", path.display()))?.len(),
        path,
        version: VERSION,
        architectures: nas::space::nas_bench_201::ARCHITECTURES,
        columns: table.columns().map(Column::name).collect(),
        best: best.collect(),
    };
    if args.json {
        return cx.out.json(&info);
    }
    let mut rows = render::Table::new([
        ("best after 200 epochs", Align::Left),
        ("split", Align::Left),
        ("accuracy in %", Align::Right),
        ("index", Align::Right),
        ("architecture", Align::Left),
    ]);
    for b in &info.best {
        rows.row([b.dataset, b.split, &format!("{:.2}", b.accuracy), &b.index.to_string(), &b.arch]);
    }
    cx.out.data(format_args!(
        "{}\nformat version {}, {} bytes, {} architectures\ncolumns: {}\n\n{rows}",
        info.path.display(),
        info.version,
        info.bytes,
        info.architectures,
        info.columns.join(", ")
    ))
}
