//! When a provider is left alone: because it said so, because it has trouble, because it refuses our client.

use std::time::Duration;

use super::{Checker, Heard, Hold};
use crate::{
    domain::Timestamp,
    shared::{before, until},
    simulation::history::Account,
    testing::universe::GRACE,
};

/// Longest a call that was admitted before a breaker opened may take to go out.
const ADMITTED_MAX: Duration = Duration::from_secs(6);
/// The breaker's interval, less any jitter it may have.
const BREAKER_INTERVAL: Duration = Duration::from_secs(20);
/// Calls in trouble on one node, of several accounts and none answered, after which nobody can say that this is weather.
const TROUBLE_MAX: usize = 12;
/// The same, after which somebody may say so.
const TROUBLE_MIN: usize = 5;

impl Checker {
    /// What a provider said to this node's call.
    pub(in crate::simulation) fn heard(
        &mut self,
        node: usize,
        account: Account,
        heard: Heard,
        now: Timestamp,
    ) {
        let provider = account.provider;
        if matches!(heard, Heard::Odd | Heard::WantsUser | Heard::Trouble) {
            self.book(account).refusals.push(heard);
        }
        if let Heard::LeaveMeAlone(until) = heard {
            self.book(account).refusals.push(Heard::Trouble);
            self.holds.push(Hold {
                provider,
                node,
                told_at: now,
                until,
            });
        }
        let way = self.ways.entry((node, provider)).or_default();
        match heard {
            Heard::ClientRefused => {
                way.left_alone_at.get_or_insert(now);
                way.refused_at.get_or_insert(now);
            }
            Heard::Trouble | Heard::LeaveMeAlone(_) => {
                way.troubled.push(account.user);
                if way.troubled.len() >= TROUBLE_MIN {
                    way.left_alone_at.get_or_insert(now);
                }
                let first = way.troubled[0];
                if way.troubled.len() >= TROUBLE_MAX && way.troubled.iter().any(|user| *user != first) {
                    way.refused_at.get_or_insert(now);
                }
            }
            // Whoever is answered closes the breaker for all.
            Heard::Answer | Heard::Odd | Heard::WantsUser | Heard::OfAnother => {
                for (_, way) in self.ways.iter_mut().filter(|((_, key), _)| *key == provider) {
                    *way = super::Way::default();
                }
            }
        }
    }

    /// A call goes out to this provider: is it left alone?
    pub(super) fn judge_hold(&mut self, node: usize, provider: &'static str, now: Timestamp) {
        let way = self.ways.entry((node, provider)).or_default();
        if let Some(refused_at) = way.refused_at
            && until(refused_at, now) > ADMITTED_MAX
        {
            way.calls_since += 1;
            let calls = way.calls_since;
            let left_alone_at = way.left_alone_at.unwrap_or(refused_at);
            let probes = (until(left_alone_at, now).as_secs_f64() / BREAKER_INTERVAL.as_secs_f64()) as u32;
            // Where a repeat is safe, a probe whose answer is lost is repeated.
            let allowed = if provider == GRACE { probes * 2 } else { probes };
            if calls > allowed {
                self.broken(
                    "one probe per interval while the provider refuses our client or has trouble",
                    format_args!("{calls} calls from node {node} to {provider}"),
                );
            }
        }
        let early = self
            .holds
            .iter()
            .filter(|hold| hold.provider == provider && now < hold.until)
            .find(|hold| until(hold.told_at, now) > ADMITTED_MAX && self.knows(node, hold))
            .copied();
        if let Some(hold) = early {
            self.broken(
                "nobody calls a provider before the time it named",
                format_args!(
                    "node {node} calls {provider} {:?} after node {} was told, {:?} too early",
                    until(hold.told_at, now),
                    hold.node,
                    until(now, hold.until)
                ),
            );
        }
    }

    /// Whether nothing kept this node from knowing: it was told itself, or whoever was told could tell everybody.
    fn knows(&self, node: usize, hold: &Hold) -> bool {
        // A call on its way when its process stands still goes out when that goes on.
        let admitted_at = before(hold.told_at, ADMITTED_MAX);
        if self.broken_since(node, admitted_at) {
            return false;
        }
        node == hold.node
            || (self.prompt
                && !self.broken_since(hold.node, admitted_at)
                && !self.is_cut_off_since(hold.node, admitted_at)
                && !self.is_cut_off_since(node, admitted_at)
                && !self.database_away.in_trouble
                && self.database_away.changed_at.is_none_or(|at| at < admitted_at))
    }

    fn is_cut_off_since(&self, node: usize, since: Timestamp) -> bool {
        let cut_off_at = self.health.get(&node).and_then(|health| health.cut_off_at);
        cut_off_at.is_some_and(|at| at >= since)
    }
}
