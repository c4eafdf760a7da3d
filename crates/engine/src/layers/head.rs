//! The head: batch normalisation, ReLU, global average pooling, linear classifier, cross-entropy.

use crate::buffer::Ptr;
use crate::codes::CodeSink;
use crate::contract::Evaluation;
use crate::kernels::elementwise as elem;
use crate::layers::norm::Norm;
use crate::layers::stem::correlate_norm;
use crate::layers::{Mode, Plane};
use crate::params::{ParamId, Params};
use crate::run::{Arena, Run, total};

/// Normalisation and classifier `[classes, C]`.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    plane: Plane,
    classes: usize,
    pub(crate) norm: Norm,
    weight: ParamId,
    bias: ParamId,
    /// `[n, padded]`: mean of the ReLU over the pixels.
    features: Vec<f32>,
    /// `[n, classes]`: softmax minus one-hot, over n.
    dlogits: Vec<f32>,
}

impl Head {
    pub(crate) fn new(plane: Plane, classes: usize, params: &mut Params, mut init: impl FnMut(usize) -> f32) -> Self {
        let norm = Norm::affine(params, "head.bn".to_owned(), plane.channels, plane.padded);
        let shape = [classes, plane.channels];
        let weight = params.add("head.linear.weight".to_owned(), &shape, || init(plane.channels));
        let bias = params.add("head.linear.bias".to_owned(), &[classes], || init(plane.channels));
        Head { plane, classes, norm, weight, bias, features: vec![], dlogits: vec![] }
    }

    /// Statistics, ReLU and pooling of `x: [n, H, W, padded]`.
    fn pool(&mut self, run: Run<'_>, x: Ptr, params: &Params, mode: Mode) {
        let (p, c) = (self.plane, self.plane.padded);
        if mode == Mode::Running {
            self.norm.set_running(params);
        } else {
            let middle = (p.height / 2 * p.width + p.width / 2) * c;
            // SAFETY: a pixel of image 0, written by the layer before.
            let pivot = unsafe { std::slice::from_raw_parts(x.at(middle), c) }.to_vec();
            let sums = run.each_chunk(0, |chunk, _| {
                let mut sums = vec![0f64; 2 * c];
                for i in chunk {
                    // SAFETY: image i, only read.
                    let image = unsafe { std::slice::from_raw_parts(x.at(i * p.len()), p.len()) };
                    for pixel in image.chunks_exact(c) {
                        for k in 0..c {
                            let d = f64::from(pixel[k] - pivot[k]);
                            sums[k] += d;
                            sums[c + k] += d * d;
                        }
                    }
                }
                sums
            });
            let sums = total(&sums);
            self.norm.set_batch(params, &sums, &sums[c..], &pivot, (run.n * p.pixels()) as f64, mode == Mode::Train);
        }
        let norm = &self.norm;
        let features = run.each_chunk(Arena::room(p.len()), |chunk, arena| {
            let z = arena.take(p.len());
            let mut features = Vec::with_capacity(chunk.len() * c);
            for i in chunk {
                // SAFETY: image i, only read.
                unsafe {
                    let (scale, shift) = (norm.scale.as_ptr(), norm.shift.as_ptr());
                    elem::scale_shift_relu(
                        run.exec().isa,
                        x.at(i * p.len()),
                        scale,
                        shift,
                        p.height,
                        p.width,
                        c,
                        z.as_mut_ptr(),
                        p.width * c,
                    );
                }
                features.extend((0..c).map(|k| {
                    (z.iter().skip(k).step_by(c).map(|&v| f64::from(v)).sum::<f64>() / p.pixels() as f64) as f32
                }));
            }
            features
        });
        self.features = features.concat();
    }

    /// `[n, classes]`, before softmax.
    pub(crate) fn logits(&mut self, run: Run<'_>, x: Ptr, params: &Params, mode: Mode) -> Vec<f64> {
        self.pool(run, x, params, mode);
        let (weight, bias) = (params.value(self.weight), params.value(self.bias));
        let logit = |feature: &[f32], k: usize| {
            let w = &weight[k * self.plane.channels..][..self.plane.channels];
            f64::from(bias[k]) + w.iter().zip(feature).map(|(&w, &f)| f64::from(w) * f64::from(f)).sum::<f64>()
        };
        let features = self.features.chunks_exact(self.plane.padded);
        features.flat_map(|feature| (0..self.classes).map(move |k| logit(feature, k))).collect()
    }

