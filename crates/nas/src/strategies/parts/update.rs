use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::Alpha;
use crate::{
    search::{Context, SearchError},
    supernet::PerOp,
};

/// How alpha is trained beside omega.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlphaUpdate {
    /// A first-order step of alpha on a batch of `D_val` before each step of omega (DARTS, first order).
    #[default]
    Bilevel,
    /// Alpha takes its gradient from the pass that trains omega, on `D_train`.
    Joint,
    /// Alpha is not trained.
    None,
}

impl AlphaUpdate {
    /// One step of alpha and omega.
    ///
    /// # Errors
    /// A loss that is not a number; whatever the engine refuses.
    pub fn step(self, alpha: &mut Alpha, dropout: Option<&SkipDropout>, cx: &mut Context) -> Result<(), SearchError> {
        let keep = dropout.and_then(|d| d.draw(cx));
        let keep = |i: usize| keep.as_ref().map_or(1.0, |k| k.values()[i]);
        let weights = |alpha: &Alpha, cx: &Context| {
            let mut w = alpha.weights(cx.mask());
            w.values_mut().iter_mut().enumerate().for_each(|(i, w)| *w *= keep(i));
            w.map(|&w| w as f32)
        };
        let descend = |alpha: &mut Alpha, cx: &Context, mut gradient: Vec<f64>| {
            gradient.iter_mut().enumerate().for_each(|(i, g)| *g *= keep(i));
            alpha.descend(cx.mask(), &gradient);
        };
        match self {
            Self::Bilevel => {
                let gradient = cx.mixing_gradient(&weights(alpha, cx))?;
                descend(alpha, cx, gradient);
                cx.omega_step(&weights(alpha, cx))
            }
            Self::Joint => {
                let gradient = cx.joint_step(&weights(alpha, cx))?;
                descend(alpha, cx, gradient);
                Ok(())
            }
            Self::None => cx.omega_step(&weights(alpha, cx)),
        }
    }
}

/// Drops `skip_connect` at random while training, so that it does not crowd the others out.
///
/// The mixing weights are all an engine takes, so what is dropped is the whole operation on one edge in all cells for one
/// step, with `w / (1 - p)` in the steps where it stays. (VP-DARTS drops single activations; the mean is the same.)
#[derive(Clone, Copy, Debug)]
pub struct SkipDropout {
    /// Column of `skip_connect`.
    pub op: usize,
    /// Probability `p` of dropping, in `[0, 1)`.
    pub probability: f64,
}

impl SkipDropout {
    /// The factors on `w: [E, O]` in the current step; `None` where nothing is dropped at all.
    pub fn draw(&self, cx: &Context) -> Option<PerOp<f64>> {
        if self.probability == 0.0 {
            return None;
        }
        let (edges, ops) = (cx.mask().edges(), cx.mask().ops());
        let mut rng = cx.step_rng();
        let mut factors = PerOp::filled(edges, ops, 1.0);
        for edge in 0..edges {
            let uniform = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            factors[(edge, self.op)] = if uniform < self.probability { 0.0 } else { 1.0 / (1.0 - self.probability) };
        }
        Some(factors)
    }
}
