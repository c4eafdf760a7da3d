//! The trainable parameters of a network in one flat store, with gradients and momentum.

use std::ops::Range;

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
}

impl Params {
    /// Adds a parameter with its initial values.
    pub(crate) fn add(&mut self, name: String, shape: &[usize], init: impl FnMut() -> f32) -> ParamId {
        let (start, len) = (self.values.len(), shape.iter().product::<usize>());
        self.values.extend(std::iter::repeat_with(init).take(len));
        self.grads.resize(start + len, 0.0);
        self.momentum.resize(start + len, 0.0);
        self.infos.push(Info { name, shape: shape.to_vec(), range: Some(start..start + len) });
        self.infos.len() - 1
    }

    fn range(&self, id: ParamId) -> Range<usize> {
        self.infos[id].range.clone().unwrap_or(0..0)
    }

    /// Values of a parameter; empty once removed.
    pub(crate) fn value(&self, id: ParamId) -> &[f32] {
        &self.values[self.range(id)]
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
                info.range = Some(start..start + range.len());
                start += range.len();
            }
            self.infos.push(info);
        }
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
        let ids: Vec<_> = (0..3).map(|i| p.add(format!("p{i}"), &[2, i + 1], || i as f32)).collect();
        p.grads.copy_from_slice(&p.values.clone());
        p.remove(&ids[1..2]);
        assert_eq!(p.value(ids[0]), [0.0; 2]);
        assert!(p.value(ids[1]).is_empty());
        assert_eq!(p.value(ids[2]), [2.0; 6]);
        assert_eq!(p.grad_mut(ids[2]), [2.0; 6]);
        assert_eq!(
            p.iter().map(|(n, s, _)| (n.to_owned(), s.to_vec())).collect::<Vec<_>>(),
            [("p0".to_owned(), vec![2, 1]), ("p2".to_owned(), vec![2, 3])]
        );
    }
}
