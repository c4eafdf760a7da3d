//! The layers, forward and backward, as the formulas have them. Samples are computed in parallel; what is summed over them is
//! summed in their order, so that bits do not depend on the number of threads.

use rayon::prelude::*;

use crate::spec::{Gather, Window};

/// Activations `[n, h, w, c]`.
#[derive(Clone, Debug)]
pub struct Map {
    /// Samples.
    pub n: usize,
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Values, row-major.
    pub data: Vec<f64>,
}

impl Map {
    pub(super) fn zeros(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c, data: vec![0.0; n * h * w * c] }
    }

    pub(super) fn zeros_like(other: &Map) -> Self {
        Self::zeros(other.n, other.h, other.w, other.c)
    }

    fn index(&self, n: usize, y: usize, x: usize, c: usize) -> usize {
        ((n * self.h + y) * self.w + x) * self.c + c
    }

    pub(super) fn at(&self, n: usize, y: usize, x: usize, c: usize) -> f64 {
        self.data[self.index(n, y, x, c)]
    }

    fn at_mut(&mut self, n: usize, y: usize, x: usize, c: usize) -> &mut f64 {
        let i = self.index(n, y, x, c);
        &mut self.data[i]
    }

    /// Values per channel.
    fn per_channel(&self) -> f64 {
        (self.n * self.h * self.w) as f64
    }

    pub(super) fn map(&self, f: impl Fn(f64) -> f64) -> Map {
        Map { data: self.data.iter().map(|&v| f(v)).collect(), ..*self }
    }

    pub(super) fn add_scaled(&mut self, other: &Map, scale: f64) {
        for (a, b) in self.data.iter_mut().zip(&other.data) {
            *a += scale * b;
        }
    }

    pub(super) fn dot(&self, other: &Map) -> f64 {
        self.data.iter().zip(&other.data).map(|(a, b)| a * b).sum()
    }

    pub(super) fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    pub(super) fn sum(&self) -> f64 {
        self.data.iter().sum()
    }

    /// The maps one after the other along the channels.
    pub(super) fn concat(parts: &[&Map]) -> Map {
        let Map { n, h, w, .. } = *parts[0];
        let mut all = Map::zeros(n, h, w, parts.iter().map(|p| p.c).sum());
        let pixels = (0..n * h * w).flat_map(|i| parts.iter().flat_map(move |p| &p.data[i * p.c..(i + 1) * p.c]));
        all.data = pixels.copied().collect();
        all
    }

    /// `count` channels from the channel `first` on.
    pub(super) fn channels(&self, first: usize, count: usize) -> Map {
        let data = self.data.chunks(self.c).flat_map(|pixel| &pixel[first..first + count]).copied().collect();
        Map { c: count, data, ..*self }
    }

    /// Moved up and left by `by` pixels; zeros come in.
    pub(super) fn shifted(&self, by: isize) -> Map {
        let mut moved = Map::zeros_like(self);
        for n in 0..self.n {
            for y in 0..self.h {
                for x in 0..self.w {
                    let from = (y.checked_add_signed(by), x.checked_add_signed(by));
                    let (Some(from_y), Some(from_x)) = from else { continue };
                    if from_y < self.h && from_x < self.w {
                        for c in 0..self.c {
                            *moved.at_mut(n, y, x, c) = self.at(n, from_y, from_x, c);
                        }
                    }
                }
            }
        }
        moved
    }

    /// Each sample times its own number; unchanged without numbers.
    pub(super) fn by_sample(&self, factors: Option<&[f64]>) -> Map {
        let Some(factors) = factors else { return self.clone() };
        let len = self.h * self.w * self.c;
        Map { data: self.data.iter().enumerate().map(|(i, v)| factors[i / len] * v).collect(), ..*self }
    }

    /// Pixel by pixel: `[c]`.
    pub fn pixels(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks_exact(self.c)
    }

    /// Sample by sample, in parallel.
    fn samples(&self) -> impl IndexedParallelIterator<Item = &[f64]> {
        self.data.par_chunks_exact(self.h * self.w * self.c)
    }

    /// The same to be written.
    fn samples_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [f64]> {
        self.data.par_chunks_exact_mut(self.h * self.w * self.c)
    }

    /// The values of sample `n`.
    pub fn sample(&self, n: usize) -> &[f64] {
        let len = self.h * self.w * self.c;
        &self.data[n * len..(n + 1) * len]
    }
}