    /// Mean cross-entropy (nats) and correct predictions; a tie of logits goes to the lower class.
    pub(crate) fn forward(&mut self, run: Run<'_>, x: Ptr, labels: &[u32], params: &Params, mode: Mode) -> Evaluation {
        let all = self.logits(run, x, params, mode);
        let n = labels.len();
        self.dlogits.clear();
        let mut score = Evaluation { loss: 0.0, correct: 0 };
        for (logits, &label) in all.chunks_exact(self.classes).zip(labels) {
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
            let label = label as usize;
            score.loss += sum.ln() + max - logits[label];
            let best = (0..self.classes).fold(0, |b, k| if logits[k] > logits[b] { k } else { b });
            score.correct += usize::from(best == label && logits[label].is_finite());
            self.dlogits.extend((0..self.classes).map(|k| {
                let softmax = (logits[k] - max).exp() / sum;
                ((softmax - f64::from(u8::from(k == label))) / n as f64) as f32
            }));
        }
        score.loss /= n as f64;
        score
    }

    /// Statistics and codes only, for a pass without labels.
    pub(crate) fn add_codes(&mut self, run: Run<'_>, x: Ptr, params: &Params, sink: &mut CodeSink) {
        self.pool(run, x, params, Mode::Batch);
        sink.add_outside(run, x, &self.norm.scale, &self.norm.shift, self.plane);
    }

    /// Writes `dL/dx` to `g`, and the gradients of the parameters where `omega`.
    pub(crate) fn backward(&mut self, run: Run<'_>, x: Ptr, g: Ptr, params: &mut Params, omega: bool) {
        let (p, c) = (self.plane, self.plane.padded);
        let mut dfeatures = vec![0f32; run.n * c];
        let weight = params.value(self.weight);
        for (df, dl) in dfeatures.chunks_exact_mut(c).zip(self.dlogits.chunks_exact(self.classes)) {
            for (w, &d) in weight.chunks_exact(p.channels).zip(dl) {
                for (df, &w) in df.iter_mut().zip(w) {
                    *df += d * w / p.pixels() as f32;
                }
            }
        }
        if omega {
            let mut dweight = vec![0f64; self.classes * p.channels];
            let mut dbias = vec![0f64; self.classes];
            for (f, dl) in self.features.chunks_exact(c).zip(self.dlogits.chunks_exact(self.classes)) {
                for (k, &d) in dl.iter().enumerate() {
                    dbias[k] += f64::from(d);
                    for (dw, &f) in dweight[k * p.channels..][..p.channels].iter_mut().zip(f) {
                        *dw += f64::from(d) * f64::from(f);
                    }
                }
            }
            for (id, from) in [(self.weight, dweight), (self.bias, dbias)] {
                for (to, from) in params.grad_mut(id).iter_mut().zip(from) {
                    *to = from as f32;
                }
            }
        }
        let norm = &self.norm;
        run.each_chunk(0, |chunk, _| {
            for i in chunk {
                // SAFETY: image i of g belongs to this thread, that of x is only read.
                let (x, g) = unsafe {
                    (
                        std::slice::from_raw_parts(x.at(i * p.len()), p.len()),
                        std::slice::from_raw_parts_mut(g.at(i * p.len()), p.len()),
                    )
                };
                let df = &dfeatures[i * c..][..c];
                for (x, g) in x.chunks_exact(c).zip(g.chunks_exact_mut(c)) {
                    for k in 0..c {
                        g[k] = if x[k].mul_add(norm.scale[k], norm.shift[k]) > 0.0 { df[k] } else { 0.0 };
                    }
                }
            }
        });
        correlate_norm(run, p, g, x, &mut self.norm, params, omega);
        let norm = &self.norm;
        run.each_chunk(0, |chunk, _| {
            for i in chunk {
                let o = i * p.len();
                // SAFETY: image i of g belongs to this thread; element by element, so that source and target may be one.
                unsafe {
                    let (row, isa) = (p.width * c, run.exec().isa);
                    elem::norm_grad(isa, g.at(o), x.at(o), norm.grad(), p.height, p.width, c, g.at(o), row, c);
                }
            }
        });
    }
}
