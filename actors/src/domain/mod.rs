//! The words of the business: what every layer calls the same thing. No I/O, no clock, no framework.

pub mod account;
pub mod audit;
pub mod authorization;
pub mod caller;
pub mod client;
pub mod consent;
pub mod erasure;
pub mod error;
pub mod feature;
pub mod ids;
pub mod implication;
pub mod integration;
pub mod metric;
pub mod network;
pub mod page;
pub mod provider;
pub mod provider_problem;
pub mod reach;
pub mod reason;
pub mod refresh_class;
pub mod reserved_parameter;
pub mod scope;
pub mod sealed;
pub mod secret;
pub mod session;
pub mod storable;
pub mod token;
pub mod unwritable;

/// An instant in UTC. Every time in this system is one of these; none is "local" and none is naive.
pub type Timestamp = jiff::Timestamp;
