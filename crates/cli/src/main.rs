//! `hpe-darts`: the command line.
#![forbid(unsafe_code)]
// In a binary `pub` marks the interface of a module; nothing is reachable from outside.
#![allow(unreachable_pub)]

mod args;
mod commands;
mod context;
mod error;
mod output;
mod render;

use clap::{Parser, error::ErrorKind};
use context::Context;
use error::Exit;

/// Where memory runs out, the user gets a message in place of a backtrace.
#[global_allocator]
static ALLOCATOR: engine::ExitWithoutMemory = engine::ExitWithoutMemory;

/// Differentiable architecture search with hybrid pruning and training-free proxies, fast on a CPU.
#[derive(Debug, Parser)]
#[command(name = "hpe-darts", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Results go to standard output, progress and messages to standard error.
Exit codes: 0 done, 1 your input, 2 a bug in the program, 130 interrupted.
HPE_DARTS_HOME overrides the folder that tables and data sets are kept in.")]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> std::process::ExitCode {
    error::install_panic_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => return usage_exit(&usage).into(),
    };
    match cli.command.run(&Context::new()) {
        Ok(()) => Exit::Ok,
        Err(failure) => error::report(&failure),
    }
    .into()
}

/// `--help` and `--version` go to standard output; anything else clap has to say is the user's error.
fn usage_exit(usage: &clap::Error) -> Exit {
    let asked_for = matches!(usage.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let obeyed = |arg: std::ffi::OsString| arg.to_str().is_some_and(|arg| output::tame(arg) != arg);
    // clap shows an argument to a terminal as it is.
    if !asked_for && std::env::args_os().any(obeyed) {
        output::Output::default().note(usage.render().to_string().trim_end());
        return Exit::User;
    }
    let printed = usage.print();
    match usage.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match printed {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Exit::User,
            _ => Exit::Ok,
        },
        _ => Exit::User,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgAction, CommandFactory};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Every command says what it does; every optional value says what it is when it is not given.
    #[test]
    fn help_states_the_defaults() {
        fn check(command: &clap::Command, path: &str) {
            assert!(command.get_about().is_some(), "{path}: no help");
            let grouped = |arg: &clap::Arg| {
                command.get_groups().any(|g| g.is_required_set() && g.get_args().any(|id| id == arg.get_id()))
            };
            for arg in command.get_arguments().filter(|a| !a.is_hide_set()) {
                let name = format!("{path} {}", arg.get_id());
                let help =
                    arg.get_long_help().or(arg.get_help()).unwrap_or_else(|| panic!("{name}: no help")).to_string();
                let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
                if takes_value && !arg.is_required_set() && !grouped(arg) {
                    let says = !arg.get_default_values().is_empty() || help.contains("default");
                    assert!(says, "{name}: the help does not say the default: {help}");
                }
            }
            for sub in command.get_subcommands() {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Cli::command(), "hpe-darts");
    }
}
