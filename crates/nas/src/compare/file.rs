use std::{collections::HashSet, path::Path};

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    baseline,
    blackbox::{self, BlackboxConfig},
    cell::{Cell, OneShot, Search},
    error::CompareError,
    retraining::{Settings, is_built_in},
    rows::{MOST, Row, flat, method_of, rows},
    warmup::share_warmups,
};
use crate::{
    blackbox::{BlackboxError, methods},
    search::{ConfigError, Request, STRATEGIES, fit},
    suggest, tables,
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
    baseline: Option<String>,
    #[serde(default)]
    settings: Table,
    #[serde(default)]
    matrix: Table,
    #[serde(default)]
    runs: Table,
    #[serde(default)]
    retrain: Option<Table>,
}

/// The searches that a file asks for.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Seed by seed, and for each seed setting by setting in the file's order.
    pub cells: Vec<Cell>,
    /// The row that the others are tested against.
    pub baseline: Option<String>,
}

/// What a file asks for, and what is wrong with it.
#[derive(Debug)]
pub struct Draft {
    /// The searches that can be.
    pub(super) comparison: Comparison,
    /// Why the others cannot.
    pub(super) faults: Vec<CompareError>,
}

/// What a command adds to a file.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Folder of the cells: `out/NAME/seedN`.
    pub out: &'a Path,
    /// Threads of each search.
    pub threads: usize,
    /// Folder or archive that every data set is read from, in place of what the file says.
    pub data: Option<&'a Path>,
    /// Row or method that the others are tested against, in place of the one that the file names.
    pub baseline: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// With one thread, and data where the file says.
    pub fn new(out: &'a Path) -> Self {
        Self { out, threads: 1, data: None, baseline: None }
    }
}

impl Comparison {
    /// Reads `file`.
    ///
    /// # Errors
    /// [`CompareError::Read`]; everything that is wrong with the file, all of it at once. Nothing has been checked against data yet.
    pub fn read(file: &Path, place: &Place<'_>) -> Result<Self, CompareError> {
        Draft::read(file, place)?.settled()
    }
}

impl Draft {
    /// Reads `file`. Its faults are told by [`Draft::checked`], with those of what it needs.
    ///
    /// # Errors
    /// [`CompareError::Read`]; a file that is no such table at all.
    pub fn read(file: &Path, place: &Place<'_>) -> Result<Self, CompareError> {
        let text =
            crate::sniff::read_text(file).map_err(|source| CompareError::Read { path: file.to_owned(), source })?;
        let fault = |message: String| CompareError::File { path: file.to_owned(), message };
        let File { preset, seeds, baseline, settings, matrix, runs, retrain } =
            toml::from_str(&text).map_err(|e| fault(tables::told(&e)))?;
        let mut messages = Vec::new();
        let few = |rows: usize| match rows.saturating_mul(seeds.len()) {
            searches if searches > MOST => Err(fault(format!(
                "{rows} rows of {} seeds are {searches} searches, expected at most {MOST}",
                seeds.len()
            ))),
            _ => Ok(()),
        };
        few(1)?;
        if seeds.is_empty() {
            messages.push("seeds = [], expected at least one".to_owned());
        }
        if let Some((_, seed)) = seeds.iter().enumerate().find(|(i, seed)| seeds[..*i].contains(seed)) {
            messages.push(format!("seeds = {seeds:?} has {seed} twice"));
        }
        let mut common = flat("settings", &settings, &mut messages);
        // The first layer of the settings: a row may name another.
        common.splice(0..0, preset.map(|preset| ("preset".to_owned(), preset.into())));
        let rows = rows(&runs, &matrix, &mut messages);
        few(rows.len())?;
        let retrain = retrain.map(|table| Settings::new(flat("retrain", &table, &mut messages), &mut messages));
        idle(&common, &rows, &mut messages);
        let mut names = HashSet::new();
        for row in &rows {
            let name = row.name();
            // Folders of longer names cannot be made everywhere, which would be found when their turn comes.
            if name.len() > LONGEST_NAME {
                let start: String = name.chars().take(60).collect();
                messages.push(format!(
                    "the name `{start}...` of a search has {} characters, expected at most {LONGEST_NAME}: give the values of \
                     such a key in [runs.NAME] instead of [matrix]",
                    name.len()
                ));
            }
            if !names.insert(name.clone()) {
                messages.push(format!("two searches are called {name}"));
            }
        }
        let mut faults: Vec<CompareError> = messages.into_iter().map(fault).collect();
        let mut cells = Vec::new();
        for &seed in &seeds {
            for row in &rows {
                match cell(row, &common, retrain.as_ref(), seed, place) {
                    Ok(cell) => cells.push(cell),
                    Err(error) => faults.push(error),
                }
            }
        }
        let baseline = place.baseline.map(str::to_owned).or(baseline);
        if let Some(name) = baseline.as_ref().filter(|_| faults.is_empty())
            && let Err(message) = baseline::check(&cells, name)
        {
            faults.push(fault(message));
        }
        share_warmups(&mut cells);
        Ok(Self { comparison: Comparison { cells, baseline }, faults })
    }

