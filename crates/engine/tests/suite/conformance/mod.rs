//! What the contract promises of every engine, tested through the contract alone, with every network that an engine has
//! kernels for.

mod auxiliary;
mod drop_path;
mod install;
mod memory;
mod passes;
mod refusals;
mod removal;
mod run_mask;
mod state;
mod vectors;

use std::rc::Rc;

use hpe_darts_engine::{CpuEngines, Engine, Engines, Gradients, Kernels, NetworkSpec, Options, Pass, Sgd, TensorState};

use crate::cases;
use crate::compare::{Case, supports};
use hpe_darts_engine::reference::ReferenceEngines;

const SGD: Sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 5e-4, clip_norm: Some(5.0) };

/// Every engine there is.
fn engines() -> Vec<Rc<dyn Engines>> {
    vec![Rc::new(CpuEngines::new(Options { threads: 2, kernels: Kernels::Auto }).unwrap()), Rc::new(ReferenceEngines)]
}

/// The supernet of NAS-Bench-201.
fn supernet() -> Case {
    Case::new("conformance", cases::supernet(cases::nas_bench_201(), (8, 6, 3), 5, 2), 5)
}

/// The same with scale, shift and running statistics everywhere.
fn affine() -> Case {
    let supernet = supernet();
    Case { spec: cases::affine(supernet.spec.clone()), ..supernet }
}

/// The supernet of DARTS, on an image of odd height.
fn darts() -> Case {
    Case::new("conformance-darts", cases::two_inputs((7, 6, 3), 2), 5)
}

/// A final network of DARTS, with an auxiliary head.
fn darts_final() -> Case {
    let mut spec = cases::affine(cases::two_inputs((8, 8, 3), 2));
    spec.alive = (0..spec.mixing_len()).map(|i| cases::pick("conformance-final", i, 3) == 0).collect();
    spec.norm.pools = false;
    spec.auxiliary = Some(0);
    Case::new("conformance-final", spec, 5)
}

/// The same without that head.
fn darts_plain() -> Case {
    let spec = NetworkSpec { auxiliary: None, ..darts_final().spec };
    Case::new("conformance-final", spec, 5)
}

/// Running statistics everywhere but in the normalisation of pools, which has none.
fn darts_affine() -> Case {
    let darts = darts();
    Case { spec: cases::affine(darts.spec.clone()), ..darts }
}

/// The supernet of NAS-Bench-201 with partial channels.
fn partial() -> Case {
    let spec = cases::partial(3, cases::supernet(cases::nas_bench_201(), (7, 6, 3), 6, 2));
    Case::new("conformance-partial", spec, 5)
}

/// That of DARTS with scale, shift and running statistics, on an image of odd height.
fn darts_partial() -> Case {
    let spec = cases::partial(2, cases::affine(cases::two_inputs((7, 6, 3), 4)));
    Case::new("conformance-darts-partial", spec, 5)
}

/// That of DARTS with auxiliary skip connections, whose cells put out one node.
fn darts_passing() -> Case {
    Case::new("conformance-passing", cases::passing(1, cases::two_inputs((7, 6, 3), 2)), 5)
}

fn all_cases() -> [Case; 9] {
    [
        supernet(),
        affine(),
        darts(),
        darts_affine(),
        darts_plain(),
        darts_final(),
        partial(),
        darts_partial(),
        darts_passing(),
    ]
}

/// Every engine with every case that it has kernels for.
fn all() -> Vec<(Rc<dyn Engines>, Case)> {
    let with_cases = |engines: Rc<dyn Engines>| all_cases().map(|case| (Rc::clone(&engines), case));
    engines().into_iter().flat_map(with_cases).filter(|(engines, case)| supports(&**engines, &case.spec)).collect()
}

#[test]
fn every_engine_computes_every_case() {
    for engines in engines() {
        assert_eq!(all_cases().map(|case| supports(&*engines, &case.spec)), [true; 9], "{:?}", engines.info());
    }
}

/// What a few steps return and leave, exactly.
fn train(network: &mut dyn Engine, case: &Case, pass: Pass<'_>) -> (Vec<String>, Vec<TensorState>) {
    let steps = (0..2).map(|_| {
        let out = network.train_step(case.batch(), pass, Gradients::Both).unwrap();
        format!("{out:?} {}", network.sgd_step(&SGD, 0.05))
    });
    (steps.collect(), network.state())
}

fn flat(tensors: &[TensorState]) -> Vec<f32> {
    tensors.iter().flat_map(|t| t.data.iter().copied()).collect()
}

/// About every `one_in`-th operation that is alive, by its index in `[R, O]`.
fn some_operations(case: &Case, one_in: usize) -> Vec<usize> {
    let chosen = |&i: &usize| case.spec.alive[i] && cases::pick(&format!("{}/some", case.key), i, one_in) == 0;
    let some: Vec<_> = (0..case.w.len()).filter(chosen).collect();
    assert!(some.len() >= 2, "{}: {some:?}", case.key);
    some
}

fn remove(network: &mut dyn Engine, operations: &[usize]) {
    let columns = network.spec().ops.len();
    operations.iter().for_each(|i| network.remove_op(i / columns, i % columns));
}

/// The case without some operations.
fn without(case: Case, operations: &[usize]) -> Case {
    let mut spec = case.spec.clone();
    operations.iter().for_each(|&i| spec.alive[i] = false);
    Case { spec, ..case }
}
