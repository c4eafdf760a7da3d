//! A matrix of counts as a picture: what is what, and what it is taken for.

use std::fmt::Write as _;

use nas::escape::xml;

/// Lengths in pixels.
const MARGIN: usize = 16;
const LETTER: usize = 7;
const LONGEST_NAME: usize = 24;
const CELL: usize = 40;
/// With more classes the cells are small and have no numbers.
const MANY: usize = 30;
const SMALL_CELL: usize = 12;

/// A square of counts as SVG: a row for each true class, a column for each answer, shaded by its part of the row.
pub fn heat_map(names: &[&str], counts: &[Vec<usize>]) -> String {
    let many = names.len() > MANY;
    let (cell, font) = if many { (SMALL_CELL, 9) } else { (CELL, 12) };
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(LONGEST_NAME);
    let label = longest * LETTER + 10;
    let (left, top) = (MARGIN + 20 + label, MARGIN + 20 + label);
    let side = cell * names.len();
    let (width, height) = (left + side + MARGIN, top + side + MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, DejaVu Sans, sans-serif\" font-size=\"{font}\" fill=\"#1e293b\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let middle = side / 2;
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-weight=\"bold\" font-size=\"12\">answer</text>\n\
         <text transform=\"translate({} {})rotate(-90)\" text-anchor=\"middle\" font-weight=\"bold\" font-size=\"12\">true \
         class</text>\n",
        left + middle,
        MARGIN + 10,
        MARGIN + 10,
        top + middle
    );
    for (k, name) in names.iter().enumerate() {
        let (name, at) = (xml(&shortened(name)), k * cell + cell / 2);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\n\
             <text transform=\"translate({} {})rotate(-90)\">{name}</text>\n",
            left - 6,
            top + at + font / 3,
            left + at + font / 3,
            top - 6
        );
    }
    for (row, counts) in counts.iter().enumerate() {
        let images: usize = counts.iter().sum();
        for (column, &count) in counts.iter().enumerate() {
            let part = count as f64 / images.max(1) as f64;
            let (x, y) = (left + column * cell, top + row * cell);
            let _ = writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{cell}\" height=\"{cell}\" fill=\"{}\" stroke=\"#e2e8f0\">\
                 <title>{} as {}: {count} of {images}</title></rect>",
                shade(part, row == column),
                xml(names.get(row).unwrap_or(&"")),
                xml(names.get(column).unwrap_or(&"")),
            );
            if !many && count > 0 {
                let ink = if part > 0.55 { "#ffffff" } else { "#1e293b" };
                let _ = writeln!(
                    svg,
                    "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\" pointer-events=\"none\">{count}</text>",
                    x + cell / 2,
                    y + cell / 2 + 4
                );
            }
        }
    }
    svg + "</svg>\n"
}

/// White for nothing to blue (right) or red (wrong) for the whole row.
fn shade(part: f64, right: bool) -> String {
    let full: [f64; 3] = if right { [37.0, 99.0, 235.0] } else { [220.0, 38.0, 38.0] };
    // Small parts must be seen.
    let strength = part.sqrt();
    let [r, g, b] = full.map(|c| (255.0 + (c - 255.0) * strength).round() as u8);
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    name.chars().take(LONGEST_NAME - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_its_place_and_names_are_escaped() {
        let svg = heat_map(&["a<b", "c&d"], &[vec![3, 1], vec![0, 0]]);
        assert_eq!(svg.matches("<rect x=").count(), 4);
        assert!(svg.contains(">3</text>") && svg.contains(">1</text>") && !svg.contains(">0</text>"), "{svg}");
        assert!(svg.contains("<title>a&lt;b as c&amp;d: 1 of 4</title>") && svg.contains("0 of 0"), "{svg}");
        let names: Vec<String> = (0..100).map(|k| format!("class {k} with a name that is far too long")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let svg = heat_map(&names, &vec![vec![1; 100]; 100]);
        assert_eq!((svg.matches("<rect x=").count(), svg.matches(">1</text>").count()), (10_000, 0));
        assert!(svg.contains("\u{2026}</text>"));
        assert_eq!((shade(0.0, true), shade(1.0, true)), ("#ffffff".to_owned(), "#2563eb".to_owned()));
    }
}
