//! P-DARTS (Chen, Xie, Wu, Tian, 2019, arXiv 1904.12760).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    run::{At, Flow, Schedule},
    search::{
        Candidates, Context, OneShot, PhaseRate, PhaseSettings, Published, SearchError, Strategy, Unsuitable, column,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, HardPrune, Incoming, Mixture, Relaxation, Removal, SkipDropout,
            by_largest, checks,
        },
    },
    space::{Genotype, OpName, SearchSpace},
    supernet::{Mask, OpAt, PerOp},
};

/// Stages of a search.
const STAGES: usize = 3;

/// Settings of P-DARTS, `[strategy.p-darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `stage_epochs` | 25 | >= 1 | epochs of each of the three stages; P-DARTS |
/// | `frozen_epochs` | 10 | < `stage_epochs` | epochs at the start of each stage in which omega alone is trained; P-DARTS |
/// | `added_cells` | []: [0, 1, 2], in the DARTS space [0, 6, 12] | three numbers, none less than the one before | cells of each stage beside `supernet.cells_per_stage` (with 5: 5, 11, 17); the authors' code |
/// | `dropped` | []: two that leave 5/8, then 3/8 of the operations | two numbers of sum < \|O\| | operations that go from each edge after the first and after the second stage; 8, 5 and 3 operations in P-DARTS |
/// | `skip_dropout` | [0.1, 0.4, 0.7] | [0, 1) each | probability, at the start of each stage, of dropping `skip_connect` of an edge in all cells for a step. It falls linearly, and from the first epoch that trains alpha on from the initial value again with exp(-0.2 t); the authors' code |
/// | `max_skips` | 2 | >= 0 | most skip connections of the (normal) cell; P-DARTS |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | in every stage anew; the authors' code |
/// | `alpha_clip_norm` | 5.0 | > 0 | largest norm of alpha's gradient; the authors' code |
/// | `alpha_learning_rate` | 6e-4 | > 0 | of Adam; P-DARTS |
/// | `alpha_betas` | [0.5, 0.999] | [0, 1) each | of Adam; P-DARTS |
/// | `alpha_weight_decay` | 1e-3 | >= 0 | of Adam, added to the gradient; P-DARTS |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PDartsConfig {
    /// Epochs of a stage.
    pub stage_epochs: usize,
    /// Epochs at the start of a stage in which omega alone is trained.
    pub frozen_epochs: usize,
    /// Cells of each stage beside those of the search.
    pub added_cells: Vec<usize>,
    /// Operations that go from each edge after the first stages.
    pub dropped: Vec<usize>,
    /// Initial probability of dropping `skip_connect`, stage by stage.
    pub skip_dropout: [f64; STAGES],
    /// Most skip connections of the first kind of cell.
    pub max_skips: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Largest norm of alpha's gradient.
    pub alpha_clip_norm: f64,
    /// Step size of alpha's optimiser.
    pub alpha_learning_rate: f64,
    /// Decay of its running means.
    pub alpha_betas: [f64; 2],
    /// Its L2 penalty.
    pub alpha_weight_decay: f64,
}

impl Default for PDartsConfig {
    fn default() -> Self {
        Self {
            stage_epochs: 25,
            frozen_epochs: 10,
            added_cells: vec![],
            dropped: vec![],
            skip_dropout: [0.1, 0.4, 0.7],
            max_skips: 2,
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_clip_norm: 5.0,
            alpha_learning_rate: 6e-4,
            alpha_betas: [0.5, 0.999],
            alpha_weight_decay: 1e-3,
        }
    }
}

impl PDartsConfig {
    fn adam(&self) -> AdamConfig {
        AdamConfig {
            learning_rate: self.alpha_learning_rate,
            betas: self.alpha_betas,
            weight_decay: self.alpha_weight_decay,
            ..Default::default()
        }
    }

    /// Writes out what depends on space and operations.
    fn settle(&mut self, candidates: &Candidates) {
        if self.added_cells.is_empty() {
            let keeps_all = Incoming::of(candidates.space()).is_empty();
            self.added_cells = if keeps_all { vec![0, 1, 2] } else { vec![0, 6, 12] };
        }
        if self.dropped.is_empty() {
            let most = candidates.most();
            let [first, second] = [5, 3].map(|eighths| ((eighths * most + 4) / 8).max(1));
            self.dropped = vec![most - first, first - second];
        }
    }

