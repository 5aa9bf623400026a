//! Counts what the program allocates, thread by thread. It owns the allocator of this program and must never do more
//! than count.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of this thread so far, growths included.
pub(crate) fn so_far() -> u64 {
    MADE.with(Cell::get)
}

/// The engine's own allocator, counted.
pub(crate) struct Counting;

fn count() {
    // A thread that is ending has no cell any more; nobody asks it either.
    let _ = MADE.try_with(|made| made.set(made.get() + 1));
}

// SAFETY: every call is handed to mimalloc as it came; counting touches no memory but a thread's own cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(at, layout) }
    }
}
