//! `completions`: what a shell needs to complete commands and options.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{Cli, context::Context};

/// Print completions of commands and options for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
bash: hpe-darts completions bash > ~/.local/share/bash-completion/completions/hpe-darts
fish: hpe-darts completions fish > ~/.config/fish/completions/hpe-darts.fish
zsh:  hpe-darts completions zsh > DIR/_hpe-darts, with DIR one of the folders of $fpath")]
pub struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints them.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "hpe-darts", &mut script);
    cx.out.bytes(&script)
}
