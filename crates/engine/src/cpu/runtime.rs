//! One pass over a batch: how it is cut into chunks, which kernels run, where scratch memory comes from.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::buffer::Buf;
use super::kernels::matmul::{self, Output, Taps};
use super::kernels::panel::{Panels, block_addresses};
use super::kernels::reference;
use super::simd::{Isa, fence};
use crate::error::EngineError;

/// Chunks that a batch is cut into, whatever the number of threads: sums are taken per chunk and added in order, so
/// results do not depend on it.
const CHUNKS: usize = 8;

/// Which implementation of the kernels runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exec {
    pub(crate) isa: Isa,
    /// Plain loops for the convolutions.
    pub(crate) reference: bool,
}

impl Exec {
    /// See [`matmul::conv`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn conv(self, taps: &Taps, src: *const f32, weights: &[f32], panels: &Panels, out: &Output<'_>) {
        debug_assert!(taps.len() == panels.k && weights.len() >= panels.len());
        // SAFETY: the caller's contract; `isa` was detected.
        unsafe {
            if self.reference {
                reference::conv(taps, src, weights.as_ptr(), panels, out);
            } else {
                matmul::conv(self.isa, taps, src, weights.as_ptr(), panels, out);
            }
        }
    }

    /// [`Exec::conv`] of one position from its taps; `out` has a value for every column.
    pub(crate) fn conv_at_one(self, taps: &[f32], weights: &[f32], panels: &Panels, out: &mut [f32]) {
        assert!(taps.len() == panels.k && out.len() == panels.columns);
        let blocks = block_addresses(out.as_mut_ptr(), out.len());
        // SAFETY: the taps of one position; the blocks cover the columns.
        unsafe { self.conv(&Taps::rows(1, 0, taps.len()), taps.as_ptr(), weights, panels, &Output::to(&blocks)) }
    }

    /// See [`matmul::weight_grad`]; `dy_step`: distances between rows and between columns of `dy`.
    ///
    /// # Safety
    /// As there.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn weight_grad(
        self,
        taps: &Taps,
        src: *const f32,
        dy: *const f32,
        dy_step: (usize, usize),
        panels: &Panels,
        dw: *mut f32,
        accumulate: bool,
    ) {
        debug_assert_eq!(taps.len(), panels.k);
        // SAFETY: the caller's contract; `isa` was detected.
        unsafe {
            if self.reference {
                reference::weight_grad(taps, src, dy, dy_step.0, dy_step.1, panels, dw, accumulate);
            } else {
                matmul::weight_grad(self.isa, taps, src, dy, dy_step.0, dy_step.1, panels, dw, accumulate);
            }
        }
    }
}

/// Which convolution kernels run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// The fastest of the others for each shape.
    #[default]
    Auto,
    /// Direct convolution.
    Direct,
    /// Winograd F(4x4, 3x3) for every 3x3 convolution of stride 1.
    Winograd,
    /// Plain loops with f64 sums.
    Reference,
}

/// How the CPU engine runs, none of which changes what it computes beyond rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Worker threads, at least 1. Results do not depend on it.
    pub threads: usize,
    /// Convolution kernels.
    pub kernels: Kernels,
}

/// What all networks of a process share: threads, kernels, and the memory that passes work in.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) exec: Exec,
    pub(crate) kernels: Kernels,
    pool: ThreadPool,
    /// One buffer per thread, which grows to what the largest pass needs.
    scratch: Vec<Mutex<Buf>>,
}

impl Runtime {
    pub(crate) fn new(Options { threads, kernels }: Options) -> Result<Self, EngineError> {
        let fail = |why: String| EngineError::Threads { threads, why };
        if threads == 0 {
            return Err(fail("at least 1 is needed".to_owned()));
        }
        let exec = Exec { isa: Isa::detect()?, reference: kernels == Kernels::Reference };
        let pool = ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("engine-{i}"));
        let pool = pool.build().map_err(|e| fail(e.to_string()))?;
        Ok(Runtime { exec, kernels, pool, scratch: (0..threads).map(|_| Mutex::default()).collect() })
    }

    pub(crate) fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Runs `f` on the pool.
    pub(crate) fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.pool.install(f)
    }
}

/// The results of a pass's chunks: a network's own, because a pass is followed by the sum over them.
#[derive(Debug, Default)]
pub(crate) struct Partials([Mutex<Buf>; CHUNKS]);

/// A pass over a batch of `n` images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) partials: &'a Partials,
    pub(crate) n: usize,
}