/// A weight tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes.
    pub shape: Vec<usize>,
    /// Values.
    pub data: Vec<f64>,
}

impl Tensor {
    pub(super) fn zeros(shape: Vec<usize>) -> Self {
        Self { data: vec![0.0; shape.iter().product()], shape }
    }

    pub(super) fn zeros_like(other: &Tensor) -> Self {
        Self::zeros(other.shape.clone())
    }

    pub(super) fn vector(data: Vec<f64>) -> Self {
        Self { shape: vec![data.len()], data }
    }
}

pub(super) fn relu(x: &Map) -> Map {
    // What is not a number passes.
    x.map(|v| if v <= 0.0 { 0.0 } else { v })
}

/// Gradient at the input `x` of a ReLU; zero where `x` is. With `near: (threshold, slope)` the slope at inputs other
/// than 0 but within the threshold is the given one.
pub(super) fn relu_backward(x: &Map, g: &Map, near: Option<(f64, f64)>) -> Map {
    let slope = |x: f64| match near {
        Some((threshold, slope)) if x != 0.0 && x.abs() < threshold => slope,
        _ if x > 0.0 => 1.0,
        _ => 0.0,
    };
    let data = x.data.iter().zip(&g.data).map(|(&x, &g)| slope(x) * g).collect();
    Map { data, ..*x }
}

/// A value that the window of an output covers: output pixel, input pixel, tap.
type Tap = (usize, usize, usize);

/// Every tap of every window that is inside the image, output by output.
fn taps(x: &Map, window: Window) -> Vec<Tap> {
    let Window { kernel, stride, padding, dilation, .. } = window;
    let (oh, ow) = outputs(x, window);
    let mut all = vec![];
    for (oy, ox) in (0..oh).flat_map(|oy| (0..ow).map(move |ox| (oy, ox))) {
        for (ky, kx) in (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))) {
            let (y, x_) = (oy * stride + ky * dilation, ox * stride + kx * dilation);
            if y >= padding && y - padding < x.h && x_ >= padding && x_ - padding < x.w {
                all.push((oy * ow + ox, (y - padding) * x.w + x_ - padding, ky * kernel + kx));
            }
        }
    }
    all
}

fn outputs(x: &Map, window: Window) -> (usize, usize) {
    let along = |len: usize| {
        let places = (0..).map(|i| i * window.stride);
        let end = len + 2 * window.padding;
        // Whole windows; the last may be partial but must begin inside the input.
        let span = window.dilation * (window.kernel - 1) + 1;
        let whole = |&start: &usize| start + span <= end;
        let begun = |&start: &usize| start < len + window.padding;
        if window.partial {
            let whole = places.clone().take_while(whole).count();
            let covered = whole > 0 && (whole - 1) * window.stride + span >= end;
            whole + usize::from(!covered && begun(&(whole * window.stride)))
        } else {
            places.take_while(whole).count()
        }
    };
    (along(x.h), along(x.w))
}

/// `a: [m, k]` times `b: [k, n]`, either of them read transposed where it says so.
fn product((m, k, n): (usize, usize, usize), a: (&[f64], bool), b: (&[f64], bool)) -> Vec<f64> {
    assert_eq!((a.0.len(), b.0.len()), (m * k, k * n), "sizes of a product");
    let mut c = vec![0.0; m * n];
    let strides = |(rows, columns): (usize, usize), transposed| {
        if transposed { (1, rows as isize) } else { (columns as isize, 1) }
    };
    let ((rsa, csa), (rsb, csb)) = (strides((m, k), a.1), strides((k, n), b.1));
    // SAFETY: the slices hold m * k, k * n and m * n numbers, and the strides stay inside of them.
    unsafe {
        let (a, b) = (a.0.as_ptr(), b.0.as_ptr());
        matrixmultiply::dgemm(m, k, n, 1.0, a, rsa, csa, b, rsb, csb, 0.0, c.as_mut_ptr(), n as isize, 1);
    }
    c
}

