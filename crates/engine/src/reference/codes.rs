//! Binary codes, and how near to undecided they are.

use super::layers::Map;

/// Binary codes of one place in the network, appended over cells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Code {
    /// Per sample.
    pub bits: Vec<Vec<bool>>,
    /// Per sample: bits whose value before the threshold is nearer to 0 than rounding in f32 may move it (`NEAR`), exact
    /// zeros excepted: they come from structure (a dead node), not from rounding.
    pub near: Vec<usize>,
}

/// See [`Code::near`].
pub const NEAR: f64 = 1e-5;

impl Code {
    pub(super) fn append(&mut self, x: &Map) {
        self.bits.resize(x.n, Vec::new());
        self.near.resize(x.n, 0);
        for n in 0..x.n {
            self.bits[n].extend(x.sample(n).iter().map(|&v| v > 0.0));
            self.near[n] += x.sample(n).iter().filter(|v| **v != 0.0 && v.abs() < NEAR).count();
        }
    }

    /// Bits that differ between two samples.
    pub fn hamming(&self, i: usize, j: usize) -> usize {
        self.bits[i].iter().zip(&self.bits[j]).filter(|(a, b)| a != b).count()
    }
}

/// All codes of one forward pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllCodes {
    /// Outputs of the operations that run, `[R, O]`; empty for `none` and all others.
    pub op_outputs: Vec<Code>,
    /// Inputs of the ReLUs of the operations, `[R, O]`; of one that does not run that of the first, whose input is there
    /// all the same.
    pub op_relus: Vec<Code>,
    /// Inputs of the other ReLUs: residual blocks, preprocess layers, heads.
    pub outside: Code,
    /// Which inputs the maximum poolings put out.
    pub maxima: Vec<usize>,
}

impl AllCodes {
    pub(super) fn new(operations: usize) -> Self {
        let none = vec![Code::default(); operations];
        Self { op_outputs: none.clone(), op_relus: none, outside: Code::default(), maxima: vec![] }
    }

    /// The codes of all ReLU inputs.
    pub fn relus(&self) -> impl Iterator<Item = &Code> {
        self.op_relus.iter().chain([&self.outside])
    }

    /// Whether the network is the same linear function around two points, but for batch normalisation.
    pub fn same_side(&self, other: &Self) -> bool {
        self.maxima == other.maxima && self.relus().zip(other.relus()).all(|(a, b)| a.bits == b.bits)
    }
}
