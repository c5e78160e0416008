//! File descriptors: what the database, the providers, the spool and the log need is set apart before clients get any, so
//! that however many connect, none of those is cut off.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Standard streams, listeners, the pollers of a few runtimes, the spool's journal, certificates and secrets being read,
/// names being resolved, and connections that are closing already while their successors are there.
const OWN: usize = 96;
/// Of the database beside the pools: the one that listens, and one that is being replaced.
const DATABASE_BESIDE_POOLS: usize = 2;
/// Calls to a provider at once, where its configuration does not say.
const PROVIDER_CALLS_USUAL: usize = 32;
/// A service for fewer connections is none.
const CONNECTIONS_MIN: usize = 16;

/// The process may not open as many files as it needs for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {limit} files (ulimit -n), and needs {needed}: {reserve} for its database, providers and spool, \
     and some for clients. Raise the limit, or lower database.max_connections or the providers' max_concurrency"
)]
pub struct TooFewDescriptors {
    /// How many it may open.
    pub limit: usize,
    /// How many it needs at least.
    pub needed: usize,
    /// How many of them are not for clients.
    pub reserve: usize,
}

/// How many connections of clients there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    limit: usize,
    reserve: usize,
    wanted: usize,
    pub(super) connections_max: usize,
}

impl Room {
    /// Raises the limit as far as this process may.
    ///
    /// # Errors
    /// There is no room even for what the service needs for itself.
    pub(super) fn make(config: &Config) -> Result<Self, TooFewDescriptors> {
        let (limit, reserve, wanted) = (raised(), reserve(config), config.server.max_connections);
        let connections_max = share(limit, reserve, wanted)?;
        Ok(Self {
            limit,
            reserve,
            wanted,
            connections_max,
        })
    }

    /// Says so, once it is known that the service starts: a refused start is one line.
    pub(super) fn tell(self) {
        tracing::info!(
            descriptors = self.limit,
            reserve = self.reserve,
            connections = self.connections_max,
            "file descriptors: some are kept for the database, providers and spool, the rest is for connections"
        );
        if self.connections_max < self.wanted {
            tracing::warn!(
                connections = self.connections_max,
                wanted = self.wanted,
                "fewer connections than server.max_connections: this process may open only {} files (ulimit -n)",
                self.limit
            );
        }
    }
}

/// As many as are wanted, if they fit beside what is kept back.
fn share(limit: usize, reserve: usize, wanted: usize) -> Result<usize, TooFewDescriptors> {
    let room = limit.saturating_sub(reserve);
    if room < CONNECTIONS_MIN {
        return Err(TooFewDescriptors {
            limit,
            needed: reserve + CONNECTIONS_MIN,
            reserve,
        });
    }
    Ok(wanted.min(room))
}

/// Descriptors that clients never get.
fn reserve(config: &Config) -> usize {
    // A call takes a connection, whether it is new or kept for the next.
    let providers = config
        .configured_providers()
        .map(|(_, provider)| provider.max_concurrency.unwrap_or(PROVIDER_CALLS_USUAL));
    OWN + DATABASE_BESIDE_POOLS + config.database.max_connections + providers.sum::<usize>()
}

/// The limit after it was raised to the hard one; unlimited is a very large number.
fn raised() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files cannot be raised");
            limit.current
        }
    };
    current
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_is_left() {
        assert_eq!(share(20_000, 300, 10_000), Ok(10_000));
        assert_eq!(share(1_024, 300, 10_000), Ok(724));
        assert_eq!(share(usize::MAX, 300, 10_000), Ok(10_000));
        let refused = share(310, 300, 10_000).unwrap_err();
        assert_eq!((refused.limit, refused.needed), (310, 316));
    }
}