/// The inputs of each output of a convolution in a row, zeros beyond the border: `[outputs, k * k * C]`.
fn unfold(x: &[f64], c: usize, taps: &[Tap], (outputs, kk): (usize, usize)) -> Vec<f64> {
    let mut rows = vec![0.0; outputs * kk * c];
    for &(o, i, tap) in taps {
        rows[(o * kk + tap) * c..][..c].copy_from_slice(&x[i * c..][..c]);
    }
    rows
}

/// `[co, ci, k, k]` to `[k * k * ci, co]`, or back.
fn by_taps(from: &[f64], (co, ci, kk): (usize, usize, usize), back: bool) -> Vec<f64> {
    let mut to = vec![0.0; from.len()];
    for (o, i, tap) in (0..co).flat_map(|o| (0..ci).flat_map(move |i| (0..kk).map(move |tap| (o, i, tap)))) {
        let (own, other) = ((o * ci + i) * kk + tap, (tap * ci + i) * co + o);
        if back { to[own] = from[other] } else { to[other] = from[own] }
    }
    to
}

/// Convolution with `weight: [out, in / groups, k, k]`, no bias; `groups` is 1 or the number of channels (depthwise).
pub(super) fn conv(x: &Map, weight: &Tensor, window: Window, groups: usize) -> Map {
    let [co, ci, k, _] = weight.shape[..] else { panic!("convolution weight of shape {:?}", weight.shape) };
    assert_eq!(ci * groups, x.c, "input channels");
    let ((oh, ow), kk, taps) = (outputs(x, window), k * k, taps(x, window));
    let weight = by_taps(&weight.data, (co, ci, kk), false);
    let mut out = Map::zeros(x.n, oh, ow, co);
    out.samples_mut().zip(x.samples()).for_each(|(out, x)| {
        if groups == 1 {
            let rows = unfold(x, ci, &taps, (oh * ow, kk));
            out.copy_from_slice(&product((oh * ow, kk * ci, co), (&rows, false), (&weight, false)));
            return;
        }
        for &(o, i, tap) in &taps {
            let (x, weight) = (&x[i * co..][..co], &weight[tap * co..][..co]);
            out[o * co..][..co].iter_mut().zip(x.iter().zip(weight)).for_each(|(out, (x, w))| *out += x * w);
        }
    });
    out
}

/// Gradients of [`conv`] at its input and, with `omega`, at its weight (else zeros).
pub(super) fn conv_backward(
    x: &Map,
    weight: &Tensor,
    window: Window,
    groups: usize,
    g: &Map,
    omega: bool,
) -> (Map, Tensor) {
    let [co, ci, k, _] = weight.shape[..] else { panic!("convolution weight of shape {:?}", weight.shape) };
    let ((outputs, kk), taps) = ((g.h * g.w, k * k), taps(x, window));
    let by_tap = by_taps(&weight.data, (co, ci, kk), false);
    let mut dx = Map::zeros_like(x);
    let dws: Vec<Vec<f64>> = (dx.samples_mut().zip(x.samples().zip(g.samples())))
        .map(|(dx, (x, g))| {
            if groups == 1 {
                let rows = if omega { unfold(x, ci, &taps, (outputs, kk)) } else { vec![] };
                let drows = product((outputs, co, kk * ci), (g, false), (&by_tap, true));
                for &(o, i, tap) in &taps {
                    let from = &drows[(o * kk + tap) * ci..][..ci];
                    dx[i * ci..][..ci].iter_mut().zip(from).for_each(|(dx, d)| *dx += d);
                }
                return if omega { product((kk * ci, outputs, co), (&rows, true), (g, false)) } else { vec![] };
            }
            let mut dw = vec![0.0; by_tap.len()];
            for &(o, i, tap) in &taps {
                for c in 0..co {
                    let g = g[o * co + c];
                    dx[i * co + c] += g * by_tap[tap * co + c];
                    dw[tap * co + c] += g * x[i * co + c];
                }
            }
            dw
        })
        .collect();
    let mut dw = vec![0.0; by_tap.len()];
    dws.iter().for_each(|one| dw.iter_mut().zip(one).for_each(|(sum, d)| *sum += d));
    (dx, Tensor { shape: weight.shape.clone(), data: by_taps(&dw, (co, ci, kk), true) })
}

