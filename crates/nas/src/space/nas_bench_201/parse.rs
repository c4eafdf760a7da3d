use std::str::FromStr;

use super::{ARCHITECTURES, Arch, EDGE_LIST, EDGES, NODES, OPS};
use crate::space::{
    ArchError, SpaceError,
    cursor::{Cursor, bare},
};

const WHAT: &str = "architecture string";

/// Whether a text begins as an architecture of this space does.
pub(super) fn claims(text: &str) -> bool {
    if index(text).is_some() || numbers_or_names(text).is_some() {
        return true;
    }
    let text = bare(text);
    let is_list = text.starts_with(['[', '(']) && OPS.iter().any(|op| text.contains(op.as_str()));
    text.starts_with('|') || text.starts_with("Structure") || is_list
}

impl FromStr for Arch {
    type Err = SpaceError;

    /// Reads an architecture by its text ([`Arch::from_text`]) or by its index in the benchmark.
    ///
    /// # Errors
    /// [`SpaceError::Arch`], [`SpaceError::Foreign`], [`SpaceError::Index`].
    fn from_str(text: &str) -> Result<Self, SpaceError> {
        let Some(number) = index(text) else { return Self::from_text(text) };
        let arch = number.parse().ok().map(Self::from_index);
        // Negative, or too large for any integer.
        arch.unwrap_or_else(|| Err(SpaceError::Index { index: number.to_owned(), max: ARCHITECTURES - 1 }))
    }
}

/// The digits of an index, `9930` or `index 9930`, with their sign.
fn index(text: &str) -> Option<&str> {
    let number = bare(text).trim_start_matches("index").trim_start();
    let digits = number.strip_prefix('-').unwrap_or(number);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}

impl Arch {
    /// Reads `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`, alone or as AutoDL-Projects prints it (`Structure(4 nodes with ...)`), and
    /// that program's lists, `[(('op', 0),), (('op', 0), ('op', 1)), ...]`. White space does not count.
    ///
    /// # Errors
    /// [`SpaceError::Arch`], [`SpaceError::Foreign`].
    pub fn from_text(text: &str) -> Result<Self, SpaceError> {
        if let Some(what) = numbers_or_names(text) {
            return Err(SpaceError::Foreign(format!(
                "`{}` is a list of {what}, which programs order differently (operation 0 is `none` in AutoDL-Projects and \
                 `skip_connect` in NASLib; the orders of the edges differ too), expected an operation and its input \
                 for every edge: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`",
                bare(text)
            )));
        }
        let mut at = Cursor::new(WHAT, text);
        if at.rest().starts_with(['[', '(']) {
            return Self::new(list(&mut at)?);
        }
        let printed = at.take("Structure");
        if printed {
            at.expect("(")?;
            at.expect(&NODES.to_string())?;
            at.expect("nodes")?;
            at.expect("with")?;
        }
        let ops = string(&mut at)?;
        if printed {
            at.expect(")")?;
        }
        at.end().map_err(|e| ArchError { expected: "the end of the string".to_owned(), ..e })?;
        Self::new(ops)
    }
}

fn string(at: &mut Cursor<'_>) -> Result<[u8; EDGES], ArchError> {
    let mut ops = [0; EDGES];
    let mut node = 1;
    at.expect("|")?;
    for (edge, op) in EDGE_LIST.iter().zip(&mut ops) {
        if edge.to != node {
            node = edge.to;
            at.expect("+")?;
            at.expect("|")?;
        }
        *op = at.op(&OPS)? as u8;
        at.expect("~")?;
        at.expect(&edge.from.to_string())?;
        at.expect("|")?;
    }
    Ok(ops)
}

/// A list of the nodes, each a list of its pairs (operation, input).
fn list(at: &mut Cursor<'_>) -> Result<[u8; EDGES], ArchError> {
    let mut ops = [None; EDGES];
    let outer = at.open("a list of nodes")?;
    for node in 1..NODES {
        let close = at.open(&format!("a list of the pairs (operation, input) of node {node}"))?;
        for _ in 0..node {
            let start = at.clone();
            let (op, from) = at.pair(&OPS, node)?;
            let edge = EDGE_LIST.iter().position(|e| (e.from, e.to) == (from, node));
            let free = edge.filter(|&e| ops[e].is_none());
            let expected = format!("another input of node {node}: each occurs once");
            let edge = free.ok_or_else(|| start.error(Some(at.since(&start).to_owned()), &expected))?;
            ops[edge] = Some(op as u8);
            at.separator(close)?;
        }
        at.expect(close)?;
        at.separator(outer)?;
    }
    at.expect(outer)?;
    at.end()?;
    Ok(ops.map(Option::unwrap_or_default))
}

