//! A summary for people and programs. What the paper reports stands in a block of its own, never beside a number of ours.

use std::fmt::Write as _;

use serde_json::json;

use super::{
    metrics::{METRICS, Metric, Shown, metric},
    significance::Kind,
    statistic::Statistic,
    summary::{Against, LEVEL, Row, Summary},
};
use crate::{
    escape,
    paper::{TABLE_1, TABLE_1_SOURCE, TABLE_2, TABLE_2_SOURCE},
};

/// A way of writing a summary.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Name on the command line.
    pub name: &'static str,
    /// Name of the file.
    pub file: &'static str,
    /// Writes it.
    pub write: fn(&Summary) -> String,
}

/// All of them.
pub const FORMATS: [Format; 4] = [
    Format { name: "json", file: "summary.json", write: to_json },
    Format { name: "markdown", file: "summary.md", write: to_markdown },
    Format { name: "csv", file: "summary.csv", write: to_csv },
    Format { name: "latex", file: "summary.tex", write: to_latex },
];

/// A table of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// What it shows.
    pub title: String,
    /// Heads of the columns.
    pub heads: Vec<String>,
    /// Columns of words, from the left; the others are numbers.
    pub words: usize,
    /// The cells.
    pub rows: Vec<Vec<String>>,
}

/// A number that somebody else reports.
struct Reported {
    source: &'static str,
    n: usize,
    label: String,
    method: Option<&'static str>,
    /// By key of the metric.
    values: Vec<(&'static str, (f64, Option<f64>))>,
}

impl Summary {
    /// Metrics that a row has.
    fn metrics(&self) -> Vec<&'static Metric> {
        METRICS.iter().filter(|metric| self.rows.iter().any(|row| row.measure(metric.key).is_some())).collect()
    }

    /// What was measured, row by row.
    pub fn measured(&self) -> Grid {
        let metrics = self.metrics();
        let varies = |of: fn(&Row) -> &str| self.rows.iter().any(|row| of(row) != of(&self.rows[0]));
        let (spaces, datasets) = (varies(|row| &row.space), varies(|row| row.dataset));
        let best = self.rows.iter().any(|row| row.best.is_some());
        let chosen = |yes: bool, head: &'static str| yes.then_some(head);
        let words = ["settings", "seeds", "method"].into_iter().map(Some);
        let words = words.chain([chosen(spaces, "space"), chosen(datasets, "data set")]).flatten();
        let mut heads: Vec<String> = words.map(str::to_owned).collect();
        let words = heads.len();
        heads.extend(metrics.iter().map(|metric| metric.head.to_owned()));
        heads.extend(best.then(|| "best by validation: test (seed)".to_owned()));
        let row = |row: &Row| {
            let mut cells = vec![row.name.clone(), format!("{} of {}", row.seeds.len(), row.of), row.method_shown()];
            cells.extend(spaces.then(|| row.space.clone()));
            cells.extend(datasets.then(|| row.dataset.to_owned()));
            cells.extend(metrics.iter().map(|metric| row.shown(metric)));
            let shown = || row.best.as_ref().and_then(|b| Some(format!("{:.2} ({})", b.test?, b.seed)));
            cells.extend(best.then(|| shown().unwrap_or_else(|| "-".to_owned())));
            cells
        };
        Grid { title: "Measured here".to_owned(), heads, words, rows: self.rows.iter().map(row).collect() }
    }

    /// Settings that differ from the presets of the methods.
    pub fn variations(&self) -> Option<Grid> {
        let lines = self.rows.iter().flat_map(|row| {
            row.variations.iter().map(|v| vec![row.name.clone(), v.key.clone(), v.value.clone(), v.preset.clone()])
        });
        let rows: Vec<Vec<String>> = lines.collect();
        let heads = ["settings", "key", "value", "in the method's own preset"].map(str::to_owned).to_vec();
        let title = "Settings that differ from the method's own preset: these are variants".to_owned();
        (!rows.is_empty()).then_some(Grid { title, heads, words: 4, rows })
    }

