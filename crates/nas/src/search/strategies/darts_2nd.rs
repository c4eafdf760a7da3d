//! DARTS, second order (Liu, Simonyan, Yang, 2019, arXiv 1806.09055).

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    run::{At, Schedule},
    search::{
        ByAlpha, Candidates, Context, Published, SearchError, Strategy, Unsuitable,
        parts::{AdamConfig, Alpha, AlphaInit, EarlyStop, EarlyStopConfig, Mixture, Relaxation, checks},
    },
};

/// Settings of second-order DARTS, `[strategy.darts-2nd]`.
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `epochs` | 50 | >= 1 | all epochs; DARTS, 3.1 |
/// | `alpha_init` | `normal(1e-3)` | `constant` (1/\|O\|) | the authors' code |
/// | `early_stop` | | | table, see [`EarlyStopConfig`] |
/// | `alpha_optimiser` | | | table, see [`AdamConfig`] |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Darts2ndConfig {
    /// All epochs.
    pub epochs: usize,
    /// What alpha starts from.
    pub alpha_init: AlphaInit,
    /// When the search ends before its last epoch.
    pub early_stop: EarlyStopConfig,
    /// Optimiser of alpha.
    pub alpha_optimiser: AdamConfig,
}

impl Default for Darts2ndConfig {
    fn default() -> Self {
        Self {
            epochs: 50,
            alpha_init: AlphaInit::Normal(1e-3),
            early_stop: EarlyStopConfig::default(),
            alpha_optimiser: AdamConfig::default(),
        }
    }
}

/// DARTS with the gradient of alpha through a virtual step of omega.
#[derive(Debug)]
pub struct Darts2nd {
    epochs: usize,
    alpha: Alpha,
    stop: EarlyStop,
}

impl ByAlpha for Darts2nd {
    fn schedule(&self) -> Schedule {
        Schedule::new([("search", self.epochs)])
    }

    fn alpha(&self) -> &Alpha {
        &self.alpha
    }

    fn alpha_mut(&mut self) -> &mut Alpha {
        &mut self.alpha
    }

    fn early_stop(&self) -> Option<&EarlyStop> {
        Some(&self.stop)
    }

    fn early_stop_mut(&mut self) -> Option<&mut EarlyStop> {
        Some(&mut self.stop)
    }

    fn step(&mut self, _at: &At, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let gradient = cx.unrolled_gradient(&self.alpha.mixing(cx.mask(), None))?;
        self.alpha.descend(cx.mask(), None, &gradient);
        cx.omega_step(&self.alpha.mixing(cx.mask(), None))
    }
}

impl Strategy for Darts2nd {
    type Config = Darts2ndConfig;

    const ABOUT: &'static str = "DARTS with the gradient of alpha through a virtual step of the weights";

    const SOURCE: &'static str = "Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, arXiv 1806.09055";

    const SHORT: &'static [&'static str] = &["epochs=4"];

    const PUBLISHED: &'static [Published] = &[
        Published {
            space: "nas-bench-201",
            source: "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos: DARTS-V2.py, DARTS.config",
            settings: &["training.nesterov = true", "training.weight_decay = 5e-4", "strategy.darts-2nd.epochs = 50"],
        },
        Published {
            space: "darts",
            source: "quark0/darts, cnn/train_search.py with --unrolled",
            settings: &["strategy.darts-2nd.epochs = 50", "data.split = \"first-half\""],
        },
    ];

    fn check(config: &mut Darts2ndConfig, candidates: &Candidates) -> Result<(), Unsuitable> {
        checks::at_least("epochs", config.epochs as f64, 1.0)?;
        config.early_stop.check(candidates, 0, config.epochs)?;
        checks::optimiser(&config.alpha_optimiser)
    }

    fn new(config: &Darts2ndConfig, candidates: &Candidates, rng: &mut ChaCha8Rng) -> Self {
        let values = config.alpha_init.values(candidates.offered(), rng);
        let mixture = Mixture::new(candidates, Relaxation::Softmax);
        let stop = EarlyStop::new(&config.early_stop, candidates);
        Self { epochs: config.epochs, alpha: Alpha::new(values, mixture, config.alpha_optimiser.clone()), stop }
    }
}

#[cfg(test)]
mod tests {
    use engine::{Batch, Engine, Gradients, ImageShape, NetworkSpec, Normalisation, Pass, Sgd, Vector};

    use super::*;
    use crate::{
        search::fake_engine::FakeEngine,
        space::{NasBench201, NetworkShape},
        supernet::{Mixing, PerOp, Supernet},
    };

    const SGD: Sgd = Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.03, clip_norm: None };

    /// Both losses are differentiable numbers where the images add nothing to them.
    const BATCH: Batch<'_> = Batch { images: &[0.0; 192], labels: &[1] };

    fn network() -> NetworkSpec {
        let image = ImageShape { height: 8, width: 8, channels: 3 };
        let shape = NetworkShape { image, classes: 10, channels: 4, cells: 1, stem_stride: 1 };
        Candidates::all(&NasBench201).supernet(&shape).unwrap()
    }

    fn weights() -> Vec<f32> {
        (0..30).map(|i| 0.1 + 0.02 * (i % 7) as f32).collect()
    }

    /// An engine that has made a step, so that its momentum is not 0.
    fn engine() -> FakeEngine {
        let mut engine = FakeEngine::new(&network());
        engine.train_step(BATCH, Pass::new(&weights()), Gradients::Omega).unwrap();
        engine.sgd_step(&SGD, 0.1);
        engine
    }

    fn unrolled(lr: f32) -> Vec<f64> {
        let mut supernet = Supernet::new(Box::new(engine()));
        let before = supernet.state();
        let mixing = Mixing::from(PerOp::from_values(5, weights()));
        let output = supernet.unrolled_gradient(BATCH, BATCH, &mixing, &SGD, lr).unwrap();
        assert_eq!(supernet.state(), before, "omega and its momentum stay");
        output.mixing_grad
    }

    /// The loss on `D_val` after a virtual step, both with these mixing weights.
    fn loss(w: &[f32], lr: f32) -> f64 {
        let mut engine = engine();
        engine.train_step(BATCH, Pass::new(w), Gradients::Omega).unwrap();
        let step = [
            (1.0 - lr * SGD.weight_decay, Vector::Omega),
            (-lr * SGD.momentum, Vector::Momentum),
            (-lr, Vector::Gradient),
        ];
        engine.combine(Vector::Omega, &step).unwrap();
        engine.evaluate(BATCH, Pass::new(w), Normalisation::Batch).unwrap().loss
    }

    #[test]
    fn it_is_the_derivative_of_the_loss_after_a_virtual_step() {
        let lr = 0.8;
        let analytic = unrolled(lr);
        let first = unrolled(0.0);
        for i in 0..30 {
            let (mut up, mut down) = (weights(), weights());
            up[i] += 0.01;
            down[i] -= 0.01;
            let numeric = (loss(&up, lr) - loss(&down, lr)) / 0.02;
            assert!((numeric - analytic[i]).abs() < 3e-3, "{i}: {numeric} {}", analytic[i]);
        }
        // The second-order part is no small one here.
        assert!(analytic.iter().zip(&first).any(|(a, b)| (a - b).abs() > 0.1), "{analytic:?} {first:?}");
    }

    #[test]
    fn with_learning_rate_0_it_is_first_order() {
        let mut supernet = Supernet::new(Box::new(engine()));
        let mixing = Mixing::from(PerOp::from_values(5, weights()));
        assert_eq!(unrolled(0.0), supernet.mixing_gradient(BATCH, &mixing).unwrap().mixing_grad);
    }
}
