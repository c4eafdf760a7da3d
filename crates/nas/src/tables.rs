//! Tables of TOML, by dotted key.

use toml::{Table, Value};

/// The values of a table by dotted key.
pub(crate) fn values(table: &Table) -> Vec<(String, &Value)> {
    let mut values = Vec::new();
    collect("", table, &mut values);
    values
}

fn collect<'a>(prefix: &str, table: &'a Table, values: &mut Vec<(String, &'a Value)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => collect(&key, inner, values),
            _ => values.push((key, value)),
        }
    }
}

/// The dotted keys of a table, down to the values.
pub(crate) fn keys(table: &Table) -> Vec<String> {
    values(table).into_iter().map(|(key, _)| key).collect()
}

/// A setting in which two tables differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Dotted key.
    pub(crate) key: String,
    /// Its value in the one table, as TOML.
    pub(crate) one: String,
    /// Its value in the other.
    pub(crate) other: String,
}

/// The first setting of `one` that `other` does not have, or has otherwise.
pub(crate) fn difference(one: &Table, other: &Table) -> Option<Difference> {
    missing(one, other).next()
}

/// Every setting that is not the same in both tables: of each that `one` has, then of those that only `other` has.
pub(crate) fn differences(one: &Table, other: &Table) -> Vec<Difference> {
    let swapped = |Difference { key, one, other }| Difference { key, one: other, other: one };
    let only_other = missing(other, one).filter(|d| d.other == NOT_SET).map(swapped);
    missing(one, other).chain(only_other).collect()
}

/// What stands for the value of a key that a table does not have.
const NOT_SET: &str = "not set";

fn missing(one: &Table, other: &Table) -> impl Iterator<Item = Difference> {
    let others = values(other);
    values(one).into_iter().filter_map(move |(key, value)| {
        let found = others.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        (found != Some(value)).then(|| Difference {
            key,
            one: value.to_string(),
            other: found.map_or_else(|| NOT_SET.to_owned(), Value::to_string),
        })
    })
}

/// Writes `upper` over `lower`, table by table.
pub(crate) fn merge(lower: &mut Table, upper: Table) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_run_down_to_the_values() {
        let table = "a = 1\n[b]\nc = 2\n[b.d]\ne = 3\n".parse().unwrap();
        assert_eq!(keys(&table), ["a", "b.c", "b.d.e"]);
    }

    #[test]
    fn the_first_setting_that_differs() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let one = table("a = 1\n[b]\nc = 2.5\nd = [1, 2]\n");
        assert_eq!(difference(&one, &table("a = 1\ne = 4\n[b]\nc = 2.5\nd = [1, 2]\n")), None);
        let text = |other: &str| difference(&one, &table(other)).map(|d| [d.key, d.one, d.other]);
        assert_eq!(text("a = 1\n[b]\nc = 2.5\nd = [1, 3]\n").unwrap(), ["b.d", "[1, 2]", "[1, 3]"]);
        assert_eq!(text("a = 1\n[b]\nd = [1, 2]\n").unwrap(), ["b.c", "2.5", "not set"]);
    }

    #[test]
    fn all_settings_that_differ() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let all = differences(&table("a = 1\nb = 2\nc = 3\n"), &table("b = 2\nc = 4\nd = 5\n"));
        let all: Vec<_> = all.iter().map(|d| (d.key.as_str(), d.one.as_str(), d.other.as_str())).collect();
        assert_eq!(all, [("a", "1", "not set"), ("c", "3", "4"), ("d", "not set", "5")]);
    }
}
