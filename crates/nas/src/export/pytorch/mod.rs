//! A Python file that a person would write: the layers, a class for each kind of cell, the network block by block. Its modules
//! are called as the tensors are, so the weights load by name.

mod code;

use engine::{BlockKind, CellBlock, CellOutput, CellSpec, Head, Op, Preprocess};

use self::code::{Tree, list, quoted};
use super::{ExportError, Files, Options, weights::weights};
use crate::retrain::Trained;

/// Layers that a network may need, each a class.
const LAYERS: &str = include_str!("layers.py");
/// From a picture to a class.
const USE: &str = include_str!("use.py");

/// The Python file, and the weights beside it.
pub(super) fn export(trained: &Trained, _options: &Options) -> Result<Files, ExportError> {
    Ok(vec![file(trained)?.into_bytes(), weights(trained)?])
}

fn file(trained: &Trained) -> Result<String, ExportError> {
    let (model, spec) = (trained.model(), trained.network());
    if !spec.norm.affine || spec.norm.pools {
        return Err(ExportError::unsupported("pytorch", "batch normalisation without running statistics".to_owned()));
    }
    let cells = spec.cells.iter().enumerate().filter(|(kind, _)| blocks_of(trained, *kind).next().is_some());
    let cells: Vec<String> = cells.map(|(kind, cell)| cell_class(trained, kind, cell)).collect();
    let own = cells.join("\n\n\n") + "\n\n\n" + &network_class(trained);
    let cost = trained.graph().cost();
    let image = model.image;
    let header = format!(
        "\"\"\"{}\n\nTrained on {} by hpe-darts {}; {} parameters, {} multiply-adds an image.\n\n    python THIS_FILE IMAGE...\n\"\"\"\n\n\
         import sys\nfrom pathlib import Path\n\nimport torch\nimport torch.nn.functional as F\nfrom PIL import Image, ImageOps\n\
         from safetensors.torch import load_file\nfrom torch import nn\n\n\
         CLASSES = {}\n# Of pixels in 0 to 1.\nMEAN = {:?}\nSTD = {:?}\nHEIGHT, WIDTH, CHANNELS = {}, {}, {}\n",
        model.arch,
        model.dataset,
        env!("CARGO_PKG_VERSION"),
        cost.parameters,
        cost.multiply_adds,
        list(&model.classes),
        model.normalisation.mean,
        model.normalisation.std,
        image.height,
        image.width,
        image.channels,
    );
    Ok([&header, &layers(&own)[..], &own, USE].map(str::trim_end).join("\n\n\n") + "\n")
}

/// The layers that a text uses, and those that they use.
fn layers(text: &str) -> String {
    let classes: Vec<&str> = LAYERS.trim_end().split("\n\n\n").collect();
    let uses = |text: &str, class: &str| {
        let name = class.trim_start_matches("class ").split('(').next().unwrap_or_default();
        text.contains(&format!("{name}("))
    };
    let mut taken = vec![false; classes.len()];
    // A layer stands after those that it uses.
    for k in (0..classes.len()).rev() {
        taken[k] = uses(text, classes[k])
            || (k + 1..classes.len())
                .any(|later| taken[later] && uses(classes[later].split_once(':').map_or("", |c| c.1), classes[k]));
    }
    classes
        .into_iter()
        .zip(taken)
        .filter(|(_, taken)| *taken)
        .map(|(class, _)| class)
        .collect::<Vec<_>>()
        .join("\n\n\n")
}

/// The cells of a kind in the network.
fn blocks_of(trained: &Trained, kind: usize) -> impl Iterator<Item = &CellBlock> {
    trained.network().blocks.iter().filter_map(move |block| match &block.kind {
        BlockKind::Cell(cell) if cell.cell == kind => Some(cell),
        _ => None,
    })
}

/// Whether the cells of a kind bring their inputs to size.
fn is_preprocessed(trained: &Trained, kind: usize) -> bool {
    blocks_of(trained, kind).any(|block| block.preprocess.iter().any(|p| *p != Preprocess::None))
}

