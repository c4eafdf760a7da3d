//! The DARTS space: published parameter counts, published genotypes, other forms of both.

use std::{io::Read, path::PathBuf};

use engine::{ImageShape, NetworkSpec, Part};
use hpe_darts_nas::{
    engines,
    space::{self, Cost, Darts, Genotype, NetworkShape, SearchSpace},
};
use serde_json::Value;

const V1: &str = "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), \
    ('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=range(2, 6), \
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), \
    ('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=range(2, 6))";
const V2: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), \
    ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), \
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), \
    ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))";

fn shape(channels: usize, cells: usize, classes: usize) -> NetworkShape {
    NetworkShape { image: ImageShape { height: 32, width: 32, channels: 3 }, classes, channels, cells, stem_stride: 1 }
}

fn cost(spec: &NetworkSpec) -> Cost {
    spec.graph().unwrap().cost()
}

fn parameters(genotype: &Genotype, shape: &NetworkShape) -> u64 {
    cost(&Darts::Original.network(genotype, shape).unwrap()).parameters
}

#[test]
fn published_genotypes_have_their_published_size() {
    for (shape, v1, v2) in [
        (shape(36, 20, 10), 3_169_414, 3_349_342),
        (shape(36, 20, 100), 3_221_344, 3_401_272),
        (shape(16, 8, 10), 232_890, 246_106),
    ] {
        let count = |text| parameters(&space::read(text, None).unwrap(), &shape);
        assert_eq!((count(V1), count(V2)), (v1, v2), "{shape:?}");
    }
}

/// 1,930,618: the log of the original. Multiply-adds: 199,491,584 pointwise, 99,434,496 depthwise, 1,329,674 of stem and classifier.
#[test]
fn the_supernet_has_its_published_size() {
    let supernet = Darts::Original.supernet(&shape(16, 8, 10)).unwrap();
    let cost = cost(&supernet);
    assert_eq!(cost.parameters, 1_930_618);
    assert_eq!(cost.multiply_adds, 199_491_584 + 99_434_496 + 1_329_674);
    assert!(!supernet.norm.affine && supernet.norm.pools && supernet.alive.iter().all(|&a| a));
}

/// Into the nodes of V2's reduction cell come five edges of stride 2.
#[test]
fn skips_beside_every_operation_have_weights_where_they_reduce() {
    let original = space::read(V2, None).unwrap();
    let genotype = Genotype { space: Darts::AllSkip.name().to_owned(), ..original.clone() };
    assert_eq!(space::read(V2, Some(&Darts::AllSkip)).unwrap(), genotype);
    for (channels, cells) in [(36, 20), (18, 4), (7, 18)] {
        let shape = shape(channels, cells, 10);
        let c = channels as u64;
        // Two convolutions of half the channels, scale and shift; at 2 C and 4 C.
        let skips: u64 = [2 * c, 4 * c].map(|c| 5 * (c / 2 * c + (c - c / 2) * c + 2 * c)).iter().sum();
        let network = Darts::AllSkip.network(&genotype, &shape).unwrap();
        assert_eq!(cost(&network).parameters, parameters(&original, &shape) + skips);
    }
    let error = Darts::AllSkip.network(&original, &shape(36, 20, 10)).unwrap_err().to_string();
    assert_eq!(error, "genotype: it belongs to `darts`, expected `darts-all-skip`");
}

#[test]
fn a_single_cell_is_a_reduction_cell_of_eight_nodes() {
    let [single, all_skip] = [Darts::SingleCell, Darts::SingleCellAllSkip].map(|space| {
        let hpe_darts_nas::space::Size { channels, cells } = space.supernet_size();
        assert_eq!((channels, cells, space.network_size()), (26, 1, space.supernet_size()));
        space.supernet(&shape(channels, cells, 10)).unwrap()
    });
    // Twice the channels of its place; of 44 edges 16 leave an input.
    let (stem, c) = (3 * 26, 2 * 26);
    let separable = |kernel: u64| kernel * kernel * c + c * c;
    let edge = 3 * separable(3) + 3 * separable(5);
    let expected = 27 * stem + 2 * stem + 2 * stem * c + 44 * edge + 16 * c * c + (4 * c + 1) * 10;
    assert_eq!((single.rows, cost(&single).parameters), (44, expected));
    assert_eq!(cost(&all_skip).parameters, expected + 16 * c * c);
    let output = single.graph().unwrap().parts()[1].1;
    assert_eq!((output.height, output.channels), (16, 4 * c as usize));
    let error = Darts::SingleCell.supernet(&shape(26, 2, 10)).unwrap_err().to_string();
    assert_eq!(error, "a `darts-single-cell` network of 2 cells, expected 1");
}

