//! Settings that are a number, or a word for no bound at all.

use std::{fmt, num::NonZeroUsize};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How many: a count of at least 1, or `"all"` there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtMost {
    /// No bound.
    #[default]
    All,
    /// At most so many.
    Count(NonZeroUsize),
}

impl AtMost {
    /// The smaller one of `there` and the bound.
    pub fn of(self, there: usize) -> usize {
        match self {
            Self::All => there,
            Self::Count(most) => there.min(most.get()),
        }
    }
}

impl From<Option<NonZeroUsize>> for AtMost {
    fn from(count: Option<NonZeroUsize>) -> Self {
        count.map_or(Self::All, Self::Count)
    }
}

impl Serialize for AtMost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Count(count) => count.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AtMost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = AtMost;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count of at least 1, or \"all\"")
            }

            fn visit_i64<E: de::Error>(self, count: i64) -> Result<AtMost, E> {
                let known = usize::try_from(count).ok().and_then(NonZeroUsize::new);
                known.map(AtMost::Count).ok_or_else(|| E::invalid_value(de::Unexpected::Signed(count), &self))
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<AtMost, E> {
                let known = usize::try_from(count).ok().and_then(NonZeroUsize::new);
                known.map(AtMost::Count).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(count), &self))
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<AtMost, E> {
                (word == "all").then_some(AtMost::All).ok_or_else(|| E::invalid_value(de::Unexpected::Str(word), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Largest norm of a gradient, more than 0, or `"none"`: it is not clipped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ClipNorm {
    /// No clipping.
    None,
    /// A longer gradient is scaled to this norm.
    At(f64),
}

impl ClipNorm {
    /// The norm, if there is one.
    pub fn norm(self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::At(norm) => Some(norm),
        }
    }
}

impl Serialize for ClipNorm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::At(norm) => serializer.serialize_f64(*norm),
        }
    }
}

impl<'de> Deserialize<'de> for ClipNorm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = ClipNorm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number more than 0, or \"none\"")
            }

            fn visit_f64<E: de::Error>(self, norm: f64) -> Result<ClipNorm, E> {
                let fits = norm.is_finite() && norm > 0.0;
                let value = de::Unexpected::Float(norm);
                fits.then_some(ClipNorm::At(norm)).ok_or_else(|| E::invalid_value(value, &self))
            }

            fn visit_i64<E: de::Error>(self, norm: i64) -> Result<ClipNorm, E> {
                self.visit_f64(norm as f64)
            }

            fn visit_u64<E: de::Error>(self, norm: u64) -> Result<ClipNorm, E> {
                self.visit_f64(norm as f64)
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ClipNorm, E> {
                let value = de::Unexpected::Str(word);
                (word == "none").then_some(ClipNorm::None).ok_or_else(|| E::invalid_value(value, &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Settings {
        images: AtMost,
        clip: ClipNorm,
    }

    fn read(images: &str, clip: &str) -> Result<Settings, String> {
        toml::from_str(&format!("images = {images}\nclip = {clip}\n")).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn a_number_or_the_word_for_no_bound() {
        for (images, clip) in [("\"all\"", "\"none\""), ("3", "5.0")] {
            let settings = read(images, clip).unwrap();
            assert_eq!(toml::to_string(&settings).unwrap(), format!("images = {images}\nclip = {clip}\n"));
        }
        let AtMost::Count(three) = read("3", "5").unwrap().images else { panic!() };
        assert_eq!((AtMost::Count(three).of(9), AtMost::Count(three).of(2), AtMost::All.of(9)), (3, 2, 9));
    }

    #[test]
    fn zero_and_other_words_are_refused_with_what_would_be_right() {
        for images in ["0", "-1", "\"none\""] {
            let error = read(images, "5.0").unwrap_err();
            assert!(error.contains("expected a count of at least 1, or \"all\""), "{error}");
        }
        for clip in ["0", "0.0", "-1.5", "\"all\"", "nan"] {
            let error = read("\"all\"", clip).unwrap_err();
            assert!(error.contains("expected a number more than 0, or \"none\""), "{error}");
        }
    }
}
