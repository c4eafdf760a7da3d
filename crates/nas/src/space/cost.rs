use engine::{NetworkSpec, Op};

/// Size of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Trainable parameters.
    pub parameters: u64,
    /// Multiply-adds of the convolutions and the classifier for one image. The literature calls this FLOPs.
    pub multiply_adds: u64,
}

impl Cost {
    /// Millions of parameters.
    pub fn params_m(self) -> f64 {
        self.parameters as f64 / 1e6
    }

    /// Millions of multiply-adds.
    pub fn flops_m(self) -> f64 {
        self.multiply_adds as f64 / 1e6
    }

    /// A convolution without bias that writes `pixels` pixels.
    fn conv(&mut self, kernel: u64, inputs: u64, outputs: u64, pixels: u64) {
        let weights = kernel * kernel * inputs * outputs;
        self.parameters += weights;
        self.multiply_adds += weights * pixels;
    }

    /// Scale and shift of a batch normalisation.
    fn norm(&mut self, channels: u64) {
        self.parameters += 2 * channels;
    }
}

/// Parameters and multiply-adds of a network, counted as NAS-Bench-201 counts them: every alive operation, whether its
/// output reaches the cell's output or not; convolutions and the classifier with its bias for both; batch
/// normalisation (where it has scale and shift) for the parameters only; pooling and additions for neither.
pub fn cost(spec: &NetworkSpec) -> Cost {
    let alive = |wanted: Op| {
        let ops = spec.cell.ops.iter().cycle();
        spec.alive.iter().zip(ops).filter(|&(&alive, &op)| alive && op == wanted).count() as u64
    };
    let (conv1x1, conv3x3) = (alive(Op::Conv1x1), alive(Op::Conv3x3));
    let cells = spec.cells_per_stage as u64;
    let mut height = spec.image.height as u64;
    let mut width = spec.image.width as u64;
    let mut channels = spec.channels as u64;
    let mut cost = Cost::default();

    cost.conv(3, spec.image.channels as u64, channels, height * width);
    cost.norm(channels);
    for stage in 0..spec.stages {
        if stage > 0 {
            height = height.div_ceil(2);
            width = width.div_ceil(2);
            let wide = 2 * channels;
            cost.conv(3, channels, wide, height * width);
            cost.norm(wide);
            cost.conv(3, wide, wide, height * width);
            cost.norm(wide);
            cost.conv(1, channels, wide, height * width);
            channels = wide;
        }
        for (kernel, count) in [(1, conv1x1), (3, conv3x3)] {
            for _ in 0..cells * count {
                cost.conv(kernel, channels, channels, height * width);
                if spec.affine {
                    cost.norm(channels);
                }
            }
        }
    }
    cost.norm(channels);
    let classifier = (channels + 1) * spec.classes as u64;
    cost.parameters += classifier;
    cost.multiply_adds += classifier;
    cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Arch, NasBench201, NetworkShape, SearchSpace};

    const CIFAR10: NetworkShape = NetworkShape {
        image: engine::ImageShape { height: 32, width: 32, channels: 3 },
        classes: 10,
        channels: 16,
        cells_per_stage: 5,
    };

    #[test]
    fn smallest_and_largest_network_have_the_published_size() {
        let none = cost(&Arch::new([0; 6]).unwrap().network_spec(&CIFAR10));
        assert_eq!(none, Cost { parameters: 73_306, multiply_adds: 7_783_050 });
        let all_conv3x3 = cost(&Arch::new([3; 6]).unwrap().network_spec(&CIFAR10));
        assert_eq!(all_conv3x3, Cost { parameters: 1_531_546, multiply_adds: 220_119_690 });
    }

    #[test]
    fn a_supernet_counts_every_candidate_and_no_scale_and_shift() {
        let shape = NetworkShape { cells_per_stage: 1, ..CIFAR10 };
        let outside = cost(&Arch::new([0; 6]).unwrap().network_spec(&shape)).parameters;
        let supernet = cost(&NasBench201.supernet(&shape)).parameters;
        assert_eq!(supernet - outside, 6 * (9 + 1) * (16 * 16 + 32 * 32 + 64 * 64));
    }

    #[test]
    fn odd_grey_images_round_up_when_halved() {
        let shape = NetworkShape {
            image: engine::ImageShape { height: 7, width: 5, channels: 1 },
            classes: 3,
            channels: 2,
            cells_per_stage: 1,
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
    fn the_engine_holds_as_many_parameters() {
        let engines = crate::engines::cpu(1).unwrap();
        let odd = NetworkShape {
            image: engine::ImageShape { height: 9, width: 7, channels: 1 },
            classes: 3,
            channels: 5,
            cells_per_stage: 2,
        };
        for spec in [
            Arch::new([0; 6]).unwrap().network_spec(&CIFAR10),
            Arch::new([3, 2, 0, 4, 1, 3]).unwrap().network_spec(&CIFAR10),
            Arch::new([2, 3, 3, 0, 0, 0]).unwrap().network_spec(&odd),
            NasBench201.supernet(&odd),
        ] {
            let network = engines.build(&spec, 1).unwrap();
            assert_eq!(network.parameters() as u64, cost(&spec).parameters);
        }
    }
}
