//! The OAuth Manager: connects users' accounts at OAuth 2 providers, keeps their tokens sealed and fresh, and hands
//! them to the application's own services.

pub mod app;
pub mod cli;
pub mod config;
#[cfg(feature = "dev")]
pub mod dev;
pub mod http;
pub mod jose;
pub mod oauth;
pub mod spool;
pub mod storage;
pub mod telemetry;
pub mod vault;
mod web;
