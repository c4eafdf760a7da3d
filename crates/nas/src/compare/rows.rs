use toml::{Table, Value};

use super::{blackbox::PREFIX, cell::SUMMARIES};
use crate::tables;

/// A row of a comparison: what is set in a table of `[runs]`, and a value of every key of `[matrix]` that is for its method.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    run: Option<String>,
    own: Vec<(String, Value)>,
    matrix: Vec<(String, Value)>,
}

impl Row {
    /// Its name, which is that of its folder.
    pub(super) fn name(&self) -> String {
        let parts = self.run.iter().cloned().chain(self.matrix.iter().map(|(key, value)| part(key, value)));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { "search".to_owned() } else { parts.join(",") }
    }

    /// What is set for it alone, the last one counts.
    pub(super) fn set(&self) -> impl DoubleEndedIterator<Item = &(String, Value)> {
        self.own.iter().chain(&self.matrix)
    }

    /// The method, if its own settings name one: by the key `strategy`, else by a setting of it.
    fn method(&self) -> Option<&str> {
        let named = self.set().rev().find_map(|(key, value)| value.as_str().filter(|_| key == "strategy"));
        named.or_else(|| of_settings(&self.own)).or_else(|| of_settings(&self.matrix))
    }

    /// The method with what all rows have in common.
    pub(super) fn method_with<'a>(&'a self, common: &'a [(String, Value)]) -> Option<&'a str> {
        self.method().or_else(|| {
            common.iter().rev().find_map(|(key, value)| match key.as_str() {
                "strategy" => value.as_str(),
                _ => method_of(key),
            })
        })
    }
}

/// The last method that a setting is of.
fn of_settings(settings: &[(String, Value)]) -> Option<&str> {
    settings.iter().rev().find_map(|(key, _)| method_of(key))
}

/// The method that a setting is of: that of `strategy.darts.epochs` is `darts`, that of `blackbox.bohb.eta` `blackbox.bohb`. Settings
/// of all black-box methods (`blackbox.budget`) are of none.
pub(super) fn method_of(key: &str) -> Option<&str> {
    let parts: Vec<&str> = key.split('.').collect();
    match parts[..] {
        ["strategy", name, ..] => Some(name),
        ["blackbox", name, _, ..] => Some(&key[..PREFIX.len() + name.len()]),
        _ => None,
    }
}

/// Searches of a comparison; more are a mistake, and would take long to write out before the first begins.
pub(super) const MOST: usize = 5_000;

/// The rows of a file, and the faults of its tables.
pub(super) fn rows(runs: &Table, matrix: &Table, faults: &mut Vec<String>) -> Vec<Row> {
    let mut rows = named(runs, faults);
    let keys = matrix_keys(matrix, faults);
    let combinations = keys.iter().fold(rows.len(), |n, (_, values)| n.saturating_mul(values.len()));
    if combinations > MOST {
        faults.push(format!("[matrix] makes {combinations} combinations, expected at most {MOST}"));
        return vec![];
    }
    for (key, values) in &keys {
        if let Some(row) = rows.iter().find(|row| row.own.iter().any(|(k, _)| k == key)) {
            let run = row.run.as_deref().unwrap_or_default();
            faults.push(format!("{key} is set in [matrix] and in [runs.{run}], expected one of them"));
        }
        let with = |row: &Row, value: &Value| {
            let mut row = row.clone();
            row.matrix.push((key.clone(), value.clone()));
            row
        };
        rows =
            rows.iter().flat_map(|row| values.iter().map(move |value| (row, value))).map(|(r, v)| with(r, v)).collect();
    }
    // The settings of a method multiply the rows of that method alone.
    let mut different: Vec<Row> = Vec::new();
    for mut row in rows {
        let own = row.method().map(str::to_owned);
        row.matrix.retain(|(key, _)| method_of(key).is_none_or(|method| Some(method) == own.as_deref()));
        if !different.contains(&row) {
            different.push(row);
        }
    }
    for (key, _) in &keys {
        if !different.iter().any(|row| row.matrix.iter().any(|(k, _)| k == key)) {
            let method = method_of(key).unwrap_or_default();
            faults.push(format!("matrix: {key} has no effect, since no run has the method {method}"));
        }
    }
    different
}

fn named(runs: &Table, faults: &mut Vec<String>) -> Vec<Row> {
    if runs.is_empty() {
        return vec![Row::default()];
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut rows = Vec::new();
    for (name, settings) in runs {
        if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
            faults.push(format!("runs.{name:?}: a name consists of letters, digits, `-`, `_` and `.`"));
        } else if SUMMARIES.contains(&name.as_str()) {
            faults.push(format!("runs.{name:?}: that name is reserved for the summary"));
        } else if let Some(settings) = settings.as_table() {
            let own = flat(&format!("runs.{name}"), settings, faults);
            rows.push(Row { run: Some(name.clone()), own, matrix: Vec::new() });
        } else {
            faults.push(format!("runs.{name} is not a table of settings"));
        }
    }
    rows
}

fn matrix_keys(matrix: &Table, faults: &mut Vec<String>) -> Vec<(String, Vec<Value>)> {
    let mut keys = Vec::new();
    for (key, value) in flat("matrix", matrix, faults) {
        match value {
            Value::Array(values) if !values.is_empty() => {
                let twice = values.iter().enumerate().find(|(i, value)| values[..*i].contains(value));
                if let Some((_, value)) = twice {
                    faults.push(format!("matrix: {key} has the value {value} twice"));
                }
                keys.push((key, values));
            }
            other => faults.push(format!("matrix: {key} = {other}, expected a list of values")),
        }
    }
    keys
}

/// The values of a table of settings by dotted key.
pub(super) fn flat(name: &str, table: &Table, faults: &mut Vec<String>) -> Vec<(String, Value)> {
    let mut flat: Vec<(String, Value)> = Vec::new();
    for (key, value) in tables::values(table) {
        if key == "seed" {
            faults.push(format!("{name}: seed = {value}, but the seeds of a comparison are listed in `seeds`"));
        } else if flat.iter().any(|(known, _)| *known == key) {
            faults.push(format!("{name}: {key} is set twice"));
        } else {
            flat.push((key, value.clone()));
        }
    }
    flat
}

/// A value of the matrix in a name: by the last part of its key.
fn part(key: &str, value: &Value) -> String {
    let text = value.to_string().replace(['"', ' '], "");
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.,".contains(c) { c } else { '_' };
    format!("{}={}", key.rsplit('.').next().unwrap_or(key), text.chars().map(plain).collect::<String>())
}
