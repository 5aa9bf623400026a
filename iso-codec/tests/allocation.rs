//! Decoding a good message, walking its sub-elements and building a reply into a warm buffer allocate nothing; and
//! whatever is received, no length that it claims is ever believed with an allocation.
//!
//! The bounds, in bytes of one allocation:
//! - decode of a good message, and every walk of sub-elements, good or not: none at all;
//! - decode of a bad one: the message as far as it could be read, and the list of its faults, of which there is one an
//!   element at most. Both are of a size that the frame has no part in, below [`FAILURE`];
//! - describing and diagnosing, for people and never on the path: some texts for each byte that was really received
//!   ([`DESCRIBED`]), and what the spec itself says ([`NAMES`]).

mod common;

use bytes::{Bytes, BytesMut};
use iso_codec::{Builder, DecodeError, DescribeOptions, Fault, Message, Spec, decode, describe};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system's allocator unchanged; the counters are plain cells of the thread. What
// grows comes by `alloc` as well, with its new size.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
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

/// Faults are kept in a list that doubles as it grows; elements go to 192.
const FAILURE: usize = max(size_of::<Message>(), 2 * 192 * size_of::<Fault>());
/// Bytes of one allocation for each byte received: a byte can be a sub-element of its own, with a line of its own.
const DESCRIBED: usize = 64;
/// The list of elements and their names, however short the message.
const NAMES: usize = 4 * 1024;

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// What the work returns, how often it allocated, and its largest allocation.
fn tracked<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    LARGEST.with(|largest| largest.set(0));
    let before = COUNT.with(Cell::get);
    let made = work();
    (made, COUNT.with(Cell::get) - before, LARGEST.with(Cell::get))
}

/// Every reader that goes inside elements, of all that are there.
fn walk(message: &Message) {
    let mut buf = [0u8; 999];
    for n in message.present() {
        let _ = (message.raw(n), message.wire(n), message.digits(n), message.text(n, &mut buf));
        let _ = (message.subs(n).count(), message.tagged(n).count(), message.tlvs(n).count());
        let _ = (message.part(n, "reference", &mut buf), message.sub_raw(n, "63"));
        let _ = message.part_of(n, 2, "amount", &mut buf);
    }
    let _ = (message.pan(), message.tcc(), message.track2_expiry(), message.additional_amounts().count());
    let _ = (message.original(), message.replacement(), message.advice_reason(), message.network_reference());
}

/// Decodes and walks, and describes too when asked; says whether the message was good.
fn check(spec: &Arc<Spec>, frame: &[u8], described: bool) -> bool {
    let place = || format!("{} of {} bytes", spec.name(), frame.len());
    let bytes = Bytes::copy_from_slice(frame);
    let (outcome, count, largest) = tracked(|| decode(spec, bytes));
    let message = match &outcome {
        Ok(message) => {
            assert_eq!(count, 0, "{}", place());
            Some(message)
        }
        Err(DecodeError { partial, .. }) => {
            assert!(largest <= FAILURE, "{}: {largest} bytes at once", place());
            partial.as_deref()
        }
    };
    let Some(message) = message else { return false };
    let ((), count, _) = tracked(|| walk(message));
    assert_eq!(count, 0, "{}: walked", place());
    if described {
        for clear in [false, true] {
            let (_, _, largest) = tracked(|| {
                let text = describe(message, &DescribeOptions { clear }).to_text();
                let told = outcome.as_ref().err().map(ToString::to_string);
                (text, told)
            });
            assert!(largest <= NAMES + DESCRIBED * frame.len(), "{}: {largest} bytes at once", place());
        }
    }
    outcome.is_ok()
}

#[test]
fn no_truncation_and_no_flipped_bit_makes_the_decoder_allocate_what_was_not_received() {
    let (mut good, mut bad) = (0u32, 0u32);
    for fixture in common::fixtures() {
        let mut count = |is_good| if is_good { good += 1 } else { bad += 1 };
        for cut in 0..=fixture.frame.len() {
            count(check(&fixture.spec, &fixture.frame[..cut], true));
        }
        let mut frame = fixture.frame.to_vec();
        for bit in 0..8 * frame.len() {
            frame[bit / 8] ^= 1 << (bit % 8);
            // Describing costs a hundred times what decoding does.
            count(check(&fixture.spec, &frame, bit % 31 == 0));
            frame[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[test]
fn no_garbage_makes_the_decoder_allocate_what_was_not_received() {
    // A xorshift: the same garbage each time.
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for name in Spec::embedded_names() {
        let spec = Spec::embedded(name).expect("it is compiled in");
        let start = common::fixtures().into_iter().find(|fixture| fixture.spec.name() == *name);
        for turn in 0..2000u64 {
            let len = (next() % 300) as usize;
            // Half of it stands behind a message type and bitmap that are good, and so gets further.
            let mut frame = match &start {
                Some(fixture) if turn % 2 == 0 => fixture.frame[..fixture.frame.len().min(20)].to_vec(),
                _ => Vec::new(),
            };
            frame.extend((0..len).map(|_| if turn % 3 == 0 { b'0' + (next() % 10) as u8 } else { next() as u8 }));
            check(&spec, &frame, turn % 31 == 0);
        }
        // Every length that can be claimed, and nothing behind it.
        for byte in [0x00, 0x39, 0x99, 0xF9, 0xFF] {
            for len in 0..64 {
                check(&spec, &vec![byte; len], true);
            }
        }
    }
}
