use serde::{Deserialize, Serialize};

use super::alpha::Alpha;
use crate::{
    search::{context::Context, error::SearchError},
    supernet::Mixing,
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
    /// One step of alpha and omega. What is random is drawn once for both.
    ///
    /// # Errors
    /// A loss that is not a number; whatever the engine refuses.
    pub fn step(self, alpha: &mut Alpha, cx: &mut Context<'_>) -> Result<(), SearchError> {
        let noise = alpha.draw(&mut cx.step_rng());
        let noise = noise.as_ref();
        let mixing = |alpha: &Alpha, cx: &Context<'_>| -> Mixing { alpha.mixing(cx.mask(), noise) };
        match self {
            Self::Bilevel => {
                let gradient = cx.mixing_gradient(&mixing(alpha, cx))?;
                alpha.descend(cx.mask(), noise, &gradient);
                cx.omega_step(&mixing(alpha, cx))
            }
            Self::Joint => {
                let gradient = cx.joint_step(&mixing(alpha, cx))?;
                alpha.descend(cx.mask(), noise, &gradient);
                Ok(())
            }
            Self::None => cx.omega_step(&mixing(alpha, cx)),
        }
    }
}
