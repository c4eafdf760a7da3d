//! "Did you mean" for names that are not known.

/// The known name nearest to `given`, if one is near enough to be a slip of the keyboard.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(given, k), k))
        .filter(|(d, k)| *d <= 1.max(k.chars().count() / 3))
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// The advice that names it.
pub fn did_you_mean(name: &str) -> String {
    format!("did you mean `{name}`?")
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
    }

    #[test]
    fn one_of_reads_as_a_sentence() {
        assert_eq!(one_of(["a", "b", "c"]), "a, b or c");
        assert_eq!(one_of(["a"]), "a");
    }
}
