//! DrNAS (Chen, Wang, Cheng, Tang, Hsieh, 2021, arXiv 2006.10355).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, Dirichlet, FromUniform, HardPrune, checks},
    },
    supernet::{Mask, OpAt},
};

/// What pulls alpha towards the uniform distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    /// The square of alpha.
    #[default]
    L2,
    /// The divergence of each edge's distribution from the uniform one.
    Kl,
}

/// Settings of DrNAS, `[strategy.dr-nas]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 100 | >= 1 | all epochs; the authors' code for NAS-Bench-201 without progressive learning |
/// | `kept` | 0: the search has one stage | 0, or 2 to \|O\| - 1 | progressive learning: operations of the largest alpha that stay on each edge after half of the epochs; the authors' code has 3 in NAS-Bench-201, 4 in the DARTS space |
/// | `partial` | []: all channels in both stages | two numbers, the first not the smaller, that divide `supernet.channels` | with `kept`: parts of the channels, of which operations see one in each stage; the supernet is widened in between. The authors' code has [4, 2] in NAS-Bench-201, [6, 4] in the DARTS space |
/// | `frozen_epochs` | 0 | less than the epochs of a stage | epochs at the start of each stage in which omega alone is trained; the authors' code has 10 with progressive learning |
/// | `regulariser` | `l2` | `kl`: the divergence of each edge's distribution from the uniform one, summed over the edges | what `alpha_optimiser.weight_decay` is the factor of; DrNAS |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | concentrations start near 1, the uniform distribution; the authors' code |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrNasConfig {
    /// All epochs.
    pub epochs: usize,
    /// Operations that stay on each edge after half of the epochs; 0: all.
    pub kept: usize,
    /// Parts of the channels, of which operations see one, stage by stage; empty: all channels.
    pub partial: Vec<usize>,
    /// Epochs at the start of each stage in which omega alone is trained.
    pub frozen_epochs: usize,
    /// What pulls alpha towards the uniform distribution.
    pub regulariser: Pull,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Optimiser of alpha; its weight decay is the factor of the regulariser.
    pub alpha_optimiser: AdamConfig,
}

impl Default for DrNasConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            kept: 0,
            partial: vec![],
            frozen_epochs: 0,
            regulariser: Pull::L2,
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// The weights of an edge are a sample of a Dirichlet distribution, anew in every step.
#[derive(Debug)]
pub struct DrNas {
    config: DrNasConfig,
    alpha: Alpha,
}

impl DrNasConfig {
    /// Epochs of the stages.
    fn stages(&self) -> Vec<usize> {
        let first = self.epochs / 2;
        if self.kept == 0 { vec![self.epochs] } else { vec![first, self.epochs - first] }
    }
}

impl DrNasConfig {
    fn check_partial(&self) -> Result<(), Unsuitable> {
        match self.partial[..] {
            [] => Ok(()),
            [_, _] if self.kept == 0 => Err(Unsuitable::new(
                format!("partial = {:?} are of two stages, the search has one", self.partial),
                "set kept as well: the operations that stay on each edge in the second stage",
            )),
            [first, second] if second > 0 && first >= second => Ok(()),
            _ => Err(Unsuitable::new(
                format!(
                    "partial = {:?}, expected none or two numbers of at least 1, the first not the smaller",
                    self.partial
                ),
                "partial = [4, 2] lets operations see a quarter of the channels, then a half",
            )),
        }
    }
}

impl DrNas {
    /// Operations of the smallest alpha of each edge, beyond those that stay.
    fn dropped(&self, mask: &Mask) -> Vec<OpAt> {
        let values = self.alpha.values();
        let edge = |row: usize| {
            let mut alive: Vec<OpAt> = (0..mask.ops()).map(|op| (row, op)).filter(|&at| mask[at]).collect();
            alive.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
            alive.split_off(self.config.kept.min(alive.len()))
        };
        (0..mask.edges()).flat_map(edge).collect()
    }
}

impl ByAlpha for DrNas {
    fn schedule(&self) -> Schedule {
        match self.config.stages()[..] {
            [epochs] => Schedule::new([("search", epochs)]),
            ref stages => Schedule::new((1..).zip(stages).map(|(stage, &epochs)| (format!("stage {stage}"), epochs))),
        }
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn partial_channels(&self, phase: usize) -> usize {
        self.config.partial.get(phase).copied().unwrap_or(1)
    }

    fn trains_alpha(&self, at: &At) -> bool {
        at.within >= self.config.frozen_epochs
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let update = if self.trains_alpha(at) { AlphaUpdate::Bilevel } else { AlphaUpdate::None };
        update.step(&mut self.alpha, cx)
    }

    fn end(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        if self.config.kept == 0 || at.phase > 0 || !at.ends_phase() {
            return Ok(());
        }
        let removed = self.dropped(cx.mask());
        self.alpha.remove(&removed, cx.mask());
        cx.remove(&removed);
        cx.record(&HardPrune::new(at, cx.op_names(&removed), cx.ops_left()))
    }
}

impl Strategy for DrNas {
    type Config = DrNasConfig;

