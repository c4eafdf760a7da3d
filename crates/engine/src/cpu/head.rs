//! The classifier: mean of (the ReLU of) a source over the pixels, linear layer, cross-entropy.

use super::kernels::elementwise as elem;
use super::padded::Affine;
use super::params::Params;
use super::pass::Cx;
use super::plan::{Classified, Origin, Plan, SourceId};
use super::runtime::room;
use super::unit::{Unit, Units};
use crate::contract::Evaluation;

/// What a classifier keeps between its passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    /// It is that of the auxiliary head.
    auxiliary: bool,
    /// `[n, C]`: means over the pixels.
    features: Vec<f32>,
    /// `[n, classes]`: softmax minus one-hot, over n.
    dlogits: Vec<f32>,
}

impl Plan {
    /// The source that the classifier reads, or that of the auxiliary head.
    pub(super) fn classified(&self, auxiliary: bool) -> Option<(SourceId, Classified)> {
        let mut all = self.sources.iter().enumerate().filter_map(|(id, s)| Some((id, s.classified?)));
        all.find(|(_, classified)| classified.auxiliary == auxiliary)
    }
}

impl Head {
    /// Of the auxiliary head.
    pub(super) fn auxiliary() -> Self {
        Head { auxiliary: true, ..Self::default() }
    }

    fn classified(&self, plan: &Plan) -> (SourceId, Classified) {
        plan.classified(self.auxiliary).expect("a network ends in a classifier")
    }

    /// Means of (the ReLU of) a source.
    fn pool(&mut self, cx: &Cx<'_>, plan: &Plan, affine: Affine<'_>) {
        let (id, Classified { relu, .. }) = self.classified(plan);
        let (p, c) = (plan.sources[id].plane, plan.sources[id].plane.padded);
        let through = affine.map_or_else(|| (vec![1f32; c], vec![0f32; c]), |(a, b)| (a.to_vec(), b.to_vec()));
        let positions: Vec<usize> = (0..p.channels).map(|k| p.position(k)).collect();
        let parts: &[SourceId] = if let Origin::Concat(parts) = &plan.sources[id].origin { parts } else { &[] };
        let lens = [relu, !parts.is_empty()].map(|needed| if needed { p.len() } else { 0 });
        let features = cx.run.map(room(&lens), |images, arena| {
            let [z, together] = lens.map(|len| arena.take(len));
            let mut features = Vec::with_capacity(images.len() * p.channels);
            for i in images {
                // SAFETY: image i, only read.
                let image = unsafe {
                    let x = if parts.is_empty() {
                        cx.x[id].at(i * p.len())
                    } else {
                        plan.put_together(cx, parts, i, together)
                    };
                    if relu {
                        let (scale, shift, z) = (through.0.as_ptr(), through.1.as_ptr(), z.as_mut_ptr());
                        let (isa, row) = (cx.run.exec().isa, p.width * c);
                        elem::scale_shift_relu(isa, x, scale, shift, p.height, p.width, c, z, row);
                    }
                    if relu { &*z } else { std::slice::from_raw_parts(x, p.len()) }
                };
                let mean = |k: usize| {
                    let sum = image.iter().skip(k).step_by(c).map(|&v| f64::from(v)).sum::<f64>();
                    let mean = sum / p.pixels() as f64;
                    if relu { mean } else { mean * f64::from(through.0[k]) + f64::from(through.1[k]) }
                };
                features.extend(positions.iter().map(|&k| mean(k) as f32));
            }
            features
        });
        self.features = features.concat();
    }

    /// `[n, classes]`, before softmax.
    pub(super) fn logits(&mut self, cx: &Cx<'_>, plan: &Plan, units: &Units, params: &Params) -> Vec<f64> {
        let (id, Classified { linear, .. }) = self.classified(plan);
        self.pool(cx, plan, plan.affine(id, units));
        let (channels, classes, weight, bias) = parts(&units[linear], params);
        let logit = |feature: &[f32], k: usize| {
            let w = &weight[k * channels..][..channels];
            f64::from(bias[k]) + w.iter().zip(feature).map(|(&w, &f)| f64::from(w) * f64::from(f)).sum::<f64>()
        };
        let features = self.features.chunks_exact(channels);
        features.flat_map(|feature| (0..classes).map(move |k| logit(feature, k))).collect()
    }

    /// Mean cross-entropy (nats) and correct predictions; a tie of logits goes to the lower class. `weight`: how often it counts
    /// in the loss that [`Head::backward`] is of.
    pub(super) fn evaluate(
        &mut self,
        cx: &Cx<'_>,
        plan: &Plan,
        units: &Units,
        params: &Params,
        labels: &[u32],
        weight: f64,
    ) -> Evaluation {
        let all = self.logits(cx, plan, units, params);
        let (n, classes) = (labels.len(), all.len() / labels.len());
        self.dlogits.clear();
        let mut score = Evaluation { loss: 0.0, correct: 0 };
        for (logits, &label) in all.chunks_exact(classes).zip(labels) {
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|l| (l - max).exp()).sum();
            let label = label as usize;
            score.loss += sum.ln() + max - logits[label];
            let best = (0..classes).fold(0, |b, k| if logits[k] > logits[b] { k } else { b });
            score.correct += usize::from(best == label && logits[label].is_finite());
            self.dlogits.extend((0..classes).map(|k| {
                let softmax = (logits[k] - max).exp() / sum;
                (weight * (softmax - f64::from(u8::from(k == label))) / n as f64) as f32
            }));
        }
        score.loss /= n as f64;
        score
    }

    /// Gradients of the classifier's parameters where `omega`; returns the source with the gradients of its pixels through the
    /// means, `[n, stored channels of the source]`.
    pub(super) fn backward(
        &self,
        n: usize,
        plan: &Plan,
        units: &Units,
        params: &mut Params,
        omega: bool,
    ) -> (SourceId, Vec<f32>) {
        let (id, Classified { linear, .. }) = self.classified(plan);
        let (p, unit) = (plan.sources[id].plane, &units[linear]);
        let positions: Vec<usize> = (0..p.channels).map(|k| p.position(k)).collect();
        let (channels, classes, weight, _) = parts(unit, params);
        let mut dfeatures = vec![0f32; n * p.padded];
        for (df, dl) in dfeatures.chunks_exact_mut(p.padded).zip(self.dlogits.chunks_exact(classes)) {
            for (w, &d) in weight.chunks_exact(channels).zip(dl) {
                for (&k, &w) in positions.iter().zip(w) {
                    df[k] += d * w / p.pixels() as f32;
                }
            }
        }
        if omega {
            let mut dweight = vec![0f64; classes * channels];
            let mut dbias = vec![0f64; classes];
            for (f, dl) in self.features.chunks_exact(channels).zip(self.dlogits.chunks_exact(classes)) {
                for (k, &d) in dl.iter().enumerate() {
                    dbias[k] += f64::from(d);
                    for (dw, &f) in dweight[k * channels..][..channels].iter_mut().zip(f) {
                        *dw += f64::from(d) * f64::from(f);
                    }
                }
            }
            for (&id, from) in unit.weights.iter().zip([dweight, dbias]) {
                for (to, from) in params.grad_mut(id).iter_mut().zip(from) {
                    *to = from as f32;
                }
            }
        }
        (id, dfeatures)
    }
}

/// Inputs, classes, weight `[classes, inputs]` and bias of a linear layer.
fn parts<'a>(linear: &Unit, params: &'a Params) -> (usize, usize, &'a [f32], &'a [f32]) {
    (linear.from.channels, linear.to.channels, params.value(linear.weights[0]), params.value(linear.weights[1]))
}
