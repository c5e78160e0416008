//! Fakes of every port, a scripted provider, a test clock, and a [`universe::Universe`] that puts them together.
//!
//! Everything runs on tokio's clock, which tests pause (`#[tokio::test(start_paused = true)]`): time passes when nobody
//! has anything to do, and never while somebody has. Nothing here sleeps to wait for something: see [`gate::Gate`].

pub mod clock;
pub mod gate;
pub mod oauth;
pub mod provider;
pub mod rng;
pub mod spool;
pub mod store;
pub mod trap;
pub mod universe;
pub mod vault;
