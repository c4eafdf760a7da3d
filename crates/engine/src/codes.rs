//! Binary codes of a batch and the Hamming distances between its samples.

use rayon::prelude::*;

use crate::buffer::Ptr;
use crate::kernels::elementwise as elem;
use crate::layers::Plane;
use crate::network::{CodeDistances, Codes, Distances};
use crate::run::Run;

/// Collects distances while a forward pass goes through the network.
#[derive(Debug)]
pub(crate) struct CodeSink {
    kind: Codes,
    n: usize,
    /// `[n][words]` of the code at hand.
    code: Vec<u64>,
    /// `[n][n]` distances of the code at hand, upper triangle.
    pair: Vec<u32>,
    ops: Vec<Option<Distances>>,
    outside: Option<Distances>,
}

impl CodeSink {
    pub(crate) fn new(kind: Codes, n: usize, ops: usize) -> Self {
        CodeSink { kind, n, code: vec![], pair: vec![], ops: vec![None; ops], outside: None }
    }

    pub(crate) fn kind(&self) -> Codes {
        self.kind
    }

    /// Adds the distances of the code `scale * src + shift > 0` to the operations `targets`.
    pub(crate) fn add_ops(
        &mut self,
        run: Run<'_>,
        src: Ptr,
        scale: &[f32],
        shift: &[f32],
        plane: Plane,
        targets: &[usize],
    ) {
        if targets.is_empty() {
            return;
        }
        self.distances(run, src, scale, shift, plane);
        for &t in targets {
            add(&mut self.ops[t], &self.pair, self.n, plane.bits());
        }
    }

    /// Adds the distances of the code to those of the ReLUs outside the cells.
    pub(crate) fn add_outside(&mut self, run: Run<'_>, src: Ptr, scale: &[f32], shift: &[f32], plane: Plane) {
        self.distances(run, src, scale, shift, plane);
        add(&mut self.outside, &self.pair, self.n, plane.bits());
    }

    fn distances(&mut self, run: Run<'_>, src: Ptr, scale: &[f32], shift: &[f32], plane: Plane) {
        // Whole words; the padded channels and the tail are zero in every code.
        let words = plane.len().div_ceil(64);
        let (n, isa) = (self.n, run.exec.isa);
        self.code.clear();
        self.code.resize(n * words, 0);
        self.code.par_chunks_mut(words).enumerate().for_each(|(i, code)| {
            // SAFETY: image i of the source is only read; `code` holds 16 bits for every 16 values of it.
            unsafe {
                let from = src.at(i * plane.len());
                elem::positive_code(
                    isa,
                    from,
                    scale.as_ptr(),
                    shift.as_ptr(),
                    plane.pixels(),
                    plane.padded,
                    code.as_mut_ptr().cast(),
                );
            }
        });
        self.pair.clear();
        self.pair.resize(n * n, 0);
        let code = &self.code;
        self.pair.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            // SAFETY: codes i.. and as many distances.
            unsafe {
                elem::hamming(
                    isa,
                    code[i * words..].as_ptr(),
                    code[i * words..].as_ptr(),
                    words,
                    n - i,
                    row[i..].as_mut_ptr(),
                );
            }
        });
    }

    /// The sums, made symmetric.
    pub(crate) fn finish(self) -> CodeDistances {
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
        CodeDistances { samples: n, ops: self.ops.into_iter().map(full).collect(), outside: full(self.outside) }
    }
}

fn add(to: &mut Option<Distances>, pair: &[u32], n: usize, bits: u64) {
    let to = to.get_or_insert_with(|| Distances { bits: 0, hamming: vec![0; n * n] });
    to.bits += bits;
    for (t, p) in to.hamming.iter_mut().zip(pair) {
        *t += p;
    }
}
