//! Batch normalisation (Ioffe & Szegedy 2015): statistics, scale and shift per channel, backward coefficients.
//! The passes over pixels are mostly fused into their neighbours; a [`Norm`] works on `[channels]` vectors.

use super::buffer::Buf;
use super::kernels::elementwise::NormGrad;
use super::params::{ParamId, Params};

/// Added to the variance.
const EPSILON: f64 = crate::spec::Norm::EPSILON;
/// Weight of the newest batch in the running statistics, as in PyTorch.
const MOMENTUM: f64 = 0.1;

/// Running mean and (unbiased) variance, `[channels]`.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) mean: Vec<f32>,
    pub(crate) var: Vec<f32>,
}

/// State of one batch normalisation over `channels` channels, padded to `scale.len()`.
#[derive(Clone, Debug)]
pub(crate) struct Norm {
    /// Name of the module, for saved statistics.
    pub(crate) name: String,
    channels: usize,
    /// Scale and shift parameters, where it is affine.
    affine: Option<(ParamId, ParamId)>,
    pub(crate) running: Option<Running>,
    /// Of the last forward pass: output = `scale * y + shift`.
    pub(crate) scale: Buf,
    pub(crate) shift: Buf,
    /// Mean of the last forward pass.
    pub(crate) mean: Buf,
    invstd: Vec<f64>,
    /// Of the last backward pass, see [`NormGrad`].
    grad: [Buf; 3],
}

impl Norm {
    /// `affine`: its scale and shift, where it has them and running statistics; a supernet's have none.
    pub(crate) fn new(name: String, affine: Option<(ParamId, ParamId)>, channels: usize, padded: usize) -> Self {
        let z = || Buf::zeros(padded);
        let running = Running { mean: vec![0.0; channels], var: vec![1.0; channels] };
        Norm {
            name,
            channels,
            affine,
            running: affine.map(|_| running),
            scale: z(),
            shift: z(),
            mean: z(),
            invstd: vec![0.0; channels],
            grad: [z(), z(), z()],
        }
    }

    /// Its parameters.
    pub(crate) fn params(&self) -> impl Iterator<Item = ParamId> {
        self.affine.into_iter().flat_map(|(w, b)| [w, b])
    }

    /// Takes the statistics of a batch: `sums` and `squares` of `(y - pivot)` over `count` values per channel.
    /// `train`: move the running statistics.
    pub(crate) fn set_batch(
        &mut self,
        params: &Params,
        sums: &[f64],
        squares: &[f64],
        pivot: &[f32],
        count: f64,
        train: bool,
    ) {
        for c in 0..self.channels {
            let d = sums[c] / count;
            let var = (squares[c] / count - d * d).max(0.0);
            let mean = f64::from(pivot[c]) + d;
            self.mean[c] = mean as f32;
            self.invstd[c] = 1.0 / (var + EPSILON).sqrt();
            if let (true, Some(r)) = (train, self.running.as_mut()) {
                let unbiased = var * count / (count - 1.0).max(1.0);
                r.mean[c] = ((1.0 - MOMENTUM) * f64::from(r.mean[c]) + MOMENTUM * mean) as f32;
                r.var[c] = ((1.0 - MOMENTUM) * f64::from(r.var[c]) + MOMENTUM * unbiased) as f32;
            }
        }
        self.set_scale(params);
    }

    /// Takes the running statistics. The network refuses this for supernets, which have none.
    pub(crate) fn set_running(&mut self, params: &Params) {
        if let Some(r) = &self.running {
            for c in 0..self.channels {
                self.mean[c] = r.mean[c];
                self.invstd[c] = 1.0 / (f64::from(r.var[c]) + EPSILON).sqrt();
            }
        }
        self.set_scale(params);
    }

    fn gamma_beta(&self, params: &Params, c: usize) -> (f64, f64) {
        self.affine.map_or((1.0, 0.0), |(w, b)| (f64::from(params.value(w)[c]), f64::from(params.value(b)[c])))
    }

    fn set_scale(&mut self, params: &Params) {
        for c in 0..self.channels {
            let (gamma, beta) = self.gamma_beta(params, c);
            let scale = gamma * self.invstd[c];
            self.scale[c] = scale as f32;
            self.shift[c] = (beta - scale * f64::from(self.mean[c])) as f32;
        }
    }

    /// Backward pass of `weight * norm(y)`, given `g = dL/d(weight * norm(y))` as `sum(g)` and `sum(g * (y - mean))`
    /// over `count` values per channel. Sets the coefficients of `dy`, writes the parameters' gradients where `omega`,
    /// and returns `dL/d weight`.
    pub(crate) fn backward(
        &mut self,
        params: &mut Params,
        g: &[f64],
        gy: &[f64],
        weight: f64,
        count: f64,
        omega: bool,
    ) -> f64 {
        let mut dweight = 0.0;
        for c in 0..self.channels {
            let (gamma, beta) = self.gamma_beta(params, c);
            let normalised = gy[c] * self.invstd[c];
            dweight += gamma * normalised + beta * g[c];
            if let (true, Some((w, b))) = (omega, self.affine) {
                params.grad_mut(w)[c] = (weight * normalised) as f32;
                params.grad_mut(b)[c] = (weight * g[c]) as f32;
            }
            // dy = a * (g - sum(g)/m - (y - mean) * invstd * normalised/m)
            let a = weight * gamma * self.invstd[c];
            let b = -a * self.invstd[c] * normalised / count;
            self.grad[0][c] = a as f32;
            self.grad[1][c] = b as f32;
            self.grad[2][c] = (-a * g[c] / count) as f32;
        }
        dweight
    }

    /// Coefficients of the last [`Norm::backward`].
    pub(crate) fn grad(&self) -> NormGrad {
        let [a, b, d] = &self.grad;
        NormGrad { a: a.as_ptr(), b: b.as_ptr(), d: d.as_ptr(), mean: self.mean.as_ptr() }
    }
}
