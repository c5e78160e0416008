//! Whatever dies, on three nodes: the real program as processes, a Postgres that can be stopped, and the simulator as a
//! provider that forgives nothing. Every test ends with the checker, which compares what the provider was asked, what
//! the rows went through and what callers were given.
//!
//! Each repeated fault runs a few times with every `cargo test`. All of it, as often as `docs/evidence.md` says:
//!
//! ```text
//! OAUTH_MANAGER_FULL_TESTS=1 cargo test --release --test it faults:: -- --nocapture --test-threads 1
//! ```
//!
//! ```text
//! cluster    nodes on one database and in front of one simulator
//! node       one of them, as a process: start, kill, stop, continue
//! database   a Postgres of its own, stopped and started
//! load       callers who ask every node for tokens and write down what they get
//! history    what every token row went through, written down by a trigger
//! checker    what must hold whatever happened
//! ```

mod checker;
mod cluster;
mod database;
mod handovers;
mod history;
mod kills;
mod load;
mod node;
mod outages;
mod partitions;
mod pauses;
mod points;
mod revocations;
mod spooled;
mod unwritable;
