use std::{fs, path::Path};

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{
    baseline,
    blackbox::{self, BlackboxConfig},
    cell::{Cell, OneShot, Search},
    metrics::{METRICS, Metric, metric},
    reference::Variation,
    result::CellResult,
    significance::{Kind, holm, rank_sum, signed_rank},
    statistic::Statistic,
};
use crate::{
    benchmark::Table,
    retrain::{RESULT, Retrained},
    run::{self, CONFIG},
    search::{Config, fit},
};

/// Below this a difference is called significant.
pub(super) const LEVEL: f64 = 0.05;

/// A metric over the seeds that have it.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Which one.
    pub metric: &'static Metric,
    /// By seed.
    pub values: Vec<(u64, f64)>,
    /// Over them.
    pub statistic: Statistic,
}

/// The search of a row that a user would take: the best by validation, with what it has on test images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Its seed.
    pub seed: u64,
    /// What it found.
    pub arch: String,
    /// Metric that it is the best by.
    pub by: &'static str,
    /// Its value.
    pub value: f64,
    /// Metric of test images.
    pub test_metric: &'static str,
    /// Its value.
    pub test: Option<f64>,
}

/// The finished searches of one setting.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the settings.
    pub name: String,
    /// Name of the method, whose preset it may differ from.
    pub method: String,
    /// Settings that differ from the method's own preset: where there are any, the numbers are those of a variant.
    pub variations: Vec<Variation>,
    /// Name of the space.
    pub space: String,
    /// Name of the data set that was searched on.
    pub dataset: &'static str,
    /// Whether the comparison's file still asks for it.
    pub in_file: bool,
    /// Seeds that have finished.
    pub seeds: Vec<u64>,
    /// Searches of this setting in all.
    pub of: usize,
    /// By metric, those that have a value.
    #[serde(serialize_with = "by_key")]
    pub measures: Vec<Measure>,
    /// The search that a user would take.
    pub best: Option<Best>,
    /// The architectures with the seeds that found them, the most frequent one first.
    pub found: Vec<(String, Vec<u64>)>,
}

/// A row against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Against {
    /// Name of the row.
    pub row: String,
    /// Which test.
    pub test: Kind,
    /// Values of the row and of the baseline; of pairs the same number.
    pub n: (usize, usize),
    /// Mean of the row minus mean of the baseline.
    pub difference: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// The same after Holm's correction for all rows that are compared with this baseline by this metric.
    pub p_holm: f64,
    /// The smallest p-value that so many values could have given, without the correction.
    pub smallest_p: f64,
    /// Whether so many values could not have been significant whatever they were.
    pub too_few: bool,
    /// Whether the distribution was counted out.
    pub exact: bool,
}

/// All rows of a space and a data set against the baseline, by one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparisons {
    /// Name of the baseline's row.
    pub baseline: String,
    /// Key of the metric.
    pub metric: &'static str,
    /// The others.
    pub rows: Vec<Against>,
}

/// All settings of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// In the file's order, then what else lies in the folder.
    pub rows: Vec<Row>,
    /// Tests against the baseline, if there is one.
    pub tests: Vec<Comparisons>,
}

/// A cell and what has come of it.
pub type Entry<'a> = (&'a Cell, Option<&'a CellResult>);

