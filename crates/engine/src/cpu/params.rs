//! The trainable parameters of a network in one flat store, with gradients and momentum.

use std::collections::BTreeMap;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::contract::Vector;
use crate::error::EngineError;

/// Uniform in [0, 1), multiples of 2^-24. Each name has a stream of its own, so that its numbers depend on the seed and the
/// name only, not on which others exist.
pub(crate) fn stream(seed: u64, name: &str) -> impl FnMut() -> f64 + use<> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // FNV-1a.
    rng.set_stream(name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)));
    move || f64::from(rng.next_u32() >> 8) / f64::from(1 << 24)
}

/// Initial values of a tensor: uniform in +-1/sqrt(fan in), PyTorch's default for convolutions and linear layers.
pub(crate) fn initialiser(seed: u64, name: &str) -> impl FnMut(usize) -> f32 + use<> {
    let mut unit = stream(seed, name);
    move |fan_in| ((2.0 * unit() - 1.0) / (fan_in as f64).sqrt()) as f32
}

/// Index of a parameter; stays valid when others are removed.
pub(crate) type ParamId = usize;

#[derive(Clone, Debug)]
struct Info {
    name: String,
    shape: Vec<usize>,
    /// `None` once removed.
    range: Option<Range<usize>>,
}

/// Values, gradients and momentum of all parameters, each contiguous.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    infos: Vec<Info>,
    pub(crate) values: Vec<f32>,
    pub(crate) grads: Vec<f32>,
    pub(crate) momentum: Vec<f32>,
    /// Copies by the caller's number.
    saved: BTreeMap<u8, Vec<f32>>,
}

impl Params {
    /// Adds a parameter, which has no values before [`Params::allocate`].
    pub(crate) fn add(&mut self, name: String, shape: &[usize]) -> ParamId {
        let (start, len) = (self.len(), shape.iter().product::<usize>());
        self.infos.push(Info { name, shape: shape.to_vec(), range: Some(start..start + len) });
        self.infos.len() - 1
    }

    /// Values of all parameters, whether they have memory yet or not.
    pub(crate) fn len(&self) -> usize {
        self.infos.iter().rev().find_map(|info| Some(info.range.as_ref()?.end)).unwrap_or(0)
    }

    /// Makes room for what has been added: zeros.
    pub(crate) fn allocate(&mut self) {
        let len = self.len();
        for vector in [&mut self.values, &mut self.grads, &mut self.momentum] {
            vector.resize(len, 0.0);
        }
    }

    fn range(&self, id: ParamId) -> Range<usize> {
        self.infos[id].range.clone().unwrap_or(0..0)
    }

    /// Values of a parameter; empty once removed.
    pub(crate) fn value(&self, id: ParamId) -> &[f32] {
        &self.values[self.range(id)]
    }

    /// Values of a parameter, to be set.
    pub(crate) fn value_mut(&mut self, id: ParamId) -> &mut [f32] {
        let range = self.range(id);
        &mut self.values[range]
    }

    /// Gradient of a parameter.
    pub(crate) fn grad_mut(&mut self, id: ParamId) -> &mut [f32] {
        let range = self.range(id);
        &mut self.grads[range]
    }

    /// Removes parameters and frees their memory.
    pub(crate) fn remove(&mut self, ids: &[ParamId]) {
        for &id in ids {
            self.infos[id].range = None;
        }
        let mut start = 0;
        let old = std::mem::take(self);
        for mut info in old.infos {
            if let Some(range) = info.range.take() {
                for (to, from) in [
                    (&mut self.values, &old.values),
                    (&mut self.grads, &old.grads),
                    (&mut self.momentum, &old.momentum),
                ] {
                    to.extend_from_slice(&from[range.clone()]);
                }
                for (&number, from) in &old.saved {
                    self.saved.entry(number).or_default().extend_from_slice(&from[range.clone()]);
                }
                info.range = Some(start..start + range.len());
                start += range.len();
            }
            self.infos.push(info);
        }
    }

    /// A vector's values.
    pub(crate) fn vector(&self, vector: Vector) -> Result<&[f32], EngineError> {
        match vector {
            Vector::Omega => Ok(&self.values),
            Vector::Gradient => Ok(&self.grads),
            Vector::Momentum => Ok(&self.momentum),
            Vector::Saved(number) => self.saved.get(&number).map(Vec::as_slice).ok_or(EngineError::NoVector { number }),
        }
    }

    /// `to = sum of factor * vector`, summed in the order of the terms.
    pub(crate) fn combine(&mut self, to: Vector, terms: &[(f32, Vector)]) -> Result<(), EngineError> {
        let mut sum = vec![0f32; self.values.len()];
        for &(factor, vector) in terms {
            for (s, &v) in sum.iter_mut().zip(self.vector(vector)?) {
                *s += factor * v;
            }
        }
        match to {
            Vector::Omega => self.values = sum,
            Vector::Gradient => self.grads = sum,
            Vector::Momentum => self.momentum = sum,
            Vector::Saved(number) => drop(self.saved.insert(number, sum)),
        }
        Ok(())
    }

    /// Parameters that exist: name, shape, range in the flat stores.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[usize], Range<usize>)> {
        self.infos.iter().filter_map(|i| Some((i.name.as_str(), i.shape.as_slice(), i.range.clone()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_keeps_the_other_parameters_and_their_ids() {
        let mut p = Params::default();
        let ids: Vec<_> = (0..3).map(|i| p.add(format!("p{i}"), &[2, i + 1])).collect();
        assert_eq!((p.len(), p.values.len()), (12, 0));
        p.allocate();
        ids.iter().for_each(|&id| p.value_mut(id).fill(id as f32));
        p.grads.copy_from_slice(&p.values.clone());
        p.combine(Vector::Saved(3), &[(2.0, Vector::Omega), (1.0, Vector::Gradient)]).unwrap();
        p.remove(&ids[1..2]);
        assert_eq!(p.value(ids[0]), [0.0; 2]);
        assert!(p.value(ids[1]).is_empty());
        assert_eq!(p.value(ids[2]), [2.0; 6]);
        assert_eq!(p.grad_mut(ids[2]), [2.0; 6]);
        assert_eq!(p.vector(Vector::Saved(3)).unwrap(), [[0.0; 2].as_slice(), &[6.0; 6]].concat());
        assert_eq!(
            p.iter().map(|(n, s, _)| (n.to_owned(), s.to_vec())).collect::<Vec<_>>(),
            [("p0".to_owned(), vec![2, 1]), ("p2".to_owned(), vec![2, 3])]
        );
    }
}
