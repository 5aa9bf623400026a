//! The `auth-engine` binary: the allocator, the command line, the exit code.
//!
//! It must never decide anything: everything it does lives in [`auth_engine::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    auth_engine::cli::main()
}