impl Summary {
    /// Of the results so far. `strays`: cells that the file does not ask for, see [`strays`].
    pub fn new(cells: &[Entry<'_>], strays: &[Entry<'_>], baseline: Option<&str>, table: Option<&Table>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for (cell, _) in cells.iter().chain(strays) {
            if !names.contains(&cell.name.as_str()) {
                names.push(&cell.name);
            }
        }
        let row = |name: &&str| {
            let of = |entries: &[Entry<'_>]| entries.iter().filter(|(c, _)| c.name == **name).count();
            let all = cells.iter().chain(strays).filter(|(c, _)| c.name == **name).copied();
            row(&all.collect::<Vec<_>>(), of(cells) > 0, table)
        };
        let rows: Vec<Row> = names.iter().filter_map(row).collect();
        let tests = baseline.map_or_else(Vec::new, |baseline| tests(&rows, baseline));
        Self { rows, tests }
    }
}

fn row(entries: &[Entry<'_>], in_file: bool, table: Option<&Table>) -> Option<Row> {
    let (first, _) = entries.first()?;
    let mut done: Vec<(u64, &CellResult)> = entries.iter().filter_map(|(c, r)| Some((c.seed, (*r)?))).collect();
    done.sort_by_key(|(seed, _)| *seed);
    let measure = |metric: &'static Metric| {
        let values: Vec<(u64, f64)> =
            done.iter().filter_map(|(seed, result)| Some((*seed, (metric.value)(result, table)?))).collect();
        let statistic = Statistic::of(&values.iter().map(|(_, value)| *value).collect::<Vec<_>>())?;
        Some(Measure { metric, values, statistic })
    };
    let mut found: Vec<(String, Vec<u64>)> = Vec::new();
    for (seed, result) in &done {
        match found.iter_mut().find(|(arch, _)| *arch == result.arch) {
            Some((_, seeds)) => seeds.push(*seed),
            None => found.push((result.arch.clone(), vec![*seed])),
        }
    }
    found.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
    let dataset = first.search.dataset();
    Some(Row {
        name: first.name.clone(),
        method: first.search.method(),
        variations: first.search.variations(),
        space: first.search.space().to_owned(),
        dataset,
        in_file,
        seeds: done.iter().map(|(seed, _)| *seed).collect(),
        of: entries.len(),
        measures: METRICS.iter().filter_map(measure).collect(),
        best: best(&done, dataset, table),
        found,
    })
}

/// The metrics of validation and of test images by which searches on a data set are judged: by the table, then by retraining.
fn judged_by(dataset: &str) -> [(&'static str, &'static str); 2] {
    let table = match dataset {
        "cifar100" => ("table_cifar100_valid", "table_cifar100_test"),
        "imagenet16-120" => ("table_imagenet16_valid", "table_imagenet16_test"),
        _ => ("table_cifar10_valid", "table_cifar10_test"),
    };
    [table, ("retrained_valid", "retrained_test")]
}

fn best(done: &[(u64, &CellResult)], dataset: &str, table: Option<&Table>) -> Option<Best> {
    judged_by(dataset).into_iter().find_map(|(by, test_metric)| {
        let valid = metric(by)?;
        let values = done.iter().filter_map(|(seed, result)| Some((*seed, *result, (valid.value)(result, table)?)));
        let (seed, result, value) = values.reduce(|best, next| if next.2 > best.2 { next } else { best })?;
        let test = (metric(test_metric)?.value)(result, table);
        Some(Best { seed, arch: result.arch.clone(), by, value, test_metric, test })
    })
}

fn tests(rows: &[Row], baseline: &str) -> Vec<Comparisons> {
    let exact = rows.iter().any(|row| row.name == baseline);
    let meant = |row: &&Row| match exact {
        true => row.name == baseline,
        false => row.in_file && baseline::means(baseline, &row.name, &row.method),
    };
    let mut all = Vec::new();
    for base in rows.iter().filter(meant) {
        let same = |row: &&Row| (&row.space, row.dataset) == (&base.space, base.dataset) && row.name != base.name;
        for (_, test) in judged_by(base.dataset) {
            let against: Vec<Against> = rows.iter().filter(same).filter_map(|row| against(row, base, test)).collect();
            if !against.is_empty() {
                let rows = corrected(against);
                all.push(Comparisons { baseline: base.name.clone(), metric: test, rows });
            }
        }
    }
    all
}

fn against(row: &Row, base: &Row, key: &str) -> Option<Against> {
    let of = |row: &Row| row.measure(key).map(|m| (m.values.clone(), m.statistic.mean));
    let ((own, mean), (other, base_mean)) = (of(row)?, of(base)?);
    let seeds = |values: &[(u64, f64)]| values.iter().map(|(seed, _)| *seed).collect::<Vec<_>>();
    let values = |values: &[(u64, f64)]| values.iter().map(|(_, value)| *value).collect::<Vec<_>>();
    let test = if seeds(&own) == seeds(&other) {
        signed_rank(&own.iter().zip(&other).map(|((_, a), (_, b))| a - b).collect::<Vec<_>>())
    } else {
        rank_sum(&values(&own), &values(&other))
    }?;
    Some(Against {
        row: row.name.clone(),
        test: test.kind,
        n: (own.len(), other.len()),
        difference: mean - base_mean,
        p: test.p,
        p_holm: test.p,
        smallest_p: test.smallest_p,
        too_few: false,
        exact: test.exact,
    })
}

/// With Holm's correction. The smallest p-value of all is multiplied by their number, the next by one less.
fn corrected(mut against: Vec<Against>) -> Vec<Against> {
    let p = holm(&against.iter().map(|a| a.p).collect::<Vec<_>>());
    let smallest = holm(&against.iter().map(|a| a.smallest_p).collect::<Vec<_>>());
    for ((a, p), smallest) in against.iter_mut().zip(p).zip(smallest) {
        (a.p_holm, a.too_few) = (p, smallest >= LEVEL);
    }
    against
}

impl Row {
    /// A metric by its key.
    pub fn measure(&self, key: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.metric.key == key)
    }
}

fn by_key<S: Serializer>(measures: &[Measure], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Written<'a> {
        #[serde(flatten)]
        statistic: Statistic,
        n: usize,
        values: &'a [(u64, f64)],
    }
    let mut map = serializer.serialize_map(Some(measures.len()))?;
    for Measure { metric, values, statistic } in measures {
        map.serialize_entry(metric.key, &Written { statistic: *statistic, n: values.len(), values })?;
    }
    map.end()
}

/// What else lies in the folder of a comparison: finished searches that its file does not ask for (any more), other seeds of its
/// settings among them. One that has other settings than those of its name in the file is called so.
pub fn strays(cells: &[Cell], out: &Path) -> Vec<(Cell, CellResult)> {
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        names
    };
    let mut strays = Vec::new();
    for name in folders(out) {
        for seed in folders(&out.join(&name)) {
            let folder = out.join(&name).join(&seed);
            let Some(seed) = seed.strip_prefix("seed").and_then(|seed| seed.parse::<u64>().ok()) else { continue };
            if !cells.iter().any(|cell| cell.folder == folder) {
                strays.extend(stray(cells, &name, seed, &folder));
            }
        }
    }
    strays.sort_by(|(a, _), (b, _)| (&a.name, a.seed).cmp(&(&b.name, b.seed)));
    strays
}

