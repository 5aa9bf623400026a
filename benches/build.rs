//! Bakes in what the program cannot find out while it runs: which compiler built it, and with which flags.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CARGO_ENCODED_RUSTFLAGS");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok().filter(|out| out.status.success());
    let version = version.map_or_else(String::new, |out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\u{1f}', " ");
    println!("cargo:rustc-env=BENCHES_RUSTC={version}");
    println!("cargo:rustc-env=BENCHES_RUSTFLAGS={flags}");
}
