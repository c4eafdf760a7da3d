use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    error::ConfigError,
    folder,
    keys::{in_file, one_line},
    setting::Setting,
    settings::{Config, DataConfig, SpaceConfig, SupernetConfig},
};
use crate::{
    data::{Augmentation, DatasetName, FolderConfig, SplitChoice},
    search::{
        OpSets,
        strategies::{Entry, STRATEGIES},
    },
    sniff,
    space::{self, SearchSpace},
    suggest,
    tables::{self, merge},
};

/// A named set of settings.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Name on the command line.
    pub name: &'static str,
    /// The space that it is for; another space may have one of the same name.
    pub space: &'static str,
    /// One sentence for lists.
    pub about: &'static str,
    /// Its settings.
    pub toml: &'static str,
    /// Whether the published settings of the strategy for the space belong to it.
    pub published: bool,
}

/// All presets.
pub const PRESETS: [Preset; 7] = [
    Preset {
        name: "demo",
        space: "nas-bench-201",
        about: "digits, a small supernet, seconds; the default with a built-in data set",
        toml: include_str!("../presets/demo.toml"),
        published: false,
    },
    Preset {
        name: "late-loss",
        space: "nas-bench-201",
        about: "CIFAR-10, the benchmark's supernet, one late decision by loss and parameters, whose weight was chosen on this benchmark's validation column; the default with any other data set",
        toml: include_str!("../presets/late-loss.toml"),
        published: false,
    },
    Preset {
        name: "paper",
        space: "nas-bench-201",
        about: "CIFAR-10, the benchmark's supernet, the paper's settings as docs/deviations.md reads them",
        toml: include_str!("../presets/paper.toml"),
        published: false,
    },
    Preset {
        name: "demo",
        space: "darts",
        about: "DARTS space: digits, a small supernet, a minute; the default with a built-in data set",
        toml: include_str!("../presets/darts_demo.toml"),
        published: false,
    },
    Preset {
        name: "paper",
        space: "darts",
        about: "DARTS space: CIFAR-10, the supernet of DARTS, the paper's settings; the default with any other data set",
        toml: include_str!("../presets/darts_paper.toml"),
        published: false,
    },
    Preset {
        name: "published",
        space: "nas-bench-201",
        about: "CIFAR-10, the benchmark's supernet, the published settings of the strategy (docs/configuration.md)",
        toml: include_str!("../presets/published.toml"),
        published: true,
    },
    Preset {
        name: "published",
        space: "darts",
        about: "DARTS space: CIFAR-10, the supernet of DARTS, the published settings of the strategy (docs/configuration.md)",
        toml: include_str!("../presets/darts_published.toml"),
        published: true,
    },
];

/// The layers of a configuration: a preset, then a file, then what the command line says.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Name of the preset. `None`: the first of the space with a built-in data set, its second with any other.
    pub preset: Option<String>,
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Search space.
    pub space: Option<String>,
    /// Data set.
    pub dataset: Option<String>,
    /// Folder or archive of the data.
    pub data: Option<PathBuf>,
    /// Side of own pictures in pixels.
    pub size: Option<usize>,
    /// How the training images are split, as `data.split` has it.
    pub split: Option<String>,
    /// Strategy.
    pub strategy: Option<String>,
    /// Seed.
    pub seed: Option<u64>,
    /// Threads.
    pub threads: Option<usize>,
    /// `key=value`: a dotted key and a value in TOML; a bare word is a string.
    pub set: Vec<String>,
}

