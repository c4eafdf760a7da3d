//! The layers, forward and backward, as loops that follow the formulas.

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
    pub(crate) fn zeros_like(other: &Tensor) -> Self {
        Self { shape: other.shape.clone(), data: vec![0.0; other.data.len()] }
    }

    pub(crate) fn vector(data: Vec<f64>) -> Self {
        Self { shape: vec![data.len()], data }
    }
}

pub(crate) fn relu(x: &Map) -> Map {
    x.map(|v| v.max(0.0))
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

/// Calls `f(sample, out y, out x, in y, in x, tap y, tap x)` for every tap inside the input of a k x k convolution with
/// padding k / 2.
fn taps(x: &Map, k: usize, stride: usize, mut f: impl FnMut(usize, usize, usize, usize, usize, usize, usize)) {
    let pad = k / 2;
    let (oh, ow) = conv_size(x, k, stride);
    for n in 0..x.n {
        for oy in 0..oh {
            for ox in 0..ow {
                for ky in 0..k {
                    for kx in 0..k {
                        let (y, x_) = (oy * stride + ky, ox * stride + kx);
                        if y >= pad && y - pad < x.h && x_ >= pad && x_ - pad < x.w {
                            f(n, oy, ox, y - pad, x_ - pad, ky, kx);
                        }
                    }
                }
            }
        }
    }
}

fn conv_size(x: &Map, k: usize, stride: usize) -> (usize, usize) {
    let pad = k / 2;
    ((x.h + 2 * pad - k) / stride + 1, (x.w + 2 * pad - k) / stride + 1)
}

/// Convolution with `weight: [out, in, k, k]`, padding k / 2, no bias.
pub(crate) fn conv(x: &Map, weight: &Tensor, stride: usize) -> Map {
    let [co, ci, k, _] = weight.shape[..] else { panic!("convolution weight of shape {:?}", weight.shape) };
    assert_eq!(ci, x.c, "input channels");
    let (oh, ow) = conv_size(x, k, stride);
    let mut out = Map::zeros(x.n, oh, ow, co);
    taps(x, k, stride, |n, oy, ox, iy, ix, ky, kx| {
        for o in 0..co {
            for i in 0..ci {
                *out.at_mut(n, oy, ox, o) += x.at(n, iy, ix, i) * weight.data[((o * ci + i) * k + ky) * k + kx];
            }
        }
    });
    out
}

/// Gradients of [`conv`] at its input and weight.
pub(crate) fn conv_backward(x: &Map, weight: &Tensor, stride: usize, g: &Map) -> (Map, Tensor) {
    let [co, ci, k, _] = weight.shape[..] else { panic!("convolution weight of shape {:?}", weight.shape) };
    let mut dx = Map::zeros_like(x);
    let mut dw = Tensor::zeros_like(weight);
    taps(x, k, stride, |n, oy, ox, iy, ix, ky, kx| {
        for o in 0..co {
            for i in 0..ci {
                let tap = ((o * ci + i) * k + ky) * k + kx;
                *dx.at_mut(n, iy, ix, i) += g.at(n, oy, ox, o) * weight.data[tap];
                dw.data[tap] += g.at(n, oy, ox, o) * x.at(n, iy, ix, i);
            }
        }
    });
    (dx, dw)
}

/// Calls `f(sample, out y, out x, in y, in x, share)` for every pixel of every average-pooling window; `share` is
/// one over the number of the window's pixels that exist.
fn windows(x: &Map, pool: Pool, mut f: impl FnMut(usize, usize, usize, usize, usize, f64)) {
    let (oh, ow) = pool_size(x, pool);
    for n in 0..x.n {
        for oy in 0..oh {
            for ox in 0..ow {
                let (ys, xs) = match pool {
                    Pool::Avg3x3 => (oy.saturating_sub(1)..(oy + 2).min(x.h), ox.saturating_sub(1)..(ox + 2).min(x.w)),
                    Pool::Avg2x2Stride2 => (2 * oy..(2 * oy + 2).min(x.h), 2 * ox..(2 * ox + 2).min(x.w)),
                };
                let share = 1.0 / (ys.len() * xs.len()) as f64;
                for y in ys.clone() {
                    for x_ in xs.clone() {
                        f(n, oy, ox, y, x_, share);
                    }
                }
            }
        }
    }
}

/// Average poolings; pixels outside the image are never counted.
#[derive(Clone, Copy)]
pub(crate) enum Pool {
    /// 3x3, stride 1, padding 1.
    Avg3x3,
    /// 2x2, stride 2, a last window may be partial.
    Avg2x2Stride2,
}

fn pool_size(x: &Map, pool: Pool) -> (usize, usize) {
    match pool {
        Pool::Avg3x3 => (x.h, x.w),
        Pool::Avg2x2Stride2 => (x.h.div_ceil(2), x.w.div_ceil(2)),
    }
}

pub(crate) fn avg_pool(x: &Map, pool: Pool) -> Map {
    let (oh, ow) = pool_size(x, pool);
    let mut out = Map::zeros(x.n, oh, ow, x.c);
    windows(x, pool, |n, oy, ox, iy, ix, share| {
        for c in 0..x.c {
            *out.at_mut(n, oy, ox, c) += share * x.at(n, iy, ix, c);
        }
    });
    out
}

pub(crate) fn avg_pool_backward(x: &Map, pool: Pool, g: &Map) -> Map {
    let mut dx = Map::zeros_like(x);
    windows(x, pool, |n, oy, ox, iy, ix, share| {
        for c in 0..x.c {
            *dx.at_mut(n, iy, ix, c) += share * g.at(n, oy, ox, c);
        }
    });
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

/// Global average pooling: `[n, c]`.
pub(crate) fn global_average(x: &Map) -> Vec<f64> {
    let mut out = vec![0.0; x.n * x.c];
    for n in 0..x.n {
        for (i, v) in x.sample(n).iter().enumerate() {
            out[n * x.c + i % x.c] += v / (x.h * x.w) as f64;
        }
    }
    out
}

pub(crate) fn global_average_backward(x: &Map, g: &[f64]) -> Map {
    let mut dx = Map::zeros_like(x);
    let pixels = x.h * x.w;
    for (i, d) in dx.data.iter_mut().enumerate() {
        *d = g[i / (pixels * x.c) * x.c + i % x.c] / pixels as f64;
    }
    dx
}

/// `x: [n, in]`, `weight: [out, in]`, `bias: [out]` to `[n, out]`.
pub(crate) fn linear(x: &[f64], weight: &Tensor, bias: &Tensor) -> Vec<f64> {
    let (outs, ins) = (weight.shape[0], weight.shape[1]);
    x.chunks(ins)
        .flat_map(|x| (0..outs).map(|o| bias.data[o] + (0..ins).map(|i| x[i] * weight.data[o * ins + i]).sum::<f64>()))
        .collect()
}

/// Gradients of [`linear`] at its input, weight and bias.
pub(crate) fn linear_backward(x: &[f64], weight: &Tensor, g: &[f64]) -> (Vec<f64>, Tensor, Tensor) {
    let (outs, ins) = (weight.shape[0], weight.shape[1]);
    let mut dx = vec![0.0; x.len()];
    let mut dw = Tensor::zeros_like(weight);
    let mut db = vec![0.0; outs];
    for n in 0..x.len() / ins {
        for o in 0..outs {
            let g = g[n * outs + o];
            db[o] += g;
            for i in 0..ins {
                dx[n * ins + i] += g * weight.data[o * ins + i];
                dw.data[o * ins + i] += g * x[n * ins + i];
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
