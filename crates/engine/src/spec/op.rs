use serde::{Serialize, Serializer};

use super::transform::{Transform, Window};

/// A candidate operation. With stride 1 it keeps the shape `[H, W, C]` of its input, with stride 2 it halves the sides
/// (rounded up) and keeps the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Outputs zeros.
    None,
    /// Outputs its input; with stride 2 a [`Transform::FactorizedReduce`].
    Skip,
    /// ReLU, 1x1 convolution without bias, batch normalisation.
    Conv1x1,
    /// ReLU, 3x3 convolution (padding 1) without bias, batch normalisation.
    Conv3x3,
    /// 3x3 average pooling, padding 1, padding not counted.
    AvgPool3x3,
    /// 3x3 maximum pooling, padding 1.
    MaxPool3x3,
    /// Twice: ReLU, 3x3 depthwise convolution, 1x1 convolution, batch normalisation. The first half has the stride.
    SepConv3x3,
    /// As [`Op::SepConv3x3`] with 5x5.
    SepConv5x5,
    /// ReLU, 3x3 depthwise convolution of dilation 2, 1x1 convolution, batch normalisation.
    DilConv3x3,
    /// As [`Op::DilConv3x3`] with 5x5.
    DilConv5x5,
}

impl Op {
    /// Every operation.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Skip,
        Self::Conv1x1,
        Self::Conv3x3,
        Self::AvgPool3x3,
        Self::MaxPool3x3,
        Self::SepConv3x3,
        Self::SepConv5x5,
        Self::DilConv3x3,
        Self::DilConv5x5,
    ];

    /// Its part of the dotted names of tensors: `cells.3.edges.0.sep_conv3x3.first.depthwise.weight`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Skip => "skip",
            Self::Conv1x1 => "conv1x1",
            Self::Conv3x3 => "conv3x3",
            Self::AvgPool3x3 => "avg_pool3x3",
            Self::MaxPool3x3 => "max_pool3x3",
            Self::SepConv3x3 => "sep_conv3x3",
            Self::SepConv5x5 => "sep_conv5x5",
            Self::DilConv3x3 => "dil_conv3x3",
            Self::DilConv5x5 => "dil_conv5x5",
        }
    }

    /// True for convolutions that keep their weights with stride 1 (a skip has weights with stride 2 only).
    pub fn is_conv(self) -> bool {
        matches!(lower(self, 1), Lowered::Steps(steps) if steps.iter().any(|s| s.transform.has_weights()))
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What an operation is in a [`super::Graph`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lowered {
    /// Nothing: the edge adds zeros.
    Zero,
    /// The input itself.
    Identity,
    /// Units, each reading the one before.
    Steps(Vec<Step>),
}

/// A unit before it has a place: (ReLU) transform (batch normalisation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Part of the name below the operation's, "" for none.
    pub(super) name: &'static str,
    pub(super) relu: bool,
    pub(super) transform: Transform,
    pub(super) norm: StepNorm,
}

/// Whether batch normalisation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepNorm {
    /// Always.
    Yes,
    /// Where pools have it ([`super::OpNorm::pools`]); then without scale and shift.
    AsPools,
}

/// The units of an operation. With its variant and name above this is all that a new operation needs outside its kernel.
pub(super) fn lower(op: Op, stride: usize) -> Lowered {
    let square = |kernel, dilation, stride| Window {
        kernel,
        stride,
        padding: dilation * (kernel / 2),
        dilation,
        partial: false,
    };
    let conv = |kernel| Transform::Conv(square(kernel, 1, stride));
    let separable = |kernel, dilation, stride| Transform::Separable(square(kernel, dilation, stride));
    let relu = |name, transform| Step { name, relu: true, transform, norm: StepNorm::Yes };
    let pool = |transform| Step { name: "", relu: false, transform, norm: StepNorm::AsPools };
    let twice = |kernel| vec![relu("first", separable(kernel, 1, stride)), relu("second", separable(kernel, 1, 1))];
    Lowered::Steps(match op {
        Op::None => return Lowered::Zero,
        Op::Skip if stride == 1 => return Lowered::Identity,
        Op::Skip => vec![relu("", Transform::FactorizedReduce)],
        Op::Conv1x1 => vec![relu("", conv(1))],
        Op::Conv3x3 => vec![relu("", conv(3))],
        Op::AvgPool3x3 => vec![pool(Transform::AvgPool(square(3, 1, stride)))],
        Op::MaxPool3x3 => vec![pool(Transform::MaxPool(square(3, 1, stride)))],
        Op::SepConv3x3 => twice(3),
        Op::SepConv5x5 => twice(5),
        Op::DilConv3x3 => vec![relu("", separable(3, 2, stride))],
        Op::DilConv5x5 => vec![relu("", separable(5, 2, stride))],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_convolutions_carry_weights() {
        let convs: Vec<_> = Op::ALL.into_iter().filter(|op| op.is_conv()).map(Op::name).collect();
        assert_eq!(convs, ["conv1x1", "conv3x3", "sep_conv3x3", "sep_conv5x5", "dil_conv3x3", "dil_conv5x5"]);
    }
}
