//! Binary codes of a batch and the Hamming distances between its samples.

use rayon::prelude::*;

use super::kernels::elementwise as elem;
use super::pieces::Run;
use super::plane::Plane;
use crate::contract::{CodeDistances, Codes, Distances};

/// Collects distances while a forward pass goes through the network.
#[derive(Debug)]
pub(crate) struct CodeSink {
    kind: Codes,
    n: usize,
    /// Codes at hand: `[slot][n][words]`.
    code: Vec<u64>,
    /// `[n][n]` distances of the code at hand, upper triangle.
    pair: Vec<u32>,
    ops: Vec<Option<Distances>>,
    outside: Option<Distances>,
}

/// Distances of one code, and what it counts for.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    /// `[n][n]`, upper triangle.
    pair: Vec<u32>,
    bits: u64,
    ops: Vec<usize>,
    outside: usize,
}

/// Where a pass writes codes: several slots of one code per sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    start: *mut u64,
    words: usize,
    n: usize,
}

// SAFETY: an address only; each thread writes the codes of its own images.
unsafe impl Send for Slots {}
// SAFETY: as above.
unsafe impl Sync for Slots {}

impl Slots {
    /// The code of a sample in a slot.
    ///
    /// # Safety
    /// Both must be within what [`CodeSink::slots`] was asked for.
    pub(crate) unsafe fn at(self, slot: usize, sample: usize) -> *mut u16 {
        // SAFETY: the caller's contract.
        unsafe { self.start.add((slot * self.n + sample) * self.words).cast() }
    }
}

/// Words of a sample's code: the padded channels and the tail are zero in every code.
fn words(plane: Plane) -> usize {
    plane.len().div_ceil(64)
}

impl CodeSink {
    /// `room`: that of an earlier one, which [`CodeSink::finish`] returned.
    pub(crate) fn new(kind: Codes, n: usize, ops: usize, room: Vec<u64>) -> Self {
        CodeSink { kind, n, code: room, pair: vec![], ops: vec![None; ops], outside: None }
    }

    pub(crate) fn kind(&self) -> Codes {
        self.kind
    }

    /// Room for `count` codes of a tensor of this shape; what is behind a code's bits is zero.
    pub(crate) fn slots(&mut self, count: usize, plane: Plane) -> Slots {
        let words = words(plane);
        self.code.resize(self.code.len().max(count * self.n * words), 0);
        // A pass writes the bits of all pixels; behind them there may be some from another.
        self.code[..count * self.n * words].chunks_exact_mut(words).for_each(|code| code[words - 1] = 0);
        Slots { start: self.code.as_mut_ptr(), words, n: self.n }
    }

    /// Adds the distances of each slot's codes to the operations that it counts for, and to the ReLUs outside the cells as
    /// often as it counts for one; of operations of weight 0, `w: [R, O]`, there are no codes of outputs. `taken`: where they are
    /// kept for other weights.
    pub(crate) fn add<'a>(
        &mut self,
        run: Run<'_>,
        plane: Plane,
        w: &[f32],
        counts: impl IntoIterator<Item = &'a (Vec<usize>, usize)>,
        mut taken: Option<&mut Vec<Taken>>,
    ) {
        taken.iter_mut().for_each(|taken| taken.clear());
        for (slot, (ops, outside)) in counts.into_iter().enumerate() {
            self.distances(run, slot, plane);
            let own =
                Taken { pair: std::mem::take(&mut self.pair), bits: plane.bits(), ops: ops.clone(), outside: *outside };
            self.add_taken(&own, w);
            match &mut taken {
                Some(taken) => taken.push(own),
                None => self.pair = own.pair,
            }
        }
    }

    /// As [`Self::add`], of one code.
    pub(crate) fn add_taken(&mut self, taken: &Taken, w: &[f32]) {
        let Taken { pair, bits, ops, outside } = taken;
        for &op in ops.iter().filter(|&&op| self.kind == Codes::ReluInputs || w[op] != 0.0) {
            add(&mut self.ops[op], pair, self.n, *bits);
        }
        for _ in 0..*outside {
            add(&mut self.outside, pair, self.n, *bits);
        }
    }

    fn distances(&mut self, run: Run<'_>, slot: usize, plane: Plane) {
        let (n, isa, words) = (self.n, run.exec().isa, words(plane));
        self.pair.clear();
        self.pair.resize(n * n, 0);
        let code = &self.code[slot * n * words..][..n * words];
        self.pair.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            // SAFETY: codes i.. and as many distances.
            unsafe {
                let from = code[i * words..].as_ptr();
                elem::hamming(isa, from, from, words, n - i, row[i..].as_mut_ptr());
            }
        });
    }

    /// The sums, made symmetric, and the room of the codes.
    pub(crate) fn finish(self) -> (CodeDistances, Vec<u64>) {
        let n = self.n;
        let full = |d: Option<Distances>| {
            d.map(|mut d| {
                for i in 0..n {
                    for j in 0..i {
                        d.hamming[i * n + j] = d.hamming[j * n + i];
                    }
                }
                d
            })
        };
        let ops = self.ops.into_iter().map(full).collect();
        (CodeDistances { samples: n, ops, outside: full(self.outside) }, self.code)
    }
}

fn add(to: &mut Option<Distances>, pair: &[u32], n: usize, bits: u64) {
    let to = to.get_or_insert_with(|| Distances { bits: 0, hamming: vec![0; n * n] });
    to.bits += bits;
    for (t, p) in to.hamming.iter_mut().zip(pair) {
        *t += p;
    }
}
