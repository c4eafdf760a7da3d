//! The only place that writes: data to standard output, progress and messages to standard error.

use std::{
    fmt::{self, Display},
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// The reader of standard output has gone (`| head`). Not a failure: the process ends quietly.
#[derive(Debug)]
pub struct Closed;

impl Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for Closed {}

/// Standard output and standard error of a command.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The bar of [`Output::progress`].
    shown: Arc<Mutex<Option<ProgressBar>>>,
}

impl Output {
    /// Writes text to standard output and ends the line if it does not end in one.
    ///
    /// # Errors
    /// [`Closed`] where nobody reads any longer; any other write error as it is.
    pub fn data(&self, text: impl Display) -> Result<()> {
        let mut text = tame(&text.to_string());
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let mut stdout = io::stdout().lock();
        wrote(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
    }

    /// Writes bytes to standard output as they are.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        wrote(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Writes one line of JSON to standard output.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        self.data(serde_json::to_string(value).context("cannot write the result as JSON")?)
    }

    /// Writes a message to standard error and ends the line. A closed standard error loses it.
    pub fn note(&self, text: impl Display) {
        let text = tame(&text.to_string());
        let write = || drop(writeln!(io::stderr().lock(), "{text}"));
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &*shown { bar.suspend(write) } else { write() }
    }

    /// Shows how much of something is done, until all of it is.
    pub fn progress(&self, what: &'static str, done: usize, total: usize) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = shown.get_or_insert_with(|| self.bar(what, total as u64));
        bar.set_position(done as u64);
        if done >= total {
            bar.finish_and_clear();
            *shown = None;
        }
    }

    /// A progress bar with counts and ETA on standard error; drawn only on a terminal.
    /// Messages in between go through `bar.suspend(|| out.note(..))`.
    pub fn bar(&self, what: &'static str, total: u64) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {elapsed} (ETA {eta}) {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::new(total).with_style(style).with_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }
}

/// A text without what a terminal would obey: names and texts of others may hold anything. Lines and tabs stay.
pub fn tame(text: &str) -> String {
    let mut tamed = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) { tamed.extend(c.escape_default()) } else { tamed.push(c) }
    }
    tamed
}

/// Whether a terminal obeys a character in the place of showing it: controls, and what turns the direction of the text around.
fn obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() && !matches!(c, '\n' | '\t')
}

fn wrote(result: io::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => other.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(tame("Größe │ 猫\n\ta"), "Größe │ 猫\n\ta");
        assert_eq!(tame("a\x1b[2J\r\u{9b}b\x07"), "a\\u{1b}[2J\\r\\u{9b}b\\u{7}");
        assert_eq!(tame("cat\u{202e}gnp.exe\u{2066}"), "cat\\u{202e}gnp.exe\\u{2066}");
    }

    #[test]
    fn only_a_broken_pipe_is_quiet() {
        assert!(wrote(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err().is::<Closed>());
        let full = wrote(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(!full.is::<Closed>());
        assert_eq!(full.to_string(), "cannot write to standard output");
    }
}
