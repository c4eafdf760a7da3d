//! The folder of a run:
//!
//! | file | what |
//! |---|---|
//! | `config.toml` | the configuration, every default written out |
//! | `events.jsonl` | the record: what the run has done, free of times |
//! | `timing.jsonl` | when: starts, seconds of epochs, checkpoints that could not be used |
//! | `checkpoint/`, `checkpoint.previous/` | `state.json` and `weights.safetensors` |
//! | `epochs/N/` | the same of the end of every epoch, where `run.keep_epochs` asks for it |
//! | the result, by a name of the task (`genotype.json` of a search) | its presence says that the run is finished |
//! | `model.json` of a training | what the network is, for whoever uses its weights |
//! | `env.json` | version, CPU, threads |
//! | `.starting` | there from the making of the folder to its first checkpoint |

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// The record.
pub const EVENTS: &str = "events.jsonl";
/// What depends on the machine.
pub const TIMING: &str = "timing.jsonl";
/// What it ran on.
pub const ENVIRONMENT: &str = "env.json";
/// Marks a folder whose run has not come to its first checkpoint.
pub(super) const STARTING: &str = ".starting";
