use engine::Engines;
use toml::Table;

use crate::{
    blackbox::{
        domain::Domain,
        error::BlackboxError,
        evaluator::{Evaluation, Evaluator, Levels},
    },
    checksum,
    proxy::{Candidate, Proxy},
    space::{Genotype, NetworkShape},
};

/// A training-free score of the network at initialisation; each costs 1.
#[derive(Debug)]
pub struct ProxyEvaluator<'a> {
    domain: Domain,
    proxy: &'a dyn Proxy,
    shape: NetworkShape,
    images: Vec<f32>,
    labels: Vec<u32>,
    seed: u64,
    engines: &'a dyn Engines,
}

impl ProxyEvaluator<'_> {
    /// What its costs are counted in.
    pub const UNIT: &'static str = "evaluations";
}

impl<'a> ProxyEvaluator<'a> {
    /// Checks that a proxy gives a network a value without others to compare it with.
    ///
    /// # Errors
    /// [`BlackboxError::Composite`].
    pub fn check(proxy: &dyn Proxy) -> Result<(), BlackboxError> {
        match proxy.composite() {
            Some(_) => Err(BlackboxError::Composite { proxy: proxy.name() }),
            None => Ok(()),
        }
    }

    /// `images`: `[n, H, W, C]`, normalised, and their labels, empty for a proxy that needs none; `seed`: what the weights are
    /// drawn from, the same for all networks.
    ///
    /// # Errors
    /// A shape that makes no network of the space; [`BlackboxError::Composite`].
    pub fn new(
        domain: &Domain,
        proxy: &'a dyn Proxy,
        shape: NetworkShape,
        (images, labels): (Vec<f32>, Vec<u32>),
        seed: u64,
        engines: &'a dyn Engines,
    ) -> Result<Self, BlackboxError> {
        Self::check(proxy)?;
        domain.space().supernet(&shape)?;
        Ok(Self { domain: domain.clone(), proxy, shape, images, labels, seed, engines })
    }

    /// What its values depend on beside space and seed, as TOML: the proxy, the networks' sizes and, where they are read, the images.
    pub fn settings(&self) -> Table {
        let NetworkShape { image, classes, channels, cells, .. } = self.shape;
        let sizes = [("height", image.height), ("width", image.width), ("classes", classes)];
        let sizes = sizes.into_iter().chain([("channels", channels), ("cells", cells), ("images", self.labels.len())]);
        let mut settings: Table = sizes.map(|(key, size)| (key.to_owned(), (size as i64).into())).collect();
        settings.insert("name".to_owned(), self.proxy.name().into());
        if !self.images.is_empty() {
            let mut sum = checksum::Sum::default();
            self.images.iter().for_each(|pixel| sum.add(&pixel.to_le_bytes()));
            self.labels.iter().for_each(|label| sum.add(&label.to_le_bytes()));
            settings.insert("images_md5".to_owned(), sum.finish().into());
        }
        Table::from_iter([("proxy".to_owned(), settings.into())])
    }
}

impl Evaluator for ProxyEvaluator<'_> {
    fn levels(&self) -> Levels {
        Levels { count: 1, usual: 0 }
    }

    fn unit(&self) -> &'static str {
        Self::UNIT
    }

    fn costs(&self, _level: usize) -> (f64, f64) {
        (1.0, 1.0)
    }

    fn evaluate(&self, genotype: &Genotype, _level: usize) -> Result<Evaluation, BlackboxError> {
        let spec = self.domain.space().network(genotype, &self.shape)?;
        let cost = spec.graph()?.cost();
        let Self { images, labels, seed, engines, .. } = self;
        let candidate = Candidate { spec: &spec, cost, images, labels, seed: *seed, engines: *engines };
        Ok(Evaluation { value: self.proxy.score(&candidate)?.value, cost: 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engines,
        proxy::{az_nas::AzNas, params::Params},
        space::{Darts, SearchSpace},
    };

    #[test]
    fn the_value_is_the_proxys_score() {
        let image = engine::ImageShape { height: 8, width: 8, channels: 3 };
        let shape = NetworkShape { image, classes: 10, channels: 4, cells: 3, stem_stride: 1 };
        let (domain, engines) = (Domain::new(&Darts::Original), engines::cpu(1).unwrap());
        let evaluator = ProxyEvaluator::new(&domain, &Params, shape, (vec![], vec![]), 0, &*engines).unwrap();
        let genotype = domain.genotype(&vec![2; domain.variables().len()]).unwrap();
        let Evaluation { value, cost } = evaluator.evaluate(&genotype, 0).unwrap();
        let expected = Darts::Original.network(&genotype, &shape).unwrap().graph().unwrap().cost().params_m();
        assert_eq!((value, cost), (expected, 1.0));
        let refused = ProxyEvaluator::new(&domain, &AzNas, shape, (vec![], vec![]), 0, &*engines).unwrap_err();
        assert!(refused.to_string().starts_with("the proxy `az-nas` ranks networks among each other"), "{refused}");
        assert!(refused.hint().unwrap().contains("score"));
        let none = NetworkShape { cells: 1, ..shape };
        assert!(ProxyEvaluator::new(&domain, &Params, none, (vec![], vec![]), 0, &*engines).is_err());
    }
}
