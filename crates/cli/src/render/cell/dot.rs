//! Cells as a graph in the language of Graphviz: `dot -Tpdf cells.dot`.

use std::fmt::Write as _;

use super::Drawing;

/// A cluster for each cell.
pub(super) fn draw(cells: &[Drawing]) -> String {
    let mut text = String::from(
        "digraph cells {\n  rankdir=LR\n  fontname=\"Helvetica\"\n  node [shape=box, style=rounded, fontname=\"Helvetica\"]\n  \
         edge [fontname=\"Helvetica\", fontsize=11]\n",
    );
    for (c, cell) in cells.iter().enumerate() {
        let _ = writeln!(
            text,
            "  subgraph cluster_{c} {{\n    color=none\n    label=\"{}\"",
            cell.title.unwrap_or_default()
        );
        for (id, node) in cell.nodes.iter().enumerate() {
            let fill = if node.is_end { ", style=\"rounded,filled\", fillcolor=\"#f1f5f9\"" } else { "" };
            let _ = writeln!(text, "    cell{c}_{id} [label=\"{}\"{fill}]", node.name);
        }
        for (to, node) in cell.nodes.iter().enumerate() {
            for input in &node.inputs {
                // A concatenation is no operation.
                let label = if input.op.is_some() { format!(" [label=\"{}\"]", input.label) } else { String::new() };
                let _ = writeln!(text, "    cell{c}_{} -> cell{c}_{to}{label}", input.from);
            }
        }
        text += "  }\n";
    }
    text + "}\n"
}

#[cfg(test)]
mod tests {
    use nas::space;

    use crate::render::cell::genotype_dot;

    #[test]
    fn every_edge_is_written_and_missing_ones_are_not() {
        let arch = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
        let arch = space::read(arch, None).unwrap();
        let dot = genotype_dot(space::find(&arch.space).unwrap(), &arch);
        assert_eq!((dot.matches(" -> ").count(), dot.matches("{").count()), (4, dot.matches("}").count()));
        for part in ["cell0_0 -> cell0_1 [label=\"nor_conv_3x3\"]", "cell0_2 -> cell0_3 [label=\"avg_pool_3x3\"]"] {
            assert!(dot.contains(part), "{dot}");
        }
        assert!(dot.contains("label=\"input\"") && !dot.contains("none~"), "{dot}");
    }
}
