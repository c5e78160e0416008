//! What the actors need of the world. Adapters in the service fulfil these traits; fakes do in tests.

pub mod clock;
pub mod oauth;
pub mod rng;
pub mod spool;
pub mod store;
pub mod vault;
