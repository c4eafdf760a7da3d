//! NASWOT and NetPerfProxy on the engine's codes against PyTorch and NumPy: `pytorch/make_proxy_scores.py`.

mod formula;

use engine::{Codes, Engine, ImageShape, Pass};
use formula::{fill, uniform};
use hpe_darts_nas::{
    engines,
    proxy::{
        Score, naswot,
        net_perf_proxy::{self, Kernel},
    },
    space::{NetworkShape, nas_bench_201},
};
use serde::Deserialize;

const SAMPLES: usize = 16;

#[derive(Deserialize)]
struct Case {
    case: String,
    channels: usize,
    alive: Vec<bool>,
    affine: bool,
    w: Vec<f32>,
    /// `e * O + o` of the operations with a path to the output.
    live: Vec<usize>,
    naswot_all: Expected,
    naswot_live: Expected,
    agreement: Expected,
    hamming: Expected,
}

#[derive(Deserialize)]
struct Expected {
    sign: i8,
    value: f64,
}

fn network(case: &Case) -> Box<dyn Engine> {
    let image = ImageShape { height: 16, width: 16, channels: 3 };
    let shape = NetworkShape { image, classes: 10, channels: case.channels, cells: 1, stem_stride: 1 };
    let spec = nas_bench_201::network_spec(&shape, case.alive.clone(), case.affine);
    let mut network = engines::cpu(2).unwrap().build(&spec, 0).unwrap();
    fill(&mut *network, &case.case);
    network
}

#[test]
fn scores_agree_with_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("pytorch/proxy_scores.json")).unwrap();
    assert_eq!(cases.len(), 4);
    for case in &cases {
        let mut network = network(case);
        let images: Vec<f32> =
            (0..SAMPLES * 16 * 16 * 3).map(|i| (1.5 * uniform(&format!("{}/images", case.case), i)) as f32).collect();
        let relus = network.code_distances(&images, Pass::new(&case.w), Codes::ReluInputs).unwrap();
        let outputs = network.code_distances(&images, Pass::new(&case.w), Codes::OpOutputs).unwrap();
        let dead: Vec<usize> = (0..case.w.len()).filter(|place| !case.live.contains(place)).collect();
        for (what, got, expected) in [
            ("naswot", naswot::score(&relus, &[]), &case.naswot_all),
            ("naswot of the live operations", naswot::score(&relus, &dead), &case.naswot_live),
            ("agreement", net_perf_proxy::score(&outputs, &case.w, Kernel::Agreement), &case.agreement),
            ("hamming", net_perf_proxy::score(&outputs, &case.w, Kernel::Hamming), &case.hamming),
        ] {
            let Score { value, sign } = got;
            // The engine's f32 may turn the one or other bit near 0: each changes the score by some 1e-4.
            let close = sign == expected.sign && (value - expected.value).abs() < 0.01;
            assert!(close, "{}, {what}: {value} (sign {sign}), PyTorch {}", case.case, expected.value);
        }
    }
}
