//! The weights of a supernet whose operations see more channels than before: channels are copied at random, as DrNAS does where its
//! partial channels become more (`net2wider` of its code, after Chen, Goodfellow, Shlens 2016). A copy is not divided by the
//! number of copies: batch normalisation follows every convolution and takes the scale out.

use std::collections::HashMap;

use engine::{Graph, TensorState, Transform, Unit};
use rand_chacha::ChaCha8Rng;

use crate::random;

/// What `state`, that of a network with the graph `from`, becomes in a network with the graph `to`: every weight with its momentum,
/// and every statistic. Both networks differ in the channels of their operations alone, which do not become fewer.
pub(super) fn widen(state: &[TensorState], from: &Graph, to: &Graph, rng: &mut ChaCha8Rng) -> Vec<TensorState> {
    let before: HashMap<&str, &Unit> = from.units().map(|(layer, unit)| (layer.name.as_str(), unit)).collect();
    let mut sources = HashMap::new();
    for (layer, unit) in to.units() {
        if let Some(before) = before.get(layer.name.as_str()) {
            sources.extend(channels(before, unit, rng));
        }
    }
    let wider = |tensor: &TensorState| {
        let name = tensor.name.strip_prefix("momentum.").unwrap_or(&tensor.name);
        sources.get(name).map_or_else(|| tensor.clone(), |sources| copied(tensor, sources))
    };
    state.iter().map(wider).collect()
}

/// Of the tensors of a unit the channels that those of the wider one are copies of: of outputs, and of inputs.
fn channels(before: &Unit, unit: &Unit, rng: &mut ChaCha8Rng) -> Vec<(String, [Vec<usize>; 2])> {
    let mut side =
        |side: usize, weight: usize| grown(before.weights[weight].shape[side], unit.weights[weight].shape[side], rng);
    let mut tensors = vec![];
    let mut outputs = vec![];
    match unit.transform {
        Transform::Separable(_) => {
            let (deep, wide) = (side(0, 0), side(0, 1));
            tensors.push((unit.weights[0].name.clone(), [deep.clone(), vec![0]]));
            tensors.push((unit.weights[1].name.clone(), [wide.clone(), deep]));
            outputs = wide;
        }
        Transform::Conv(_) | Transform::FactorizedReduce => {
            let inputs = side(1, 0);
            for (i, weight) in unit.weights.iter().enumerate() {
                let own = side(0, i);
                let first: usize = before.weights[..i].iter().map(|weight| weight.shape[0]).sum();
                outputs.extend(own.iter().map(|channel| first + channel));
                tensors.push((weight.name.clone(), [own, inputs.clone()]));
            }
        }
        Transform::Identity
        | Transform::AvgPool(_)
        | Transform::MaxPool(_)
        | Transform::GlobalAvgPool
        | Transform::Linear
        | Transform::Gather(_) => {}
    }
    if let Some(norm) = unit.norm.as_ref().filter(|norm| norm.affine && !outputs.is_empty()) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            tensors.push((format!("{}.{part}", norm.name), [outputs.clone(), vec![0]]));
        }
    }
    tensors
}

/// The channels that there were, and random ones of them.
fn grown(before: usize, after: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    (0..before).chain((before..after).map(|_| random::below(rng, before))).collect()
}

fn copied(tensor: &TensorState, [outputs, inputs]: &[Vec<usize>; 2]) -> TensorState {
    let mut shape = tensor.shape.clone();
    let had = shape.get(1).copied().unwrap_or(1);
    shape[0] = outputs.len();
    shape.iter_mut().skip(1).take(1).for_each(|side| *side = inputs.len());
    let taps: usize = shape.iter().skip(2).product();
    let place = |output: usize, input: usize| (output * had + input) * taps;
    let of_output =
        |&output: &usize| inputs.iter().flat_map(move |&input| place(output, input)..place(output, input) + taps);
    let data = outputs.iter().flat_map(of_output).map(|i| tensor.data[i]).collect();
    TensorState { name: tensor.name.clone(), shape, data }
}

#[cfg(test)]
mod tests {
    use engine::NetworkSpec;
    use rand_core::SeedableRng;

    use super::*;
    use crate::{
        engines,
        space::{self, NetworkShape},
    };

    fn networks(space: &str, affine: bool) -> [NetworkSpec; 2] {
        let image = engine::ImageShape { height: 8, width: 8, channels: 1 };
        let shape = NetworkShape { image, classes: 10, channels: 8, cells: 3, stem_stride: 1 };
        let mut network = space::find(space).unwrap().supernet(&shape).unwrap();
        network.norm.affine = affine;
        [4, 2].map(|partial| NetworkSpec { partial, ..network.clone() })
    }

    #[test]
    fn every_channel_is_one_that_there_was_and_the_first_stay() {
        for (space, affine) in [("nas-bench-201", false), ("darts", false), ("darts", true)] {
            let [small, large] = networks(space, affine);
            let engines = engines::cpu(1).unwrap();
            let narrow = engines.build(&small, 1).unwrap();
            let mut state = narrow.state();
            // So that a momentum tells whose it is.
            for i in 0..state.len() {
                if let Some(weight) = state[i].name.strip_prefix("momentum.") {
                    let of = state.iter().find(|t| t.name == weight).unwrap().data.clone();
                    state[i].data = of.iter().map(|v| 2.0 * v).collect();
                }
            }
            let graphs = [&small, &large].map(|spec| spec.graph().unwrap());
            let wider = |seed| widen(&state, &graphs[0], &graphs[1], &mut ChaCha8Rng::seed_from_u64(seed));
            let made = wider(1);
            assert!(made == wider(1) && made != wider(2));
            let mut network = engines.build(&large, 2).unwrap();
            network.load_state(&made).unwrap();
            let mut grew = 0;
            for (old, new) in state.iter().zip(&made) {
                assert_eq!(old.name, new.name);
                grew += usize::from(old.data.len() < new.data.len());
                assert!(new.data.iter().all(|v| old.data.contains(v)), "{}", new.name);
                if old.shape.len() == 4 && old.shape != new.shape {
                    let row = |t: &TensorState| t.data[..old.shape[2] * old.shape[3]].to_vec();
                    assert_eq!(row(old), row(new), "{}", new.name);
                }
                if let Some(weight) = new.name.strip_prefix("momentum.") {
                    let of = &made.iter().find(|t| t.name == weight).unwrap().data;
                    assert!(new.data.iter().zip(of).all(|(m, v)| *m == 2.0 * v), "{}", new.name);
                }
            }
            assert!(grew > 10, "{space}: {grew}");
        }
    }
}
