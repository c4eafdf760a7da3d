//! A cell as an SVG picture. Where lines cross the horizontal one is interrupted.

use std::fmt::Write as _;

use nas::space::OpName;

use super::{Drawing, Node};

/// Lengths in pixels.
const MARGIN: usize = 24;
const TITLE: usize = 34;
const ROW: usize = 30;
const BOX_GAP: usize = 16;
const BOX_WIDTH: usize = 84;
const LABEL_WIDTH: usize = 120;
const LABEL_HEIGHT: usize = 22;
/// From the left end of the picture of a cell.
const LABELS_FROM: usize = BOX_WIDTH + 28;
const LANES_FROM: usize = LABELS_FROM + LABEL_WIDTH + 26;
const LANE_GAP: usize = 20;
/// Of the corners of trunks.
const RADIUS: usize = 8;
/// Of what is not drawn, below the cell.
const NOTE_GAP: usize = 8;
const NOTE_LINE: usize = 17;
/// Edges that fit in a line.
const NOTE_EDGES: usize = 2;

const INK: &str = "#1e293b";
/// One colour for each trunk, in turn.
const TRUNKS: [&str; 7] = ["#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d"];

/// What convolves, pools and passes on is told apart by its colour.
fn fill(op: Option<OpName>) -> &'static str {
    match op {
        Some(OpName::SKIP_CONNECT) => "#e2e8f0",
        Some(OpName::AVG_POOL_3X3 | OpName::MAX_POOL_3X3) => "#d1fae5",
        Some(OpName::NOR_CONV_1X1) => "#e0f2fe",
        Some(OpName::DIL_CONV_3X3 | OpName::DIL_CONV_5X5) => "#ede9fe",
        Some(_) => "#dbeafe",
        None => "#ffffff",
    }
}

