//! Comparing the engine with the reference: how far f32 may be from f64 at a given point.

use hpe_darts_engine::{
    Batch, Codes, CpuEngines, Distances, Engine, EngineError, Engines, Gradients, NetworkSpec, Options, StepOutput,
    TensorState, Vector,
};

use crate::cases;
use hpe_darts_engine::reference::{Code, NEAR, Pass, Reference, Tensors, tensors};

/// The engine under test.
pub(crate) type Network = Box<dyn Engine>;

/// A network on threads of its own.
pub(crate) fn build(spec: &NetworkSpec, seed: u64, options: Options) -> Result<Network, EngineError> {
    CpuEngines::new(options)?.build(spec, seed)
}

/// One network, one batch.
#[derive(Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) key: String,
    pub(crate) spec: NetworkSpec,
    pub(crate) images: Vec<f32>,
    pub(crate) labels: Vec<u32>,
    pub(crate) w: Vec<f32>,
}

impl Case {
    pub(crate) fn new(key: &str, spec: NetworkSpec, samples: usize) -> Self {
        spec.check().unwrap();
        Self {
            images: cases::images(key, samples, spec.image),
            labels: cases::labels(key, samples, spec.classes),
            w: cases::mixing(key, spec.mixing_len()),
            key: key.to_string(),
            spec,
        }
    }

    /// Everything runs, an auxiliary head as well.
    pub(crate) fn pass(&self) -> hpe_darts_engine::Pass<'_> {
        let auxiliary = if self.spec.auxiliary.is_some() { 0.375 } else { 0.0 };
        hpe_darts_engine::Pass { auxiliary, ..hpe_darts_engine::Pass::new(&self.w) }
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { images: &self.images, labels: &self.labels }
    }

    /// A network with closed-form values in place of its initial ones.
    pub(crate) fn on(&self, engines: &dyn Engines) -> Network {
        let mut network = engines.build(&self.spec, 0).unwrap();
        let fill = |t: TensorState| TensorState { data: cases::values(&self.key, &t.name, &t.shape), ..t };
        let state: Vec<TensorState> = network.state().into_iter().map(fill).collect();
        network.load_state(&state).unwrap();
        network
    }

    /// The same on the CPU engine.
    pub(crate) fn network(&self, options: Options) -> Network {
        self.on(&CpuEngines::new(options).unwrap())
    }

    pub(crate) fn wide_w(&self) -> Vec<f64> {
        self.w.iter().copied().map(f64::from).collect()
    }
}

/// Whether an engine can compute a network.
pub(crate) fn supports(engines: &dyn Engines, spec: &NetworkSpec) -> bool {
    !matches!(engines.build(spec, 0), Err(EngineError::Unsupported(_)))
}

/// The reference's result at a point, and how far rounding in f32 may carry one from it.
pub(crate) struct Expected {
    pub(crate) pass: Pass,
    /// Passes at points whose inputs and weights differ by rounding.
    rounded: Vec<Pass>,
    /// The pass with slope 0 and with slope 1 at ReLU inputs near 0, where there are such.
    slopes: Option<[Pass; 2]>,
    /// Size of the sums that gradients are made of.
    scale: f64,
}

/// Relative size of the changes that stand for rounding, in units of f32's.
const ROUNDING: f64 = 8.0 * f32::EPSILON as f64;

