//! Cache-line aligned f32 storage and the pointer that kernels share across threads.

use std::ops::{Deref, DerefMut};

/// 16 values, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zero-initialised f32 storage, aligned to 64 bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buf {
    lines: Vec<Line>,
    len: usize,
}

impl Buf {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Buf { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    /// Makes room for `len` values; new and old contents are zeros if it had to grow, untouched otherwise.
    pub(crate) fn ensure(&mut self, len: usize) {
        if self.lines.len() * 16 < len {
            *self = Buf::zeros(len);
        }
        self.len = len;
    }

    /// A pointer for kernels that write disjoint parts from several threads.
    pub(crate) fn ptr(&mut self) -> Ptr {
        Ptr(self.as_mut_ptr())
    }
}

impl Deref for Buf {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: a Line is 16 contiguous f32 without padding, and `len` never exceeds what the lines hold.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// A raw pointer that may cross threads: the layers hand each thread its own images of a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ptr(pub(crate) *mut f32);

// SAFETY: a Ptr is only an address; each use says why its accesses are disjoint.
unsafe impl Send for Ptr {}
// SAFETY: as above.
unsafe impl Sync for Ptr {}

impl Ptr {
    /// The address `offset` values on.
    ///
    /// # Safety
    /// The result must lie within (or one past) the same allocation.
    #[inline(always)]
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's contract.
        unsafe { self.0.add(offset) }
    }
}
