//! How much of a fault test is run: little with every change, all of it by one command.

/// Set to anything, every repeated fault is repeated as often as `docs/evidence.md` says.
const FULL: &str = "OAUTH_MANAGER_FULL_TESTS";

/// How often to repeat: `short` in every run of the tests, `full` when all of it is asked for.
pub fn repetitions(short: usize, full: usize) -> usize {
    if is_full() { full } else { short }
}

/// Whether all of it is asked for.
pub fn is_full() -> bool {
    std::env::var_os(FULL).is_some()
}
