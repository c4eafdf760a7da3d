//! "Did you mean" for names that are not known.

/// The known name nearest to `given`, if one is near enough to be a slip of the keyboard. Neither case nor what separates
/// the words of a name counts.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain =
        |name: &str| -> String { name.chars().filter(|c| !"-_ ".contains(*c)).flat_map(char::to_lowercase).collect() };
    let given = plain(given);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&given, &plain(k)), k))
        .filter(|(d, k)| *d <= 1.max(k.chars().count() / 3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// The advice that names it.
pub fn did_you_mean(name: &str) -> String {
    did_you_mean_one_of(&[name])
}

/// The advice that names several.
pub fn did_you_mean_one_of(names: &[impl AsRef<str>]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    format!("did you mean {}?", one_of(quoted.iter().map(String::as_str)))
}

/// The known names as a sentence part: `a, b or c`.
pub fn one_of<'a>(known: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = known.into_iter().collect();
    match names.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_slips_and_nothing_else() {
        let known = ["hpe-darts", "darts", "gdas"];
        assert_eq!(nearest("hpe-dart", known), Some("hpe-darts"));
        assert_eq!(nearest("dats", known), Some("darts"));
        assert_eq!(nearest("resnet", known), None);
        assert_eq!(nearest("HPE_DARTS", known), Some("hpe-darts"));
        assert_eq!(nearest("CIFAR-10", ["cifar100", "cifar10"]), Some("cifar10"));
    }

    #[test]
    fn one_of_reads_as_a_sentence() {
        assert_eq!(one_of(["a", "b", "c"]), "a, b or c");
        assert_eq!(one_of(["a"]), "a");
    }
}
