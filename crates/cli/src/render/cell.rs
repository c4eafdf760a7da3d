//! Drawing of a cell: one box per node from top to bottom, and beside them a trunk line for the output of each node.
//!
//! The trunk of a later node runs nearer to the boxes, and the inputs of a node are drawn nearest trunk first; so
//! lines rarely cross, and where they do the horizontal one is interrupted.

use std::fmt::Write as _;

use nas::space::{CellGenotype, CellKind, Genotype, GenotypeEdge, OpName, SearchSpace};

use super::Charset;

/// Columns from one trunk to the next.
const TRUNK_GAP: usize = 3;

struct Lines {
    horizontal: char,
    vertical: char,
    /// Corners of a box: top left, top right, bottom left, bottom right.
    corners: [char; 4],
    /// A line that leaves a box.
    leave: char,
    arrow: char,
    /// Start, branch and end of a trunk.
    trunk: [char; 3],
}

impl Charset {
    fn lines(self) -> Lines {
        match self {
            Charset::Unicode => Lines {
                horizontal: '─',
                vertical: '│',
                corners: ['┌', '┐', '└', '┘'],
                leave: '├',
                arrow: '◀',
                trunk: ['┐', '┤', '┘'],
            },
            Charset::Ascii => {
                Lines { horizontal: '-', vertical: '|', corners: ['+'; 4], leave: '+', arrow: '<', trunk: ['+'; 3] }
            }
        }
    }
}

/// Draws every cell of a genotype. A cell kind that `space` does not have is left out.
pub fn genotype(space: &dyn SearchSpace, genotype: &Genotype, charset: Charset) -> String {
    let mut text = String::new();
    for kind in space.kinds() {
        let Some(chosen) = genotype.cells.iter().find(|cell| cell.kind == kind.name) else { continue };
        if space.kinds().len() > 1 {
            let _ = writeln!(text, "{}:", kind.name);
        }
        text += &cell(kind, chosen, charset);
    }
    text
}

fn cell(kind: &CellKind, chosen: &CellGenotype, charset: Charset) -> String {
    let name = |node: usize| match node {
        _ if node < kind.inputs && kind.inputs == 1 => "input".to_owned(),
        _ if node < kind.inputs => format!("input {node}"),
        // Where every edge stays the last node is the output; else the output joins several nodes.
        _ if node + 1 == kind.nodes && kind.kept_inputs.is_none() => "output".to_owned(),
        _ => format!("node {node}"),
    };
    let names: Vec<String> = (0..kind.nodes).map(name).collect();
    let (absent, present): (Vec<&GenotypeEdge>, Vec<_>) = chosen.edges.iter().partition(|edge| edge.op == OpName::NONE);
    let edges: Vec<(usize, usize, &str)> = present.iter().map(|e| (e.from, e.to, e.op.as_str())).collect();
    let mut text = draw(&names, &edges, &charset.lines());
    if !absent.is_empty() {
        let edge = |e: &&GenotypeEdge| format!("{} -> {}", names[e.from], names[e.to]);
        let _ = writeln!(text, "none on {}", absent.iter().map(edge).collect::<Vec<_>>().join(", "));
    }
    text
}

/// The drawing. `edges`: source, target (a later node), label.
fn draw(names: &[String], edges: &[(usize, usize, &str)], lines: &Lines) -> String {
    let inner = names.iter().map(|n| n.chars().count()).max().unwrap_or(0) + 2;
    let label = edges.iter().map(|(_, _, label)| label.chars().count()).max().unwrap_or(0);
    let is_source: Vec<bool> = (0..names.len()).map(|n| edges.iter().any(|e| e.0 == n)).collect();
    let column = |node: usize| inner + label + 8 + TRUNK_GAP * is_source[node + 1..].iter().filter(|s| **s).count();

    // Rows first: a node's inputs from top to bottom, then the line that leaves it.
    let mut canvas = Canvas::default();
    let mut arrivals = Vec::new();
    let mut leaves = Vec::new();
    for (node, name) in names.iter().enumerate() {
        let mut incoming: Vec<_> = edges.iter().filter(|e| e.1 == node).collect();
        incoming.sort_by_key(|e| std::cmp::Reverse(e.0));
        let rows = (incoming.len() + usize::from(is_source[node])).max(1);
        let top = canvas.add_box(inner, rows, lines);
        canvas.text(top, 2, name);
        if is_source[node] {
            leaves.push((top + incoming.len(), node));
        }
        arrivals.extend((top..).zip(incoming));
    }

    // Trunks next, so that horizontal lines can give way to them.
    let last_row = |node: usize| arrivals.iter().filter(|(_, e)| e.0 == node).map(|(row, _)| *row).max();
    for &(row, node) in &leaves {
        let last = last_row(node).unwrap_or(row);
        (row..=last).for_each(|y| canvas.put(y, column(node), lines.vertical));
    }
    for &(row, node) in &leaves {
        canvas.put(row, inner + 1, lines.leave);
        canvas.horizontal(row, inner + 2..column(node), lines);
        canvas.put(row, column(node), lines.trunk[0]);
    }
    for &(row, &(from, _, label)) in &arrivals {
        canvas.horizontal(row, inner + 3..column(from), lines);
        canvas.put(row, inner + 2, lines.arrow);
        canvas.text(row, inner + 4, &format!(" {label} "));
        canvas.put(row, column(from), lines.trunk[if last_row(from) == Some(row) { 2 } else { 1 }]);
    }
    canvas.to_string()
}

