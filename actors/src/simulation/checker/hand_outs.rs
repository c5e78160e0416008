//! What may be handed out, and that it is on record.

use std::time::Duration;

use super::Checker;
use crate::{
    domain::Timestamp,
    shared::{after, until},
    simulation::history::Account,
};

/// How soon a revocation is obeyed everywhere when notifications come…
const OBEYED_WITHIN: Duration = Duration::from_secs(1);
/// …and when they do not, statements failing now and then: 5 s are promised, and each reading may have to be repeated.
const OBEYED_WITHIN_MAX: Duration = Duration::from_secs(8);

impl Checker {
    /// A node acknowledged a revocation.
    pub(in crate::simulation) fn acknowledged(&mut self, node: usize, account: Account) {
        let book = self.book(account);
        if book.revoked_at.is_some() {
            book.acknowledged.insert(node);
        }
    }

    /// A token was handed out: whose, until when, as the provider knows.
    #[expect(clippy::too_many_arguments, reason = "all that a hand-out consists of")]
    pub(in crate::simulation) fn handed_out(
        &mut self,
        node: usize,
        account: Account,
        token: &str,
        known: Option<(String, Option<Timestamp>)>,
        min_ttl: Duration,
        (now, database_trouble_at): (Timestamp, Option<Timestamp>),
        deaf: bool,
    ) {
        let book = self.books.entry(account).or_default();
        book.handed_out.push((now, node));
        let stored = book.stored.contains(token);
        let (revoked_at, acknowledged) = (book.revoked_at, book.acknowledged.contains(&node));
        match known {
            Some((whose, _)) if whose != account.owner() => {
                self.broken("a user's token goes to that user only", account);
            }
            Some((_, Some(end)))
                if until(now, end) + self.tolerance < min_ttl.max(Duration::from_millis(1)) =>
            {
                self.broken(
                    "a token lives as long as was asked",
                    format_args!("{account}: {:?}", until(now, end)),
                );
            }
            None => self.broken("only the provider's tokens are handed out", account),
            Some(_) => {}
        }
        if !stored {
            self.broken("what is handed out is durable before", account);
        }
        if let Some(revoked_at) = revoked_at {
            let allowance = if self.prompt && !deaf {
                OBEYED_WITHIN
            } else {
                OBEYED_WITHIN_MAX
            };
            let resumed_at = self.health.get(&node).and_then(|health| health.resumed_at);
            let since = Some(revoked_at)
                .max(resumed_at)
                .max(database_trouble_at)
                .unwrap_or(revoked_at);
            if acknowledged || until(since, now) > allowance {
                self.broken(
                    "what is revoked is refused",
                    format_args!("{account} on node {node}, {:?} later", until(revoked_at, now)),
                );
            }
        }
    }

    /// An answer that was decided before its node stood still, and read after.
    pub(in crate::simulation) fn handed_out_late(&mut self, account: Account, node: usize, now: Timestamp) {
        self.book(account).handed_out.push((now, node));
    }

    /// How often this account's tokens were handed out by nodes that had the time to write it down.
    pub(in crate::simulation) fn hand_outs_on_record(&self, account: Account, patience: Duration) -> u64 {
        let Some(book) = self.books.get(&account) else {
            return 0;
        };
        let counted = book.handed_out.iter().filter(|(at, node)| {
            let Some(health) = self.health.get(node) else {
                return true;
            };
            let Some(killed_at) = health.killed_at else {
                return true;
            };
            // It had the time, and nothing kept it from writing.
            let stood_at = health.paused_at.max(health.resumed_at);
            let hindered_at = health.cut_off_at.max(stood_at).max(self.database_back_at);
            killed_at > after(*at, patience) && hindered_at.is_none_or(|hindered_at| hindered_at < *at)
        });
        counted.count() as u64
    }
}