impl Expected {
    /// At the point where a network with this state takes a training step.
    pub(crate) fn at(case: &Case, state: &Tensors, pass: hpe_darts_engine::Pass<'_>) -> Self {
        let w: Vec<f64> = pass.w.iter().copied().map(f64::from).collect();
        let reference = Reference {
            run: pass.run.map_or_else(|| vec![true; w.len()], <[bool]>::to_vec),
            drop_path: pass.drop_path,
            auxiliary: f64::from(pass.auxiliary),
            ..Reference::new(&case.spec, state)
        };
        let pass = reference.train(case.batch(), &w);
        let rounded = ["a", "b"]
            .map(|which| {
                let mut state = state.clone();
                for (name, t) in &mut state {
                    let key = format!("{which}/{name}");
                    t.data.iter_mut().enumerate().for_each(|(i, v)| *v *= 1.0 + ROUNDING * cases::uniform(&key, i));
                }
                let key = format!("{which}/images");
                let change = |(i, v): (usize, &f32)| *v * (1.0 + ROUNDING * cases::uniform(&key, i)) as f32;
                let images: Vec<f32> = case.images.iter().enumerate().map(change).collect();
                let batch = Batch { images: &images, labels: &case.labels };
                Reference { tensors: &state, ..reference.clone() }.train(batch, &w)
            })
            .into();
        let near: usize = pass.codes.relus().flat_map(|code| &code.near).sum();
        let slopes = (near > 0).then(|| {
            [0.0, 1.0]
                .map(|slope| Reference { near_kinks: Some((NEAR, slope)), ..reference.clone() }.train(case.batch(), &w))
        });
        let norm = pass.grads.values().flat_map(|g| &g.data).map(|g| g * g).sum::<f64>().sqrt();
        let scale = pass.product_scale.max(norm);
        Self { pass, rounded, slopes, scale }
    }

    /// Asserts that the engine's step agrees: loss, correct, dL/dw, every gradient. `slack` scales what rounding may do.
    pub(crate) fn check(&self, network: &Network, out: &StepOutput, slack: f64) -> Result<(), String> {
        let pass = &self.pass;
        let moved = |f: &dyn Fn(&Pass) -> f64| self.rounded.iter().map(|r| (f(r) - f(pass)).abs()).fold(0.0, f64::max);
        let loss_bound = slack * (1e-6 * pass.loss.abs().max(1.0) + moved(&|p| p.loss));
        if (out.loss - pass.loss).abs() > loss_bound {
            return Err(format!("loss {} instead of {}, bound {loss_bound:.1e}", out.loss, pass.loss));
        }
        if out.correct.abs_diff(pass.correct) > pass.undecided {
            return Err(format!("{} correct instead of {}", out.correct, pass.correct));
        }
        self.near("dL/dw", &out.mixing_grad, slack, |p| &p.mixing_grad)?;
        self.near("edge gradients", &out.edge_grad, slack, |p| &p.edge_grad)?;
        let got = tensors(&network.tensors(Vector::Gradient).unwrap());
        if !got.keys().eq(pass.grads.keys()) {
            return Err(format!("gradients of {:?} instead of {:?}", got.keys(), pass.grads.keys()));
        }
        for (name, got) in &got {
            if got.shape != pass.grads[name].shape {
                return Err(format!("{name}: shape {:?}", got.shape));
            }
            self.near(name, &got.data, slack, |p| &p.grads[name].data)?;
        }
        Ok(())
    }

    /// Asserts that the running statistics of `state`, taken after the step, agree.
    pub(crate) fn check_running(&self, state: &[TensorState], slack: f64) -> Result<(), String> {
        let mut got = tensors(state);
        got.retain(|name, _| name.contains(".running_"));
        if !got.keys().eq(self.pass.running.keys()) {
            return Err(format!("statistics {:?} instead of {:?}", got.keys(), self.pass.running.keys()));
        }
        for (name, got) in &got {
            let expected = &self.pass.running[name].data;
            for (i, (got, expected)) in got.data.iter().zip(expected).enumerate() {
                let moved = self.rounded.iter().map(|r| (r.running[name].data[i] - expected).abs()).fold(0.0, f64::max);
                if (got - expected).abs() > slack * (1e-6 * (1.0 + expected.abs()) + moved) {
                    return Err(format!("{name}[{i}]: {got} instead of {expected}"));
                }
            }
        }
        Ok(())
    }

