//! PC-DARTS (Xu, Xie, Zhang, Chen, Qi, Tian, Xiong, 2020, arXiv 1907.05737).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{
            AdamConfig, Alpha, AlphaInit, EdgeWeights, Mixture, Relax, Relaxation, WeightedEdges, by_largest, checks,
        },
    },
    space::Genotype,
};

/// Settings of PC-DARTS, `[strategy.pc-darts]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | > `warmup_epochs` | all epochs; PC-DARTS, 4.2 |
/// | `warmup_epochs` | 15 | < `epochs` | epochs at the start in which omega alone is trained; PC-DARTS, 4.2 |
/// | `partial` | 4 | >= 1, divides `supernet.channels` | an operation sees one of so many parts of the channels (1: all of them), K; PC-DARTS, 3.1 |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | the authors' code; beta starts from `normal(1e-3)` |
/// | `alpha_learning_rate` | 6e-4 | > 0 | of Adam, for alpha and beta; PC-DARTS, 4.2 |
/// | `alpha_betas` | [0.5, 0.999] | [0, 1) each | of Adam; PC-DARTS, 4.2 |
/// | `alpha_weight_decay` | 1e-3 | >= 0 | of Adam, added to the gradient; PC-DARTS, 4.2 |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PcDartsConfig {
    /// All epochs.
    pub epochs: usize,
    /// Epochs at the start in which omega alone is trained.
    pub warmup_epochs: usize,
    /// Parts of the channels, of which an operation sees one.
    pub partial: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// Learning rate of Adam.
    pub alpha_learning_rate: f64,
    /// Decay of the moments of Adam.
    pub alpha_betas: [f64; 2],
    /// L2 penalty on alpha and beta.
    pub alpha_weight_decay: f64,
}

impl PcDartsConfig {
    fn optimiser(&self) -> AdamConfig {
        AdamConfig {
            learning_rate: self.alpha_learning_rate,
            betas: self.alpha_betas,
            weight_decay: self.alpha_weight_decay,
            ..AdamConfig::default()
        }
    }
}

impl Default for PcDartsConfig {
    fn default() -> Self {
        let AdamConfig { betas, weight_decay, .. } = AdamConfig::default();
        Self {
            epochs: 50,
            warmup_epochs: 15,
            partial: 4,
            alpha_init: AlphaInit::Normal(1e-3),
            alpha_learning_rate: 6e-4,
            alpha_betas: betas,
            alpha_weight_decay: weight_decay,
        }
    }
}

/// Operations on a part of the channels, with weights of the edges beside those of the operations.
#[derive(Debug)]
pub struct PcDarts {
    epochs: usize,
    warmup_epochs: usize,
    partial: usize,
    /// Within the edges.
    mixture: Mixture,
    alpha: Alpha,
    beta: EdgeWeights,
}

/// Of the initial beta; the authors' code.
const BETA_SIGMA: f64 = 1e-3;

impl PcDarts {
    /// The weights follow beta.
    fn weigh_edges(&mut self) {
        self.alpha.relax_by(WeightedEdges { mixture: self.mixture.clone(), shares: self.beta.shares() });
    }

    /// A first-order step of alpha and beta on a batch of `D_val`.
    fn architecture_step(&mut self, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let gradient = cx.mixing_gradient(&self.alpha.mixing(cx.mask(), None))?;
        let within = self.mixture.weights(self.alpha.values(), cx.mask(), None);
        self.alpha.descend(cx.mask(), None, &gradient);
        self.beta.descend(&within, &gradient);
        self.weigh_edges();
        Ok(())
    }
}

impl ByAlpha for PcDarts {
    fn schedule(&self) -> Schedule {
        Schedule::new([("warm-up", self.warmup_epochs), ("search", self.epochs - self.warmup_epochs)])
    }

    fn partial_channels(&self, _phase: usize) -> usize {
        self.partial
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn step(&mut self, at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        if at.epoch >= self.warmup_epochs {
            self.architecture_step(cx)?;
        }
        cx.omega_step(&self.alpha.mixing(cx.mask(), None))
    }

    /// By the products of the weights of operation and edge; those of an edge have the edge's in common.
    fn derive(&self, cx: &Context<'_>) -> Result<Genotype, SearchError> {
        let weights = self.alpha.weights(cx.mask());
        by_largest(cx.space(), cx.mask(), &weights, &weights)
    }

    fn remember(&self, state: &mut Value) {
        state["edges"] = self.beta.state();
    }

    fn recall(&mut self, state: &Value) -> Result<(), String> {
        self.beta.restore(&state["edges"])?;
        self.weigh_edges();
        Ok(())
    }
}

impl Strategy for PcDarts {
    type Config = PcDartsConfig;

