//! VP-DARTS (validated pruning), as the code of SP-DARTS and SRP-DARTS has it (scitepress 122967).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    limits::AtMost,
    numbers::Number,
    run::{At, Flow, Schedule},
    search::{
        Candidates, Context, OneShot, Published, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, Importance, ImportanceConfig, ImportanceTable, Mixture,
            NoneRule, Performance, Pruner, Relaxation, SkipDropout, SoftPrune, Sweep, Swept, by_largest, checks,
        },
    },
    space::{Genotype, OpName},
    supernet::{Mask, OpAt, PerOp},
};

/// Settings of VP-DARTS, `[strategy.vp-darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `warmup_epochs` | 20 | >= 0 | epochs at the start in which omega alone is trained; the authors' code |
/// | `prune_epochs` | 30 | >= 1 | epochs that begin with a sweep and a pruning; the authors' code |
/// | `recovery` | `soft` (SRP-DARTS: times a factor that falls from 1 to 0) | `hard` (SP-DARTS: set to 0) | what becomes of the alpha of all but the most important operation of an edge; it is then trained and may grow back |
/// | `skip_dropout` | 0.2 | [0, 1) | drops `skip_connect` of an edge in all cells for a step; the authors' code (single activations) |
/// | `alpha_init` | `constant` (1/\|O\|) | `normal(1e-3)` | the authors' code |
/// | `importance` | | | table, see [`ImportanceConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VpDartsConfig {
    /// Epochs in which omega alone is trained.
    pub warmup_epochs: usize,
    /// Epochs with a pruning.
    pub prune_epochs: usize,
    /// What a pruning does.
    pub recovery: Recovery,
    /// Probability of dropping `skip_connect` while training.
    pub skip_dropout: f64,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// How an importance is measured.
    pub importance: ImportanceConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

/// What becomes of the alpha of an unimportant operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recovery {
    /// It is multiplied by a factor that falls linearly from 1 to 0.
    #[default]
    Soft,
    /// It is set to 0.
    Hard,
}

impl Recovery {
    /// Factor on alpha in a pruning epoch, counted from 0.
    fn factor(self, epoch: usize, epochs: usize) -> f64 {
        match (self, epochs.saturating_sub(1)) {
            (Self::Hard, _) => 0.0,
            (Self::Soft, 0) => 1.0,
            (Self::Soft, steps) => 1.0 - epoch as f64 / steps as f64,
        }
    }
}

impl Default for VpDartsConfig {
    fn default() -> Self {
        Self {
            warmup_epochs: 20,
            prune_epochs: 30,
            recovery: Recovery::Soft,
            skip_dropout: 0.2,
            alpha_init: AlphaInit::Constant,
            importance: ImportanceConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// Alpha itself weighs the operations; what is unimportant by the accuracy without it is decayed every epoch.
#[derive(Debug)]
pub struct VpDarts {
    config: VpDartsConfig,
    alpha: Alpha,
    /// Importances of the last sweep of all, by which the cell is chosen.
    last: Option<PerOp<Option<Number>>>,
}

impl VpDarts {
    fn measure(&self, config: &ImportanceConfig, cx: &mut Context<'_>) -> Result<ImportanceTable, SearchError> {
        let without = |mask: &Mask, out: &[OpAt]| self.alpha.weights_without(mask, out);
        Importance::new(&Performance::Accuracy.into(), config).measure(cx, &without)
    }
}

impl OneShot for VpDarts {
    fn schedule(&self) -> Schedule {
        Schedule::new([("warm-up", self.config.warmup_epochs), ("pruning", self.config.prune_epochs)])
    }

    fn begin(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        if at.phase == 0 {
            return Ok(());
        }
        let table = self.measure(&self.config.importance, cx)?;
        let decayed = Pruner::new(NoneRule::Scored, None).all_but_best(&table);
        let factor = self.config.recovery.factor(at.within, at.length);
        self.alpha.scale(&decayed, factor);
        cx.record(&Swept::new(at, Sweep::Soft, table))?;
        cx.record(&SoftPrune::new(at, factor, cx.op_names(&decayed)))
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let update = if at.phase == 0 { AlphaUpdate::None } else { AlphaUpdate::Bilevel };
        update.step(&mut self.alpha, cx)
    }

    /// After the last epoch once more, on all of `D_val`.
    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        if at.phase == 1 && at.ends_phase() {
            let all = ImportanceConfig { fraction: 1.0, images: AtMost::All, ..self.config.importance.clone() };
            let table = self.measure(&all, cx)?;
            self.last = Some(table.importance.clone());
            cx.record(&Swept::new(at, Sweep::Hard, table))?;
        }
        Ok(Flow::Go)
    }

    /// The most important operation of each edge, and where a space keeps fewer edges, the most important ones.
    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        let scores = match &self.last {
            Some(last) => last.map(|value| value.as_ref().map_or(f64::NEG_INFINITY, |value| value.0)),
            None => self.alpha.weights(cx.mask()),
        };
        by_largest(cx.space(), cx.mask(), &scores, &scores)
    }

    fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.alpha.weights(mask)
    }

