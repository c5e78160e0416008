//! The actor system of the OAuth Manager: knows no web, no SQL, no HTTP client.
//!
//! ```text
//! Root                       over its restart budget -> the process exits, its orchestrator restarts it
//! ├─ AuditSink               permanent   starts first, stops last
//! ├─ ProviderSupervisor × P  permanent   one per provider: slots, restart budget, quarantine
//! │   └─ Integration × N     transient   one per connected account that is awake
//! ├─ Registry                permanent   pure router: provider key -> supervisor
//! └─ Scheduler               permanent   wakes accounts that are asleep when they fall due
//! ```
//!
//! Questions go down the tree or in from outside ([`handle::OAuthManager`]); up and sideways go only casts. No handler
//! awaits I/O: [`effects::Effects`] run it beside the actors and report back as messages. Everything durable is in the
//! database, behind the traits of [`ports`]; actors are how it is kept in order, not where it is kept.
//!
//! Reading order: `integration/lifecycle.rs` (what happens to an account, pure), `integration/mod.rs` (its shell),
//! `integration/refresh.rs` (the refresh protocol), `provider/mod.rs` and `provider/slot.rs`, `handle.rs`.
#![warn(missing_docs)]

#[cfg(panic = "abort")]
compile_error!("supervision catches panics: build with panic = \"unwind\"");

mod address;
mod audit;
mod authorization;
mod carried;
mod catalogue;
mod chance;
mod clients;
mod consent;
mod database;
pub mod domain;
mod effects;
mod erasure;
mod explanation;
pub mod handle;
mod integration;
mod made;
pub mod measure;
pub mod ports;
mod provider;
mod readiness;
mod records;
mod registry;
mod root;
mod scheduler;
mod session;
pub mod settings;
mod shared;
mod shelf;
#[cfg(test)]
mod simulation;
mod supervision;
pub mod system;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod timer;
mod upstream;