/// Poolings; pixels outside the image are never counted.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pool {
    Average,
    Maximum,
}

/// By how much each output of average pooling depends on a pixel of its window: one over the number of its pixels.
fn shares(taps: &[Tap], outputs: usize) -> Vec<f64> {
    let mut pixels = vec![0.0; outputs];
    taps.iter().for_each(|&(o, ..)| pixels[o] += 1.0);
    pixels.into_iter().map(|n: f64| 1.0 / n).collect()
}

/// For each output and channel the input that is the (first) largest of the window, an index of the sample; what is not a
/// number is larger than all before it.
fn largest(x: &[f64], c: usize, taps: &[Tap], outputs: usize) -> Vec<usize> {
    let mut at = vec![usize::MAX; outputs * c];
    for &(o, i, _) in taps {
        for (at, i) in at[o * c..][..c].iter_mut().zip(i * c..) {
            if *at == usize::MAX || x[i] > x[*at] || x[i].is_nan() {
                *at = i;
            }
        }
    }
    at
}

pub(super) fn pool(x: &Map, pool: Pool, window: Window) -> Map {
    let ((oh, ow), taps, c) = (outputs(x, window), taps(x, window), x.c);
    let shares = shares(&taps, oh * ow);
    let mut out = Map::zeros(x.n, oh, ow, c);
    out.samples_mut().zip(x.samples()).for_each(|(out, x)| match pool {
        Pool::Average => {
            for &(o, i, _) in &taps {
                let to = out[o * c..][..c].iter_mut();
                to.zip(&x[i * c..][..c]).for_each(|(out, x)| *out += shares[o] * x);
            }
        }
        Pool::Maximum => {
            out.iter_mut().zip(largest(x, c, &taps, oh * ow)).for_each(|(out, i)| *out = x[i]);
        }
    });
    out
}

/// Where in the input each output of maximum pooling comes from.
pub(super) fn maxima(x: &Map, window: Window) -> Vec<usize> {
    let ((oh, ow), taps) = (outputs(x, window), taps(x, window));
    let len = x.h * x.w * x.c;
    let of =
        |(n, sample): (usize, &[f64])| largest(sample, x.c, &taps, oh * ow).into_iter().map(|i| n * len + i).collect();
    x.samples().enumerate().map(of).collect::<Vec<Vec<usize>>>().concat()
}

pub(super) fn pool_backward(x: &Map, pool: Pool, window: Window, g: &Map) -> Map {
    let (taps, c, outputs) = (taps(x, window), x.c, g.h * g.w);
    let shares = shares(&taps, outputs);
    let mut dx = Map::zeros_like(x);
    dx.samples_mut().zip(x.samples().zip(g.samples())).for_each(|(dx, (x, g))| match pool {
        Pool::Average => {
            for &(o, i, _) in &taps {
                let to = dx[i * c..][..c].iter_mut();
                to.zip(&g[o * c..][..c]).for_each(|(dx, g)| *dx += shares[o] * g);
            }
        }
        Pool::Maximum => largest(x, c, &taps, outputs).into_iter().zip(g).for_each(|(i, g)| dx[i] += g),
    });
    dx
}

/// Epsilon of every batch normalisation.
const EPS: f64 = 1e-5;

