//! The reference and the engine against PyTorch's numbers (`../pytorch/make_fixtures.py`), made in f64.

use std::path::Path;

use hpe_darts_engine::{
    Batch, CpuEngines, Engines, Gradients, Kernels, NetworkSpec, Normalisation, Op, OpNorm, Options, Sgd, StepOutput,
    Vector,
};
use serde_json::Value;

use crate::cases;
use crate::compare::{Case, supports};
use hpe_darts_engine::reference::{Pass, Reference, ReferenceEngines, Stats, Tensor, Tensors, sgd_step, tensors};

/// What PyTorch computed for one network.
struct Fixture {
    case: String,
    spec: NetworkSpec,
    samples: usize,
    sgd: Sgd,
    lr: f32,
    /// Weight of the auxiliary head's loss.
    auxiliary: f64,
    json: Value,
}

/// One comparison of a number with PyTorch's.
struct Comparison {
    what: String,
    got: f64,
    expected: f64,
    /// What the difference is to be measured against.
    scale: f64,
}

/// What a training step of either network gave.
struct Step<'a> {
    loss: f64,
    correct: usize,
    mixing_grad: &'a [f64],
    grads: &'a Tensors,
}

impl<'a> Step<'a> {
    fn of(out: &'a StepOutput, grads: &'a Tensors) -> Self {
        Self { loss: out.loss, correct: out.correct, mixing_grad: &out.mixing_grad, grads }
    }

    fn of_pass(pass: &'a Pass) -> Self {
        Self { loss: pass.loss, correct: pass.correct, mixing_grad: &pass.mixing_grad, grads: &pass.grads }
    }
}

fn number(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("a number, not {v}"))
}

fn count(v: &Value) -> usize {
    v.as_u64().unwrap_or_else(|| panic!("a count, not {v}")) as usize
}

fn list(v: &Value) -> &[Value] {
    v.as_array().unwrap_or_else(|| panic!("a list, not {v}"))
}

fn image(json: &Value) -> (usize, usize, usize) {
    (count(&json[0]), count(&json[1]), count(&json[2]))
}

/// The mask in the fixture, if it has one.
fn alive(json: &Value) -> Option<Vec<bool>> {
    json.as_array().map(|alive| alive.iter().map(|a| a.as_bool().unwrap()).collect())
}

/// `Spec` of `bench/pytorch_network.py`.
fn stages(spec: &Value) -> NetworkSpec {
    let ops: Vec<Op> = list(&spec["ops"])
        .iter()
        .map(|name| {
            let known = |op: &Op| op.name() == name.as_str().unwrap();
            Op::ALL.into_iter().find(known).unwrap_or_else(|| panic!("operation {name}"))
        })
        .collect();
    let edges: Vec<_> = list(&spec["edges"]).iter().map(|e| (count(&e[0]), count(&e[1]))).collect();
    let cell = cases::cell(count(&spec["nodes"]), &edges, &ops);
    let mut made = cases::stages(cell, image(&spec["image"]), count(&spec["channels"]), count(&spec["stages"]));
    made.classes = count(&spec["classes"]);
    made.cells_per_stage = count(&spec["cells_per_stage"]);
    made.affine = spec["affine"].as_bool().unwrap();
    made.alive = alive(&spec["alive"]).unwrap_or(made.alive);
    made.network()
}

/// `Darts` of `../pytorch/darts_network.py`.
fn darts(spec: &Value) -> NetworkSpec {
    let mut made = cases::two_inputs(image(&spec["image"]), count(&spec["channels"]));
    let ops: Vec<_> = list(&spec["ops"]).iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(made.ops.iter().map(|op| op.name()).collect::<Vec<_>>(), ops);
    made.classes = count(&spec["classes"]);
    made.alive = alive(&spec["alive"]).unwrap_or(made.alive);
    made.norm = OpNorm { affine: spec["affine"].as_bool().unwrap(), pools: spec["pools"].as_bool().unwrap() };
    made.auxiliary = spec["auxiliary"].is_number().then_some(0);
    made.cells.iter_mut().for_each(|cell| cell.auxiliary_skips = spec["auxiliary_skips"] == true);
    made.partial = spec["partial"].as_u64().map_or(1, |parts| parts as usize);
    made
}

impl Fixture {
    fn load(case: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pytorch/fixtures/{case}.json"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let json: Value = serde_json::from_str(&text).unwrap();
        let (spec, sgd) = (&json["spec"], &json["sgd"]);
        Self {
            case: case.to_string(),
            spec: if spec["stages"].is_null() { darts(spec) } else { stages(spec) },
            auxiliary: spec["auxiliary"].as_f64().unwrap_or(0.0),
            samples: count(&json["samples"]),
            sgd: Sgd {
                momentum: number(&sgd["momentum"]) as f32,
                nesterov: sgd["nesterov"].as_bool().unwrap(),
                weight_decay: number(&sgd["weight_decay"]) as f32,
                clip_norm: sgd["clip_norm"].as_f64().map(|v| v as f32),
            },
            lr: number(&sgd["lr"]) as f32,
            json,
        }
    }

