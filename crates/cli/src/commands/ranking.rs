//! How scores rank the architectures that the benchmark has trained.

use nas::{
    benchmark::{BenchmarkDataset, Epochs, Split, Table as Benchmark},
    proxy::{Proxy, Score, correlation},
    space::Arch,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::render::{Align, Table};

/// An architecture with its score by each of some proxies, and the seconds that each took.
#[derive(Debug)]
pub struct Scored {
    /// The architecture.
    pub arch: Arch,
    /// Its trainable parameters.
    pub parameters: u64,
    /// By proxy.
    pub scores: Vec<Score>,
    /// By proxy; of a composite that compares architectures: what it compares.
    pub measured: Vec<Vec<f64>>,
    /// By proxy.
    pub seconds: Vec<f64>,
}

/// Makes the scores of composites from what they have measured of all architectures.
pub fn combine(proxies: &[&'static dyn Proxy], scored: &mut [Scored]) {
    for (i, composite) in proxies.iter().enumerate().filter_map(|(i, p)| Some((i, p.composite()?))) {
        let measured: Vec<Vec<f64>> = scored.iter().map(|s| s.measured[i].clone()).collect();
        let values = composite.combine(&measured);
        scored.iter_mut().zip(values).for_each(|(s, value)| s.scores[i].value = value);
    }
}

impl Scored {
    /// `{"arch", "scores"}`.
    pub fn json(&self, proxies: &[&'static dyn Proxy]) -> Value {
        let by_name = proxies.iter().zip(&self.scores).map(|(p, score)| (p.name().to_owned(), json!(score.value)));
        json!({ "arch": self.arch.to_string(), "scores": by_name.collect::<Map<_, _>>() })
    }
}

/// Accuracies after 200 epochs of the architectures that were scored, by data set and split.
#[derive(Debug)]
pub struct Accuracies(Vec<(String, Vec<f64>)>);

impl Accuracies {
    /// Those that the benchmark's table has.
    pub fn new(table: &Benchmark, scored: &[Scored]) -> Self {
        let columns = BenchmarkDataset::ALL.into_iter().flat_map(|d| Split::ALL.map(|s| (d, s)));
        let column = |(dataset, split): (BenchmarkDataset, Split)| {
            let accuracy = |s: &Scored| table.accuracy(dataset, split, Epochs::TwoHundred, s.arch);
            (format!("{} {}", dataset.name(), split.name()), scored.iter().map(accuracy).collect())
        };
        Self(columns.map(column).collect())
    }

    /// How `values`, one for each architecture, rank them.
    fn ranked_by(&self, values: &[f64]) -> Vec<Correlation> {
        let with = |(accuracy, accuracies): &(String, Vec<f64>)| Correlation {
            accuracy: accuracy.clone(),
            spearman: correlation::spearman(values, accuracies),
            kendall: correlation::kendall(values, accuracies),
        };
        self.0.iter().map(with).collect()
    }
}

/// Rank correlation with an accuracy; `None` where it is not defined.
#[derive(Debug, Serialize)]
pub struct Correlation {
    accuracy: String,
    spearman: Option<f64>,
    kendall: Option<f64>,
}

/// A proxy with what its scores cost and how they rank.
#[derive(Debug, Serialize)]
pub struct Ranked {
    proxy: &'static str,
    /// Mean over the architectures.
    seconds: f64,
    correlations: Option<Vec<Correlation>>,
}

/// Every proxy, in its place in [`Scored::scores`].
pub fn rank(proxies: &[&'static dyn Proxy], scored: &[Scored], accuracies: Option<&Accuracies>) -> Vec<Ranked> {
    let of = |(i, proxy): (usize, &&'static dyn Proxy)| Ranked {
        proxy: proxy.name(),
        seconds: scored.iter().map(|s| s.seconds[i]).sum::<f64>() / scored.len().max(1) as f64,
        correlations: accuracies.map(|a| a.ranked_by(&scored.iter().map(|s| s.scores[i].value).collect::<Vec<_>>())),
    };
    proxies.iter().enumerate().map(of).collect()
}

/// The scores of every architecture.
pub fn scores(proxies: &[&'static dyn Proxy], scored: &[Scored]) -> Table {
    let heads = proxies.iter().map(|p| (p.name(), Align::Right)).chain([("architecture", Align::Left)]);
    let mut rows = Table::with_heads(heads);
    for s in scored {
        let values = s.scores.iter().map(|score| number(score.value));
        rows.row(values.chain([s.arch.to_string()]));
    }
    rows
}

/// Four decimals; sums over all weights, which may be of any size, with an exponent.
fn number(value: f64) -> String {
    if value.is_finite() && value.abs() >= 1e6 { format!("{value:.4e}") } else { format!("{value:.4}") }
}

/// Costs and, where accuracies are known, correlations of several proxies over `count` architectures.
pub fn tables(ranked: &[Ranked], count: usize) -> String {
    let mut costs = Table::new([("proxy", Align::Left), ("seconds per architecture", Align::Right)]);
    for r in ranked {
        costs.row([r.proxy.to_owned(), format!("{:.4}", r.seconds)]);
    }
    let mut text = costs.to_string();
    type Of = fn(&Correlation) -> Option<f64>;
    for (name, value) in [("Spearman's rho", (|c| c.spearman) as Of), ("Kendall's tau", |c| c.kendall)] {
        let Some(first) = ranked.iter().find_map(|r| r.correlations.as_ref()) else { break };
        let heads = first.iter().map(|c| (c.accuracy.as_str(), Align::Right));
        let mut rows = Table::with_heads([("proxy", Align::Left)].into_iter().chain(heads));
        for r in ranked {
            let cells = r.correlations.iter().flatten().map(|c| show(value(c)));
            rows.row([r.proxy.to_owned()].into_iter().chain(cells));
        }
        text += &format!("\n{name} with the accuracy after 200 epochs, {count} architectures:\n{rows}");
    }
    text
}

/// The correlations of one proxy beside those of the parameter count.
pub fn beside_params(ranked: &Ranked, scored: &[Scored], accuracies: &Accuracies) -> String {
    let params: Vec<f64> = scored.iter().map(|s| s.parameters as f64).collect();
    let mut rows = Table::new([
        ("accuracy", Align::Left),
        ("spearman", Align::Right),
        ("kendall", Align::Right),
        ("params: spearman", Align::Right),
        ("kendall", Align::Right),
    ]);
    for (own, params) in ranked.correlations.iter().flatten().zip(accuracies.ranked_by(&params)) {
        let values = [own.spearman, own.kendall, params.spearman, params.kendall];
        rows.row([own.accuracy.clone()].into_iter().chain(values.map(show)));
    }
    let (proxy, n) = (ranked.proxy, scored.len());
    format!("Rank correlation of {proxy} with the accuracy after 200 epochs, {n} architectures:\n{rows}")
}

fn show(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"))
}
