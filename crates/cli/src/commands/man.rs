//! `man`: manual pages.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use super::files;
use crate::{Cli, context::Context};

/// Write manual pages.
///
/// They are hpe-darts.1 and a page for every command, hpe-darts-search.1 and so on. In ~/.local/share/man/man1 `man
/// hpe-darts` finds them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the pages; older ones of the same names are replaced.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes them.
///
/// # Errors
/// A page cannot be written.
pub fn run(args: Args, cx: &Context) -> Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = vec![];
    page(&args.folder, "hpe-darts", command, &mut pages)?;
    files::write(&pages)?;
    cx.out.data(format_args!("{} pages in {}", pages.len(), nas::files::shown(&args.folder)))
}

/// The page of a command and those of its subcommands.
fn page(folder: &Path, name: &str, command: clap::Command, pages: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
    for sub in command.get_subcommands() {
        page(folder, &format!("{name}-{}", sub.get_name()), sub.clone(), pages)?;
    }
    // Pages refer to commands by their whole names.
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let mut text = Vec::new();
    Man::new(command.name(name)).render(&mut text).with_context(|| format!("the page {name}.1"))?;
    pages.push((folder.join(format!("{name}.1")), text));
    Ok(())
}
