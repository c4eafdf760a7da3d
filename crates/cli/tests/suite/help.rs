//! The help texts are part of the interface: each is kept in `tests/help/` and compared.
//!
//! `UPDATE_HELP=1 cargo test -p hpe-darts --test suite help` rewrites them.

use std::{fs, path::Path};

/// Name of the file and text of every command's `--help`, subcommands included.
fn help(path: &[&str], texts: &mut Vec<(String, String)>) {
    let home = tempfile::tempdir().unwrap();
    let mut command = crate::common::program(home.path());
    // The width of the terminal is not the test's matter.
    let output = command.env_remove("COLUMNS").args(path).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{path:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let listed = text.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        match line.split_whitespace().next() {
            Some("help") | None => {}
            Some(name) => help(&[path, &[name]].concat(), texts),
        }
    }
    texts.push((format!("{}.txt", [&["hpe-darts"], path].concat().join("-")), text));
}

#[test]
fn help_texts_are_the_kept_ones() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let mut texts = Vec::new();
    help(&[], &mut texts);
    assert!(texts.len() > 5);
    if std::env::var_os("UPDATE_HELP").is_some() {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        texts.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }
    for (name, text) in &texts {
        let kept = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(kept == *text, "{name} differs (UPDATE_HELP=1 rewrites it):\n{text}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), texts.len(), "a file without a command in {}", folder.display());
}
