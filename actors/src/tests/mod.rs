//! The actors together, on fakes: what a caller, a user and an operator see of them, whatever happens.

mod accounts;
mod audit;
mod connect;
mod counters;
mod crashes;
mod dispatch;
mod failures;
mod floods;
mod keep_alive;
mod late;
mod nodes;
mod outages;
mod refresh;
mod residency;
mod revocation;
mod spool;
mod tokens;
mod unstorable;
mod verdicts;
