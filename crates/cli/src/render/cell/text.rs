//! A cell in characters. Where lines cross the horizontal one is interrupted.

use super::{Arrival, Charset, Drawing};

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

/// The drawing of a cell.
pub(super) fn draw(cell: &Drawing, charset: Charset) -> String {
    let lines = charset.lines();
    let inner = cell.nodes.iter().map(|n| n.name.chars().count()).max().unwrap_or(0) + 2;
    let label = cell.arrivals().map(|e| e.label.chars().count()).max().unwrap_or(0);
    let column = |node: usize| inner + label + 8 + TRUNK_GAP * cell.lane(node);

    // Rows first: a node's inputs from top to bottom, then the line that leaves it.
    let mut canvas = Canvas::default();
    let mut arrivals = Vec::new();
    let mut leaves = Vec::new();
    for (id, node) in cell.nodes.iter().enumerate() {
        let top = canvas.add_box(inner, node.rows(), &lines);
        canvas.text(top, 2, &node.name);
        if node.is_source {
            leaves.push((top + node.inputs.len(), id));
        }
        arrivals.extend((top..).zip(&node.inputs));
    }

    // Trunks next, so that horizontal lines can give way to them.
    let last_row = |node: usize| arrivals.iter().filter(|(_, e)| e.from == node).map(|(row, _)| *row).max();
    for &(row, node) in &leaves {
        let last = last_row(node).unwrap_or(row);
        (row..=last).for_each(|y| canvas.put(y, column(node), lines.vertical));
    }
    for &(row, node) in &leaves {
        canvas.put(row, inner + 1, lines.leave);
        canvas.horizontal(row, inner + 2..column(node), &lines);
        canvas.put(row, column(node), lines.trunk[0]);
    }
    for &(row, Arrival { from, label, .. }) in &arrivals {
        let from = *from;
        canvas.horizontal(row, inner + 3..column(from), &lines);
        canvas.put(row, inner + 2, lines.arrow);
        canvas.text(row, inner + 4, &format!(" {label} "));
        canvas.put(row, column(from), lines.trunk[if last_row(from) == Some(row) { 2 } else { 1 }]);
    }
    let mut text = cell.title.map_or_else(String::new, |title| format!("{title}:\n"));
    text += &canvas.to_string();
    if let Some(note) = cell.note() {
        text += &format!("{note}\n");
    }
    text
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
    use nas::space::{self, NasBench201, OpName};

    use super::*;
    use crate::render::cell::genotype;

    fn drawn(arch: &str, charset: Charset) -> String {
        let arch = space::read(arch, None).unwrap();
        genotype(space::find(&arch.space).unwrap(), &arch, charset)
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
    fn a_genotype_of_two_cells_joins_its_nodes_in_each() {
        let arch = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_5x5', 1), ('skip_connect', 0), ('max_pool_3x3', 2), \
            ('dil_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_5x5', 4)], \
            normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
            ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 1)], \
            reduce_concat=range(2, 6))";
        let normal = "\
normal:
┌─────────┐
│ c_{k-2} ├─────────────────────────────────┐
└─────────┘                                 │
┌─────────┐                                 │
│ c_{k-1} ├──────────────────────────────┐  │
└─────────┘                              │  │
┌─────────┐                              │  │
│ node 2  │◀─ sep_conv_5x5 ──────────────┤  │
│         │◀─ sep_conv_3x3 ──────────────│──┤
│         ├───────────────────────────┐  │  │
└─────────┘                           │  │  │
┌─────────┐                           │  │  │
│ node 3  │◀─ max_pool_3x3 ───────────┤  │  │
│         │◀─ skip_connect ───────────│──│──┤
│         ├────────────────────────┐  │  │  │
└─────────┘                        │  │  │  │
┌─────────┐                        │  │  │  │
│ node 4  │◀─ dil_conv_3x3 ────────│──│──┘  │
│         │◀─ skip_connect ────────│──│─────┤
│         ├─────────────────────┐  │  │     │
└─────────┘                     │  │  │     │
┌─────────┐                     │  │  │     │
│ node 5  │◀─ dil_conv_5x5 ─────┤  │  │     │
│         │◀─ skip_connect ─────│──│──│─────┘
│         ├──────────────────┐  │  │  │
└─────────┘                  │  │  │  │
┌─────────┐                  │  │  │  │
│ c_{k}   │◀─ concat ────────┘  │  │  │
│         │◀─ concat ───────────┘  │  │
│         │◀─ concat ──────────────┘  │
│         │◀─ concat ─────────────────┘
└─────────┘
";
        let both = drawn(arch, Charset::Unicode);
        let (first, second) = both.split_once("\n\n").unwrap();
        assert_eq!(format!("{first}\n"), normal);
        assert!(second.starts_with("reduce:\n") && second.matches('◀').count() == 12, "{second}");
        assert!(both.lines().all(|line| line.chars().count() <= 80));
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
