//! HPE-DARTS: hybrid pruning and proxy evaluation (Lin, Kuo, Wang).

use std::{fmt, marker::PhantomData};

use rand_chacha::ChaCha8Rng;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer, SeqAccess, Visitor},
};

use serde_json::Value;

use crate::{
    run::{At, Flow, Schedule},
    search::{
        Candidates, Context, OneShot, SearchError, Strategy, Unsuitable, genotype,
        parts::{
            AdamConfig, Alpha, AlphaInit, AlphaUpdate, Criterion, Decayed, EdgeChoice, EdgePrune, HardPrune,
            Importance, ImportanceConfig, ImportanceTable, Incoming, Mixture, NoneRule, Performance, Pruner,
            Relaxation, Removal, SkipDropout, SoftPrune, Sweep, SweepMean, Sweeps, Swept,
        },
    },
    space::{Genotype, OpName},
    supernet::{Mask, OpAt, PerOp},
};

/// Settings of HPE-DARTS, `[strategy.hpe-darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `warmup_epochs` | 5 | >= 0 | `E_warmup`; 4.1.2 |
/// | `prune_epochs` | 5 in every stage | >= 1, one number for all stages or a list of one per stage | `E_prune`; 4.1.2. A stage of 1 epoch decays nothing (Eq. 7) |
/// | `pop` | [2, 2] | entries >= 1 with sum \|O\| - 1 (Eq. 6) | `Pop`, one entry per stage; 4.1.2 |
/// | `relaxation` | `raw` (w = alpha) | `softmax` (Eq. 3) | Eq. 7 takes alpha to 0, and softmax(0) is not 0 |
/// | `alpha_init` | `constant` (1/\|O\|) | `normal(1e-3)` | VP-DARTS; decaying values near 0 would do nothing |
/// | `alpha_update` | `bilevel` | `joint`, `none` | in pruning epochs; Algorithm 1 hands `D_val` to soft pruning, the others take 70 % of the time |
/// | `removal` | `zero` | `renormalise` (the other weights keep the edge's sum) | VP-DARTS, DARTS-PT |
/// | `decayed` | `least-important` | `all-but-best`; `trailing`: those that trail the best of their edge by more than `margin` | 3.2.3; VP-DARTS; 3.2.2 gives no count |
/// | `margin` | 0.6 | >= 0, in units of the sweep's mean absolute importance over the operations but `none` | of `decayed = "trailing"` |
/// | `sweeps` | `last` | decays and removals go by the mean over the sweeps by the same criterion, each in units of its mean absolute importance over the operations but `none`: `stage`, of the stage; `all`, since the warm-up; `early`, since the warm-up, each counted by the product of the decay factors before it, and removals by that mean times the weight that the operation has left; `both`, as `early`, decays and removals by the sum of these means by every criterion that was measured, each sweep in units of its standard deviation over those operations. Every criterion is then measured in every pruning epoch | not stated |
/// | `soft_importance` | []: `accuracy` in the first half of the stages, then `net-perf-proxy` | `accuracy`, `loss`, `net-perf-proxy`, `naswot`, `params` (trainable parameters) and the other [proxies](proxies.md) but `az-nas`, or a weighted sum of several, each in units of its mean size, as `loss+0.18*params`: one for all stages or a list of one per stage | 4.1.2; sums are not in the paper |
/// | `hard_importance` | []: `net-perf-proxy` in all stages | likewise | 4.1.2 |
/// | `skip_dropout` | 0.0 | [0, 1); VP-DARTS 0.2 | not stated. Drops `skip_connect` of an edge in all cells for a step (VP-DARTS: single activations) |
/// | `edges` | `importance`: one incoming edge of each node after the other goes, the one whose removal costs least by the last `hard_importance`, until as many are left as the space keeps | `weight`: those with the largest weights stay | in spaces that keep fewer edges than there are (DARTS); not stated, as DARTS-PT; as DARTS |
/// | `none_rule` | `first` (least important of its edge) | `scored`, in spaces that keep all edges | an edge that ends as `none` cuts the network |
/// | `importance` | | | table, see [`ImportanceConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
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
    /// How the edges of the derived cell are chosen.
    pub edges: EdgeChoice,
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
            edges: EdgeChoice::Importance,
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
}

impl HpeDarts {
    /// The stage that a phase is, counted from 0; `None` in the warm-up.
    fn stage(at: &At) -> Option<usize> {
        at.phase.checked_sub(1)
    }