    /// Tests against the baseline.
    pub fn significance(&self) -> Vec<Grid> {
        let grid = |tests: &super::summary::Comparisons| {
            let head = metric(tests.metric).map_or(tests.metric, |metric| metric.head);
            let title = format!(
                "Against {} by \"{head}\", two-sided, Holm's correction for {}",
                tests.baseline,
                tests.rows.len()
            );
            let heads = ["settings", "test", "note", "n", "difference", "p", "p (Holm)", "smallest p there could be"];
            let row = |a: &Against| {
                let n = if a.test == Kind::SignedRank { a.n.0.to_string() } else { format!("{} and {}", a.n.0, a.n.1) };
                let exact = if a.exact { "exact" } else { "normal approximation" };
                let words = [a.row.clone(), format!("{}, {exact}", a.test.description()), note(a)];
                let numbers = [a.p, a.p_holm, a.smallest_p].map(p_shown);
                words.into_iter().chain([n, format!("{:+.2}", a.difference)]).chain(numbers).collect()
            };
            Grid {
                title,
                heads: heads.map(str::to_owned).to_vec(),
                words: 3,
                rows: tests.rows.iter().map(row).collect(),
            }
        };
        self.tests.iter().map(grid).collect()
    }

    /// What the paper reports of the methods of the rows, where they search as its tables do.
    fn reported(&self) -> Vec<Reported> {
        let of = |space: &str, method: Option<&str>| {
            let same = |row: &&Row| row.space == space && row.dataset == "cifar10";
            self.rows.iter().filter(same).any(|row| method == Some(&row.method))
        };
        let table = METRICS[..6].iter().map(|metric| metric.key);
        let one = TABLE_1.iter().filter(|row| of("nas-bench-201", row.method)).map(|row| {
            let accuracies = table.clone().zip(row.accuracies.map(|(mean, std)| (mean, Some(std))));
            let simulated = row.method.is_some_and(|method| method.starts_with(super::blackbox::PREFIX));
            let hours = (if simulated { "simulated_hours" } else { "hours" }, (row.hours, None));
            let values = accuracies.chain([hours]).collect();
            Reported { source: TABLE_1_SOURCE, n: 10, label: row.label.to_owned(), method: row.method, values }
        });
        let two = TABLE_2.iter().filter(|row| of("darts", row.method)).flat_map(|row| {
            let on = [("CIFAR-10", 0), ("CIFAR-100", 1)];
            on.map(|(dataset, i)| {
                let (mean, std) = row.accuracies[i];
                let values = vec![
                    ("retrained_test", (mean, Some(std))),
                    ("parameters_m", (row.parameters[i], None)),
                    ("hours", (row.hours, None)),
                ];
                let label = format!("{}, retrained on {dataset}", row.label);
                Reported { source: TABLE_2_SOURCE, n: 3, label, method: row.method, values }
            })
        });
        one.chain(two).collect()
    }

    /// The same as tables, one for each source.
    pub fn reported_grids(&self) -> Vec<Grid> {
        let all = self.reported();
        [TABLE_1_SOURCE, TABLE_2_SOURCE].into_iter().filter_map(|source| reported_grid(&all, source)).collect()
    }

    /// Every table of it: what was measured, the tests, what differs from the presets, what the paper reports.
    pub fn grids(&self) -> Vec<Grid> {
        let all = std::iter::once(self.measured()).chain(self.significance());
        all.chain(self.variations()).chain(self.reported_grids()).collect()
    }
}

fn reported_grid(all: &[Reported], source: &'static str) -> Option<Grid> {
    let own: Vec<&Reported> = all.iter().filter(|reported| reported.source == source).collect();
    let first = own.first()?;
    let keys: Vec<&Metric> = METRICS
        .iter()
        .filter(|metric| own.iter().any(|reported| reported.values.iter().any(|(key, _)| *key == metric.key)))
        .collect();
    let heads = ["method in the paper", "method here"].into_iter().chain(keys.iter().map(|metric| metric.head));
    let row = |reported: &&Reported| {
        let words = [reported.label.clone(), reported.method.unwrap_or("-").to_owned()];
        words.into_iter().chain(keys.iter().map(|metric| reported.shown(metric.key))).collect()
    };
    let title = format!("Reported, not measured here: {}", first.source);
    Some(Grid { title, heads: heads.map(str::to_owned).collect(), words: 2, rows: own.iter().map(row).collect() })
}

