use crate::{suggest, tables};

/// What may have been meant by an unknown key: where a table is named, a key of it spelled nearly like this one; a key of the
/// same name in another table (of several the least deep one); for a bare name one without a table spelled nearly like it; one
/// that ends in the same words; any key or, for a bare name, any name spelled nearly like it. A bare name may be the end of
/// several, of which those of the strategy come first.
pub(super) fn nearest_keys(given: &str, known: &[String]) -> Vec<String> {
    let (table, name) = split(given);
    let words = |key: &str| format!("_{}", key.replace(['.', '-'], "_"));
    let depth = |key: &&String| key.matches('.').count();
    let named = |name: &str| known.iter().filter(|k| split(k).1 == name).min_by_key(depth);
    let same = named(name).cloned();
    let inside = || {
        let mut keys: Vec<&String> = known.iter().filter(|k| words(k).ends_with(&words(name))).collect();
        keys.sort_by_key(|k| !k.starts_with("strategy."));
        keys.truncate(if table.is_empty() { MOST } else { 1 });
        keys.into_iter().cloned().collect::<Vec<_>>()
    };
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
    let slip = if table.is_empty() { None } else { sibling() };
    if let Some(key) = slip.or(same).or_else(sibling) {
        return vec![key];
    }
    let inside = inside();
    if inside.is_empty() { anywhere().or_else(bare).into_iter().collect() } else { inside }
}

/// Keys that are suggested at once.
const MOST: usize = 4;

/// The advice for an unknown key of a file, where a key stands below the head of its table.
pub(super) fn in_file(given: &str, known: &[String]) -> Option<String> {
    let nearest = nearest_keys(given, known);
    let advice = suggest::did_you_mean_one_of(&nearest);
    match nearest.as_slice() {
        [] => None,
        [key] if !key.contains('.') && given.contains('.') => {
            Some(format!("{advice} It belongs to no table: above the first [table] of the file"))
        }
        [key] if split(key).0 != split(given).0 => {
            let (table, name) = split(key);
            Some(format!("{advice} In a file: `{name}` below [{table}]"))
        }
        _ => Some(advice),
    }
}

/// The advice for an unknown dotted key.
pub(super) fn nearest_key(given: &str, known: &[String]) -> Option<String> {
    let nearest = nearest_keys(given, known);
    (!nearest.is_empty()).then(|| suggest::did_you_mean_one_of(&nearest))
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The message of a TOML error without a picture of the place, which only a file has.
pub(crate) fn one_line(error: &toml::de::Error) -> String {
    let whole = error.to_string();
    let message = tables::message(error);
    match whole.lines().find(|l| l.starts_with("in `")) {
        Some(place) => format!("{message} {place}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(nearest("strategy.x.importance.size").as_deref(), Some("did you mean `x.proxy_batch_size`?"));
        assert_eq!(nearest("strategy.x.importance.image").unwrap(), "did you mean `strategy.x.importance.images`?");
        assert_eq!(nearest("rate").unwrap(), "did you mean `training.rate`?");
        assert_eq!(nearest("momentums").unwrap(), "did you mean `training.momentum`?");
        assert_eq!(nearest("strategy.x.adam.rat").unwrap(), "did you mean `strategy.x.adam.rate`?");
        assert_eq!(nearest("training.ratee").unwrap(), "did you mean `training.rate`?");
        assert_eq!(nearest("training.seed").unwrap(), "did you mean `seed`?");
        assert_eq!(nearest("sead").unwrap(), "did you mean `seed`?");
        assert_eq!(nearest("weather"), None);
        assert_eq!(nearest("size").unwrap(), "did you mean `x.proxy_batch_size` or `training.batch_size`?");
        let in_file = |given| in_file(given, &known);
        assert_eq!(
            in_file("training.seed").unwrap(),
            "did you mean `seed`? It belongs to no table: above the first [table] of the file"
        );
        assert_eq!(
            in_file("batch_size").unwrap(),
            "did you mean `training.batch_size`? In a file: `batch_size` below [training]"
        );
        assert_eq!(in_file("training.ratee").unwrap(), "did you mean `training.rate`?");
        assert_eq!(in_file("weather"), None);
    }
}
