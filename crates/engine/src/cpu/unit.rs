//! The units of a network with their weights and statistics.

use std::collections::HashMap;

use super::buffer::Buf;
use super::kernels::elementwise::NormGrad;
use super::norm::Norm;
use super::params::{ParamId, Params, initialiser};
use super::plane::Plane;
use crate::spec::{Graph, Init};

/// Index of a [`Unit`]; stays valid when operations are removed.
pub(crate) type UnitId = usize;

/// (ReLU) transform (batch normalisation).
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// Trainable tensors of the transform.
    pub(crate) weights: Vec<ParamId>,
    pub(crate) norm: Option<Norm>,
    /// Index in `w` of the operation that it is a part of.
    pub(crate) place: Option<usize>,
    pub(crate) from: Plane,
    pub(crate) to: Plane,
    /// Coefficients of `dy` where there is no normalisation: a weight, and zeros.
    plain: [Buf; 2],
}

impl Unit {
    /// What turns the gradient of its (normalised, weighted) output into that of the transform's.
    pub(crate) fn grad(&self) -> NormGrad {
        match &self.norm {
            Some(norm) => norm.grad(),
            None => {
                let [weight, zeros] = [self.plain[0].as_ptr(), self.plain[1].as_ptr()];
                NormGrad { a: weight, b: zeros, d: zeros, mean: zeros }
            }
        }
    }

    /// Says that the output, which has no normalisation, counts `weight` times in what reads it.
    pub(crate) fn set_plain(&mut self, weight: f32) {
        self.plain[0].fill(weight);
    }

    fn parameters(&self) -> impl Iterator<Item = ParamId> {
        self.weights.iter().copied().chain(self.norm.iter().flat_map(Norm::params))
    }
}

/// All units of a network.
#[derive(Clone, Debug, Default)]
pub(crate) struct Units {
    all: Vec<Unit>,
    by_name: HashMap<String, UnitId>,
}

impl Units {
    /// The units of a graph; `params` learns of their parameters.
    pub(crate) fn new(graph: &Graph, planes: &[Plane], params: &mut Params) -> Self {
        let mut units = Units::default();
        let columns = graph.ops.len();
        for (layer, unit) in graph.units() {
            let (from, to) = (planes[layer.inputs[0]], planes[layer.output]);
            let mut ids: Vec<ParamId> = unit.parameters().map(|p| params.add(p.name, &p.shape)).collect();
            let affine = ids.split_off(unit.weights.len());
            let norm = unit.norm.as_ref().map(|norm| {
                let affine = <[ParamId; 2]>::try_from(affine).ok().map(|[scale, shift]| (scale, shift));
                Norm::new(norm.name.clone(), affine, norm.channels, to.padded)
            });
            let unit = Unit {
                name: layer.name.clone(),
                weights: ids,
                norm,
                place: unit.place.map(|p| p.row * columns + p.op),
                from,
                to,
                plain: [0, 1].map(|_| Buf::zeros(to.padded)),
            };
            units.by_name.insert(unit.name.clone(), units.all.len());
            units.all.push(unit);
        }
        units
    }

    /// Allocates the parameters and sets them to initial values from `seed`.
    pub(crate) fn initialise(&self, graph: &Graph, params: &mut Params, seed: u64) {
        params.allocate();
        let mut streams = HashMap::new();
        for ((_, described), unit) in graph.units().zip(&self.all) {
            for (parameter, id) in described.parameters().zip(unit.parameters()) {
                let values = params.value_mut(id);
                match parameter.init {
                    Init::Uniform(weight) => {
                        let stream =
                            streams.entry(weight.stream.clone()).or_insert_with(|| initialiser(seed, &weight.stream));
                        values.fill_with(|| stream(weight.fan_in));
                    }
                    Init::Ones => values.fill(1.0),
                    Init::Zeros => values.fill(0.0),
                }
            }
        }
    }

    /// The unit of a layer.
    pub(crate) fn id(&self, layer: &str) -> UnitId {
        self.by_name[layer]
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.all.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Unit> {
        self.all.iter_mut()
    }

    /// Drops the weights and statistics of an operation's units.
    pub(crate) fn remove(&mut self, place: usize, params: &mut Params) {
        let mut gone = vec![];
        for unit in self.all.iter_mut().filter(|u| u.place == Some(place)) {
            gone.extend(unit.parameters());
            unit.weights.clear();
            unit.norm = None;
        }
        params.remove(&gone);
    }
}

impl std::ops::Index<UnitId> for Units {
    type Output = Unit;
    fn index(&self, id: UnitId) -> &Unit {
        &self.all[id]
    }
}

impl std::ops::IndexMut<UnitId> for Units {
    fn index_mut(&mut self, id: UnitId) -> &mut Unit {
        &mut self.all[id]
    }
}
