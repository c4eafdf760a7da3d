use serde::Serialize;

use super::cell::Cell;
use crate::{
    benchmark::{Column, Table},
    search::Outcome,
    space::Arch,
};

/// The accuracies that a summary takes from the table, after 200 epochs, in percent.
pub const COLUMNS: [(Column, &str); 6] = [
    (Column::Cifar10Valid, "CIFAR-10 valid"),
    (Column::Cifar10Test, "CIFAR-10 test"),
    (Column::Cifar100Valid, "CIFAR-100 valid"),
    (Column::Cifar100Test, "CIFAR-100 test"),
    (Column::ImageNet16Valid, "ImageNet16-120 valid"),
    (Column::ImageNet16Test, "ImageNet16-120 test"),
];

/// Mean and sample standard deviation over seeds; the deviation of one value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation.
    pub std: Option<f64>,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Statistic {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Self {
            mean,
            std: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// Heads of the columns of a summary: settings, seeds, the accuracies, rank, hours.
pub fn heads() -> impl Iterator<Item = &'static str> {
    ["settings", "seeds"].into_iter().chain(COLUMNS.map(|(_, name)| name)).chain(["rank (best to worst)", "hours"])
}

impl std::fmt::Display for Statistic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.mean)?;
        self.std.map_or(Ok(()), |std| write!(f, " ± {std:.digits$}"))
    }
}

/// The finished searches of one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the settings.
    pub name: String,
    /// Seeds that have finished.
    pub seeds: Vec<u64>,
    /// Searches of this setting in all.
    pub of: usize,
    /// Accuracies by [`COLUMNS`]; `None` without the table or outside of its space.
    pub accuracies: Vec<Option<Statistic>>,
    /// Rank by CIFAR-10 test accuracy among all architectures of the table.
    pub rank: Option<Statistic>,
    /// Wall-clock hours of a search, a shared warm-up counted in full.
    pub hours: Option<Statistic>,
    /// The architectures with the seeds that found them, the most frequent one first.
    pub found: Vec<(String, Vec<u64>)>,
}

impl Row {
    /// Its numbers as text, in the order of [`heads`].
    pub fn numbers(&self) -> impl Iterator<Item = String> {
        let shown = |statistic: Option<Statistic>| statistic.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}"));
        let range = |s: Statistic| match s.std {
            Some(_) => format!("{:.0} ({:.0} to {:.0})", s.mean, s.min, s.max),
            None => format!("{:.0}", s.mean),
        };
        let rank = self.rank.map_or_else(|| "-".to_owned(), range);
        self.accuracies.iter().map(move |&s| shown(s)).chain([rank, shown(self.hours)])
    }
}

/// All settings of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// In the file's order.
    pub rows: Vec<Row>,
}

impl Summary {
    /// Of the outcomes so far, by cell.
    pub fn new(cells: &[Cell], outcomes: &[Option<Outcome>], table: Option<&Table>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        cells.iter().for_each(|c| {
            if !names.contains(&c.name.as_str()) {
                names.push(&c.name);
            }
        });
        let row = |name: &str| {
            let own = || cells.iter().zip(outcomes).filter(|(c, _)| c.name == name);
            let done: Vec<(u64, &Outcome)> = own().filter_map(|(c, o)| Some((c.seed, o.as_ref()?))).collect();
            let archs: Vec<Arch> = done.iter().filter_map(|(_, o)| Arch::from_index(o.found.index?).ok()).collect();
            let over = |value: &dyn Fn(&Table, Arch) -> Option<f64>| {
                let values: Option<Vec<f64>> = archs.iter().map(|&a| value(table?, a)).collect();
                Statistic::of(&values?)
            };
            let mut found: Vec<(String, Vec<u64>)> = Vec::new();
            for (seed, outcome) in &done {
                match found.iter_mut().find(|(arch, _)| *arch == outcome.found.arch) {
                    Some((_, seeds)) => seeds.push(*seed),
                    None => found.push((outcome.found.arch.clone(), vec![*seed])),
                }
            }
            found.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
            let hours: Vec<f64> = done.iter().map(|(_, o)| o.total_seconds() / 3600.0).collect();
            Row {
                name: name.to_owned(),
                seeds: done.iter().map(|(seed, _)| *seed).collect(),
                of: own().count(),
                accuracies: COLUMNS.iter().map(|&(column, _)| over(&|t, a| t.value(column, a))).collect(),
                rank: over(&|t, a| Some(t.rank(Column::Cifar10Test, a)? as f64)),
                hours: Statistic::of(&hours),
                found,
            }
        };
        Self { rows: names.into_iter().map(row).collect() }
    }

    /// As a table in Markdown, with the architectures below it.
    pub fn to_markdown(&self) -> String {
        let heads: Vec<String> = heads().map(str::to_owned).collect();
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&heads);
        text += &line(&vec!["---".to_owned(); heads.len()]);
        for row in &self.rows {
            let mut cells = vec![row.name.clone(), format!("{} of {}", row.seeds.len(), row.of)];
            cells.extend(row.numbers());
            text += &line(&cells);
        }
        for row in self.rows.iter().filter(|r| !r.found.is_empty()) {
            text += &format!("\n{}:\n", row.name);
            for (arch, seeds) in &row.found {
                let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
                text += &format!("- `{arch}` (seed {})\n", seeds.join(", "));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_show_the_deviation_of_several() {
        assert_eq!(Statistic::of(&[]), None);
        assert_eq!(Statistic::of(&[94.0]).unwrap().to_string(), "94.00");
        let two = Statistic::of(&[93.0, 95.0]).unwrap();
        assert_eq!((two.min, two.max, format!("{two:.1}")), (93.0, 95.0, "94.0 ± 1.4".to_owned()));
    }
}
