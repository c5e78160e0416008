//! The refresh protocol's writes: a claim, and commits that hold only while the claim and the generation do.

use std::time::Duration;

use super::{
    constraints,
    tables::{Row, Tables},
};
use crate::{
    domain::{
        Timestamp,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        ids::{AttemptId, IntegrationId},
        integration::{Claim, Standing, Status, StoredIntegration},
        reason::{ANSWER_LATE, REFRESH_TOKEN_ENDING, ReasonCode, WhoMustAct},
    },
    integration::schedule::{Life, refresh_token_life},
    ports::store::{
        ClaimOutcome, ClaimRequest, ClaimReturn, Commit, Concluded, DispatchRequest, FailureCommit,
        RefreshCommit, Replayed, StoreError, StoreResult,
    },
    shared::{after, before, until},
};

impl Tables {
    pub(super) fn dispatch(&mut self, request: &DispatchRequest, now: Timestamp) -> Vec<StoredIntegration> {
        let latest = before(now, request.overdue);
        let mut due: Vec<_> = self
            .integrations
            .values_mut()
            .filter(|row| row.stored.id.provider == request.provider)
            .filter(|row| row.dispatched.is_none_or(|(_, until)| until <= now))
            .filter_map(|row| {
                let grant = row.stored.grant.as_ref()?;
                let at = grant.next_refresh_at.filter(|at| *at <= latest)?;
                let held = grant.claim.as_ref().is_some_and(|claim| claim.until > now);
                (!held).then_some((at, row))
            })
            .collect();
        due.sort_by_key(|(at, _)| *at);
        due.truncate(request.room as usize);
        due.into_iter()
            .map(|(_, row)| {
                row.dispatched = Some((request.node, after(now, request.hold)));
                row.view(now)
            })
            .collect()
    }

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
            unsettled_since: stale.as_ref().map_or(now, |stale| stale.unsettled_since),
            until: after(now, request.lease),
            stale: false,
        });
        // Should this attempt vanish, finding out is due as soon as its claim has run out. Whoever claims is told what was
        // planned.
        let planned_at = grant.next_refresh_at;
        grant.next_refresh_at = Some(planned_at.unwrap_or(now).min(now));
        row.dispatched = None;
        let mut integration = row.view(now);
        if let Some(grant) = &mut integration.grant {
            grant.next_refresh_at = planned_at;
        }
        ClaimOutcome::Claimed {
            integration: Box::new(integration),
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

    /// Whether the schema takes it.
    pub(super) fn takes(&self, commit: &RefreshCommit) -> StoreResult<()> {
        if self.refusing.contains(&commit.id.uuid) {
            return Err(StoreError::Refused {
                table: "oauth_tokens",
                constraint: "unforeseen".into(),
                sqlstate: "23514".into(),
            });
        }
        constraints::refresh(commit)
    }

    pub(super) fn commit_refresh(&mut self, commit: &RefreshCommit, now: Timestamp) -> Concluded {
        match self.claimed(&commit.id, commit.generation, commit.attempt) {
            None => Concluded::Fenced,
            Some(_) => Concluded::Stored(Box::new(self.store_refresh(commit, false, now))),
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
        let in_doubt = others.is_some();
        Replayed::Stored(Box::new(self.store_refresh(commit, in_doubt, now)))
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
        grant.next_refresh_at = claim.planned_at;
        Commit::Done
    }

    /// Writes it, its conditions being met.
    #[expect(clippy::expect_used, reason = "its caller has looked")]
    fn store_refresh(&mut self, commit: &RefreshCommit, in_doubt: bool, now: Timestamp) -> StoredIntegration {
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
            let life = grant.refresh_token_expires_at.map(|until| Life {
                since: grant.refresh_token_since.unwrap_or(grant.issued_at),
                until,
            });
            let life = refresh_token_life(life, commit.refresh_token_expires_at, commit.issued_at);
            grant.refresh_token_since = life.map(|life| life.since);
            grant.refresh_token_expires_at = life.map(|life| life.until);
            grant.next_refresh_at = if in_doubt {
                Some(now)
            } else {
                commit.next_refresh_at
            };
            grant.failures = commit.failures;
            grant.claim = None;
        }
        row.dispatched = None;
        let ending = commit
            .standing
            .reason
            .as_ref()
            .filter(|reason| reason.as_str() == REFRESH_TOKEN_ENDING)
            .cloned();
        let tell = ending.clone().filter(|_| !row.warned);
        if commit.refreshed {
            row.warned = ending.is_some();
        }
        stored.scopes.clone_from(&commit.scopes);
        stored.standing = if in_doubt {
            Standing::because(Status::Degraded, ReasonCode::new(ANSWER_LATE), WhoMustAct::Nobody)
        } else {
            commit.standing.clone()
        };
        stored.last_refreshed_at = if commit.refreshed {
            Some(now)
        } else {
            stored.last_refreshed_at
        };
        stored.updated_at = now;
        let view = row.view(now);
        self.record(&commit.audit, now);
        if let Some(reason) = tell {
            let warning = AuditEntry {
                action: AuditAction::Warn,
                error: Some(reason),
                ..commit.audit.clone()
            };
            self.record(&warning, now);
        }
        view
    }

    /// A hand-out is use, known to the hour.
    pub(super) fn mark_used(&mut self, entry: &AuditEntry, now: Timestamp) {
        let handed_out = entry.action == AuditAction::TokenIssued && entry.outcome == AuditOutcome::Success;
        let row = entry
            .integration_id
            .as_ref()
            .filter(|_| handed_out)
            .and_then(|id| self.integrations.get_mut(&id.uuid));
        if let Some(grant) = row.and_then(|row| row.stored.grant.as_mut())
            && until(grant.last_used_at, now) > Duration::from_secs(3600)
        {
            grant.last_used_at = now;
        }
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
        row.dispatched = None;
        if commit.forget_tokens {
            row.forget();
        }
        let view = Box::new(row.view(now));
        self.record(&commit.audit, now);
        Concluded::Stored(view)
    }
}
