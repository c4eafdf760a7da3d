//! `docs/configuration.md` is written from the tables in the doc comments of the configuration's structs:
//! `UPDATE_DOCS=1 cargo test -p hpe-darts-nas --test configuration_docs` writes it anew.

use std::{collections::BTreeMap, fs, path::Path};

use hpe_darts_nas::{
    blackbox::METHODS,
    search::{Published, STRATEGIES},
};

const INTRODUCTION: &str = "\
# Configuration of a search

<!-- Written from the doc comments of the code: UPDATE_DOCS=1 cargo test -p hpe-darts-nas --test configuration_docs -->

A search is determined by one TOML table, made of layers: a preset (`--preset`, by default `demo` with a built-in data set and `late-loss` with any
other; `hpe-darts list presets`), then a file (`--config`), then `--space`, `--dataset`, `--data`, `--size`, `--strategy`, `--seed`, `--threads`, then every
`--set key=value`. `hpe-darts search --dry-run` prints the outcome with every default, and `config.toml` of a run folder keeps it.
Unknown keys are refused. The column \"default\" below is that of a key that no layer sets; `--preset late-loss` sets other values for several keys of `[strategy.hpe-darts]`
(`hpe-darts list presets`, `--dry-run`). `--preset published` takes the published settings of the strategy for the space, which stand below its table as far as they are not those of DARTS
(batch 64, learning rate 0.025 to 0.001, weight decay 3e-4, gradient norm 5; supernet of 16 channels, 5 cells a stage in NAS-Bench-201, 8 cells in the DARTS space).
";

const TRAINING: &str = "
# Configuration of a training

`hpe-darts retrain` makes its configuration of a recipe (`--recipe`, `hpe-darts list recipes`), then `--dataset`, `--data`, `--size`, `--epochs`, `--seed`, `--threads`, then every `--set key=value`;
`hpe-darts retrain ARCH --dry-run` prints it. The column \"default\" is that of a key that the recipe does not set.
";

const BLACKBOX: &str = "
# Configuration of a black-box method

`hpe-darts blackbox METHOD --set key=value` sets them; the methods are described in [methods/](methods/).
";

const HEAD: &str = "\n| key | default | range | meaning and source |\n|---|---|---|---|\n";

const COMPARED: &str = "
# Black-box searches of a comparison

`[blackbox]` in the settings of `hpe-darts compare` ([compare.md](compare.md)); `[blackbox.METHOD]` has the settings of a method as above.
";

/// The rows of the table in the doc comment of every struct that has one, and its first line, by name of the struct.
fn tables(folder: &Path, found: &mut BTreeMap<String, (String, Vec<[String; 4]>)>) {
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            tables(&entry, found);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            let mut comment: Vec<&str> = Vec::new();
            for line in text.lines().map(str::trim) {
                if let Some(doc) = line.strip_prefix("///") {
                    comment.push(doc.trim());
                } else if let Some(rest) = line.strip_prefix("pub struct ") {
                    let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                    let rows: Vec<[String; 4]> = comment.iter().filter_map(|line| row(line)).collect();
                    if !rows.is_empty() {
                        found.insert(name.to_owned(), (comment[0].to_owned(), rows));
                    }
                    comment.clear();
                } else if !line.starts_with("#[") {
                    comment.clear();
                }
            }
        }
    }
}

/// A row of a table whose first cell is a key.
fn row(line: &str) -> Option<[String; 4]> {
    let inner = line.strip_prefix("| `")?.strip_suffix('|')?.replace("\\|", "\u{1}");
    let cells: Vec<String> = inner.split('|').map(|cell| cell.trim().replace('\u{1}', "\\|")).collect();
    let mut cells: [String; 4] = cells.try_into().ok()?;
    cells[0] = cells[0].trim_end_matches('`').to_owned();
    Some(cells)
}

/// The table of a struct; where a key is a table itself, the rows of that one.
fn expand(name: &str, prefix: &str, tables: &BTreeMap<String, (String, Vec<[String; 4]>)>, out: &mut String) {
    let (_, rows) = tables.get(name).unwrap_or_else(|| panic!("{name} has no table in its doc comment"));
    for [key, default, range, meaning] in rows {
        match meaning.strip_prefix("table, see [`").and_then(|rest| rest.strip_suffix("`]")) {
            Some(inner) => expand(inner, &format!("{prefix}{key}."), tables, out),
            None => {
                let cell = |text: &str| if text.is_empty() { " ".to_owned() } else { format!(" {text} ") };
                let cells = [format!("`{prefix}{key}`"), default.clone(), range.clone(), meaning.clone()];
                out.push_str(&format!("|{}|\n", cells.map(|c| cell(&c)).join("|")));
            }
        }
    }
}

fn written() -> String {
    let mut all = BTreeMap::new();
    tables(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let mut text = format!("{INTRODUCTION}{HEAD}");
    expand("Config", "", &all, &mut text);
    for strategy in STRATEGIES {
        let table = format!("`[strategy.{}]`", strategy.name);
        let of = all.iter().find(|(_, (first, _))| first.contains(&table));
        let (name, _) = of.unwrap_or_else(|| panic!("no struct's doc comment begins with a line that names {table}"));
        text.push_str(&format!("\n## {table}\n\n{}. {}.\n{HEAD}", strategy.about, strategy.source));
        expand(name, "", &all, &mut text);
        for Published { space, source, settings } in strategy.published {
            text.push_str(&format!(
                "\nPublished for `{space}` ({source}; `--preset published`):\n\n```toml\n{}\n```\n",
                settings.join("\n")
            ));
        }
    }
    text.push_str(TRAINING);
    text.push_str(HEAD);
    expand("RetrainConfig", "", &all, &mut text);
    text.push_str(BLACKBOX);
    for method in METHODS {
        let table = format!("`[blackbox.{}]`", method.name);
        text.push_str(&format!("\n## {table}\n\n{}. {}.\n", method.about, method.source));
        match all.iter().find(|(_, (first, _))| first.contains(&table)) {
            Some((name, _)) => {
                text.push_str(HEAD);
                expand(name, "", &all, &mut text);
            }
            None => text.push_str("\nIt has no settings.\n"),
        }
    }
    text.push_str(COMPARED);
    text.push_str(HEAD);
    expand("BlackboxSettings", "blackbox.", &all, &mut text);
    text
}

#[test]
fn the_configuration_is_documented_as_the_code_has_it() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let written = written();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &written).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap();
    assert!(
        there == written,
        "docs/configuration.md is stale: UPDATE_DOCS=1 cargo test -p hpe-darts-nas --test configuration_docs"
    );
    // Links of doc comments lead nowhere in a document.
    assert!(!written.contains("[`"), "{written}");
}

#[test]
fn every_method_has_its_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/methods");
    let one_shot = STRATEGIES.iter().map(|strategy| strategy.name);
    for name in one_shot.chain(METHODS.iter().map(|method| method.name)) {
        let page = fs::read_to_string(docs.join(format!("{name}.md"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        for part in ["What it does", "Reference", "Settings", "Differences", "Results"] {
            assert!(page.contains(&format!("**{part}")), "docs/methods/{name}.md does not say: {part}");
        }
    }
}

#[test]
fn every_setting_of_a_black_box_method_is_there() {
    let written = written();
    for method in METHODS {
        let config = serde_json::to_value(method.configure(&[]).unwrap()).unwrap();
        let section = written.split(&format!("## `[blackbox.{}]`", method.name)).nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        for key in config[method.name].as_object().unwrap().keys() {
            assert!(section.contains(&format!("| `{key}` |")), "{}: {key}", method.name);
        }
    }
}
