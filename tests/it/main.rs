//! End to end: the whole service against a real Postgres and the simulator, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own mistakes end the test"
)]

mod architecture;
mod bad_input;
mod binding;
mod callback;
mod connect;
mod harness;
mod isolation;
mod policy;
mod secrets;
mod thousand;
