//! HPE-DARTS: hybrid pruning and proxy evaluation (Lin, Kuo, Wang).

use std::{fmt, marker::PhantomData};

use rand_chacha::ChaCha8Rng;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    OneShot, Strategy, Unsuitable, alpha_shape, column, genotype,
    parts::{
        AdamConfig, Alpha, AlphaInit, AlphaUpdate, Criterion, Decayed, Importance, ImportanceConfig, NoneRule,
        Performance, Pruner, Relaxation, Removal, SkipDropout, Sweep, SweepMean, Sweeps,
    },
};
use crate::{
    search::{At, Context, Event, Schedule, SearchError},
    space::{Genotype, OpName, SearchSpace},
};

/// Settings of HPE-DARTS, `[strategy.hpe-darts]`.
///
/// | name | default | range | source |
/// |---|---|---|---|
/// | `warmup_epochs` | 5 | `E_warmup`, >= 0 | 4.1.2 |
/// | `prune_epochs` | 5 | `E_prune`, >= 1, of every stage, or a list of one per stage; a stage of 1 decays nothing | 4.1.2 |
/// | `pop` | [2, 2] | `Pop`, one entry >= 1 per stage, sum = \|O\| - 1 (Eq. 6) | 4.1.2 |
/// | `relaxation` | `raw` | `softmax` | Eq. 7 needs an alpha of 0 to be a weight of 0 |
/// | `alpha_init` | `constant` (1/\|O\|) | `normal(1e-3)` | VP-DARTS |
/// | `alpha_update` | `bilevel` | `joint`, `none`; in pruning epochs | Algorithm 1 hands `D_val` to soft pruning |
/// | `removal` | `zero` | `renormalise` | VP-DARTS, DARTS-PT |
/// | `decayed` | `least-important` | `all-but-best`, `trailing` | 3.2.3; VP-DARTS; 3.2.2, see [`Decayed`] |
/// | `margin` | 0.6 | >= 0, of `decayed = "trailing"`, in units of a sweep's mean absolute importance over the operations but `none` | the text gives no count |
/// | `sweeps` | `last` | `stage`, `all`: prunings go by the mean over the sweeps of the stage, or since the warm-up, see [`Sweeps`]; every criterion is then measured in every pruning epoch | not stated |
/// | `soft_importance` | [] | `accuracy`, `loss`, `net-perf-proxy`, `naswot`, `params` or a sum as `loss+0.18*params`, one for all stages or a list of one per stage; []: `accuracy` in the first half of the stages, then `net-perf-proxy` | 4.1.2 |
/// | `hard_importance` | [] | the same; []: `net-perf-proxy` in all | 4.1.2 |
/// | `skip_dropout` | 0 | [0, 1) | VP-DARTS: 0.2 |
/// | `none_rule` | `first` | `scored` | `none` on an edge cuts the network |
/// | `importance` | | table, see [`ImportanceConfig`] | |
/// | `alpha_optimiser` | | table, see [`AdamConfig`] | |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HpeDartsConfig {
    /// `E_warmup`: epochs in which omega alone is trained.
    pub warmup_epochs: usize,
    /// `E_prune`: epochs of soft pruning, stage by stage.
    #[serde(deserialize_with = "one_or_list")]
    pub prune_epochs: Vec<usize>,
    /// `Pop`: operations that hard pruning removes from every edge, stage by stage.
    pub pop: Vec<usize>,
    /// How w follows from alpha.
    pub relaxation: Relaxation,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// How alpha is trained in pruning epochs.
    pub alpha_update: AlphaUpdate,
    /// What becomes of the other weights of an edge when an operation is taken out.
    pub removal: Removal,
    /// `U_e`: the operations that soft pruning decays.
    pub decayed: Decayed,
    /// By how much an operation may trail the best of its edge without being decayed.
    pub margin: f64,
    /// Which sweeps prunings go by.
    pub sweeps: Sweeps,
    /// What soft pruning goes by, stage by stage.
    #[serde(deserialize_with = "one_or_list")]
    pub soft_importance: Vec<Criterion>,
    /// What hard pruning goes by, stage by stage.
    #[serde(deserialize_with = "one_or_list")]
    pub hard_importance: Vec<Criterion>,
    /// Probability of dropping `skip_connect` while training.
    pub skip_dropout: f64,
    /// Where `none` stands among the operations.
    pub none_rule: NoneRule,
    /// How an importance is measured.
    pub importance: ImportanceConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

/// A value for all stages, or a list of one per stage.
fn one_or_list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(Stages(PhantomData))
}

