//! Numbers and lists in messages.

/// Names that a message lists.
const NAMED: usize = 5;

/// `1 picture`, `2 pictures`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", either(n, one, many))
}

/// The word that goes with a number.
pub(super) fn either<'a>(n: usize, one: &'a str, many: &'a str) -> &'a str {
    if n == 1 { one } else { many }
}

/// The first few of a list: `a, b, c, d, e and 3 more`.
pub(super) fn few<T: AsRef<str>>(names: &[T]) -> String {
    let first = names.iter().take(NAMED).map(T::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| count(n, "class", "classes")), ["0 classes", "1 class", "2 classes"]);
        assert_eq!(few(&["a"; 5]), "a, a, a, a, a");
        assert_eq!(few(&["a"; 8]), "a, a, a, a, a and 3 more");
    }
}
