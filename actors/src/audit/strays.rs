//! Refused callbacks that anybody can send, counted per address and minute: a flood from one place is two rows a minute.
//!
//! The first of a minute is its sender's to write, at once; the sink writes the others when the minute is over, and before a
//! graceful stop ends. Which flow was meant is told apart, so that nothing about a flow is lost among the others.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::pending::minute_of;
use crate::domain::{
    Timestamp,
    audit::AuditEntry,
    ids::{AuthorizationId, ProviderKey},
    reason::ReasonCode,
};

/// Counted apart from each other at once: more than come astray by accident, few enough that a flood from everywhere fills
/// neither memory nor the audit. The rest of a minute is counted together, without their addresses.
const APART_MAX: usize = 1_024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    place: Option<IpAddr>,
    flow: Option<AuthorizationId>,
    provider: Option<ProviderKey>,
    reason: Option<ReasonCode>,
}

#[derive(Debug)]
struct Count {
    minute: i64,
    /// Beyond the first, which its sender wrote.
    further: u32,
    entry: AuditEntry,
}

/// The counts. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strays(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    open: HashMap<Key, Count>,
    /// Of minutes that are over.
    over: Vec<AuditEntry>,
}

/// One household or one server: who has an IPv6 network has all of its addresses.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

// === impl Strays ===

impl Strays {
    /// Counts it. `Some`: it is the first of its minute, to be written by the caller.
    pub(crate) fn count(&self, mut entry: AuditEntry, now: Timestamp) -> Option<AuditEntry> {
        let minute = minute_of(now);
        let mut counts = self.lock();
        entry.context.ip = entry.context.ip.map(place);
        let mut key = Key {
            place: entry.context.ip,
            flow: entry.authorization_id,
            provider: entry.provider.clone(),
            reason: entry.error.clone(),
        };
        if !counts.open.contains_key(&key) && counts.open.len() >= APART_MAX {
            counts.close(minute);
            if counts.open.len() >= APART_MAX {
                (entry.context.ip, entry.context.user_agent) = (None, None);
                (entry.authorization_id, entry.subject, entry.provider) = (None, None, None);
                (key.place, key.flow, key.provider) = (None, None, None);
            }
        }
        if let Some(count) = counts.open.get_mut(&key)
            && count.minute == minute
        {
            count.further = count.further.saturating_add(1);
            return None;
        }
        let first = Count {
            minute,
            further: 0,
            entry: entry.clone(),
        };
        let last = counts.open.insert(key, first);
        counts.over.extend(last.and_then(Count::rest));
        Some(entry)
    }

    /// What is to be written: what minutes that are over have left, or all there is.
    pub(super) fn take(&self, all: bool, now: Timestamp) -> Vec<AuditEntry> {
        let mut counts = self.lock();
        counts.close(minute_of(now));
        if all {
            let open = std::mem::take(&mut counts.open);
            counts.over.extend(open.into_values().filter_map(Count::rest));
        }
        std::mem::take(&mut counts.over)
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn close(&mut self, minute: i64) {
        let over = self.open.extract_if(|_, count| count.minute != minute);
        self.over.extend(over.filter_map(|(_, count)| count.rest()));
    }
}

impl Count {
    fn rest(self) -> Option<AuditEntry> {
        let count = self.further;
        (count > 0).then_some(AuditEntry { count, ..self.entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        audit::{AuditAction, AuditOutcome},
        caller::{Actor, RequestContext},
    };

    fn stray(address: &str) -> AuditEntry {
        let context = RequestContext {
            actor: Actor::Browser,
            ip: Some(address.parse().unwrap()),
            ..RequestContext::system()
        };
        AuditEntry::new(AuditAction::Callback, AuditOutcome::Denied, context)
            .with_error(ReasonCode::new("state_unknown"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn counts(entries: &[AuditEntry]) -> Vec<u32> {
        entries.iter().map(|entry| entry.count).collect()
    }

    #[test]
    fn a_flood_from_one_address_is_two_rows_a_minute() {
        let strays = Strays::default();
        let firsts = (0..5_000).filter(|_| strays.count(stray("192.0.2.1"), at(3)).is_some());
        assert_eq!(firsts.count(), 1);
        assert_eq!(strays.take(false, at(59)), [], "its minute is not over");
        assert_eq!(counts(&strays.take(false, at(60))), [4_999]);
        assert_eq!(strays.take(true, at(61)), []);
        assert!(strays.count(stray("192.0.2.1"), at(61)).is_some());
        assert_eq!(strays.take(true, at(62)), [], "the first is its sender's");
    }

    #[test]
    fn a_minute_that_nobody_looked_at_is_not_lost() {
        let strays = Strays::default();
        for second in [0, 1, 2, 60, 61, 120] {
            strays.count(stray("192.0.2.1"), at(second));
        }
        let mut left = counts(&strays.take(true, at(121)));
        left.sort_unstable();
        assert_eq!(left, [1, 2]);
    }

    #[test]
    fn an_ipv6_network_is_one_place_and_a_mapped_address_is_what_it_maps() {
        let strays = Strays::default();
        let first = strays.count(stray("2001:db8:1:2::1"), at(0)).unwrap();
        assert_eq!(first.context.ip, Some("2001:db8:1:2::".parse().unwrap()));
        assert!(strays.count(stray("2001:db8:1:2:ffff::9"), at(0)).is_none());
        assert!(strays.count(stray("2001:db8:1:3::1"), at(0)).is_some());
        assert!(strays.count(stray("192.0.2.1"), at(0)).is_some());
        assert!(strays.count(stray("::ffff:192.0.2.1"), at(0)).is_none());
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_counted() {
        let strays = Strays::default();
        let all = 5_000_u32;
        let firsts = (0..all).filter(|n| {
            let address = format!("10.0.{}.{}", n / 250, n % 250);
            strays.count(stray(&address), at(0)).is_some()
        });
        let firsts = u32::try_from(firsts.count()).unwrap();
        assert_eq!(firsts as usize, APART_MAX + 1);
        let left = strays.take(true, at(1));
        assert_eq!(counts(&left).iter().sum::<u32>(), all - firsts);
        assert!(left.iter().all(|entry| entry.context.ip.is_none()));
        // The next minute has room for whoever comes then.
        assert!(
            strays
                .count(stray("192.0.2.7"), at(60))
                .unwrap()
                .context
                .ip
                .is_some()
        );
    }
}
