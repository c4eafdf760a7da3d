//! Reads `Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))`:
//! what Python's `repr` writes and people paste from `genotypes.py`, or the same as a dictionary of Python or JSON. A parser,
//! never an evaluator.

use super::{Darts, INPUTS, KEPT, NORMAL, OPS, REDUCE};
use crate::space::{ArchError, CellGenotype, CellKind, Genotype, GenotypeEdge, SearchSpace, cursor::Cursor};
use crate::suggest;

const WHAT: &str = "genotype";

/// Whether a text begins as such a genotype does.
pub(super) fn claims(text: &str) -> bool {
    let mut at = Cursor::new(WHAT, text);
    let field = |name: &str| [NORMAL, REDUCE].iter().any(|kind| name.starts_with(kind));
    if at.take("{") {
        return (at.take("'") || at.take("\"")) && field(at.word());
    }
    at.rest().starts_with("Genotype")
}

/// Fields in any order, white space and trailing commas anywhere, either quotes, tuples or lists; `Genotype(normal=...)` or a
/// dictionary, `{"normal": ...}`.
pub(super) fn genotype(space: Darts, text: &str) -> Result<Genotype, ArchError> {
    let mut at = Cursor::new(WHAT, text);
    let mut fields: Vec<Field> = space.kinds().iter().map(Field::new).collect();
    let dictionary = at.take("{");
    if !dictionary {
        at.expect("Genotype")?;
        at.expect("(")?;
    }
    let close = if dictionary { "}" } else { ")" };
    loop {
        let missing: Vec<String> = fields.iter().flat_map(Field::missing).collect();
        if missing.is_empty() {
            at.expect(close)?;
            break;
        }
        let quote = if dictionary { ["'", "\""].into_iter().find(|q| at.take(q)) } else { None };
        let start = at.clone();
        let name = at.word();
        let field = fields.iter_mut().find(|f| missing.iter().any(|m| m == name) && name.starts_with(f.kind.name));
        let Some(field) = field else {
            let nearest = suggest::nearest(name, missing.iter().map(String::as_str));
            let nearest = NAMES.into_iter().find(|n| Some(*n) == nearest);
            let quoted: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
            let expected = suggest::one_of(quoted.iter().map(String::as_str));
            return Err(ArchError { nearest, ..start.error(start.next_token(), &expected) });
        };
        if dictionary {
            at.expect(quote.unwrap_or("\""))?;
        }
        at.expect(if dictionary { ":" } else { "=" })?;
        if name == field.kind.name {
            field.edges = Some(cell(field.kind, &mut at)?);
        } else {
            concat(field.kind, &mut at)?;
            field.concatenated = true;
        }
        at.separator(close)?;
    }
    at.end()?;
    let cell =
        |field: Field<'_>| CellGenotype { kind: field.kind.name.to_owned(), edges: field.edges.unwrap_or_default() };
    Ok(Genotype { space: space.name().to_owned(), cells: fields.into_iter().map(cell).collect() })
}

/// Every name of a field.
const NAMES: [&str; 4] = [NORMAL, "normal_concat", REDUCE, "reduce_concat"];

/// What has been read of a cell.
struct Field<'a> {
    kind: &'a CellKind,
    edges: Option<Vec<GenotypeEdge>>,
    concatenated: bool,
}

impl<'a> Field<'a> {
    fn new(kind: &'a CellKind) -> Self {
        Self { kind, edges: None, concatenated: false }
    }

    /// Names of what has not been read.
    fn missing(&self) -> impl Iterator<Item = String> {
        let edges = self.edges.is_none().then(|| self.kind.name.to_owned());
        edges.into_iter().chain((!self.concatenated).then(|| format!("{}_concat", self.kind.name)))
    }
}

/// The pairs of a cell: two for each node.
fn cell(kind: &CellKind, at: &mut Cursor<'_>) -> Result<Vec<GenotypeEdge>, ArchError> {
    let close = at.open("a list of pairs (operation, input)")?;
    let count = (kind.nodes - INPUTS) * KEPT;
    let mut edges = Vec::with_capacity(count);
    loop {
        let end = at.clone();
        let pairs = format!("{count} pairs, {KEPT} for each of the nodes {INPUTS} to {}", kind.nodes - 1);
        if at.take(close) {
            if edges.len() == count {
                return Ok(edges);
            }
            let expected = format!("another pair: {pairs}; there are {}", edges.len());
            return Err(end.error(end.next_token(), &expected));
        }
        if edges.len() == count {
            return Err(end.error(end.next_token(), &format!("`{close}`: {pairs}")));
        }
        let to = INPUTS + edges.len() / KEPT;
        let (op, from) = at.pair(&OPS, to)?;
        edges.push(GenotypeEdge { from, to, op: OPS[op] });
        at.separator(close)?;
    }
}

