//! The refresh protocol's writes: a claim, and commits that hold only while the claim and the generation do.

use super::tables::{Row, Tables};
use crate::{
    domain::{
        Timestamp,
        ids::{AttemptId, IntegrationId},
        integration::{Claim, Status, StoredIntegration},
    },
    ports::store::{
        ClaimOutcome, ClaimRequest, ClaimReturn, Commit, Concluded, FailureCommit, RefreshCommit, Replayed,
    },
    shared::after,
};

impl Tables {
    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Timestamp) -> ClaimOutcome {
        let Some(row) = self.integrations.get_mut(&request.id.uuid) else {
            return ClaimOutcome::Gone;
        };
        let dead = matches!(
            row.stored.standing.status,
            Status::Revoked | Status::ReauthRequired
        );
        let seen = row.view(now);
        let Some(grant) = row.stored.grant.as_mut().filter(|_| !dead) else {
            return ClaimOutcome::Gone;
        };
        if grant.generation != request.generation {
            return ClaimOutcome::Moved(Box::new(seen));
        }
        if grant.claim.as_ref().is_some_and(|claim| claim.until > now) {
            return ClaimOutcome::Held(Box::new(seen));
        }
        let stale = seen.grant.and_then(|grant| grant.claim);
        grant.claim = Some(Claim {
            attempt: request.attempt,
            node: request.node,
            since: now,
            until: after(now, request.lease),
            stale: false,
        });
        ClaimOutcome::Claimed {
            integration: Box::new(row.view(now)),
            stale,
        }
    }

    /// The row if the fence holds: not revoked, this generation, this claim.
    fn claimed(&mut self, id: &IntegrationId, generation: i64, attempt: AttemptId) -> Option<&mut Row> {
        self.integrations.get_mut(&id.uuid).filter(|row| {
            row.stored.standing.status != Status::Revoked
                && row.stored.grant.as_ref().is_some_and(|grant| {
                    grant.generation == generation
                        && grant.claim.as_ref().is_some_and(|claim| claim.attempt == attempt)
                })
        })
    }

    pub(super) fn commit_refresh(&mut self, commit: &RefreshCommit, now: Timestamp) -> Concluded {
        match self.claimed(&commit.id, commit.generation, commit.attempt) {
            None => Concluded::Fenced,
            Some(_) => Concluded::Stored(Box::new(self.store_refresh(commit, now))),
        }
    }

    pub(super) fn replay_refresh(&mut self, commit: &RefreshCommit, now: Timestamp) -> Replayed {
        let grant = self
            .integrations
            .get(&commit.id.uuid)
            .filter(|row| row.stored.standing.status != Status::Revoked)
            .and_then(|row| row.stored.grant.as_ref())
            .filter(|grant| grant.generation == commit.generation);
        let Some(grant) = grant else {
            return Replayed::Fenced;
        };
        let others = grant
            .claim
            .as_ref()
            .filter(|claim| claim.attempt != commit.attempt);
        if others.is_some_and(|claim| claim.until > now) {
            return Replayed::Held;
        }
        Replayed::Stored(Box::new(self.store_refresh(commit, now)))
    }

    pub(super) fn return_claim(&mut self, claim: &ClaimReturn) -> Commit {
        let grant = self
            .integrations
            .get_mut(&claim.id.uuid)
            .and_then(|row| row.stored.grant.as_mut())
            .filter(|grant| {
                grant
                    .claim
                    .as_ref()
                    .is_some_and(|own| own.attempt == claim.attempt)
            });
        let Some(grant) = grant else {
            return Commit::Fenced;
        };
        grant.claim.clone_from(&claim.stale);
        Commit::Done
    }

    /// Writes it, its conditions being met.
    #[expect(clippy::expect_used, reason = "its caller has looked")]
    fn store_refresh(&mut self, commit: &RefreshCommit, now: Timestamp) -> StoredIntegration {
        let row = self.integrations.get_mut(&commit.id.uuid).expect("a row");
        row.generation = commit.generation + 1;
        let stored = &mut row.stored;
        if let Some(grant) = &mut stored.grant {
            grant.generation = commit.generation + 1;
            grant.access_token.clone_from(&commit.access_token);
            grant.refresh_token.clone_from(&commit.refresh_token);
            grant.token_type.clone_from(&commit.token_type);
            grant.issued_at = commit.issued_at;
            grant.expires_at = commit.expires_at;
            grant.refresh_token_expires_at =
                commit.refresh_token_expires_at.or(grant.refresh_token_expires_at);
            grant.next_refresh_at = commit.next_refresh_at;
            grant.failures = commit.failures;
            grant.claim = None;
        }
        stored.scopes.clone_from(&commit.scopes);
        stored.standing.clone_from(&commit.standing);
        stored.last_refreshed_at = if commit.refreshed {
            Some(now)
        } else {
            stored.last_refreshed_at
        };
        stored.updated_at = now;
        let view = row.view(now);
        self.record(&commit.audit, now);
        view
    }

    pub(super) fn commit_failure(&mut self, commit: &FailureCommit, now: Timestamp) -> Concluded {
        let Some(row) = self.claimed(&commit.id, commit.generation, commit.attempt) else {
            return Concluded::Fenced;
        };
        if let Some(grant) = &mut row.stored.grant {
            grant.failures = commit.failures;
            grant.next_refresh_at = commit.next_refresh_at;
            grant.claim = grant.claim.take().filter(|_| commit.keep_claim);
            if let Some(claim) = &mut grant.claim {
                claim.until = claim.until.min(now);
            }
        }
        row.stored.standing.clone_from(&commit.standing);
        row.stored.updated_at = now;
        if commit.forget_tokens {
            row.forget();
        }
        let view = Box::new(row.view(now));
        self.record(&commit.audit, now);
        Concluded::Stored(view)
    }
}
