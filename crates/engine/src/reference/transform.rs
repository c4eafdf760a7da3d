//! [`Transform`] forward and backward.

use crate::{Transform, Window};

use super::layers::{self, Map, Pool, Tensor};

/// A 1x1 convolution of stride 2.
const HALVE: Window = Window { kernel: 1, stride: 2, padding: 0, dilation: 1, partial: false };
/// A 1x1 convolution.
const POINT: Window = Window { stride: 1, ..HALVE };

/// `channels`: of the output.
pub(super) fn forward(transform: Transform, x: &Map, weights: &[&Tensor], channels: usize) -> Map {
    match (transform, weights) {
        (Transform::Identity, []) => x.clone(),
        (Transform::Conv(window), [weight]) => layers::conv(x, weight, window, 1),
        (Transform::Separable(window), [depthwise, pointwise]) => {
            layers::conv(&layers::conv(x, depthwise, window, x.c), pointwise, POINT, 1)
        }
        (Transform::FactorizedReduce, [first, second]) => {
            let halves = [layers::conv(x, first, HALVE, 1), layers::conv(&x.shifted(1), second, HALVE, 1)];
            Map::concat(&[&halves[0], &halves[1]])
        }
        (Transform::AvgPool(window), []) => layers::pool(x, Pool::Average, window),
        (Transform::MaxPool(window), []) => layers::pool(x, Pool::Maximum, window),
        (Transform::GlobalAvgPool, []) => layers::global_average(x),
        (Transform::Linear, [weight, bias]) => layers::linear(x, weight, bias),
        (Transform::Gather(gather), []) => layers::gather(x, gather, channels),
        (transform, weights) => panic!("{transform:?} with {} weights", weights.len()),
    }
}

/// Gradients at the input and, with `omega`, at each weight of a convolution (else zeros).
pub(super) fn backward(transform: Transform, x: &Map, weights: &[&Tensor], g: &Map, omega: bool) -> (Map, Vec<Tensor>) {
    match (transform, weights) {
        (Transform::Identity, []) => (g.clone(), vec![]),
        (Transform::Conv(window), [weight]) => {
            let (dx, dw) = layers::conv_backward(x, weight, window, 1, g, omega);
            (dx, vec![dw])
        }
        (Transform::Separable(window), [depthwise, pointwise]) => {
            let (dmiddle, dpointwise) =
                layers::conv_backward(&layers::conv(x, depthwise, window, x.c), pointwise, POINT, 1, g, omega);
            let (dx, ddepthwise) = layers::conv_backward(x, depthwise, window, x.c, &dmiddle, omega);
            (dx, vec![ddepthwise, dpointwise])
        }
        (Transform::FactorizedReduce, [first, second]) => {
            let (mut dx, dfirst) = layers::conv_backward(x, first, HALVE, 1, &g.channels(0, first.shape[0]), omega);
            let g = g.channels(first.shape[0], second.shape[0]);
            let (dshifted, dsecond) = layers::conv_backward(&x.shifted(1), second, HALVE, 1, &g, omega);
            dx.add_scaled(&dshifted.shifted(-1), 1.0);
            (dx, vec![dfirst, dsecond])
        }
        (Transform::AvgPool(window), []) => (layers::pool_backward(x, Pool::Average, window, g), vec![]),
        (Transform::MaxPool(window), []) => (layers::pool_backward(x, Pool::Maximum, window, g), vec![]),
        (Transform::GlobalAvgPool, []) => (layers::global_average_backward(x, g), vec![]),
        (Transform::Gather(gather), []) => (layers::gather_backward(x, gather, g), vec![]),
        (Transform::Linear, [weight, _]) => {
            let (dx, dweight, dbias) = layers::linear_backward(x, weight, g);
            (dx, vec![dweight, dbias])
        }
        (transform, weights) => panic!("{transform:?} with {} weights", weights.len()),
    }
}
