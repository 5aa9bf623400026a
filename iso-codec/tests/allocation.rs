//! Decoding a good message and building a reply into a warm buffer allocate nothing.

mod common;

use bytes::BytesMut;
use iso_codec::{Builder, decode};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator unchanged; the counter is a plain cell of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn neither_decoding_nor_replying_allocates() {
    for fixture in common::fixtures() {
        let frame = fixture.frame.clone();
        let mut out = BytesMut::with_capacity(4096);
        let mut buf = [0u8; 999];
        let count = allocations(|| {
            let message = decode(&fixture.spec, frame).expect("a fixture decodes");
            // Clearing records have a message number instead.
            assert!(message.digits(11).or(message.digits(71)).is_some());
            assert!(message.text(if message.has(7) { 7 } else { 71 }, &mut buf).is_some());
            let _ = (
                message.pan(),
                message.tcc(),
                message.sub_text(48, "63", &mut buf),
                message.tagged(48).count(),
                message.tlvs(55).count(),
            );
            let mut reply = Builder::new(&fixture.spec, message.mti().response(), &mut out);
            for n in message.present() {
                reply.copy(n, &message).expect("a copy");
            }
            reply.finish().expect("it finishes");
        });
        assert_eq!(count, 0, "{}", fixture.name);
    }
}
