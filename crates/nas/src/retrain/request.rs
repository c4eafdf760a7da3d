use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    config::{Inherit, RetrainConfig, RetrainDataConfig},
    recipe::{RECIPES, Recipe},
};
use crate::{
    data::{Augmentation, DatasetName, FolderConfig},
    search::{ConfigError, Setting, folder, one_line},
    space::{self, Genotype},
    tables::{self, merge},
};

/// The layers of a configuration: a recipe, then what the command line says.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is trained.
    pub genotype: Genotype,
    /// Name of the recipe. `None`: the first.
    pub recipe: Option<String>,
    /// Data set.
    pub dataset: Option<String>,
    /// Folder or archive of the data.
    pub data: Option<PathBuf>,
    /// Side of own pictures in pixels.
    pub size: Option<usize>,
    /// Epochs.
    pub epochs: Option<usize>,
    /// Seed.
    pub seed: Option<u64>,
    /// Threads.
    pub threads: Option<usize>,
    /// The run folder of a search whose weights are taken over.
    pub from_supernet: Option<PathBuf>,
    /// `key=value`: a dotted key and a value in TOML; a bare word is a string.
    pub set: Vec<String>,
}

impl Request {
    /// The first recipe as it is, on the built-in data.
    pub fn new(genotype: Genotype) -> Self {
        Self {
            genotype,
            recipe: None,
            dataset: None,
            data: None,
            size: None,
            epochs: None,
            seed: None,
            threads: None,
            from_supernet: None,
            set: Vec::new(),
        }
    }

    /// The configuration that the layers make, every default written out.
    ///
    /// # Errors
    /// [`ConfigError`]; nothing has been checked against space and data yet.
    pub fn resolve(&self) -> Result<RetrainConfig, ConfigError> {
        let recipe = self.recipe()?;
        let whole = |e: toml::de::Error| ConfigError::Whole(one_line(&e));
        let space = space::find(&self.genotype.space).map_err(|e| ConfigError::Whole(e.to_string()))?;
        let config = RetrainConfig {
            arch: space.text(&self.genotype).map_err(|e| ConfigError::Whole(e.to_string()))?,
            space: space.name().to_owned(),
            recipe: recipe.name.to_owned(),
            dataset: self.dataset()?,
            seed: self.seed()?,
            threads: self.threads,
            inherit: self.from_supernet.clone().map(|run| Inherit { run, epoch: None, weights_md5: None }),
            data: RetrainDataConfig { dir: self.data.clone(), ..RetrainDataConfig::default() },
            ..RetrainConfig::default()
        };
        let as_table = |config: &RetrainConfig| Table::try_from(config).map_err(|e| ConfigError::Whole(e.to_string()));
        let mut table = as_table(&config)?;
        merge(&mut table, recipe.toml.parse().map_err(whole)?);
        for (tables, key, number) in
            [(&["training"][..], "epochs", self.epochs), (&["data", "folder"], "size", self.size)]
        {
            if let Some(number) = number {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                let leaf = Table::from_iter([(key.to_owned(), number.into())]);
                let nested = |inner, table: &&str| Table::from_iter([((*table).to_owned(), Value::Table(inner))]);
                merge(&mut table, tables.iter().rev().fold(leaf, nested));
            }
        }
        let known = known_keys()?;
        // The recipe's lengths are of whole images, as the usual ones; what is set by name is taken as it is.
        let of_recipe = take_augmentation(&mut table);
        for given in &self.set {
            let setting = Setting::parse(given)?;
            setting.chosen_elsewhere(&CHOSEN)?;
            setting.write(&mut table, &known, |table| RetrainConfig::deserialize(table).map(drop))?;
        }
        let set = take_augmentation(&mut table);
        let mut config = RetrainConfig::deserialize(table).map_err(whole)?;
        folder::check_size(self.size, config.dataset)?;
        config.settle_folder()?;
        // Recipe and settings may name a part of the augmentation; the rest is as usual for the data set.
        let as_table = |of: Augmentation| Table::try_from(of).map_err(|e| ConfigError::Whole(e.to_string()));
        let mut usual = as_table(config.dataset.default_augmentation())?;
        merge(&mut usual, of_recipe);
        let usual = Augmentation::deserialize(usual).map_err(whole)?;
        let usual = folder::at_size(usual, config.data.downsample, config.data.folder.as_ref());
        let mut augmentation = as_table(usual)?;
        merge(&mut augmentation, set);
        config.data.augmentation = Some(Augmentation::deserialize(augmentation).map_err(whole)?);
        config.resolve()?;
        Ok(config)
    }

    fn dataset(&self) -> Result<DatasetName, ConfigError> {
        let Some(given) = &self.dataset else { return Ok(DatasetName::Digits) };
        let names = DatasetName::ALL.map(DatasetName::as_str);
        given.parse().map_err(|_| ConfigError::unknown("data set", given, names))
    }

    fn seed(&self) -> Result<u64, ConfigError> {
        let seed = self.seed.unwrap_or(0);
        // TOML has no larger numbers.
        if i64::try_from(seed).is_err() {
            return Err(ConfigError::range("seed", seed, &format!("at most {}", i64::MAX)));
        }
        Ok(seed)
    }

