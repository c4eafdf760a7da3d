use crate::suggest;

/// What may have been meant by an unknown key: where a table is named, a key of it spelled nearly like this one; a key of the
/// same name in another table (of several the least deep one); for a bare name one without a table spelled nearly like it; one
/// that ends in the same words; any key or, for a bare name, any name spelled nearly like it.
pub(super) fn nearest_key(given: &str, known: &[String]) -> Option<String> {
    let (table, name) = split(given);
    let words = |key: &str| format!("_{}", key.replace(['.', '-'], "_"));
    let depth = |key: &&String| key.matches('.').count();
    let named = |name: &str| known.iter().filter(|k| split(k).1 == name).min_by_key(depth);
    let same = named(name).cloned();
    let inside = || known.iter().find(|k| words(k).ends_with(&words(name))).cloned();
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
    slip.or(same).or_else(sibling).or_else(inside).or_else(anywhere).or_else(bare).map(|k| suggest::did_you_mean(&k))
}

fn split(key: &str) -> (&str, &str) {
    key.rsplit_once('.').unwrap_or(("", key))
}

/// The message of a TOML error without a picture of the place, which only a file has.
pub(crate) fn one_line(error: &toml::de::Error) -> String {
    let whole = error.to_string();
    match whole.lines().find(|l| l.starts_with("in `")) {
        Some(place) => format!("{} {place}", error.message()),
        None => error.message().to_owned(),
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
    }
}
