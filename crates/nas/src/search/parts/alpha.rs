use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    adam::{Adam, AdamConfig},
    regulariser::Regulariser,
    relaxation::Relax,
};
use crate::{
    random,
    supernet::{Mask, Mixing, MixingGradient, OpAt, PerOp},
};

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

impl AlphaInit {
    /// Initial values `[E, O]`, 0 where an edge does not have an operation; `rng` is used by [`AlphaInit::Normal`] only.
    pub fn values(self, offered: &Mask, rng: &mut impl Rng) -> PerOp<f64> {
        let mut values = PerOp::filled(offered.edges(), offered.ops(), 0.0);
        for (edge, values) in values.rows_mut().enumerate() {
            let there = offered.row(edge);
            let share = 1.0 / there.iter().filter(|&&there| there).count() as f64;
            for (value, &there) in values.iter_mut().zip(there) {
                let initial = match self {
                    Self::Constant => share,
                    Self::Normal(sigma) => sigma * random::standard_normal(rng),
                };
                *value = if there { initial } else { 0.0 };
            }
        }
        values
    }
}

/// The architecture parameters `alpha: [E, O]`, composed: their values, how mixing weights follow from them, their optimiser
/// and, where a method has one, a penalty on them.
#[derive(Debug)]
pub struct Alpha {
    values: PerOp<f64>,
    relax: Box<dyn Relax>,
    adam: Adam,
    regulariser: Option<Box<dyn Regulariser>>,
    /// Largest norm of the gradient.
    clip_norm: Option<f64>,
}

#[derive(Deserialize)]
struct AlphaState {
    alpha: PerOp<f64>,
    adam: Adam,
}

impl Alpha {
    /// From initial values.
    pub fn new(values: PerOp<f64>, relax: impl Relax + 'static, adam: AdamConfig) -> Self {
        let adam = Adam::new(adam, values.values().len());
        Self { values, relax: Box::new(relax), adam, regulariser: None, clip_norm: None }
    }

    /// With a penalty.
    #[must_use]
    pub fn regularised(self, regulariser: impl Regulariser + 'static) -> Self {
        Self { regulariser: Some(Box::new(regulariser)), ..self }
    }

    /// With a bound on the norm of the gradient; the optimiser's weight decay has no part in it.
    #[must_use]
    pub fn clipped(self, norm: f64) -> Self {
        Self { clip_norm: Some(norm), ..self }
    }

    /// From here on mixing weights follow in this way. What changes with the epochs is set before every step, so that nothing of
    /// it has to be saved; the weights without noise must not depend on it.
    pub fn relax_by(&mut self, relax: impl Relax + 'static) {
        self.relax = Box::new(relax);
    }

    /// From here on with this penalty, see [`Alpha::relax_by`].
    pub fn regularise_by(&mut self, regulariser: impl Regulariser + 'static) {
        self.regulariser = Some(Box::new(regulariser));
    }

    /// The values, `[E, O]`.
    pub fn values(&self) -> &PerOp<f64> {
        &self.values
    }

    /// Mixing weights `w: [E, O]`.
    pub fn weights(&self, mask: &Mask) -> PerOp<f64> {
        self.relax.weights(&self.values, mask, None)
    }

