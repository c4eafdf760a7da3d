//! A process has one pool of threads, however many networks. A test binary of its own: in it nothing else starts threads.
#![cfg(target_os = "linux")]

use hpe_darts_engine::{
    Batch, Codes, CpuEngines, Edge, Engines, Gradients, ImageShape, Kernels, NetworkSpec, Normalisation, Op, Options,
    Pass, Sgd, Stages, Vector,
};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn spec() -> NetworkSpec {
    let ops = vec![Op::Skip, Op::Conv1x1, Op::Conv3x3, Op::AvgPool3x3];
    Stages {
        image: ImageShape { height: 8, width: 8, channels: 3 },
        classes: 4,
        channels: 4,
        stem_stride: 1,
        cells_per_stage: 1,
        stages: 2,
        nodes: 3,
        edges: vec![Edge { from: 0, to: 1 }, Edge { from: 0, to: 2 }, Edge { from: 1, to: 2 }],
        alive: vec![true; 3 * ops.len()],
        ops,
        affine: true,
    }
    .network()
}

#[test]
fn networks_share_the_threads_of_their_engines() {
    let before = threads();
    let engines = CpuEngines::new(Options { threads: 3, kernels: Kernels::Auto }).unwrap();
    assert_eq!(threads(), before + 3);
    assert_eq!(engines.info().threads, 3);

    let spec = spec();
    let (images, labels, w) = (vec![0.5; 4 * spec.image.len()], [0, 1, 2, 3], vec![0.25; spec.mixing_len()]);
    let (batch, pass) = (Batch { images: &images, labels: &labels }, Pass::new(&w));
    let sgd = Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.0, clip_norm: None };
    let mut networks: Vec<_> = (0..5).map(|seed| engines.build(&spec, seed).unwrap()).collect();
    // Another handle of the same engines.
    networks.push(engines.clone().build(&spec, 5).unwrap());
    for network in &mut networks {
        network.train_step(batch, pass, Gradients::Both).unwrap();
        network.sgd_step(&sgd, 0.1);
        network.evaluate(batch, pass, Normalisation::Running).unwrap();
        network.code_distances(&images, pass, Codes::ReluInputs).unwrap();
        network.combine(Vector::Saved(0), &[(1.0, Vector::Omega)]).unwrap();
        network.norm(Vector::Saved(0)).unwrap();
        network.remove_op(0, 1);
    }
    assert_eq!(threads(), before + 3, "{} networks", networks.len());
}
