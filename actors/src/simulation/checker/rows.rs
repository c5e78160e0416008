//! What rows may become, and what must be true of them in the end.

use std::time::Duration;

use super::{Answer, Checker, Heard, Presentation, Seen, WINDOW, plain};
use crate::{
    domain::{
        Timestamp,
        audit::AuditEntry,
        integration::{Status, StoredIntegration},
    },
    shared::until,
    simulation::{
        history::{Account, Event},
        land::Land,
        way::{ODD, WANTS_USER},
    },
    testing::{
        oauth::ScriptedProvider,
        store::Op,
        universe::{GRACE, SAFE},
    },
};

/// The code of an answer about another account.
const OF_ANOTHER: &str = "account_mismatch";

impl Checker {
    /// A row as it is after a statement. `true`: it changed in a way that is announced.
    pub(in crate::simulation) fn row(
        &mut self,
        at: Duration,
        now: Timestamp,
        op: Op,
        audited: Option<&AuditEntry>,
        row: &StoredIntegration,
        provider: &ScriptedProvider,
    ) -> bool {
        let account = Land::account(row.id.provider.as_str(), &row.account.id);
        let grant = row.grant.as_ref();
        let seen = Seen {
            status: row.standing.status,
            reason: row.standing.reason.as_ref().map(ToString::to_string),
            generation: grant.map(|grant| grant.generation),
            claim: grant
                .and_then(|grant| grant.claim.as_ref())
                .map(|claim| (claim.attempt, claim.node, claim.until)),
            refresh_token: grant
                .and_then(|grant| grant.refresh_token.as_ref())
                .map(|sealed| plain(&sealed.0)),
            expires_at: grant.and_then(|grant| grant.expires_at),
        };
        let book = self.books.entry(account).or_default();
        if book.row.as_ref() == Some(&seen) {
            return false;
        }
        let old = book.row.replace(seen.clone());
        if let Some(grant) = grant {
            book.stored.insert(plain(&grant.access_token.0));
        }
        if let (Some((_, node, until)), Some(token)) = (&seen.claim, &seen.refresh_token)
            && op == Op::Claim
        {
            book.claims.insert((*node, token.clone()), *until);
            book.unsettled_since.entry(token.clone()).or_insert(now);
        }
        if let (None, Some(token)) = (&seen.claim, &seen.refresh_token) {
            book.unsettled_since.remove(token);
        }
        if let Some(token) = &seen.refresh_token {
            book.ends.insert(token.clone(), seen.expires_at);
        }
        if seen.status == Status::Revoked {
            book.revoked_at.get_or_insert(now);
        } else {
            book.revoked_at = None;
            book.acknowledged.clear();
        }
        let what = format!(
            "{op:?}: {:?} {} generation {:?}{}",
            seen.status,
            seen.reason.as_deref().unwrap_or("-"),
            seen.generation,
            if seen.claim.is_some() { ", claimed" } else { "" },
        );
        self.history.push(at, Event::Row(account, what));
        self.judge_row(now, op, audited, account, old.as_ref(), &seen, provider);
        old.is_none_or(|old| {
            (old.status, old.reason, old.generation) != (seen.status, seen.reason, seen.generation)
        })
    }

    #[expect(clippy::too_many_arguments, reason = "all that a change of a row consists of")]
    fn judge_row(
        &mut self,
        now: Timestamp,
        op: Op,
        audited: Option<&AuditEntry>,
        account: Account,
        old: Option<&Seen>,
        new: &Seen,
        provider: &ScriptedProvider,
    ) {
        if let Some(generation) = new.generation {
            let book = self.book(account);
            let highest = book.generation_max;
            book.generation_max = highest.max(generation);
            let changed = old.is_some_and(|old| {
                old.generation == new.generation && old.refresh_token != new.refresh_token
            });
            if generation < highest || changed {
                self.broken(
                    "generations only grow",
                    format_args!("{account}: {highest} -> {generation}"),
                );
            }
        }
        let Some(old) = old else { return };
        if let (Some((before, _, until)), Some((attempt, ..))) = (&old.claim, &new.claim)
            && before != attempt
            && *until > now
            && op != Op::ReturnClaim
        {
            self.broken("a living claim keeps others off", account);
        }
        if old.status == Status::Revoked && new.status != Status::Revoked && op != Op::CommitConnect {
            self.broken(
                "nothing but the user brings back what was revoked",
                format_args!("{account} by {op:?}"),
            );
        }
        if audited.is_some_and(|entry| {
            entry
                .error
                .as_ref()
                .is_some_and(|error| error.as_str() == "invalid_client")
        }) && (&old.status, &old.reason, old.generation) != (&new.status, &new.reason, new.generation)
            // That a call was not carried out is an outcome, to whoever knew none.
            && old.reason.as_deref() != Some("outcome_unknown")
        {
            self.broken("an operator's fault touches no account", account);
        }
        if new.status == Status::ReauthRequired && old.status != Status::ReauthRequired {
            self.judge_end(now, account, old, new, provider);
        }
    }