/// What a batch normalisation keeps.
#[derive(Debug)]
pub(super) struct Normalised {
    /// Normalised input, before scale and shift.
    pub(super) xhat: Map,
    /// Output.
    pub(super) out: Map,
    /// `1 / sqrt(var + eps)` per channel.
    invstd: Vec<f64>,
    /// Mean of the batch per channel.
    pub(super) mean: Vec<f64>,
    /// Unbiased variance of the batch per channel (the biased one where there is a single value).
    pub(super) unbiased_var: Vec<f64>,
}

/// Scale and shift of a batch normalisation.
pub(super) type Affine<'a> = Option<(&'a [f64], &'a [f64])>;

/// Batch normalisation with the batch's statistics, or with `running: (mean, variance)`.
pub(super) fn batch_norm(y: &Map, affine: Affine<'_>, running: Option<(&[f64], &[f64])>) -> Normalised {
    let m = y.per_channel();
    let mut mean = vec![0.0; y.c];
    for pixel in y.pixels() {
        mean.iter_mut().zip(pixel).for_each(|(mean, v)| *mean += v / m);
    }
    let mut var = vec![0.0; y.c];
    for pixel in y.pixels() {
        for (var, (v, mean)) in var.iter_mut().zip(pixel.iter().zip(&mean)) {
            *var += (v - mean).powi(2) / m;
        }
    }
    let (used_mean, used_var) = running.unwrap_or((&mean, &var));
    let invstd: Vec<f64> = used_var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
    let mut xhat = y.clone();
    for pixel in xhat.data.chunks_exact_mut(y.c) {
        for (v, (mean, invstd)) in pixel.iter_mut().zip(used_mean.iter().zip(&invstd)) {
            *v = (*v - mean) * invstd;
        }
    }
    let mut out = xhat.clone();
    if let Some((scale, shift)) = affine {
        for pixel in out.data.chunks_exact_mut(y.c) {
            for (v, (scale, shift)) in pixel.iter_mut().zip(scale.iter().zip(shift)) {
                *v = *v * scale + shift;
            }
        }
    }
    let unbiased_var = var.iter().map(|v| if m > 1.0 { v * m / (m - 1.0) } else { *v }).collect();
    Normalised { xhat, out, invstd, mean, unbiased_var }
}

/// Gradients of [`batch_norm`] with batch statistics: at its input, scale and shift.
pub(super) fn batch_norm_backward(kept: &Normalised, affine: Affine<'_>, g: &Map) -> (Map, Vec<f64>, Vec<f64>) {
    let m = g.per_channel();
    let mut dscale = vec![0.0; g.c];
    let mut dshift = vec![0.0; g.c];
    for (g, xhat) in g.pixels().zip(kept.xhat.pixels()) {
        for (ch, (g, xhat)) in g.iter().zip(xhat).enumerate() {
            dscale[ch] += g * xhat;
            dshift[ch] += g;
        }
    }
    let mut dy = g.clone();
    for (pixel, xhat) in dy.data.chunks_exact_mut(g.c).zip(kept.xhat.pixels()) {
        for (ch, (d, xhat)) in pixel.iter_mut().zip(xhat).enumerate() {
            let scale = affine.map_or(1.0, |(scale, _)| scale[ch]);
            *d = scale * kept.invstd[ch] * (*d - dshift[ch] / m - xhat * dscale[ch] / m);
        }
    }
    (dy, dscale, dshift)
}

/// The gradient at the input of [`batch_norm`] before what mean and variance take from it.
pub(super) fn gradient_before_centring(kept: &Normalised, affine: Affine<'_>, g: &Map) -> Map {
    let mut dy = g.clone();
    for pixel in dy.data.chunks_exact_mut(g.c) {
        for (ch, d) in pixel.iter_mut().enumerate() {
            *d *= affine.map_or(1.0, |(scale, _)| scale[ch]) * kept.invstd[ch];
        }
    }
    dy
}

