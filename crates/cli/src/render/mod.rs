//! What is drawn for people: cells and tables, as plain text.

mod cell;
mod heat_map;
mod table;

pub use cell::{genotype, genotype_dot, genotype_svg};
pub use heat_map::heat_map;
pub use table::{Align, Table};

/// Which characters lines are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Box-drawing characters.
    Unicode,
    /// For terminals that are not UTF-8.
    Ascii,
}

impl Charset {
    /// The character set of the terminal, by the locale (`LC_ALL`, `LC_CTYPE`, `LANG`) and `TERM`.
    pub fn of_terminal() -> Self {
        Self::of_environment(|name| std::env::var(name).ok())
    }

    fn of_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        if get("TERM").is_some_and(|term| term == "dumb") {
            return Charset::Ascii;
        }
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| get(name).filter(|v| !v.is_empty()));
        let utf8 = locale.map(|l| l.to_ascii_lowercase()).is_some_and(|l| l.contains("utf-8") || l.contains("utf8"));
        // Windows has no locale variables; its terminals are UTF-8.
        if utf8 || cfg!(windows) { Charset::Unicode } else { Charset::Ascii }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(windows))]
    fn the_locale_decides_the_characters() {
        let of = |vars: &[(&str, &str)]| {
            Charset::of_environment(|name| vars.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(of(&[("LANG", "en_US.UTF-8")]), Charset::Unicode);
        assert_eq!(of(&[("LANG", "C.utf8")]), Charset::Unicode);
        assert_eq!(of(&[("LC_ALL", ""), ("LC_CTYPE", "UTF-8"), ("LANG", "C")]), Charset::Unicode);
        assert_eq!(of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]), Charset::Ascii);
        assert_eq!(of(&[("TERM", "dumb"), ("LANG", "en_US.UTF-8")]), Charset::Ascii);
        assert_eq!(of(&[]), Charset::Ascii);
    }
}
