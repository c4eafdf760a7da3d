//! Reads the texts in which the field writes architectures: what the notations of the spaces have in common.

use super::{ArchError, OpName};
use crate::suggest;

/// What is left of a text. White space between tokens does not count.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    what: &'static str,
    /// Characters before `text` in what was given.
    skipped: usize,
    text: &'a str,
    rest: &'a str,
}

/// A text without what comes along when it is copied: white space, a byte-order mark, quotes around the whole, a comma or
/// semicolon after it, the name that it is assigned to (`DARTS_V2 = ...`, `arch: ...`).
pub(super) fn bare(text: &str) -> &str {
    let mut bare = text;
    loop {
        let mut shorter = bare.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        shorter = shorter.trim_end_matches([',', ';']).trim_end();
        for quote in ["'", "\"", "`"] {
            let inner = shorter.strip_prefix(quote).and_then(|s| s.strip_suffix(quote));
            shorter = inner.filter(|s| !s.contains(quote)).unwrap_or(shorter);
        }
        if let Some((name, value)) = shorter.split_once(['=', ':'])
            && name.chars().all(|c| c.is_alphanumeric() || " _'\"".contains(c))
            && name.chars().any(char::is_alphabetic)
        {
            shorter = value;
        }
        if shorter.len() == bare.len() {
            return bare;
        }
        bare = shorter;
    }
}

impl<'a> Cursor<'a> {
    /// At the beginning of a text; `what` it is, for errors.
    pub(super) fn new(what: &'static str, given: &'a str) -> Self {
        let text = bare(given);
        let before = text.as_ptr() as usize - given.as_ptr() as usize;
        Self { what, skipped: given[..before].chars().count(), text, rest: text }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest.trim_start()
    }

    /// Reads `token` if it comes next.
    pub(super) fn take(&mut self, token: &str) -> bool {
        match self.rest().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<(), ArchError> {
        if self.take(token) { Ok(()) } else { Err(self.error(self.next_token(), &format!("`{token}`"))) }
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Result<(), ArchError> {
        if self.rest().is_empty() {
            return Ok(());
        }
        Err(self.error(self.next_token(), &format!("the end of the {}", self.what)))
    }

    /// Letters, digits and underscores; empty where there are none.
    pub(super) fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        word
    }

    /// What was read since `start`.
    pub(super) fn since(&self, start: &Self) -> &'a str {
        let read = start.rest();
        &read[..read.len() - self.rest.len()]
    }

    /// The word or the single character that comes next.
    pub(super) fn next_token(&self) -> Option<String> {
        let word = self.clone().word();
        if word.is_empty() { self.rest().chars().next().map(String::from) } else { Some(word.to_owned()) }
    }

    pub(super) fn error(&self, found: Option<String>, expected: &str) -> ArchError {
        let before = self.text.len() - self.rest().len();
        let position = 1 + self.skipped + self.text[..before].chars().count();
        ArchError { what: self.what, position, found, expected: expected.to_owned(), nearest: None }
    }

    pub(super) fn number(&mut self, expected: &str) -> Result<usize, ArchError> {
        let start = self.clone();
        self.word().parse().map_err(|_| start.error(start.next_token(), expected))
    }

    /// One of the brackets of a tuple or list; returns the one that closes it.
    pub(super) fn open(&mut self, expected: &str) -> Result<&'static str, ArchError> {
        for (open, close) in [("(", ")"), ("[", "]")] {
            if self.take(open) {
                return Ok(close);
            }
        }
        Err(self.error(self.next_token(), expected))
    }

    /// A comma between elements; none is needed before the end.
    pub(super) fn separator(&mut self, close: &str) -> Result<(), ArchError> {
        if self.take(",") || self.rest().starts_with(close) {
            Ok(())
        } else {
            Err(self.error(self.next_token(), &format!("`,` or `{close}`")))
        }
    }

    /// The name of one of `ops`, as their number.
    pub(super) fn op(&mut self, ops: &[OpName]) -> Result<usize, ArchError> {
        let start = self.clone();
        let name = self.word();
        ops.iter().position(|op| op.as_str() == name).ok_or_else(|| {
            let names = || ops.iter().map(|op| op.as_str());
            let nearest = suggest::nearest(name, names());
            let expected = format!("an operation ({})", suggest::one_of(names()));
            ArchError { nearest, ..start.error(start.next_token(), &expected) }
        })
    }

    /// `('sep_conv_3x3', 1)`, an incoming edge of `node`: the operation's number and the node that the edge comes from.
    pub(super) fn pair(&mut self, ops: &[OpName], node: usize) -> Result<(usize, usize), ArchError> {
        let close = self.open("a pair (operation, input)")?;
        let quote = if self.take("'") { "'" } else { "\"" };
        if quote == "\"" {
            self.expect(quote).map_err(|e| ArchError { expected: "an operation in quotes".to_owned(), ..e })?;
        }
        let op = self.op(ops)?;
        self.expect(quote)?;
        self.expect(",")?;
        let start = self.clone();
        let expected = match node {
            1 => "an input of node 1, 0".to_owned(),
            _ => format!("an input of node {node}, 0 to {}", node - 1),
        };
        let from = self.number(&expected)?;
        if from >= node {
            return Err(start.error(start.next_token(), &expected));
        }
        self.take(",");
        self.expect(close)?;
        Ok((op, from))
    }
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn what_comes_along_when_copied_is_left_out() {
        for text in [
            "|a~0|",
            "  |a~0|\n",
            "\u{feff}|a~0|",
            "'|a~0|'",
            "\"|a~0|\",",
            "`|a~0|`;",
            "arch = '|a~0|'",
            "arch: |a~0|",
            "\"arch\": \"|a~0|\",",
            "best arch = |a~0|",
        ] {
            assert_eq!(bare(text), "|a~0|", "{text}");
        }
        // A value of its own, and what is no name, stay.
        for text in ["Genotype(normal=[])", "|a~0|:0.93", "12", "", "='"] {
            assert_eq!(bare(text), text);
        }
    }
}
