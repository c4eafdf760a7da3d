//! Tables of TOML, by dotted key.

use toml::{Table, Value};

/// What is wrong with a text of TOML, with a picture of the place.
pub(crate) fn told(error: &toml::de::Error) -> String {
    in_words(error.to_string().trim_end())
}

/// What is wrong with a value, without a picture of the place, which only a text has.
pub(crate) fn message(error: &toml::de::Error) -> String {
    in_words(error.message())
}

/// A message of a deserialiser with types by the names that they have for whoever writes the file.
fn in_words(text: &str) -> String {
    let (wrong, expected) = match text.rsplit_once("expected ") {
        Some((wrong, expected)) if wrong.contains("invalid ") => (wrong, expected),
        _ => return text.to_owned(),
    };
    let words = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        _ if expected == "a map" || expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    format!("{wrong}expected {words}")
}

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
    fn types_have_the_names_of_whoever_writes_the_file() {
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code)]
        struct All {
            count: Option<usize>,
            share: Option<f64>,
            on: Option<bool>,
            list: Option<Vec<u8>>,
            name: Option<String>,
            table: Option<Box<All>>,
        }
        for (text, wrong) in [
            ("count = 'x'", "invalid type: string \"x\", expected a whole number of at least 0"),
            ("count = -1", "invalid value: integer `-1`, expected a whole number of at least 0"),
            ("count = 1.5", "invalid type: floating point `1.5`, expected a whole number of at least 0"),
            ("share = 'expected f64'", "invalid type: string \"expected f64\", expected a number"),
            ("on = 1", "invalid type: integer `1`, expected true or false"),
            ("list = 1", "invalid type: integer `1`, expected a list"),
            ("name = 1", "invalid type: integer `1`, expected a string"),
            ("table = 1", "invalid type: integer `1`, expected a table"),
        ] {
            let error = toml::from_str::<All>(text).unwrap_err();
            assert_eq!(message(&error), wrong, "{text}");
            assert!(told(&error).ends_with(wrong) && told(&error).contains("line 1"), "{}", told(&error));
        }
        let broken = toml::from_str::<All>("count = ").unwrap_err();
        assert_eq!(message(&broken), broken.message());
    }

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
