//! Drawings of cells: one box for each node from top to bottom, and beside them a trunk line for the output of each node.
//!
//! The trunk of a later node runs nearer to the boxes, and the inputs of a node are drawn nearest trunk first, so lines
//! rarely cross.

mod dot;
mod svg;
mod text;

use nas::space::{CellGenotype, CellKind, Genotype, GenotypeEdge, OpName, SearchSpace};

use super::Charset;

/// Draws every cell of a genotype in characters. A cell kind that `space` does not have is left out.
pub fn genotype(space: &dyn SearchSpace, genotype: &Genotype, charset: Charset) -> String {
    drawings(space, genotype).iter().map(|cell| text::draw(cell, charset)).collect::<Vec<_>>().join("\n")
}

/// Draws every cell of a genotype, side by side, as an SVG picture.
pub fn genotype_svg(space: &dyn SearchSpace, genotype: &Genotype) -> String {
    svg::draw(&drawings(space, genotype))
}

/// Writes every cell of a genotype as a graph for Graphviz.
pub fn genotype_dot(space: &dyn SearchSpace, genotype: &Genotype) -> String {
    dot::draw(&drawings(space, genotype))
}

/// A cell as it is drawn.
struct Drawing {
    /// The kind of cell, where the space has several.
    title: Option<&'static str>,
    nodes: Vec<Node>,
    /// Edges with the operation `none`.
    absent: Vec<String>,
}

struct Node {
    name: String,
    /// Nearest source first.
    inputs: Vec<Arrival>,
    is_source: bool,
    /// Whether it is an input or the output of the cell.
    is_end: bool,
}

/// An edge where it arrives.
struct Arrival {
    from: usize,
    label: &'static str,
    /// The operation; `None` for the concatenation.
    op: Option<OpName>,
}

impl Drawing {
    fn arrivals(&self) -> impl Iterator<Item = &Arrival> {
        self.nodes.iter().flat_map(|node| &node.inputs)
    }

    /// The trunk of a source, counted from the boxes.
    fn lane(&self, node: usize) -> usize {
        self.nodes[node + 1..].iter().filter(|n| n.is_source).count()
    }

    /// What is not drawn.
    fn note(&self) -> Option<String> {
        (!self.absent.is_empty()).then(|| format!("none on {}", self.absent.join(", ")))
    }
}

impl Node {
    /// Rows of its box: one for each input, one for the line that leaves it.
    fn rows(&self) -> usize {
        (self.inputs.len() + usize::from(self.is_source)).max(1)
    }
}

fn drawings(space: &dyn SearchSpace, genotype: &Genotype) -> Vec<Drawing> {
    let kinds = space.kinds();
    let of = |kind: &CellKind| {
        let chosen = genotype.cells.iter().find(|cell| cell.kind == kind.name)?;
        Some(drawing(kind, chosen, (kinds.len() > 1).then_some(kind.name)))
    };
    kinds.iter().filter_map(of).collect()
}

fn drawing(kind: &CellKind, chosen: &CellGenotype, title: Option<&'static str>) -> Drawing {
    let concatenates = kind.outputs > 1;
    let name = |node: usize| match node {
        _ if node < kind.inputs && kind.inputs == 1 => "input".to_owned(),
        // The outputs of the cells before, as the field writes them.
        _ if node < kind.inputs => format!("c_{{k-{}}}", kind.inputs - node),
        _ if node + 1 == kind.nodes && !concatenates => "output".to_owned(),
        _ => format!("node {node}"),
    };
    let mut names: Vec<String> = (0..kind.nodes).map(name).collect();
    let (absent, present): (Vec<&GenotypeEdge>, Vec<_>) = chosen.edges.iter().partition(|edge| edge.op == OpName::NONE);
    let absent = absent.iter().map(|e| format!("{} -> {}", names[e.from], names[e.to])).collect();
    let arrival = |e: &&GenotypeEdge| (e.to, Arrival { from: e.from, label: e.op.as_str(), op: Some(e.op) });
    let mut edges: Vec<(usize, Arrival)> = present.iter().map(arrival).collect();
    if concatenates {
        names.push("c_{k}".to_owned());
        let parts = kind.nodes - kind.outputs..kind.nodes;
        edges.extend(parts.map(|from| (kind.nodes, Arrival { from, label: "concat", op: None })));
    }
    // Stable: of equal sources the first edge stays first.
    edges.sort_by_key(|(_, e)| std::cmp::Reverse(e.from));
    let sources: Vec<usize> = edges.iter().map(|(_, e)| e.from).collect();
    let output = names.len() - 1;
    let node = |(id, name)| Node {
        name,
        inputs: vec![],
        is_source: sources.contains(&id),
        is_end: id < kind.inputs || id == output,
    };
    let mut nodes: Vec<Node> = names.into_iter().enumerate().map(node).collect();
    edges.into_iter().for_each(|(to, e)| nodes[to].inputs.push(e));
    Drawing { title, nodes, absent }
}
