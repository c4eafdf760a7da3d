//! Every link and every path that the repository's texts name leads somewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders whose paths are checked where they are named without a link, in code as in text.
const FOLDERS: [&str; 5] = ["docs/", "results/", "bench/", "configs/", "crates/"];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep").to_path_buf()
}

/// Files of the repository with one of `extensions`.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" || name == "runs" {
            continue;
        }
        if entry.is_dir() {
            found.extend(files(&entry, extensions));
        } else if entry.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)) {
            found.push(entry);
        }
    }
    found
}

/// A text without its fenced and indented code blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && !line.starts_with("    ") {
            kept += line;
        }
        kept.push('\n');
    }
    kept
}

/// Targets of the links `[...](target)`.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// The anchors of a Markdown file: its headings as GitHub spells them.
fn anchors(text: &str) -> Vec<String> {
    let heads = prose(text);
    let heads = heads.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    heads
        .map(|head| {
            let kept = head.to_lowercase().replace(' ', "-");
            kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
        })
        .collect()
}

/// What is wrong with a link from `file` to `target`.
fn broken(file: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let to = if path.is_empty() { file.to_path_buf() } else { file.parent().expect("a folder").join(path) };
    if !to.exists() {
        return Some(format!("{}: {target} does not exist", file.display()));
    }
    let known = anchor.is_empty() || anchors(&fs::read_to_string(&to).unwrap_or_default()).iter().any(|a| a == anchor);
    (!known).then(|| format!("{}: {target}: no such heading", file.display()))
}

#[test]
fn links_lead_to_files_and_headings() {
    let broken: Vec<_> = files(&root(), &["md"])
        .iter()
        .flat_map(|file| {
            let text = prose(&fs::read_to_string(file).expect("a text"));
            targets(&text).filter_map(|target| broken(file, target)).collect::<Vec<_>>()
        })
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn named_paths_exist() {
    let root = root();
    let mut broken = vec![];
    for file in files(&root, &["md", "rs", "py", "toml"]) {
        let text = fs::read_to_string(&file).expect("a text");
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c)));
        for word in words.map(|word| word.trim_end_matches(['.', '/'])) {
            let capitals = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase());
            let placeholder =
                word.contains("...") || word.ends_with(['-', '_']) || word.split(['/', '-', '.']).any(capitals);
            if placeholder || !FOLDERS.iter().any(|folder| word.starts_with(folder)) {
                continue;
            }
            // A run may lie in the packed record of its study.
            let packed = |path: &Path| root.join(path).join("record.jsonl.gz").exists();
            if !root.join(word).exists() && !Path::new(word).ancestors().any(packed) {
                broken.push(format!("{}: {word} does not exist", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_broken_link_is_found() {
    let file = root().join("README.md");
    assert!(broken(&file, "CONTRIBUTING.md#adding-a-strategy").is_none());
    assert!(broken(&file, "CONTRIBUTING.md#adding-nothing").is_some());
    assert!(broken(&file, "absent.md").is_some());
    let text = "a [link](one.md), `code`\n```\n[no](link.md)\n```\n";
    assert_eq!(targets(&prose(text)).collect::<Vec<_>>(), ["one.md"]);
}