/// Characters by row and column, grown as needed.
#[derive(Default)]
struct Canvas(Vec<Vec<char>>);

impl Canvas {
    fn put(&mut self, y: usize, x: usize, c: char) {
        self.0.resize(self.0.len().max(y + 1), Vec::new());
        let row = &mut self.0[y];
        row.resize(row.len().max(x + 1), ' ');
        row[x] = c;
    }

    fn text(&mut self, y: usize, x: usize, text: &str) {
        (x..).zip(text.chars()).for_each(|(x, c)| self.put(y, x, c));
    }

    /// A line that is interrupted where a vertical one crosses it.
    fn horizontal(&mut self, y: usize, columns: std::ops::Range<usize>, lines: &Lines) {
        for x in columns {
            if self.0[y].get(x) != Some(&lines.vertical) {
                self.put(y, x, lines.horizontal);
            }
        }
    }

    /// A box of `rows` inner rows below everything else; returns the first inner row.
    fn add_box(&mut self, inner: usize, rows: usize, lines: &Lines) -> usize {
        let top = self.0.len();
        for (y, left, right) in
            [(top, lines.corners[0], lines.corners[1]), (top + rows + 1, lines.corners[2], lines.corners[3])]
        {
            self.put(y, inner + 1, right);
            (1..=inner).for_each(|x| self.put(y, x, lines.horizontal));
            self.put(y, 0, left);
        }
        for y in top + 1..=top + rows {
            self.put(y, 0, lines.vertical);
            self.put(y, inner + 1, lines.vertical);
        }
        top + 1
    }
}

impl std::fmt::Display for Canvas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|row| writeln!(f, "{}", row.iter().collect::<String>().trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nas::space::NasBench201;

    fn drawn(arch: &str, charset: Charset) -> String {
        genotype(&NasBench201, &NasBench201.parse(arch).unwrap(), charset)
    }

    #[test]
    fn a_full_cell() {
        let arch = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|";
        let expected = "\
┌────────┐
│ input  ├────────────────────────┐
└────────┘                        │
┌────────┐                        │
│ node 1 │◀─ nor_conv_3x3 ────────┤
│        ├─────────────────────┐  │
└────────┘                     │  │
┌────────┐                     │  │
│ node 2 │◀─ nor_conv_1x1 ─────┤  │
│        │◀─ nor_conv_3x3 ─────│──┤
│        ├──────────────────┐  │  │
└────────┘                  │  │  │
┌────────┐                  │  │  │
│ output │◀─ nor_conv_3x3 ──┘  │  │
│        │◀─ nor_conv_3x3 ─────┘  │
│        │◀─ skip_connect ────────┘
└────────┘
";
        assert_eq!(drawn(arch, Charset::Unicode), expected);
    }

    #[test]
    fn missing_edges_are_named_and_ascii_will_do() {
        let arch = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
        let expected = "\
+--------+
| input  +------------------------+
+--------+                        |
+--------+                        |
| node 1 |<- nor_conv_3x3 --------+
|        +---------------------+  |
+--------+                     |  |
+--------+                     |  |
| node 2 |<- nor_conv_1x1 -----+  |
|        +------------------+     |
+--------+                  |     |
+--------+                  |     |
| output |<- avg_pool_3x3 --+     |
|        |<- skip_connect --------+
+--------+
none on input -> node 2, node 1 -> output
";
        assert_eq!(drawn(arch, Charset::Ascii), expected);
    }

    #[test]
    fn a_cell_without_any_edge_is_boxes() {
        let text = drawn("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", Charset::Unicode);
        assert_eq!(text.lines().filter(|l| l.starts_with('│')).count(), 4);
        assert!(!text.contains('◀') && !text.contains('├'), "{text}");
    }

    #[test]
    fn every_cell_of_the_space_fits_in_80_columns() {
        for arch in nas::space::Arch::all().step_by(97) {
            let text = genotype(&NasBench201, &arch.into(), Charset::Unicode);
            let lines = text.lines().filter(|l| !l.starts_with("none on"));
            assert!(lines.map(|l| l.chars().count()).max() <= Some(80), "{arch}");
            let edges = arch.op_names().iter().filter(|op| **op != OpName::NONE).count();
            assert_eq!(text.matches('◀').count(), edges, "{arch}\n{text}");
        }
    }
}