    fn snapshot(&self) -> Option<PerOp<f64>> {
        Some(self.alpha.values().clone())
    }

    fn state(&self) -> Value {
        let mut state = self.alpha.state();
        state["last"] = json!(self.last);
        state
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)?;
        self.last = Deserialize::deserialize(&state["last"]).map_err(|e| format!("importances: {e}"))?;
        Ok(())
    }
}

impl Strategy for VpDarts {
    type Config = VpDartsConfig;

    const ABOUT: &'static str =
        "alpha itself weighs the operations; what the accuracy does not miss is decayed every epoch";

    const SOURCE: &'static str = "VP-DARTS: Validated Pruning Differentiable Architecture Search (scitepress 122967), after the authors' code of SP-DARTS and SRP-DARTS";

    const SHORT: &'static [&'static str] = &["warmup_epochs=1", "prune_epochs=3", "importance.images=64"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "nas-bench-201",
        source: "james940175/SP-DARTS, train_search.py",
        settings: &[
            "strategy.vp-darts.warmup_epochs = 20",
            "strategy.vp-darts.prune_epochs = 30",
            "data.split = \"first-half\"",
        ],
    }];

    fn check(config: &mut VpDartsConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("prune_epochs", config.prune_epochs as f64, 1.0)?;
        if !(0.0..1.0).contains(&config.skip_dropout) {
            return Err(Unsuitable::new(
                format!("skip_dropout = {}, expected at least 0 and less than 1", config.skip_dropout),
                "the authors use 0.2",
            ));
        }
        if let Some(fault) = config.importance.fault() {
            return Err(Unsuitable::new(format!("importance: {fault}"), "omit it to use the default"));
        }
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &VpDartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let probability = config.skip_dropout;
        let dropout = candidates.column(OpName::SKIP_CONNECT).map(|op| SkipDropout { op, probability });
        let mixture = Mixture { dropout, ..Mixture::new(candidates, Relaxation::Raw) };
        let alpha = Alpha::new(values, mixture, config.alpha_optimiser.clone());
        Self { config: config.clone(), alpha, last: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn the_factor_falls_from_1_to_0_or_is_0() {
        assert_eq!([0, 29].map(|epoch| Recovery::Soft.factor(epoch, 30)), [1.0, 0.0]);
        assert_eq!((Recovery::Soft.factor(0, 1), Recovery::Hard.factor(0, 30)), (1.0, 0.0));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused =
            |mut config: VpDartsConfig| VpDarts::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err().why;
        assert!(refused(VpDartsConfig { skip_dropout: 1.0, ..Default::default() }).contains("skip_dropout = 1"));
        assert!(refused(VpDartsConfig { prune_epochs: 0, ..Default::default() }).contains("prune_epochs = 0"));
        let importance = ImportanceConfig { fraction: 2.0, ..Default::default() };
        assert!(refused(VpDartsConfig { importance, ..Default::default() }).contains("importance: fraction = 2"));
    }
}