impl Reported {
    fn value(&self, key: &str) -> Option<(f64, Option<f64>)> {
        self.values.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    fn shown(&self, key: &str) -> String {
        match self.value(key) {
            Some((mean, Some(std))) => format!("{mean:.2} ± {std:.2}"),
            Some((mean, None)) => format!("{mean:.2}"),
            None => "-".to_owned(),
        }
    }
}

impl Row {
    /// The method; a variant says so.
    pub fn method_shown(&self) -> String {
        match (self.variations.len(), self.in_file) {
            (0, true) => self.method.clone(),
            (0, false) => format!("{} (no more in the file)", self.method),
            (n, true) => format!("variant of {} ({n} settings)", self.method),
            (n, false) => format!("variant of {} ({n} settings; no more in the file)", self.method),
        }
    }

    fn shown(&self, metric: &Metric) -> String {
        let Some(measure) = self.measure(metric.key) else { return "-".to_owned() };
        let text = value(metric, &measure.statistic);
        // A metric that not all seeds have, such as that of a training that is still going on.
        if measure.values.len() == self.seeds.len() { text } else { format!("{text} (n = {})", measure.values.len()) }
    }
}

fn value(metric: &Metric, s: &Statistic) -> String {
    match (metric.shown, s.std) {
        (Shown::Deviation, _) => format!("{s:.2}"),
        (Shown::Range, Some(_)) => format!("{:.0} ({:.0} to {:.0})", s.mean, s.min, s.max),
        (Shown::Range, None) => format!("{:.0}", s.mean),
    }
}

/// A p-value that is not shown as 0.
fn p_shown(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}

fn note(a: &Against) -> String {
    if a.p_holm < LEVEL {
        "significant at 0.05".to_owned()
    } else if a.too_few {
        "too few values to be significant at 0.05, whatever they are".to_owned()
    } else {
        "not significant at 0.05".to_owned()
    }
}

fn to_json(summary: &Summary) -> String {
    let reported = summary.reported();
    let reported = reported.iter().map(|r| {
        let values: serde_json::Map<String, serde_json::Value> = r
            .values
            .iter()
            .map(|(key, (mean, std))| ((*key).to_owned(), json!({ "mean": mean, "std": std })))
            .collect();
        json!({ "source": r.source, "n": r.n, "label": r.label, "method": r.method, "measures": values })
    });
    let all = json!({ "rows": summary.rows, "tests": summary.tests, "reported": reported.collect::<Vec<_>>() });
    format!("{all:#}\n")
}

fn to_markdown(summary: &Summary) -> String {
    let mut text = String::new();
    for (i, grid) in summary.grids().iter().enumerate() {
        let line = |cells: &[String]| {
            format!("| {} |\n", cells.iter().map(|c| escape::markdown_cell(c)).collect::<Vec<_>>().join(" | "))
        };
        if i > 0 {
            text += "\n";
        }
        text += &format!("**{}**\n\n", escape::markdown_cell(&grid.title));
        text += &line(&grid.heads);
        text += &line(&vec!["---".to_owned(); grid.heads.len()]);
        grid.rows.iter().for_each(|row| text += &line(row));
    }
    for row in summary.rows.iter().filter(|r| !r.found.is_empty()) {
        let _ = write!(text, "\n{}:\n", escape::markdown_cell(&row.name));
        for (arch, seeds) in &row.found {
            let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "- `{arch}` (seed {})", seeds.join(", "));
        }
    }
    text
}

