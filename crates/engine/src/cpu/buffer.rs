//! Cache-line aligned f32 storage and the pointer that kernels share across threads.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Values of a cache line.
const LINE: usize = 16;
/// Size and alignment of a huge page, in values. Buffers of at least one ask for them: a training step streams through
/// some hundred megabytes, where 4 KiB pages cost a translation each.
const HUGE: usize = (2 << 20) / 4;
/// Largest start offset, in cache lines.
const STAGGER: usize = 256;

/// Zero-initialised f32 storage, aligned to 64 bytes.
///
/// Large buffers start at different offsets within their pages: a pass reads the same position of a dozen tensors at
/// once, which would otherwise compete for one set of the cache.
pub(crate) struct Buf {
    start: NonNull<f32>,
    /// Values from `start` on.
    capacity: usize,
    len: usize,
    block: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a Buf owns its memory and gives it out by the rules of borrowing.
unsafe impl Send for Buf {}
// SAFETY: as above.
unsafe impl Sync for Buf {}

impl Buf {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        if len == 0 {
            return Buf::default();
        }
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let capacity = len.next_multiple_of(LINE);
        let huge = capacity >= HUGE;
        // 37 is coprime to STAGGER, so that neighbours are far apart and all offsets are used in turn.
        let offset = if huge { NEXT.fetch_add(37, Ordering::Relaxed) % STAGGER * LINE } else { 0 };
        let align = if huge { HUGE } else { LINE } * size_of::<f32>();
        let layout = Layout::from_size_align((capacity + offset) * size_of::<f32>(), align)
            .expect("a buffer of less than 2^63 bytes");
        // SAFETY: the size is not zero; what is written lies within the block.
        unsafe {
            let block = NonNull::new(alloc(layout)).unwrap_or_else(|| handle_alloc_error(layout));
            if huge {
                // Whole huge pages only: the rest would take one for a few values.
                ask_for_huge_pages(block, capacity / HUGE * HUGE * size_of::<f32>());
            }
            let start = block.cast::<f32>().add(offset);
            start.write_bytes(0, capacity);
            Buf { start, capacity, len, block, layout }
        }
    }

    /// Makes room for `len` values; new and old contents are zeros if it had to grow, untouched otherwise.
    pub(crate) fn ensure(&mut self, len: usize) {
        if self.capacity < len {
            *self = Buf::default();
            *self = Buf::zeros(len);
        }
        self.len = len;
    }

    /// Whether there is room for `len` values already.
    pub(crate) fn holds(&self, len: usize) -> bool {
        self.capacity >= len
    }

    /// A pointer for kernels that write disjoint parts from several threads.
    pub(crate) fn ptr(&mut self) -> Ptr {
        Ptr(self.start.as_ptr())
    }
}

/// A wish that the system may ignore.
#[cfg(all(target_os = "linux", not(miri)))]
fn ask_for_huge_pages(block: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is an allocation of our own; the advice does not change its contents.
    unsafe {
        libc::madvise(block.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask_for_huge_pages(_: NonNull<u8>, _: usize) {}

impl Default for Buf {
    /// No values and no memory.
    fn default() -> Self {
        let layout = Layout::new::<()>();
        Buf { start: NonNull::dangling(), capacity: 0, len: 0, block: NonNull::dangling(), layout }
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.block.as_ptr(), self.layout) }
        }
    }
}

impl Clone for Buf {
    fn clone(&self) -> Self {
        let mut b = Buf::zeros(self.len);
        b.copy_from_slice(self);
        b
    }
}

impl fmt::Debug for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buf({} values)", self.len)
    }
}

impl Deref for Buf {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `len <= capacity` values from `start` on are initialised and owned.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buf {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
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
    /// Of nothing, never read.
    pub(crate) const NONE: Self = Ptr(std::ptr::null_mut());

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_keep_their_values() {
        for len in [0, 1, 15, 17, HUGE - 1, HUGE, HUGE + 5] {
            let mut b = Buf::zeros(len);
            assert_eq!(b.len(), len);
            assert!(b.iter().all(|&v| v == 0.0));
            assert_eq!(b.ptr().0 as usize % if len > 0 { 64 } else { 4 }, 0);
            b.fill(1.5);
            assert_eq!(b.clone().iter().sum::<f32>(), b.iter().sum::<f32>());
            b.ensure(len / 2);
            assert_eq!(b.len(), len / 2);
            assert!(b.iter().all(|&v| v == 1.5));
            b.ensure(2 * len + 17);
            assert!(b.iter().all(|&v| v == 0.0));
        }
    }
}
