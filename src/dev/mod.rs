//! Development mode: a private Postgres, a simulator of the providers, demo credentials. Not in the production image.

#[path = "../../examples/application/application.rs"]
mod application;
mod data_dir;
mod demo;
pub mod postgres;
mod run;
pub mod seed;
pub mod simulated;
pub mod simulator;
mod welcome;

pub use run::{ConsentMode, DevOptions, run};
