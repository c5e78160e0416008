//! Development mode: a private Postgres, a simulator of the providers, demo credentials.

pub mod postgres;
pub mod simulator;
