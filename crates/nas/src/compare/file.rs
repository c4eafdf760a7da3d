use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

use super::cell::{Cell, CompareError, SUMMARIES};
use crate::{
    run::{self, CONFIG, Keep},
    search::{Config, Request, fit, is_past},
    tables,
};

/// Characters of a search's name, which is that of its folder.
const LONGEST_NAME: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    preset: Option<String>,
    seeds: Vec<u64>,
    #[serde(default)]
    settings: Table,
    #[serde(default)]
    matrix: Table,
    #[serde(default)]
    runs: Table,
}

/// The searches that a file asks for.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Seed by seed, and for each seed setting by setting in the file's order.
    pub cells: Vec<Cell>,
}

/// Settings by dotted key, with a name.
#[derive(Clone, Debug, Default)]
struct Named {
    name: Vec<String>,
    set: Vec<(String, Value)>,
}

impl Comparison {
    /// Reads `file`; run folders will be `out/NAME/seedN`. `threads`: of each search.
    ///
    /// # Errors
    /// [`CompareError::Read`], [`CompareError::File`], [`CompareError::Config`]; nothing has been checked against
    /// space and data yet.
    pub fn read(file: &Path, out: &Path, threads: usize) -> Result<Self, CompareError> {
        let text =
            std::fs::read_to_string(file).map_err(|source| CompareError::Read { path: file.to_owned(), source })?;
        let fault = |message: String| CompareError::File { path: file.to_owned(), message };
        let File { preset, seeds, settings, matrix, runs } =
            toml::from_str(&text).map_err(|e| fault(e.to_string().trim_end().to_owned()))?;
        if seeds.is_empty() {
            return Err(fault("seeds = [], expected at least one".to_owned()));
        }
        let settings = flat("settings", &settings, &fault)?;
        let mut named = named(&runs, &fault)?;
        for (key, values) in matrix_keys(&matrix, &fault)? {
            if let Some(n) = named.iter().find(|n| n.set.iter().any(|(k, _)| *k == key)) {
                return Err(fault(format!(
                    "{key} is set in [matrix] and in [runs.{}], expected one of them",
                    n.name[0]
                )));
            }
            named =
                named.iter().flat_map(|n| values.iter().map(move |v| (n, v))).map(|(n, v)| with(n, &key, v)).collect();
        }
        let mut cells = Vec::new();
        for &seed in &seeds {
            for Named { name, set } in &named {
                let name = if name.is_empty() { "search".to_owned() } else { name.join(",") };
                // Folders of longer names cannot be made everywhere, which would be found when their turn comes.
                if name.len() > LONGEST_NAME {
                    let start: String = name.chars().take(60).collect();
                    return Err(fault(format!(
                        "the name `{start}...` of a search has {} characters, expected at most {LONGEST_NAME}: give the values of \
                         such a key in [runs.NAME] instead of [matrix]",
                        name.len()
                    )));
                }
                let mut config = resolve(preset.as_ref(), &settings, set, seed, threads)
                    .map_err(|source| CompareError::Config { name: name.clone(), source })?;
                // Writes out what the space decides, so that it compares with the configuration of a run folder.
                fit(&mut config).map_err(|source| CompareError::Search { name: name.clone(), source })?;
                let folder = out.join(&name).join(format!("seed{seed}"));
                if cells.iter().any(|c: &Cell| c.folder == folder) {
                    return Err(fault(format!("two searches are called {name} seed {seed}")));
                }
                cells.push(Cell { name, seed, config, folder, warmup: None });
            }
        }
        share_warmups(&mut cells);
        Ok(Self { cells })
    }
}

fn named(runs: &Table, fault: &impl Fn(String) -> CompareError) -> Result<Vec<Named>, CompareError> {
    if runs.is_empty() {
        return Ok(vec![Named::default()]);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let one = |(name, settings): (&String, &Value)| {
        if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
            return Err(fault(format!("runs.{name:?}: a name consists of letters, digits, `-`, `_` and `.`")));
        }
        if SUMMARIES.contains(&name.as_str()) {
            return Err(fault(format!("runs.{name:?}: that name is reserved for the summary")));
        }
        let settings = settings.as_table().ok_or_else(|| fault(format!("runs.{name} is not a table of settings")))?;
        Ok(Named { name: vec![name.clone()], set: flat(&format!("runs.{name}"), settings, fault)? })
    };
    runs.iter().map(one).collect()
}

fn matrix_keys(
    matrix: &Table,
    fault: &impl Fn(String) -> CompareError,
) -> Result<Vec<(String, Vec<Value>)>, CompareError> {
    let list = |(key, value): (String, Value)| match value {
        Value::Array(values) if !values.is_empty() => Ok((key, values)),
        other => Err(fault(format!("matrix: {key} = {other}, expected a list of values"))),
    };
    flat("matrix", matrix, fault)?.into_iter().map(list).collect()
}