    /// Images and labels of `part`: "0", "1" (the training steps), "eval".
    fn batch(&self, part: &str) -> (Vec<f32>, Vec<u32>) {
        let key = format!("{}/{part}", self.case);
        (cases::images(&key, self.samples, self.spec.image), cases::labels(&key, self.samples, self.spec.classes))
    }

    fn mixing(&self) -> Vec<f32> {
        cases::mixing(&self.case, self.spec.mixing_len())
    }

    /// Comparisons of training step `step` (0, 1).
    fn compare_step(&self, step: usize, pass: &Step<'_>, grad_norm: f64) -> Vec<Comparison> {
        let json = &self.json["steps"][step];
        assert_eq!(pass.correct, count(&json["correct"]), "{} step {step}: correctly classified", self.case);
        let mut all = vec![
            compare(format!("step {step}: loss"), pass.loss, number(&json["loss"]), 1.0),
            compare(format!("step {step}: gradient norm"), grad_norm, number(&json["grad_norm"]), 0.0),
        ];
        let mixing: Vec<f64> = list(&json["mixing_grad"]).iter().map(number).collect();
        let scale = mixing.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert_eq!(mixing.len(), pass.mixing_grad.len());
        for (i, (&got, &expected)) in pass.mixing_grad.iter().zip(&mixing).enumerate() {
            all.push(compare(format!("step {step}: dL/dw[{i}]"), got, expected, scale));
        }
        // Some gradients are zero but for rounding (a shift in front of another batch normalisation).
        let floor = 1e-3 * number(&json["grad_norm"]);
        all.extend(summaries(&format!("step {step}: gradient of "), &json["gradients"], pass.grads, floor));
        all
    }

    /// Comparisons of all tensors (weights, running statistics, momentum) after both steps.
    fn compare_after(&self, tensors: &Tensors) -> Vec<Comparison> {
        summaries("after two steps: ", &self.json["after"], tensors, 1e-3)
    }

    /// Comparisons of an evaluation of the batch "eval".
    fn compare_evaluation(&self, stats: Stats, (loss, correct): (f64, usize)) -> Vec<Comparison> {
        let key = if stats == Stats::Running { "evaluate_running" } else { "evaluate_batch" };
        let json = &self.json[key];
        assert_eq!(correct, count(&json["correct"]), "{} {key}: correctly classified", self.case);
        vec![compare(format!("{key}: loss"), loss, number(&json["loss"]), 1.0)]
    }
}

fn compare(what: String, got: f64, expected: f64, scale: f64) -> Comparison {
    Comparison { what, got, expected, scale: scale.max(expected.abs()) }
}

/// Norm, projection and some entries of every tensor, against its norm or `floor`; both sides must have the same names.
fn summaries(what: &str, json: &Value, tensors: &Tensors, floor: f64) -> Vec<Comparison> {
    let json = json.as_object().unwrap();
    let names = |n: &String| n.clone();
    assert_eq!(json.keys().map(names).collect::<Vec<_>>(), tensors.keys().map(names).collect::<Vec<_>>(), "{what}");
    let mut all = Vec::new();
    for ((name, json), Tensor { data, .. }) in json.iter().zip(tensors.values()) {
        let norm = number(&json["norm"]);
        let scale = norm.max(floor);
        let rms = scale / (data.len() as f64).sqrt();
        let got = data.iter().map(|v| v * v).sum::<f64>().sqrt();
        all.push(compare(format!("{what}{name}: norm"), got, norm, scale));
        let probe = format!("{name}/probe");
        let dot = data.iter().enumerate().map(|(i, v)| v * cases::uniform(&probe, i)).sum();
        all.push(compare(format!("{what}{name}: projection"), dot, number(&json["dot"]), scale));
        for entry in list(&json["entries"]) {
            let i = count(&entry[0]);
            all.push(compare(format!("{what}{name}[{i}]"), data[i], number(&entry[1]), rms));
        }
    }
    all
}

/// Every comparison within `tolerance` of its scale.
fn assert_close(case: &str, comparisons: &[Comparison], tolerance: f64) {
    let worst = comparisons
        .iter()
        .filter(|c| (c.got - c.expected).abs() > tolerance * c.scale)
        .map(|c| {
            format!("{}: {} instead of {} ({:.1e})", c.what, c.got, c.expected, (c.got - c.expected).abs() / c.scale)
        })
        .collect::<Vec<_>>();
    assert!(
        worst.is_empty(),
        "{case}: {} of {} beyond {tolerance:e}:\n{}",
        worst.len(),
        comparisons.len(),
        worst[..worst.len().min(20)].join("\n")
    );
}