    /// The user is asked to connect again: was that needed?
    fn judge_end(
        &mut self,
        now: Timestamp,
        account: Account,
        old: &Seen,
        new: &Seen,
        provider: &ScriptedProvider,
    ) {
        let token = old.refresh_token.clone().unwrap_or_default();
        let lives = provider.lives(account.provider, &token);
        let book = self.book(account);
        let reason = new.reason.as_deref();
        let odd = book.refusals.iter().filter(|heard| **heard == Heard::Odd).count();
        let of_another = book
            .refusals
            .iter()
            .filter(|heard| **heard == Heard::OfAnother)
            .count();
        // The provider said that the user must act; or refused this account oddly, or took it for another, again and again.
        let is_told = reason == Some(WANTS_USER) && book.refusals.contains(&Heard::WantsUser)
            || book.refusals.len() >= 3
                && (reason == Some(ODD) && odd >= 2 || reason == Some(OF_ANOTHER) && of_another >= 2);
        if is_told {
            return;
        }
        if lives {
            return self.broken("nobody is asked to reconnect while the grant lives", account);
        }
        if provider.withdrawn(account.provider, &token) {
            return;
        }
        let presentations = book.presentations.remove(&token).unwrap_or_default();
        let calls = book.calls.remove(&token).unwrap_or_default();
        let first = presentations.first();
        // By the row the window began with the first claim, and whoever claimed may be dead before its call arrives.
        let began_at = first.map(|first| {
            book.unsettled_since
                .get(&token)
                .copied()
                .unwrap_or(first.at)
                .min(first.at)
        });
        let answered = presentations.iter().find(|one| {
            one.answer == Answer::Reached
                && self.could_store(one.place, one.at, now)
                && !self.died_without_room(one)
        });
        if account.provider == SAFE {
            self.broken("class safe loses no grant", account);
        } else if new.reason.as_deref() != Some("outcome_unknown") {
            let reason = new.reason.as_deref().unwrap_or("-").to_owned();
            self.broken(
                "a grant lost to an unknown outcome says so",
                format_args!("{account}: {reason}"),
            );
        } else if let Some(one) = answered {
            let node = one.node;
            self.broken(
                "an answer that reached us is not lost",
                format_args!("{account} on node {node}"),
            );
        } else if account.provider == GRACE
            && let (Some(first), Some(began_at)) = (first, began_at)
            && let Answer::Lost(lost_at) = first.answer
            && until(began_at, lost_at) < WINDOW / 2
            && calls.iter().filter(|at| until(first.at, **at) < WINDOW).count() <= 1
            && !self.broken_since(first.node, began_at)
        {
            self.broken(
                "an answer lost within the grace window is asked for again",
                account,
            );
        }
    }

    /// Whether its answer was in memory alone, and the process did not run on.
    fn died_without_room(&self, one: &Presentation) -> bool {
        one.is_disk_full && self.broken_since(one.node, one.at)
    }

    /// The end: everything was given time to recover. The row must say so.
    pub(in crate::simulation) fn settled(
        &mut self,
        account: Account,
        row: &StoredIntegration,
        provider: &ScriptedProvider,
    ) {
        let grant = row.grant.as_ref();
        let token = grant
            .and_then(|grant| grant.refresh_token.as_ref())
            .map(|sealed| plain(&sealed.0))
            .unwrap_or_default();
        let lives = provider.lives(account.provider, &token);
        let status = row.standing.status;
        let fine = match status {
            // That a user ended it at the provider is learnt when it is refreshed.
            Status::Active => lives || provider.withdrawn(account.provider, &token),
            Status::Revoked | Status::ReauthRequired => true,
            Status::Pending | Status::Degraded | Status::Paused => false,
        };
        if !fine {
            self.broken(
                "when all faults are over, every account whose grant lives is active",
                format_args!(
                    "{account} is {status:?}, its grant {}",
                    if lives { "lives" } else { "is dead" }
                ),
            );
        }
    }
}