impl Request {
    /// The configuration that the layers make, every default written out.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing has been checked against space and data yet.
    pub fn resolve(&self) -> Result<Config, ConfigError> {
        let file = self.file.as_deref().map(read_table).transpose()?.unwrap_or_default();
        let sets = self.set.iter().map(|given| Setting::parse(given)).collect::<Result<Vec<_>, _>>()?;
        let sets: Vec<Setting> = sets.into_iter().map(Setting::with_space_name).collect();
        let dataset = self.dataset(&file, &sets);
        let named = self.space(&file, &sets);
        let preset = self.preset(named, dataset)?;
        let strategy = self.strategy(&file)?;
        let published = preset.published.then(|| published(strategy, preset.space)).transpose()?;

        let mut table = as_table(&Config { strategy: (strategy.config)(), ..Config::default() })?;
        let settings = preset.toml.parse().map_err(|e: toml::de::Error| ConfigError::Whole(one_line(&e)))?;
        let settings = with_space_table(settings);
        merge(&mut table, keep_strategy(settings, strategy.name));
        merge(&mut table, published.unwrap_or_default());
        if let Some(space) = named.and_then(|name| space::find(name).ok()) {
            let size = own_size(space, &table);
            merge(&mut table, size);
        }
        merge(&mut table, keep_strategy(file, strategy.name));
        self.flags(&mut table)?;
        let known = known_keys(strategy)?;
        for setting in &sets {
            setting.apply(&mut table, &known, strategy.name)?;
        }
        let given = table.get("data").and_then(|data| data.get("augmentation")?.as_table()).cloned();
        let mut config = Config::deserialize(table).map_err(|e| ConfigError::Whole(one_line(&e)))?;
        folder::check_size(self.size, config.dataset)?;
        config.settle_folder()?;
        if let Some(given) = given {
            // A layer may change a part of the augmentation; the rest is then as usual.
            let usual = Table::try_from(config.usual_augmentation());
            let mut whole = usual.map_err(|e| ConfigError::Whole(e.to_string()))?;
            merge(&mut whole, given);
            let whole = Augmentation::deserialize(whole).map_err(|e| ConfigError::Whole(one_line(&e)))?;
            config.data.augmentation = Some(whole);
        }
        config.resolve()?;
        Ok(config)
    }

    /// The data set that one of the layers names, if it is known.
    fn dataset(&self, file: &Table, sets: &[Setting]) -> Option<DatasetName> {
        let set = sets.iter().rev().find(|s| s.path == ["dataset"]).map(|s| &s.value);
        let flag = self.dataset.clone().map(Value::String);
        named_dataset(set.or(flag.as_ref()).or(file.get("dataset"))?)
    }

    /// The space that one of the layers names.
    fn space<'a>(&'a self, file: &'a Table, sets: &'a [Setting]) -> Option<&'a str> {
        let set = sets.iter().rev().find(|s| s.path == ["space", "name"]).and_then(|s| s.value.as_str());
        set.or(self.space.as_deref()).or_else(|| file.get("space")?.as_table()?.get("name")?.as_str())
    }

    /// Of the space or its family, if that has one of the name; a preset of another space is then fitted to this one.
    fn preset(&self, space: Option<&str>, dataset: Option<DatasetName>) -> Result<&'static Preset, ConfigError> {
        let space = space.unwrap_or(PRESETS[0].space);
        let space = space::find(space).map_or(space, |space| space.family());
        let own = |preset: &&Preset| preset.space == space;
        if let Some(given) = &self.preset {
            let mut named = PRESETS.iter().filter(|p| p.name == given);
            let fallback = named.clone().next();
            // Spaces have some names in common.
            let first =
                |p: &&Preset| PRESETS.iter().find(|other| other.name == p.name).is_some_and(|o| o.space == p.space);
            let names = PRESETS.iter().filter(first).map(|p| p.name);
            return named.find(own).or(fallback).ok_or_else(|| ConfigError::unknown("preset", given, names));
        }
        let mut own: Vec<&Preset> = PRESETS.iter().filter(own).collect();
        if own.is_empty() {
            own = PRESETS.iter().collect();
        }
        let second = !dataset.is_none_or(DatasetName::is_built_in);
        Ok(if second { own.get(1).unwrap_or(&own[0]) } else { own[0] })
    }

    fn strategy(&self, file: &Table) -> Result<&'static Entry, ConfigError> {
        let in_file = strategy_of(file);
        let given = self.strategy.as_deref().or(in_file).unwrap_or(STRATEGIES[0].name);
        let names = STRATEGIES.iter().map(|s| s.name);
        STRATEGIES.iter().find(|s| s.name == given).ok_or_else(|| ConfigError::unknown("strategy", given, names))
    }

    fn flags(&self, table: &mut Table) -> Result<(), ConfigError> {
        if let Some(space) = &self.space {
            merge(table, nested("space", "name", space.clone().into()));
        }
        if let Some(given) = &self.dataset {
            let names = DatasetName::ALL.map(DatasetName::as_str);
            given.parse::<DatasetName>().map_err(|_| ConfigError::unknown("data set", given, names))?;
            table.insert("dataset".to_owned(), Value::String(given.clone()));
        }
        if let Some(dir) = &self.data {
            let dir = dir.to_str().ok_or_else(|| ConfigError::range("--data", dir.display(), "a path in UTF-8"))?;
            merge(table, nested("data", "dir", dir.into()));
        }
        if let Some(split) = &self.split {
            split.parse::<SplitChoice>().map_err(ConfigError::Data)?;
            merge(table, nested("data", "split", split.clone().into()));
        }
        if let Some(size) = self.size {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            merge(table, nested("data", "folder", Value::Table(Table::from_iter([("size".to_owned(), size.into())]))));
        }
        let threads = self.threads.map(|t| t as u64);
        for (key, number) in [("seed", self.seed), ("threads", threads)] {
            if let Some(number) = number {
                let value = i64::try_from(number);
                let value = value.map_err(|_| ConfigError::range(key, number, &format!("at most {}", i64::MAX)))?;
                table.insert(key.to_owned(), value.into());
            }
        }
        Ok(())
    }
}