fn stray(cells: &[Cell], name: &str, seed: u64, folder: &Path) -> Option<(Cell, CellResult)> {
    let search = if run::is_run(folder) {
        let mut config = Config::read(&folder.join(CONFIG)).ok()?;
        fit(&mut config).ok()?;
        Search::OneShot(Box::new(OneShot { config, warmup: None }))
    } else {
        let text = fs::read_to_string(folder.join(blackbox::CONFIG)).ok()?;
        Search::Blackbox(Box::new(toml::from_str::<BlackboxConfig>(&text).ok()?))
    };
    let same = cells.iter().find(|cell| cell.name == name);
    let other = same.is_some_and(|cell| cell.search.with_seed(seed) != search.with_seed(seed));
    let name = if other { format!("{name} (other settings)") } else { name.to_owned() };
    let cell = Cell { name, seed, search, retraining: None, folder: folder.to_owned() };
    let result = cell.result()?;
    let trained = run::finished::<Retrained>(&cell.retraining_folder(), RESULT).ok().flatten();
    let result = trained.map_or(result.clone(), |outcome| result.with_retraining(&outcome));
    Some((cell, result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        benchmark::made_up,
        compare::{Comparison, Place},
        space::{Arch, Genotype},
    };

    fn found(index: usize) -> CellResult {
        let arch = Arch::from_index(index).unwrap();
        CellResult::of(Genotype::from(arch), arch.to_string(), Some(index))
    }

    fn cells(text: &str) -> Vec<Cell> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        fs::write(&file, text).unwrap();
        Comparison::read(&file, &Place::new(Path::new("out"))).unwrap().cells
    }

    fn summary(text: &str, of: impl Fn(&Cell) -> Option<usize>, baseline: &str) -> Summary {
        let cells = cells(text);
        let results: Vec<Option<CellResult>> = cells.iter().map(|c| of(c).map(found)).collect();
        let entries: Vec<Entry<'_>> = cells.iter().zip(results.iter().map(Option::as_ref)).collect();
        Summary::new(&entries, &[], Some(baseline), Some(&made_up()))
    }

    const THREE: &str = "seeds = [0, 1, 2]\n[settings]\ndataset = 'cifar10'\n\
                         [matrix]\nstrategy = ['darts', 'rsps', 'blackbox.bohb']\n";

    #[test]
    fn three_seeds_are_paired_and_too_few() {
        let s = summary(THREE, |c| Some(c.seed as usize + if c.name.ends_with("darts") { 100 } else { 7 }), "rsps");
        let [tests] = &s.tests[..] else { panic!("{:?}", s.tests) };
        assert_eq!((tests.baseline.as_str(), tests.metric), ("strategy=rsps", "table_cifar10_test"));
        let darts = &tests.rows[0];
        assert_eq!((darts.test, darts.n, darts.p, darts.p_holm), (Kind::SignedRank, (3, 3), 0.25, 0.5));
        assert_eq!((darts.smallest_p, darts.too_few, darts.exact), (0.25, true, true));
        // The same cells: nothing differs.
        assert_eq!((tests.rows[1].p, tests.rows[1].difference), (1.0, 0.0));
    }

    #[test]
    fn other_seeds_are_no_pairs() {
        let of = |c: &Cell| (c.seed < 2 || !c.name.ends_with("rsps")).then_some(c.seed as usize);
        let s = summary(THREE, of, "strategy=rsps");
        assert_eq!((s.tests[0].rows[0].test, s.tests[0].rows[0].n), (Kind::RankSum, (3, 2)));
        assert_eq!((s.rows[1].seeds.len(), s.rows[1].of), (2, 3));
    }

    #[test]
    fn a_variant_says_what_differs_and_the_best_is_chosen_by_validation() {
        let text =
            "preset = 'paper'\nseeds = [0, 1]\n[runs.own]\n[runs.variant]\nstrategy.hpe-darts.warmup_epochs = 6\n";
        let s = summary(text, |c| Some(c.seed as usize), "own");
        assert_eq!(s.rows[0].variations, []);
        let variation = &s.rows[1].variations[..];
        assert!(
            matches!(variation, [v] if v.key == "strategy.hpe-darts.warmup_epochs" && v.preset == "5"),
            "{variation:?}"
        );
        let best = s.rows[0].best.as_ref().unwrap();
        assert_eq!((best.seed, best.by), (1, "table_cifar10_valid"));
        let table = made_up();
        assert_eq!(best.test, table.value(crate::benchmark::Column::Cifar10Test, Arch::from_index(1).unwrap()));
        // The usual search of the paper's Table 1.
        let s = summary("seeds = [0]\n[settings]\nstrategy = 'blackbox.bohb'\n", |_| Some(3), "search");
        assert_eq!(s.rows[0].variations, []);
    }
}
