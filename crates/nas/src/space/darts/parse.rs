//! Reads `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))`:
//! what Python's `repr` writes and people paste from `genotypes.py`, or the same as a dictionary of Python or JSON. A parser,
//! never an evaluator.

use super::{Darts, INPUTS, KEPT, KINDS, NODES, OPS};
use crate::space::{ArchError, CellGenotype, CellKind, Genotype, GenotypeEdge, SearchSpace, cursor::Cursor};
use crate::suggest;

const WHAT: &str = "genotype";

/// Pairs of a cell: two for each node.
const PAIRS: usize = (NODES - INPUTS) * KEPT;

/// Whether a text begins as such a genotype does.
pub(super) fn claims(text: &str) -> bool {
    let mut at = Cursor::new(WHAT, text);
    let field = |name: &str| KINDS.iter().any(|kind| name.starts_with(kind.name));
    if at.take("{") {
        return (at.take("'") || at.take("\"")) && field(at.word());
    }
    at.rest().starts_with("Genotype")
}

/// Fields in any order, white space and trailing commas anywhere, either quotes, tuples or lists; `Genotype(normal=...)` or a
/// dictionary, `{"normal": ...}`.
pub(super) fn genotype(text: &str) -> Result<Genotype, ArchError> {
    let mut at = Cursor::new(WHAT, text);
    let mut cells = KINDS.each_ref().map(|_| None);
    let mut concats = [false; 2];
    let dictionary = at.take("{");
    if !dictionary {
        at.expect("Genotype")?;
        at.expect("(")?;
    }
    let close = if dictionary { "}" } else { ")" };
    loop {
        let missing = missing(&cells, &concats);
        if missing.is_empty() {
            at.expect(close)?;
            break;
        }
        let quote = if dictionary { ["'", "\""].into_iter().find(|q| at.take(q)) } else { None };
        let start = at.clone();
        let name = at.word();
        let field = KINDS.iter().enumerate().find_map(|(i, kind)| match name.strip_prefix(kind.name) {
            Some("") => Some((i, false)),
            Some("_concat") => Some((i, true)),
            _ => None,
        });
        let seen = |(i, concat): (usize, bool)| if concat { concats[i] } else { cells[i].is_some() };
        let Some((i, of_nodes)) = field.filter(|&f| !seen(f)) else {
            let nearest = suggest::nearest(name, missing.iter().map(|(name, _)| *name));
            let nearest = missing.iter().map(|(name, _)| *name).find(|n| Some(*n) == nearest);
            let expected = suggest::one_of(missing.iter().map(|(_, quoted)| *quoted));
            return Err(ArchError { nearest, ..start.error(start.next_token(), &expected) });
        };
        if dictionary {
            at.expect(quote.unwrap_or("\""))?;
        }
        at.expect(if dictionary { ":" } else { "=" })?;
        if of_nodes {
            concat(&mut at)?;
            concats[i] = true;
        } else {
            cells[i] = Some(cell(&mut at)?);
        }
        at.separator(close)?;
    }
    at.end()?;
    let cell = |(kind, edges): (&CellKind, Option<_>)| CellGenotype {
        kind: kind.name.to_owned(),
        edges: edges.unwrap_or_default(),
    };
    Ok(Genotype { space: Darts.name().to_owned(), cells: KINDS.iter().zip(cells).map(cell).collect() })
}

/// Fields that have not been read, plain and in quotes.
fn missing(cells: &[Option<Vec<GenotypeEdge>>; 2], concats: &[bool; 2]) -> Vec<(&'static str, &'static str)> {
    let fields = [
        (cells[0].is_some(), ("normal", "`normal`")),
        (concats[0], ("normal_concat", "`normal_concat`")),
        (cells[1].is_some(), ("reduce", "`reduce`")),
        (concats[1], ("reduce_concat", "`reduce_concat`")),
    ];
    fields.into_iter().filter(|(seen, _)| !seen).map(|(_, names)| names).collect()
}

