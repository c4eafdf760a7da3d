//! How a graph is run: the values that get a pass, what makes each, and what reads it.
//!
//! A **source** is a value with a pass of its own. Forward, the pass of a source makes the value, image by image, and while
//! it is in cache feeds every unit that reads it; what a unit leaves is its output before normalisation. Backward, in
//! reverse order, it gathers the gradient of the value from everything that reads it.
//!
//! A unit's output is no source where one mix alone reads it: normalisation and weight are then folded into the mix. Where
//! one unit alone reads it, it is read through its normalisation and never written.

use std::collections::HashMap;

use super::buffer::Buf;
use super::buffers::Buffers;
use super::dense::{Dense, Geometry};
use super::gather::Gather;
use super::group::Group;
use super::kernels::depthwise::MAX_SIZE;
use super::kernels::panel::BLOCK;
use super::kernels::winograd::{MAX_BLOCKS, Tiling};
use super::plane::Plane;
use super::pool::PoolGroup;
use super::reduce::Reduce;
use super::runtime::Kernels;
use super::separable::Separable;
use super::simd::Isa;
use super::unit::{UnitId, Units};
use crate::EngineError;
use crate::spec::{Gather as Rule, Graph, Layer, LayerKind, Part, Transform, Unit, ValueId, Window};

/// Index of a [`Source`].
pub(crate) type SourceId = usize;

/// A value with a pass of its own.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) plane: Plane,
    pub(crate) origin: Origin,
    /// Units that read it.
    pub(crate) groups: Vec<Group>,
    /// Sources that are its batch normalisation.
    pub(crate) norms: Vec<SourceId>,
    /// Mixes that it is a term of as it is.
    pub(crate) skips: Vec<Reader>,
    /// Concatenations that it is a part of.
    pub(crate) concats: Vec<SourceId>,
    /// Mixes that its 3x3 average is a term of.
    pub(crate) averages: Vec<Reader>,
    /// The classifier reads (the ReLU of) its mean over the pixels.
    pub(crate) classified: Option<Classified>,
    /// See [`Relus`].
    pub(crate) relus: (Vec<usize>, usize),
    pub(crate) depends: Depends,
    /// Images that its passes take together: few Winograd tiles make a slow product. Operations of small images that have no
    /// tiles themselves go along, so that their sums do not depend on which others there are.
    pub(crate) images_per_block: usize,
    /// Whether only other blocks read it.
    pub(crate) ends_block: bool,
    /// Of a mix: the scale of each term per channel, and the sum of the shifts.
    pub(crate) scales: Vec<Buf>,
    pub(crate) shift: Buf,
}

impl Source {
    /// Of the convolutions that go by Winograd.
    pub(crate) fn tiling(&self) -> Option<Tiling> {
        self.groups.iter().find_map(|group| match group {
            Group::Dense(dense) if dense.geometry.winograd => Some(dense.geometry.tiling()),
            _ => None,
        })
    }
}

/// What makes a source.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    Image,
    /// Sum of terms. `rows`: rows of `w` that end in it.
    Mix {
        terms: Vec<Term>,
        rows: Vec<usize>,
    },
    /// Output of a unit; `stored`: written as it is, else read through its normalisation. `of`: the source that it is
    /// the normalisation of and nothing else.
    Unit {
        unit: UnitId,
        stored: bool,
        of: Option<SourceId>,
    },
    /// Sources one after the other along the channels; put together image by image where it is read.
    Concat(Vec<SourceId>),
}

/// A term of a mix; `place`: index of its weight in `w`, `None` for 1; `path`: the unit of an operation that makes it (an
/// identity has none), which drop-path may drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    pub(crate) of: TermOf,
    pub(crate) place: Option<usize>,
    pub(crate) path: Option<UnitId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TermOf {
    /// A source as it is.
    Source(SourceId),
    /// Its 3x3 average.
    Average(SourceId),
    /// The output of a unit, normalised.
    Unit(UnitId),
}

/// A mix that reads a source, and `place` and `path` of the [`Term`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) source: SourceId,
    pub(crate) place: Option<usize>,
    pub(crate) path: Option<UnitId>,
}

