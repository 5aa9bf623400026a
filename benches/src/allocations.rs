//! Counts what the program allocates, thread by thread. It owns the allocator of this program and must never do more
//! than count.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// From here on an allocation is a page of a table, made once for hundreds of entries, and no tap's own.
const PAGE: usize = 4096;

thread_local! {
    static MADE: Cell<[u64; 2]> = const { Cell::new([0; 2]) };
}

/// Allocations of this thread so far, growths included: those below 4 KiB, and pages.
pub(crate) fn so_far() -> [u64; 2] {
    MADE.with(Cell::get)
}

/// All of them together.
#[allow(dead_code)] // the codecs' bench includes this file and needs this alone
pub(crate) fn all() -> u64 {
    so_far().iter().sum()
}

/// The engine's own allocator, counted.
pub(crate) struct Counting;

fn count(size: usize) {
    // A thread that is ending has no cell any more; nobody asks it either.
    let _ = MADE.try_with(|made| {
        let [small, pages] = made.get();
        let page = u64::from(size >= PAGE);
        made.set([small + 1 - page, pages + page]);
    });
}

// SAFETY: every call is handed to mimalloc as it came; counting touches no memory but a thread's own cell.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(at, layout) }
    }
}
