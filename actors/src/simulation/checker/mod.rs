//! The checker: watches the providers' books, the rows and the hand-outs as they happen, and says which promise is
//! broken. It knows nothing of how the promises are kept.

mod calls;
mod defects;
mod hand_outs;
mod holds;
mod rows;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    history::{Account, History},
    swarm::Swarm,
};
use crate::{
    domain::{
        Timestamp,
        ids::{AttemptId, NodeId},
        integration::Status,
    },
    shared::until,
};

/// The window of the provider of class `grace`.
const WINDOW: Duration = Duration::from_secs(10);
/// An answer in hand is stored at the latest this long after the database can be reached again.
const STORED_WITHIN: Duration = Duration::from_secs(20);
/// What became of the answer to a presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    OnItsWay,
    /// Tokens, and somebody to take them.
    Reached,
    /// Tokens that nobody received.
    Lost(Timestamp),
    /// Tokens that nobody may keep.
    Useless,
    /// No tokens.
    Refusal,
}

/// What a provider said to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something about the account, or nothing that reached anybody.
    Answer,
    /// Nothing useful.
    Trouble,
    /// Not before then, for nobody.
    LeaveMeAlone(Timestamp),
    /// It refuses our client.
    ClientRefused,
    /// A refusal that no table knows.
    Odd,
    /// The user must act first.
    WantsUser,
    /// Tokens of another account.
    OfAnother,
}

#[derive(Debug)]
struct Presentation {
    at: Timestamp,
    place: usize,
    node: usize,
    answer: Answer,
    /// Whether its node's disk had no room when the answer came.
    is_disk_full: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: Status,
    reason: Option<String>,
    generation: Option<i64>,
    claim: Option<(AttemptId, NodeId, Timestamp)>,
    refresh_token: Option<String>,
    expires_at: Option<Timestamp>,
}

/// What is known of one account.
#[derive(Debug, Default)]
struct Book {
    row: Option<Seen>,
    generation_max: i64,
    /// Access tokens that were ever stored.
    stored: HashSet<String>,
    presentations: HashMap<String, Vec<Presentation>>,
    /// When calls with each refresh token went out, whether or not they arrived.
    calls: HashMap<String, Vec<Timestamp>>,
    /// When the access token that came with each refresh token ends.
    ends: HashMap<String, Option<Timestamp>>,
    /// Until when each node last claimed which refresh token. An attempt goes on while its account is connected anew.
    claims: HashMap<(NodeId, String), Timestamp>,
    /// Since when each refresh token may have been out: whoever claimed it and vanished may have presented it.
    unsettled_since: HashMap<String, Timestamp>,
    revoked_at: Option<Timestamp>,
    /// Nodes that acknowledged the revocation.
    acknowledged: HashSet<usize>,
    handed_out: Vec<(Timestamp, usize)>,
    /// What was heard of it since it was last served.
    refusals: Vec<Heard>,
}

/// What is known of one node's way to one provider.
#[derive(Debug, Default)]
struct Way {
    /// Since when it can be said for certain that it is left alone.
    refused_at: Option<Timestamp>,
    /// Since when that may be so: probes are counted from then.
    left_alone_at: Option<Timestamp>,
    calls_since: u32,
    /// Whose calls met trouble since anybody's was answered.
    troubled: Vec<usize>,
}

/// A provider told a node to leave it alone.
#[derive(Debug, Clone, Copy)]
struct Hold {
    provider: &'static str,
    node: usize,
    told_at: Timestamp,
    until: Timestamp,
}

/// What is known of a node.
#[derive(Debug, Default, Clone)]
struct Health {
    killed_at: Option<Timestamp>,
    paused_at: Option<Timestamp>,
    resumed_at: Option<Timestamp>,
    /// When it last could not reach the database.
    cut_off_at: Option<Timestamp>,
    /// Defects that were met there.
    defects: u64,
}

/// What is known of a place where one node after the other runs, on one disk.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    /// Whether nobody there could store anything now, and when that last changed.
    in_trouble: bool,
    changed_at: Option<Timestamp>,
    is_disk_full: bool,
}

