//! What happens where memory runs out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// The system's allocator, for `#[global_allocator]` of a program: where there is no memory it says how much was asked for
/// and ends the process with exit code 1, in place of an abort with a backtrace.
#[derive(Clone, Copy, Debug)]
pub struct ExitWithoutMemory;

fn given(block: *mut u8, bytes: usize) -> *mut u8 {
    if block.is_null() && bytes > 0 {
        // Nothing here allocates.
        let _ = writeln!(
            std::io::stderr(),
            "error: out of memory: {bytes} bytes more were asked for\nhint: a smaller batch or network needs less, see \
             --dry-run; what was saved is intact"
        );
        std::process::exit(1);
    }
    block
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for ExitWithoutMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        given(unsafe { System.realloc(block, layout, size) }, size)
    }
}
