//! Weights that a network takes over from the supernet it was found in.

use std::{collections::HashMap, path::PathBuf};

use super::{error::RetrainError, launch, plan::Plan};
use crate::{
    run::{CONFIG, Kept},
    search::{Candidates, Config},
    space::NetworkShape,
};
use engine::{BlockKind, CellBlock, Graph, NetworkSpec, Part, Place, TensorState};

impl Plan {
    /// The tensors that the training starts from, where they are another run's; their checksum goes to the configuration.
    /// Only a training that starts needs them: later its own checkpoints have them.
    ///
    /// # Errors
    /// [`RetrainError::Inherit`]: the run is no search in this space, its supernet has another size, or not every operation.
    pub fn inherit(&mut self) -> Result<Option<Vec<TensorState>>, RetrainError> {
        let Some(inherit) = &mut self.config.inherit else { return Ok(None) };
        let refused = |run: &PathBuf, why: String| RetrainError::Inherit { run: run.clone(), why };
        if launch::is_retraining(&inherit.run) {
            return Err(refused(&inherit.run, "it is not the run folder of a search".to_owned()));
        }
        let kept = Kept::open(&inherit.run, inherit.epoch)?;
        if let Some(why) = kept.fallback() {
            return Err(refused(&inherit.run, format!("its newest checkpoint is damaged: {why}")));
        }
        let md5 = kept.weights_md5().to_owned();
        if inherit.weights_md5.as_ref().is_some_and(|known| *known != md5) {
            return Err(refused(&inherit.run, format!("its weights are others now (MD5 {md5})")));
        }
        let search = Config::read(&inherit.run.join(CONFIG))?;
        if search.space.name != self.space.name() {
            let (searched, own) = (search.space.name, self.space.name());
            return Err(refused(&inherit.run, format!("it searched `{searched}`, the architecture is of `{own}`")));
        }
        let candidates = Candidates::new(self.space, search.space.ops.as_ref())?;
        let shape = NetworkShape {
            image: self.network.image,
            classes: self.network.classes,
            channels: search.supernet.channels,
            cells: search.supernet.cells_per_stage,
            stem_stride: search.supernet.stem_stride.unwrap_or(1),
        };
        let supernet = candidates.supernet(&shape)?;
        let given: HashMap<String, TensorState> =
            kept.into_tensors().into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        let tensors = taken_over(&self.network, &supernet, &given);
        let tensors = tensors.map_err(|why| refused(&inherit.run, why))?;
        inherit.weights_md5 = Some(md5);
        Ok(Some(tensors))
    }
}

/// Of every weight of `network` the tensor of the same layer of `supernet`, and statistics that both have.
fn taken_over(
    network: &NetworkSpec,
    supernet: &NetworkSpec,
    given: &HashMap<String, TensorState>,
) -> Result<Vec<TensorState>, String> {
    let graphs = [network, supernet].map(NetworkSpec::graph);
    let [own, of_supernet] = graphs.map(|graph| graph.map_err(|e| e.to_string()));
    let (own, of_supernet) = (own?, of_supernet?);
    let names = names(supernet, &of_supernet);
    let mut taken = vec![];
    for (name, key, shape) in tensors(network, &own) {
        let found = names.get(&key).and_then(|name| given.get(name));
        let Some(found) = found else {
            // Normalisations of operations have no parameters in a supernet.
            let Key::Operation { what: Kind::Weight(_), op, edge: (from, to), .. } = key else { continue };
            let op = network.ops[op].name();
            return Err(format!(
                "its supernet no longer has `{op}` on edge {to}<-{from}; an earlier epoch may be kept"
            ));
        };
        if found.shape != shape {
            return Err(format!(
                "{name} is {:?} there and {shape:?} here: channels (partial ones, as of `pc-darts`, are fewer), classes or the images' colours differ",
                found.shape
            ));
        }
        taken.push(TensorState { name, ..found.clone() });
    }
    Ok(taken)
}

/// A tensor of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Weight(usize),
    Norm(&'static str),
}

/// What a tensor is in any network of the space: names count the edges that a network has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Unit number `unit` of an operation on an edge of a block.
    Operation { block: usize, edge: (usize, usize), op: usize, unit: usize, what: Kind },
    /// What an edge of a block passes on beside its operations.
    AuxiliarySkip { block: usize, edge: (usize, usize), what: Kind },
    /// Of a layer outside the edges.
    Layer(String, Kind),
}

fn cell_of(block: &engine::Block) -> Option<&CellBlock> {
    match &block.kind {
        BlockKind::Cell(cell) => Some(cell),
        BlockKind::Residual { .. } => None,
    }
}

/// Nodes that the edge of a row joins in a block.
fn edge(spec: &NetworkSpec, block: usize, row: usize) -> Option<(usize, usize)> {
    let cell = cell_of(&spec.blocks[block])?;
    let edge = spec.cells[cell.cell].edges.get(row.checked_sub(cell.first_row)?)?;
    Some((edge.from, edge.to))
}

/// Every tensor but momentum with its name, key and shape.
fn tensors(spec: &NetworkSpec, graph: &Graph) -> Vec<(String, Key, Vec<usize>)> {
    let mut units: HashMap<(usize, Place), usize> = HashMap::new();
    let mut all = vec![];
    for (layer, unit) in graph.units() {
        let operation = match (layer.part, unit.place) {
            (Part::Block(block), Some(place)) => {
                let count = units.entry((block, place)).or_insert(0);
                *count += 1;
                edge(spec, block, place.row).map(|edge| (block, edge, place.op, *count))
            }
            _ => None,
        };
        let beside = match (layer.part, unit.beside) {
            (Part::Block(block), Some(row)) => edge(spec, block, row).map(|edge| (block, edge)),
            _ => None,
        };
        let key = |what: Kind| match (operation, beside) {
            (Some((block, edge, op, unit)), _) => Key::Operation { block, edge, op, unit, what },
            (None, Some((block, edge))) => Key::AuxiliarySkip { block, edge, what },
            (None, None) => Key::Layer(layer.name.clone(), what),
        };
        for (number, weight) in unit.weights.iter().enumerate() {
            all.push((weight.name.clone(), key(Kind::Weight(number)), weight.shape.clone()));
        }
        for norm in unit.norm.iter().filter(|norm| norm.affine) {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                all.push((format!("{}.{part}", norm.name), key(Kind::Norm(part)), vec![norm.channels]));
            }
        }
    }
    all
}

fn names(spec: &NetworkSpec, graph: &Graph) -> HashMap<Key, String> {
    tensors(spec, graph).into_iter().map(|(name, key, _)| (key, name)).collect()
}

#[cfg(test)]
mod tests;
