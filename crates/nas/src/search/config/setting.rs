use serde::Deserialize;
use toml::{Table, Value};

use super::{
    error::ConfigError,
    keys::{nearest_key, one_line},
    settings::Config,
};
use crate::{
    search::strategies::STRATEGIES,
    tables::{self, merge},
};

/// One `--set key=value`.
#[derive(Debug)]
pub(crate) struct Setting {
    given: String,
    pub(super) path: Vec<String>,
    pub(super) value: Value,
}

impl Setting {
    pub(crate) fn parse(given: &str) -> Result<Self, ConfigError> {
        let fault = |why: &str| ConfigError::Set {
            given: given.to_owned(),
            why: why.to_owned(),
            hint: Some("write key=value, for example --set training.batch_size=32".to_owned()),
        };
        let (key, text) = given.split_once('=').ok_or_else(|| fault("`=` is missing"))?;
        let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(fault("the key is empty or has an empty part"));
        }
        let text = text.trim();
        // A path or a bare word is not TOML and is then meant as a string. A broken list or string is a slip.
        let value = match format!("value = {text}").parse::<Table>() {
            Ok(table) if table.len() == 1 => table.into_iter().map(|(_, value)| value).next(),
            _ if text.is_empty() || text.starts_with(['[', '{', '"', '\'']) => None,
            _ => Some(Value::String(text.to_owned())),
        };
        let value = value.ok_or_else(|| fault(&format!("`{text}` is not a TOML value")))?;
        Ok(Self { given: given.to_owned(), path, value })
    }

    /// Writes the value into `table`, the configuration of a search. `known`: every dotted key there is; `strategy`: the one of
    /// this search.
    pub(super) fn apply(&self, table: &mut Table, known: &[String], strategy: &str) -> Result<(), ConfigError> {
        if self.path.len() == 1 {
            self.chosen_elsewhere(&[("strategy", "--strategy NAME")])?;
        }
        if !self.is_known(known) {
            return Err(self.unknown(&self.path.join("."), known, strategy));
        }
        self.write(table, known, |table| Config::deserialize(table).map(drop))
    }

    /// `space=NAME` as `space.name=NAME`.
    pub(super) fn with_space_name(mut self) -> Self {
        if self.path == ["space"] {
            self.path.push("name".to_owned());
        }
        self
    }

    /// Refuses a setting that is chosen by something else: a key, and by what.
    pub(crate) fn chosen_elsewhere(&self, chosen: &[(&str, &str)]) -> Result<(), ConfigError> {
        match chosen.iter().find(|(key, _)| self.path[0] == *key) {
            Some((key, by)) => Err(self.fault(format!("the {key} is chosen by {by}"), None)),
            None => Ok(()),
        }
    }

    fn is_known(&self, known: &[String]) -> bool {
        let key = self.path.join(".");
        let group = format!("{key}.");
        known.iter().any(|k| *k == key || k.starts_with(&group))
    }

    /// Writes the value into `table`, which `check` must then accept. `known`: every dotted key there is.
    pub(crate) fn write(
        &self,
        table: &mut Table,
        known: &[String],
        check: impl FnOnce(Table) -> Result<(), toml::de::Error>,
    ) -> Result<(), ConfigError> {
        let key = self.path.join(".");
        let Some((last, parents)) = self.path.split_last().filter(|_| self.is_known(known)) else {
            return Err(self.fault(format!("unknown key `{key}`"), nearest_key(&key, known)));
        };
        let mut at = &mut *table;
        for parent in parents {
            let child = at.entry(parent).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(child) = child else {
                return Err(self.fault(format!("`{parent}` is not a table"), None));
            };
            at = child;
        }
        match (at.get_mut(last), &self.value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new.clone()),
            // `learning_rate=1` is meant as 1.0.
            (Some(Value::Float(old)), Value::Integer(new)) => *old = *new as f64,
            _ => {
                at.insert(last.clone(), self.value.clone());
            }
        }
        // The key stands in the setting; of a table the place inside is worth telling.
        let told = if self.value.is_table() { one_line } else { tables::message };
        check(table.clone()).map_err(|e| self.fault(told(&e), None))
    }

    fn unknown(&self, key: &str, known: &[String], strategy: &str) -> ConfigError {
        let other = self.path.get(1).filter(|name| self.path[0] == "strategy" && *name != strategy);
        match other.filter(|name| STRATEGIES.iter().any(|s| s.name == *name)) {
            Some(other) => self.fault(
                format!("the strategy of this search is {strategy}"),
                Some(format!("`--strategy {other}` chooses the other one")),
            ),
            None => self.fault(format!("unknown key `{key}`"), nearest_key(key, known)),
        }
    }

    fn fault(&self, why: String, hint: Option<String>) -> ConfigError {
        ConfigError::Set { given: self.given.clone(), why, hint }
    }
}
