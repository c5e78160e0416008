//! Fakes, a scripted provider and a test clock.

pub mod provider;
