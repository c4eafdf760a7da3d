//! The layers, forward and backward, as loops that follow the formulas.

use hpe_darts_engine::Window;

/// Activations `[n, h, w, c]`.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) data: Vec<f64>,
}

impl Map {
    pub(crate) fn zeros(n: usize, h: usize, w: usize, c: usize) -> Self {
        Self { n, h, w, c, data: vec![0.0; n * h * w * c] }
    }

    pub(crate) fn zeros_like(other: &Map) -> Self {
        Self::zeros(other.n, other.h, other.w, other.c)
    }

    fn index(&self, n: usize, y: usize, x: usize, c: usize) -> usize {
        ((n * self.h + y) * self.w + x) * self.c + c
    }

    pub(crate) fn at(&self, n: usize, y: usize, x: usize, c: usize) -> f64 {
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

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64) -> Map {
        Map { data: self.data.iter().map(|&v| f(v)).collect(), ..*self }
    }

    pub(crate) fn add_scaled(&mut self, other: &Map, scale: f64) {
        for (a, b) in self.data.iter_mut().zip(&other.data) {
            *a += scale * b;
        }
    }

    pub(crate) fn dot(&self, other: &Map) -> f64 {
        self.data.iter().zip(&other.data).map(|(a, b)| a * b).sum()
    }

    pub(crate) fn norm(&self) -> f64 {
        self.dot(self).sqrt()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.data.iter().sum()
    }

    /// The maps one after the other along the channels.
    pub(crate) fn concat(parts: &[&Map]) -> Map {
        let Map { n, h, w, .. } = *parts[0];
        let mut all = Map::zeros(n, h, w, parts.iter().map(|p| p.c).sum());
        let pixels = (0..n * h * w).flat_map(|i| parts.iter().flat_map(move |p| &p.data[i * p.c..(i + 1) * p.c]));
        all.data = pixels.copied().collect();
        all
    }

    /// `count` channels from the channel `first` on.
    pub(crate) fn channels(&self, first: usize, count: usize) -> Map {
        let data = self.data.chunks(self.c).flat_map(|pixel| &pixel[first..first + count]).copied().collect();
        Map { c: count, data, ..*self }
    }

    /// Moved up and left by `by` pixels; zeros come in.
    pub(crate) fn shifted(&self, by: isize) -> Map {
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
    pub(crate) fn by_sample(&self, factors: Option<&[f64]>) -> Map {
        let len = self.h * self.w * self.c;
        let factor = |i: usize| factors.map_or(1.0, |f| f[i / len]);
        Map { data: self.data.iter().enumerate().map(|(i, v)| factor(i) * v).collect(), ..*self }
    }

    /// The values of sample `n`.
    pub(crate) fn sample(&self, n: usize) -> &[f64] {
        let len = self.h * self.w * self.c;
        &self.data[n * len..(n + 1) * len]
    }
}

/// A weight tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Tensor {
    pub(crate) fn zeros(shape: Vec<usize>) -> Self {
        Self { data: vec![0.0; shape.iter().product()], shape }
    }

    pub(crate) fn zeros_like(other: &Tensor) -> Self {
        Self::zeros(other.shape.clone())
    }

    pub(crate) fn vector(data: Vec<f64>) -> Self {
        Self { shape: vec![data.len()], data }
    }
}

pub(crate) fn relu(x: &Map) -> Map {
    // What is not a number passes.
    x.map(|v| if v <= 0.0 { 0.0 } else { v })
}

/// Gradient at the input `x` of a ReLU; zero where `x` is. With `near: (threshold, slope)` the slope at inputs other
/// than 0 but within the threshold is the given one.
pub(crate) fn relu_backward(x: &Map, g: &Map, near: Option<(f64, f64)>) -> Map {
    let slope = |x: f64| match near {
        Some((threshold, slope)) if x != 0.0 && x.abs() < threshold => slope,
        _ if x > 0.0 => 1.0,
        _ => 0.0,
    };
    let data = x.data.iter().zip(&g.data).map(|(&x, &g)| slope(x) * g).collect();
    Map { data, ..*x }
}

