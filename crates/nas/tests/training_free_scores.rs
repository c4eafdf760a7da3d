//! Scores that need gradients or patterns against PyTorch: `pytorch/make_training_free_scores.py`.

mod formula;

use engine::{
    Batch, Engine, Gradients, ImageShape, NetworkSpec, Pass, Vector,
    reference::{self, Reference},
};
use formula::{fill, uniform};
use hpe_darts_nas::{
    engines,
    proxy::{az_nas, grad_norm, jacob_cov, snip, swap, synflow},
    space::{Darts, NasBench201, NetworkShape, SearchSpace},
};
use serde::Deserialize;

const SAMPLES: usize = 16;
const CLASSES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    case: String,
    /// In the notation of its space.
    arch: String,
    /// Edges without a way to the output.
    dead: Vec<usize>,
    grad_norm: f64,
    snip: f64,
    synflow: f64,
    jacob_cov: f64,
    swap: f64,
    /// Expressivity, progressivity, trainability.
    az_nas: [f64; 3],
}

fn spec(case: &Case) -> NetworkSpec {
    let image = ImageShape { height: 16, width: 16, channels: 3 };
    let darts = case.case == "darts";
    let (channels, cells) = if darts { (4, 3) } else { (8, 1) };
    let shape = NetworkShape { image, classes: CLASSES, channels, cells, stem_stride: 1 };
    let space: &dyn SearchSpace = if darts { &Darts::Original } else { &NasBench201 };
    space.network(&space.parse(&case.arch).unwrap(), &shape).unwrap()
}

fn network(case: &Case) -> Box<dyn Engine> {
    let mut network = engines::cpu(2).unwrap().build(&spec(case), 0).unwrap();
    fill(&mut *network, &case.case);
    network
}

fn close(case: &str, what: &str, found: f64, expected: f64, relative: f64) {
    let near = (found - expected).abs() <= relative * expected.abs();
    assert!(near || found == expected, "{case}, {what}: {found}, PyTorch {expected}");
}

#[test]
fn scores_agree_with_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("pytorch/training_free_scores.json")).unwrap();
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let (name, mut network) = (&case.case[..], network(case));
        let images: Vec<f32> =
            (0..SAMPLES * 16 * 16 * 3).map(|i| (1.5 * uniform(&format!("{name}/images"), i)) as f32).collect();
        let label = |i| (((uniform(&format!("{name}/labels"), i) + 1.0) / 2.0) * CLASSES as f64) as u32;
        let labels: Vec<u32> = (0..SAMPLES).map(label).collect();
        let columns = network.spec().ops.len();
        let live = |(i, &alive): (usize, &bool)| f32::from(u8::from(alive && !case.dead.contains(&(i / columns))));
        let w: Vec<f32> = network.spec().alive.iter().enumerate().map(live).collect();
        network.train_step(Batch { images: &images, labels: &labels }, Pass::new(&w), Gradients::Omega).unwrap();
        let [omega, gradient] = [Vector::Omega, Vector::Gradient].map(|v| network.tensors(v).unwrap());
        // The engine's f32.
        close(name, "grad-norm", grad_norm::score(&gradient).value, case.grad_norm, 1e-4);
        close(name, "snip", snip::score(&omega, &gradient).value, case.snip, 1e-4);
        let in_f64 = |network: &Reference<'_>, w: &[f64]| {
            close(name, "synflow", synflow::score(network, w).value, case.synflow, 1e-9);
            close(name, "jacob-cov", jacob_cov::score(network, &images, w).value, case.jacob_cov, 1e-6);
            close(name, "swap", swap::score(network, &images, w).value, case.swap, 0.0);
            let mut drawn = 0;
            let mut sign = || {
                drawn += 1;
                if uniform(&format!("{name}/signs"), drawn - 1) < 0.0 { -1.0 } else { 1.0 }
            };
            let found = az_nas::measures(network, &images, w, &mut sign);
            for (what, (found, expected)) in
                ["expressivity", "progressivity", "trainability"].iter().zip(found.into_iter().zip(case.az_nas))
            {
                close(name, what, found, expected, 1e-8);
            }
        };
        reference::of(&*network, &w, in_f64).unwrap();
    }
}