/// Global average pooling: `[n, 1, 1, c]`.
pub(super) fn global_average(x: &Map) -> Map {
    let mut out = Map::zeros(x.n, 1, 1, x.c);
    for (i, pixel) in x.pixels().enumerate() {
        let to = &mut out.data[i / (x.h * x.w) * x.c..][..x.c];
        to.iter_mut().zip(pixel).for_each(|(mean, v)| *mean += v / (x.h * x.w) as f64);
    }
    out
}

pub(super) fn global_average_backward(x: &Map, g: &Map) -> Map {
    let mut dx = Map::zeros_like(x);
    let pixels = x.h * x.w;
    for (i, pixel) in dx.data.chunks_exact_mut(x.c).enumerate() {
        let from = &g.data[i / pixels * x.c..][..x.c];
        pixel.iter_mut().zip(from).for_each(|(d, g)| *d = g / pixels as f64);
    }
    dx
}

/// `channels` channels of `x`, and zeros.
pub(super) fn gather(x: &Map, gather: Gather, channels: usize) -> Map {
    let mut out = Map::zeros(x.n, x.h, x.w, channels);
    for (pixel, x) in out.data.chunks_mut(channels).zip(x.data.chunks(x.c)) {
        for (channel, value) in pixel.iter_mut().enumerate() {
            *value = gather.source(channel, x.len(), channels).map_or(0.0, |source| x[source]);
        }
    }
    out
}

/// Gradient of [`gather`] at its input.
pub(super) fn gather_backward(x: &Map, gather: Gather, g: &Map) -> Map {
    let mut dx = Map::zeros_like(x);
    for (dx, g) in dx.data.chunks_mut(x.c).zip(g.data.chunks(g.c)) {
        for (channel, value) in g.iter().enumerate() {
            gather.source(channel, x.c, g.len()).into_iter().for_each(|source| dx[source] += value);
        }
    }
    dx
}

/// `x: [n, 1, 1, in]`, `weight: [out, in]`, `bias: [out]` to `[n, 1, 1, out]`.
pub(super) fn linear(x: &Map, weight: &Tensor, bias: &Tensor) -> Map {
    let (outs, ins) = (weight.shape[0], weight.shape[1]);
    let mut out = Map::zeros(x.n, 1, 1, outs);
    out.data = (x.data.chunks(ins))
        .flat_map(|x| (0..outs).map(|o| bias.data[o] + (0..ins).map(|i| x[i] * weight.data[o * ins + i]).sum::<f64>()))
        .collect();
    out
}

/// Gradients of [`linear`] at its input, weight and bias.
pub(super) fn linear_backward(x: &Map, weight: &Tensor, g: &Map) -> (Map, Tensor, Tensor) {
    let (outs, ins) = (weight.shape[0], weight.shape[1]);
    let mut dx = Map::zeros_like(x);
    let mut dw = Tensor::zeros_like(weight);
    let mut db = vec![0.0; outs];
    for n in 0..x.n {
        for (o, db) in db.iter_mut().enumerate() {
            let g = g.data[n * outs + o];
            *db += g;
            for i in 0..ins {
                dx.data[n * ins + i] += g * weight.data[o * ins + i];
                dw.data[o * ins + i] += g * x.data[n * ins + i];
            }
        }
    }
    (dx, dw, Tensor::vector(db))
}

/// Mean cross-entropy of `logits: [n, classes]`: loss, correctly classified samples, gradient at the logits.
pub(super) fn cross_entropy(logits: &[f64], labels: &[u32], classes: usize) -> (f64, usize, Vec<f64>) {
    let n = labels.len() as f64;
    let mut loss = 0.0;
    let mut correct = 0;
    let mut grad = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let label = label as usize;
        let top = (0..classes).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        correct += usize::from(top == label);
        let sum: f64 = row.iter().map(|v| (v - row[top]).exp()).sum();
        loss += (row[top] + sum.ln() - row[label]) / n;
        grad.extend((0..classes).map(|i| {
            let p = (row[i] - row[top]).exp() / sum;
            (p - f64::from(u8::from(i == label))) / n
        }));
    }
    (loss, correct, grad)
}
