use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{alpha::Alpha, checks, curvature, events::Eigenvalue};
use crate::{
    numbers::Number,
    run::{At, Flow},
    search::{Candidates, Unsuitable, context::Context, error::SearchError},
    space::{Genotype, OpName},
    supernet::PerOp,
};

/// By what a search ends before its last epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopRule {
    /// It does not.
    #[default]
    None,
    /// The cell has too many skip connections (DARTS+, criterion 1).
    Skips,
    /// The ranking of the operations with weights is stable (DARTS+, criterion 1*).
    Ranking,
    /// The largest eigenvalue of the Hessian of the validation loss with respect to alpha grows fast (R-DARTS).
    Eigenvalue,
}

/// When a search ends before its last epoch. A setting of another rule than the chosen one is refused.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `rule` | `none` (DARTS+: `skips`) | `skips`: the cell (the normal one) has too many skip connections; `ranking`: on no edge the order of the operations with weights has changed for some epochs; `eigenvalue`: the largest eigenvalue of the Hessian of the validation loss with respect to alpha grows fast | DARTS+; R-DARTS |
/// | `skips` | 2 | >= 1 | of `skips`: as many are too many; DARTS+ |
/// | `stable_epochs` | 10 | >= 1 | of `ranking`: epochs without a change; DARTS+ |
/// | `window` | 5 | >= 1 | of `eigenvalue`: epochs that a mean is taken over; R-DARTS' code |
/// | `distance` | 4 | >= 1 | of `eigenvalue`: epochs between the two means that are compared; R-DARTS' code |
/// | `ratio` | 1.3 | > 1 | of `eigenvalue`: the later mean divided by the earlier one, above which the search ends; R-DARTS |
/// | `first_epoch` | 0: 1, for `eigenvalue` 10 | 0 to the epochs of the search | first epoch, counted from 1, whose cell may be the result; R-DARTS' code |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EarlyStopConfig {
    /// By what.
    pub rule: StopRule,
    /// Skip connections that are too many.
    pub skips: usize,
    /// Epochs without a change of the ranking.
    pub stable_epochs: usize,
    /// Epochs that a mean of eigenvalues is taken over.
    pub window: usize,
    /// Epochs between the means.
    pub distance: usize,
    /// Growth from one mean to the other that is too much.
    pub ratio: f64,
    /// First epoch whose cell may be the result, counted from 1; 0: that of the source.
    pub first_epoch: usize,
}

impl Default for EarlyStopConfig {
    fn default() -> Self {
        Self { rule: StopRule::None, skips: 2, stable_epochs: 10, window: 5, distance: 4, ratio: 1.3, first_epoch: 0 }
    }
}

impl EarlyStopConfig {
    /// Checks a search whose alpha is trained after `warmup` of `epochs`, and writes out the first epoch.
    ///
    /// # Errors
    /// What is out of range, has no effect or can never happen, with the values.
    pub fn check(&mut self, candidates: &Candidates, warmup: usize, epochs: usize) -> Result<(), Unsuitable> {
        self.idle()?;
        for (name, count) in [
            ("skips", self.skips),
            ("stable_epochs", self.stable_epochs),
            ("window", self.window),
            ("distance", self.distance),
        ] {
            checks::at_least(&format!("early_stop.{name}"), count as f64, 1.0)?;
        }
        if !(self.ratio.is_finite() && self.ratio > 1.0) {
            let why = format!("early_stop.ratio = {}, expected more than 1", self.ratio);
            return Err(Unsuitable::new(why, "omit it to use the default"));
        }
        if self.rule == StopRule::None {
            return Ok(());
        }
        if self.first_epoch == 0 {
            self.first_epoch = if self.rule == StopRule::Eigenvalue { 10 } else { 1 }.max(warmup + 1);
        }
        if !(warmup + 1..=epochs).contains(&self.first_epoch) {
            return Err(Unsuitable::new(
                format!("early_stop.first_epoch = {} is no epoch that trains alpha", self.first_epoch),
                format!("expected {} to {epochs}; early_stop.rule = \"none\" searches to the end", warmup + 1),
            ));
        }
        self.possible(candidates)
    }