    /// How many cells there are; `None` where the file has faults, which change the count.
    pub fn cells(&self) -> Option<usize> {
        self.faults.is_empty().then_some(self.comparison.cells.len())
    }

    /// What the file asks for, whatever it needs.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn settled(self) -> Result<Comparison, CompareError> {
        CompareError::of(self.faults).map_or(Ok(self.comparison), Err)
    }
}

/// Settings that all rows have in common but none has a use for.
fn idle(common: &[(String, Value)], rows: &[Row], messages: &mut Vec<String>) {
    let blackbox = methods::METHODS.iter().map(|m| format!("{}{}", blackbox::PREFIX, m.name));
    let known: Vec<String> = STRATEGIES.iter().map(|s| s.name.to_owned()).chain(blackbox).collect();
    let mut said = Vec::new();
    for method in common.iter().filter_map(|(key, _)| method_of(key)) {
        let used = rows.iter().any(|row| row.method_with(common) == Some(method));
        if used || said.contains(&method) {
            continue;
        }
        said.push(method);
        let nearest = suggest::nearest(method, known.iter().map(String::as_str)).filter(|name| *name != method);
        let hint = nearest.map(|name| format!("; {}", suggest::did_you_mean(name))).unwrap_or_default();
        messages.push(format!("settings: no run has the method {method}, whose settings are given{hint}"));
    }
}

fn cell(
    row: &Row,
    common: &[(String, Value)],
    retrain: Option<&Settings>,
    seed: u64,
    place: &Place<'_>,
) -> Result<Cell, CompareError> {
    let name = row.name();
    let method = row.method_with(common);
    let mut search = match method.and_then(|method| method.strip_prefix(blackbox::PREFIX)) {
        Some(method) => blackbox_search(&name, method, row, common, seed, place)?,
        None => one_shot(&name, method, row, common, seed, place)?,
    };
    // A place that several data sets share is none for those that the program carries.
    if is_built_in(search.dataset()) && !row.set().any(|(key, _)| key == "data.dir") {
        search.forget_data_dir();
    }
    let retraining = retrain.map(|settings| {
        let dir = search.data_dir();
        settings.of(search.dataset(), dir, place.data, seed, place.threads)
    });
    let folder = place.out.join(&name).join(format!("seed{seed}"));
    Ok(Cell { name, seed, search, retraining, folder })
}

fn one_shot(
    name: &str,
    strategy: Option<&str>,
    row: &Row,
    common: &[(String, Value)],
    seed: u64,
    place: &Place<'_>,
) -> Result<Search, CompareError> {
    let text = |wanted: &str| {
        let last = common.iter().chain(row.set()).rev().find(|(key, _)| key == wanted);
        last.and_then(|(_, value)| value.as_str()).map(str::to_owned)
    };
    // What all searches have in common may name settings of several methods.
    let of_another =
        |key: &str| key.starts_with(blackbox::PREFIX) || method_of(key).is_some_and(|m| Some(m) != strategy);
    let common = common.iter().filter(|(key, _)| !of_another(key));
    let chosen = |key: &str, value: &Value| {
        (["strategy", "preset"].contains(&key) && value.is_str()) || (key == "data.dir" && place.data.is_some())
    };
    let request = Request {
        preset: text("preset"),
        dataset: text("dataset"),
        data: place.data.map(Path::to_owned),
        strategy: strategy.map(str::to_owned),
        seed: Some(seed),
        threads: Some(place.threads),
        set: common
            .chain(row.set())
            .filter(|(key, value)| !chosen(key, value))
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        ..Default::default()
    };
    let mut config = request.resolve().map_err(|source| CompareError::Config { name: name.to_owned(), source })?;
    // Writes out what the space decides, so that it compares with the configuration of a run folder.
    fit(&mut config).map_err(|source| CompareError::Search { name: name.to_owned(), source })?;
    Ok(Search::OneShot(Box::new(OneShot { config, warmup: None })))
}

