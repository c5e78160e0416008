//! The command line of the OAuth Manager.

use std::process::ExitCode;

/// Hand-outs make and drop a few dozen small things each, on whichever thread; the system's allocator takes a seventh of
/// their time for it (`benches/handout`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    oauth_manager::cli::run()
}