    const ABOUT: &'static str = "operations see a quarter of the channels; the edges of a node have weights as well";

    const SOURCE: &'static str = "Xu, Xie, Zhang, Chen, Qi, Tian, Xiong: PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search, arXiv 1907.05737";

    const SHORT: &'static [&'static str] = &["epochs=4", "warmup_epochs=1", "partial=2"];

    const PUBLISHED: &'static [Published] = &[Published {
        space: "darts",
        source: "yuhuixu1993/PC-DARTS, train_search.py",
        settings: &[
            "training.batch_size = 256",
            "training.learning_rate = 0.1",
            "training.learning_rate_min = 0.0",
            "strategy.pc-darts.epochs = 50",
            "strategy.pc-darts.warmup_epochs = 15",
            "strategy.pc-darts.partial = 4",
            "data.split = \"first-half\"",
        ],
    }];

    fn check(config: &mut PcDartsConfig, _candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::warmup(config.warmup_epochs, config.epochs)?;
        checks::at_least("partial", config.partial as f64, 1.0)?;
        match config.optimiser().fault() {
            Some(fault) => Err(Unsuitable::new(format!("alpha_{fault}"), "omit it to use the default")),
            None => Ok(()),
        }
    }

    fn new(config: &PcDartsConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let alpha =
            Alpha::new(config.alpha_init.values(candidates.offered(), rng), mixture.clone(), config.optimiser());
        let beta = EdgeWeights::new(candidates.space(), BETA_SIGMA, config.optimiser(), rng);
        let PcDartsConfig { epochs, warmup_epochs, partial, .. } = *config;
        let mut method = Self { epochs, warmup_epochs, partial, mixture, alpha, beta };
        method.weigh_edges();
        method
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::{
        search::OneShot,
        space::{Darts, NasBench201, SearchSpace},
        supernet::Mask,
    };

    fn method(space: &'static dyn SearchSpace) -> PcDarts {
        // Without its decay Adam leaves alone what has no gradient.
        let mut config = PcDartsConfig { alpha_weight_decay: 0.0, ..Default::default() };
        let candidates = Candidates::all(space);
        PcDarts::check(&mut config, &candidates).unwrap();
        PcDarts::new(&config, &candidates, &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn the_weights_of_a_node_sum_to_one() {
        for (space, edges, nodes) in [(&NasBench201 as &'static dyn SearchSpace, 6, 3.0), (&Darts::Original, 28, 8.0)] {
            let w = method(space).weights(&Mask::filled(edges, space.ops().len(), true));
            let sum: f64 = w.values().iter().sum();
            assert!((sum - nodes).abs() < 1e-12, "{}: {sum}", space.name());
            // The only edge into the first node of NAS-Bench-201 has all of it.
            assert!(edges > 6 || (w.row(0).iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn an_edge_that_helps_gains_what_its_rivals_lose() {
        let mut method = method(&Darts::Original);
        let mask = Mask::filled(28, 8, true);
        let before = method.weights(&mask);
        // Everything on the third edge into the second node of the normal cell helps.
        let mut gradient = vec![0.0; 28 * 8];
        gradient[4 * 8..5 * 8].fill(-1.0);
        let gradient = crate::supernet::MixingGradient { w: gradient, edges: vec![0.0; 28] };
        let within = method.mixture.weights(method.alpha.values(), &mask, None);
        method.beta.descend(&within, &gradient);
        method.weigh_edges();
        let after = method.weights(&mask);
        assert!((0..8).all(|op| after[(4, op)] > before[(4, op)] && after[(3, op)] < before[(3, op)]));
        assert_eq!(after.row(0), before.row(0));
        let mut other = self::method(&Darts::Original);
        other.restore(&method.state()).unwrap();
        assert_eq!(other.weights(&mask), after);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        let error = |config: PcDartsConfig| {
            PcDarts::check(&mut config.clone(), &Candidates::all(&NasBench201)).unwrap_err().why
        };
        let config = PcDartsConfig { partial: 0, ..Default::default() };
        assert_eq!(error(config), "partial = 0, expected at least 1");
        let config = PcDartsConfig { epochs: 15, ..Default::default() };
        assert_eq!(error(config), "warmup_epochs = 15 leave no epoch of 15 to train alpha in");
        let config = PcDartsConfig { alpha_learning_rate: 0.0, ..Default::default() };
        assert_eq!(error(config), "alpha_learning_rate = 0, expected > 0");
    }
}
