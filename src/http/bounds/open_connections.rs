//! Connections: how many there are, of whom, and which of them gives way when there is no place for a new one.
//!
//! One address may have a part of all there may be. When places run out, the address with the most connections loses one
//! that waits for its client: first one that has sent no request, then one between two requests, then one that has only
//! just come, then one that owes us the rest of a body or does not take its answer. So whoever holds connections open and
//! asks for nothing shuts nobody out, not even others at their own address. Behind a trusted proxy everybody has one
//! address: it has no part, and gives way last.

use std::{
    cmp::Reverse,
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    address_block::AddressBlock,
    refusals::{Refusal, Refusals},
};
use crate::http::{
    connection::{Progress, Waits, WaitsFor},
    settings::HttpSettings,
};

/// How long a connection told to close is given before another is.
const CLOSING_PATIENCE: Duration = Duration::from_millis(20);
/// Who owes us a body or takes an answer is left alone for this long: most need no longer.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// The same where its own address has its part already: the next one there would be refused in its stead.
const SLOW_AFTER_AT_OWN_ADDRESS: Duration = Duration::from_millis(100);
/// A request follows its connection at once: whoever has just come is no silent one yet.
const SILENT_AFTER: Duration = Duration::from_millis(250);
/// When there is no place, this part of all places is made at once, so that a flood does not have all connections looked
/// through for each of its own.
const PLACES_MADE: usize = 64;
/// Between two lines in the log that say that connections are closed for want of places.
const CROWDED_PAUSE: Duration = Duration::from_secs(60);

/// Every connection there is.
pub(in crate::http) struct OpenConnections {
    max: usize,
    per_address_max: usize,
    trusted_proxies: Vec<IpNet>,
    places: Arc<Semaphore>,
    state: Mutex<State>,
    refusals: Refusals,
}

#[derive(Default)]
struct State {
    next_id: u64,
    connections: HashMap<u64, Entry>,
    addresses: HashMap<AddressBlock, Address>,
    told_crowded_at: Option<Instant>,
}

struct Entry {
    address: AddressBlock,
    is_trusted: bool,
    progress: Progress,
    close: CancellationToken,
}

#[derive(Default)]
struct Address {
    connections: usize,
    /// It was said that these are too many.
    is_told: bool,
}

/// A connection's place, until it is dropped.
pub(in crate::http) struct OpenConnection {
    all: Arc<OpenConnections>,
    id: u64,
    pub(in crate::http) progress: Progress,
    /// Cancelled: to be closed as soon as nothing is under way.
    pub(in crate::http) close: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl OpenConnections {
    pub(in crate::http) fn new(settings: &HttpSettings, refusals: Refusals) -> Arc<Self> {
        let limits = &settings.limits;
        Arc::new(Self {
            max: limits.connections_max,
            per_address_max: limits.connections_per_address_max.max(1),
            trusted_proxies: settings.trusted_proxies.clone(),
            places: Arc::new(Semaphore::new(limits.connections_max)),
            state: Mutex::default(),
            refusals,
        })
    }

    /// A place for a connection from this address, as soon as there is one. `None`: its address has as many as it may,
    /// and all of them are at work. `stop` is told to all connections.
    pub(in crate::http) async fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        stop: &CancellationToken,
    ) -> Option<OpenConnection> {
        let ip = ip.to_canonical();
        let (address, is_trusted) = (
            AddressBlock::of(ip),
            self.trusted_proxies.iter().any(|network| network.contains(&ip)),
        );
        let closed = if is_trusted { 0 } else { self.room(address)? };
        let place = self.place(closed > 0).await?;
        let (progress, close) = (Progress::new(Instant::now()), stop.child_token());
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.addresses.entry(address).or_default().connections += 1;
        let entry = Entry {
            address,
            is_trusted,
            progress: progress.clone(),
            close: close.clone(),
        };
        state.connections.insert(id, entry);
        Some(OpenConnection {
            all: Arc::clone(self),
            id,
            progress,
            close,
            _place: place,
        })
    }

    /// Closes connections that wait for their clients, so that there are descriptors again; how many.
    pub(in crate::http) fn make_room(&self) -> usize {
        self.close_waiting(&mut self.state(), None)
    }

