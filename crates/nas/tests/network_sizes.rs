//! Parameters and multiply-adds of whole networks.

use engine::NetworkSpec;
use hpe_darts_nas::{
    engines,
    space::{Arch, Cost, Darts, NasBench201, NetworkShape, SearchSpace, nas_bench_201},
};

const CIFAR10: NetworkShape = NetworkShape {
    stem_stride: 1,
    image: engine::ImageShape { height: 32, width: 32, channels: 3 },
    classes: 10,
    channels: 16,
    cells: 5,
};

fn cost(spec: &NetworkSpec) -> Cost {
    spec.graph().unwrap().cost()
}

#[test]
fn smallest_and_largest_network_have_the_published_size() {
    let none = cost(&Arch::new([0; 6]).unwrap().network_spec(&CIFAR10));
    assert_eq!(none, Cost { parameters: 73_306, multiply_adds: 7_783_050 });
    let all_conv3x3 = cost(&Arch::new([3; 6]).unwrap().network_spec(&CIFAR10));
    assert_eq!(all_conv3x3, Cost { parameters: 1_531_546, multiply_adds: 220_119_690 });
}

#[test]
fn a_supernet_counts_every_candidate_and_no_scale_and_shift() {
    let shape = NetworkShape { cells: 1, ..CIFAR10 };
    let outside = cost(&Arch::new([0; 6]).unwrap().network_spec(&shape)).parameters;
    let supernet = cost(&NasBench201.supernet(&shape).unwrap()).parameters;
    assert_eq!(supernet - outside, 6 * (9 + 1) * (16 * 16 + 32 * 32 + 64 * 64));
}

#[test]
fn odd_grey_images_round_up_when_halved() {
    let shape = NetworkShape {
        stem_stride: 1,
        image: engine::ImageShape { height: 7, width: 5, channels: 1 },
        classes: 3,
        channels: 2,
        cells: 1,
    };
    let got = cost(&Arch::new([2, 0, 0, 0, 0, 0]).unwrap().network_spec(&shape));
    // Stages of 7x5, 4x3 and 2x2 pixels with 2, 4 and 8 channels.
    let convs = [(9 * 2, 35), (4, 35)]
        .into_iter()
        .chain([(9 * 2 * 4, 12), (9 * 4 * 4, 12), (2 * 4, 12), (16, 12)])
        .chain([(9 * 4 * 8, 4), (9 * 8 * 8, 4), (4 * 8, 4), (64, 4)]);
    let norms = 2 * (2 + 2 + 4 + 4 + 4 + 8 + 8 + 8 + 8);
    let (weights, products) = convs.fold((0, 0), |(w, p), (n, pixels)| (w + n, p + n * pixels));
    assert_eq!(got, Cost { parameters: weights + norms + 27, multiply_adds: products + 27 });
}

#[test]
fn a_table_of_operations_gives_the_cost_of_any_network() {
    let costs = nas_bench_201::network_costs(&CIFAR10).unwrap();
    for arch in Arch::all().step_by(311) {
        let spec = arch.network_spec(&CIFAR10);
        assert_eq!(costs.of(&spec.alive), cost(&spec), "{arch}");
    }
    // Two kinds of cells, operations of several layers, weights in skips of stride 2; any number of operations on an edge.
    let mut supernet = Darts::Original.supernet(&NetworkShape { channels: 4, cells: 4, ..CIFAR10 }).unwrap();
    let costs = supernet.graph().unwrap().cost_table();
    for shift in 0..40 {
        supernet.alive = (0..supernet.mixing_len()).map(|i| (i * i + shift) % 7 < 3).collect();
        assert_eq!(costs.of(&supernet.alive), cost(&supernet));
    }
}

#[test]
fn the_engine_holds_as_many_parameters() {
    let engines = engines::cpu(1).unwrap();
    let odd = NetworkShape {
        stem_stride: 1,
        image: engine::ImageShape { height: 9, width: 7, channels: 1 },
        classes: 3,
        channels: 5,
        cells: 2,
    };
    for spec in [
        Arch::new([0; 6]).unwrap().network_spec(&CIFAR10),
        Arch::new([3, 2, 0, 4, 1, 3]).unwrap().network_spec(&CIFAR10),
        Arch::new([2, 3, 3, 0, 0, 0]).unwrap().network_spec(&odd),
        NasBench201.supernet(&odd).unwrap(),
    ] {
        let network = engines.build(&spec, 1).unwrap();
        assert_eq!(network.parameters() as u64, cost(&spec).parameters);
    }
}