/// Cells side by side.
pub(super) fn draw(cells: &[Drawing]) -> String {
    let mut body = String::new();
    let (mut right, mut bottom) = (MARGIN, 0);
    for cell in cells {
        let (group, width, height) = group(cell);
        let _ = write!(body, "<g transform=\"translate({right} {MARGIN})\">\n{group}</g>\n");
        right += width + 2 * MARGIN;
        bottom = bottom.max(height);
    }
    let (width, height) = (right - MARGIN, bottom + 2 * MARGIN);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// A line from the label of an input to the trunk of its source.
struct Branch {
    y: usize,
    from: usize,
}

/// The picture of a cell, its width and its height.
fn group(cell: &Drawing) -> (String, usize, usize) {
    let lane = |node: usize| LANES_FROM + LANE_GAP * cell.lane(node);
    let mut y = 0;
    let (mut boxes, mut trunks, mut branches) = (String::new(), vec![], vec![]);
    if let Some(title) = cell.title {
        let _ = writeln!(boxes, "<text x=\"0\" y=\"15\" font-size=\"16\" font-weight=\"bold\">{title}</text>");
        y += TITLE;
    }
    for (id, node) in cell.nodes.iter().enumerate() {
        boxes += &node_box(node, y);
        let row = |i: usize| y + ROW * i + ROW / 2;
        for (i, input) in node.inputs.iter().enumerate() {
            boxes += &label(input.label, fill(input.op), row(i));
            branches.push(Branch { y: row(i), from: input.from });
        }
        if node.is_source {
            trunks.push((id, row(node.inputs.len())));
        }
        y += ROW * node.rows() + BOX_GAP;
    }
    let mut height = y - BOX_GAP;
    height += if cell.absent.is_empty() { 0 } else { NOTE_GAP };
    for (i, edges) in cell.absent.chunks(NOTE_EDGES).enumerate() {
        height += NOTE_LINE;
        let begin = if i == 0 { "none on " } else { "" };
        let end = if (i + 1) * NOTE_EDGES < cell.absent.len() { "," } else { "" };
        let note = format!("{begin}{}{end}", edges.join(", ")).replace('>', "&gt;");
        let _ = writeln!(boxes, "<text x=\"0\" y=\"{height}\" font-size=\"12\" fill=\"#64748b\">{note}</text>");
    }

    // Horizontal lines, then the verticals with a margin that interrupts them.
    let mut lines = String::new();
    let line = |lines: &mut String, colour: &str, width: usize, path: &str| {
        let _ = writeln!(lines, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>");
    };
    for Branch { y, from } in &branches {
        let colour = TRUNKS[from % TRUNKS.len()];
        line(&mut lines, colour, 2, &format!("M{} {y}H{}", lane(*from) - RADIUS, LABELS_FROM + LABEL_WIDTH));
    }
    for &(node, top) in &trunks {
        line(&mut lines, TRUNKS[node % TRUNKS.len()], 2, &format!("M{BOX_WIDTH} {top}H{}", lane(node) - RADIUS));
    }
    for &(node, top) in &trunks {
        let (x, r, colour) = (lane(node), RADIUS, TRUNKS[node % TRUNKS.len()]);
        let ends = || branches.iter().filter(|b| b.from == node).map(|b| b.y);
        let last = ends().max().unwrap_or(top);
        let vertical = format!("M{} {top}Q{x} {top} {x} {}V{}", x - r, top + r, last - r);
        line(&mut lines, "#ffffff", 8, &format!("M{x} {}V{}", top + r, last - r));
        line(&mut lines, colour, 2, &vertical);
        for y in ends() {
            line(&mut lines, colour, 2, &format!("M{x} {}Q{x} {y} {} {y}", y - r, x - r));
        }
    }
    let lanes = trunks.len().max(1) - 1;
    (lines + &boxes, LANES_FROM + LANE_GAP * lanes + RADIUS, height)
}

fn node_box(node: &Node, y: usize) -> String {
    let height = ROW * node.rows();
    let back = if node.is_end { "#f1f5f9" } else { "#ffffff" };
    format!(
        "<rect x=\"1\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"7\" fill=\"{back}\" stroke=\"{INK}\" \
         stroke-width=\"1.5\"/>\n<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\">{}</text>\n",
        BOX_WIDTH - 1,
        BOX_WIDTH / 2,
        y + height / 2 + 5,
        subscript(&node.name)
    )
}

/// `c_{k-2}` with its index below the line.
fn subscript(name: &str) -> String {
    match name.split_once("_{").and_then(|(name, index)| Some((name, index.strip_suffix('}')?))) {
        Some((name, index)) => {
            let index = index.replace('-', "\u{2212}");
            format!("{name}<tspan dy=\"4\" font-size=\"10\">{index}</tspan>")
        }
        None => name.to_owned(),
    }
}

/// An operation, and the arrow from it to its node.
fn label(text: &str, fill: &str, y: usize) -> String {
    let (tip, middle) = (BOX_WIDTH + 3, LABELS_FROM + LABEL_WIDTH / 2);
    format!(
        "<path d=\"M{LABELS_FROM} {y}H{}\" stroke=\"{INK}\" stroke-width=\"1.5\"/>\n\
         <path d=\"M{tip} {y}l9 -5v10z\"/>\n\
         <rect x=\"{LABELS_FROM}\" y=\"{}\" width=\"{LABEL_WIDTH}\" height=\"{LABEL_HEIGHT}\" rx=\"11\" fill=\"{fill}\" \
         stroke=\"#94a3b8\"/>\n<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{text}</text>\n",
        tip + 8,
        y - LABEL_HEIGHT / 2,
        y + 4
    )
}

#[cfg(test)]
mod tests {
    use nas::space;

    use crate::render::cell::genotype_svg;

    const DARTS: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), \
        ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), \
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), \
        ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))";

    fn picture(arch: &str) -> String {
        let arch = space::read(arch, None).unwrap();
        genotype_svg(space::find(&arch.space).unwrap(), &arch)
    }

    /// How often each of these occurs.
    fn counts<const N: usize>(svg: &str, parts: [&str; N]) -> [usize; N] {
        parts.map(|part| svg.matches(part).count())
    }

    /// A number among the attributes of an element.
    fn number(element: &str, attribute: &str) -> usize {
        let (_, rest) = element.split_once(&format!("{attribute}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    }

    #[test]
    fn both_cells_of_darts_with_every_edge() {
        let svg = picture(DARTS);
        assert_eq!(counts(&svg, [">normal<", ">reduce<", "<g ", "</g>", "<svg ", "</svg>"]), [1, 1, 2, 2, 1, 1]);
        let ops = [">sep_conv_3x3<", ">skip_connect<", ">dil_conv_3x3<", ">max_pool_3x3<", ">concat<"];
        assert_eq!(counts(&svg, ops), [5, 5, 1, 5, 8]);
        // An arrow for each of them; two inputs, four nodes and the output.
        assert_eq!(counts(&svg, ["l9 -5v10z", ">node ", ">c<tspan"]), [24, 8, 6]);
        assert!(svg.contains(">k\u{2212}2<") && svg.contains(">k\u{2212}1<") && svg.contains(">k<"));
    }

    #[test]
    fn a_cell_with_one_input_and_missing_edges() {
        let svg = picture("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|");
        assert_eq!(counts(&svg, [">input<", ">output<", ">node ", "l9 -5v10z"]), [1, 1, 2, 4]);
        assert!(svg.contains(">none on input -&gt; node 2, node 1 -&gt; output<"), "{svg}");
        let empty = picture("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|");
        assert_eq!(counts(&empty, [">none on ", "-&gt;", "#64748b", "l9 -5v10z"]), [1, 6, 3, 0]);
        assert!(!svg.contains(">none<") && !svg.contains("tspan"));
    }

    #[test]
    fn nothing_lies_outside_or_on_something_else() {
        for arch in [DARTS, "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"] {
            let svg = picture(arch);
            let (width, height) = (number(&svg, "width"), number(&svg, "height"));
            assert!(width < 900 && height < 800, "{width} x {height}");
            for cell in svg.split("<g ").skip(1) {
                let rects = cell.split("<rect ").skip(1).map(|rect| rect.split("/>").next().unwrap());
                for of in ["rx=\"7\"", "rx=\"11\""] {
                    let mut free = 0;
                    for rect in rects.clone().filter(|rect| rect.contains(of)) {
                        let (top, end) = (number(rect, " y"), number(rect, " y") + number(rect, "height"));
                        assert!(top >= free && end < height, "{rect}");
                        free = end;
                    }
                    assert!(free > 0 || arch != DARTS);
                }
            }
        }
    }
}
