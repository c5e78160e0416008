//! End to end: the whole service against a real Postgres and the simulator, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own mistakes end the test"
)]

mod bad_input;
mod binding;
mod callback;
mod connect;
mod exchange;
mod fuzz;
mod harness;
mod isolation;
mod pages;
mod policy;
mod records;
mod secrets;
mod thousand;