struct Stages<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Stages<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value for all stages, or a list of one per stage")
    }

    fn visit_i64<E: de::Error>(self, one: i64) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(one.into_deserializer())?])
    }

    fn visit_str<E: de::Error>(self, one: &str) -> Result<Vec<T>, E> {
        Ok(vec![T::deserialize(one.into_deserializer())?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(one) = list.next_element()? {
            all.push(one);
        }
        Ok(all)
    }
}

/// Writes one value out for all stages of `pop`, and refuses a list of another length.
fn per_stage<T: Clone>(
    name: &str,
    list: &mut Vec<T>,
    pop: &[usize],
    hint: impl Into<String>,
) -> Result<(), Unsuitable> {
    let stages = pop.len();
    if let [one] = &list[..] {
        *list = vec![one.clone(); stages];
    }
    if list.len() == stages {
        return Ok(());
    }
    let why = format!("{name} has {} entries, but pop = {pop:?} makes {stages} stages", list.len());
    Err(Unsuitable::new(why, hint))
}

impl Default for HpeDartsConfig {
    fn default() -> Self {
        Self {
            warmup_epochs: 5,
            prune_epochs: vec![5],
            pop: vec![2, 2],
            relaxation: Relaxation::Raw,
            alpha_init: AlphaInit::Constant,
            alpha_update: AlphaUpdate::Bilevel,
            removal: Removal::Zero,
            decayed: Decayed::LeastImportant,
            margin: 0.6,
            sweeps: Sweeps::Last,
            soft_importance: Vec::new(),
            hard_importance: Vec::new(),
            skip_dropout: 0.0,
            none_rule: NoneRule::First,
            importance: ImportanceConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// HPE-DARTS, Algorithm 1.
#[derive(Debug)]
pub struct HpeDarts {
    config: HpeDartsConfig,
    alpha: Alpha,
    pruner: Pruner,
    sweeps: SweepMean,
    skip_dropout: Option<SkipDropout>,
}

impl HpeDarts {
    /// The stage that a phase is, counted from 0; `None` in the warm-up.
    fn stage(at: &At) -> Option<usize> {
        at.phase.checked_sub(1)
    }

    fn importance(&self, by: &Criterion) -> Importance {
        Importance::new(by, &self.config.importance)
    }
}

impl OneShot for HpeDarts {
    fn schedule(&self) -> Schedule {
        let warmup = ("warm-up".to_owned(), self.config.warmup_epochs);
        let stages = (1..).zip(&self.config.prune_epochs).map(|(s, &epochs)| (format!("stage {s}"), epochs));
        Schedule::new(std::iter::once(warmup).chain(stages))
    }

    fn valid_batch(&self) -> usize {
        let mut criteria = self.config.soft_importance.iter().chain(&self.config.hard_importance);
        if criteria.any(Criterion::by_codes) { self.config.importance.proxy_batch_size } else { 0 }
    }

    /// Soft pruning: evaluate, and decay the alpha of the least important operations (Eq. 7).
    fn begin(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError> {
        let Some(stage) = Self::stage(at) else { return Ok(()) };
        let cut = self.pruner.cut(self.config.decayed, self.config.pop[stage]);
        let HpeDartsConfig { soft_importance, hard_importance, decayed, margin, .. } = &self.config;
        let table = self.importance(&soft_importance[stage]).measure(cx, &self.alpha, cut)?;
        let hard = &hard_importance[stage];
        let hard = match self.sweeps.looks_back() && *hard != soft_importance[stage] {
            true => Some(self.importance(hard).measure(cx, &self.alpha, cut)?),
            false => None,
        };
        if at.within == 0 {
            self.sweeps.begin_stage();
        }
        let by = self.sweeps.add(&table, self.pruner.none());
        let decayed = self.pruner.decayed(*decayed, &by, self.config.pop[stage], *margin);
        let factor = 1.0 - at.within as f64 / self.config.prune_epochs[stage] as f64;
        self.alpha.scale(&decayed, factor);
        if let Some(hard) = hard {
            self.sweeps.add(&hard, self.pruner.none());
            cx.record(Event::importance(at, Sweep::Mean, hard))?;
        }
        cx.record(Event::importance(at, Sweep::Soft, table))?;
        cx.record(Event::soft_prune(at, factor, cx.op_names(&decayed)))
    }

    fn step(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError> {
        let update = if Self::stage(at).is_some() { self.config.alpha_update } else { AlphaUpdate::None };
        update.step(&mut self.alpha, self.skip_dropout.as_ref(), cx)
    }

    /// Hard pruning at the end of a stage: evaluate, and remove the least important operations.
    fn end(&mut self, at: &At, cx: &mut Context) -> Result<(), SearchError> {
        let Some(stage) = Self::stage(at).filter(|_| at.ends_phase()) else { return Ok(()) };
        let cut = self.pruner.cut(Decayed::LeastImportant, self.config.pop[stage]);
        let table = self.importance(&self.config.hard_importance[stage]).measure(cx, &self.alpha, cut)?;
        let by = self.sweeps.add(&table, self.pruner.none());
        let removed = self.pruner.least_important(&by, self.config.pop[stage]);
        self.alpha.remove(&removed, cx.mask());
        cx.remove(&removed);
        cx.record(Event::importance(at, Sweep::Hard, table))?;
        cx.record(Event::hard_prune(at, cx.op_names(&removed), cx.ops_left()))
    }

    fn derive(&mut self, cx: &mut Context) -> Result<Genotype, SearchError> {
        genotype(cx.space(), &cx.mask().alive().collect::<Vec<_>>())
    }

    fn architecture(&self) -> &Alpha {
        &self.alpha
    }

    fn architecture_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn state(&self) -> Value {
        let mut state = self.alpha.state();
        state["sweeps"] = self.sweeps.state();
        state
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)?;
        // A checkpoint of an earlier version has none.
        state.get("sweeps").map_or(Ok(()), |sweeps| self.sweeps.restore(sweeps))
    }
}

impl Strategy for HpeDarts {
    type Config = HpeDartsConfig;

    const ABOUT: &'static str =
        "a supernet whose operations are decayed (soft pruning) and removed (hard pruning) by their importance";

    const SOURCE: &'static str =
        "Lin, Kuo, Wang: HPE-DARTS: Hybrid Pruning and Proxy Evaluation in Differentiable Architecture Search";

    fn check(config: &mut HpeDartsConfig, space: &dyn SearchSpace) -> Result<(), Unsuitable> {
        let (_, ops) = alpha_shape(space);
        let stages = config.pop.len();
        let sum = config.pop.iter().copied().fold(0, usize::saturating_add);
        if sum != ops - 1 {
            return Err(Unsuitable::new(
                format!(
                    "pop = {:?} removes {sum} operations of each edge, expected |O| - 1 = {} (Eq. 6)",
                    config.pop,
                    ops - 1
                ),
                format!(
                    "space `{}` has {ops} operations and one must remain; the entries of pop must sum to {}",
                    space.name(),
                    ops - 1
                ),
            ));
        }
        if config.pop.contains(&0) {
            return Err(Unsuitable::new(
                format!("pop = {:?} has a stage that removes nothing", config.pop),
                "every entry of pop must be at least 1",
            ));
        }
        let hint = "give one number for all stages, or one per stage";
        per_stage("prune_epochs", &mut config.prune_epochs, &config.pop, hint)?;
        if config.prune_epochs.contains(&0) {
            return Err(Unsuitable::new(
                format!(
                    "prune_epochs = {:?}: a stage without epochs would never reach its hard pruning",
                    config.prune_epochs
                ),
                "prune_epochs must be at least 1 (the paper uses 5)",
            ));
        }
        if config.soft_importance.is_empty() {
            config.soft_importance = (0..stages)
                .map(|s| if s < stages / 2 { Performance::Accuracy } else { Performance::NetPerfProxy })
                .map(Criterion::from)
                .collect();
        }
        if config.hard_importance.is_empty() {
            config.hard_importance.push(Performance::NetPerfProxy.into());
        }
        let lists = [
            (
                "soft_importance",
                &mut config.soft_importance,
                "accuracy in the first half of them and net-perf-proxy after",
            ),
            ("hard_importance", &mut config.hard_importance, "net-perf-proxy in all"),
        ];
        for (name, list, default) in lists {
            let hint = format!("give one for all stages, a list of one per stage, or [] for {default}");
            per_stage(name, list, &config.pop, hint)?;
        }
        if !(0.0..1.0).contains(&config.skip_dropout) {
            return Err(Unsuitable::new(
                format!("skip_dropout = {}, expected at least 0 and less than 1", config.skip_dropout),
                "VP-DARTS uses 0.2",
            ));
        }
        if !(config.margin.is_finite() && config.margin >= 0.0) {
            return Err(Unsuitable::new(
                format!("margin = {}, expected at least 0", config.margin),
                "0.6 leaves alone what trails the best of its edge by at most 0.6 mean importances",
            ));
        }
        let fault = config.importance.fault().map(|f| format!("importance: {f}"));
        match fault.or_else(|| config.alpha_optimiser.fault().map(|f| format!("alpha_optimiser: {f}"))) {
            Some(fault) => Err(Unsuitable::new(fault, "omit it to use the default")),
            None => Ok(()),
        }
    }

    fn warmup(config: &HpeDartsConfig) -> Option<(usize, HpeDartsConfig)> {
        let HpeDartsConfig { warmup_epochs, relaxation, alpha_init, removal, skip_dropout, .. } = *config;
        // Of the stages only the sum of their epochs counts: it is in the length of the learning rate's cosine.
        let prune_epochs = vec![config.prune_epochs.iter().copied().fold(0, usize::saturating_add)];
        let default = HpeDartsConfig::default();
        let common =
            HpeDartsConfig { warmup_epochs, prune_epochs, relaxation, alpha_init, removal, skip_dropout, ..default };
        Some((warmup_epochs, common))
    }

    fn new(config: &HpeDartsConfig, space: &dyn SearchSpace, rng: &mut ChaCha8Rng) -> Self {
        let HpeDartsConfig { relaxation, removal, alpha_init, .. } = *config;
        let shape = alpha_shape(space);
        let probability = config.skip_dropout;
        Self {
            alpha: Alpha::new(alpha_init, shape, relaxation, removal, config.alpha_optimiser.clone(), rng),
            sweeps: SweepMean::new(config.sweeps),
            pruner: Pruner::new(config.none_rule, column(space, OpName::NONE)),
            skip_dropout: column(space, OpName::SKIP_CONNECT).map(|op| SkipDropout { op, probability }),
            config: config.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    fn refused(config: HpeDartsConfig) -> Unsuitable {
        HpeDarts::check(&mut config.clone(), &NasBench201).unwrap_err()
    }

    #[test]
    fn equation_6_is_checked_with_both_numbers() {
        let error = refused(HpeDartsConfig { pop: vec![3, 2, 2], ..Default::default() });
        assert_eq!(error.why, "pop = [3, 2, 2] removes 7 operations of each edge, expected |O| - 1 = 4 (Eq. 6)");
        assert!(refused(HpeDartsConfig { pop: vec![4, 0], ..Default::default() }).why.contains("removes nothing"));
        assert!(refused(HpeDartsConfig { pop: vec![], ..Default::default() }).why.contains("removes 0"));
    }

    #[test]
    fn the_rest_is_checked_too() {
        let three = vec![Performance::Loss.into(); 3];
        assert!(refused(HpeDartsConfig { soft_importance: three, ..Default::default() }).why.contains("3 entries"));
        assert!(refused(HpeDartsConfig { prune_epochs: vec![5, 0], ..Default::default() }).why.contains("= [5, 0]"));
        assert!(refused(HpeDartsConfig { prune_epochs: vec![5; 3], ..Default::default() }).why.contains("3 entries"));
        assert!(refused(HpeDartsConfig { margin: -0.1, ..Default::default() }).why.contains("margin = -0.1"));
        assert!(refused(HpeDartsConfig { margin: f64::NAN, ..Default::default() }).why.contains("margin = NaN"));
        assert!(refused(HpeDartsConfig { skip_dropout: 1.0, ..Default::default() }).why.contains("skip_dropout = 1"));
        let two = vec![Performance::Loss.into(); 2];
        let pop = vec![2, 1, 1];
        let error = refused(HpeDartsConfig { hard_importance: two, pop, ..Default::default() });
        assert_eq!(error.why, "hard_importance has 2 entries, but pop = [2, 1, 1] makes 3 stages");
        let importance = ImportanceConfig { fraction: 0.0, ..Default::default() };
        assert!(refused(HpeDartsConfig { importance, ..Default::default() }).why.contains("fraction = 0"));
    }

    #[test]
    fn one_hard_importance_stands_for_all_stages() {
        use Performance::{Loss, Naswot, NetPerfProxy};
        let hard = |text: &str| {
            let mut config: HpeDartsConfig = toml::from_str(text).unwrap();
            HpeDarts::check(&mut config, &NasBench201).unwrap();
            config.hard_importance.iter().map(|c| c.single().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(hard(""), [NetPerfProxy, NetPerfProxy]);
        assert_eq!(hard("hard_importance = 'loss'"), [Loss, Loss]);
        assert_eq!(hard("hard_importance = ['naswot', 'loss']"), [Naswot, Loss]);
        let error = toml::from_str::<HpeDartsConfig>("hard_importance = 'lost'").unwrap_err().to_string();
        assert!(error.contains("unknown performance `lost`, expected `accuracy`, `loss`"), "{error}");
        let error = toml::from_str::<HpeDartsConfig>("prune_epochs = true").unwrap_err().to_string();
        assert!(error.contains("expected one value for all stages"), "{error}");
    }

    #[test]
    fn soft_importance_is_accuracy_in_the_first_half() {
        use Performance::{Accuracy, NetPerfProxy};
        let soft = |pop: Vec<usize>| {
            let mut config = HpeDartsConfig { pop, ..Default::default() };
            HpeDarts::check(&mut config, &NasBench201).unwrap();
            config.soft_importance.iter().map(|c| c.single().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(soft(vec![2, 2]), [Accuracy, NetPerfProxy]);
        assert_eq!(soft(vec![4]), [NetPerfProxy]);
        assert_eq!(soft(vec![1, 1, 1, 1]), [Accuracy, Accuracy, NetPerfProxy, NetPerfProxy]);
    }
}