/// `Cell`, `NormalCell`.
fn class_name(trained: &Trained, kind: usize) -> String {
    let name = trained.space().kinds().get(kind).map_or("cell", |kind| kind.name);
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    let name: String = first.into_iter().chain(letters).collect();
    if name == "Cell" { name } else { format!("{name}Cell") }
}

fn cell_class(trained: &Trained, kind: usize, cell: &CellSpec) -> String {
    let spec = trained.network();
    let preprocessed = is_preprocessed(trained, kind);
    let inputs: &[&str] = if cell.inputs == 1 { &["x"] } else { &["s0", "s1"] };
    let node = |node: usize| inputs.get(node).map_or_else(|| format!("node{node}"), |&name| name.to_owned());
    let first_row = blocks_of(trained, kind).map(|block| block.first_row).next().unwrap_or_default();
    let (mut edges, mut terms) = (String::new(), vec![vec![]; cell.nodes]);
    for (e, edge) in cell.edges.iter().enumerate() {
        let stride = if edge.from < cell.inputs { cell.stride } else { 1 };
        let alive = &spec.alive[(first_row + e) * spec.ops.len()..][..spec.ops.len()];
        let mut made = vec![];
        let mut take = |name: &str, module: Made| match module {
            Made::Nothing => {}
            Made::Same => terms[edge.to].push(node(edge.from)),
            Made::By(module) => {
                made.push(format!("{name}={module}"));
                terms[edge.to].push(format!("self.edges[\"{e}\"].{name}({})", node(edge.from)));
            }
        };
        for &op in spec.ops.iter().zip(alive).filter(|(_, alive)| **alive).map(|(op, _)| op) {
            take(op.name(), operation(op, stride));
        }
        if cell.auxiliary_skips {
            take("auxiliary_skip", operation(Op::Skip, stride));
        }
        if !made.is_empty() {
            edges += &format!("            \"{e}\": Named({}),\n", made.join(", "));
        }
    }
    let arguments = if preprocessed { ", *preprocess" } else { "" };
    let what =
        if cell.stride == 1 { "A cell that keeps the image's size." } else { "A cell that halves the image's sides." };
    let mut text = format!("class {}(nn.Module):\n    {}\n\n", class_name(trained, kind), quoted(what));
    text += &format!("    def __init__(self, c{arguments}):\n        super().__init__()\n");
    if preprocessed {
        text += "        self.preprocess = nn.ModuleList(preprocess)\n";
    }
    text += &format!("        self.edges = nn.ModuleDict({{\n{edges}        }})\n\n");
    text += &format!("    def forward(self, {}):\n", inputs.join(", "));
    if preprocessed {
        for (i, name) in inputs.iter().enumerate() {
            text += &format!("        {name} = self.preprocess[{i}]({name})\n");
        }
    }
    for (id, terms) in terms.iter().enumerate().skip(cell.inputs) {
        let sum = match (terms.is_empty(), cell.stride) {
            (false, _) => terms.join(" + "),
            (true, 1) => format!("torch.zeros_like({})", inputs[0]),
            (true, stride) => format!("torch.zeros_like({}[:, :, ::{stride}, ::{stride}])", inputs[0]),
        };
        text += &format!("        {} = {sum}\n", node(id));
    }
    let output = match cell.output {
        CellOutput::LastNode => node(cell.nodes - 1),
        CellOutput::Concat(last) => {
            format!("torch.cat([{}], 1)", (cell.nodes - last..cell.nodes).map(node).collect::<Vec<_>>().join(", "))
        }
    };
    text + &format!("        return {output}")
}

/// What an operation is in PyTorch.
enum Made {
    Nothing,
    Same,
    By(String),
}

