use std::fmt;

use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Adam, AdamConfig, Relaxation, Removal};
use crate::supernet::{Mask, OpAt, PerOp};

/// What alpha starts from. Written `constant` or `normal(1e-3)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AlphaInit {
    /// `1/|O|` everywhere (VP-DARTS).
    #[default]
    Constant,
    /// Independent normal values of mean 0 and this standard deviation (DARTS: 1e-3).
    Normal(f64),
}

impl TryFrom<String> for AlphaInit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "constant" {
            return Ok(Self::Constant);
        }
        text.strip_prefix("normal(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|sigma| sigma.trim().parse::<f64>().ok())
            .filter(|sigma| sigma.is_finite() && *sigma >= 0.0)
            .map(Self::Normal)
            .ok_or_else(|| format!("`{text}` is not an initial alpha, expected `constant` or `normal(1e-3)`"))
    }
}

impl From<AlphaInit> for String {
    fn from(init: AlphaInit) -> Self {
        init.to_string()
    }
}

impl fmt::Display for AlphaInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Normal(sigma) => write!(f, "normal({sigma:e})"),
        }
    }
}

/// The architecture parameters `alpha: [E, O]` with everything that turns them into mixing weights and trains them.
#[derive(Clone, Debug)]
pub struct Alpha {
    values: PerOp<f64>,
    relaxation: Relaxation,
    removal: Removal,
    adam: Adam,
}

#[derive(Deserialize)]
struct AlphaState {
    alpha: PerOp<f64>,
    adam: Adam,
}

impl Alpha {
    /// Initial values of shape `[edges, ops]`; `rng` is used by [`AlphaInit::Normal`] only.
    pub fn new(
        init: AlphaInit,
        (edges, ops): (usize, usize),
        relaxation: Relaxation,
        removal: Removal,
        adam: AdamConfig,
        rng: &mut impl Rng,
    ) -> Self {
        let mut values = PerOp::filled(edges, ops, 1.0 / ops as f64);
        if let AlphaInit::Normal(sigma) = init {
            values.values_mut().iter_mut().for_each(|v| *v = sigma * standard_normal(rng));
        }
        Self { values, relaxation, removal, adam: Adam::new(adam, edges * ops) }
    }

    /// The values, `[E, O]`.
    pub fn values(&self) -> &PerOp<f64> {
        &self.values
    }

    /// Mixing weights `w: [E, O]`.
    pub fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.relaxation.weights(&self.values, mask, self.removal)
    }

    /// Mixing weights with some operations taken out, as an importance asks for.
    pub fn weights_without(&self, mask: &Mask, ops: &[OpAt]) -> PerOp<f64> {
        let mut w = self.weights(mask);
        ops.iter().for_each(|&at| self.removal.take_out(&mut w, at));
        w
    }

    /// One step of Adam along `dL/dw: [E, O]`.
    pub fn descend(&mut self, mask: &Mask, mixing_grad: &[f64]) {
        let gradient = self.relaxation.backward(&self.values, mask, self.removal, mixing_grad);
        self.adam.step(self.values.values_mut(), &gradient, mask.values());
    }

    /// Multiplies the values of some operations (Eq. 7 of HPE-DARTS).
    pub fn scale(&mut self, ops: &[OpAt], factor: f64) {
        for &at in ops {
            self.values[at] *= factor;
        }
    }

    /// Takes operations out for good: what is left is rescaled where that is wanted and alpha is the weight itself.
    pub fn remove(&mut self, ops: &[OpAt], mask_before: &Mask) {
        if self.relaxation == Relaxation::Raw {
            let mut w = self.weights(mask_before);
            ops.iter().for_each(|&at| self.removal.take_out(&mut w, at));
            for at in mask_before.alive().filter(|at| !ops.contains(at)) {
                self.values[at] = w[at];
            }
        }
    }

    /// For a checkpoint.
    pub fn state(&self) -> Value {
        json!({ "alpha": self.values, "adam": self.adam })
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// Anything that is not such a state; one of another shape, with both shapes.
    pub fn restore(&mut self, state: &Value) -> Result<(), String> {
        let state = AlphaState::deserialize(state).map_err(|e| e.to_string())?;
        let shape = |p: &PerOp<f64>| (p.edges(), p.ops());
        if shape(&state.alpha) != shape(&self.values) {
            return Err(format!("alpha is {:?}, expected {:?}", shape(&state.alpha), shape(&self.values)));
        }
        self.adam.restore(state.adam)?;
        self.values = state.alpha;
        Ok(())
    }
}

