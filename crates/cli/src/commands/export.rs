//! `export`: a network or an architecture as a file for other programs.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use nas::{
    Here,
    export::{self, Format, Options, Writer},
    files::{as_text, shown},
    retrain::{RetrainError, Trained},
    search::GENOTYPE,
    space::{self, Genotype},
    suggest,
};
use serde_json::{Value, json};

use super::{architecture, data, files};
use crate::{args, context::Context, error::HintExt, render};

/// Write a trained network, or an architecture, for other programs.
///
/// onnx, safetensors and pytorch take the folder of a `hpe-darts retrain` (its newest checkpoint, finished or not) or a
/// file .safetensors that an export wrote. genotype, genotype-json, svg and dot take any architecture. `hpe-darts list
/// formats` says what each of them is.
///
/// What an exported network takes and gives, and how it was checked: docs/models.md.
///
/// With --json, one object {"format", "files": [{"path", "bytes"}], "space", "arch", "index", "parameters", "multiply_adds",
/// "epochs"}: "index" in the space's table, null where there is none; the last three are null for an architecture.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What is exported: the folder of a run, a file .safetensors, or an architecture as for `describe`.
    #[arg(value_name = "RUN|GENOTYPE|ARCH|INDEX|@FILE", allow_negative_numbers = true)]
    what: String,
    /// Format: onnx, safetensors, pytorch, genotype, genotype-json, svg or dot.
    #[arg(long, value_name = "F", value_parser = format_named)]
    format: &'static Format,
    /// The file to write; `-`: standard output, of formats that are one file.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// The checkpoint kept at the end of this epoch (see run.keep_epochs) [default: the newest].
    #[arg(long, value_name = "N", value_parser = args::count(1, 1_000_000))]
    epoch: Option<usize>,
    /// onnx: fold batch normalisation into the convolutions.
    #[arg(long)]
    fold_bn: bool,
    /// onnx: put the normalisation into the network, which then takes pixels from 0 to 1.
    #[arg(long)]
    with_normalisation: bool,
    /// Replace files that exist.
    #[arg(long)]
    force: bool,
    /// Print JSON (default: text).
    #[arg(long)]
    json: bool,
}

/// Formats that are drawings.
static DRAWINGS: [Format; 2] = [
    Format {
        name: "svg",
        about: "a drawing of the cells",
        ending: "svg",
        writer: Writer::Architecture(|space, genotype| Ok(render::genotype_svg(space, genotype))),
    },
    Format {
        name: "dot",
        about: "the cells as a graph for Graphviz",
        ending: "dot",
        writer: Writer::Architecture(|space, genotype| Ok(render::genotype_dot(space, genotype))),
    },
];

/// Every format.
pub fn formats() -> impl Iterator<Item = &'static Format> {
    export::FORMATS.iter().chain(&DRAWINGS)
}

fn format_named(name: &str) -> Result<&'static Format, String> {
    let names = || formats().map(|f| f.name);
    formats().find(|f| f.name == name).ok_or_else(|| {
        let known = format!("expected {}", suggest::one_of(names()));
        match suggest::nearest(name, names()) {
            Some(near) => format!("{known}; {}", suggest::did_you_mean(near)),
            None => known,
        }
    })
}

/// Exports.
///
/// # Errors
/// A format that does not go with what is exported; a file that exists or cannot be written; whatever is wrong with the run.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let targets = targets(&args)?;
    let made = make(&args, cx)?;
    let sizes: Vec<usize> = made.files.iter().map(Vec::len).collect();
    let Some(targets) = targets else {
        cx.out.note(made.summary());
        return made.files.first().map_or(Ok(()), |bytes| cx.out.bytes(bytes));
    };
    // The format's own file comes last: where it stands, everything does.
    files::write(&targets.iter().zip(&made.files).rev().collect::<Vec<_>>())?;
    if args.json {
        let mut result = made.about;
        result["format"] = json!(args.format.name);
        let files = targets.iter().zip(sizes).map(|(path, bytes)| json!({ "path": as_text(path), "bytes": bytes }));
        result["files"] = files.collect();
        return cx.out.json(&result);
    }
    let lines = targets.iter().zip(sizes).map(|(path, bytes)| format!("{}: {bytes} bytes\n", shown(path)));
    cx.out.data(lines.collect::<String>() + &made.summary())
}

