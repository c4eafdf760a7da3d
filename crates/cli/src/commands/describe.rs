//! `describe`: the network of an architecture, layer by layer.

use std::{fmt, path::Path};

use anyhow::{Result, anyhow};
use engine::{Cost, Graph, ImageShape, NetworkSpec, Part};
use nas::{
    engines,
    memory::MemoryNeed,
    retrain::{Model, RetrainTrainingConfig},
    search::TrainingConfig,
    space::{self, NasBench201, NetworkShape, SearchSpace, Size},
};
use serde::Serialize;

use super::architecture;
use crate::{
    args::{self, count},
    context::Context,
    error::HintExt,
    render::{self, Align, Charset, Table},
};

/// Describe the network of an architecture: shapes, parameters, multiply-adds.
///
/// Prints a row for each block of the network with the shape of its output for one image and what it costs: trainable
/// parameters (those of every operation and normalisation; an auxiliary head is not counted) and multiply-adds of
/// convolutions and classifier for one image (the literature's FLOPs), and below it the cells. Needs neither table nor data.
/// Of the folder of a training it is the network that was trained, where no option says otherwise.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Architecture, in quotes: '|op~0|+|op~0|op~1|+|op~0|op~1|op~2|' or its index 0..=15624 (NAS-Bench-201),
    /// 'Genotype(normal=[...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))' (DARTS), a genotype
    /// as JSON, the folder of a finished run, @FILE with one of these in it, or `supernet`: the network with every operation on
    /// every edge.
    #[arg(value_name = "GENOTYPE|ARCH|INDEX|RUN|@FILE", allow_negative_numbers = true)]
    arch: String,
    /// Search space [default: the first whose notation the architecture is in; nas-bench-201 for `supernet`].
    #[arg(long, value_name = "SPACE", value_parser = space::find)]
    space: Option<&'static dyn SearchSpace>,
    /// Channels C of the first cells, 1 to 65536 [default: the paper's: nas-bench-201 16; darts 36, its supernet 16].
    #[arg(long, value_name = "C", value_parser = count(1, 65_536))]
    channels: Option<usize>,
    /// Cells N, 1 to 1000: of each stage in nas-bench-201, of the whole network in darts [default: the paper's:
    /// nas-bench-201 5; darts 20, its supernet 8].
    #[arg(long, value_name = "N", value_parser = count(1, 1000))]
    cells: Option<usize>,
    /// Stride of the stem's convolution, 1 or 2 [default: 1].
    #[arg(long, value_name = "S", value_parser = count(1, 2))]
    stem_stride: Option<usize>,
    /// Classes, 1 to 1000000 [default: 10].
    #[arg(long, value_name = "K", value_parser = count(1, 1_000_000))]
    classes: Option<usize>,
    /// Height and width of an RGB image in pixels, 1 to 4096 [default: 32].
    #[arg(long, value_name = "PIXELS", value_parser = count(1, 4096))]
    size: Option<usize>,
    /// Images of a batch that the estimates of memory are for, 1 to 1000000 [default: 64 for a search, 96 for a training].
    #[arg(long, value_name = "N", value_parser = count(1, 1_000_000))]
    batch: Option<usize>,
    /// Print a row for each layer instead of each block.
    #[arg(long)]
    layers: bool,
    /// Print one JSON object {"space", "genotype", "channels", "cells", "classes", "parameters", "multiply_adds",
    /// "memory", "layers", "graph"}: counts for one image; "memory" in bytes, of a search and of a training on batches; "layers" holds {"name", "output", "parameters", "multiply_adds"} for
    /// each row, "graph" every value and layer with its inputs and tensors.
    #[arg(long, conflicts_with = "layers")]
    json: bool,
    /// Print the drawing of the cells as an SVG picture instead, for a file: `--svg > cells.svg`.
    #[arg(long, conflicts_with_all = ["layers", "json"])]
    svg: bool,
}

/// A row of the description.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    output: ImageShape,
    #[serde(flatten)]
    cost: Cost,
}

#[derive(Debug, Serialize)]
struct Description<'a> {
    space: &'static str,
    genotype: Option<String>,
    channels: usize,
    cells: usize,
    classes: usize,
    #[serde(flatten)]
    cost: Cost,
    memory: Estimates,
    layers: Vec<Row<'a>>,
    graph: &'a Graph,
}

/// What runs take of memory, by the images of a batch.
#[derive(Debug, Serialize)]
struct Estimates {
    search_batch: usize,
    /// With every operation of the space, in the usual size of its supernet.
    search: MemoryNeed,
    retrain_batch: usize,
    /// Of this network; `None` for a supernet.
    retrain: Option<MemoryNeed>,
}

impl Estimates {
    fn new(
        space: &dyn SearchSpace,
        shape: &NetworkShape,
        (spec, discrete): (&NetworkSpec, bool),
        batch: Option<usize>,
    ) -> Result<Self> {
        let engines = engines::cpu(std::thread::available_parallelism().map_or(1, usize::from))?;
        let [search_batch, retrain_batch] = [
            batch.unwrap_or(TrainingConfig::default().batch_size),
            batch.unwrap_or(RetrainTrainingConfig::default().batch_size),
        ];
        let Size { channels, cells } = space.supernet_size();
        let supernet = space.supernet(&NetworkShape { channels, cells, ..*shape })?;
        let supernet = if discrete { &supernet } else { spec };
        let of = |spec, batch, loaders| MemoryNeed::of(&*engines, spec, batch, batch, loaders);
        Ok(Self {
            search_batch,
            search: of(supernet, search_batch, 2)?,
            retrain_batch,
            retrain: if discrete { Some(of(spec, retrain_batch, 1)?) } else { None },
        })
    }
}