/// The checker.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) history: History,
    violation: Option<String>,
    books: HashMap<Account, Book>,
    ways: HashMap<(usize, &'static str), Way>,
    holds: Vec<Hold>,
    health: HashMap<usize, Health>,
    places: HashMap<usize, Place>,
    database_away: Place,
    /// When it last came back from being away.
    database_back_at: Option<Timestamp>,
    tolerance: Duration,
    /// Whether a revocation must be obeyed within a second: nothing of this world slows the notification down.
    prompt: bool,
}

/// What the transparent vault sealed.
fn plain(sealed: &[u8]) -> String {
    let text = String::from_utf8_lossy(sealed);
    text.rsplit('|').next().unwrap_or_default().to_owned()
}

impl Checker {
    pub(super) fn new(swarm: &Swarm) -> Self {
        Self {
            history: History::default(),
            violation: None,
            books: HashMap::new(),
            ways: HashMap::new(),
            holds: Vec::new(),
            health: HashMap::new(),
            places: HashMap::new(),
            database_away: Place::default(),
            tolerance: swarm.skew_max * 2,
            prompt: swarm.statements.fails == 0.0
                && swarm.statements.late == 0.0
                && swarm.statements.slow == 0.0
                && swarm.statements.torn == 0.0,
            database_back_at: None,
        }
    }

    /// The first broken promise.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(super) fn broken(&mut self, promise: &str, detail: impl std::fmt::Display) {
        if self.violation.is_none() {
            self.violation = Some(format!("{promise}: {detail}"));
        }
    }

    fn book(&mut self, account: Account) -> &mut Book {
        self.books.entry(account).or_default()
    }

    // === nodes ===

    pub(super) fn node_paused(&mut self, place: usize, node: usize, now: Timestamp) {
        self.place_empty(place, now);
        self.health.entry(node).or_default().paused_at = Some(now);
    }

    pub(super) fn node_killed(&mut self, place: usize, node: usize, now: Timestamp) {
        self.place_empty(place, now);
        self.health.entry(node).or_default().killed_at.get_or_insert(now);
    }

    pub(super) fn node_resumed(&mut self, place: usize, node: usize, now: Timestamp) {
        self.place_recovers(place, now);
        self.health.entry(node).or_default().resumed_at = Some(now);
    }

    /// It cannot reach the database, this very instant.
    pub(super) fn node_cut_off(&mut self, place: usize, node: usize, now: Timestamp) {
        let place = self.places.entry(place).or_default();
        place.changed_at = Some(now);
        self.health.entry(node).or_default().cut_off_at = Some(now);
    }

    /// Nobody runs there.
    pub(super) fn place_empty(&mut self, place: usize, now: Timestamp) {
        let place = self.places.entry(place).or_default();
        (place.in_trouble, place.changed_at) = (true, Some(now));
    }

    /// Somebody runs there.
    pub(super) fn place_recovers(&mut self, place: usize, now: Timestamp) {
        let place = self.places.entry(place).or_default();
        (place.in_trouble, place.changed_at) = (false, Some(now));
    }

    pub(super) fn database_turned(&mut self, away: bool, now: Timestamp) {
        if self.database_away.in_trouble && !away {
            self.database_back_at = Some(now);
        }
        (self.database_away.in_trouble, self.database_away.changed_at) = (away, Some(now));
    }

    /// Whether whoever runs there had the time to store what lies there.
    fn could_store(&self, place: usize, since: Timestamp, now: Timestamp) -> bool {
        let well = |place: &Place| {
            let since = place.changed_at.map_or(since, |changed_at| changed_at.max(since));
            !place.in_trouble && until(since, now) >= STORED_WITHIN
        };
        self.places.get(&place).is_none_or(well) && well(&self.database_away)
    }

    /// Whether this node did not run all the time since.
    pub(super) fn broken_since(&self, node: usize, since: Timestamp) -> bool {
        self.health
            .get(&node)
            .and_then(|health| health.killed_at.max(health.paused_at).max(health.resumed_at))
            .is_some_and(|at| at >= since)
    }
}
