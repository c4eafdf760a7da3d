//! What all networks of a process share: threads, kernels, scratch memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::buffer::Buf;
use super::kernels::depthwise::{self, Filter};
use super::kernels::matmul::{self, Output, Taps};
use super::kernels::panel::{Panels, block_addresses};
use super::kernels::pitch::Pitch;
use super::kernels::reference;
use super::simd::Isa;
use crate::error::EngineError;

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
        dw: &mut [f32],
    ) {
        debug_assert!(taps.len() == panels.k && dw.len() >= panels.len());
        let dw = dw.as_mut_ptr();
        // SAFETY: the caller's contract; `isa` was detected.
        unsafe {
            if self.reference {
                reference::weight_grad(taps, src, dy, dy_step.0, dy_step.1, panels, dw, false);
            } else {
                matmul::weight_grad(self.isa, taps, src, dy, dy_step.0, dy_step.1, panels, dw, false);
            }
        }
    }
}

impl Exec {
    /// See [`depthwise::forward`].
    ///
    /// # Safety
    /// As there.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn depthwise(
        self,
        filter: Filter,
        (src, src_pitch): (*const f32, Pitch),
        weights: &[f32],
        (height, width): (usize, usize),
        (out, out_pitch): (*mut f32, Pitch),
    ) {
        let weights = weights.as_ptr();
        // SAFETY: the caller's contract; `isa` was detected.
        unsafe {
            if self.reference {
                reference::depthwise(filter, src, src_pitch, weights, height, width, out, out_pitch);
            } else {
                depthwise::forward(self.isa, filter, src, src_pitch, weights, height, width, out, out_pitch);
            }
        }
    }

    /// See [`depthwise::weight_grad`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn depthwise_weight_grad(
        self,
        filter: Filter,
        (src, src_pitch): (*const f32, Pitch),
        (dy, dy_pitch): (*const f32, Pitch),
        (height, width): (usize, usize),
        dw: &mut [f32],
    ) {
        let dw = dw.as_mut_ptr();
        // SAFETY: the caller's contract; `isa` was detected.
        unsafe {
            if self.reference {
                reference::depthwise_weight_grad(filter, src, src_pitch, dy, dy_pitch, height, width, dw);
            } else {
                depthwise::weight_grad(self.isa, filter, src, src_pitch, dy, dy_pitch, height, width, dw);
            }
        }
    }

    /// See [`depthwise::data_grad`].
    ///
    /// # Safety
    /// As there.
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn depthwise_data_grad(
        self,
        filter: Filter,
        pad: usize,
        (dy, dy_pitch): (*const f32, Pitch),
        weights: &[f32],
        (height, width): (usize, usize),
        (dr, dr_pitch): (*mut f32, Pitch),
        add: bool,
    ) {
        let weights = weights.as_ptr();
        // SAFETY: the caller's contract; `isa` was detected.
        unsafe {
            if self.reference {
                reference::depthwise_data_grad(filter, pad, dy, dy_pitch, weights, height, width, dr, dr_pitch, add);
            } else {
                depthwise::data_grad(self.isa, filter, pad, dy, dy_pitch, weights, height, width, dr, dr_pitch, add);
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

    /// Runs `f` with `len` values of the thread's scratch memory. It must not wait for other threads: they could need it.
    pub(super) fn with_scratch<T>(&self, len: usize, f: impl FnOnce(&mut Arena<'_>) -> T) -> T {
        let mut buf = lock(&self.scratch[rayon::current_thread_index().unwrap_or(0)]);
        buf.ensure(len);
        f(&mut Arena { rest: &mut buf })
    }

    /// Runs `f` on the pool.
    pub(crate) fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.pool.install(f)
    }
}

// A poisoned lock only says that another piece panicked; what is kept holds nothing between uses.
pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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