    fn check_lists(&self, candidates: &Candidates) -> Result<(), Unsuitable> {
        let PDartsConfig { added_cells, dropped, .. } = self;
        if added_cells.len() != STAGES || !added_cells.is_sorted() {
            return Err(Unsuitable::new(
                format!("added_cells = {added_cells:?}, expected three numbers, none less than the one before"),
                "one number for each stage, as added_cells = [0, 6, 12]",
            ));
        }
        let (gone, most) = (dropped.iter().fold(0, |sum: usize, &n| sum.saturating_add(n)), candidates.most());
        if dropped.len() != STAGES - 1 || gone >= most {
            return Err(Unsuitable::new(
                format!(
                    "dropped = {dropped:?}, expected two numbers of sum less than the {most} operations of an edge"
                ),
                "one number for each stage but the last, as dropped = [3, 2]",
            ));
        }
        match self.skip_dropout.iter().find(|p| !(0.0..1.0).contains(*p)) {
            Some(p) => Err(Unsuitable::new(
                format!("skip_dropout holds {p}, expected at least 0 and less than 1"),
                "omit it to use the default",
            )),
            None => Ok(()),
        }
    }
}

/// A search in three stages, each with a deeper supernet made anew of fewer operations.
#[derive(Debug)]
pub struct PDarts {
    config: PDartsConfig,
    mixture: Mixture,
    skip: Option<usize>,
    none: Option<usize>,
    /// What alpha starts from, stage by stage.
    initial: Vec<PerOp<f64>>,
    alpha: Alpha,
}

impl PDarts {
    fn fresh(config: &PDartsConfig, mixture: &Mixture, initial: &PerOp<f64>) -> Alpha {
        Alpha::new(initial.clone(), mixture.clone(), config.adam()).clipped(config.alpha_clip_norm)
    }

    /// Probability of dropping `skip_connect` in an epoch.
    fn dropout(&self, at: &At) -> f64 {
        let initial = self.config.skip_dropout[at.phase];
        match at.within.checked_sub(self.config.frozen_epochs) {
            None => initial * (at.length - at.within - 1) as f64 / at.length as f64,
            Some(trained) => initial * (-0.2 * trained as f64).exp(),
        }
    }

    /// Operations of the smallest weights of each edge, as many as go after a stage. One but `none` stays.
    fn weakest(&self, mask: &Mask, count: usize) -> Vec<OpAt> {
        let w = self.alpha.weights(mask);
        let edge = |row: usize| -> Vec<OpAt> {
            let mut left: Vec<usize> = (0..mask.ops()).filter(|&op| mask[(row, op)]).collect();
            let mut gone = vec![];
            for _ in 0..count.min(left.len().saturating_sub(1)) {
                let stays = |op: usize| left.iter().any(|&other| other != op && Some(other) != self.none);
                let open = left.iter().copied().filter(|&op| stays(op));
                let Some(op) = open.reduce(|least, op| if w[(row, op)] < w[(row, least)] { op } else { least }) else {
                    break;
                };
                left.retain(|&other| other != op);
                gone.push((row, op));
            }
            gone
        };
        (0..mask.edges()).flat_map(edge).collect()
    }

    /// The cell of the largest weights without `none`, in which skip connections lose their weight, the least one first, until the
    /// first kind of cell has no more than there may be.
    fn restricted(&self, space: &dyn SearchSpace, mask: &Mask) -> Result<Genotype, SearchError> {
        let mut w = self.alpha.weights(mask);
        let mut allowed = mask.clone();
        for row in 0..mask.edges() {
            let others = (0..mask.ops()).any(|op| mask[(row, op)] && Some(op) != self.none);
            if let Some(none) = self.none.filter(|_| others) {
                allowed[(row, none)] = false;
            }
        }
        loop {
            let cell = by_largest(space, &allowed, &w, &w)?;
            let (kind, edges) = (&space.kinds()[0].edges, &cell.cells[0].edges);
            let skips = edges.iter().filter(|edge| edge.op == OpName::SKIP_CONNECT);
            let rows: Vec<usize> =
                skips.filter_map(|edge| kind.iter().position(|of| (of.from, of.to) == (edge.from, edge.to))).collect();
            let weighted = rows.iter().filter_map(|&row| Some((row, self.skip?))).filter(|&at| w[at] > 0.0);
            match weighted.reduce(|least, at| if w[at] < w[least] { at } else { least }) {
                Some(at) if rows.len() > self.config.max_skips => w[at] = 0.0,
                _ => return Ok(cell),
            }
        }
    }
}

impl OneShot for PDarts {
    fn schedule(&self) -> Schedule {
        Schedule::new((1..=STAGES).map(|stage| (format!("stage {stage}"), self.config.stage_epochs)))
    }

