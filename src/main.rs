//! The command line of the OAuth Manager.

use std::process::ExitCode;

fn main() -> ExitCode {
    oauth_manager::cli::run()
}
