use std::str::FromStr;

use super::{Arch, EDGE_LIST, EDGES, OPS};
use crate::{
    space::{ArchError, OpName, SpaceError},
    suggest,
};

impl FromStr for Arch {
    type Err = SpaceError;

    /// Reads `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`; white space around the whole is ignored.
    fn from_str(text: &str) -> Result<Self, SpaceError> {
        let rest = text.trim_start();
        let mut cursor = Cursor { rest: rest.trim_end(), position: 1 + text.chars().count() - rest.chars().count() };
        let mut ops = [0; EDGES];
        let mut node = 1;
        cursor.literal("|")?;
        for (edge, op) in EDGE_LIST.iter().zip(&mut ops) {
            if edge.to != node {
                node = edge.to;
                cursor.literal("+")?;
                cursor.literal("|")?;
            }
            *op = cursor.op()?;
            cursor.literal("~")?;
            cursor.literal(&edge.from.to_string())?;
            cursor.literal("|")?;
        }
        match cursor.rest.chars().next() {
            None => Self::new(ops),
            Some(c) => Err(cursor.error(Some(c.to_string()), "the end of the string".to_owned(), None).into()),
        }
    }
}

struct Cursor<'a> {
    rest: &'a str,
    /// Position of `rest` in characters, counted from 1.
    position: usize,
}

impl Cursor<'_> {
    fn literal(&mut self, expected: &str) -> Result<(), ArchError> {
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                self.position += expected.len();
                Ok(())
            }
            None => Err(self.error(self.rest.chars().next().map(String::from), format!("`{expected}`"), None)),
        }
    }

    fn op(&mut self) -> Result<u8, ArchError> {
        let end = self.rest.find(['|', '~', '+']).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if let Some(op) = OPS.iter().position(|op| op.as_str() == name) {
            self.rest = rest;
            self.position += name.len();
            return Ok(op as u8);
        }
        let names = || OPS.into_iter().map(OpName::as_str);
        // A missing name: what stands there is the next separator.
        let found = if name.is_empty() { rest.chars().next().map(String::from) } else { Some(name.to_owned()) };
        Err(self.error(found, format!("an operation ({})", suggest::one_of(names())), suggest::nearest(name, names())))
    }

    fn error(&self, found: Option<String>, expected: String, nearest: Option<&'static str>) -> ArchError {
        ArchError { what: "architecture string", position: self.position, found, expected, nearest }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|";

    fn message(text: &str) -> String {
        text.parse::<Arch>().unwrap_err().to_string()
    }

    #[test]
    fn errors_say_the_position_what_was_found_and_what_was_expected() {
        let ops = "an operation (none, skip_connect, nor_conv_1x1, nor_conv_3x3 or avg_pool_3x3)";
        for (text, expected) in [
            ("", "character 1: the string ends, expected `|`".to_owned()),
            ("none", "character 1: found `n`, expected `|`".to_owned()),
            ("|", format!("character 2: the string ends, expected {ops}")),
            ("||", format!("character 2: found `|`, expected {ops}")),
            (
                "|none~0|+|nor_conv3x3~0|",
                format!("character 11: found `nor_conv3x3`, expected {ops}; did you mean `nor_conv_3x3`?"),
            ),
            ("|none~0|+|größe~0|", format!("character 11: found `größe`, expected {ops}")),
            ("|none~1|", "character 7: found `1`, expected `0`".to_owned()),
            ("|none|", "character 6: found `|`, expected `~`".to_owned()),
            ("|none~0|none~1|", "character 9: found `n`, expected `+`".to_owned()),
            ("  |none~0", "character 10: the string ends, expected `|`".to_owned()),
        ] {
            assert_eq!(message(text), format!("architecture string, {expected}"));
        }
        assert_eq!(
            message(&format!("{GOOD}+|none~0|")),
            "architecture string, character 48: found `+`, expected the end of the string"
        );
    }

    #[test]
    fn white_space_around_the_string_is_ignored() {
        assert_eq!(format!(" {GOOD}\n").parse::<Arch>().unwrap(), Arch::new([0; 6]).unwrap());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_a_position_inside_it(text in "\\PC*") {
            if let Err(SpaceError::Arch(error)) = text.parse::<Arch>() {
                prop_assert!(error.position <= text.chars().count() + 1);
            }
        }

        #[test]
        fn one_changed_character_is_refused(at in 0_usize..47, c in proptest::char::any()) {
            let changed: String = GOOD.chars().enumerate().map(|(i, g)| if i == at { c } else { g }).collect();
            prop_assert!(changed == GOOD || changed.parse::<Arch>().is_err());
        }
    }
}