    fn phase(&self, phase: usize) -> PhaseSettings {
        let added_cells = Some(self.config.added_cells[phase]);
        PhaseSettings { added_cells, learning_rate: Some(PhaseRate::Anew), ..PhaseSettings::default() }
    }

    fn begin(&mut self, at: &At, _cx: &mut Context<'_>) -> Result<(), SearchError> {
        if at.within == 0 {
            self.alpha = Self::fresh(&self.config, &self.mixture, &self.initial[at.phase]);
        }
        Ok(())
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let probability = self.dropout(at);
        let dropout = self.skip.map(|op| SkipDropout { op, probability });
        self.alpha.relax_by(Mixture { dropout, ..self.mixture.clone() });
        let frozen = at.within < self.config.frozen_epochs;
        let update = if frozen { AlphaUpdate::None } else { AlphaUpdate::Bilevel };
        update.step(&mut self.alpha, cx)
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        let Some(&count) = self.config.dropped.get(at.phase).filter(|_| at.ends_phase()) else { return Ok(Flow::Go) };
        let removed = self.weakest(cx.mask(), count);
        self.alpha.remove(&removed, cx.mask());
        cx.remove(&removed);
        cx.record(&HardPrune::new(at, cx.op_names(&removed), cx.ops_left()))?;
        Ok(Flow::Go)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        self.restricted(cx.space(), cx.mask())
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn weights_without(&self, mask: &Mask, out: &[OpAt]) -> PerOp<f64> {
        self.alpha.weights_without(mask, out)
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

impl Strategy for PDarts {
    type Config = PDartsConfig;

    const ABOUT: &'static str = "three stages, each with a deeper supernet made anew of fewer operations";

    const SOURCE: &'static str = "Chen, Xie, Wu, Tian: Progressive Differentiable Architecture Search: Bridging the Depth Gap between Search and Evaluation, arXiv 1904.12760";

    const SHORT: &'static [&'static str] = &["stage_epochs=2", "frozen_epochs=1", "added_cells=[0, 1, 1]"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "darts",
        source: "chenxin061/pdarts, train_search.py",
        settings: &[
            "supernet.cells_per_stage = 5",
            "training.batch_size = 96",
            "training.learning_rate_min = 0.0",
            "strategy.p-darts.stage_epochs = 25",
            "strategy.p-darts.frozen_epochs = 10",
            "data.split = \"first-half\"",
        ],
    }];

    fn check(config: &mut PDartsConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        config.settle(candidates);
        if config.frozen_epochs >= config.stage_epochs {
            let PDartsConfig { frozen_epochs, stage_epochs, .. } = config;
            return Err(Unsuitable::new(
                format!(
                    "frozen_epochs = {frozen_epochs} leave no epoch of stage_epochs = {stage_epochs} to train alpha in"
                ),
                "frozen_epochs must be less than stage_epochs",
            ));
        }
        config.check_lists(candidates)?;
        checks::positive("alpha_clip_norm", config.alpha_clip_norm)?;
        match config.adam().fault() {
            Some(fault) => Err(Unsuitable::new(format!("alpha_{fault}"), "omit it to use the default")),
            None => Ok(()),
        }
    }

    fn new(config: &PDartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let initial: Vec<_> = (0..STAGES).map(|_| config.alpha_init.values(candidates.offered(), rng)).collect();
        // The operations that are left share the whole weight of their edge.
        let mixture = Mixture { removal: Removal::Renormalise, ..Mixture::new(candidates, Relaxation::Softmax) };
        Self {
            config: config.clone(),
            skip: candidates.column(OpName::SKIP_CONNECT),
            none: column(candidates.space(), OpName::NONE),
            alpha: Self::fresh(config, &mixture, &initial[0]),
            mixture,
            initial,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::space::{Darts, NasBench201};

    fn settled(config: PDartsConfig, space: &'static dyn SearchSpace) -> Result<PDartsConfig, Unsuitable> {
        let mut config = config;
        PDarts::check(&mut config, &Candidates::all(space)).map(|()| config)
    }

    fn p_darts(space: &'static dyn SearchSpace) -> PDarts {
        let config = settled(PDartsConfig::default(), space).unwrap();
        PDarts::new(&config, &Candidates::all(space), &mut ChaCha8Rng::seed_from_u64(1))
    }

    fn with_alpha(space: &'static dyn SearchSpace, values: PerOp<f64>) -> PDarts {
        let mut method = p_darts(space);
        method.alpha = PDarts::fresh(&method.config, &method.mixture, &values);
        method
    }

    #[test]
    fn depths_and_operations_are_those_of_the_source_in_its_space() {
        let darts = settled(PDartsConfig::default(), &Darts::Original).unwrap();
        assert_eq!((darts.added_cells, darts.dropped), (vec![0, 6, 12], vec![3, 2]));
        let bench = settled(PDartsConfig::default(), &NasBench201).unwrap();
        assert_eq!((bench.added_cells, bench.dropped), (vec![0, 1, 2], vec![2, 1]));
    }

    #[test]
    fn dropout_falls_linearly_and_then_exponentially() {
        let method = p_darts(&Darts::Original);
        let at = |phase, within| At { epoch: 25 * phase + within, phase, name: String::new(), within, length: 25 };
        let p = |phase, within| method.dropout(&at(phase, within));
        assert!((p(0, 0) - 0.1 * 24.0 / 25.0).abs() < 1e-15 && (p(2, 9) - 0.7 * 15.0 / 25.0).abs() < 1e-15);
        assert_eq!(p(1, 10), 0.4);
        assert!((p(1, 15) - 0.4 * (-1.0_f64).exp()).abs() < 1e-15);
    }

    #[test]
    fn the_weakest_go_and_an_edge_keeps_more_than_none() {
        let mut values = PerOp::filled(6, 5, 0.0);
        values.row_mut(0).copy_from_slice(&[0.3, 0.1, -0.2, 0.5, 0.4]);
        values.row_mut(1).copy_from_slice(&[9.0, 0.1, 0.2, 0.0, 0.0]);
        let method = with_alpha(&NasBench201, values);
        let mut mask = Mask::filled(6, 5, true);
        mask.row_mut(1).copy_from_slice(&[true, true, true, false, false]);
        mask.row_mut(2).copy_from_slice(&[false, true, false, false, false]);
        let gone = method.weakest(&mask, 2);
        let of = |row: usize| gone.iter().filter(|at| at.0 == row).map(|at| at.1).collect::<Vec<_>>();
        assert_eq!((of(0), of(1), of(2)), (vec![2, 1], vec![1, 0], vec![]));
    }

    #[test]
    fn a_cell_has_at_most_so_many_skip_connections() {
        for space in [&NasBench201 as &'static dyn SearchSpace, &Darts::Original] {
            let mask = Candidates::all(space).offered().clone();
            let skip = column(space, OpName::SKIP_CONNECT).unwrap();
            let mut values = PerOp::filled(mask.edges(), mask.ops(), 0.0);
            for row in 0..mask.edges() {
                values[(row, skip)] = 1.0 + 0.1 * (row % 14) as f64;
                values[(row, 0)] = 5.0;
                values[(row, mask.ops() - 1)] = 0.5;
            }
            let method = with_alpha(space, values);
            let skips = |genotype: &Genotype, kind: usize| {
                genotype.cells[kind].edges.iter().filter(|edge| edge.op == OpName::SKIP_CONNECT).count()
            };
            let cell = method.restricted(space, &mask).unwrap();
            assert_eq!(skips(&cell, 0), 2);
            assert!(cell.cells.iter().flat_map(|cell| &cell.edges).all(|edge| edge.op != OpName::NONE));
            if cell.cells.len() > 1 {
                assert_eq!(skips(&cell, 1), 8, "the reduction cell is let be");
            }
            // Where there is nothing else they stay.
            let mut alone = mask.map(|_| false);
            (0..mask.edges()).for_each(|row| alone[(row, skip)] = true);
            assert!(skips(&method.restricted(space, &alone).unwrap(), 0) > 2);
        }
    }

    #[test]
    fn lists_that_make_no_stages_are_refused() {
        let why = |config: PDartsConfig| settled(config, &NasBench201).unwrap_err().why;
        let usual = PDartsConfig::default;
        assert!(
            why(PDartsConfig { added_cells: vec![0, 6], ..usual() })
                .starts_with("added_cells = [0, 6], expected three")
        );
        assert!(why(PDartsConfig { added_cells: vec![6, 0, 7], ..usual() }).starts_with("added_cells = [6, 0, 7]"));
        assert!(why(PDartsConfig { dropped: vec![3, 2], ..usual() }).contains("less than the 5 operations"));
        assert!(why(PDartsConfig { skip_dropout: [0.1, 0.4, 1.0], ..usual() }).starts_with("skip_dropout holds 1,"));
        assert!(why(PDartsConfig { frozen_epochs: 25, ..usual() }).starts_with("frozen_epochs = 25 leave no epoch"));
    }
}