impl Config {
    /// The configuration of a run folder's `config.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] with line and column.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut config = Self::deserialize(read_table(path)?).map_err(|e| ConfigError::File {
            path: path.to_owned(),
            message: one_line(&e),
            hint: None,
        })?;
        config.resolve()?;
        Ok(config)
    }
}

/// A file as a table. It is read as a configuration first, since that finds line and column of what does not fit.
fn read_table(path: &Path) -> Result<Table, ConfigError> {
    let text = sniff::read_text(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    // The mark that some editors put at the beginning of a text.
    let text = text.trim_start_matches('\u{feff}').to_owned();
    let table = text.parse::<Table>();
    let fault =
        |error: toml::de::Error, hint| ConfigError::File { path: path.to_owned(), message: tables::told(&error), hint };
    if let Err(error) = toml::from_str::<Config>(&text) {
        let hint = table.map_or_else(|_| other_language(&text).map(str::to_owned), |t| unknown_in(&t));
        return Err(fault(error, hint));
    }
    table.map(with_space_table).map_err(|error| fault(error, None))
}

/// `space = NAME` as `space.name = NAME`, which a layer with other keys of the table leaves alone.
fn with_space_table(mut table: Table) -> Table {
    if let Some(name @ Value::String(_)) = table.get("space").cloned() {
        table.remove("space");
        merge(&mut table, nested("space", "name", name));
    }
    table
}

/// Size of a supernet that is another than that of the space's family: so many cells, and its channels in place of the family's.
fn own_size(space: &dyn SearchSpace, settings: &Table) -> Table {
    let (own, family) = (space.supernet_size(), space::find(space.family()).map(|family| family.supernet_size()));
    let Some(family) = family.ok().filter(|family| *family != own) else { return Table::new() };
    let mut supernet = Table::from_iter([("cells_per_stage".to_owned(), (own.cells as i64).into())]);
    let channels = settings.get("supernet").and_then(|supernet| supernet.get("channels")?.as_integer());
    if channels == Some(family.channels as i64) {
        supernet.insert("channels".to_owned(), (own.channels as i64).into());
    }
    Table::from_iter([("supernet".to_owned(), Value::Table(supernet))])
}

/// What a text that is no TOML seems to be instead.
fn other_language(text: &str) -> Option<&'static str> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let first = lines().next()?;
    let is_word = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
    let yaml = |line: &str| line == "---" || line.split_once(':').is_some_and(|(key, _)| is_word(key.trim()));
    if first.starts_with('{') {
        Some("this looks like JSON; a configuration is TOML: `batch_size = 64` below [training]")
    } else if yaml(first) {
        Some("this looks like YAML; a configuration is TOML: `batch_size = 64` below [training]")
    } else {
        None
    }
}

/// What may have been meant by the first key of a file that no configuration has.
fn unknown_in(file: &Table) -> Option<String> {
    if file.get("strategy").and_then(Value::as_table).is_some_and(|t| t.len() > 1) {
        return Some("a search has one strategy: [strategy] holds one table".to_owned());
    }
    let given = strategy_of(file).unwrap_or(STRATEGIES[0].name);
    let Some(strategy) = STRATEGIES.iter().find(|s| s.name == given) else {
        return suggest::nearest(given, STRATEGIES.iter().map(|s| s.name)).map(suggest::did_you_mean);
    };
    let known = known_keys(strategy).ok()?;
    let unknown = tables::keys(file).into_iter().find(|k| !known.contains(k))?;
    in_file(&unknown, &known)
}

fn named_dataset(value: &Value) -> Option<DatasetName> {
    value.as_str()?.parse().ok()
}

/// `[table] key = value`
fn nested(table: &str, key: &str, value: Value) -> Table {
    let inner = Table::from_iter([(key.to_owned(), value)]);
    Table::from_iter([(table.to_owned(), Value::Table(inner))])
}

