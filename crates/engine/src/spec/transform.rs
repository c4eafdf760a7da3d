use serde::Serialize;

/// What a unit does between ReLU and batch normalisation. Convolutions have no bias; `C` are the channels of the input,
/// `D` those of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transform {
    /// Nothing.
    Identity,
    /// Convolution. Weights: `[D, C, k, k]`.
    Conv(Window),
    /// Depthwise convolution with this window, then a 1x1 convolution. Weights: `[C, 1, k, k]`, `[D, C, 1, 1]`.
    Separable(Window),
    /// Two 1x1 convolutions of stride 2, the second shifted by one pixel down and right (beyond the border are zeros),
    /// concatenated. Weights: `[D / 2, C, 1, 1]`, `[D - D / 2, C, 1, 1]`. (Liu et al., DARTS, `operations.py`.)
    FactorizedReduce,
    /// Average over the pixels of the window that exist.
    AvgPool(Window),
    /// Maximum over the pixels of the window that exist.
    MaxPool(Window),
    /// Average over all pixels: `[1, 1, C]`.
    GlobalAvgPool,
    /// Linear classifier with bias of one pixel. Weights: `[D, C]`, `[D]`.
    Linear,
    /// Channels of the input, and zeros.
    Gather(Gather),
}

/// Which channel of the input each of the output is: the partial channels of PC-DARTS (Xu et al. 2020, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Gather {
    /// Those from this channel on.
    Slice {
        /// The first.
        first: usize,
    },
    /// ShuffleNet's channel shuffle of `D` channels, `[groups, D / groups]` transposed, of which the input is those from
    /// `first` on; the rest is zeros.
    Shuffle {
        /// Groups.
        groups: usize,
        /// Channel, before the shuffle, of the input's first one.
        first: usize,
    },
}

impl Gather {
    /// The channel of an input of `from` channels that `channel` of `to` is; `None` for zeros.
    pub fn source(self, channel: usize, from: usize, to: usize) -> Option<usize> {
        match self {
            Self::Slice { first } => Some(first + channel),
            Self::Shuffle { groups, first } => {
                let before = channel % groups * (to / groups) + channel / groups;
                before.checked_sub(first).filter(|&source| source < from)
            }
        }
    }
}

/// A square window that moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Side, in taps.
    pub kernel: usize,
    /// Distance between outputs, in pixels.
    pub stride: usize,
    /// Rows and columns beyond each border that the window may cover. A convolution reads zeros there.
    pub padding: usize,
    /// Distance between taps, in pixels.
    pub dilation: usize,
    /// Whether there is a last output whose window is not whole (`ceil_mode`).
    pub partial: bool,
}

impl Window {
    /// Outputs along a side of `len` pixels; `None` where the window does not fit.
    pub fn outputs(&self, len: usize) -> Option<usize> {
        let (span, room) = (self.dilation * (self.kernel - 1) + 1, len + 2 * self.padding);
        match room.checked_sub(span) {
            Some(free) if self.partial => Some(free.div_ceil(self.stride) + 1),
            Some(free) => Some(free / self.stride + 1),
            // A single window, none of whose pixels the next one would miss.
            None if self.partial && room > 0 && span - room < self.stride => Some(1),
            None => None,
        }
    }
}

impl Transform {
    pub(super) fn has_weights(&self) -> bool {
        matches!(self, Self::Conv(_) | Self::Separable(_) | Self::FactorizedReduce | Self::Linear)
    }
}