impl fmt::Display for Estimates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { search_batch, search, retrain_batch, retrain } = self;
        if let Some(retrain) = retrain {
            writeln!(f, "memory of a training on batches of {retrain_batch}: {retrain}")?;
        }
        let size = if retrain.is_some() { " (of the usual supernet)" } else { "" };
        writeln!(f, "memory of a search{size} on batches of {search_batch}: {search}")
    }
}

/// Prints what an architecture is as a network.
///
/// # Errors
/// The argument is no architecture, or there is no such network.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let sizes = [
        ("--channels", args.channels.is_some()),
        ("--cells", args.cells.is_some()),
        ("--stem-stride", args.stem_stride.is_some()),
        ("--classes", args.classes.is_some()),
        ("--size", args.size.is_some()),
        ("--batch", args.batch.is_some()),
    ];
    args::without_effect(sizes.map(|(option, given)| (option, given && args.svg)), "--svg draws the cells alone")?;
    let genotype =
        if args.arch.trim() == "supernet" { None } else { Some(architecture::read(&args.arch, args.space)?) };
    let space = match &genotype {
        Some(genotype) => space::find(&genotype.space)?,
        None => args.space.unwrap_or(&NasBench201),
    };
    let Size { channels, cells } = if genotype.is_some() { space.network_size() } else { space.supernet_size() };
    let mut shape = NetworkShape {
        stem_stride: 1,
        image: ImageShape { height: 32, width: 32, channels: 3 },
        classes: 10,
        channels,
        cells,
    };
    // A folder may be called as an architecture is, which then comes first.
    let folder = Path::new(args.arch.trim());
    if let (true, Some(model)) = (folder.is_dir(), architecture::trained(folder)?)
        && genotype.as_ref().is_some_and(|g| space.text(g).is_ok_and(|arch| arch == model.arch))
    {
        let Model { image, channels, cells, stem_stride, .. } = model;
        shape = NetworkShape { image, classes: model.classes.len(), channels, cells, stem_stride };
    }
    let side = args.size.map(|side| ImageShape { height: side, width: side, channels: 3 });
    let shape = NetworkShape {
        stem_stride: args.stem_stride.unwrap_or(shape.stem_stride),
        image: side.unwrap_or(shape.image),
        classes: args.classes.unwrap_or(shape.classes),
        channels: args.channels.unwrap_or(shape.channels),
        cells: args.cells.unwrap_or(shape.cells),
    };
    let spec = match &genotype {
        Some(genotype) => space.network(genotype, &shape)?,
        None => space.supernet(&shape)?,
    };
    let graph = spec.graph()?;
    if args.svg {
        let Some(genotype) = &genotype else {
            return Err(anyhow!("a supernet has no cell to draw")).hint("give an architecture instead of `supernet`");
        };
        return cx.out.data(render::genotype_svg(space, genotype));
    }
    let text = genotype.as_ref().map(|g| space.text(g)).transpose()?;
    let (cost, rows) = (graph.cost(), rows(&graph, args.layers || args.json));
    let memory = Estimates::new(space, &shape, (&spec, genotype.is_some()), args.batch)?;
    if args.json {
        return cx.out.json(&Description {
            space: space.name(),
            genotype: text,
            channels: shape.channels,
            cells: shape.cells,
            classes: shape.classes,
            cost,
            memory,
            layers: rows,
            graph: &graph,
        });
    }
    let mut table = Table::new([
        (if args.layers { "layer" } else { "block" }, Align::Left),
        ("output", Align::Right),
        ("parameters", Align::Right),
        ("multiply-adds", Align::Right),
    ]);
    for Row { name, output, cost } in rows {
        let output = format!("{} x {} x {}", output.height, output.width, output.channels);
        table.row([name.to_owned(), output, cost.parameters.to_string(), cost.multiply_adds.to_string()]);
    }
    table.row(["whole network".to_owned(), String::new(), cost.parameters.to_string(), cost.multiply_adds.to_string()]);
    let what = text.unwrap_or_else(|| format!("supernet of {}", space.name()));
    let NetworkShape { channels, cells, classes, .. } = shape;
    let ImageShape { height, width, channels: colours } = shape.image;
    let images = match colours {
        1 => "grey images".to_owned(),
        3 => "RGB images".to_owned(),
        other => format!("images with {other} channels"),
    };
    cx.out.data(format_args!(
        "{what}\nC {channels}, N {cells}, {classes} classes, {images} of {height} x {width}\n\n{table}\n{memory}"
    ))?;
    match genotype.filter(|_| !args.layers) {
        Some(genotype) => {
            let cells = render::genotype(space, &genotype, Charset::of_terminal());
            cx.out.data(format_args!("\n{cells}"))
        }
        None => Ok(()),
    }
}

/// A row for each layer, or for each block.
fn rows(graph: &Graph, layers: bool) -> Vec<Row<'_>> {
    if layers {
        let rows = graph.layers.iter().enumerate().map(|(id, layer)| Row {
            name: &layer.name,
            output: graph.values[layer.output].shape,
            cost: graph.layer_cost(id),
        });
        return rows.collect();
    }
    let name = |part| match part {
        Part::Stem => "stem",
        Part::Block(i) => graph.blocks[i].as_str(),
        Part::Head => "head",
        Part::Auxiliary => "auxiliary",
    };
    graph.parts().into_iter().map(|(part, output, cost)| Row { name: name(part), output, cost }).collect()
}