#[test]
fn the_auxiliary_head_is_described_but_not_counted() {
    let plain = Darts::Original.network(&space::read(V2, None).unwrap(), &shape(36, 20, 10)).unwrap();
    let trained = NetworkSpec { auxiliary: Some(2 * 20 / 3), ..plain.clone() };
    let graph = trained.graph().unwrap();
    assert_eq!(graph.cost(), cost(&plain));
    let all: usize = graph.parameters().map(|p| p.shape.iter().product::<usize>()).sum();
    // 1x1 to 128 channels, 2x2 to 768, two normalisations, classifier.
    let head = 576 * 128 + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 769 * 10;
    assert_eq!(all as u64, graph.cost().parameters + head);
    assert_eq!(graph.parts().last().unwrap().0, Part::Auxiliary);
    let logits = graph.auxiliary_logits.unwrap();
    assert_eq!(graph.values[logits].shape, ImageShape { height: 1, width: 1, channels: 10 });
    // Its pool and convolutions fit images of 8x8 at that place only, as in the original.
    let small = NetworkSpec { image: ImageShape { height: 16, width: 16, channels: 3 }, ..trained };
    assert!(small.graph().unwrap_err().to_string().contains("4 x 4, expected 8 x 8"));
}

#[test]
fn cells_halve_the_image_at_a_third_and_two_thirds() {
    let spec = Darts::Original.network(&space::read(V1, None).unwrap(), &shape(8, 3, 10)).unwrap();
    let sides = |image| {
        let graph = NetworkSpec { image, ..spec.clone() }.graph().unwrap();
        graph.parts().into_iter().map(|(_, shape, _)| (shape.height, shape.width, shape.channels)).collect::<Vec<_>>()
    };
    let image = |height, width| ImageShape { height, width, channels: 3 };
    assert_eq!(sides(image(32, 32)), [(32, 32, 24), (32, 32, 32), (16, 16, 64), (8, 8, 128), (1, 1, 10)]);
    // Odd sides round up, down to one pixel.
    assert_eq!(sides(image(7, 1)), [(7, 1, 24), (7, 1, 32), (4, 1, 64), (2, 1, 128), (1, 1, 10)]);
}

#[test]
fn networks_that_cannot_be_are_refused() {
    let genotype = space::read(V2, None).unwrap();
    for cells in [0, 2, 1001, usize::MAX] {
        let error = Darts::Original.network(&genotype, &shape(36, cells, 10)).unwrap_err().to_string();
        assert_eq!(error, format!("a `darts` network of {cells} cells, expected 3 to 1000"));
        assert!(Darts::Original.supernet(&shape(16, cells, 10)).is_err());
    }
    let spec = |shape| Darts::Original.network(&genotype, &shape).unwrap();
    let error = |spec: NetworkSpec| spec.graph().unwrap_err().to_string();
    assert!(error(spec(shape(0, 8, 10))).contains("channels is 0, expected 1 to "));
    assert!(error(spec(shape(usize::MAX, 8, 10))).contains("expected 1 to "));
    assert!(error(spec(shape(16, 8, 0))).contains("classes is 0, expected 1 to "));
    assert!(
        error(NetworkSpec { image: ImageShape { height: 0, width: 4, channels: 3 }, ..spec(shape(16, 8, 10)) })
            .contains("image height is 0")
    );
    assert!(
        error(NetworkSpec {
            image: ImageShape { height: 1 << 16, width: 1 << 16, channels: 3 },
            ..spec(shape(1 << 16, 1000, 10))
        })
        .contains("too large")
    );
}

#[test]
fn the_engine_computes_supernet_and_derived_network() {
    let engines = engines::cpu(1).unwrap();
    for spec in [
        Darts::Original.supernet(&shape(4, 3, 10)).unwrap(),
        Darts::Original.network(&space::read(V2, None).unwrap(), &shape(4, 3, 10)).unwrap(),
        Darts::AllSkip.network(&space::read(V2, Some(&Darts::AllSkip)).unwrap(), &shape(4, 3, 10)).unwrap(),
        Darts::SingleCellAllSkip.supernet(&shape(4, 1, 10)).unwrap(),
    ] {
        let mut network = engines.build(&spec, 0).unwrap();
        assert_eq!(network.parameters() as u64, cost(&spec).parameters);
        let images: Vec<f32> = (0..2 * spec.image.len()).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let batch = engine::Batch { images: &images, labels: &[3, 7] };
        let w = vec![0.125; spec.mixing_len()];
        let out = network.train_step(batch, engine::Pass::new(&w), engine::Gradients::Both).unwrap();
        assert!(out.loss.is_finite() && out.mixing_grad.iter().any(|&g| g != 0.0), "{out:?}");
    }
}

