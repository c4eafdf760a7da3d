//! The row that others are tested against: the one of a name or a method, among those of the same space and data set.

use super::cell::Cell;
use crate::suggest;

/// Whether a name means a row: the name of the row or a part of it, or its method.
pub(super) fn means(baseline: &str, name: &str, method: &str) -> bool {
    name == baseline || method == baseline || name.split(',').any(|part| part == baseline)
}

/// Checks that a baseline means a row, and in every space and data set at most one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(cells: &[Cell], baseline: &str) -> Result<(), String> {
    let mut meant: Vec<&Cell> = Vec::new();
    for cell in cells.iter().filter(|c| means(baseline, &c.name, &c.search.method())) {
        if !meant.iter().any(|known| known.name == cell.name) {
            meant.push(cell);
        }
    }
    let problem = |cell: &Cell| (cell.search.space().to_owned(), cell.search.dataset());
    for (i, one) in meant.iter().enumerate() {
        let same = meant[..i].iter().find(|other| problem(other) == problem(one));
        if let Some(other) = same.filter(|other| one.name != baseline && other.name != baseline) {
            return Err(format!(
                "baseline = \"{baseline}\" means both {} and {}, expected the name of one row",
                other.name, one.name
            ));
        }
    }
    if meant.is_empty() {
        let mut rows: Vec<&str> = Vec::new();
        for cell in cells {
            if !rows.contains(&cell.name.as_str()) {
                rows.push(&cell.name);
            }
        }
        let methods: Vec<String> = cells.iter().map(|c| c.search.method()).collect();
        let known = rows.iter().copied().chain(methods.iter().map(String::as_str));
        let hint = suggest::nearest(baseline, known).map(|name| format!("; {}", suggest::did_you_mean(name)));
        return Err(format!(
            "baseline = \"{baseline}\" is no row, expected {} or the method of one{}",
            suggest::one_of(rows),
            hint.unwrap_or_default()
        ));
    }
    Ok(())
}