fn strategy_of(file: &Table) -> Option<&str> {
    Some(file.get("strategy")?.as_table()?.keys().next()?.as_str())
}

/// Every dotted key of a configuration with this strategy, those included that a default leaves out.
fn known_keys(strategy: &Entry) -> Result<Vec<String>, ConfigError> {
    let data = DataConfig {
        dir: Some(".".into()),
        folder: Some(FolderConfig::full()),
        augmentation: Some(Augmentation::NONE),
        ..Default::default()
    };
    let space = SpaceConfig { ops: Some(OpSets::All(vec![])), ..Config::default().space };
    let supernet = SupernetConfig { stem_stride: Some(1), ..Default::default() };
    let all = Config { space, threads: Some(1), data, supernet, strategy: (strategy.config)(), ..Config::default() };
    Ok(tables::keys(&as_table(&all)?))
}

fn as_table(config: &Config) -> Result<Table, ConfigError> {
    let table = Table::try_from(config).map_err(|e| ConfigError::Whole(e.to_string()))?;
    Ok(with_space_table(table))
}

/// The published settings of a strategy for a space.
fn published(strategy: &Entry, space: &str) -> Result<Table, ConfigError> {
    let Some(own) = strategy.published.iter().find(|published| published.space == space) else {
        let has = |entry: &&Entry| entry.published.iter().any(|published| published.space == space);
        return Err(ConfigError::Unpublished {
            strategy: strategy.name,
            space: space.to_owned(),
            spaces: strategy.published.iter().map(|published| published.space).collect(),
            strategies: STRATEGIES.iter().filter(has).map(|entry| entry.name).collect(),
        });
    };
    own.settings.join("\n").parse().map_err(|e: toml::de::Error| ConfigError::Whole(one_line(&e)))
}

