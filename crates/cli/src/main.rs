//! `hpe-darts`: the command line.
#![forbid(unsafe_code)]
// In a binary `pub` marks the interface of a module; nothing is reachable from outside.
#![allow(unreachable_pub)]
// Parts of the frame that the commands still to come call.
#![allow(dead_code)]

mod commands;
mod context;
mod error;
mod output;
mod render;

use clap::{Parser, error::ErrorKind};
use context::Context;
use error::Exit;

/// Differentiable architecture search with hybrid pruning and training-free proxies, fast on a CPU.
#[derive(Debug, Parser)]
#[command(name = "hpe-darts", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Results go to standard output, progress and messages to standard error.
Exit codes: 0 done, 1 your input, 2 a bug of the program, 130 interrupted.
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
    let printed = usage.print();
    match usage.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match printed {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Exit::User,
            _ => Exit::Ok,
        },
        _ => Exit::User,
    }
}
