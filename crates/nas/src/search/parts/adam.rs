use serde::{Deserialize, Serialize};

/// Settings of [`Adam`].
///
/// | name | default | range | meaning and source |
/// |---|---|---|---|
/// | `learning_rate` | 3e-4 | > 0 | Adam; DARTS, 3.1 |
/// | `betas` | [0.5, 0.999] | [0, 1) each | DARTS, 3.1 |
/// | `weight_decay` | 1e-3 | >= 0 | added to the gradient; DARTS, 3.1 |
/// | `epsilon` | 1e-8 | > 0 | PyTorch |
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamConfig {
    /// Step size.
    pub learning_rate: f64,
    /// Decay of the running means of the gradient and of its square.
    pub betas: [f64; 2],
    /// L2 penalty.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 3e-4, betas: [0.5, 0.999], weight_decay: 1e-3, epsilon: 1e-8 }
    }
}

impl AdamConfig {
    /// What is out of range, if anything.
    pub fn fault(&self) -> Option<String> {
        let positive =
            |name: &str, x: f64| (!(x.is_finite() && x > 0.0)).then(|| format!("{name} = {x}, expected > 0"));
        positive("learning_rate", self.learning_rate)
            .or_else(|| positive("epsilon", self.epsilon))
            .or_else(|| {
                let beta = self.betas.iter().find(|b| !(0.0..1.0).contains(*b))?;
                Some(format!("betas holds {beta}, expected at least 0 and less than 1"))
            })
            .or_else(|| {
                let decay = self.weight_decay;
                (!(decay.is_finite() && decay >= 0.0)).then(|| format!("weight_decay = {decay}, expected >= 0"))
            })
    }
}

/// Adam in f64, as PyTorch computes it: the weight decay is part of the gradient (L2), both moments are bias-corrected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    #[serde(skip)]
    config: AdamConfig,
    steps: u32,
    first: Vec<f64>,
    second: Vec<f64>,
}

impl Adam {
    /// For `len` parameters.
    pub fn new(config: AdamConfig, len: usize) -> Self {
        Self { config, steps: 0, first: vec![0.0; len], second: vec![0.0; len] }
    }

    /// One step on the parameters that `active` names; the others and their moments stay as they are.
    ///
    /// # Panics
    /// Where the lengths differ.
    pub fn step(&mut self, parameters: &mut [f64], gradient: &[f64], active: &[bool]) {
        let lengths = [gradient.len(), active.len(), self.first.len()];
        assert!(lengths.iter().all(|&n| n == parameters.len()), "{lengths:?} for {} parameters", parameters.len());
        let AdamConfig { learning_rate, betas: [beta1, beta2], weight_decay, epsilon } = self.config;
        self.steps += 1;
        let exponent = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (correct1, correct2) = (1.0 - beta1.powi(exponent), 1.0 - beta2.powi(exponent));
        for i in (0..parameters.len()).filter(|&i| active[i]) {
            let g = gradient[i] + weight_decay * parameters[i];
            self.first[i] = beta1 * self.first[i] + (1.0 - beta1) * g;
            self.second[i] = beta2 * self.second[i] + (1.0 - beta2) * g * g;
            let root = self.second[i].sqrt() / correct2.sqrt() + epsilon;
            parameters[i] -= learning_rate / correct1 * self.first[i] / root;
        }
    }

    /// Takes over saved moments.
    ///
    /// # Errors
    /// Moments of another length, with both numbers.
    pub fn restore(&mut self, saved: Self) -> Result<(), String> {
        for moments in [&saved.first, &saved.second] {
            if moments.len() != self.first.len() {
                return Err(format!("Adam has {} moments, expected {}", moments.len(), self.first.len()));
            }
        }
        *self = Self { config: self.config.clone(), ..saved };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_agree_with_pytorch() {
        // torch.optim.Adam([0.2, -0.1], lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3) in float64, gradients below.
        let mut adam = Adam::new(AdamConfig::default(), 2);
        let mut p = [0.2, -0.1];
        for g in [[0.5, -0.25], [0.1, 0.3], [-0.4, 0.0]] {
            adam.step(&mut p, &g, &[true, true]);
        }
        for (p, e) in p.iter().zip([0.199_608_661_105_627_75, -0.099_893_052_868_423_76]) {
            assert!((p - e).abs() < 1e-15, "{p} is not {e}");
        }
    }

    #[test]
    fn inactive_parameters_do_not_move() {
        let mut adam = Adam::new(AdamConfig::default(), 2);
        let mut p = [0.2, 0.2];
        adam.step(&mut p, &[1.0, 1.0], &[true, false]);
        assert!(p[0] < 0.2);
        assert_eq!(p[1], 0.2);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let fault = |c: AdamConfig| c.fault().unwrap();
        assert_eq!(fault(AdamConfig { learning_rate: 0.0, ..Default::default() }), "learning_rate = 0, expected > 0");
        assert!(fault(AdamConfig { betas: [0.5, 1.0], ..Default::default() }).starts_with("betas holds 1"));
        assert!(fault(AdamConfig { weight_decay: f64::NAN, ..Default::default() }).contains("weight_decay"));
        assert_eq!(AdamConfig::default().fault(), None);
    }
}