/// Calls `f(sample, out y, out x, in y, in x, tap y, tap x)` for every tap of the window that is inside the input.
fn taps(x: &Map, window: Window, mut f: impl FnMut(usize, usize, usize, usize, usize, usize, usize)) {
    let Window { kernel, stride, padding, dilation, .. } = window;
    let (oh, ow) = outputs(x, window);
    for n in 0..x.n {
        for oy in 0..oh {
            for ox in 0..ow {
                for ky in 0..kernel {
                    for kx in 0..kernel {
                        let (y, x_) = (oy * stride + ky * dilation, ox * stride + kx * dilation);
                        if y >= padding && y - padding < x.h && x_ >= padding && x_ - padding < x.w {
                            f(n, oy, ox, y - padding, x_ - padding, ky, kx);
                        }
                    }
                }
            }
        }
    }
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

/// Convolution with `weight: [out, in / groups, k, k]`, no bias; `groups` is 1 or the number of channels (depthwise).
pub(crate) fn conv(x: &Map, weight: &Tensor, window: Window, groups: usize) -> Map {
    let [co, ci, k, _] = weight.shape[..] else { panic!("convolution weight of shape {:?}", weight.shape) };
    assert_eq!(ci * groups, x.c, "input channels");
    let (oh, ow) = outputs(x, window);
    let mut out = Map::zeros(x.n, oh, ow, co);
    taps(x, window, |n, oy, ox, iy, ix, ky, kx| {
        for o in 0..co {
            let first = o * groups / co * ci;
            for i in 0..ci {
                *out.at_mut(n, oy, ox, o) += x.at(n, iy, ix, first + i) * weight.data[((o * ci + i) * k + ky) * k + kx];
            }
        }
    });
    out
}

/// Gradients of [`conv`] at its input and weight.
pub(crate) fn conv_backward(x: &Map, weight: &Tensor, window: Window, groups: usize, g: &Map) -> (Map, Tensor) {
    let [co, ci, k, _] = weight.shape[..] else { panic!("convolution weight of shape {:?}", weight.shape) };
    let mut dx = Map::zeros_like(x);
    let mut dw = Tensor::zeros_like(weight);
    taps(x, window, |n, oy, ox, iy, ix, ky, kx| {
        for o in 0..co {
            let first = o * groups / co * ci;
            for i in 0..ci {
                let tap = ((o * ci + i) * k + ky) * k + kx;
                *dx.at_mut(n, iy, ix, first + i) += g.at(n, oy, ox, o) * weight.data[tap];
                dw.data[tap] += g.at(n, oy, ox, o) * x.at(n, iy, ix, first + i);
            }
        }
    });
    (dx, dw)
}

/// Poolings; pixels outside the image are never counted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pool {
    Average,
    Maximum,
}

/// Calls `f(sample, out y, out x, in y, in x, channel, share)` for every value of every pooling window that the output
/// depends on; `share` is by how much: one over the number of the window's pixels, or 1 for the (first) largest.
fn shares(x: &Map, pool: Pool, window: Window, mut f: impl FnMut(usize, usize, usize, usize, usize, usize, f64)) {
    let (oh, ow) = outputs(x, window);
    let mut pixels = vec![Vec::new(); x.n * oh * ow];
    taps(x, window, |n, oy, ox, iy, ix, _, _| pixels[(n * oh + oy) * ow + ox].push((iy, ix)));
    for (at, pixels) in pixels.iter().enumerate() {
        let (n, oy, ox) = (at / (oh * ow), at / ow % oh, at % ow);
        for c in 0..x.c {
            let value = |&(y, x_): &(usize, usize)| x.at(n, y, x_, c);
            match pool {
                Pool::Average => {
                    pixels.iter().for_each(|&(y, x_)| f(n, oy, ox, y, x_, c, 1.0 / pixels.len() as f64));
                }
                Pool::Maximum => {
                    let larger = |p, q| if value(q) > value(p) || value(q).is_nan() { q } else { p };
                    let first = pixels.iter().reduce(larger);
                    first.into_iter().for_each(|&(y, x_)| f(n, oy, ox, y, x_, c, 1.0));
                }
            }
        }
    }
}

pub(crate) fn pool(x: &Map, pool: Pool, window: Window) -> Map {
    let (oh, ow) = outputs(x, window);
    let mut out = Map::zeros(x.n, oh, ow, x.c);
    shares(x, pool, window, |n, oy, ox, iy, ix, c, share| *out.at_mut(n, oy, ox, c) += share * x.at(n, iy, ix, c));
    out
}

/// Where in the input each output of maximum pooling comes from.
pub(crate) fn maxima(x: &Map, window: Window) -> Vec<usize> {
    let mut from = vec![];
    shares(x, Pool::Maximum, window, |n, _, _, iy, ix, c, _| from.push(x.index(n, iy, ix, c)));
    from
}

pub(crate) fn pool_backward(x: &Map, pool: Pool, window: Window, g: &Map) -> Map {
    let mut dx = Map::zeros_like(x);
    shares(x, pool, window, |n, oy, ox, iy, ix, c, share| *dx.at_mut(n, iy, ix, c) += share * g.at(n, oy, ox, c));
    dx
}

/// Epsilon of every batch normalisation.
const EPS: f64 = 1e-5;

/// What a batch normalisation keeps.
#[derive(Debug)]
pub(crate) struct Normalised {
    /// Normalised input, before scale and shift.
    pub(crate) xhat: Map,
    /// Output.
    pub(crate) out: Map,
    /// `1 / sqrt(var + eps)` per channel.
    invstd: Vec<f64>,
    /// Mean of the batch per channel.
    pub(crate) mean: Vec<f64>,
    /// Unbiased variance of the batch per channel (the biased one where there is a single value).
    pub(crate) unbiased_var: Vec<f64>,
}