/// Settings of another strategy than the chosen one do not count.
fn keep_strategy(mut file: Table, name: &str) -> Table {
    if let Some(Value::Table(strategies)) = file.get_mut("strategy") {
        strategies.retain(|key, _| key == name);
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compare::Place, space::OpName};

    fn resolve(request: &Request) -> Config {
        request.resolve().unwrap()
    }

    #[test]
    fn the_data_set_chooses_the_preset() {
        let demo = resolve(&Request::default());
        assert_eq!((demo.dataset, demo.supernet.cells_per_stage), (DatasetName::Digits, 1));
        for request in [
            Request { dataset: Some("cifar10".to_owned()), ..Default::default() },
            Request { set: vec!["dataset=cifar10".to_owned()], ..Default::default() },
            Request { preset: Some("paper".to_owned()), ..Default::default() },
        ] {
            let paper = resolve(&request);
            assert_eq!((paper.dataset, paper.supernet.cells_per_stage), (DatasetName::Cifar10, 5));
            let bilevel = paper.to_toml().contains("alpha_update = \"bilevel\"");
            assert_eq!(bilevel, request.preset.is_some(), "the paper's settings have to be asked for");
            assert_eq!(paper.data.augmentation, Some(DatasetName::Cifar10.default_augmentation()));
        }
        let both = Request { preset: Some("demo".into()), dataset: Some("cifar10".into()), ..Default::default() };
        assert_eq!(resolve(&both).supernet.cells_per_stage, 1);
    }

    #[test]
    fn every_preset_suits_its_space_and_leaves_other_strategies_alone() {
        for preset in &PRESETS {
            for entry in STRATEGIES {
                let (name, strategy) = (Some(preset.name.to_owned()), Some(entry.name.to_owned()));
                let space = Some(preset.space.to_owned());
                let request = Request { preset: name, space, strategy: strategy.clone(), ..Default::default() };
                if preset.published && entry.published.iter().all(|published| published.space != preset.space) {
                    assert!(matches!(request.resolve(), Err(ConfigError::Unpublished { .. })), "{strategy:?}");
                    continue;
                }
                let mut config = resolve(&request);
                assert_eq!(config.space.name, preset.space);
                crate::search::fit(&mut config).unwrap();
                assert_eq!(Some(config.strategy.name()), strategy.as_deref());
            }
        }
    }

    #[test]
    fn published_settings_are_those_of_the_strategy_and_the_space() {
        let request = |strategy: &str, space: Option<&str>, set: &[&str]| Request {
            preset: Some("published".to_owned()),
            strategy: Some(strategy.to_owned()),
            space: space.map(str::to_owned),
            set: set.iter().map(|&set| set.to_owned()).collect(),
            ..Default::default()
        };
        let enas = resolve(&request("enas", None, &[])).training;
        assert_eq!((enas.batch_size, enas.learning_rate, enas.learning_rate_min), (128, 0.05, 5e-4));
        assert!(enas.nesterov && enas.weight_decay == 2.5e-4);
        let [bench, darts] = [None, Some("darts")].map(|space| resolve(&request("darts", space, &[])));
        assert_eq!((bench.training.nesterov, bench.training.weight_decay), (true, 5e-4));
        assert_eq!((darts.training.nesterov, darts.training.weight_decay), (false, 3e-4));
        assert_eq!((bench.supernet.cells_per_stage, darts.supernet.cells_per_stage), (5, 8));
        // What is asked for beside them comes last.
        assert_eq!(resolve(&request("enas", None, &["training.batch_size=32"])).training.batch_size, 32);
        let error = request("p-darts", None, &[]).resolve().unwrap_err();
        assert_eq!(error.to_string(), "no settings of strategy p-darts for space nas-bench-201 have been published");
        assert_eq!(error.hint().unwrap(), "it has some for `--space darts`");
        let hint = request("hpe-darts", None, &[]).resolve().unwrap_err().hint().unwrap();
        assert!(hint.starts_with("choose another preset") && hint.contains("enas"), "{hint}");
    }

    #[test]
    fn a_space_of_a_family_has_its_presets_and_its_own_size() {
        let request = |preset: Option<&str>, space: &str, strategy: &str| Request {
            preset: preset.map(str::to_owned),
            space: Some(space.to_owned()),
            strategy: Some(strategy.to_owned()),
            ..Default::default()
        };
        let size = |request: &Request| {
            let config = resolve(request);
            (config.space.name, config.supernet.channels, config.supernet.cells_per_stage)
        };
        for (preset, space, strategy, channels, cells) in [
            (None, "darts-all-skip", "hpe-darts", 4, 5),
            (None, "darts-single-cell", "hpe-darts", 4, 1),
            (Some("paper"), "darts-all-skip", "hpe-darts", 16, 8),
            (Some("paper"), "darts-single-cell", "hpe-darts", 26, 1),
            (Some("published"), "darts-single-cell-all-skip", "darts", 26, 1),
        ] {
            assert_eq!(size(&request(preset, space, strategy)), (space.to_owned(), channels, cells), "{space}");
        }
        let set = vec!["supernet.channels=8".to_owned(), "space=darts-single-cell".to_owned()];
        let set = Request { set, preset: Some("paper".to_owned()), ..Default::default() };
        assert_eq!(size(&set), ("darts-single-cell".to_owned(), 8, 1));
    }

    #[test]
    fn a_space_is_a_name_or_a_table_and_layers_add_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "[space]\nops = ['skip_connect', 'sep_conv_3x3']\n").unwrap();
        let file = || Request { file: Some(path.clone()), ..Default::default() };
        let config = resolve(&Request { space: Some("darts".to_owned()), ..file() });
        let ops = OpSets::All(vec![OpName::SKIP_CONNECT, OpName::SEP_CONV_3X3]);
        assert_eq!(config.space, SpaceConfig { name: "darts".to_owned(), ops: Some(ops) });
        assert!(config.to_toml().contains("[space]\nname = \"darts\""), "{}", config.to_toml());
        for set in ["space=darts", "space.name=darts"] {
            assert_eq!(resolve(&Request { set: vec![set.to_owned()], ..file() }).space, config.space, "{set}");
        }
        let set =
            |set: &str| Request { space: Some("darts".to_owned()), set: vec![set.to_owned()], ..Default::default() };
        assert_eq!(resolve(&set("space.ops=['skip_connect', 'sep_conv_3x3']")).space, config.space);
        assert!(resolve(&set("seed=1")).to_toml().starts_with("space = \"darts\"\n"));
        let error = set("space.ops=['skip_conect']").resolve().unwrap_err().to_string();
        assert!(error.contains("unknown operation `skip_conect`") && error.contains("`skip_connect`"), "{error}");
        let error = set("space.opps=[]").resolve().unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `space.ops`?");
    }

    #[test]
    fn every_file_of_configs_makes_a_search() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
        let is_comparison = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.parse::<Table>().is_ok_and(|file| file.contains_key("seeds"))
        };
        let (mut folders, mut found) = (vec![root], 0);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if is_comparison(&path) {
                    assert!(
                        !crate::compare::Comparison::read(&path, &Place::new(Path::new("runs")))
                            .unwrap()
                            .cells
                            .is_empty()
                    );
                    found += 1;
                } else if path.extension().is_some_and(|extension| extension == "toml") {
                    for strategy in STRATEGIES {
                        let strategy = Some(strategy.name.to_owned());
                        let mut config = resolve(&Request { file: Some(path.clone()), strategy, ..Default::default() });
                        // Spaces without skip connections are none for a method that consists in one.
                        let no_skip = path.to_string_lossy().ends_with("-no-skip.toml");
                        // Eight nodes want more epochs of a method that decides edge by edge.
                        let single = path.to_string_lossy().contains("single-cell");
                        let may = |why: &str| {
                            no_skip && why.contains("no edge has `skip_connect`")
                                || single && why.contains("epochs = 50 end before the last of 16 decisions")
                        };
                        match crate::search::fit(&mut config).map_err(|e| e.to_string()) {
                            Err(why) if !may(&why) => panic!("{}: {why}", path.display()),
                            _ => {}
                        }
                    }
                    found += 1;
                }
            }
        }
        assert_eq!(found, 17);
    }

    #[test]
    fn a_resolved_configuration_is_read_as_it_was_written() {
        for strategy in STRATEGIES {
            let config = resolve(&Request { strategy: Some(strategy.name.to_owned()), ..Default::default() });
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.toml");
            std::fs::write(&path, config.to_toml()).unwrap();
            assert_eq!(Config::read(&path).unwrap(), config);
            assert_eq!(resolve(&Request { file: Some(path), ..Default::default() }), config);
        }
    }

    #[test]
    fn a_strategy_on_the_command_line_puts_the_files_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.toml");
        std::fs::write(&path, "[strategy.darts]\nepochs = 7\n").unwrap();
        let file = Request { file: Some(path), ..Default::default() };
        assert_eq!(resolve(&file).strategy.name(), "darts");
        let other = resolve(&Request { strategy: Some("hpe-darts".to_owned()), ..file });
        assert_eq!(other.strategy, (STRATEGIES[0].config)());
    }

    #[test]
    fn every_key_is_documented() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        for strategy in STRATEGIES {
            let table = format!("[strategy.{}]", strategy.name);
            assert!(docs.contains(&table), "{table}");
            for key in known_keys(strategy).unwrap() {
                let name = key.strip_prefix(&format!("strategy.{}.", strategy.name)).unwrap_or(&key);
                assert!(docs.contains(&format!("`{name}`")), "{key}");
            }
        }
    }

    #[test]
    fn a_set_value_is_toml_or_a_bare_word() {
        let set = |set: &str| Request { set: vec![set.to_owned()], ..Default::default() }.resolve();
        assert_eq!(set("training.learning_rate=1").unwrap().training.learning_rate, 1.0);
        assert_eq!(set("data.split=first-half").unwrap().data.split, crate::data::SplitChoice::FirstHalf);
        assert!(set("training.nesterov=true").unwrap().training.nesterov);
        for part in ["data.augmentation={flip=true}", "data.augmentation.flip=true"] {
            let expected = Augmentation { flip: true, ..DatasetName::Digits.default_augmentation() };
            assert_eq!(set(part).unwrap().data.augmentation, Some(expected));
        }
        let half = ["dataset=cifar10", "data.downsample=2", "data.augmentation.cutout=5"];
        for (given, expected) in [
            (&half[..1], Augmentation { flip: true, crop_padding: 4, cutout: 0 }),
            (&half[..2], Augmentation { flip: true, crop_padding: 2, cutout: 0 }),
            (&half[..3], Augmentation { flip: true, crop_padding: 2, cutout: 5 }),
        ] {
            let set = given.iter().map(|&given| given.to_owned()).collect();
            assert_eq!(resolve(&Request { set, ..Default::default() }).data.augmentation, Some(expected));
        }
        let error = set("data.augmentation.flop=true").unwrap_err();
        assert_eq!(error.to_string(), "--set data.augmentation.flop=true: unknown key `data.augmentation.flop`");
        assert_eq!(error.hint().unwrap(), "did you mean `data.augmentation.flip`?");
        assert!(set("strategy=darts").unwrap_err().to_string().contains("--strategy NAME"));
        assert!(set("seed=-1").unwrap_err().to_string().starts_with("--set seed=-1: "));
    }
}