/// `range(2, 6)` or `[2, 3, 4, 5]`.
fn concat(kind: &CellKind, at: &mut Cursor<'_>) -> Result<(), ArchError> {
    let start = at.clone();
    let supported = kind.nodes - kind.outputs..kind.nodes;
    let nodes: Vec<usize> = if at.take("range") {
        at.expect("(")?;
        let first = at.number("a node")?;
        at.expect(",")?;
        let end = at.number("a node")?;
        at.take(",");
        at.expect(")")?;
        // Longer ones are refused by their length.
        (first..end).take(kind.outputs + 1).collect()
    } else {
        let close = at.open(&format!("the concatenated nodes, range({}, {})", supported.start, supported.end))?;
        let mut nodes = vec![];
        while !at.take(close) {
            nodes.push(at.number("a node")?);
            at.separator(close)?;
        }
        nodes
    };
    if nodes.into_iter().eq(supported.clone()) {
        return Ok(());
    }
    let found = at.since(&start).to_owned();
    let which = if supported.start == INPUTS { "all" } else { "the last" };
    let expected = format!(
        "range({}, {}): only the concatenation of {which} four nodes is supported",
        supported.start, supported.end
    );
    Err(start.error(Some(found), &expected))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORIGINAL: Darts = Darts::Original;
    const V2: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), \
        ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], \
        normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
        ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], \
        reduce_concat=range(2, 6))";

    fn message(text: &str) -> String {
        genotype(ORIGINAL, text).unwrap_err().to_string()
    }

    #[test]
    fn what_python_prints_round_trips() {
        assert_eq!(ORIGINAL.text(&genotype(ORIGINAL, V2).unwrap()).unwrap(), V2);
    }

    #[test]
    fn the_forms_of_the_wild_are_read() {
        let read = genotype(ORIGINAL, V2).unwrap();
        let json_like = V2.replace('\'', "\"").replace("range(2, 6)", "[2, 3, 4, 5]");
        let spread = V2.replace(", ", " ,\n    ").replace('=', " = ").replace("])", "],\n)") + "\n";
        let lists =
            V2.replace("('", "['").replace("), ", "], ").replace(")]", "]]").replace("range(2, 6]", "range(2, 6)");
        for text in [&json_like, &spread, &lists, &V2.replace("range(2, 6)", "(2, 3, 4, 5,)")] {
            assert_eq!(genotype(ORIGINAL, text).as_ref(), Ok(&read), "{text}");
        }
        let assigned = format!("DARTS_V2 = {V2}\n");
        let dictionary = V2.replace("Genotype(", "{'").replace("=", "': ").replace("], n", "], 'n");
        let dictionary = dictionary.replace(", reduce", ", 'reduce").trim_end_matches(')').to_owned() + ")}";
        let json =
            dictionary.replace('\'', "\"").replace('(', "[").replace(')', "]").replace("range[2, 6]", "[2, 3, 4, 5]");
        for text in [&assigned, &dictionary, &json] {
            assert!(claims(text), "{text}");
            assert_eq!(genotype(ORIGINAL, text).as_ref(), Ok(&read), "{text}");
        }
        let (normal, reduce) = V2.split_once(", reduce=").unwrap();
        let normal = normal.strip_prefix("Genotype(").unwrap();
        let turned = format!("Genotype(reduce={}, {normal})", reduce.strip_suffix(')').unwrap());
        assert_eq!(genotype(ORIGINAL, &turned), Ok(read));
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

    /// Fields, pairs and nodes are those of the space.
    #[test]
    fn a_single_cell_has_sixteen_pairs_and_puts_out_its_last_nodes() {
        let single = Darts::SingleCell;
        let pairs: Vec<String> = (0..16).map(|i| format!("('sep_conv_3x3', {})", i % 2)).collect();
        let text = format!("Genotype(reduce=[{}], reduce_concat=range(6, 10))", pairs.join(", "));
        let read = genotype(single, &text).unwrap();
        assert_eq!((&read.space[..], read.cells.len()), ("darts-single-cell", 1));
        assert_eq!(single.text(&read).unwrap(), text);
        assert!(genotype(ORIGINAL, &text).is_err() && ORIGINAL.text(&read).is_err());
        for (changed, expected) in [
            (
                text.replace("range(6, 10)", "range(2, 10)"),
                "only the concatenation of the last four nodes is supported",
            ),
            (text.replacen("reduce=[", "reduce=[('skip_connect', 0), ", 1), "16 pairs, 2 for each of the nodes 2 to 9"),
            (V2.to_owned(), "found `normal`, expected `reduce` or `reduce_concat`"),
        ] {
            let error = genotype(single, &changed).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_a_position_inside_it(text in "\\PC*") {
            if let Err(error) = genotype(ORIGINAL, &text) {
                prop_assert!(error.position <= text.chars().count() + 1);
            }
        }

        #[test]
        fn a_cut_or_changed_genotype_never_panics(at in 0..V2.len(), c in proptest::char::any()) {
            prop_assert!(genotype(ORIGINAL, &V2[..at]).is_err());
            let changed: String = V2.chars().enumerate().map(|(i, g)| if i == at { c } else { g }).collect();
            if let Ok(read) = genotype(ORIGINAL, &changed) {
                prop_assert!(genotype(ORIGINAL, &ORIGINAL.text(&read).unwrap()) == Ok(read));
            }
        }

        #[test]
        fn every_genotype_round_trips(choices in prop::collection::vec((0..8_usize, 0..64_usize), 16)) {
            let mut text = V2.to_owned();
            let mut edges = choices.iter().enumerate().map(|(i, &(op, from))| {
                format!("('{}', {})", OPS[op], from % (INPUTS + i % 8 / KEPT))
            });
            for kind in ["normal", "reduce"] {
                let start = text.find(&format!("{kind}=[")).unwrap() + kind.len() + 2;
                let end = start + text[start..].find(']').unwrap();
                text.replace_range(start..end, &edges.by_ref().take(8).collect::<Vec<_>>().join(", "));
            }
            let read = genotype(ORIGINAL, &text).unwrap();
            prop_assert_eq!(ORIGINAL.text(&read).unwrap(), text);
            let json = serde_json::to_string(&read).unwrap();
            prop_assert_eq!(serde_json::from_str::<Genotype>(&json).unwrap(), read);
        }
    }
}