    /// What is random in one step.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Option<PerOp<f64>> {
        self.relax.draw((self.values.edges(), self.values.ops()), rng)
    }

    /// What a step is run with, from what was drawn: mixing weights and run mask.
    pub fn mixing(&self, mask: &Mask, noise: Option<&PerOp<f64>>) -> Mixing {
        Mixing {
            w: self.relax.weights(&self.values, mask, noise).map(|&w| w as f32),
            run: self.relax.run(&self.values, mask, noise),
        }
    }

    /// `dL/dalpha` where alpha has these values, without noise; `of` is the gradient of a pass.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn gradient_at<E>(
        &self,
        values: &PerOp<f64>,
        mask: &Mask,
        of: impl FnOnce(&Mixing) -> Result<MixingGradient, E>,
    ) -> Result<Vec<f64>, E> {
        let w = self.relax.weights(values, mask, None).map(|&w| w as f32);
        Ok(self.relax.pull_back(values, mask, None, &of(&w.into())?))
    }

    /// Mixing weights with some operations taken out, as an importance asks for.
    pub fn weights_without(&self, mask: &Mask, ops: &[OpAt]) -> PerOp<f64> {
        self.relax.weights_without(&self.values, mask, ops)
    }

    /// One step of the optimiser along the gradient of a step with this noise.
    pub fn descend(&mut self, mask: &Mask, noise: Option<&PerOp<f64>>, gradient: &MixingGradient) {
        let mut gradient = self.relax.pull_back(&self.values, mask, noise, gradient);
        if let Some(regulariser) = &self.regulariser {
            regulariser.add(&self.values, mask, &mut gradient);
        }
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if let Some(most) = self.clip_norm.filter(|&most| norm > most) {
            gradient.iter_mut().for_each(|g| *g *= most / norm);
        }
        self.adam.step(self.values.values_mut(), &gradient, mask.values());
    }

    /// Multiplies the values of some operations (Eq. 7 of HPE-DARTS).
    pub fn scale(&mut self, ops: &[OpAt], factor: f64) {
        for &at in ops {
            self.values[at] *= factor;
        }
    }

    /// Takes operations out for good.
    pub fn remove(&mut self, ops: &[OpAt], mask_before: &Mask) {
        self.relax.remove(&mut self.values, mask_before, ops);
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

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;
    use crate::search::parts::{Mixture, Relaxation, Removal};

    fn alpha(relaxation: Relaxation, removal: Removal) -> Alpha {
        let values = AlphaInit::Constant.values(&Mask::filled(6, 5, true), &mut ChaCha8Rng::seed_from_u64(1));
        Alpha::new(values, Mixture { relaxation, removal, ..Default::default() }, AdamConfig::default())
    }

    fn of_w(gradient: Vec<f64>) -> MixingGradient {
        MixingGradient { w: gradient, edges: vec![0.0; 6] }
    }

    #[test]
    fn initial_values_are_as_asked() {
        let constant = alpha(Relaxation::Raw, Removal::Zero);
        assert!(constant.values().values().iter().all(|&v| v == 0.2));
        let normal = AlphaInit::Normal(1e-3).values(&Mask::filled(100, 100, true), &mut ChaCha8Rng::seed_from_u64(1));
        let v = normal.values();
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
    fn a_long_gradient_is_shortened_to_the_bound() {
        let mask = Mask::filled(6, 5, true);
        let after = |clip: Option<f64>, gradient: f64| {
            let mut a = alpha(Relaxation::Raw, Removal::Zero);
            a = clip.map_or_else(|| alpha(Relaxation::Raw, Removal::Zero), |norm| a.clipped(norm));
            // Adam forgets the size of a gradient, but not beside one of another size.
            a.descend(&mask, None, &of_w(vec![1.0; 30]));
            a.descend(&mask, None, &of_w(vec![gradient; 30]));
            a.values()[(0, 0)]
        };
        // 30 numbers of 2 have the norm 2 sqrt(30).
        let bound = 30.0_f64.sqrt();
        assert_eq!(after(Some(bound), 2.0), after(None, 1.0));
        assert_eq!(after(Some(3.0 * bound), 2.0), after(None, 2.0));
        assert_ne!(after(None, 2.0), after(None, 1.0));
    }

    #[test]
    fn descending_lowers_what_costs_and_leaves_the_dead() {
        let mut a = alpha(Relaxation::Raw, Removal::Zero);
        let mut mask = Mask::filled(6, 5, true);
        mask[(0, 1)] = false;
        let mut gradient = vec![0.0; 30];
        gradient[0] = 1.0;
        gradient[1] = 1.0;
        a.descend(&mask, None, &of_w(gradient));
        assert!(a.values()[(0, 0)] < 0.2);
        assert_eq!(a.values()[(0, 1)], 0.2);
    }

    #[test]
    fn removal_rescales_raw_alpha_where_wanted() {
        let mask = Mask::filled(6, 5, true);
        let mut kept = alpha(Relaxation::Raw, Removal::Zero);
        kept.remove(&[(0, 0), (0, 1)], &mask);
        assert_eq!(kept.values()[(0, 2)], 0.2);
        let mut scaled = alpha(Relaxation::Raw, Removal::Renormalise);
        scaled.remove(&[(0, 0), (0, 1)], &mask);
        assert!((scaled.values()[(0, 2)] - 1.0 / 3.0).abs() < 1e-15);
        assert_eq!(scaled.values()[(1, 2)], 0.2);
    }

    #[test]
    fn a_state_of_another_shape_is_refused() {
        let mut a = alpha(Relaxation::Raw, Removal::Zero);
        let other = AlphaInit::Constant.values(&Mask::filled(14, 8, true), &mut ChaCha8Rng::seed_from_u64(1));
        let other = Alpha::new(other, Mixture::default(), AdamConfig::default());
        assert_eq!(a.restore(&other.state()).unwrap_err(), "alpha is (14, 8), expected (6, 5)");
    }

    #[test]
    fn a_penalty_is_part_of_the_gradient_and_noise_scales_it() {
        #[derive(Debug)]
        struct Pull;
        impl Regulariser for Pull {
            fn add(&self, _alpha: &PerOp<f64>, _mask: &Mask, gradient: &mut [f64]) {
                gradient[3] -= 1.0;
            }
        }
        let mask = Mask::filled(6, 5, true);
        let mut a = alpha(Relaxation::Raw, Removal::Zero).regularised(Pull);
        let mut noise = PerOp::filled(6, 5, 1.0);
        noise[(0, 1)] = 0.0;
        let mixing = a.mixing(&mask, Some(&noise));
        assert_eq!((&mixing.w.row(0)[..2], mixing.run), (&[0.2, 0.0][..], None));
        let mut gradient = vec![0.0; 30];
        gradient[0] = 1.0;
        gradient[1] = 1.0;
        a.descend(&mask, Some(&noise), &of_w(gradient));
        let [first, dropped, other, pulled] = [0, 1, 2, 3].map(|op| a.values()[(0, op)]);
        assert!(first < 0.1999 && pulled > 0.2001, "{first} {pulled}");
        // What was dropped has no gradient of the loss, only the optimiser's decay, as what has none at all.
        assert_eq!(dropped, other);
    }
}