fn reference_agrees(case: &str) {
    let fixture = Fixture::load(case);
    let spec = &fixture.spec;
    let w: Vec<f64> = fixture.mixing().into_iter().map(f64::from).collect();
    let mut state = tensors(&cases::state(case, spec));
    let mut momentum = Tensors::new();
    let mut all = Vec::new();
    for step in 0..2 {
        let (images, labels) = fixture.batch(&step.to_string());
        let reference = Reference { auxiliary: fixture.auxiliary, ..Reference::new(spec, &state) };
        let pass = reference.train(Batch { images: &images, labels: &labels }, &w);
        state.extend(pass.running.clone());
        let norm = sgd_step(&mut state, &mut momentum, &pass.grads, &fixture.sgd, f64::from(fixture.lr));
        all.extend(fixture.compare_step(step, &Step::of_pass(&pass), norm));
    }
    state.extend(momentum.into_iter().map(|(name, tensor)| (format!("momentum.{name}"), tensor)));
    all.extend(fixture.compare_after(&state));
    let (images, labels) = fixture.batch("eval");
    for stats in [Stats::Running, Stats::Batch] {
        let got = Reference::new(spec, &state).evaluate(Batch { images: &images, labels: &labels }, &w, stats);
        all.extend(fixture.compare_evaluation(stats, got));
    }
    assert!(all.len() > 300, "{case}: only {} comparisons", all.len());
    assert_close(case, &all, 1e-9);
}

#[test]
fn reference_supernet() {
    reference_agrees("supernet");
}

#[test]
fn reference_odd_size() {
    reference_agrees("odd-size");
}

#[test]
fn reference_discrete() {
    reference_agrees("discrete");
}

#[test]
fn reference_other_graph() {
    reference_agrees("other-graph");
}

#[test]
fn reference_darts_supernet() {
    reference_agrees("darts-supernet");
}

#[test]
fn reference_darts_with_an_auxiliary_head() {
    reference_agrees("darts-auxiliary");
}

#[test]
fn reference_darts_with_partial_channels() {
    reference_agrees("darts-partial");
}

#[test]
fn reference_darts_with_auxiliary_skips() {
    reference_agrees("darts-passing");
}

/// The engines that can compute a network: this one with all its kernels, and the reference as an engine.
fn engines_of(spec: &NetworkSpec) -> Vec<Box<dyn Engines>> {
    let kernels = [Kernels::Auto, Kernels::Direct, Kernels::Winograd, Kernels::Reference];
    let cpu = kernels.map(|kernels| CpuEngines::new(Options { threads: 2, kernels }).unwrap());
    let cpu = cpu.into_iter().map(|engines| Box::new(engines) as Box<dyn Engines>);
    cpu.chain([Box::new(ReferenceEngines) as Box<dyn Engines>]).filter(|e| supports(&**e, spec)).collect()
}

/// `at_least`: engines that must be able to compute it.
fn engines_agree(case: &str, at_least: usize) {
    let fixture = Fixture::load(case);
    let engines = engines_of(&fixture.spec);
    assert!(engines.len() >= at_least);
    for engines in engines {
        let (images, labels) = fixture.batch("0");
        let start = Case { key: case.to_string(), spec: fixture.spec.clone(), images, labels, w: fixture.mixing() };
        let pass = hpe_darts_engine::Pass { auxiliary: fixture.auxiliary as f32, ..start.pass() };
        let mut network = start.on(&*engines);
        let mut all = Vec::new();
        for step in 0..2 {
            let (images, labels) = fixture.batch(&step.to_string());
            let batch = Batch { images: &images, labels: &labels };
            let out = network.train_step(batch, pass, Gradients::Both).unwrap();
            let grads = tensors(&network.tensors(Vector::Gradient).unwrap());
            let norm = network.sgd_step(&fixture.sgd, fixture.lr);
            all.extend(fixture.compare_step(step, &Step::of(&out, &grads), norm));
        }
        all.extend(fixture.compare_after(&tensors(&network.state())));
        let (images, labels) = fixture.batch("eval");
        for (norm, stats) in [(Normalisation::Running, Stats::Running), (Normalisation::Batch, Stats::Batch)] {
            if stats == Stats::Running && !fixture.spec.norm.affine {
                continue;
            }
            let got = network.evaluate(Batch { images: &images, labels: &labels }, pass, norm).unwrap();
            all.extend(fixture.compare_evaluation(stats, (got.loss, got.correct)));
        }
        assert_close(&format!("{case}, {:?}", engines.info()), &all, 1e-3);
    }
}

#[test]
fn engine_supernet() {
    engines_agree("supernet", 5);
}

#[test]
fn engine_odd_size() {
    engines_agree("odd-size", 5);
}

#[test]
fn engine_discrete() {
    engines_agree("discrete", 5);
}

#[test]
fn engine_other_graph() {
    engines_agree("other-graph", 5);
}

#[test]
fn engine_darts_supernet() {
    engines_agree("darts-supernet", 5);
}

#[test]
fn engine_darts_with_an_auxiliary_head() {
    engines_agree("darts-auxiliary", 1);
}

#[test]
fn engine_darts_with_partial_channels() {
    engines_agree("darts-partial", 5);
}

#[test]
fn engine_darts_with_auxiliary_skips() {
    engines_agree("darts-passing", 1);
}
