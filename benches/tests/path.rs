//! The path of a tap allocates nothing: decode, decide, apply, append and encode, counted by the allocator itself.

use std::process::Command;

#[test]
fn a_tap_allocates_nothing_in_steady_state() {
    for funding in [None, Some("--pool")] {
        let work = tempfile::tempdir().expect("a directory");
        let mut path = Command::new(env!("CARGO_BIN_EXE_benches"));
        path.args(["path", "--taps", "20000", "--warm-up", "20000", "--cards", "200", "--no-allocations", "--work"]);
        let out = path.arg(work.path()).args(funding).output().expect("the harness runs");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}\n{}", String::from_utf8_lossy(&out.stdout));
    }
}