    /// The operations of the edges that leave, in a space that keeps fewer than there are, when `removed` are gone and one
    /// operation is left on each edge; and the sweeps that say so.
    fn edges_to_drop(
        &self,
        removed: &[OpAt],
        cx: &mut Context<'_>,
    ) -> Result<(Vec<OpAt>, Vec<ImportanceTable>), SearchError> {
        let mut nodes = Incoming::of(cx.space());
        let left: Vec<OpAt> = cx.mask().alive().filter(|at| !removed.contains(at)).collect();
        let on = |row: usize| left.iter().copied().find(|at| at.0 == row);
        if self.config.edges == EdgeChoice::Weight {
            let w = self.alpha.weights(cx.mask());
            let strength = |row| on(row).map_or(0.0, |at| w[at]);
            let rows = nodes.into_iter().flat_map(|node| node.dropped(strength));
            return Ok((rows.filter_map(on).collect(), vec![]));
        }
        let shape = (cx.mask().edges(), cx.mask().ops());
        let (mut dropped, mut tables) = (vec![], vec![]);
        while nodes.iter().any(|node| node.rows.len() > node.kept) {
            // One edge of each node at a time, all nodes by the same sweep.
            let open = nodes.iter().filter(|node| node.rows.len() > node.kept);
            let candidates: Vec<OpAt> = open.flat_map(|node| &node.rows).filter_map(|&row| on(row)).collect();
            let gone = [removed, &dropped].concat();
            let without = |mask: &Mask, out: &[OpAt]| self.alpha.weights_without(mask, &[&gone, out].concat());
            let sets: Vec<Vec<OpAt>> = candidates.iter().map(|&at| vec![at]).collect();
            let by = self.config.hard_importance.last().expect("a search has a stage");
            let costs = Importance::new(by, &self.config.importance).costs(cx, &without, &sets)?;
            let table = costs.table(shape, &candidates);
            let value = |row| on(row).and_then(|at| table.importance[at].as_ref()).map_or(0.0, |v| v.0);
            for node in &mut nodes {
                if let Some(row) = node.weakest(value) {
                    node.drop(row);
                    dropped.extend(on(row));
                }
            }
            tables.push(table);
        }
        Ok((dropped, tables))
    }

    fn measure(&self, by: &Criterion, cx: &mut Context<'_>) -> Result<ImportanceTable, SearchError> {
        let without = |mask: &Mask, out: &[OpAt]| self.alpha.weights_without(mask, out);
        Importance::new(by, &self.config.importance).measure(cx, &without)
    }
}

impl OneShot for HpeDarts {
    fn schedule(&self) -> Schedule {
        let warmup = ("warm-up".to_owned(), self.config.warmup_epochs);
        let stages = (1..).zip(&self.config.prune_epochs).map(|(s, &epochs)| (format!("stage {s}"), epochs));
        Schedule::new(std::iter::once(warmup).chain(stages))
    }

    fn valid_batch(&self) -> Option<(&'static str, usize)> {
        let mut criteria = self.config.soft_importance.iter().chain(&self.config.hard_importance);
        let batch = self.config.importance.proxy_batch_size;
        criteria.any(Criterion::on_mini_batch).then_some(("importance.proxy_batch_size", batch))
    }

    /// Soft pruning: evaluate, and decay the alpha of the least important operations (Eq. 7).
    fn begin(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let Some(stage) = Self::stage(at) else { return Ok(()) };
        let HpeDartsConfig { soft_importance, hard_importance, decayed, margin, .. } = &self.config;
        let table = self.measure(&soft_importance[stage], cx)?;
        let hard = &hard_importance[stage];
        let hard = match self.sweeps.looks_back() && *hard != soft_importance[stage] {
            true => Some(self.measure(hard, cx)?),
            false => None,
        };
        if at.within == 0 {
            self.sweeps.begin_stage();
        }
        if let Some(hard) = hard {
            self.sweeps.add(&hard, self.pruner.none());
            cx.record(&Swept::new(at, Sweep::Mean, hard))?;
        }
        let by = self.sweeps.add(&table, self.pruner.none());
        let decayed = self.pruner.decayed(*decayed, &by, self.config.pop[stage], *margin);
        let factor = 1.0 - at.within as f64 / self.config.prune_epochs[stage] as f64;
        self.alpha.scale(&decayed, factor);
        self.sweeps.decayed(factor);
        cx.record(&Swept::new(at, Sweep::Soft, table))?;
        cx.record(&SoftPrune::new(at, factor, cx.op_names(&decayed)))
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let update = if Self::stage(at).is_some() { self.config.alpha_update } else { AlphaUpdate::None };
        update.step(&mut self.alpha, cx)
    }

    /// Hard pruning at the end of a stage: evaluate, and remove the least important operations.
    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<Flow, SearchError> {
        let Some(stage) = Self::stage(at).filter(|_| at.ends_phase()) else { return Ok(Flow::Go) };
        let table = self.measure(&self.config.hard_importance[stage], cx)?;
        let by = self.sweeps.add_weighed(&table, self.pruner.none(), &self.alpha.weights(cx.mask()));
        let removed = self.pruner.least_important(&by, self.config.pop[stage]);
        let last = stage + 1 == self.config.pop.len();
        let (dropped, tables) = if last { self.edges_to_drop(&removed, cx)? } else { (vec![], vec![]) };
        self.alpha.remove(&removed, cx.mask());
        cx.remove(&removed);
        cx.record(&Swept::new(at, Sweep::Hard, table))?;
        cx.record(&HardPrune::new(at, cx.op_names(&removed), cx.ops_left()))?;
        for table in tables {
            cx.record(&Swept::new(at, Sweep::Edges, table))?;
        }
        if !dropped.is_empty() {
            self.alpha.remove(&dropped, cx.mask());
            cx.remove(&dropped);
            cx.record(&EdgePrune::new(at, cx.op_names(&dropped)))?;
        }
        Ok(Flow::Go)
    }