/// The values of a table of settings by dotted key.
fn flat(
    name: &str,
    table: &Table,
    fault: &impl Fn(String) -> CompareError,
) -> Result<Vec<(String, Value)>, CompareError> {
    let mut flat: Vec<(String, Value)> = Vec::new();
    for (key, value) in tables::values(table) {
        if key == "seed" {
            return Err(fault(format!("{name}: seed = {value}, but the seeds of a comparison are listed in `seeds`")));
        }
        if flat.iter().any(|(known, _)| *known == key) {
            return Err(fault(format!("{name}: {key} is set twice")));
        }
        flat.push((key, value.clone()));
    }
    Ok(flat)
}

/// The settings and one more, named by the last part of its key.
fn with(named: &Named, key: &str, value: &Value) -> Named {
    let mut named = named.clone();
    let text = value.to_string().replace(['"', ' '], "");
    let plain: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.,".contains(c) { c } else { '_' }).collect();
    named.name.push(format!("{}={plain}", key.rsplit('.').next().unwrap_or(key)));
    named.set.push((key.to_owned(), value.clone()));
    named
}

fn resolve(
    preset: Option<&String>,
    settings: &[(String, Value)],
    set: &[(String, Value)],
    seed: u64,
    threads: usize,
) -> Result<Config, crate::search::ConfigError> {
    let all = || settings.iter().chain(set);
    // Named by a key of its own, or by one of its settings.
    let strategy = all().rev().find_map(|(key, value)| match key.split('.').collect::<Vec<_>>()[..] {
        ["strategy"] => value.as_str(),
        ["strategy", name, ..] => Some(name),
        _ => None,
    });
    let dataset = all().rev().find(|(key, _)| key == "dataset").and_then(|(_, v)| v.as_str());
    // What all searches have in common may name settings of several strategies.
    let of_another = |key: &str| key.strip_prefix("strategy.").is_some_and(|rest| rest.split('.').next() != strategy);
    let common = settings.iter().filter(|(key, _)| !of_another(key));
    let request = Request {
        preset: preset.cloned(),
        dataset: dataset.map(str::to_owned),
        strategy: strategy.map(str::to_owned),
        seed: Some(seed),
        threads: Some(threads),
        set: common
            .chain(set)
            .filter(|(key, value)| !(key == "strategy" && value.is_str()))
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        ..Default::default()
    };
    request.resolve()
}

/// The warm-up of a search: its epochs, and the settings that determine it.
pub(super) fn warmup(config: &Config) -> Option<(usize, Config)> {
    let (epochs, strategy) = config.strategy.warmup().filter(|(epochs, _)| *epochs > 0)?;
    let mut config = Config { strategy, ..config.decisive() };
    // The data may have moved.
    config.data.dir = None;
    Some((epochs, config))
}

/// Whether the run in a folder has trained this warm-up and keeps it. A folder may hold another search than its settings in
/// the file say by now.
pub(super) fn has_trained(run: &Path, wanted: &(usize, Config)) -> bool {
    let of_run = || {
        let mut config = Config::read(&run.join(CONFIG)).ok()?;
        fit(&mut config).ok()?;
        warmup(&config)
    };
    run::keeps(run, wanted.0) && of_run().as_ref() == Some(wanted)
}