fn operation(op: Op, stride: usize) -> Made {
    let last = if stride == 1 { String::new() } else { format!(", {stride}") };
    Made::By(match op {
        Op::None => return Made::Nothing,
        Op::Skip if stride == 1 => return Made::Same,
        Op::Skip => "FactorizedReduce(c, c)".to_owned(),
        Op::Conv1x1 => format!("ConvBN(c, c, 1{last})"),
        Op::Conv3x3 => format!("ConvBN(c, c, 3{last})"),
        Op::AvgPool3x3 => format!("nn.AvgPool2d(3, {stride}, 1, count_include_pad=False)"),
        Op::MaxPool3x3 => format!("nn.MaxPool2d(3, {stride}, 1)"),
        Op::SepConv3x3 => format!("SepConv(c, 3{last})"),
        Op::SepConv5x5 => format!("SepConv(c, 5{last})"),
        Op::DilConv3x3 => format!("DilConv(c, 3{last})"),
        Op::DilConv5x5 => format!("DilConv(c, 5{last})"),
    })
}

fn network_class(trained: &Trained) -> String {
    let (spec, graph) = (trained.network(), trained.graph());
    // Channels of what a layer reads.
    let reads = |name: &str| {
        let layer = graph.layers.iter().find(|layer| layer.name == name);
        layer.map_or(0, |layer| graph.values[layer.inputs[0]].shape.channels)
    };
    let (mut modules, mut steps) = (Tree::default(), String::new());
    let two = spec.cells.iter().any(|cell| cell.inputs == 2);
    for block in &spec.blocks {
        let (made, inputs) = match &block.kind {
            BlockKind::Residual { channels } => {
                (format!("Residual({}, {channels})", reads(&format!("{}.conv_a", block.name))), 1)
            }
            BlockKind::Cell(cell) => {
                let c = cell.channels;
                let mut arguments = vec![c.to_string()];
                let preprocess = cell.preprocess.iter().enumerate().filter(|_| is_preprocessed(trained, cell.cell));
                arguments.extend(preprocess.map(|(i, preprocess)| {
                    let from = reads(&format!("{}.preprocess.{i}", block.name));
                    match preprocess {
                        Preprocess::None => "nn.Identity()".to_owned(),
                        Preprocess::Conv1x1 => format!("ConvBN({from}, {c}, 1)"),
                        Preprocess::FactorizedReduce => format!("FactorizedReduce({from}, {c})"),
                    }
                }));
                let class = class_name(trained, cell.cell);
                (format!("{class}({})", arguments.join(", ")), spec.cells[cell.cell].inputs)
            }
        };
        modules.insert(&block.name, made);
        let module = code::path(&block.name);
        steps += &match (two, inputs) {
            (false, _) => format!("        x = {module}(x)\n"),
            (true, 1) => format!("        s0, s1 = s1, {module}(s1)\n"),
            (true, _) => format!("        s0, s1 = s1, {module}(s0, s1)\n"),
        };
    }
    let channels = |value: usize| graph.values[value].shape.channels;
    let (colours, stem) = (spec.image.channels, spec.stem_channels);
    let stride = if spec.stem_stride == 1 { String::new() } else { format!(", stride={}", spec.stem_stride) };
    let before = graph.maker(graph.logits).map_or(0, |layer| channels(layer.inputs[0]));
    let linear = format!("linear=nn.Linear({before}, {})", spec.classes);
    let x = if two { "s1" } else { "x" };
    let (head, rectified) = match spec.head {
        Head::Plain => (format!("Named({linear})"), String::new()),
        Head::NormRelu => (
            format!("Named(bn=nn.BatchNorm2d({before}), {linear})"),
            format!("        {x} = F.relu(self.head.bn({x}))\n"),
        ),
    };
    let start = if two { "s0 = s1" } else { "x" };
    format!(
        "class Network(nn.Module):\n    {doc}\n\n    def __init__(self):\n        super().__init__()\n        \
         self.stem = Named(conv=nn.Conv2d({colours}, {stem}, 3{stride}, padding=1, bias=False), bn=nn.BatchNorm2d({stem}))\n\
         {modules}        self.head = {head}\n\n    def forward(self, image):\n        \
         {start} = self.stem.bn(self.stem.conv(image))\n{steps}{rectified}        return self.head.linear({x}.mean((2, 3)))",
        doc = quoted("[N, C, H, W], normalised, to outputs before softmax, [N, classes]."),
        modules = modules.assignments(),
    )
}