/// Box-Muller on 53-bit uniform numbers in (0, 1].
fn standard_normal(rng: &mut impl Rng) -> f64 {
    let mut uniform = || ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let radius = (-2.0 * uniform().ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    fn alpha(init: AlphaInit, relaxation: Relaxation, removal: Removal) -> Alpha {
        Alpha::new(init, (6, 5), relaxation, removal, AdamConfig::default(), &mut ChaCha8Rng::seed_from_u64(1))
    }

    #[test]
    fn initial_values_are_as_asked() {
        let constant = alpha(AlphaInit::Constant, Relaxation::Raw, Removal::Zero);
        assert!(constant.values().values().iter().all(|&v| v == 0.2));
        let normal = Alpha::new(
            AlphaInit::Normal(1e-3),
            (100, 100),
            Relaxation::Raw,
            Removal::Zero,
            AdamConfig::default(),
            &mut ChaCha8Rng::seed_from_u64(1),
        );
        let v = normal.values().values();
        let mean = v.iter().sum::<f64>() / 1e4;
        let std = (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        // Five standard errors of 10,000 draws.
        assert!(mean.abs() < 5e-5 && (std / 1e-3 - 1.0).abs() < 0.036, "{mean} {std}");
    }

    #[test]
    fn initialisation_is_written_as_it_is_read() {
        for init in [AlphaInit::Constant, AlphaInit::Normal(1e-3)] {
            assert_eq!(AlphaInit::try_from(String::from(init)), Ok(init));
        }
        assert!(AlphaInit::try_from("normal".to_owned()).unwrap_err().contains("expected `constant`"));
        assert!(AlphaInit::try_from("normal(-1)".to_owned()).is_err());
    }

    #[test]
    fn descending_lowers_what_costs_and_leaves_the_dead() {
        let mut a = alpha(AlphaInit::Constant, Relaxation::Raw, Removal::Zero);
        let mut mask = Mask::filled(6, 5, true);
        mask[(0, 1)] = false;
        let mut gradient = vec![0.0; 30];
        gradient[0] = 1.0;
        gradient[1] = 1.0;
        a.descend(&mask, &gradient);
        assert!(a.values()[(0, 0)] < 0.2);
        assert_eq!(a.values()[(0, 1)], 0.2);
    }

    #[test]
    fn removal_rescales_raw_alpha_where_wanted() {
        let mask = Mask::filled(6, 5, true);
        let mut kept = alpha(AlphaInit::Constant, Relaxation::Raw, Removal::Zero);
        kept.remove(&[(0, 0), (0, 1)], &mask);
        assert_eq!(kept.values()[(0, 2)], 0.2);
        let mut scaled = alpha(AlphaInit::Constant, Relaxation::Raw, Removal::Renormalise);
        scaled.remove(&[(0, 0), (0, 1)], &mask);
        assert!((scaled.values()[(0, 2)] - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(scaled.values()[(1, 2)], 0.2);
    }

    #[test]
    fn a_state_of_another_shape_is_refused() {
        let mut a = alpha(AlphaInit::Constant, Relaxation::Raw, Removal::Zero);
        let other = Alpha::new(
            AlphaInit::Constant,
            (14, 8),
            Relaxation::Raw,
            Removal::Zero,
            AdamConfig::default(),
            &mut ChaCha8Rng::seed_from_u64(1),
        );
        assert_eq!(a.restore(&other.state()).unwrap_err(), "alpha is (14, 8), expected (6, 5)");
    }
}
