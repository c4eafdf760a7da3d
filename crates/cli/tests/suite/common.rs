//! Running the program as a user does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Liu, Simonyan, Yang 2019, `genotypes.py`.
pub(crate) const DARTS_V2: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), \
    ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], \
    normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), \
    ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], \
    reduce_concat=range(2, 6))";

/// The program with its data directory at `home`.
pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hpe-darts"));
    command.env("HPE_DARTS_HOME", home);
    command
}

/// Runs the program with an empty data directory: exit code, standard output, standard error.
pub(crate) fn run(args: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().expect("a temporary folder");
    output(program(home.path()).args(args))
}

/// Exit code, standard output, standard error.
pub(crate) fn output(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

/// Everything that must not depend on interruptions.
pub(crate) fn record(run: &Path) -> [Vec<u8>; 3] {
    ["events.jsonl", "checkpoint/weights.safetensors", "genotype.json"].map(|file| fs::read(run.join(file)).unwrap())
}

/// A file of the real data: in `HPE_DARTS_DATA`, else in `../shared/data` beside the workspace. Says so where there is none.
#[allow(clippy::print_stderr)] // a skipped test must be seen
pub(crate) fn data_file(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("HPE_DARTS_DATA").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        eprintln!("SKIPPED: no {}; set HPE_DARTS_DATA to the folder it is in", path.display());
        return None;
    }
    Some(path)
}