    /// Refuses settings that the rule does not look at.
    fn idle(&self) -> Result<(), Unsuitable> {
        let usual = Self::default();
        let eigenvalue = [
            ("window", self.window != usual.window),
            ("distance", self.distance != usual.distance),
            ("ratio", self.ratio != usual.ratio),
        ];
        let of_rules = [
            (StopRule::Skips, "skips", self.skips != usual.skips),
            (StopRule::Ranking, "stable_epochs", self.stable_epochs != usual.stable_epochs),
        ]
        .into_iter()
        .chain(eigenvalue.map(|(name, set)| (StopRule::Eigenvalue, name, set)));
        let mut idle = of_rules.filter(|(rule, _, set)| *set && *rule != self.rule).map(|(_, name, _)| name);
        let first = (self.rule == StopRule::None && self.first_epoch != 0).then_some("first_epoch");
        match idle.next().or(first) {
            Some(name) => Err(Unsuitable::new(
                format!("early_stop.{name} has no effect with early_stop.rule = {}", json!(self.rule)),
                format!("omit early_stop.{name}, or choose a rule that has it (docs/configuration.md)"),
            )),
            None => Ok(()),
        }
    }

    /// Refuses a rule that these operations can never fulfil, or always do.
    fn possible(&self, candidates: &Candidates) -> Result<(), Unsuitable> {
        let hint = "choose another early_stop.rule, or other space.ops";
        let ranked = ranking(candidates, &candidates.offered().map(|_| 0.0));
        match self.rule {
            StopRule::Skips if candidates.column(OpName::SKIP_CONNECT).is_none() => {
                Err(Unsuitable::new("early_stop.rule = \"skips\", but no edge has `skip_connect`", hint))
            }
            StopRule::Ranking if ranked.iter().all(|ops| ops.len() < 2) => Err(Unsuitable::new(
                "early_stop.rule = \"ranking\", but no edge has two operations with weights to rank",
                hint,
            )),
            _ => Ok(()),
        }
    }
}

/// The operations with weights of each edge, the largest alpha first; of equal ones in their order.
fn ranking(candidates: &Candidates, alpha: &PerOp<f64>) -> Vec<Vec<usize>> {
    let ops = candidates.space().ops();
    let edge = |(alpha, offered): (&[f64], &[bool])| {
        let mut ranked: Vec<usize> = (0..ops.len()).filter(|&op| offered[op] && ops[op].has_weights()).collect();
        ranked.sort_by(|&a, &b| alpha[b].total_cmp(&alpha[a]));
        ranked
    };
    alpha.rows().zip(candidates.offered().rows()).map(edge).collect()
}

/// Skip connections of the first kind of cell, which is the normal one where there are several.
fn skips(genotype: &Genotype) -> usize {
    let edges = genotype.cells.first().map_or(&[][..], |cell| &cell.edges);
    edges.iter().filter(|edge| edge.op == OpName::SKIP_CONNECT).count()
}

/// What the end of an epoch shows.
#[derive(Clone, Debug)]
pub struct Observed {
    genotype: Genotype,
    ranking: Vec<Vec<usize>>,
    eigenvalue: Option<f64>,
}

/// Ends a search early; it remembers what its rule needs of the epochs before.
#[derive(Clone, Debug)]
pub struct EarlyStop {
    config: EarlyStopConfig,
    candidates: Candidates,
    past: Past,
}

/// Of the epochs that have been, the last one last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Past {
    ranking: Vec<Vec<usize>>,
    /// Epochs that the ranking has stood for.
    stood: usize,
    eigenvalues: Vec<Number>,
    /// The cells that the epochs of the eigenvalues would have derived.
    genotypes: Vec<Genotype>,
    /// The cell of an earlier epoch that the search goes back to.
    result: Option<Genotype>,
}

impl EarlyStop {
    /// Of a checked configuration.
    pub fn new(config: &EarlyStopConfig, candidates: &Candidates) -> Self {
        Self { config: config.clone(), candidates: candidates.clone(), past: Past::default() }
    }

    /// The cell of an earlier epoch, where the search has gone back to one.
    pub fn result(&self) -> Option<&Genotype> {
        self.past.result.as_ref()
    }

    /// Looks at the end of an epoch; `genotype` is the cell that it would derive.
    ///
    /// # Errors
    /// An eigenvalue that is not a number; an interruption; whatever the engine refuses.
    pub fn observe(
        &self,
        alpha: &Alpha,
        genotype: Genotype,
        at: &At,
        cx: &mut Context<'_>,
    ) -> Result<Observed, SearchError> {
        let mut eigenvalue = None;
        if self.config.rule == StopRule::Eigenvalue {
            let value = curvature::largest_eigenvalue(alpha, cx)?;
            cx.record(&Eigenvalue::new(at, value, cx.batch_size()))?;
            eigenvalue = Some(value);
        }
        Ok(Observed { genotype, ranking: ranking(&self.candidates, alpha.values()), eigenvalue })
    }