/// The pairs of a cell.
fn cell(at: &mut Cursor<'_>) -> Result<Vec<GenotypeEdge>, ArchError> {
    let close = at.open("a list of pairs (operation, input)")?;
    let mut edges = Vec::with_capacity(PAIRS);
    loop {
        let end = at.clone();
        let pairs = format!("{PAIRS} pairs, {KEPT} for each of the nodes {INPUTS} to {}", NODES - 1);
        if at.take(close) {
            if edges.len() == PAIRS {
                return Ok(edges);
            }
            let expected = format!("another pair: {pairs}; there are {}", edges.len());
            return Err(end.error(end.next_token(), &expected));
        }
        if edges.len() == PAIRS {
            return Err(end.error(end.next_token(), &format!("`{close}`: {pairs}")));
        }
        let to = INPUTS + edges.len() / KEPT;
        let (op, from) = at.pair(&OPS, to)?;
        edges.push(GenotypeEdge { from, to, op: OPS[op] });
        at.separator(close)?;
    }
}

/// `range(2, 6)` or `[2, 3, 4, 5]`.
fn concat(at: &mut Cursor<'_>) -> Result<(), ArchError> {
    let start = at.clone();
    let nodes: Vec<usize> = if at.take("range") {
        at.expect("(")?;
        let first = at.number("a node")?;
        at.expect(",")?;
        let end = at.number("a node")?;
        at.take(",");
        at.expect(")")?;
        // Longer ones are refused by their length.
        (first..end).take(NODES + 1).collect()
    } else {
        let close = at.open("the concatenated nodes, range(2, 6)")?;
        let mut nodes = vec![];
        while !at.take(close) {
            nodes.push(at.number("a node")?);
            at.separator(close)?;
        }
        nodes
    };
    if nodes.into_iter().eq(INPUTS..NODES) {
        return Ok(());
    }
    let found = at.since(&start).to_owned();
    let expected = format!("range({INPUTS}, {NODES}): only the concatenation of all four nodes is supported");
    Err(start.error(Some(found), &expected))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), \
        ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], \
        normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
        ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], \
        reduce_concat=range(2, 6))";

    fn message(text: &str) -> String {
        genotype(text).unwrap_err().to_string()
    }

    #[test]
    fn what_python_prints_round_trips() {
        assert_eq!(Darts.text(&genotype(V2).unwrap()).unwrap(), V2);
    }

    #[test]
    fn the_forms_of_the_wild_are_read() {
        let read = genotype(V2).unwrap();
        let json_like = V2.replace('\'', "\"").replace("range(2, 6)", "[2, 3, 4, 5]");
        let spread = V2.replace(", ", " ,\n    ").replace('=', " = ").replace("])", "],\n)") + "\n";
        let lists =
            V2.replace("('", "['").replace("), ", "], ").replace(")]", "]]").replace("range(2, 6]", "range(2, 6)");
        for text in [&json_like, &spread, &lists, &V2.replace("range(2, 6)", "(2, 3, 4, 5,)")] {
            assert_eq!(genotype(text).as_ref(), Ok(&read), "{text}");
        }
        let assigned = format!("DARTS_V2 = {V2}\n");
        let dictionary = V2.replace("Genotype(", "{'").replace("=", "': ").replace("], n", "], 'n");
        let dictionary = dictionary.replace(", reduce", ", 'reduce").trim_end_matches(')').to_owned() + ")}";
        let json =
            dictionary.replace('\'', "\"").replace('(', "[").replace(')', "]").replace("range[2, 6]", "[2, 3, 4, 5]");
        for text in [&assigned, &dictionary, &json] {
            assert!(claims(text), "{text}");
            assert_eq!(genotype(text).as_ref(), Ok(&read), "{text}");
        }
        let (normal, reduce) = V2.split_once(", reduce=").unwrap();
        let normal = normal.strip_prefix("Genotype(").unwrap();
        let turned = format!("Genotype(reduce={}, {normal})", reduce.strip_suffix(')').unwrap());
        assert_eq!(genotype(&turned), Ok(read));
    }

    #[test]
    fn errors_say_the_position_what_was_found_and_what_was_expected() {
        let ops = "an operation (none, max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3, sep_conv_5x5, \
                   dil_conv_3x3 or dil_conv_5x5)";
        for (text, expected) in [
            (String::new(), "1: the string ends, expected `Genotype`".to_owned()),
            ("Genotyp".to_owned(), "1: found `Genotyp`, expected `Genotype`".to_owned()),
            (
                V2.replacen("'sep_conv_3x3'", "'sep_conv3x3'", 1),
                format!("20: found `sep_conv3x3`, expected {ops}; did you mean `sep_conv_3x3`?"),
            ),
            (V2.replacen("'sep_conv_3x3'", "3", 1), "19: found `3`, expected an operation in quotes".to_owned()),
            (V2.replacen("3', 1", "3', 2", 1), "56: found `2`, expected an input of node 2, 0 to 1".to_owned()),
            (V2.replacen("3', 1", "3', -1", 1), "56: found `-`, expected an input of node 2, 0 to 1".to_owned()),
            (
                V2.replacen("), ('dil_conv_3x3', 2)", ")", 1),
                "163: found `]`, expected another pair: 8 pairs, 2 for each of the nodes 2 to 5; there are 7".to_owned(),
            ),
            (
                V2.replacen("2)]", "2), ('none', 0)]", 1),
                "186: found `(`, expected `]`: 8 pairs, 2 for each of the nodes 2 to 5".to_owned(),
            ),
            (
                V2.replacen("range(2, 6)", "range(2, 5)", 1),
                "201: found `range(2, 5)`, expected range(2, 6): only the concatenation of all four nodes is supported"
                    .to_owned(),
            ),
            (
                V2.replacen("range(2, 6)", "[2, 3, 4, 5, 6]", 1),
                "201: found `[2, 3, 4, 5, 6]`, expected range(2, 6): only the concatenation of all four nodes is supported"
                    .to_owned(),
            ),
            (
                V2.replace("normal_concat", "normal_conca"),
                "187: found `normal_conca`, expected `normal_concat`, `reduce` or `reduce_concat`; \
                 did you mean `normal_concat`?"
                    .to_owned(),
            ),
            (
                V2[..V2.find(", reduce=").unwrap()].to_owned() + ")",
                "212: found `)`, expected `reduce` or `reduce_concat`".to_owned(),
            ),
            (V2.replace("reduce=", "normal="), "214: found `normal`, expected `reduce` or `reduce_concat`".to_owned()),
            (format!("{V2} x"), format!("{}: found `x`, expected the end of the genotype", V2.len() + 2)),
            ("Genotype()".to_owned(), "10: found `)`, expected `normal`, `normal_concat`, `reduce` or `reduce_concat`".to_owned()),
        ] {
            assert_eq!(message(&text), format!("genotype, character {expected}"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_a_position_inside_it(text in "\\PC*") {
            if let Err(error) = genotype(&text) {
                prop_assert!(error.position <= text.chars().count() + 1);
            }
        }

        #[test]
        fn a_cut_or_changed_genotype_never_panics(at in 0..V2.len(), c in proptest::char::any()) {
            prop_assert!(genotype(&V2[..at]).is_err());
            let changed: String = V2.chars().enumerate().map(|(i, g)| if i == at { c } else { g }).collect();
            if let Ok(read) = genotype(&changed) {
                prop_assert!(genotype(&Darts.text(&read).unwrap()) == Ok(read));
            }
        }

        #[test]
        fn every_genotype_round_trips(choices in prop::collection::vec((0..8_usize, 0..64_usize), 16)) {
            let mut text = V2.to_owned();
            let mut edges = choices.iter().enumerate().map(|(i, &(op, from))| {
                format!("('{}', {})", OPS[op], from % (INPUTS + i % PAIRS / KEPT))
            });
            for kind in ["normal", "reduce"] {
                let start = text.find(&format!("{kind}=[")).unwrap() + kind.len() + 2;
                let end = start + text[start..].find(']').unwrap();
                text.replace_range(start..end, &edges.by_ref().take(PAIRS).collect::<Vec<_>>().join(", "));
            }
            let read = genotype(&text).unwrap();
            prop_assert_eq!(Darts.text(&read).unwrap(), text);
            let json = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<Genotype>(&json).unwrap(), read);
        }
    }
}
