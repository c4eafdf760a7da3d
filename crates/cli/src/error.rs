//! Exit codes, and how an error is shown.

use std::{
    error::Error,
    fmt::{self, Display, Write as _},
    io::Write as _,
    process::ExitCode,
};

use crate::output::{Closed, tame};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// The input or the environment is at fault.
    User = 1,
    /// The program is at fault.
    Internal = 2,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// The error of a command that stopped because the interrupt flag was set; it has already said what there is to say.
#[derive(Debug)]
pub struct Interrupted;

impl Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl Error for Interrupted {}

/// Marks an error that no input should be able to cause: exit code 2 and a request for a report.
#[derive(Debug)]
pub struct Internal(pub anyhow::Error);

impl Display for Internal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "internal error: {}", self.0)
    }
}

impl Error for Internal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// An error with the advice that goes with it. Invisible in the chain of causes; [`report`] prints the advice last.
#[derive(Debug)]
struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Attaches advice to an error. The outermost hint of a chain is the one shown.
pub trait HintExt<T> {
    /// Adds what the user can do about the error.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
    /// Adds what the user can do about the error, worded only where there is one.
    fn with_hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.with_hint(|| hint)
    }

    fn with_hint<S: Into<String>>(self, hint: impl FnOnce() -> S) -> anyhow::Result<T> {
        self.map_err(|e| Hinted { error: e.into(), hint: hint().into() }.into())
    }
}

/// Shows a command's error on standard error and says how the process ends. A reader that closed standard output
/// early (`| head`) has what it wanted: nothing is shown and the exit code is 0.
pub fn report(failure: &anyhow::Error) -> Exit {
    let exit = classify(failure);
    if matches!(exit, Exit::User | Exit::Internal) {
        // Nothing is left to be told where standard error is closed as well.
        let _ = std::io::stderr().lock().write_all(tame(&render(failure)).as_bytes());
    }
    exit
}

fn classify(failure: &anyhow::Error) -> Exit {
    for cause in failure.chain() {
        if cause.is::<Closed>() {
            return Exit::Ok;
        }
        if cause.is::<Interrupted>() {
            return Exit::Interrupted;
        }
        if cause.is::<Internal>() {
            return Exit::Internal;
        }
    }
    Exit::User
}

/// `error: ...`, one indented line for each cause that adds something, a blank line, `hint: ...`.
fn render(failure: &anyhow::Error) -> String {
    let mut text = String::new();
    let mut said = failure.to_string();
    let _ = writeln!(text, "error: {said}");
    for cause in failure.chain().skip(1).map(ToString::to_string) {
        // Many errors already quote their source in their own message.
        if !said.contains(&cause) {
            let _ = writeln!(text, "  because: {cause}");
        }
        said = cause;
    }
    let hint = failure.chain().find_map(hint_of).or((classify(failure) == Exit::Internal).then(|| REPORT.to_owned()));
    if let Some(hint) = hint {
        let _ = writeln!(text, "\nhint: {hint}");
    }
    text
}

/// The advice that an error carries itself: what a command attached, or what a library's error knows.
fn hint_of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        return Some(hinted.hint.clone());
    }
    // A library error with a `hint()` of its own: one line each.
    let data = error.downcast_ref::<nas::data::DataError>().and_then(nas::data::DataError::hint);
    let retrain = || error.downcast_ref::<nas::retrain::RetrainError>().and_then(nas::retrain::RetrainError::hint);
    let search = || error.downcast_ref::<nas::search::SearchError>().and_then(nas::search::SearchError::hint);
    let compare = || error.downcast_ref::<nas::compare::CompareError>().and_then(nas::compare::CompareError::hint);
    let blackbox = || error.downcast_ref::<nas::blackbox::BlackboxError>().and_then(nas::blackbox::BlackboxError::hint);
    data.or_else(search).or_else(retrain).or_else(compare).or_else(blackbox)
}

const REPORT: &str = "this is a bug: please report it with the command that was run and this message";

/// A panic becomes one line that asks for a report, and exit code 2.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let what = what.replace('\n', " ");
        let place = info.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let _ = writeln!(std::io::stderr().lock(), "error: internal error{place}: {what}; {REPORT}");
        std::process::exit(Exit::Internal as i32);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn causes_and_the_hint_are_shown_once() {
        let error = Err::<(), _>(std::io::Error::other("disk on fire"))
            .context("cannot write a.json")
            .hint("call the fire brigade")
            .context("saving the result")
            .unwrap_err();
        assert_eq!(
            render(&error),
            "error: saving the result\n  because: cannot write a.json\n  because: disk on fire\n\nhint: call the fire brigade\n"
        );
        assert_eq!(classify(&error), Exit::User);
    }

    #[test]
    fn a_source_already_quoted_is_not_repeated() {
        let error = anyhow!("no such file").context("cannot open x: no such file");
        assert_eq!(render(&error), "error: cannot open x: no such file\n");
    }

    #[test]
    fn the_outermost_hint_wins() {
        let error = Err::<(), _>(anyhow!("bad")).hint("inner").hint("outer").unwrap_err();
        assert_eq!(render(&error), "error: bad\n\nhint: outer\n");
    }

    #[test]
    fn marked_errors_decide_the_exit_code() {
        let internal = anyhow::Error::from(Internal(anyhow!("two heads"))).context("scoring");
        assert_eq!(classify(&internal), Exit::Internal);
        assert!(render(&internal).ends_with(&format!("hint: {REPORT}\n")));
        assert_eq!(classify(&anyhow::Error::from(Interrupted).context("search")), Exit::Interrupted);
        assert_eq!(classify(&anyhow::Error::from(Closed)), Exit::Ok);
        assert_eq!(classify(&anyhow!("anything else")), Exit::User);
    }
}