    fn derive(&mut self, cx: &mut Context<'_>) -> Result<Genotype, SearchError> {
        genotype(cx.space(), &cx.mask().alive().collect::<Vec<_>>())
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
        let mut state = self.alpha.state();
        state["sweeps"] = self.sweeps.state();
        state
    }

    fn restore(&mut self, state: &Value) -> Result<(), String> {
        self.alpha.restore(state)?;
        self.sweeps.restore(&state["sweeps"])
    }
}

impl Strategy for HpeDarts {
    type Config = HpeDartsConfig;

    const ABOUT: &'static str =
        "a supernet whose operations are decayed (soft pruning) and removed (hard pruning) by their importance";

    const SOURCE: &'static str =
        "Lin, Kuo, Wang: HPE-DARTS: Hybrid Pruning and Proxy Evaluation in Differentiable Architecture Search";

    // Sweeps by accuracy and by proxy on few images.
    const SHORT: &'static [&'static str] =
        &["warmup_epochs=2", "prune_epochs=2", "importance.images=128", "importance.proxy_batch_size=8"];

    fn check(config: &mut HpeDartsConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        let ops = candidates.most();
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
                    "an edge of `{}` has {ops} operations here and one must remain; the entries of pop must sum to {}",
                    candidates.space().name(),
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
        let keeps_fewer = !Incoming::of(candidates.space()).is_empty();
        if config.none_rule == NoneRule::Scored && keeps_fewer && candidates.column(OpName::NONE).is_some() {
            return Err(Unsuitable::new(
                format!("none_rule = \"scored\": a cell of `{}` never ends with `none`", candidates.space().name()),
                "use none_rule = \"first\", or leave `none` out of space.ops",
            ));
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

    fn new(config: &HpeDartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let HpeDartsConfig { relaxation, removal, alpha_init, skip_dropout: probability, .. } = *config;
        let dropout = candidates.column(OpName::SKIP_CONNECT).map(|op| SkipDropout { op, probability });
        let mixture = Mixture { removal, dropout, ..Mixture::new(candidates, relaxation) };
        let values = alpha_init.values(candidates.offered(), rng);
        Self {
            alpha: Alpha::new(values, mixture, config.alpha_optimiser.clone()),
            sweeps: SweepMean::new(config.sweeps),
            pruner: Pruner::new(config.none_rule, candidates.column(OpName::NONE)),
            config: config.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        search::OpSets,
        space::{Darts, NasBench201},
    };

    fn refused(config: HpeDartsConfig) -> Unsuitable {
        HpeDarts::check(&mut config.clone(), &Candidates::all(&NasBench201)).unwrap_err()
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
    fn pop_and_none_must_suit_the_operations_that_there_are() {
        let sets = |ops: &[OpName]| Candidates::new(&Darts::Original, Some(&OpSets::All(ops.to_vec()))).unwrap();
        let with_none = sets(&[OpName::NONE, OpName::SKIP_CONNECT, OpName::SEP_CONV_3X3]);
        let without = sets(&[OpName::SKIP_CONNECT, OpName::SEP_CONV_3X3]);
        let check = |pop: &[usize], none_rule, candidates: &Candidates| {
            let mut config = HpeDartsConfig { pop: pop.to_vec(), none_rule, ..Default::default() };
            HpeDarts::check(&mut config, candidates).map_err(|e| e.why)
        };
        assert_eq!(check(&[1, 1], NoneRule::First, &with_none), Ok(()));
        assert_eq!(check(&[1], NoneRule::Scored, &without), Ok(()));
        let error = check(&[3, 2, 2], NoneRule::First, &without).unwrap_err();
        assert_eq!(error, "pop = [3, 2, 2] removes 7 operations of each edge, expected |O| - 1 = 1 (Eq. 6)");
        let error = check(&[1, 1], NoneRule::Scored, &with_none).unwrap_err();
        assert!(error.contains("never ends with `none`"), "{error}");
    }

    #[test]
    fn one_hard_importance_stands_for_all_stages() {
        use Performance::{Loss, Naswot, NetPerfProxy};
        let hard = |text: &str| {
            let mut config: HpeDartsConfig = toml::from_str(text).unwrap();
            HpeDarts::check(&mut config, &Candidates::all(&NasBench201)).unwrap();
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
            HpeDarts::check(&mut config, &Candidates::all(&NasBench201)).unwrap();
            config.soft_importance.iter().map(|c| c.single().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(soft(vec![2, 2]), [Accuracy, NetPerfProxy]);
        assert_eq!(soft(vec![4]), [NetPerfProxy]);
        assert_eq!(soft(vec![1, 1, 1, 1]), [Accuracy, Accuracy, NetPerfProxy, NetPerfProxy]);
    }
}
