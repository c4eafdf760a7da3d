//! Options that several commands share.

use std::{fmt::Display, thread};

use anyhow::{Result, anyhow};
use nas::{
    benchmark::BenchmarkDataset,
    data::{DataError, DatasetName},
    suggest,
};

use crate::error::HintExt;

/// `--threads`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Threads {
    /// Worker threads, 1 to 1024; results do not depend on it [default: one per core].
    #[arg(long, value_name = "N", value_parser = count(1, 1024))]
    threads: Option<usize>,
}

impl Threads {
    /// The number that was asked for.
    pub fn given(self) -> Option<usize> {
        self.threads
    }

    /// The number that was asked for, else that of the cores this process may use.
    pub fn get(self) -> usize {
        self.threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
    }
}

/// The file that `@FILE` names.
///
/// # Errors
/// `@` alone.
pub fn file_of(text: &str) -> Result<Option<&str>> {
    match text.strip_prefix('@') {
        Some("") => Err(anyhow!("`@` names no file")).hint("write the name behind it: @FILE"),
        named => Ok(named),
    }
}

/// Refuses options that were given, `(option, whether)`, and would have no effect.
///
/// # Errors
/// One or more of them were given; `why` says what makes them useless.
pub fn without_effect<const N: usize>(options: [(&str, bool); N], why: impl Display) -> Result<()> {
    let given: Vec<&str> = options.into_iter().filter(|(_, given)| *given).map(|(option, _)| option).collect();
    match given[..] {
        [] => Ok(()),
        [one] => Err(anyhow!("{one} has no effect: {why}")).hint("leave it out"),
        _ => Err(anyhow!("{} have no effect: {why}", given.join(", "))).hint("leave them out"),
    }
}

/// Reads a whole number in `low..=high`. The error names both limits.
pub fn count(low: usize, high: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse::<usize>() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number from {low} to {high}")),
    }
}

/// Reads the name of a data set. The error says what is known and what may have been meant.
pub fn dataset(text: &str) -> Result<DatasetName, String> {
    text.parse().map_err(|e: DataError| match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    })
}

/// Reads the name of a data set of the NAS-Bench-201 table. The error says what is known and what may have been meant.
pub fn benchmark_dataset(text: &str) -> Result<BenchmarkDataset, String> {
    let names = || BenchmarkDataset::ALL.map(BenchmarkDataset::name);
    BenchmarkDataset::ALL.into_iter().find(|d| d.name() == text).ok_or_else(|| {
        let nearest = suggest::nearest(text, names()).map(|n| format!("; {}", suggest::did_you_mean(n)));
        let known = suggest::one_of(names());
        format!("unknown data set `{text}`, expected {known}{}", nearest.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outside_their_limits_are_refused() {
        let read = count(1, 8);
        assert_eq!(read("8"), Ok(8));
        for bad in ["0", "9", "-1", "1.5", "", "two", "99999999999999999999999"] {
            assert_eq!(read(bad).unwrap_err(), "expected a whole number from 1 to 8");
        }
    }

    #[test]
    fn every_useless_option_is_named() {
        let refused = |a, b| without_effect([("--a", a), ("--b", b)], "there is no c").err().map(|e| e.to_string());
        assert_eq!(refused(false, false), None);
        assert_eq!(refused(false, true).unwrap(), "--b has no effect: there is no c");
        assert_eq!(refused(true, true).unwrap(), "--a, --b have no effect: there is no c");
    }

    #[test]
    fn an_unknown_data_set_gets_the_nearest_name() {
        assert_eq!(dataset("cifar10"), Ok(DatasetName::Cifar10));
        assert!(dataset("cifa10").unwrap_err().contains("did you mean `cifar10`?"));
    }
}