/// How a classifier reads a source.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classified {
    pub(crate) relu: bool,
    pub(crate) linear: UnitId,
    /// It is that of the auxiliary head.
    pub(crate) auxiliary: bool,
}

/// What a value is computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depends {
    /// Trainable tensors.
    pub(crate) omega: bool,
    /// Mixing weights.
    pub(crate) mixing: bool,
}

impl Depends {
    fn or(self, other: Self) -> Self {
        Depends { omega: self.omega || other.omega, mixing: self.mixing || other.mixing }
    }
}

/// A network as passes.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Operations that take part, `[R, O]`.
    pub(crate) active: Vec<bool>,
    pub(crate) sources: Vec<Source>,
    /// Where the gradient of each unit's output is found: of the source that reads it (folded into a mix), or that it is.
    pub(crate) targets: Vec<Option<SourceId>>,
    /// See [`Relus`]: of the outputs that are folded into a mix, whose readers' ReLUs stand idle.
    pub(crate) idle_relus: HashMap<UnitId, (Vec<usize>, usize)>,
    /// Buffers of a pass that keeps everything, and of one that keeps nothing.
    pub(crate) keep: Buffers,
    pub(crate) pass: Buffers,
    /// Buffers of the gradients of the sources, by number.
    pub(crate) grads: Vec<Option<usize>>,
    /// Values an image of each buffer needs.
    pub(crate) grad_lens: Vec<usize>,
}

/// Shapes of the values of a graph as they are stored.
pub(crate) fn planes(graph: &Graph) -> Vec<Plane> {
    let mut planes: Vec<Plane> = vec![];
    for value in &graph.values {
        let shape = value.shape;
        let plane = Plane::new(shape.height, shape.width, shape.channels);
        planes.push(match value.layer.map(|l| &graph.layers[l]) {
            None => Plane::image(shape),
            Some(Layer { kind: LayerKind::Concat, inputs, .. }) => planes[inputs[0]].concatenated(inputs.len()),
            // A pool leaves the channels where they are.
            Some(Layer { kind: LayerKind::Unit(unit), inputs, .. }) if is_pool(unit) => {
                Plane { height: plane.height, width: plane.width, ..planes[inputs[0]] }
            }
            Some(_) => plane,
        });
    }
    planes
}

/// By the layer that makes a value ("" for the image): operations with a ReLU that reads it, indices in `w`, and how many
/// ReLUs of no operation do.
pub(crate) type Relus = HashMap<String, (Vec<usize>, usize)>;

/// The ReLUs of a graph.
pub(crate) fn relus(graph: &Graph) -> Relus {
    let mut relus = Relus::new();
    for (layer, unit) in graph.units().filter(|(layer, u)| u.relu && layer.part != Part::Auxiliary) {
        let name = graph.maker(layer.inputs[0]).map_or("", |l| &l.name);
        let (ops, outside) = relus.entry(name.to_owned()).or_default();
        match unit.place {
            Some(place) => ops.push(place.row * graph.ops.len() + place.op),
            None => *outside += 1,
        }
    }
    relus
}

