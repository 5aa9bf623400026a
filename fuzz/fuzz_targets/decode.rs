//! Bytes as a message of each built-in spec. Never more than a call: the body is in `src/lib.rs`, where plain tests run it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::decode(data));
