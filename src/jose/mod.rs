//! Signed tokens and the keys that check them (RFC 7515, 7517, 7518), for ID tokens of providers and for the
//! application's own JWTs alike: one reading of a key set, one rule for which keys are strong enough, one memory of what
//! was fetched. What a token must say is judged by whoever asks.

mod cached;
mod compact;
mod key_set;
mod published;

pub(crate) use cached::{Cached, CachedByUrl, Rules};
pub(crate) use compact::{ALGORITHMS, Compact, Unreadable, algorithm_named};
pub(crate) use key_set::{KeySet, Signature};
pub(crate) use published::KeyFault;
pub use published::{Fetch, PublishedKeys};
