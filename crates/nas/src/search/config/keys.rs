use toml::{Table, Value};

use crate::suggest;

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
pub(super) fn of(table: &Table) -> Vec<String> {
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
    let others = values(other);
    values(one).into_iter().find_map(|(key, value)| {
        let found = others.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        (found != Some(value)).then(|| Difference {
            key,
            one: value.to_string(),
            other: found.map_or_else(|| "not set".to_owned(), Value::to_string),
        })
    })
}

/// What may have been meant by an unknown key: one of the same name in another table (of several the least deep one), a
/// sibling spelled nearly like it, any key or, for a bare name, any name spelled nearly like it.
pub(super) fn nearest_key(given: &str, known: &[String]) -> Option<String> {
    let (table, name) = split(given);
    let words = |key: &str| format!("_{}", key.replace(['.', '-'], "_"));
    let depth = |key: &&String| key.matches('.').count();
    let named = |name: &str| known.iter().filter(|k| split(k).1 == name).min_by_key(depth);
    let same = named(name);
    let elsewhere = same.or_else(|| known.iter().find(|k| words(k).ends_with(&words(name))));
    let sibling = || {
        let names = known.iter().map(|k| split(k)).filter(|(t, _)| *t == table).map(|(_, n)| n);
        let name = suggest::nearest(name, names)?;
        Some(if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") })
    };
    let anywhere = || suggest::nearest(given, known.iter().map(String::as_str)).map(str::to_owned);
    let bare = || {
        let names = known.iter().map(|k| split(k).1).filter(|_| table.is_empty());
        named(suggest::nearest(name, names)?).cloned()
    };
    elsewhere.cloned().or_else(sibling).or_else(anywhere).or_else(bare).map(|k| did_you_mean(&k))
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

pub(super) fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_run_down_to_the_values() {
        let table = "a = 1\n[b]\nc = 2\n[b.d]\ne = 3\n".parse().unwrap();
        assert_eq!(of(&table), ["a", "b.c", "b.d.e"]);
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
    fn what_may_have_been_meant() {
        let known =
            ["seed", "x.proxy_batch_size", "strategy.x.pop", "strategy.x.importance.images", "strategy.x.adam.rate"]
                .into_iter()
                .chain(["training.batch_size", "training.rate", "training.momentum"])
                .map(str::to_owned)
                .collect::<Vec<_>>();
        let nearest = |given| nearest_key(given, &known);
        assert_eq!(nearest("training.batch_sise").unwrap(), "did you mean `training.batch_size`?");
        assert_eq!(nearest("batch_size").unwrap(), "did you mean `training.batch_size`?");
        assert_eq!(nearest("strategy.x.importance_images").unwrap(), "did you mean `strategy.x.importance.images`?");
        assert_eq!(nearest("rate").unwrap(), "did you mean `training.rate`?");
        assert_eq!(nearest("momentums").unwrap(), "did you mean `training.momentum`?");
        assert_eq!(nearest("sead").unwrap(), "did you mean `seed`?");
        assert_eq!(nearest("weather"), None);
    }
}
