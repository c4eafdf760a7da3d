//! Tables with aligned columns.

/// Which side of its column a cell's text is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of text under a head, two spaces between columns.
#[derive(Clone, Debug)]
pub struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        Self::with_heads(columns)
    }

    /// The same with as many columns as there are.
    pub fn with_heads<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let (head, align) = columns.into_iter().map(|(name, align)| (name.to_owned(), align)).unzip();
        Self { align, rows: vec![head] }
    }

    /// Adds a row. Missing cells are empty, surplus ones are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) -> &mut Self {
        let mut cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.align.len(), String::new());
        self.rows.push(cells);
        self
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.align.len()).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, &width), align) in row.iter().zip(&widths).zip(&self.align) {
                match align {
                    Align::Left => line += &format!("{cell:<width$}  "),
                    Align::Right => line += &format!("{cell:>width$}  "),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new([("arch", Align::Left), ("score", Align::Right)]);
        table.row(["|none~0|", "-inf"]).row(["a", "1710.25"]).row(["short"]);
        assert_eq!(table.to_string(), "arch        score\n|none~0|     -inf\na         1710.25\nshort\n");
    }
}