/// What a list of as many as there are edges consists of that says nothing of them: numbers alone, or names alone.
fn numbers_or_names(text: &str) -> Option<&'static str> {
    let text = bare(text);
    let inner = text.trim_matches(['(', ')', '[', ']']);
    if inner.contains(['(', ')', '[', ']', '|']) {
        return None;
    }
    let items: Vec<&str> = inner.split([',', ' ']).filter(|item| !item.is_empty()).collect();
    let all = |is: &dyn Fn(&str) -> bool| items.len() == EDGES && items.iter().all(|item| is(item));
    let is_op = |item: &str| OPS.iter().any(|op| op.as_str() == item.trim_matches(['\'', '"']));
    if all(&|item| item.bytes().all(|b| b.is_ascii_digit())) {
        Some("operation numbers")
    } else if all(&is_op) {
        Some("operations without their inputs")
    } else {
        None
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
            ("none", "character 1: found `none`, expected `|`".to_owned()),
            ("|", format!("character 2: the string ends, expected {ops}")),
            ("||", format!("character 2: found `|`, expected {ops}")),
            (
                "|none~0|+|nor_conv3x3~0|",
                format!("character 11: found `nor_conv3x3`, expected {ops}; did you mean `nor_conv_3x3`?"),
            ),
            ("|none~0|+|größe~0|", format!("character 11: found `größe`, expected {ops}")),
            ("|none~1|", "character 7: found `1`, expected `0`".to_owned()),
            ("|none|", "character 6: found `|`, expected `~`".to_owned()),
            ("|none~0|none~1|", "character 9: found `none`, expected `+`".to_owned()),
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
    fn the_forms_of_the_wild_are_read() {
        let text = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|";
        let arch: Arch = text.parse().unwrap();
        let list = "[(('nor_conv_3x3', 0),), (('none', 0), ('avg_pool_3x3', 1)), \
                    (('skip_connect', 0), ('nor_conv_1x1', 1), ('nor_conv_3x3', 2))]";
        let json = list.replace(",)", ")").replace('(', "[").replace(')', "]").replace('\'', "\"");
        for form in [
            format!("Structure(4 nodes with {text})"),
            format!("genotype: Structure(4 nodes with {text})\n"),
            format!("'{text}',"),
            text.replace('|', " | ").replace('~', " ~ "),
            text.replace('+', "\n+ "),
            list.to_owned(),
            json,
            list.replace("('none', 0), ('avg_pool_3x3', 1)", "('avg_pool_3x3', 1), ('none', 0)"),
        ] {
            assert_eq!(form.parse::<Arch>().as_ref(), Ok(&arch), "{form}");
            assert!(claims(&form), "{form}");
        }
        for index in ["9930", " 9930\n", "index 9930", "index: 9930", "\"index\": 9930,"] {
            assert_eq!(index.parse::<Arch>().unwrap().index(), 9930, "{index}");
            assert!(claims(index) && Arch::from_text(index).is_err());
        }
        for index in ["15625", "-1", "-0", "99999999999999999999999"] {
            let message = format!("architecture index {index} is out of range, expected 0..=15624");
            assert_eq!(self::message(index), message);
        }
    }

    #[test]
    fn lists_that_leave_the_order_open_are_refused_by_name() {
        for (text, what) in [
            ("(4, 0, 3, 1, 4, 3)", "operation numbers"),
            ("[4,0,3,1,4,3]", "operation numbers"),
            ("4 0 3 1 4 3", "operation numbers"),
            ("['none', 'skip_connect', 'none', 'none', 'none', 'none']", "operations without their inputs"),
        ] {
            assert!(message(text).starts_with(&format!("`{text}` is a list of {what}, which")), "{}", message(text));
        }
    }

    #[test]
    fn a_list_that_does_not_fit_is_refused_at_its_position() {
        for (text, expected) in [
            ("[(('none', 1),)]", "12: found `1`, expected an input of node 1, 0"),
            (
                "[(('none', 0),), (('none', 0), ('none', 0))]",
                "32: found `('none', 0)`, expected another input of node 2: each occurs once",
            ),
            ("[(('none', 0),)]", "16: found `]`, expected a list of the pairs (operation, input) of node 2"),
            (
                "[(('nonne', 0),)]",
                "5: found `nonne`, expected an operation (none, skip_connect, nor_conv_1x1, nor_conv_3x3 or avg_pool_3x3); did you mean `none`?",
            ),
        ] {
            assert_eq!(message(text), format!("architecture string, character {expected}"));
        }
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
