//! `query`: what the NAS-Bench-201 table knows of an architecture.

use anyhow::Result;
use nas::{
    benchmark::{BenchmarkDataset, Column, Epochs, FILE_NAME, Split, Table, TableError},
    space::{Arch, Genotype, NasBench201, nas_bench_201::ARCHITECTURES},
};

use super::architecture;
use crate::{
    context::Context,
    error::HintExt,
    render::{self, Align, Charset},
};

/// Look an architecture up in the NAS-Bench-201 table.
///
/// Prints its size (the network for CIFAR-10, C 16, N 5) and its top-1 accuracies in percent after 200 epochs of
/// training, mean over the benchmark's seeds, on validation and test split of each data set, with its ranks among
/// all 15,625 architectures (1 is the best).
///
/// The table must be imported once: see `hpe-darts table import --help`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Architecture, in quotes, as '|op~0|+|op~0|op~1|+|op~0|op~1|op~2|'; its index, 0..=15624; the folder of a run, @FILE with
    /// one of these in it, or - for standard input.
    #[arg(value_name = "ARCH|INDEX|RUN|@FILE", allow_negative_numbers = true)]
    arch: String,
    /// Print one JSON object {"index", "arch", "params_m", "flops_m", "cifar10": {"valid", "test"}, "cifar100": ...,
    /// "imagenet16-120": ...}: millions of parameters and multiply-adds, accuracies in percent.
    #[arg(long)]
    json: bool,
}

/// Prints what is known of one architecture.
///
/// # Errors
/// The argument is not an architecture, or the table is missing or unusable.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let arch = Arch::try_from(&architecture::read(&args.arch, Some(&NasBench201))?)?;
    let table = open_table(cx)?;
    if args.json {
        return cx.out.json(&table.query(arch));
    }
    let cell = render::genotype(&NasBench201, &Genotype::from(arch), Charset::of_terminal());
    cx.out.data(format_args!("{arch}\n\n{cell}\nindex {}\n{}", arch.index(), accuracies(&table, arch)))
}

/// The table in the user's data directory.
///
/// # Errors
/// It is missing or unusable; the hint says what to do.
pub fn open_table(cx: &Context) -> Result<Table> {
    advise(Table::open(&cx.home()?.join(FILE_NAME)))
}

/// Adds to a table's error what to do about it.
pub fn advise<T>(result: Result<T, TableError>) -> Result<T> {
    let hint = match &result {
        Err(TableError::NotFound(_)) => {
            "import the benchmark's results once: hpe-darts table import FILE.csv (hpe-darts table import --help lists its columns)"
        }
        Err(TableError::Signature(_) | TableError::Damaged { .. }) => {
            "import it again: hpe-darts table import FILE.csv"
        }
        Err(TableError::Newer { .. }) => "update hpe-darts, or import the table again with this version",
        _ => return Ok(result?),
    };
    result.hint(hint)
}

/// Size and accuracies of an architecture with their ranks, as text.
pub fn accuracies(table: &Table, arch: Arch) -> String {
    let result = table.query(arch);
    let mut rows = render::Table::new([
        ("accuracy in %, 200 epochs", Align::Left),
        ("valid", Align::Right),
        ("rank", Align::Right),
        ("test", Align::Right),
        ("rank", Align::Right),
    ]);
    for dataset in BenchmarkDataset::ALL {
        let mut row = vec![dataset.name().to_owned()];
        for split in Split::ALL {
            let rank = table.rank(Column::accuracy(dataset, split, Epochs::TwoHundred), arch);
            row.push(format!("{:.2}", table.accuracy(dataset, split, Epochs::TwoHundred, arch)));
            row.push(rank.map_or_else(String::new, |rank| rank.to_string()));
        }
        rows.row(row);
    }
    format!(
        "{:.3} M parameters, {:.2} M multiply-adds (CIFAR-10, C 16, N 5)\n\n{rows}ranks among {ARCHITECTURES}, 1 is the best\n",
        result.params_m, result.flops_m
    )
}