/// One line for each row, measured ones first; numbers in full.
fn to_csv(summary: &Summary) -> String {
    let fixed = ["source", "settings", "method", "variations", "space", "dataset", "in_file", "n", "of", "seeds"];
    let last = ["best_seed", "best_by", "best_value", "best_test_metric", "best_test", "best_arch"];
    let test = ["baseline", "test_metric", "test", "difference", "p", "p_holm", "smallest_p"];
    let of_metric = |metric: &Metric| ["mean", "std", "min", "max", "n"].map(|part| format!("{}_{part}", metric.key));
    let mut lines: Vec<Vec<String>> = Vec::new();
    let head = fixed.iter().map(|s| (*s).to_owned()).chain(METRICS.iter().flat_map(of_metric));
    lines.push(head.chain(last.iter().chain(&test).map(|s| (*s).to_owned())).collect());
    let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
    for row in &summary.rows {
        let seeds: Vec<String> = row.seeds.iter().map(ToString::to_string).collect();
        let variations: Vec<String> = row.variations.iter().map(|v| format!("{}={}", v.key, v.value)).collect();
        let mut line =
            vec!["measured".to_owned(), escape::csv_text(&row.name), row.method.clone(), variations.join("; ")];
        line.extend([row.space.clone(), row.dataset.to_owned(), row.in_file.to_string()]);
        line.extend([row.seeds.len().to_string(), row.of.to_string(), seeds.join(" ")]);
        for metric in METRICS {
            line.extend(match row.measure(metric.key) {
                Some(m) => {
                    let Statistic { mean, std, min, max } = m.statistic;
                    [number(Some(mean)), number(std), number(Some(min)), number(Some(max)), m.values.len().to_string()]
                }
                None => Default::default(),
            });
        }
        line.extend(match &row.best {
            Some(b) => {
                let value = (number(Some(b.value)), number(b.test));
                [b.seed.to_string(), b.by.to_owned(), value.0, b.test_metric.to_owned(), value.1, b.arch.clone()]
            }
            None => Default::default(),
        });
        let tested = summary.tests.iter().find_map(|t| Some((t, t.rows.iter().find(|a| a.row == row.name)?)));
        line.extend(match tested {
            Some((tests, a)) => {
                let [difference, p, p_holm, smallest] =
                    [a.difference, a.p, a.p_holm, a.smallest_p].map(|v| v.to_string());
                let kind = a.test.description().to_owned();
                [escape::csv_text(&tests.baseline), tests.metric.to_owned(), kind, difference, p, p_holm, smallest]
            }
            None => Default::default(),
        });
        lines.push(line);
    }
    for reported in summary.reported() {
        let mut line = vec![reported.source.to_owned(), reported.label.clone()];
        line.extend([reported.method.unwrap_or_default().to_owned(), String::new(), String::new(), String::new()]);
        line.extend(["false".to_owned(), reported.n.to_string(), String::new(), String::new()]);
        for metric in METRICS {
            let value = reported.value(metric.key);
            line.extend([number(value.map(|v| v.0)), number(value.and_then(|v| v.1))]);
            line.extend([String::new(), String::new(), String::new()]);
        }
        line.extend(last.iter().chain(&test).map(|_| String::new()));
        lines.push(line);
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing into memory does not fail, and the lines are all as long.
    lines.iter().for_each(|line| drop(writer.write_record(line)));
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

/// Tables for the package booktabs.
fn to_latex(summary: &Summary) -> String {
    let mut text = "% \\usepackage{booktabs}\n".to_owned();
    for grid in summary.grids() {
        let numbers = grid.heads.len() - grid.words;
        let columns = format!("{}{}", "l".repeat(grid.words), "r".repeat(numbers));
        let line = |cells: &[String]| {
            format!("{} \\\\\n", cells.iter().map(|c| escape::latex(c)).collect::<Vec<_>>().join(" & "))
        };
        let _ = write!(text, "\n% {}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n", escape::latex(&grid.title));
        let _ = writeln!(
            text,
            "\\multicolumn{{{}}}{{l}}{{{}}} \\\\\n\\midrule",
            grid.heads.len(),
            escape::latex(&grid.title)
        );
        text += &line(&grid.heads);
        text += "\\midrule\n";
        grid.rows.iter().for_each(|row| text += &line(row));
        text += "\\bottomrule\n\\end{tabular}\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        benchmark::made_up,
        compare::{Comparison, Entry, Place, result::CellResult},
        space::{Arch, Genotype},
    };

    /// Two methods of Table 1, one of them a variant, and one that is not in it.
    fn summary() -> Summary {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        let text = "preset = 'paper'\nseeds = [0, 1]\n[settings]\nstrategy.darts.epochs = 3\n\
                    [matrix]\nstrategy = ['hpe-darts', 'darts', 'sgas']\n";
        std::fs::write(&file, text).unwrap();
        let cells = Comparison::read(&file, &Place::new(folder.path())).unwrap().cells;
        let found = |seed: u64| {
            let arch = Arch::from_index(seed as usize).unwrap();
            CellResult::of(Genotype::from(arch), arch.to_string(), Some(arch.index()))
        };
        let results: Vec<CellResult> = cells.iter().map(|c| found(c.seed)).collect();
        let entries: Vec<Entry<'_>> = cells.iter().zip(results.iter().map(Some)).collect();
        Summary::new(&entries, &[], Some("sgas"), Some(&made_up()))
    }

    #[test]
    fn every_line_of_the_csv_has_every_column_and_its_source() {
        let text = to_csv(&summary());
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let lines: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let source: Vec<&str> = lines.iter().map(|line| &line[0]).collect();
        assert_eq!(source, ["measured", "measured", "measured", TABLE_1_SOURCE, TABLE_1_SOURCE]);
        let heads = reader.headers().unwrap().clone();
        let column_of = |name: &str| heads.iter().position(|head| head == name).unwrap();
        assert_eq!(&lines[1][column_of("variations")], "strategy.darts.epochs=3");
        assert_eq!(&lines[4][column_of("table_cifar10_test_mean")], "94.31");
        assert_eq!(&lines[0][column_of("p")], "1");
    }

    #[test]
    fn what_is_reported_is_never_in_a_row_of_ours() {
        let summary = summary();
        for format in FORMATS {
            let text = (format.write)(&summary);
            let at = text
                .find("Reported, not measured here")
                .or_else(|| text.find("\"reported\""))
                .or_else(|| text.find(TABLE_1_SOURCE));
            let (ours, theirs) = text.split_at(at.unwrap());
            assert!(!ours.contains("94.31") && theirs.contains("94.31"), "{}", format.name);
            assert!(!theirs.contains("SGAS") && theirs.contains("DARTS(1st)"), "{}", format.name);
        }
        let shown: Vec<String> = summary.rows.iter().map(Row::method_shown).collect();
        assert_eq!(shown, ["hpe-darts", "variant of darts (1 settings)", "sgas"]);
    }

    #[test]
    fn tables_of_latex_are_whole() {
        let text = to_latex(&summary());
        assert_eq!(text.matches("\\toprule").count(), text.matches("\\end{tabular}").count());
    }

    /// A search may be called anything that a folder can be called.
    #[test]
    fn no_name_is_more_than_text() {
        for name in ["=1+1", "a|b\n| c |", "<img src=x>", "\\input{x}", "\u{1b}[2J"] {
            let mut summary = summary();
            name.clone_into(&mut summary.rows[0].name);
            let csv = to_csv(&summary);
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let shown = reader.records().next().unwrap().unwrap()[1].to_owned();
            assert_eq!(shown, if name.starts_with(['=', '\u{1b}']) { format!("'{name}") } else { name.to_owned() });
            let (markdown, latex) = (to_markdown(&summary), to_latex(&summary));
            assert!(
                markdown.contains(&escape::markdown_cell(name)) && latex.contains(&escape::latex(name)),
                "{name:?}"
            );
            assert!(
                !markdown.contains(['<', '\u{1b}']) && !latex.contains("\\input") && !latex.contains('\u{1b}'),
                "{name:?}"
            );
            let columns = |line: &str| line.replace("\\|", "").matches('|').count();
            let rows: Vec<usize> = markdown.lines().skip(2).take_while(|l| !l.is_empty()).map(columns).collect();
            assert!(rows.len() > 2 && rows.iter().all(|n| *n == rows[0]), "{markdown}");
        }
    }
}