/// The files to be written, the format's own first, or `None` for standard output. Everything about them is checked here.
fn targets(args: &Args) -> Result<Option<Vec<PathBuf>>> {
    let Args { format, out, .. } = args;
    let name = format.name;
    let (beside, options) = match format.writer {
        Writer::Architecture(_) => (&[][..], false),
        Writer::Network { beside, options, .. } => (beside, options),
    };
    for (given, option) in [(args.fold_bn, "--fold-bn"), (args.with_normalisation, "--with-normalisation")] {
        if given && !options {
            return Err(anyhow!("the format {name} has no {option}")).hint("it is an option of --format onnx");
        }
    }
    if args.epoch.is_some() && matches!(format.writer, Writer::Architecture(_)) {
        bail!("the format {name} is of the architecture, which has no --epoch");
    }
    if out.as_os_str() == "-" {
        if !beside.is_empty() {
            return Err(anyhow!("the format {name} is several files, which do not go to standard output"))
                .hint(format!("-o NAME.{}", format.ending));
        }
        if args.json {
            bail!("standard output is the file's: --json needs -o FILE");
        }
        return Ok(None);
    }
    if !beside.is_empty() && out.extension().is_none_or(|ending| ending != format.ending) {
        return Err(anyhow!("{} is no name for the format {name}, which is several files", out.display()))
            .hint(format!("-o NAME.{}", format.ending));
    }
    let files: Vec<PathBuf> =
        std::iter::once(out.clone()).chain(beside.iter().map(|ending| out.with_extension(ending))).collect();
    files::check(files.iter().map(PathBuf::as_path), args.force)?;
    Ok(Some(files))
}

/// What was made, and of what.
struct Made {
    files: Vec<Vec<u8>>,
    about: Value,
}

impl Made {
    fn summary(&self) -> String {
        let text = |key: &str| self.about[key].as_str().unwrap_or_default().to_owned();
        let epochs = self.about["epochs"].as_u64();
        let epochs = epochs.map(|n| format!(" after {n} epoch{}", if n == 1 { "" } else { "s" })).unwrap_or_default();
        let size = self.about["parameters"].as_u64().zip(self.about["multiply_adds"].as_u64());
        let size = size.map(|(p, m)| format!("\n{p} parameters, {m} multiply-adds an image")).unwrap_or_default();
        format!("{}{epochs}{size}", text("arch"))
    }
}

fn make(args: &Args, cx: &Context) -> Result<Made> {
    let given = Path::new(args.what.trim());
    let is_weights = given.is_file() && given.extension().is_some_and(|ending| ending == "safetensors");
    match args.format.writer {
        Writer::Architecture(write) => {
            let genotype = if is_weights {
                open(given, args, cx)?.genotype().clone()
            } else {
                architecture::read(&args.what, None)?
            };
            let space = space::find(&genotype.space)?;
            let mut text = write(space, &genotype)?;
            if !text.ends_with('\n') {
                text.push('\n');
            }
            Ok(Made { files: vec![text.into_bytes()], about: about(&genotype, None)? })
        }
        Writer::Network { write, .. } => {
            if !is_weights && !given.is_dir() {
                if is_path(given) {
                    return Err(RetrainError::NoSuchPath(given.to_owned()).into());
                }
                // What is no architecture either is the first thing to say.
                architecture::read(&args.what, None)?;
                return Err(anyhow!("an architecture has no weights, which the format {} needs", args.format.name))
                    .hint("train it first: `hpe-darts retrain ARCH --out RUN`, then export RUN");
            }
            let trained = open(given, args, cx)?;
            let options = Options { fold_bn: args.fold_bn, with_normalisation: args.with_normalisation };
            Ok(Made { files: write(&trained, &options)?, about: about(trained.genotype(), Some(&trained))? })
        }
    }
}

/// Whether something that is not there was meant as a file or folder.
fn is_path(given: &Path) -> bool {
    !given.exists()
        && (given.components().count() > 1 || given.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors")))
}

fn open(path: &Path, args: &Args, cx: &Context) -> Result<Trained> {
    let here = Here { home: cx.home().ok(), ..Here::default() };
    let opened = Trained::open(path, args.epoch, &here, &mut |event| data::loading(&cx.out, &event));
    // A search has found an architecture, but may be under way.
    if let Err(RetrainError::Search(run)) = &opened
        && !run.join(GENOTYPE).exists()
    {
        return opened.hint("let it finish, then `hpe-darts retrain` trains what it has found");
    }
    let trained = opened?;
    if trained.trained() == Some((0, 0)) {
        return Err(anyhow!("the network in {} has not been trained yet", path.display()))
            .hint(format!("`hpe-darts resume {}` trains it", path.display()));
    }
    Ok(trained)
}

fn about(genotype: &Genotype, trained: Option<&Trained>) -> Result<Value> {
    let space = space::find(&genotype.space)?;
    let cost = trained.map(|trained| trained.graph().cost());
    Ok(json!({
        "format": null,
        "files": null,
        "space": space.name(),
        "arch": space.text(genotype)?,
        "index": space.table_index(genotype),
        "parameters": cost.map(|cost| cost.parameters),
        "multiply_adds": cost.map(|cost| cost.multiply_adds),
        "epochs": trained.and_then(Trained::trained).map(|(epochs, _)| epochs),
    }))
}