/// Scale and shift of a batch normalisation.
pub(crate) type Affine<'a> = Option<(&'a [f64], &'a [f64])>;

/// Batch normalisation with the batch's statistics, or with `running: (mean, variance)`.
pub(crate) fn batch_norm(y: &Map, affine: Affine<'_>, running: Option<(&[f64], &[f64])>) -> Normalised {
    let m = y.per_channel();
    let mut mean = vec![0.0; y.c];
    for (i, v) in y.data.iter().enumerate() {
        mean[i % y.c] += v / m;
    }
    let mut var = vec![0.0; y.c];
    for (i, v) in y.data.iter().enumerate() {
        var[i % y.c] += (v - mean[i % y.c]).powi(2) / m;
    }
    let (used_mean, used_var) = running.unwrap_or((&mean, &var));
    let invstd: Vec<f64> = used_var.iter().map(|v| 1.0 / (v + EPS).sqrt()).collect();
    let mut xhat = y.clone();
    for (i, v) in xhat.data.iter_mut().enumerate() {
        *v = (*v - used_mean[i % y.c]) * invstd[i % y.c];
    }
    let mut out = xhat.clone();
    if let Some((scale, shift)) = affine {
        for (i, v) in out.data.iter_mut().enumerate() {
            *v = *v * scale[i % y.c] + shift[i % y.c];
        }
    }
    let unbiased_var = var.iter().map(|v| if m > 1.0 { v * m / (m - 1.0) } else { *v }).collect();
    Normalised { xhat, out, invstd, mean, unbiased_var }
}

/// Gradients of [`batch_norm`] with batch statistics: at its input, scale and shift.
pub(crate) fn batch_norm_backward(kept: &Normalised, affine: Affine<'_>, g: &Map) -> (Map, Vec<f64>, Vec<f64>) {
    let c = g.c;
    let m = g.per_channel();
    let mut dscale = vec![0.0; c];
    let mut dshift = vec![0.0; c];
    for (i, (g, xhat)) in g.data.iter().zip(&kept.xhat.data).enumerate() {
        dscale[i % c] += g * xhat;
        dshift[i % c] += g;
    }
    let mut dy = Map::zeros_like(g);
    for (i, d) in dy.data.iter_mut().enumerate() {
        let ch = i % c;
        let scale = affine.map_or(1.0, |(scale, _)| scale[ch]);
        let centred = g.data[i] - dshift[ch] / m - kept.xhat.data[i] * dscale[ch] / m;
        *d = scale * kept.invstd[ch] * centred;
    }
    (dy, dscale, dshift)
}

/// The gradient at the input of [`batch_norm`] before what mean and variance take from it.
pub(crate) fn gradient_before_centring(kept: &Normalised, affine: Affine<'_>, g: &Map) -> Map {
    let mut dy = g.clone();
    for (i, d) in dy.data.iter_mut().enumerate() {
        *d *= affine.map_or(1.0, |(scale, _)| scale[i % g.c]) * kept.invstd[i % g.c];
    }
    dy
}

/// Global average pooling: `[n, 1, 1, c]`.
pub(crate) fn global_average(x: &Map) -> Map {
    let mut out = Map::zeros(x.n, 1, 1, x.c);
    for n in 0..x.n {
        for (i, v) in x.sample(n).iter().enumerate() {
            out.data[n * x.c + i % x.c] += v / (x.h * x.w) as f64;
        }
    }
    out
}

pub(crate) fn global_average_backward(x: &Map, g: &Map) -> Map {
    let mut dx = Map::zeros_like(x);
    let pixels = x.h * x.w;
    for (i, d) in dx.data.iter_mut().enumerate() {
        *d = g.data[i / (pixels * x.c) * x.c + i % x.c] / pixels as f64;
    }
    dx
}

/// `x: [n, 1, 1, in]`, `weight: [out, in]`, `bias: [out]` to `[n, 1, 1, out]`.
pub(crate) fn linear(x: &Map, weight: &Tensor, bias: &Tensor) -> Map {
    let (outs, ins) = (weight.shape[0], weight.shape[1]);
    let mut out = Map::zeros(x.n, 1, 1, outs);
    out.data = (x.data.chunks(ins))
        .flat_map(|x| (0..outs).map(|o| bias.data[o] + (0..ins).map(|i| x[i] * weight.data[o * ins + i]).sum::<f64>()))
        .collect();
    out
}

/// Gradients of [`linear`] at its input, weight and bias.
pub(crate) fn linear_backward(x: &Map, weight: &Tensor, g: &Map) -> (Map, Tensor, Tensor) {
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
pub(crate) fn cross_entropy(logits: &[f64], labels: &[u32], classes: usize) -> (f64, usize, Vec<f64>) {
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