#[test]
fn a_genotype_is_recognised_by_its_notation() {
    let arch = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|";
    for (text, space) in [(V1, "darts"), (arch, "nas-bench-201")] {
        let genotype = space::read(text, None).unwrap();
        assert_eq!(genotype.space, space);
        let json = serde_json::to_string(&genotype).unwrap();
        assert_eq!(space::read(&json, None).as_ref(), Ok(&genotype));
        assert_eq!(space::read(&json, Some(space::find(space).unwrap())).as_ref(), Ok(&genotype));
        let other = space::all().iter().find(|s| s.name() != space).unwrap();
        assert!(space::read(&json, Some(*other)).unwrap_err().to_string().contains(space));
        assert!(space::read(text, Some(*other)).is_err());
    }
    assert!(space::read("resnet", None).unwrap_err().to_string().starts_with("`resnet` is not an architecture"));
}

/// The genotypes of the study data: `HPE_DARTS_DATA`, else `../shared/data` beside the workspace.
#[allow(clippy::print_stderr)] // a skipped test must be seen
fn genotypes() -> Option<Vec<Value>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("HPE_DARTS_DATA").map_or_else(beside, PathBuf::from).join("darts-genotypes.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("SKIPPED: no {}; set HPE_DARTS_DATA to the folder it is in", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// As Python prints a genotype.
fn python(genotype: &Value) -> String {
    let cell = |kind: &str| {
        let pair = |p: &Value| format!("('{}', {})", p[0].as_str().unwrap(), p[1]);
        let pairs: Vec<String> = genotype[kind].as_array().unwrap().iter().map(pair).collect();
        format!("{kind}=[{}], {kind}_concat={}", pairs.join(", "), genotype[format!("{kind}_concat")])
    };
    format!("Genotype({}, {})", cell("normal"), cell("reduce"))
}

/// Parameters by the formulas of each operation, without the engine: a cell's edges, its preprocess layers, stem and head.
fn parameters_by_hand(genotype: &Value, channels: u64, cells: u64, classes: u64) -> u64 {
    let norm = |c: u64| 2 * c;
    let op = |name: &str, c: u64, halves: bool| match name {
        "none" | "max_pool_3x3" | "avg_pool_3x3" => 0,
        "skip_connect" => {
            if halves {
                c * c + norm(c)
            } else {
                0
            }
        }
        "sep_conv_3x3" => 2 * (9 * c + c * c + norm(c)),
        "sep_conv_5x5" => 2 * (25 * c + c * c + norm(c)),
        "dil_conv_3x3" => 9 * c + c * c + norm(c),
        "dil_conv_5x5" => 25 * c + c * c + norm(c),
        other => panic!("{other}"),
    };
    let (mut older, mut newer, mut c) = (3 * channels, 3 * channels, channels);
    let mut sum = 27 * 3 * channels + norm(3 * channels);
    for i in 0..cells {
        let reduction = i == cells / 3 || i == 2 * cells / 3;
        c *= if reduction { 2 } else { 1 };
        sum += older * c + norm(c) + newer * c + norm(c);
        for pair in genotype[if reduction { "reduce" } else { "normal" }].as_array().unwrap() {
            sum += op(pair[0].as_str().unwrap(), c, reduction && pair[1].as_u64().unwrap() < 2);
        }
        (older, newer) = (newer, 4 * c);
    }
    sum + (newer + 1) * classes
}

#[test]
fn every_known_genotype_is_read_and_has_its_size() {
    let Some(genotypes) = genotypes() else { return };
    assert_eq!(genotypes.len(), 1_214);
    for genotype in &genotypes {
        let text = python(genotype);
        let read = space::read(&text, None).unwrap();
        assert_eq!(Darts::Original.text(&read).unwrap(), text.replace("[2,3,4,5]", "range(2, 6)"));
        for (channels, cells) in [(36, 20), (16, 8)] {
            let expected = parameters_by_hand(genotype, channels, cells, 10);
            let shape = shape(channels as usize, cells as usize, 10);
            assert_eq!(parameters(&read, &shape), expected, "{text}");
        }
    }
}
