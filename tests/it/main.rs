//! End to end: the whole service against a real Postgres and the simulator, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own mistakes end the test"
)]

mod activation;
mod admin;
mod architecture;
mod bad_input;
mod binding;
mod callback;
mod commands;
mod configuration;
mod connect;
mod connect_faults;
mod consents;
mod database_away;
mod database_tls;
mod dev_mode;
mod erasure;
mod error_corpus;
mod exchange;
mod faults;
mod feature_table;
mod features;
mod foreign_provider;
mod fuzz;
mod harness;
mod isolation;
mod keeping_alive;
mod ledger;
mod levels;
mod limits;
mod metrics;
mod narrowing;
mod odd_answers;
mod operator;
mod outages;
mod pages;
mod policy;
#[cfg(feature = "system-tests")]
mod pooler;
mod provider_faults;
mod provider_verdicts;
mod proxies;
mod readiness;
#[cfg(feature = "system-tests")]
mod real_browser;
mod records;
mod refresh_chain;
mod returning;
mod secrets;
mod sessions;
mod short_lives;
mod single_flight;
mod spool;
mod stopping;
mod supervision;
mod thousand;
mod token_rejected;
mod unstorable;
mod user_jwt;
mod verdict_reach;
mod verify;