    /// Takes in what the end of an epoch has shown, and decides.
    pub fn decide(&mut self, at: &At, observed: Observed) -> Flow {
        let reason = match self.config.rule {
            StopRule::None => None,
            StopRule::Skips => self.too_many_skips(at, &observed.genotype),
            StopRule::Ranking => self.stable(at, observed.ranking),
            StopRule::Eigenvalue => self.grown(at, observed),
        };
        reason.map_or(Flow::Go, Flow::Finish)
    }

    fn too_many_skips(&self, at: &At, genotype: &Genotype) -> Option<String> {
        let skips = skips(genotype);
        let ends = skips >= self.config.skips && at.epoch + 1 >= self.config.first_epoch;
        ends.then(|| format!("the cell has {skips} skip connections"))
    }

    fn stable(&mut self, at: &At, ranking: Vec<Vec<usize>>) -> Option<String> {
        self.past.stood = if ranking == self.past.ranking { self.past.stood + 1 } else { 0 };
        self.past.ranking = ranking;
        let stood = self.past.stood;
        let ends = stood >= self.config.stable_epochs && at.epoch + 1 >= self.config.first_epoch;
        ends.then(|| format!("the ranking of the operations with weights has stood for {stood} epochs"))
    }

    /// A mean belongs to the middle of its window; the search goes back to that of the earlier one.
    fn grown(&mut self, at: &At, observed: Observed) -> Option<String> {
        let EarlyStopConfig { window, distance, ratio, first_epoch, .. } = self.config;
        let value = observed.eigenvalue?;
        self.past.eigenvalues.push(Number(value));
        self.past.genotypes.push(observed.genotype);
        let known = self.past.eigenvalues.len();
        let begin = known.checked_sub(window + distance)?;
        let mean = |from: usize| {
            let values = &self.past.eigenvalues[from..from + window];
            values.iter().map(|value| value.0).sum::<f64>() / window as f64
        };
        let (before, now) = (mean(begin), mean(begin + distance));
        let middle = begin + (window - 1) / 2;
        // Epochs without eigenvalues, those of a warm-up, come first.
        let epoch = at.epoch + 1 - known + middle + 1;
        if epoch < first_epoch || !(before > 0.0 && now > ratio * before) {
            return None;
        }
        self.past.result = Some(self.past.genotypes[middle].clone());
        Some(format!(
            "the largest eigenvalue has grown from {before:.3} to {now:.3} in {distance} epochs (means of {window}); the cell is that of epoch {epoch}"
        ))
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!(self.past)
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// What is not one.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.past = Deserialize::deserialize(state).map_err(|e| format!("early stop: {e}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        search::OpSets,
        space::{Darts, NasBench201},
    };

    fn stop(config: EarlyStopConfig) -> EarlyStop {
        let (mut config, candidates) = (config, Candidates::all(&NasBench201));
        config.check(&candidates, 0, 50).unwrap();
        EarlyStop::new(&config, &candidates)
    }

    fn of(rule: StopRule) -> EarlyStopConfig {
        EarlyStopConfig { rule, ..Default::default() }
    }

    fn at(epoch: usize) -> At {
        At { epoch, phase: 0, name: "search".to_owned(), within: epoch, length: 50 }
    }

    fn cell(ops: [usize; 6]) -> Genotype {
        let chosen: Vec<_> = ops.into_iter().enumerate().collect();
        Genotype::from_choices(&NasBench201, &[&chosen]).unwrap()
    }

    fn observed(ops: [usize; 6], eigenvalue: f64) -> Observed {
        Observed { genotype: cell(ops), ranking: vec![], eigenvalue: Some(eigenvalue) }
    }

    #[test]
    fn too_many_skip_connections_end_the_search() {
        let mut stop = stop(EarlyStopConfig { first_epoch: 3, ..of(StopRule::Skips) });
        assert_eq!(stop.decide(&at(2), observed([0, 1, 2, 3, 4, 3], 0.0)), Flow::Go);
        assert_eq!(stop.decide(&at(1), observed([1, 1, 2, 3, 1, 3], 0.0)), Flow::Go);
        let reason = "the cell has 3 skip connections".to_owned();
        assert_eq!(stop.decide(&at(2), observed([1, 1, 2, 3, 1, 3], 0.0)), Flow::Finish(reason));
    }

