//! FairDARTS (Chu, Zhou, Zhang, Li, 2020, arXiv 1911.12126).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable, column,
        parts::{AdamConfig, Alpha, AlphaInit, AlphaUpdate, Incoming, Sigmoid, ZeroOne, by_largest, checks},
    },
    space::{Genotype, OpName, SearchSpace},
    supernet::{Mask, PerOp},
};

/// Settings of FairDARTS, `[strategy.fair-darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; the authors' code |
/// | `zero_one` | 10.0 | >= 0 | `w01`, factor of the zero-one loss; the authors' code |
/// | `threshold` | 0.85 | 0 to 1 | an edge none of whose operations weighs as much ends as `none`, in spaces that keep all edges; the authors' code |
/// | `alpha_init` | `normal(0e0)` | `constant` (1/\|O\|), `normal(1e-3)` | all weights start at 0.5; the authors' code |
/// | `alpha_learning_rate` | 3e-3 | > 0 | of Adam; the authors' code |
/// | `alpha_betas` | [0.9, 0.999] | [0, 1) each | of Adam; the authors' code |
/// | `alpha_weight_decay` | 1e-3 | >= 0 | of Adam, added to the gradient; as DARTS |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FairDartsConfig {
    /// All epochs.
    pub epochs: usize,
    /// Factor of the zero-one loss.
    pub zero_one: f64,
    /// Least weight of an operation that is chosen.
    pub threshold: f64,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Step size of alpha's optimiser.
    pub alpha_learning_rate: f64,
    /// Decay of its running means.
    pub alpha_betas: [f64; 2],
    /// Its L2 penalty.
    pub alpha_weight_decay: f64,
}

impl Default for FairDartsConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            zero_one: 10.0,
            threshold: 0.85,
            alpha_init: AlphaInit::Normal(0.0),
            alpha_learning_rate: 3e-3,
            alpha_betas: [0.9, 0.999],
            alpha_weight_decay: 1e-3,
        }
    }
}

impl FairDartsConfig {
    fn optimiser(&self) -> AdamConfig {
        AdamConfig {
            learning_rate: self.alpha_learning_rate,
            betas: self.alpha_betas,
            weight_decay: self.alpha_weight_decay,
            ..AdamConfig::default()
        }
    }
}

/// Operations that do not compete: each has a weight between 0 and 1 of its own, which a penalty drives to an end.
#[derive(Debug)]
pub struct FairDarts {
    epochs: usize,
    threshold: f64,
    alpha: Alpha,
}

/// Alpha with `none` above all others on the edges that have it and no operation of the threshold's weight.
fn cut(space: &dyn SearchSpace, mask: &Mask, alpha: &PerOp<f64>, w: &PerOp<f64>, threshold: f64) -> PerOp<f64> {
    let mut values = alpha.clone();
    let none = column(space, OpName::NONE).filter(|_| Incoming::of(space).is_empty());
    for edge in 0..mask.edges() {
        let Some(none) = none.filter(|&none| mask[(edge, none)]) else { continue };
        if (0..mask.ops()).all(|op| op == none || !mask[(edge, op)] || w[(edge, op)] < threshold) {
            values[(edge, none)] = f64::INFINITY;
        }
    }
    values
}

impl ByAlpha for FairDarts {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.epochs)])
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        AlphaUpdate::Bilevel.step(&mut self.alpha, cx)
    }

    fn derive(&self, cx: &Context<'_>) -> Result<Genotype, SearchError> {
        let w = self.alpha.weights(cx.mask());
        let values = cut(cx.space(), cx.mask(), self.alpha.values(), &w, self.threshold);
        by_largest(cx.space(), cx.mask(), &values, &w)
    }
}

impl Strategy for FairDarts {
    type Config = FairDartsConfig;

    const ABOUT: &'static str = "operations that do not compete: sigmoid weights, which a penalty drives to 0 or 1";

    const SOURCE: &'static str = "Chu, Zhou, Zhang, Li: Fair DARTS: Eliminating Unfair Advantages in Differentiable Architecture Search, arXiv 1911.12126";

    const SHORT: &'static [&'static str] = &["epochs=4", "threshold=0.5"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "darts",
        source: "xiaomi-automl/FairDARTS",
        settings: &[
            "training.batch_size = 128",
            "training.learning_rate = 0.005",
            "strategy.fair-darts.epochs = 50",
            "data.split = \"first-half\"",
            Published::DARTS_WITHOUT_NONE,
        ],
    }];

    fn check(config: &mut FairDartsConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        checks::at_least("zero_one", config.zero_one, 0.0)?;
        if !(0.0..=1.0).contains(&config.threshold) {
            return Err(Unsuitable::new(
                format!("threshold = {}, expected at least 0 and at most 1", config.threshold),
                "the authors use 0.85; 0 takes the largest weight of each edge, however small",
            ));
        }
        match config.optimiser().fault() {
            Some(fault) => Err(Unsuitable::new(format!("alpha_{fault}"), "omit it to use the default")),
            None => Ok(()),
        }
    }

    fn new(config: &FairDartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let alpha = Alpha::new(values, Sigmoid, config.optimiser());
        let alpha = alpha.regularised(ZeroOne { factor: config.zero_one });
        Self { epochs: config.epochs, threshold: config.threshold, alpha }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Darts, NasBench201};

    #[test]
    fn an_edge_below_the_threshold_ends_as_none_where_cells_have_it() {
        let mut mask = Mask::filled(6, 5, true);
        mask[(2, 0)] = false;
        let mut w = PerOp::filled(6, 5, 0.3);
        w[(1, 3)] = 0.9;
        let cell = |threshold| {
            let values = cut(&NasBench201, &mask, &w, &w, threshold);
            let genotype = by_largest(&NasBench201, &mask, &values, &w).unwrap();
            genotype.cells[0].edges.iter().map(|edge| edge.op).collect::<Vec<_>>()
        };
        let ops = crate::space::nas_bench_201::OPS;
        // The third edge does not have `none`.
        assert_eq!(cell(0.85), [ops[0], ops[3], ops[1], ops[0], ops[0], ops[0]]);
        assert_eq!(cell(0.0)[1], ops[3]);
        let alpha = PerOp::filled(28, 8, 0.1);
        assert_eq!(cut(&Darts::Original, &Mask::filled(28, 8, true), &alpha, &alpha, 0.85), alpha);
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let refused = |mut config: FairDartsConfig| {
            FairDarts::check(&mut config, &Candidates::all(&NasBench201)).unwrap_err().why
        };
        let threshold = refused(FairDartsConfig { threshold: 85.0, ..Default::default() });
        assert_eq!(threshold, "threshold = 85, expected at least 0 and at most 1");
        let rate = refused(FairDartsConfig { alpha_learning_rate: 0.0, ..Default::default() });
        assert_eq!(rate, "alpha_learning_rate = 0, expected > 0");
    }
}
