//! Texts of others in files that something reads as more than text.

/// A text as a cell of CSV, before quoting. Spreadsheets take one that begins with `=`, `+`, `-`, `@` or a control character for a
/// formula, which may call programs; an apostrophe before it makes it text (OWASP, CSV injection).
pub fn csv_text(text: &str) -> String {
    let formula = text.chars().next().is_some_and(|c| matches!(c, '=' | '+' | '-' | '@') || c.is_control());
    if formula { format!("'{text}") } else { text.to_owned() }
}

/// A text as a cell of a table in Markdown: on one line, with no column and no HTML of its own.
pub fn markdown_cell(text: &str) -> String {
    on_one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('|', "\\|")
}

/// A text in LaTeX. What is no character to LaTeX's engines becomes a space.
pub fn latex(text: &str) -> String {
    let mut out = String::new();
    for c in on_one_line(text).chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '\\' => out += "\\textbackslash{}",
            '|' => out += "\\textbar{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '"' => out += "''",
            '±' => out += "$\\pm$",
            'β' => out += "$\\beta$",
            _ => out.push(c),
        }
    }
    out
}

/// A text in an element of SVG, or of any XML.
pub fn xml(text: &str) -> String {
    let allowed = |c: char| if matches!(c, '\u{fffe}' | '\u{ffff}') { ' ' } else { c };
    let text: String = on_one_line(text).chars().map(allowed).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What people, and others, call their things.
    const HOSTILE: [&str; 6] =
        ["=cmd|' /C calc'!A0", "a|b\n| c |", "<script>x</script>", "\\input{x} % $a_b$", "\x1b[2J\u{9b}", "&amp;\"'>"];

    #[test]
    fn a_formula_is_made_text_and_nothing_else_is_changed() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            assert_eq!(csv_text(formula), format!("'{formula}"));
        }
        for text in ["", "a=b", "|none~0|", "7", "Größe -1", "'=1"] {
            assert_eq!(csv_text(text), text);
        }
    }

    #[test]
    fn a_cell_of_markdown_stays_one() {
        assert_eq!(markdown_cell("a|b\n<i>&lt;"), "a\\|b &lt;i>&amp;lt;");
        for cell in HOSTILE.map(markdown_cell) {
            assert!(
                !cell.contains(['<', '\n', '\x1b']) && cell.matches('|').count() == cell.matches("\\|").count(),
                "{cell}"
            );
        }
    }

    #[test]
    fn latex_has_no_command_of_a_name() {
        assert_eq!(latex("a_b & 5% ± |x~0|"), "a\\_b \\& 5\\% $\\pm$ \\textbar{}x\\textasciitilde{}0\\textbar{}");
        assert_eq!(latex("\\input{x}\n%"), "\\textbackslash{}input\\{x\\} \\%");
        assert!(HOSTILE.map(latex).iter().all(|text| !text.contains(['\n', '\x1b', '\u{9b}'])));
    }

    #[test]
    fn xml_has_no_element_of_a_name() {
        assert_eq!(xml("<a b=\"c\">&\u{ffff}\x07"), "&lt;a b=&quot;c&quot;&gt;&amp;  ");
        assert!(HOSTILE.map(xml).iter().all(|text| !text.contains(['<', '>', '"', '\n', '\x1b'])));
    }
}
