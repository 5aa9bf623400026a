//! The auth-engine binary.
fn main() {}
