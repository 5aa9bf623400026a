//! Text as a spec file, then bytes as a message of it. Never more than a call: the body is in `src/lib.rs`, where plain tests run it, too.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::spec(data));
