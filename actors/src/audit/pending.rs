//! Hand-outs not yet written, counted per client, account and minute: a thousand hand-outs a second are two rows a minute.
//!
//! The first of a minute are written at once, so that the audit shows them; the rest of that minute is counted and written
//! when the minute is over, because rows of the audit are never changed.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use uuid::Uuid;

use super::{
    IN_PROCESS,
    tally::{Tallies, Tally, TallyKey},
};
use crate::domain::{
    Timestamp,
    audit::{AuditAction, AuditEntry, AuditOutcome},
    caller::Actor,
    ids::{AuthorizationId, IntegrationId, ProviderKey, Subject},
    reason::ReasonCode,
};

/// Whoever counts as one: by row, because names would have to be written out for every hand-out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    User(Subject),
    Service(Uuid),
    Other(&'static str),
}

impl Who {
    fn of(actor: &Actor) -> Self {
        match actor {
            Actor::User(subject) => Self::User(subject.clone()),
            Actor::Service(client) => Self::Service(client.id),
            Actor::Browser => Self::Other("browser"),
            Actor::Operator => Self::Other("operator"),
            Actor::System => Self::Other("system"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    who: Who,
    action: AuditAction,
    outcome: AuditOutcome,
    subject: Option<Subject>,
    integration: Option<IntegrationId>,
    error: Option<ReasonCode>,
    /// Of callbacks, which are told apart by where they come from and what they are about.
    callback: Option<(Option<IpAddr>, Option<ProviderKey>, Option<AuthorizationId>)>,
}

impl Key {
    fn of(entry: &AuditEntry) -> Self {
        Self {
            who: Who::of(&entry.context.actor),
            action: entry.action,
            outcome: entry.outcome,
            subject: entry.subject.clone(),
            integration: entry.integration_id.clone(),
            error: entry.error.clone(),
            callback: (entry.action == AuditAction::Callback).then(|| {
                let provider = entry.provider.clone();
                (entry.context.ip, provider, entry.authorization_id)
            }),
        }
    }
}

#[derive(Debug)]
struct Count {
    /// Minutes since the epoch in which this counts.
    minute: i64,
    /// Whether this minute's first row is written (or being written).
    announced: bool,
    /// What is not written.
    entry: Option<AuditEntry>,
    /// What a further row of this minute says, but for its count.
    further: AuditEntry,
    /// Where further ones of this minute are counted without a message.
    tally: Option<(TallyKey, Arc<Tally>)>,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    counts: HashMap<Key, Count>,
    tallies: Tallies,
}

/// What to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// What is new or whose minute is over.
    Due,
    /// Everything: the system stops.
    All,
}

/// The minute in which something is counted.
pub(crate) fn minute_of(now: Timestamp) -> i64 {
    now.as_second().div_euclid(60)
}

/// What is counted without a message: tokens handed to service clients, and to services in this process.
fn tally_key(entry: &AuditEntry) -> Option<TallyKey> {
    let issued = entry.action == AuditAction::TokenIssued && entry.outcome == AuditOutcome::Success;
    let integration = entry.integration_id.as_ref().filter(|_| issued)?.uuid;
    let client = match &entry.context.actor {
        Actor::Service(client) => client.id,
        Actor::System => IN_PROCESS,
        Actor::User(_) | Actor::Browser | Actor::Operator => return None,
    };
    Some(TallyKey { client, integration })
}

impl Count {
    fn new(minute: i64, further: AuditEntry, tallies: &Tallies) -> Self {
        let tally = tally_key(&further).map(|key| (key, tallies.open(key, minute, further.scopes.clone())));
        Self {
            minute,
            announced: false,
            entry: None,
            further,
            tally,
        }
    }

    fn add(&mut self, entry: AuditEntry) {
        match &mut self.entry {
            Some(present) => {
                present.count = present.count.saturating_add(entry.count);
                present.scopes = present.scopes.union(&entry.scopes);
            }
            None => self.entry = Some(entry),
        }
    }

    /// Adds what was counted without a message; from here on nothing is.
    fn close_tally(&mut self, tallies: &Tallies) {
        let Some((key, tally)) = self.tally.take() else {
            return;
        };
        tallies.forget(&key, &tally);
        self.add_further(tally.close());
    }

    /// Adds what was counted without a message so far.
    fn gather(&mut self) {
        let count = self.tally.as_ref().map_or(0, |(_, tally)| tally.take());
        self.add_further(count);
    }

    fn add_further(&mut self, count: u32) {
        if count > 0 {
            let further = self.further.clone();
            self.add(AuditEntry { count, ..further });
        }
    }
}

impl Pending {
    /// Nothing yet; what is counted without a message is counted there.
    pub(super) fn new(tallies: Tallies) -> Self {
        tallies.close_all();
        Self {
            counts: HashMap::new(),
            tallies,
        }
    }

    pub(super) fn add(&mut self, entry: AuditEntry, now: Timestamp) {
        let minute = minute_of(now);
        let tallies = &self.tallies;
        let count = self
            .counts
            .entry(Key::of(&entry))
            .or_insert_with(|| Count::new(minute, entry.clone(), tallies));
        if count.minute != minute {
            count.close_tally(tallies);
            if count.entry.is_none() {
                *count = Count::new(minute, entry.clone(), tallies);
            }
        }
        count.add(entry);
    }

    /// Takes back what could not be written: it is due as before.
    pub(super) fn give_back(&mut self, entry: AuditEntry, now: Timestamp) {
        let key = Key::of(&entry);
        self.add(entry, now);
        if let Some(count) = self.counts.get_mut(&key) {
            count.announced = false;
        }
    }

    /// Takes rows to write, and forgets what is over.
    pub(super) fn take(&mut self, take: Take, now: Timestamp, most: usize) -> Vec<AuditEntry> {
        let this_minute = minute_of(now);
        let mut taken = Vec::new();
        let tallies = &self.tallies;
        self.counts.retain(|_, count| {
            let over = count.minute != this_minute;
            if over || take == Take::All {
                count.close_tally(tallies);
            } else if !count.announced {
                count.gather();
            }
            if taken.len() < most
                && (take == Take::All || !count.announced || over)
                && let Some(entry) = count.entry.take()
            {
                taken.push(entry);
                count.announced = true;
            }
            count.entry.is_some() || !over
        });
        taken
    }

    /// Rows held.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_written(&self) -> bool {
        self.counts.values().all(|count| count.entry.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        caller::RequestContext,
        client::{Policy, ServiceClient},
    };

    fn issued() -> AuditEntry {
        AuditEntry::new(
            AuditAction::TokenIssued,
            AuditOutcome::Success,
            RequestContext::system(),
        )
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_first_of_a_minute_is_due_at_once_and_the_rest_when_it_is_over() {
        let mut pending = Pending::default();
        pending.add(issued(), at(0));
        assert_eq!(pending.take(Take::Due, at(1), 10).len(), 1);
        for second in 2..50 {
            pending.add(issued(), at(second));
        }
        assert!(pending.take(Take::Due, at(50), 10).is_empty());
        let rest = pending.take(Take::Due, at(60), 10);
        assert_eq!(rest.iter().map(|entry| entry.count).collect::<Vec<_>>(), [48]);
        assert!(pending.is_written());
        assert_eq!(pending.len(), 0, "a key whose minute is over is forgotten");
    }

    #[test]
    fn what_was_counted_without_a_message_is_in_the_rest_of_its_minute() {
        let tallies = Tallies::default();
        let mut pending = Pending::new(tallies.clone());
        let client = ServiceClient {
            id: Uuid::nil(),
            name: "sync".into(),
            policy: Policy::default(),
            created_at: at(0),
            revoked_at: None,
        };
        let mut entry = issued();
        let id: IntegrationId = "google_00000000000000000000000000000abc".parse().unwrap();
        let key = TallyKey {
            client: client.id,
            integration: id.uuid,
        };
        entry.context.actor = Actor::Service(Arc::new(client));
        entry.integration_id = Some(id);
        pending.add(entry.clone(), at(0));
        assert_eq!(pending.take(Take::Due, at(1), 10).len(), 1);
        for _ in 0..5 {
            assert!(tallies.count(&key, 0, &entry.scopes));
        }
        // One goes the long way all the same, in the next minute and before the sink has looked.
        pending.add(entry.clone(), at(61));
        assert!(!tallies.count(&key, 0, &entry.scopes));
        let rest = pending.take(Take::Due, at(62), 10);
        assert_eq!(rest.iter().map(|entry| entry.count).sum::<u32>(), 6);
        pending.add(entry.clone(), at(63));
        assert!(tallies.count(&key, 1, &entry.scopes));
        assert_eq!(
            pending
                .take(Take::All, at(64), 10)
                .iter()
                .map(|entry| entry.count)
                .sum::<u32>(),
            2
        );
        assert!(
            !tallies.count(&key, 1, &entry.scopes),
            "after the last flush nobody counts"
        );
    }

    #[test]
    fn nothing_is_lost_however_small_the_batches() {
        let mut pending = Pending::default();
        for n in 0..100_u32 {
            let mut entry = issued();
            entry.error = Some(ReasonCode::new(format!("e{}", n % 7)));
            pending.add(entry, at(0));
        }
        let mut total = 0;
        while !pending.is_written() {
            total += pending
                .take(Take::All, at(0), 2)
                .iter()
                .map(|entry| entry.count)
                .sum::<u32>();
        }
        assert_eq!(total, 100);
    }
}
