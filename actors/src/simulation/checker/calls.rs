//! What may be asked of providers, and when.

use std::time::Duration;

use super::{Answer, Checker, Presentation, WINDOW, Way};
use crate::{
    domain::{Timestamp, ids::NodeId},
    shared::until,
    simulation::history::Account,
    testing::universe::{GRACE, SAFE},
};

/// How long before the end of the access token a refresh token of unknown fate may be presented once more.
const PROBE_BEFORE_END: Duration = Duration::from_secs(61);
/// Longest a call that was admitted before a breaker opened may take to go out.
const ADMITTED_MAX: Duration = Duration::from_secs(6);
/// The breaker's interval, less any jitter it may have.
const BREAKER_INTERVAL: Duration = Duration::from_secs(20);

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
                .get(&id)
                .is_some_and(|(until, of)| *until > now && of == token);
            if !covered {
                self.broken(
                    "no call without a stored claim",
                    format_args!("{account} from node {node}"),
                );
            }
        }
        let way = self.ways.entry((node, account.provider)).or_default();
        if let Some(refused_at) = way.refused_at
            && until(refused_at, now) > ADMITTED_MAX
        {
            way.calls_since += 1;
            let calls = way.calls_since;
            let allowed = (until(refused_at, now).as_secs_f64() / BREAKER_INTERVAL.as_secs_f64()) as u32;
            if calls > allowed {
                self.broken(
                    "one probe per interval while the provider refuses our client",
                    format_args!("{calls} calls from node {node} to {}", account.provider),
                );
            }
        }
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
        if let Some(one) = self
            .book(account)
            .presentations
            .get_mut(token)
            .and_then(|all| all.iter_mut().rev().find(|one| one.node == node))
        {
            one.answer = answer;
        }
    }

    /// The provider told this node that it refuses our client, or something else.
    pub(in crate::simulation) fn client_refused(
        &mut self,
        node: usize,
        provider: &'static str,
        refused: bool,
        now: Timestamp,
    ) {
        let way = self.ways.entry((node, provider)).or_default();
        if !refused {
            *way = Way::default();
        } else if way.refused_at.is_none() {
            way.refused_at = Some(now);
        }
    }

    pub(in crate::simulation) fn withdrawn(&mut self, account: Account) {
        self.book(account).withdrawn = true;
    }
}
