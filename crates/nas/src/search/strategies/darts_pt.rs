//! DARTS-PT, selection by perturbation (Wang, Cheng, Chen, Tang, Hsieh, 2021, arXiv 2108.04392).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    learning_rate::Cosine,
    limits::AtMost,
    random,
    run::{At, Schedule},
    search::{
        Candidates, Context, OneShot, PhaseRate, PhaseSettings, Published, SearchError, Strategy, Unsuitable, genotype,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, EdgePrune, HardPrune, Importance, ImportanceConfig,
            ImportanceTable, Incoming, Mixture, Performance, Relaxation, Removal, Sweep, Swept, checks,
        },
    },
    space::{Genotype, OpName, SearchSpace},
    supernet::{Mask, OpAt, PerOp},
};

/// Settings of DARTS-PT, `[strategy.darts-pt]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 0: 100, in the DARTS space 50 | >= 0 | training of the whole supernet; the authors' code |
/// | `tune_epochs` | 5 | >= 1 | training between two decisions; the authors' code |
/// | `tune_learning_rate` | 0.0025 | > 0 | of omega in that training, constant; the authors' code |
/// | `alpha_update` | `bilevel` | `joint`, `none` ("blank-pt") | how alpha is trained |
/// | `images` | `all` | >= 1, or `all` | bound on the images of `D_val` that accuracies are measured on; the authors' code |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | the authors' code |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DartsPtConfig {
    /// Training of the whole supernet; 0: that of the source for the space.
    pub epochs: usize,
    /// Epochs between two decisions.
    pub tune_epochs: usize,
    /// Learning rate of omega in them.
    pub tune_learning_rate: f64,
    /// How alpha is trained.
    pub alpha_update: AlphaUpdate,
    /// Bound on the images of a sweep.
    pub images: AtMost,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DartsPtConfig {
    fn default() -> Self {
        Self {
            epochs: 0,
            tune_epochs: 5,
            tune_learning_rate: 0.0025,
            alpha_update: AlphaUpdate::Bilevel,
            images: AtMost::All,
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// A supernet of DARTS whose edges are decided one after the other, by the accuracy that the removal of an operation costs.
#[derive(Debug)]
pub struct DartsPt {
    config: DartsPtConfig,
    alpha: Alpha,
    /// Decisions on operations, then on edges; each decides one edge, or one node, of every kind of cell.
    decisions: [usize; 2],
    none: Option<usize>,
}

/// Rows of `alpha: [E, O]` of each kind of cell.
fn kinds(space: &dyn SearchSpace) -> Vec<std::ops::Range<usize>> {
    let mut first = 0;
    let ranges = space.kinds().iter().map(|kind| {
        let rows = first..first + kind.edges.len();
        first = rows.end;
        rows
    });
    ranges.collect()
}

/// Operations that an edge may end with: all but `none` in a space that keeps fewer edges than there are.
fn eligible(mask: &Mask, row: usize, never: Option<usize>) -> Vec<OpAt> {
    (0..mask.ops()).map(|op| (row, op)).filter(|&at| mask[at] && Some(at.1) != never).collect()
}

fn undecided(mask: &Mask, rows: &std::ops::Range<usize>) -> Vec<usize> {
    rows.clone().filter(|&row| mask.row(row).iter().filter(|&&alive| alive).count() > 1).collect()
}

/// Nodes of the rows that still have more edges than a cell keeps.
fn crowded(space: &dyn SearchSpace, mask: &Mask, rows: &std::ops::Range<usize>) -> Vec<Incoming> {
    let mut nodes = Incoming::of(space);
    nodes.iter_mut().for_each(|node| node.rows.retain(|&row| mask.row(row).contains(&true)));
    nodes.retain(|node| node.rows.len() > node.kept && node.rows.iter().all(|row| rows.contains(row)));
    nodes
}

impl DartsPt {
    /// What taking out each of these operations costs, one table for all.
    fn costs(&self, at: &[OpAt], gone: &[OpAt], cx: &mut Context<'_>) -> Result<ImportanceTable, SearchError> {
        // The other weights stay what they are.
        let without = |mask: &Mask, out: &[OpAt]| {
            let mut w = self.alpha.weights(mask);
            out.iter().chain(gone).for_each(|&at| w[at] = 0.0);
            w
        };
        let sets: Vec<Vec<OpAt>> = at.iter().map(|&at| vec![at]).collect();
        let config = ImportanceConfig { fraction: 1.0, images: self.config.images, ..Default::default() };
        let costs = Importance::new(&Performance::Accuracy.into(), &config).costs(cx, &without, &sets)?;
        Ok(costs.table((cx.mask().edges(), cx.mask().ops()), at))
    }

    /// One edge of each kind of cell is left with the operation whose removal costs most.
    fn decide_operations(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let mut rng = cx.step_rng();
        let mut removed: Vec<OpAt> = vec![];
        let mut candidates: Vec<OpAt> = vec![];
        let mut edges = vec![];
        for rows in kinds(cx.space()) {
            let open = undecided(cx.mask(), &rows);
            if !open.is_empty() {
                let row = open[random::below(&mut rng, open.len())];
                candidates.extend(eligible(cx.mask(), row, self.none));
                edges.push(row);
            }
        }
        let table = self.costs(&candidates, &[], cx)?;
        let value = |at: OpAt| table.importance[at].as_ref().map_or(f64::NEG_INFINITY, |value| value.0);
        for row in edges {
            let of_row = candidates.iter().copied().filter(|at| at.0 == row);
            let kept = of_row.reduce(|best, at| if value(at) > value(best) { at } else { best });
            removed.extend(eligible(cx.mask(), row, None).into_iter().filter(|&at| Some(at) != kept));
        }
        self.alpha.remove(&removed, cx.mask());
        cx.remove(&removed);
        cx.record(&Swept::new(at, Sweep::Hard, table))?;
        cx.record(&HardPrune::new(at, cx.op_names(&removed), cx.ops_left()))
    }

    /// One node of each kind of cell is left with the edges that it keeps: the one without which the accuracy falls least goes first.
    fn decide_edges(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let mut rng = cx.step_rng();
        let mut nodes: Vec<Incoming> = vec![];
        for rows in kinds(cx.space()) {
            let mut open = crowded(cx.space(), cx.mask(), &rows);
            if !open.is_empty() {
                nodes.push(open.swap_remove(random::below(&mut rng, open.len())));
            }
        }
        let of_row = |cx: &Context<'_>, row: usize| eligible(cx.mask(), row, None);
        let (mut removed, mut tables) = (vec![], vec![]);
        while nodes.iter().any(|node| node.rows.len() > node.kept) {
            let open = nodes.iter().filter(|node| node.rows.len() > node.kept);
            let candidates: Vec<OpAt> = open.flat_map(|node| &node.rows).flat_map(|&row| of_row(cx, row)).collect();
            let table = self.costs(&candidates, &removed, cx)?;
            let value = |row: usize| {
                let of = candidates.iter().find(|at| at.0 == row).and_then(|&at| table.importance[at].as_ref());
                of.map_or(0.0, |value| value.0)
            };
            for node in &mut nodes {
                if let Some(row) = node.weakest(value) {
                    node.drop(row);
                    removed.extend(of_row(cx, row));
                }
            }
            tables.push(table);
        }
        self.alpha.remove(&removed, cx.mask());
        cx.remove(&removed);
        for table in tables {
            cx.record(&Swept::new(at, Sweep::Edges, table))?;
        }
        cx.record(&EdgePrune::new(at, cx.op_names(&removed)))
    }

    /// The decision of this number, counted from 0.
    fn decide(&mut self, decision: usize, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let [operations, edges] = self.decisions;
        match decision {
            d if d < operations => self.decide_operations(at, cx),
            d if d < operations + edges => self.decide_edges(at, cx),
            _ => Ok(()),
        }
    }
}

impl OneShot for DartsPt {
    fn schedule(&self) -> Schedule {
        let [operations, edges] = self.decisions;
        let tune = |name: &str, count: usize| {
            let name = name.to_owned();
            (1..=count).map(move |i| format!("{name} {i}"))
        };
        let names = tune("operation", operations).chain(tune("edges", edges));
        let supernet = ("supernet".to_owned(), self.config.epochs);
        let tuned = names.map(|name| (name, self.config.tune_epochs));
        Schedule::new(std::iter::once(supernet).chain(tuned))
    }

    fn phase(&self, phase: usize) -> PhaseSettings {
        let DartsPtConfig { tune_epochs: epochs, tune_learning_rate: rate, .. } = self.config;
        let learning_rate = (phase > 0).then_some(PhaseRate::Own(Cosine { max: rate, min: rate, epochs }));
        PhaseSettings { learning_rate, ..PhaseSettings::default() }
    }

    /// A phase of tuning begins with its decision.
    fn begin(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        match at.phase.checked_sub(1).filter(|_| at.within == 0) {
            Some(decision) => self.decide(decision, at, cx),
            None => Ok(()),
        }
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        self.config.alpha_update.step(&mut self.alpha, cx)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        genotype(cx.space(), &cx.mask().alive().collect::<Vec<_>>())
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        Some(self.alpha.values().clone())
    }

    fn state(&self) -> Value {
        self.alpha.state()
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)
    }
}

impl Strategy for DartsPt {
    type Config = DartsPtConfig;

    const ABOUT: &'static str =
        "a supernet of DARTS, decided edge by edge: the operation whose removal costs most stays";

    const SOURCE: &'static str =
        "Wang, Cheng, Chen, Tang, Hsieh: Rethinking Architecture Selection in Differentiable NAS, arXiv 2108.04392";

    const SHORT: &'static [&'static str] = &["epochs=2", "tune_epochs=1", "images=64"];

    const PUBLISHED: &'static [Published] = &[
        Published {
            space: "nas-bench-201",
            source: "ruocwang/darts-pt, nasbench201",
            settings: &[
                "strategy.darts-pt.epochs = 100",
                "strategy.darts-pt.tune_epochs = 5",
                "data.split = \"first-half\"",
            ],
        },
        Published {
            space: "darts",
            source: "ruocwang/darts-pt, sota/cnn, space S5",
            settings: &[
                "strategy.darts-pt.epochs = 50",
                "strategy.darts-pt.tune_epochs = 5",
                "data.split = \"first-half\"",
                Published::DARTS_WITHOUT_NONE,
            ],
        },
    ];

    fn check(config: &mut DartsPtConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::epochs(&mut config.epochs, candidates, [100, 50]);
        checks::at_least("tune_epochs", config.tune_epochs as f64, 1.0)?;
        checks::positive("tune_learning_rate", config.tune_learning_rate)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DartsPtConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let (space, offered) = (candidates.space(), candidates.offered());
        let values = config.alpha_init.values(offered, rng);
        // What is left of an edge shares all of its weight: one operation alone has weight 1.
        let mixture = Mixture { removal: Removal::Renormalise, ..Mixture::new(candidates, Relaxation::Softmax) };
        let most = |of: &dyn Fn(&std::ops::Range<usize>) -> usize| kinds(space).iter().map(of).max().unwrap_or(0);
        let decisions =
            [most(&|rows| undecided(offered, rows).len()), most(&|rows| crowded(space, offered, rows).len())];
        let none = candidates.column(OpName::NONE).filter(|_| !Incoming::of(space).is_empty());
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        Self { config: config.clone(), alpha, decisions, none }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::space::{Darts, NasBench201};

    #[test]
    fn every_edge_is_decided_and_then_every_crowded_node() {
        let names = |space: &'static dyn SearchSpace| {
            let (mut config, candidates) = (DartsPtConfig::default(), Candidates::all(space));
            DartsPt::check(&mut config, &candidates).unwrap();
            let method = DartsPt::new(&config, &candidates, &mut ChaCha8Rng::seed_from_u64(1));
            let phases = method.schedule().phases;
            let last = phases[phases.len() - 1].name.clone();
            (phases[0].epochs, phases.len(), last, method.phase(0).learning_rate, method.phase(1).learning_rate)
        };
        let constant = Some(PhaseRate::Own(Cosine { max: 0.0025, min: 0.0025, epochs: 5 }));
        assert_eq!(names(&NasBench201), (100, 7, "operation 6".to_owned(), None, constant));
        assert_eq!(names(&Darts::Original), (50, 18, "edges 3".to_owned(), None, constant));
    }
}
