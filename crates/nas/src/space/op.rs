use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SpaceError;
use crate::suggest;

/// A candidate operation by the name that the papers give it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpName(&'static str);

/// Every operation, with one sentence for lists. Names are those of NAS-Bench-201 and DARTS.
const KNOWN: &[(OpName, &str)] = &[
    (OpName::NONE, "outputs zeros: the edge does not exist"),
    (OpName::SKIP_CONNECT, "outputs its input"),
    (OpName::NOR_CONV_1X1, "ReLU, 1x1 convolution, batch normalisation"),
    (OpName::NOR_CONV_3X3, "ReLU, 3x3 convolution, batch normalisation"),
    (OpName::AVG_POOL_3X3, "3x3 average pooling, padding not counted"),
    (OpName::MAX_POOL_3X3, "3x3 maximum pooling"),
    (OpName::SEP_CONV_3X3, "twice: ReLU, 3x3 depthwise and 1x1 convolution, batch normalisation"),
    (OpName::SEP_CONV_5X5, "twice: ReLU, 5x5 depthwise and 1x1 convolution, batch normalisation"),
    (OpName::DIL_CONV_3X3, "ReLU, 3x3 depthwise convolution of dilation 2, 1x1 convolution, batch normalisation"),
    (OpName::DIL_CONV_5X5, "ReLU, 5x5 depthwise convolution of dilation 2, 1x1 convolution, batch normalisation"),
];

impl OpName {
    /// `none`.
    pub const NONE: Self = Self("none");
    /// `skip_connect`.
    pub const SKIP_CONNECT: Self = Self("skip_connect");
    /// `nor_conv_1x1`.
    pub const NOR_CONV_1X1: Self = Self("nor_conv_1x1");
    /// `nor_conv_3x3`.
    pub const NOR_CONV_3X3: Self = Self("nor_conv_3x3");
    /// `avg_pool_3x3`.
    pub const AVG_POOL_3X3: Self = Self("avg_pool_3x3");

    /// `max_pool_3x3`.
    pub const MAX_POOL_3X3: Self = Self("max_pool_3x3");
    /// `sep_conv_3x3`.
    pub const SEP_CONV_3X3: Self = Self("sep_conv_3x3");
    /// `sep_conv_5x5`.
    pub const SEP_CONV_5X5: Self = Self("sep_conv_5x5");
    /// `dil_conv_3x3`.
    pub const DIL_CONV_3X3: Self = Self("dil_conv_3x3");
    /// `dil_conv_5x5`.
    pub const DIL_CONV_5X5: Self = Self("dil_conv_5x5");

    /// All operations of all spaces.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|(op, _)| *op)
    }

    /// Whether it has weights wherever it stands (a skip connection has some where it halves the image).
    pub fn has_weights(self) -> bool {
        ![Self::NONE, Self::SKIP_CONNECT, Self::AVG_POOL_3X3, Self::MAX_POOL_3X3].contains(&self)
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// One sentence that says what the operation computes.
    pub fn description(self) -> &'static str {
        KNOWN.iter().find(|(op, _)| *op == self).map_or("", |(_, text)| text)
    }
}

impl fmt::Display for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for OpName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for OpName {
    type Err = SpaceError;

    fn from_str(name: &str) -> Result<Self, SpaceError> {
        Self::all().find(|op| op.0 == name).ok_or_else(|| SpaceError::UnknownOp {
            given: name.to_owned(),
            nearest: suggest::nearest(name, Self::all().map(Self::as_str)),
            known: suggest::one_of(Self::all().map(Self::as_str)),
        })
    }
}

impl Serialize for OpName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for OpName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_have_a_description() {
        for op in OpName::all() {
            assert_eq!(op.as_str().parse::<OpName>().unwrap(), op);
            assert!(!op.description().is_empty());
        }
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = "nor_conv_3x4".parse::<OpName>().unwrap_err().to_string();
        assert!(error.contains("`nor_conv_3x4`") && error.ends_with("did you mean `nor_conv_3x3`?"), "{error}");
    }
}
