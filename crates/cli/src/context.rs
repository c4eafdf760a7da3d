//! What every command gets besides its own arguments.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use anyhow::{Context as _, Result};
use etcetera::BaseStrategy;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::{
    error::{Exit, HintExt},
    output::Output,
};

/// The environment of a command.
#[derive(Debug, Default)]
pub struct Context {
    /// Standard output and messages.
    pub out: Output,
    interrupt: OnceLock<Arc<AtomicBool>>,
}

impl Context {
    /// The environment of this process. Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The user's data directory, which may not exist yet: `HPE_DARTS_HOME`, else the platform's data directory
    /// with `hpe-darts` appended (`~/.local/share/hpe-darts` on Linux).
    ///
    /// # Errors
    /// The home directory is unknown.
    pub fn home(&self) -> Result<PathBuf> {
        if let Some(home) = std::env::var_os("HPE_DARTS_HOME").filter(|h| !h.is_empty()) {
            return Ok(home.into());
        }
        let base = etcetera::choose_base_strategy()
            .context("cannot find the user's data directory")
            .hint("set HPE_DARTS_HOME to the folder to keep tables and data sets in")?;
        Ok(base.data_dir().join("hpe-darts"))
    }

    /// A flag that the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (the terminal has gone) sets; the second one ends the process at
    /// once with code 130. A SIGHUP that the process was started to ignore (`nohup`) stays ignored.
    /// Handlers are installed by the first call: a command that never asks dies from the first signal as usual.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn interrupt(&self) -> Result<Arc<AtomicBool>> {
        if let Some(flag) = self.interrupt.get() {
            return Ok(Arc::clone(flag));
        }
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| signal != SIGHUP || !ignores(SIGHUP)) {
            // Handlers run in this order: the first signal passes the first handler, which sees the flag still unset.
            signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
                .context("cannot install the Ctrl-C handler")?;
        }
        Ok(Arc::clone(self.interrupt.get_or_init(|| flag)))
    }
}

/// Whether the process was started to ignore a signal. Where the system does not say, as if it was: then nothing changes.
fn ignores(signal: i32) -> bool {
    let of_status = |status: String| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let ignored = std::fs::read_to_string("/proc/self/status").ok().and_then(of_status);
    ignored.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
}