    /// Euclidean distance of `got` from the reference's vector within what rounding and undecided ReLUs explain.
    fn near(&self, what: &str, got: &[f64], slack: f64, f: impl Fn(&Pass) -> &[f64]) -> Result<(), String> {
        let expected = f(&self.pass);
        if got.len() != expected.len() {
            return Err(format!("{what}: {} values instead of {}", got.len(), expected.len()));
        }
        let rounding = self.rounded.iter().map(|r| distance(f(r), expected)).fold(0.0, f64::max);
        let slopes = self.slopes.as_ref().map_or(0.0, |[zero, one]| distance(f(zero), f(one)));
        let size = distance(expected, &vec![0.0; expected.len()]);
        let bound = slack * (1e-6 * size + 1e-7 * self.scale + 1e-9 + rounding) + 2.0 * slopes;
        let error = distance(got, expected);
        if error.is_nan() || error > bound {
            let worst = (0..got.len())
                .max_by(|&a, &b| (got[a] - expected[a]).abs().total_cmp(&(got[b] - expected[b]).abs()))
                .unwrap();
            return Err(format!(
                "{what}: {error:.2e} away, bound {bound:.2e}, size {size:.2e} (rounding {rounding:.1e}, near ReLUs \
                 {slopes:.1e}); [{worst}] is {} instead of {}",
                got[worst], expected[worst]
            ));
        }
        Ok(())
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Takes one step and checks it, gradients and running statistics.
pub(crate) fn check_step(case: &Case, network: &mut Network, slack: f64) -> Result<(), String> {
    check_pass(case, network, case.pass(), slack)
}

/// The same with another pass than the case's.
pub(crate) fn check_pass(
    case: &Case,
    network: &mut Network,
    pass: hpe_darts_engine::Pass<'_>,
    slack: f64,
) -> Result<(), String> {
    let expected = Expected::at(case, &tensors(&network.state()), pass);
    let out = network.train_step(case.batch(), pass, Gradients::Both).map_err(|e| e.to_string())?;
    expected.check(network, &out, slack)?;
    expected.check_running(&network.state(), slack)
}

/// Takes both kinds of codes and checks them.
pub(crate) fn check_codes(case: &Case, network: &mut Network) -> Result<(), String> {
    let state = tensors(&network.state());
    let run = case.w.iter().map(|w| *w != 0.0).collect();
    let reference = Reference { run, ..Reference::new(&case.spec, &state) };
    let expected = reference.codes(&case.images, &case.wide_w());
    for (which, codes) in [(Codes::OpOutputs, &expected.op_outputs), (Codes::ReluInputs, &expected.op_relus)] {
        let got = network.code_distances(&case.images, case.pass(), which).map_err(|e| e.to_string())?;
        if (got.samples, got.ops.len()) != (case.labels.len(), codes.len()) {
            return Err(format!("{} samples, {} operations", got.samples, got.ops.len()));
        }
        for (i, (got, code)) in got.ops.iter().zip(codes).enumerate() {
            same_distances(&format!("{which:?} of operation {i}"), got.as_ref(), code)?;
        }
        let outside = if which == Codes::ReluInputs { &expected.outside } else { &Code::default() };
        same_distances(&format!("{which:?} outside"), got.outside.as_ref(), outside)?;
    }
    Ok(())
}

/// Equal but for bits that rounding may decide.
fn same_distances(what: &str, got: Option<&Distances>, code: &Code) -> Result<(), String> {
    let (Some(got), Some(bits)) = (got, code.bits.first()) else {
        return if got.is_some() || !code.bits.is_empty() { Err(format!("{what}: {got:?}")) } else { Ok(()) };
    };
    let n = code.bits.len();
    if (got.bits as usize, got.hamming.len()) != (bits.len(), n * n) {
        return Err(format!("{what}: {} bits, {} distances", got.bits, got.hamming.len()));
    }
    for (i, j) in (0..n * n).map(|pair| (pair / n, pair % n)) {
        let (distance, expected) = (got.hamming[i * n + j] as usize, code.hamming(i, j));
        let may_differ = if i == j { 0 } else { code.near[i] + code.near[j] };
        if distance.abs_diff(expected) > may_differ {
            return Err(format!(
                "{what}: samples {i}, {j}: distance {distance} instead of {expected}, {may_differ} bits undecided"
            ));
        }
    }
    Ok(())
}