    /// Whether this address may have one more, if need be for some of its own that wait: how many are closed for it.
    fn room(&self, address: AddressBlock) -> Option<usize> {
        let mut state = self.state();
        let has = |state: &State| state.addresses.get(&address).map_or(0, |known| known.connections);
        if has(&state) < self.per_address_max {
            return Some(0);
        }
        let closed = self.close_waiting(&mut state, Some(address));
        if closed > 0 {
            return Some(closed);
        }
        self.refusals.count(Refusal::Connection, 1);
        let known = state.addresses.entry(address).or_default();
        if !std::mem::replace(&mut known.is_told, true) {
            tracing::warn!(
                client.address = %address,
                connections = known.connections,
                "an address has as many connections at work as it may (limits.connections_per_address_percent)"
            );
        }
        None
    }

    /// A place, as soon as there is one. `is_closing`: some connection is on its way out already.
    async fn place(&self, mut is_closing: bool) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return Some(place);
            }
            if !std::mem::take(&mut is_closing) {
                self.make_place();
            }
            // If nobody waits now, somebody may soon.
            let freed = Arc::clone(&self.places).acquire_owned();
            match tokio::time::timeout(CLOSING_PATIENCE, freed).await {
                Ok(place) => return place.ok(),
                Err(_elapsed) => {}
            }
        }
    }

    fn make_place(&self) {
        let mut state = self.state();
        let closed = self.close_waiting(&mut state, None);
        let is_told = |told: Instant| told.elapsed() <= CROWDED_PAUSE;
        if !state.told_crowded_at.is_some_and(is_told) {
            state.told_crowded_at = Some(Instant::now());
            tracing::warn!(
                connections = self.max,
                closed,
                "there are as many connections as there may be (server.max_connections): idle ones give way"
            );
        }
    }

    /// Closes a few of the connections that wait for their clients, of this address or of the one with the most; how many.
    fn close_waiting(&self, state: &mut State, of: Option<AddressBlock>) -> usize {
        let now = Instant::now();
        let slow_after = match of {
            Some(_) => SLOW_AFTER_AT_OWN_ADDRESS,
            None => SLOW_AFTER,
        };
        let waiting = state.connections.iter().filter_map(|(id, entry)| {
            let waits = entry.progress.waits()?;
            let is_meant = of.is_none_or(|address| address == entry.address);
            let turn = gives_way(waits, now, slow_after).filter(|_| is_meant)?;
            Some((entry, turn, waits.since, *id))
        });
        let rank = |entry: &Entry| {
            let connections = state
                .addresses
                .get(&entry.address)
                .map_or(0, |known| known.connections);
            (entry.is_trusted, Reverse(connections), entry.address)
        };
        let mut chosen: Vec<(Instant, u64)> = Vec::new();
        let mut first = None;
        for (entry, turn, since, id) in waiting {
            let rank = (rank(entry), turn);
            if first.is_none_or(|first| rank < first) {
                first = Some(rank);
                chosen.clear();
            }
            if first == Some(rank) {
                chosen.push((since, id));
            }
        }
        chosen.sort_unstable();
        chosen.truncate((self.max / PLACES_MADE).max(1));
        for (_, id) in &chosen {
            if let Some(entry) = state.forget(*id) {
                entry.progress.give_way();
                entry.close.cancel();
            }
        }
        self.refusals.count(Refusal::IdleConnection, chosen.len());
        chosen.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a connection gives way, soonest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Silent,
    Idle,
    /// Nothing has come of it yet, and it was hardly time.
    New,
    Slow,
}

fn gives_way(waits: Waits, now: Instant, slow_after: Duration) -> Option<Turn> {
    let waited = now.saturating_duration_since(waits.since);
    match waits.what {
        WaitsFor::Head if waited >= SILENT_AFTER => Some(Turn::Silent),
        WaitsFor::Head => Some(Turn::New),
        WaitsFor::Request => Some(Turn::Idle),
        WaitsFor::Client => (waited >= slow_after).then_some(Turn::Slow),
    }
}

impl State {
    fn forget(&mut self, id: u64) -> Option<Entry> {
        let entry = self.connections.remove(&id)?;
        if let Some(address) = self.addresses.get_mut(&entry.address) {
            address.connections -= 1;
            if address.connections == 0 {
                self.addresses.remove(&entry.address);
            }
        }
        Some(entry)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.state().forget(self.id);
    }
}

#[cfg(test)]
#[path = "open_connections_tests.rs"]
mod tests;