    const ABOUT: &'static str =
        "weights drawn anew in every step from a Dirichlet distribution, with the pathwise gradient";

    const SOURCE: &'static str =
        "Chen, Wang, Cheng, Tang, Hsieh: DrNAS: Dirichlet Neural Architecture Search, arXiv 2006.10355";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    const PUBLISHED: &'static [Published] = &[
        Published {
            space: "nas-bench-201",
            source: "xiangning-chen/DrNAS, 201-space/train_search.py, without progressive learning",
            settings: &["strategy.dr-nas.epochs = 100", "data.split = \"first-half\""],
        },
        Published {
            space: "darts",
            source: "xiangning-chen/DrNAS, DARTS-space/train_search.py, with progressive learning",
            settings: &[
                "supernet.channels = 36",
                "supernet.cells_per_stage = 20",
                "training.learning_rate = 0.1",
                "training.learning_rate_min = 0.0",
                "strategy.dr-nas.epochs = 50",
                "strategy.dr-nas.kept = 4",
                "strategy.dr-nas.partial = [6, 4]",
                "strategy.dr-nas.frozen_epochs = 10",
                "strategy.dr-nas.alpha_optimiser.learning_rate = 6e-4",
                "data.split = \"first-half\"",
                Published::DARTS_WITHOUT_NONE,
            ],
        },
    ];

    fn check(config: &mut DrNasConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        let (kept, most) = (config.kept, candidates.most());
        if kept != 0 && !(2..most).contains(&kept) {
            return Err(Unsuitable::new(
                format!("kept = {kept}, expected 0, or at least 2 and less than the {most} operations of an edge"),
                "kept = 0 searches in one stage",
            ));
        }
        let shortest = config.stages().into_iter().min().unwrap_or_default();
        if config.frozen_epochs >= shortest {
            return Err(Unsuitable::new(
                format!(
                    "frozen_epochs = {} leave no epoch to train alpha in: a stage has {shortest}",
                    config.frozen_epochs
                ),
                format!("frozen_epochs must be less than {}", shortest.max(1)),
            ));
        }
        config.check_partial()?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &DrNasConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let adam = config.alpha_optimiser.clone();
        let alpha = match config.regulariser {
            Pull::L2 => Alpha::new(values, Dirichlet, adam),
            Pull::Kl => Alpha::new(values, Dirichlet, AdamConfig { weight_decay: 0.0, ..adam.clone() })
                .regularised(FromUniform { factor: adam.weight_decay }),
        };
        Self { config: config.clone(), alpha }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::{space::NasBench201, supernet::PerOp};

    #[test]
    fn a_search_without_epochs_is_refused() {
        let mut config = DrNasConfig { epochs: 0, ..Default::default() };
        let error = DrNas::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err();
        assert_eq!(error.why, "epochs = 0, expected at least 1");
    }

    #[test]
    fn half_way_the_operations_of_the_largest_alpha_stay() {
        let candidates = Candidates::all(&NasBench201);
        let mut config = DrNasConfig { epochs: 7, kept: 3, ..Default::default() };
        DrNas::check(&mut config, &candidates).unwrap();
        let mut method = DrNas::new(&config, &candidates, &mut ChaCha8Rng::seed_from_u64(1));
        let phases: Vec<_> = ByAlpha::schedule(&method).phases.iter().map(|phase| phase.epochs).collect();
        assert_eq!(phases, [3, 4]);
        let mut values = PerOp::filled(6, 5, 0.0);
        values.row_mut(0).copy_from_slice(&[0.3, -0.1, 0.2, 0.5, -0.4]);
        method.alpha = Alpha::new(values, Dirichlet, AdamConfig::default());
        let mut mask = Mask::filled(6, 5, true);
        mask.row_mut(1).copy_from_slice(&[false, true, true, false, false]);
        let dropped = method.dropped(&mask);
        assert_eq!(dropped.iter().filter(|at| at.0 < 2).collect::<Vec<_>>(), [&(0, 1), &(0, 4)]);
        assert_eq!(dropped.len(), 5 * 2);
    }

    #[test]
    fn stages_that_train_no_alpha_or_drop_nothing_are_refused() {
        let why =
            |config: DrNasConfig| DrNas::check(&mut config.clone(), &Candidates::all(&NasBench201)).unwrap_err().why;
        let usual = DrNasConfig::default;
        assert!(why(DrNasConfig { kept: 5, ..usual() }).starts_with("kept = 5, expected 0, or at least 2"));
        assert!(why(DrNasConfig { kept: 1, ..usual() }).starts_with("kept = 1, expected"));
        for partial in [vec![4], vec![2, 4], vec![2, 0], vec![4, 2, 1]] {
            assert!(why(DrNasConfig { kept: 3, partial, ..usual() }).contains("expected none or two numbers"));
        }
        let one_stage = DrNasConfig { partial: vec![4, 2], ..usual() };
        assert_eq!(why(one_stage), "partial = [4, 2] are of two stages, the search has one");
        let frozen = DrNasConfig { kept: 3, frozen_epochs: 50, ..usual() };
        assert_eq!(why(frozen), "frozen_epochs = 50 leave no epoch to train alpha in: a stage has 50");
    }
}
