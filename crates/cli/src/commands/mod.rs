//! One file per subcommand: `Args` is what it accepts, `run` is what it does.
//!
//! A new command is a `mod` line and a line in the list below; its help text is the doc comment of its `Args`.

mod architecture;
mod bench;
mod blackbox;
mod compare;
mod completions;
pub mod data;
mod describe;
mod evaluate;
mod export;
mod files;
mod importance;
mod list;
mod man;
pub mod outcome;
mod predict;
mod query;
mod ranking;
mod resume;
mod retrain;
mod score;
mod scoring;
mod search;
mod table;

use crate::context::Context;

macro_rules! commands {
    ($($name:ident => $module:ident),+ $(,)?) => {
        /// The subcommands.
        #[derive(Debug, clap::Subcommand)]
        pub enum Command {
            $(#[allow(missing_docs)] $name($module::Args),)+
        }

        impl Command {
            /// Runs the subcommand.
            pub fn run(self, cx: &Context) -> anyhow::Result<()> {
                match self {
                    $(Command::$name(args) => $module::run(args, cx),)+
                }
            }
        }
    };
}

commands! {
    Search => search,
    Retrain => retrain,
    Evaluate => evaluate,
    Predict => predict,
    Export => export,
    Resume => resume,
    Importance => importance,
    Compare => compare,
    Blackbox => blackbox,
    Query => query,
    Describe => describe,
    Score => score,
    List => list,
    Table => table,
    Data => data,
    Bench => bench,
    Completions => completions,
    Man => man,
}