fn blackbox_search(
    name: &str,
    method: &str,
    row: &Row,
    common: &[(String, Value)],
    seed: u64,
    place: &Place<'_>,
) -> Result<Search, CompareError> {
    let method_name = format!("{}{method}", blackbox::PREFIX);
    let of_another = |key: &str| method_of(key).is_some_and(|m| m != method_name);
    let idle = |key: &String| CompareError::NoEffect { name: name.to_owned(), key: key.clone() };
    if let Some((key, _)) = row.set().find(|(key, _)| !blackbox::takes(key) || of_another(key)) {
        return Err(idle(key));
    }
    // The others would search in a part of what it searches in.
    if let Some((key, _)) = common.iter().find(|(key, _)| key.starts_with("space.ops")) {
        return Err(idle(key));
    }
    let common = common.iter().filter(|(key, _)| blackbox::takes(key) && !of_another(key));
    let set: Vec<&(String, Value)> = common.chain(row.set()).collect();
    let failed = |source: BlackboxError| match source {
        BlackboxError::Config(source) => CompareError::Config { name: name.to_owned(), source },
        source => CompareError::Blackbox { name: name.to_owned(), source },
    };
    let config = BlackboxConfig::resolve(method, &set, seed, place.data).map_err(failed)?;
    match config.unused(row.set().map(|(key, _)| key)) {
        Some(key) => Err(CompareError::Config {
            name: name.to_owned(),
            source: ConfigError::Whole(format!("{key} has no effect with this blackbox.evaluator")),
        }),
        None => Ok(Search::Blackbox(Box::new(config))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Keep;

    fn read(text: &str) -> Result<Comparison, CompareError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        Comparison::read(&file, &Place::new(Path::new("out")))
    }

    fn config(cell: &Cell) -> &crate::search::Config {
        &cell.one_shot().unwrap().config
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
        assert!(c.cells.iter().all(|c| config(c).training.batch_size == 16 && config(c).threads == Some(1)));
        // What comes after the warm-up does not part it; the seed does.
        let warmups: Vec<_> = c.cells.iter().map(Cell::warmup).collect();
        let from = |i| Some((i, 5));
        assert_eq!(warmups, [None, from(0), from(0), from(0), None, from(4), from(4), from(4)]);
        assert_eq!([0, 1].map(|i: usize| config(&c.cells[i]).run.keep_epochs), [Keep::ALL, Keep::Last]);
    }

    #[test]
    fn strategies_side_by_side_take_their_own_of_the_common_settings() {
        let common =
            "seeds = [0]\n[settings.strategy.hpe-darts]\npop = [1, 3]\n[settings.strategy.darts]\nepochs = 7\n";
        let by_name = read(&format!("{common}[matrix]\nstrategy = [\"hpe-darts\", \"darts\"]\n")).unwrap();
        let by_setting =
            read(&format!("{common}[runs.h.strategy.hpe-darts]\n[runs.d.strategy.darts]\nwarmup_epochs = 2"));
        for cells in [&by_name.cells, &by_setting.unwrap().cells] {
            let mut toml: Vec<String> = cells.iter().map(|c| config(c).to_toml()).collect();
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
        assert!(c.cells.iter().all(|c| c.warmup().is_none()));
        // A longer schedule has another learning rate in the warm-up.
        let c = read("seeds = [0]\n[matrix]\n\"strategy.hpe-darts.prune_epochs\" = [5, 6]\n").unwrap();
        assert!(c.cells.iter().all(|c| c.warmup().is_none()));
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
        let many = (0..101).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let keys = ["channels", "cells_per_stage"].map(|key| format!("supernet.{key} = [{many}]\n")).concat();
        let long = why(&format!("seeds = [1]\n[matrix]\n{keys}"));
        assert!(long.contains("[matrix] makes 10201 combinations, expected at most 5000"), "{long}");
        let long =
            why(&format!("seeds = [{many}]\n[matrix]\nsupernet.channels = [{}]", many.replace("100", "101, 102")));
        assert!(long.contains("102 rows of 101 seeds are 10302 searches, expected at most 5000"), "{long}");
        assert!(why("seeds = [1, 2, 1]").contains("seeds = [1, 2, 1] has 1 twice"));
        assert!(why("seeds = [1]\n[runs.x]\npop = [4]").starts_with("x: --set pop=[4]"));
    }

    fn names(text: &str) -> Vec<String> {
        read(text).unwrap().cells.into_iter().map(|c| format!("{}: {}", c.name, c.search.method())).collect()
    }

    #[test]
    fn the_settings_of_a_method_in_the_matrix_multiply_its_rows_alone() {
        let keys = "\"strategy.hpe-darts.pop\" = [[4], [2, 2]]\n'training.momentum' = [0.9]\n";
        let rows = names(&format!("seeds = [0]\n[matrix]\nstrategy = ['hpe-darts', 'darts']\n{keys}"));
        let of = |name: &str, method: &str| format!("strategy={name},momentum=0.9: {method}");
        assert_eq!(
            rows,
            [of("hpe-darts,pop=_4_", "hpe-darts"), of("hpe-darts,pop=_2,2_", "hpe-darts"), of("darts", "darts")]
        );
        // A run that has a method by a setting of it keeps that method.
        let rows = names(&format!("seeds = [0]\n[runs.d]\nstrategy.darts.epochs = 3\n[runs.h]\n[matrix]\n{keys}"));
        assert_eq!(rows[0], "d,momentum=0.9: darts");
        assert_eq!((rows.len(), rows[1].as_str()), (3, "h,pop=_4_,momentum=0.9: hpe-darts"));
    }

    #[test]
    fn black_box_methods_are_rows_with_settings_of_their_own() {
        let c = read(
            "seeds = [5]\n[settings]\ndataset = 'cifar100'\ntraining.momentum = 0.8\nblackbox.budget = 500\n\
             blackbox.regularized-evolution.population = 20\nstrategy.darts.epochs = 7\n\
             [matrix]\nstrategy = ['blackbox.regularized-evolution', 'darts', 'blackbox.bohb']\n",
        )
        .unwrap();
        let of = |i: usize| {
            let Search::Blackbox(config) = &c.cells[i].search else { panic!("{:?}", c.cells[i]) };
            config.table().to_string()
        };
        assert!(
            of(0).contains("population = 20") && of(0).contains("budget = 500.0") && of(0).contains("seed = 5"),
            "{}",
            of(0)
        );
        assert!(of(0).contains("dataset = \"cifar100\"") && of(0).contains("epochs = 12"), "{}", of(0));
        assert!(!of(2).contains("population") && of(2).contains("[method.bohb]"), "{}", of(2));
        assert!(config(&c.cells[1]).to_toml().contains("momentum = 0.8"));
        let why = |text: &str| {
            read(&format!("seeds = [1]\n[runs.x]\nstrategy = 'blackbox.bohb'\n{text}")).unwrap_err().to_string()
        };
        assert!(why("blackbox.evaluator = 'naswt'").contains("did you mean `naswot`?"));
        assert!(why("blackbox.budgets = 3").contains("unknown field `budgets`"));
        assert!(why("blackbox.images = 32").contains("blackbox.images has no effect with this blackbox.evaluator"));
        assert!(why("blackbox.epochs = 13").contains("blackbox.epochs = 13, expected 12 or 200"));
        assert!(why("dataset = 'digits'").contains("unknown data set of the NAS-Bench-201 table `digits`"));
        assert!(why("supernet.channels = 8").contains("supernet.channels has no effect on a black-box method"));
        let unknown = read("seeds = [1]\n[settings]\nstrategy = 'blackbox.random'\n").unwrap_err();
        assert!(unknown.to_string().contains("unknown method `random`"), "{unknown}");
    }

    #[test]
    fn a_preset_is_chosen_by_row() {
        let c = read("preset = 'paper'\nseeds = [1]\n[runs.a]\n[runs.b]\npreset = 'late-loss'\n").unwrap();
        let toml: Vec<String> = c.cells.iter().map(|cell| config(cell).to_toml()).collect();
        assert!(toml[0].contains("pop = [2, 2]") && toml[1].contains("pop = [1, 3]"), "{toml:?}");
    }

    #[test]
    fn every_fault_is_told() {
        let all =
            read("seeds = []\n[settings]\nstrategy.gdas.epochs = 3\n[matrix]\nx = 3\n[runs.a]\nstrategy = 'darts'\n");
        let all = all.unwrap_err().to_string();
        assert!(all.starts_with("3 faults; nothing was begun:"), "{all}");
        let baseline = |name: &str| read(&format!("seeds = [1]\nbaseline = '{name}'\n[runs.one]\n[runs.two]\n"));
        assert!(baseline("one").is_ok());
        assert!(
            baseline("oen")
                .unwrap_err()
                .to_string()
                .contains("is no row, expected one or two or the method of one; did you mean `one`?")
        );
        assert!(baseline("hpe-darts").unwrap_err().to_string().contains("means both one and two"));
    }
}
