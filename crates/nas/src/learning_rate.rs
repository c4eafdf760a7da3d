/// Learning rate of omega: half a cosine from `max` to `min` over all epochs, constant within an epoch, as
/// PyTorch's `CosineAnnealingLR` stepped once an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    /// In the first epoch.
    pub max: f64,
    /// After the last epoch.
    pub min: f64,
    /// All epochs.
    pub epochs: usize,
}

impl Cosine {
    /// In `epoch`, counted from 0.
    pub fn at(&self, epoch: usize) -> f64 {
        let done = epoch as f64 / self.epochs.max(1) as f64;
        self.min + (self.max - self.min) * (1.0 + (std::f64::consts::PI * done).cos()) / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_pytorch() {
        // torch.optim.lr_scheduler.CosineAnnealingLR(SGD(lr=0.025), T_max=15, eta_min=0.001) at epochs 0, 1, 7, 14.
        let cosine = Cosine { max: 0.025, min: 0.001, epochs: 15 };
        for (epoch, expected) in
            [(0, 0.025), (1, 0.024_737_771_208_806), (7, 0.014_254_341_559_212), (14, 0.001_262_228_791_194)]
        {
            assert!((cosine.at(epoch) - expected).abs() < 1e-9, "{epoch}: {}", cosine.at(epoch));
        }
    }
}
