//! What may be asked of providers, and when.

use std::time::Duration;

use super::{Answer, Checker, Heard, Presentation, WINDOW};
use crate::{
    domain::{Timestamp, ids::NodeId},
    shared::until,
    simulation::history::Account,
    testing::universe::{GRACE, SAFE},
};

/// How long before the end of the access token a refresh token of unknown fate may be presented once more.
const PROBE_BEFORE_END: Duration = Duration::from_secs(61);

impl Checker {
    /// A call goes out.
    pub(in crate::simulation) fn call_begins(
        &mut self,
        node: usize,
        id: NodeId,
        account: Account,
        token: Option<&str>,
        now: Timestamp,
    ) {
        if let Some(token) = token {
            let book = self.book(account);
            book.calls.entry(token.to_owned()).or_default().push(now);
            let covered = book
                .claims
                .get(&(id, token.to_owned()))
                .is_some_and(|until| *until > now);
            if !covered {
                self.broken(
                    "no call without a stored claim",
                    format_args!("{account} from node {node}"),
                );
            }
        }
        self.judge_hold(node, account.provider, now);
    }

    /// A refresh token is presented.
    pub(in crate::simulation) fn presented(
        &mut self,
        (place, node): (usize, usize),
        account: Account,
        token: &str,
        now: Timestamp,
    ) {
        let expires_at = self.book(account).ends.get(token).copied().flatten();
        let tolerance = self.tolerance;
        let at_the_end = expires_at.is_none_or(|end| until(now, end) <= PROBE_BEFORE_END + tolerance);
        // An answer that could not be stored until the protocol's probe was due has not reached us in time.
        let mut earlier = self.book(account).presentations.remove(token).unwrap_or_default();
        for one in earlier.iter_mut().filter(|one| one.answer == Answer::Reached) {
            if !self.could_store(one.place, one.at, now) {
                one.answer = Answer::Lost(now);
            }
        }
        let (count, first_at) = (earlier.len(), earlier.first().map(|first| first.at));
        earlier.push(Presentation {
            at: now,
            place,
            node,
            answer: Answer::OnItsWay,
            is_disk_full: false,
        });
        self.book(account).presentations.insert(token.to_owned(), earlier);
        let Some(first_at) = first_at else { return };
        let allowed = match account.provider {
            SAFE => true,
            GRACE => until(first_at, now) < WINDOW || at_the_end,
            _ => at_the_end,
        };
        if !allowed {
            self.broken(
                "a refresh token is presented once, and once more only as the protocol's probe",
                format_args!("{account}: presentation {} from node {node}", count + 1),
            );
        }
    }

    /// What became of the answer to the last presentation of this token by this node.
    pub(in crate::simulation) fn answered(
        &mut self,
        node: usize,
        account: Account,
        token: &str,
        answer: Answer,
    ) {
        let places = &self.places;
        let book = self.books.entry(account).or_default();
        if answer == Answer::Reached {
            book.refusals.clear();
        }
        if answer == Answer::Useless {
            book.refusals.push(Heard::OfAnother);
        }
        if let Some(one) = book
            .presentations
            .get_mut(token)
            .and_then(|all| all.iter_mut().rev().find(|one| one.node == node))
        {
            one.answer = answer;
            one.is_disk_full = places.get(&one.place).is_some_and(|place| place.is_disk_full);
        }
    }
}