    #[test]
    fn a_ranking_that_stands_ends_the_search_and_a_change_counts_anew() {
        let mut stop = stop(EarlyStopConfig { stable_epochs: 3, ..of(StopRule::Ranking) });
        let mut alpha = PerOp::filled(6, 5, 0.0);
        let mut epochs = vec![];
        for epoch in 0..12 {
            // Operations without weights have no part in it, and neither has the size of alpha.
            alpha[(4, 1)] = f64::from(epoch % 3);
            alpha[(2, 3)] = if epoch < 2 { -0.1 } else { 0.1 * f64::from(epoch) };
            let ranking = ranking(&Candidates::all(&NasBench201), &alpha);
            assert_eq!(ranking[2], if epoch < 2 { [2, 3] } else { [3, 2] });
            let observed = Observed { genotype: cell([3; 6]), ranking, eigenvalue: None };
            if stop.decide(&at(epoch as usize), observed) != Flow::Go {
                epochs.push(epoch);
            }
        }
        // The order of epoch 2 has stood for three epochs after epoch 5.
        assert_eq!(epochs[0], 5);
    }

    #[test]
    fn a_fast_growth_of_the_eigenvalue_goes_back_to_the_cell_before_it() {
        let mut stop = stop(EarlyStopConfig { window: 3, distance: 2, first_epoch: 2, ..of(StopRule::Eigenvalue) });
        let values = [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2];
        // Each epoch would derive another cell.
        let cell_of = |epoch: usize| [2, epoch % 5, 3, 3, 3, 2];
        for (epoch, value) in values.iter().enumerate() {
            // From the 13th epoch on, a warm-up of 12 came before.
            let flow = stop.decide(&at(12 + epoch), observed(cell_of(epoch), *value));
            if epoch < 6 {
                assert_eq!((flow, stop.result()), (Flow::Go, None), "{epoch}");
                continue;
            }
            // The means of epochs 3 to 5 and 5 to 7 are 0.1 and 0.1333.
            let Flow::Finish(reason) = flow else { panic!("{flow:?}") };
            assert!(
                reason.contains("from 0.100 to 0.133 in 2 epochs") && reason.ends_with("that of epoch 16"),
                "{reason}"
            );
            assert_eq!(stop.result(), Some(&cell(cell_of(3))));
        }
    }

    #[test]
    fn an_epoch_before_the_first_is_not_gone_back_to() {
        let mut stop = stop(of(StopRule::Eigenvalue));
        let flows: Vec<bool> = (0..20)
            .map(|epoch| stop.decide(&at(epoch), observed([3; 6], 1.1_f64.powi(epoch as i32))) != Flow::Go)
            .collect();
        // In the 16th epoch the earlier mean is of epochs 8 to 12, whose middle is the tenth.
        assert_eq!(flows.iter().position(|ends| *ends), Some(15));
    }

    #[test]
    fn what_has_no_effect_or_cannot_be_is_refused() {
        let all = Candidates::all(&NasBench201);
        let why =
            |mut config: EarlyStopConfig, candidates: &Candidates| config.check(candidates, 5, 50).unwrap_err().why;
        let usual = EarlyStopConfig::default;
        assert_eq!(
            why(EarlyStopConfig { ratio: 1.5, ..of(StopRule::Skips) }, &all),
            "early_stop.ratio has no effect with early_stop.rule = \"skips\""
        );
        assert!(why(EarlyStopConfig { first_epoch: 3, ..usual() }, &all).starts_with("early_stop.first_epoch has no"));
        assert_eq!(
            why(EarlyStopConfig { ratio: 1.0, ..of(StopRule::Eigenvalue) }, &all),
            "early_stop.ratio = 1, expected more than 1"
        );
        let early = EarlyStopConfig { first_epoch: 5, ..of(StopRule::Skips) };
        assert_eq!(why(early, &all), "early_stop.first_epoch = 5 is no epoch that trains alpha");
        let ops = |ops: &[OpName]| Candidates::new(&Darts::Original, Some(&OpSets::All(ops.to_vec()))).unwrap();
        let without = ops(&[OpName::NONE, OpName::SEP_CONV_3X3]);
        assert!(why(of(StopRule::Skips), &without).ends_with("no edge has `skip_connect`"));
        assert!(why(of(StopRule::Ranking), &without).ends_with("no edge has two operations with weights to rank"));
        let mut config = of(StopRule::Eigenvalue);
        config.check(&all, 20, 50).unwrap();
        assert_eq!(config.first_epoch, 21);
    }
}
