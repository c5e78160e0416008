//! Hand-outs not yet written, counted per client, account and minute: a thousand hand-outs a second are two rows a minute.
//!
//! The first of a minute is written at once, so that the audit shows it; the rest of that minute is counted and written
//! when the minute is over, because rows of the audit are never changed.

use std::collections::HashMap;

use crate::domain::{
    Timestamp,
    audit::{AuditAction, AuditEntry, AuditOutcome},
    ids::{IntegrationId, Subject},
    reason::ReasonCode,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    actor: String,
    action: AuditAction,
    outcome: AuditOutcome,
    subject: Option<Subject>,
    integration: Option<IntegrationId>,
    error: Option<ReasonCode>,
}

impl Key {
    fn of(entry: &AuditEntry) -> Self {
        Self {
            actor: entry.context.actor.label(),
            action: entry.action,
            outcome: entry.outcome,
            subject: entry.subject.clone(),
            integration: entry.integration_id.clone(),
            error: entry.error.clone(),
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
}

#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<Key, Count>);

/// What to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    /// What is new or whose minute is over.
    Due,
    /// Everything: the system stops.
    All,
}

fn minute_of(now: Timestamp) -> i64 {
    now.as_second().div_euclid(60)
}

impl Pending {
    pub(super) fn add(&mut self, entry: AuditEntry, now: Timestamp) {
        let key = Key::of(&entry);
        let minute = minute_of(now);
        let count = self.0.entry(key).or_insert(Count {
            minute,
            announced: false,
            entry: None,
        });
        match &mut count.entry {
            Some(present) => {
                present.count = present.count.saturating_add(entry.count);
                present.scopes = present.scopes.union(&entry.scopes);
            }
            None => {
                if count.minute != minute {
                    (count.minute, count.announced) = (minute, false);
                }
                count.entry = Some(entry);
            }
        }
    }

    /// Takes back what could not be written: it is due as before.
    pub(super) fn give_back(&mut self, entry: AuditEntry, now: Timestamp) {
        let key = Key::of(&entry);
        self.add(entry, now);
        if let Some(count) = self.0.get_mut(&key) {
            count.announced = false;
        }
    }

    /// Takes rows to write, and forgets what is over.
    pub(super) fn take(&mut self, take: Take, now: Timestamp, most: usize) -> Vec<AuditEntry> {
        let this_minute = minute_of(now);
        let mut taken = Vec::new();
        self.0.retain(|_, count| {
            let over = count.minute != this_minute;
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
        self.0.len()
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_written(&self) -> bool {
        self.0.values().all(|count| count.entry.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::RequestContext;

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
