//! Running the program as a user does.

use std::{
    path::Path,
    process::{Command, Output},
};

/// The program with its data directory at `home`.
pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hpe-darts"));
    command.env("HPE_DARTS_HOME", home);
    command
}

/// Runs the program with an empty data directory: exit code, standard output, standard error.
pub(crate) fn run(args: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().expect("a temporary folder");
    let Output { status, stdout, stderr } = program(home.path()).args(args).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}