/// Lets searches that begin with the same warm-up share it: the first one that has trained and kept it, or else the first
/// one that comes to its end yet.
fn share_warmups(cells: &mut [Cell]) {
    let warmups: Vec<_> = cells.iter().map(|cell| warmup(&cell.config)).collect();
    for (first, own) in warmups.iter().enumerate() {
        let Some(own) = own.as_ref().filter(|_| !warmups[..first].contains(own)) else { continue };
        let same: Vec<usize> = (first..cells.len()).filter(|&i| warmups[i].as_ref() == Some(own)).collect();
        let has_it = same.iter().find(|&&i| has_trained(&cells[i].folder, own));
        let will = || same.iter().find(|&&i| !is_past(&cells[i].folder, own.0));
        let Some(&trains) = has_it.or_else(will) else { continue };
        for &i in same.iter().filter(|&&i| i != trains) {
            cells[i].warmup = Some((trains, own.0));
            cells[trains].config.run.keep_epochs = Keep::ALL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Comparison, CompareError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        Comparison::read(&file, Path::new("out"), 1)
    }

    #[test]
    fn runs_matrix_and_seeds_multiply() {
        let c = read(
            "seeds = [3, 4]\n[settings]\ndataset = \"digits\"\ntraining.batch_size = 16\n\
             [matrix]\n\"strategy.hpe-darts.alpha_update\" = [\"joint\", \"none\"]\n\
             [runs.a]\n[runs.b.strategy.hpe-darts]\npop = [1, 3]\n",
        )
        .unwrap();
        let names: Vec<String> = c.cells.iter().map(Cell::label).collect();
        let expected = ["a,alpha_update=joint", "a,alpha_update=none", "b,alpha_update=joint", "b,alpha_update=none"];
        assert_eq!(names[..4], expected.map(|n| format!("{n} seed 3")));
        assert_eq!(c.cells.len(), 8);
        assert_eq!(c.cells[5].folder, Path::new("out/a,alpha_update=none/seed4"));
        assert!(c.cells.iter().all(|c| c.config.training.batch_size == 16 && c.config.threads == Some(1)));
        // What comes after the warm-up does not part it; the seed does.
        let warmups: Vec<_> = c.cells.iter().map(|c| c.warmup).collect();
        let from = |i| Some((i, 5));
        assert_eq!(warmups, [None, from(0), from(0), from(0), None, from(4), from(4), from(4)]);
        assert_eq!([0, 1].map(|i: usize| c.cells[i].config.run.keep_epochs), [Keep::ALL, Keep::Last]);
    }

    #[test]
    fn strategies_side_by_side_take_their_own_of_the_common_settings() {
        let common =
            "seeds = [0]\n[settings.strategy.hpe-darts]\npop = [1, 3]\n[settings.strategy.darts]\nepochs = 7\n";
        let by_name = read(&format!("{common}[matrix]\nstrategy = [\"hpe-darts\", \"darts\"]\n")).unwrap();
        let by_setting =
            read(&format!("{common}[runs.h.strategy.hpe-darts]\n[runs.d.strategy.darts]\nwarmup_epochs = 2"));
        for cells in [&by_name.cells, &by_setting.unwrap().cells] {
            let mut toml: Vec<String> = cells.iter().map(|c| c.config.to_toml()).collect();
            toml.sort_by_key(|toml| toml.contains("[strategy.darts]"));
            assert!(toml[0].contains("pop = [1, 3]") && !toml[0].contains("epochs = 7"), "{}", toml[0]);
            assert!(toml[1].contains("epochs = 7") && !toml[1].contains("pop"), "{}", toml[1]);
        }
        assert_eq!(by_name.cells[1].name, "strategy=darts");
        assert!(read("seeds = [0]\n[settings]\nstrategy = 3\n").is_err());
        let error = read("seeds = [0]\n[settings]\nstrategy = \"drats\"\n").unwrap_err();
        assert!(error.to_string().contains("drats") && error.hint().unwrap().contains("`darts`"), "{error}");
    }

    #[test]
    fn another_training_is_another_warm_up() {
        let c = read("seeds = [0]\n[matrix]\n\"training.momentum\" = [0.9, 0.8]\n").unwrap();
        assert!(c.cells.iter().all(|c| c.warmup.is_none()));
        // A longer schedule has another learning rate in the warm-up.
        let c = read("seeds = [0]\n[matrix]\n\"strategy.hpe-darts.prune_epochs\" = [5, 6]\n").unwrap();
        assert!(c.cells.iter().all(|c| c.warmup.is_none()));
    }

    #[test]
    fn what_is_no_comparison_says_why() {
        let why = |text: &str| read(text).unwrap_err().to_string();
        assert!(why("").contains("missing field `seeds`"));
        assert!(why("seeds = []").contains("expected at least one"));
        assert!(why("seeds = [1]\nsedes = 2").contains("unknown field `sedes`"));
        assert!(why("seeds = [1]\n[matrix]\ndataset = 3").contains("expected a list of values"));
        for table in ["settings", "matrix", "runs.a"] {
            let message = why(&format!("seeds = [1]\n[{table}]\nseed = 3"));
            assert!(
                message.contains(&format!("{table}: seed = 3, but the seeds of a comparison are listed in `seeds`"))
            );
        }
        let twice = "\"training.momentum\" = [0.9]\ntraining.momentum = [0.8]";
        assert!(why(&format!("seeds = [1]\n[matrix]\n{twice}")).contains("matrix: training.momentum is set twice"));
        let both = "[matrix]\ntraining.momentum = [0.9]\n[runs.a]\ntraining.momentum = 0.8";
        assert!(why(&format!("seeds = [1]\n{both}")).contains("training.momentum is set in [matrix] and in [runs.a]"));
        assert!(why("seeds = [1]\n[runs]\n\"\" = {}").contains("a name consists of"));
        assert!(why("seeds = [1]\n[runs]\n\"summary.md\" = {}").contains("that name is reserved for the summary"));
        assert!(why("seeds = [1]\n[runs]\n\"a/b\" = {}").contains("a name consists of"));
        let edge = "['skip_connect', 'nor_conv_3x3']";
        let lists = [edge; 6].join(", ");
        let long = why(&format!("seeds = [1]\n[matrix]\n'space.ops' = [[{lists}]]"));
        assert!(long.contains("characters, expected at most 100") && long.contains("[runs.NAME]"), "{long}");
        assert!(why("seeds = [1, 1]").contains("two searches are called search seed 1"));
        assert!(why("seeds = [1]\n[runs.x]\npop = [4]").starts_with("x: --set pop=[4]"));
    }
}