/// What a unit does in the passes of its input; `None` where there are no kernels for it.
fn role(unit: &Unit) -> Option<Role> {
    let bare = unit.norm.is_none() && !unit.relu;
    Some(match unit.transform {
        Transform::Conv(Window { kernel, stride, padding, dilation: 1, partial: false }) => {
            Role::Dense { kernel, stride, padding }
        }
        Transform::AvgPool(Window { kernel: 3, stride: 1, padding: 1, dilation: 1, .. }) if bare => Role::Average,
        Transform::AvgPool(window) if PoolGroup::has_kernel(window) && !unit.relu => Role::Pool,
        Transform::AvgPool(window) if window.dilation == 1 && unit.norm.is_none() => Role::Pool,
        Transform::MaxPool(window) if PoolGroup::has_kernel(window) && !unit.relu => Role::Pool,
        Transform::MaxPool(window) if window.dilation == 1 && bare => Role::Pool,
        Transform::Gather(rule) if bare => Role::Gather(rule),
        Transform::Separable(window) if window.kernel <= MAX_SIZE && !window.partial => Role::Separable(window),
        Transform::FactorizedReduce => Role::Reduce,
        Transform::Identity if unit.norm.is_some() && !unit.relu => Role::Norm,
        Transform::GlobalAvgPool if unit.norm.is_none() => Role::Classified,
        Transform::Linear if unit.norm.is_none() => Role::Linear,
        Transform::Conv(_)
        | Transform::AvgPool(_)
        | Transform::Identity
        | Transform::GlobalAvgPool
        | Transform::Linear
        | Transform::Separable(_)
        | Transform::MaxPool(_)
        | Transform::Gather(_) => return None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Dense {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    /// 3x3 average of stride 1 in a mix.
    Average,
    Pool,
    Separable(Window),
    Reduce,
    Gather(Rule),
    Norm,
    Classified,
    Linear,
}

/// Values as they become sources, terms or nothing.
struct Planner<'a> {
    graph: &'a Graph,
    units: &'a Units,
    planes: Vec<Plane>,
    isa: Isa,
    kernels: Kernels,
    relus: &'a Relus,
    /// Of each value.
    source_of: Vec<Option<SourceId>>,
    depends: Vec<Depends>,
    plan: Plan,
}

impl Plan {
    /// The passes of `graph`, in which what takes part is `active`.
    pub(crate) fn new(
        graph: &Graph,
        units: &Units,
        active: &[bool],
        relus: &Relus,
        isa: Isa,
        kernels: Kernels,
    ) -> Result<Self, EngineError> {
        supports(graph)?;
        let plan = Plan {
            active: active.to_vec(),
            sources: vec![],
            targets: vec![None; units.len()],
            idle_relus: HashMap::new(),
            keep: Buffers::default(),
            pass: Buffers::default(),
            grads: vec![],
            grad_lens: vec![],
        };
        let count = graph.values.len();
        let mut planner = Planner {
            graph,
            units,
            planes: planes(graph),
            isa,
            kernels,
            relus,
            source_of: vec![None; count],
            depends: vec![Depends::default(); count],
            plan,
        };
        for value in 0..count {
            planner.value(value)?;
        }
        let mut plan = planner.plan;
        plan.assign(units);
        Ok(plan)
    }

    /// What the passes of earlier plans have packed and this one can use.
    pub(crate) fn take_packed(&mut self, old: Plan) {
        let mut old: Vec<Group> = old.sources.into_iter().flat_map(|s| s.groups).collect();
        let mut next = 0;
        for group in self.sources.iter_mut().flat_map(|s| &mut s.groups) {
            // Both are in the order of the layers, so that the search is short.
            if let Some(found) = (next..old.len()).find(|&i| old[i].is_like(group)) {
                std::mem::swap(group, &mut old[found]);
                next = found + 1;
            }
        }
    }

    /// Whether a value is read by operations whose kernels depend on which of the others take part, see [`Planner::direct`].
    pub(super) fn is_mixed(&self, units: &Units) -> bool {
        self.sources.iter().any(|source| {
            let dense = |group: &Group| {
                matches!(group, Group::Dense(_)) && group.members().iter().any(|&unit| units[unit].place.is_some())
            };
            let bare = |group: &Group| matches!(group, Group::Separable(_) | Group::Reduce(_));
            source.groups.iter().any(dense) && source.groups.iter().any(bare)
        })
    }

    /// Sources that read what a unit leaves, or a source itself: where a gradient comes from and where values are read.
    pub(super) fn readers(&self, source: SourceId) -> impl Iterator<Item = SourceId> {
        let Source { skips, averages, norms, groups, concats, .. } = &self.sources[source];
        let mixes = skips.iter().chain(averages).map(|r| r.source);
        let units = groups.iter().flat_map(|g| g.members().iter().copied());
        mixes.chain(norms.iter().chain(concats).copied()).chain(units.filter_map(|u| self.targets[u]))
    }
}

/// Checks that there are kernels for everything in a graph.
pub(crate) fn supports(graph: &Graph) -> Result<(), EngineError> {
    let unsupported = |what: &str| Err(EngineError::Unsupported(what.to_owned()));
    for layer in &graph.layers {
        match &layer.kind {
            LayerKind::Unit(unit) => {
                let named = |place: crate::spec::Place| format!("the operation `{}`", graph.ops[place.op].name());
                let what = || unit.place.map_or_else(|| format!("the layer `{}`", layer.name), named);
                match role(unit) {
                    None => return unsupported(&what()),
                    // What is read of a concatenation is put together image by image, and only convolutions and the
                    // classifier know where the channels of its parts are.
                    Some(Role::Average | Role::Norm) if is_concat(graph, layer.inputs[0]) => {
                        return unsupported("3x3 averages or normalisation of a concatenation");
                    }
                    Some(Role::Pool) if is_concat(graph, layer.inputs[0]) && unit.norm.is_some() => {
                        return unsupported("normalised pooling of a concatenation");
                    }
                    Some(_) => {}
                }
            }
            LayerKind::Mix { .. } if layer.inputs.iter().any(|&i| is_concat(graph, i)) => {
                return unsupported("an operation on a concatenation");
            }
            LayerKind::Mix { .. } | LayerKind::Concat => {}
        }
    }
    Ok(())
}

fn is_pool(unit: &Unit) -> bool {
    matches!(unit.transform, Transform::AvgPool(_) | Transform::MaxPool(_))
}

fn is_concat(graph: &Graph, value: ValueId) -> bool {
    graph.maker(value).is_some_and(|layer| layer.kind == LayerKind::Concat)
}

impl Planner<'_> {
    fn value(&mut self, value: ValueId) -> Result<(), EngineError> {
        let Some(layer) = self.graph.maker(value) else {
            self.source(value, Origin::Image);
            return Ok(());
        };
        let inputs = layer.inputs.iter().map(|&i| self.depends[i]);
        self.depends[value] = inputs.fold(Depends::default(), Depends::or);
        match &layer.kind {
            LayerKind::Mix { weights, rows, .. } => {
                // Of a node as well that nothing is added to: what its edges put out counts, whatever they are made of.
                self.depends[value].mixing |= !rows.is_empty() || weights.iter().any(Option::is_some);
                self.mix(value, layer, weights, rows);
            }
            LayerKind::Concat => {
                let parts: Vec<SourceId> = layer.inputs.iter().map(|&i| self.source_at(i)).collect();
                let id = self.source(value, Origin::Concat(parts.clone()));
                parts.iter().for_each(|&part| self.plan.sources[part].concats.push(id));
            }
            LayerKind::Unit(unit) => {
                self.depends[value].omega |= unit.parameters().next().is_some();
                self.unit(value, layer, unit);
            }
        }
        Ok(())
    }

    fn source(&mut self, value: ValueId, origin: Origin) -> SourceId {
        let name = self.graph.maker(value).map_or("", |l| &l.name);
        let part = self.graph.maker(value).map(|l| l.part);
        let ends_block = self.graph.readers(value).iter().all(|&l| Some(self.graph.layers[l].part) != part);
        let terms = if let Origin::Mix { terms, .. } = &origin { terms.len() } else { 0 };
        self.plan.sources.push(Source {
            plane: self.planes[value],
            origin,
            groups: vec![],
            norms: vec![],
            skips: vec![],
            concats: vec![],
            averages: vec![],
            classified: None,
            relus: self.relus.get(name).cloned().unwrap_or_default(),
            depends: self.depends[value],
            images_per_block: 1,
            ends_block,
            scales: vec![Buf::zeros(self.planes[value].padded); terms],
            shift: Buf::zeros(self.planes[value].padded),
        });
        self.source_of[value] = Some(self.plan.sources.len() - 1);
        self.plan.sources.len() - 1
    }

    fn place(&self, place: crate::spec::Place) -> usize {
        place.row * self.graph.ops.len() + place.op
    }

    /// The source that a value is; every value but those that mixes fold is one.
    fn source_at(&self, value: ValueId) -> SourceId {
        self.source_of[value].expect("a value that units read is a source")
    }

    fn mix(&mut self, value: ValueId, layer: &Layer, weights: &[Option<crate::spec::Place>], rows: &[usize]) {
        let id = self.plan.sources.len();
        let mut terms = vec![];
        for (&input, &place) in layer.inputs.iter().zip(weights) {
            let makes = |l: &&Layer| place.is_some() && l.unit().is_some_and(|u| u.place == place);
            let path = self.graph.maker(input).filter(makes).map(|l| self.units.id(&l.name));
            let place = place.map(|p| self.place(p));
            let reader = Reader { source: id, place, path };
            let of = match (self.source_of[input], self.graph.maker(input)) {
                (Some(source), _) => {
                    // What an operation makes is folded; a path that was a source as well would be dropped twice.
                    debug_assert!(path.is_none(), "an operation's output is read by its mix alone");
                    self.plan.sources[source].skips.push(reader);
                    TermOf::Source(source)
                }
                (None, Some(maker)) if self.is_average(maker) => {
                    let source = self.source_at(maker.inputs[0]);
                    self.plan.sources[source].averages.push(reader);
                    TermOf::Average(source)
                }
                (None, maker) => {
                    let name = &maker.expect("the image is a source").name;
                    let unit = self.units.id(name);
                    self.plan.targets[unit] = Some(id);
                    if let Some(relus) = self.relus.get(name) {
                        self.plan.idle_relus.insert(unit, relus.clone());
                    }
                    TermOf::Unit(unit)
                }
            };
            terms.push(Term { of, place, path });
        }
        self.source(value, Origin::Mix { terms, rows: rows.to_vec() });
    }

    fn is_average(&self, layer: &Layer) -> bool {
        layer.unit().is_some_and(|unit| role(unit) == Some(Role::Average))
    }

    fn unit(&mut self, value: ValueId, layer: &Layer, unit: &Unit) {
        let id = self.units.id(&layer.name);
        let input = layer.inputs[0];
        let folded = !self.graph.is_stored(value);
        match role(unit).expect("a graph that was checked") {
            Role::Average if folded => return,
            Role::Average | Role::Pool => {
                let relu = unit.relu;
                let (window, max) = match unit.transform {
                    Transform::AvgPool(window) => (window, false),
                    Transform::MaxPool(window) => (window, true),
                    _ => unreachable!("a pool"),
                };
                let source = self.source_at(input);
                self.pool(source, id, relu, window, max);
            }
            Role::Separable(window) => {
                let (source, from, to) = (self.source_at(input), self.units[id].from, self.units[id].to);
                let separable = Separable::new(self.isa, unit.relu, window, id, from, to);
                self.direct(source);
                self.plan.sources[source].groups.push(Group::Separable(separable));
            }
            Role::Reduce => {
                let (source, from, to) = (self.source_at(input), self.units[id].from, self.units[id].to);
                let reduce = Reduce::new(self.isa, unit.relu, id, from, to);
                self.direct(source);
                self.plan.sources[source].groups.push(Group::Reduce(reduce));
            }
            Role::Gather(rule) => {
                let (source, from, to) = (self.source_at(input), self.units[id].from, self.units[id].to);
                self.plan.sources[source].groups.push(Group::Gather(Gather::new(rule, id, from, to)));
            }
            Role::Dense { kernel, stride, padding } => {
                let source = self.source_at(input);
                self.dense(source, id, unit, (kernel, stride, padding));
            }
            Role::Norm => {}
            Role::Classified => {
                let readers = self.graph.readers(value);
                let linear = readers.first().map(|&l| self.units.id(&self.graph.layers[l].name));
                if let Some(linear) = linear {
                    self.classified(layer, unit.relu, linear);
                }
                return;
            }
            // Of one pixel, where no mean over the pixels comes before it.
            Role::Linear => {
                if self.graph.maker(input).and_then(Layer::unit).and_then(role) != Some(Role::Classified) {
                    self.classified(layer, unit.relu, id);
                }
                return;
            }
        }
        if folded {
            return;
        }
        // Written as it is unless one unit alone reads it, through a ReLU, or there is no normalisation.
        let readers: Vec<&Layer> = self.graph.readers(value).iter().map(|&l| &self.graph.layers[l]).collect();
        let through = matches!(readers[..], [one] if one.unit().is_some_and(|u| u.relu));
        let of = (role(unit) == Some(Role::Norm)).then(|| self.source_at(input));
        let stored = unit.norm.is_some() && !through;
        let source = self.source(value, Origin::Unit { unit: id, stored, of });
        self.plan.targets[id] = Some(source);
        if let Some(of) = of {
            self.plan.sources[of].norms.push(source);
        }
    }

    fn classified(&mut self, layer: &Layer, relu: bool, linear: UnitId) {
        let (source, auxiliary) = (self.source_at(layer.inputs[0]), layer.part == Part::Auxiliary);
        self.plan.sources[source].classified = Some(Classified { relu, linear, auxiliary });
    }

    fn dense(&mut self, source: SourceId, id: UnitId, unit: &Unit, (kernel, stride, padding): (usize, usize, usize)) {
        let (from, to) = (self.units[id].from, self.units[id].to);
        let mut geometry = Geometry { relu: unit.relu, kernel, stride, padding, from, to, winograd: false };
        let Source { groups, origin, images_per_block, .. } = &mut self.plan.sources[source];
        let direct = matches!(origin, Origin::Concat(_))
            || groups.iter().any(|g| matches!(g, Group::Separable(_) | Group::Reduce(_)));
        if unit.place.is_some() && !direct && use_winograd(self.kernels, [from, to]) {
            *images_per_block = (16 / geometry.tiling().tiles()).max(1);
            geometry.winograd = kernel == 3 && stride == 1 && padding == 1;
        }
        let found = groups.iter_mut().find_map(|group| match group {
            Group::Dense(dense)
                if dense.geometry == geometry && (dense.columns() + to.padded) / BLOCK <= MAX_BLOCKS =>
            {
                Some(dense)
            }
            _ => None,
        });
        match found {
            Some(dense) => {
                let mut members = std::mem::take(&mut dense.members);
                members.push(id);
                *dense = Dense::new(self.isa, geometry, members, 0);
            }
            None => groups.push(Group::Dense(Dense::new(self.isa, geometry, vec![id], 0))),
        }
        // The data gradients are added in this order.
        groups.sort_by_key(|group| match group {
            Group::Dense(dense) => dense.geometry.kernel,
            Group::Separable(_) | Group::Reduce(_) | Group::Pool(_) | Group::Gather(_) => usize::MAX,
        });
    }

    /// Winograd's tiles set the border of what is read; units that need another one do without them.
    fn direct(&mut self, source: SourceId) {
        let Source { groups, images_per_block, .. } = &mut self.plan.sources[source];
        *images_per_block = 1;
        for group in groups {
            if let Group::Dense(dense) = group
                && dense.geometry.winograd
            {
                let geometry = Geometry { winograd: false, ..dense.geometry };
                *dense = Dense::new(self.isa, geometry, std::mem::take(&mut dense.members), 0);
            }
        }
    }

    fn pool(&mut self, source: SourceId, id: UnitId, relu: bool, window: Window, max: bool) {
        let (from, to) = (self.units[id].from, self.units[id].to);
        let normalised = self.units[id].norm.is_some();
        let groups = &mut self.plan.sources[source].groups;
        let found = groups.iter_mut().find_map(|group| match group {
            Group::Pool(pool)
                if (pool.relu, pool.window, pool.max, pool.normalised) == (relu, window, max, normalised) =>
            {
                Some(pool)
            }
            _ => None,
        });
        match found {
            Some(pool) => pool.members.push(id),
            None => groups.push(Group::Pool(PoolGroup { members: vec![id], relu, window, max, normalised, from, to })),
        }
    }
}

/// Whether 3x3 convolutions of stride 1 run as Winograd.
fn use_winograd(kernels: Kernels, [from, to]: [Plane; 2]) -> bool {
    let fits = from.padded.max(to.padded) / BLOCK <= MAX_BLOCKS;
    match kernels {
        Kernels::Direct | Kernels::Reference => false,
        Kernels::Winograd => fits,
        Kernels::Auto => {
            let covered = 16 * Tiling::new(to.height, to.width).tiles();
            fits && to.height >= 8 && to.width >= 8 && 10 * to.pixels() >= 7 * covered
        }
    }
}