// A poisoned lock only says that another chunk panicked; the buffers hold nothing between uses.
fn lock(buf: &Mutex<Buf>) -> MutexGuard<'_, Buf> {
    buf.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    pub(crate) fn exec(&self) -> Exec {
        self.runtime.exec
    }

    fn chunks(&self) -> usize {
        CHUNKS.min(self.n)
    }

    /// Runs `f` on every chunk of images and returns the results in order. `scratch`: values that `f` takes from its
    /// arena (each piece rounded up to whole cache lines).
    pub(crate) fn each_chunk<T: Send>(
        &self,
        scratch: usize,
        f: impl Fn(Range<usize>, &mut Arena<'_>) -> T + Sync,
    ) -> Vec<T> {
        self.each_chunk_sum(scratch, 0, |images, arena, _| f(images, arena))
    }

    /// As [`Run::each_chunk`]; `f` also writes `partial` values of its chunk's own, summed later by [`Run::sum_partials`].
    pub(crate) fn each_chunk_sum<T: Send>(
        &self,
        scratch: usize,
        partial: usize,
        f: impl Fn(Range<usize>, &mut Arena<'_>, &mut [f32]) -> T + Sync,
    ) -> Vec<T> {
        let chunks = self.chunks();
        (0..chunks)
            .into_par_iter()
            .with_max_len(1)
            .map(|c| {
                let images = c * self.n / chunks..(c + 1) * self.n / chunks;
                let mut buf = lock(&self.runtime.scratch[rayon::current_thread_index().unwrap_or(0)]);
                buf.ensure(scratch);
                let mut sums = lock(&self.partials.0[c]);
                if partial > 0 {
                    sums.ensure(partial);
                }
                let result = f(images, &mut Arena { rest: &mut buf }, if partial > 0 { &mut sums } else { &mut [] });
                fence();
                result
            })
            .collect()
    }

    /// Sum over the chunks, in their order, of what the last [`Run::each_chunk_sum`] left; `len` as given there.
    pub(crate) fn sum_partials<T>(&self, len: usize, f: impl FnOnce(&[f32]) -> T) -> T {
        let mut guards: Vec<_> = self.partials.0[..self.chunks()].iter().map(lock).collect();
        let (first, rest) = guards.split_first_mut().expect("a batch has at least one chunk");
        let rest: Vec<&[f32]> = rest.iter().map(|b| &b[..len]).collect();
        first[..len].par_chunks_mut(1 << 14).enumerate().for_each(|(i, sum)| {
            for part in &rest {
                for (s, p) in sum.iter_mut().zip(&part[i << 14..]) {
                    *s += p;
                }
            }
        });
        f(&first[..len])
    }
}

/// A chunk's images in blocks of at most `per`.
pub(crate) fn blocks(images: Range<usize>, per: usize) -> impl Iterator<Item = Range<usize>> {
    images.clone().step_by(per).map(move |first| first..images.end.min(first + per))
}

/// Hands out pieces of a thread's scratch buffer.
pub(crate) struct Arena<'a> {
    rest: &'a mut [f32],
}

impl<'a> Arena<'a> {
    /// Room that `take(len)` uses.
    pub(crate) fn room(len: usize) -> usize {
        len.next_multiple_of(16)
    }

    /// `len` values with whatever is in them.
    pub(crate) fn take(&mut self, len: usize) -> &'a mut [f32] {
        let (piece, rest) = std::mem::take(&mut self.rest).split_at_mut(Self::room(len));
        self.rest = rest;
        &mut piece[..len]
    }

    /// `len` zeros.
    pub(crate) fn zeros(&mut self, len: usize) -> &'a mut [f32] {
        let piece = self.take(len);
        piece.fill(0.0);
        piece
    }
}

/// Room in an arena for pieces of these sizes.
pub(crate) fn room(sizes: &[usize]) -> usize {
    sizes.iter().map(|&s| Arena::room(s)).sum()
}

/// Adds `part` to `sums` in f64.
pub(crate) fn add_f64(sums: &mut [f64], part: &[f32]) {
    for (s, &p) in sums.iter_mut().zip(part) {
        *s += f64::from(p);
    }
}

/// Sum of the chunks' vectors, in order.
pub(crate) fn total<'a>(parts: impl IntoIterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().cloned().unwrap_or_default();
    for p in parts {
        for (s, p) in sum.iter_mut().zip(p) {
            *s += p;
        }
    }
    sum
}