    fn recipe(&self) -> Result<&'static Recipe, ConfigError> {
        let given = self.recipe.as_deref().unwrap_or(RECIPES[0].name);
        let names = RECIPES.iter().map(|r| r.name);
        RECIPES.iter().find(|r| r.name == given).ok_or_else(|| ConfigError::unknown("recipe", given, names))
    }
}

/// Settings that are chosen by an argument of their own.
const CHOSEN: [(&str, &str); 3] = [
    ("arch", "the first argument"),
    ("space", "--space NAME or the architecture's notation"),
    ("recipe", "--recipe NAME"),
];

/// What a table says of the augmentation, taken out of it.
fn take_augmentation(table: &mut Table) -> Table {
    let data = table.get_mut("data").and_then(Value::as_table_mut);
    match data.and_then(|data| data.remove("augmentation")) {
        Some(Value::Table(augmentation)) => augmentation,
        _ => Table::new(),
    }
}

/// Every dotted key, those included that a default leaves out.
fn known_keys() -> Result<Vec<String>, ConfigError> {
    let mut all = RetrainConfig { threads: Some(1), ..RetrainConfig::default() };
    all.data.dir = Some(".".into());
    all.data.folder = Some(FolderConfig::full());
    all.data.augmentation = Some(Augmentation::NONE);
    all.inherit = Some(Inherit { run: ".".into(), epoch: Some(1), weights_md5: None });
    (all.network.channels, all.network.cells, all.network.stem_stride) = (Some(1), Some(1), Some(1));
    let table = Table::try_from(&all).map_err(|e| ConfigError::Whole(e.to_string()))?;
    Ok(tables::keys(&table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::ClipNorm, space::NasBench201};

    fn request() -> Request {
        let genotype = space::SearchSpace::parse(
            &NasBench201,
            "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|",
        );
        Request::new(genotype.unwrap())
    }

    fn resolve(recipe: &str, set: &[&str]) -> Result<RetrainConfig, ConfigError> {
        let set = set.iter().map(|&s| s.to_owned()).collect();
        Request { recipe: Some(recipe.to_owned()), set, ..request() }.resolve()
    }

    #[test]
    fn recipes_are_complete_and_written_as_they_are_read() {
        for recipe in RECIPES {
            let config = resolve(recipe.name, &[]).unwrap();
            let table: Table = recipe.toml.parse().unwrap();
            let training = table["training"].as_table().unwrap();
            for key in
                ["epochs", "batch_size", "learning_rate", "learning_rate_min", "momentum", "nesterov", "weight_decay"]
            {
                assert!(training.contains_key(key), "{}: {key}", recipe.name);
            }
            assert!(training.contains_key("clip_norm") && recipe.toml.starts_with("# "), "{}", recipe.name);
            assert_eq!(toml::from_str::<RetrainConfig>(&config.to_toml()).unwrap(), config);
        }
        let darts = resolve("darts", &["dataset=cifar10"]).unwrap();
        assert_eq!((darts.training.epochs, darts.network.drop_path, darts.network.auxiliary), (600, 0.2, 0.4));
        assert_eq!(darts.data.augmentation, Some(Augmentation { flip: true, crop_padding: 4, cutout: 16 }));
        let table = resolve("nas-bench-201-12", &[]).unwrap();
        assert_eq!((table.training.epochs, table.training.clip_norm), (12, ClipNorm::None));
    }

    #[test]
    fn options_and_settings_come_last_and_slips_are_named() {
        let config = Request { epochs: Some(3), set: vec!["training.batch_size=8".to_owned()], ..request() }.resolve();
        let config = config.unwrap();
        assert_eq!((config.training.epochs, config.training.batch_size, config.network.cells), (3, 8, Some(5)));
        let error = |recipe: &str, set: &str| resolve(recipe, &[set]).unwrap_err();
        assert_eq!(
            error("fast", "seed=1").to_string(),
            "unknown recipe `fast`, expected quick, nas-bench-201, nas-bench-201-12 or darts"
        );
        assert_eq!(error("quick", "training.epoch=1").hint().unwrap(), "did you mean `training.epochs`?");
        assert_eq!(error("quick", "training.epochs=0").to_string(), "training.epochs = 0, expected at least 1");
        assert!(
            error("quick", "network.drop_path=1").to_string().contains("network.drop_path = 1, expected at least 0")
        );
        for (set, by) in [("recipe=darts", "--recipe NAME"), ("arch=1", "first argument"), ("space=darts", "notation")]
        {
            assert!(error("quick", set).to_string().contains(by), "{set}");
        }
        let halved = ["dataset=cifar10", "data.downsample=2"];
        let darts = |more: &[&str]| resolve("darts", &[&halved, more].concat()).unwrap().data.augmentation.unwrap();
        assert_eq!(darts(&[]), Augmentation { flip: true, crop_padding: 2, cutout: 8 });
        for cutout in [6, 16] {
            let set = format!("data.augmentation.cutout={cutout}");
            assert_eq!(darts(&[&set]), Augmentation { flip: true, crop_padding: 2, cutout }, "as it was set");
        }
        let seed = Request { seed: Some(u64::MAX), ..request() }.resolve().unwrap_err().to_string();
        assert!(seed.starts_with("seed = 18446744073709551615, expected at most"), "{seed}");
        assert!(error("quick", "network.size=large").to_string().contains("unknown variant `large`"));
    }
}
