use std::{fmt, num::NonZeroUsize};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Which checkpoints of the ends of epochs are kept in `epochs/`, beside the newest one and the one before it. Written `last`
/// (or `false`), `best`, `every(5)`, or `true` for every one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// None of them.
    #[default]
    Last,
    /// The one of the best epoch so far, as the task judges its epochs.
    Best,
    /// Every so many epochs.
    Every(NonZeroUsize),
}

impl Keep {
    /// That of every epoch.
    pub const ALL: Self = Self::Every(NonZeroUsize::MIN);

    /// Whether the end of `epoch` (counted from 1) is kept; `best`: the best epoch so far.
    pub(super) fn wants(self, epoch: usize, best: Option<usize>) -> bool {
        match self {
            Self::Last => false,
            Self::Best => best == Some(epoch),
            Self::Every(n) => epoch.is_multiple_of(n.get()),
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Best => f.write_str("best"),
            Self::Every(n) => write!(f, "every({n})"),
        }
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Keep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`last`, `best`, `every(5)`, true or false")
            }

            fn visit_bool<E: de::Error>(self, all: bool) -> Result<Keep, E> {
                Ok(if all { Keep::ALL } else { Keep::Last })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Keep, E> {
                let every = || text.strip_prefix("every(")?.strip_suffix(')')?.trim().parse().ok().map(Keep::Every);
                match text {
                    "last" => Ok(Keep::Last),
                    "best" => Ok(Keep::Best),
                    _ => every().ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Keep>(text).map_err(|e| e.to_string());
        for text in ["\"last\"", "\"best\"", "\"every(5)\""] {
            assert_eq!(serde_json::to_string(&read(text).unwrap()).unwrap(), text);
        }
        assert_eq!((read("true").unwrap(), read("false").unwrap()), (Keep::ALL, Keep::Last));
        for bad in ["\"every(0)\"", "\"every\"", "\"first\"", "3"] {
            assert!(read(bad).unwrap_err().contains("expected `last`, `best`, `every(5)`"), "{bad}");
        }
    }

    #[test]
    fn a_policy_says_which_epochs_stay() {
        let kept = |keep: Keep| (1..=6).filter(|&e| keep.wants(e, Some(4))).collect::<Vec<_>>();
        assert!(kept(Keep::Last).is_empty());
        assert_eq!(kept(Keep::Best), [4]);
        assert_eq!(kept(Keep::Every(NonZeroUsize::new(3).unwrap())), [3, 6]);
        assert_eq!(kept(Keep::ALL), [1, 2, 3, 4, 5, 6]);
    }
}
