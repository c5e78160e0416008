//! The refresh protocol's writes (design, section 5): claim, commit, give up, give the claim back, commit late. Each is
//! one statement, so that a refresh costs two round trips and holds no connection while the provider answers. Claims and
//! commits of many accounts at one time go together (`refresh_batch`); here is what each of them is, and what is done where
//! going together did not do it.
//!
//! Two fences guard every commit: the generation that was refreshed and the attempt that holds the claim. Revoking takes
//! the claim away, so a commit after it writes nothing. Lock order everywhere: tokens, then integration.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        integration::{Status, StoredIntegration},
        reason::{REFRESH_TOKEN_ENDING, ReasonCode, WhoMustAct},
    },
    ports::store::{
        ClaimOutcome, ClaimRequest, ClaimReturn, Commit, Concluded, FailureCommit, RefreshCommit, Replayed,
        StoreResult,
    },
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    events::insert_event,
    refresh_batch,
    refresh_commit::{COMMIT, REPLAY, Statement},
    row::{self, integration_columns},
};

/// How often a claim is tried that was refused by nobody: the one in its way ended between two statements.
const CLAIM_TRIES_MAX: u32 = 3;

const RETURN_CLAIM: &str = "\
UPDATE oauth_tokens
SET claim_attempt = $3, claim_node = $4, claim_since = $5, claim_unsettled_since = $6, claim_until = $7,
    next_refresh_at = $8
WHERE integration_id = $1 AND claim_attempt = $2";

const COMMIT_FAILURE: &str = concat!(
    "WITH before AS (
        SELECT status, status_reason FROM oauth_integrations WHERE id = $16
    ), t AS (
        UPDATE oauth_tokens
        SET failures = $19, next_refresh_at = $20, updated_at = now(),
            generation = CASE WHEN $21::boolean THEN generation + 1 ELSE generation END,
            data_key = CASE WHEN $21 THEN NULL ELSE data_key END,
            access_token = CASE WHEN $21 THEN NULL ELSE access_token END,
            refresh_token = CASE WHEN $21 THEN NULL ELSE refresh_token END,
            claim_attempt = CASE WHEN $22::boolean THEN claim_attempt END,
            claim_node = CASE WHEN $22 THEN claim_node END,
            claim_since = CASE WHEN $22 THEN claim_since END,
            claim_unsettled_since = CASE WHEN $22 THEN claim_unsettled_since END,
            claim_until = CASE WHEN $22 THEN least(claim_until, now()) END,
            dispatched_to = NULL, dispatched_until = NULL
        WHERE integration_id = $16 AND generation = $17 AND claim_attempt = $18 AND revoked_at IS NULL
        RETURNING *
    ), i AS (
        UPDATE oauth_integrations AS own
        SET status = $23, status_reason = $24, who_must_act = $25, updated_at = now()
        FROM t WHERE own.id = t.integration_id
        RETURNING own.*
    ), audit AS (",
    insert_audit!(),
    " FROM t), event AS (",
    insert_event!("$15", "'status_changed'"),
    " FROM i JOIN t ON t.integration_id = i.id JOIN before ON before.status <> i.status)
    SELECT ",
    integration_columns!(),
    ", before.status <> i.status AS changed
    FROM i JOIN t ON t.integration_id = i.id CROSS JOIN before"
);

impl Storage {
    pub(super) async fn claim_refresh(&self, request: &ClaimRequest) -> StoreResult<ClaimOutcome> {
        let mut outcome = self.0.claims.ask(self, request.clone()).await?;
        for _ in 0..CLAIM_TRIES_MAX {
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            let Some(present) = self.load_integration(&request.id).await? else {
                return Ok(ClaimOutcome::Gone);
            };
            if let Some(outcome) = refusal(present, request) {
                return Ok(outcome);
            }
            outcome = refresh_batch::claim_alone(self, request).await?;
        }
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        // Claimed by others and given back, time after time: to the caller, that is held.
        Ok(match self.load_integration(&request.id).await? {
            Some(present) => ClaimOutcome::Held(Box::new(present)),
            None => ClaimOutcome::Gone,
        })
    }

    pub(super) async fn store_refresh(&self, commit: &RefreshCommit) -> StoreResult<Concluded> {
        if refresh_batch::is_usual(commit)
            && let Some(row) = self.0.commits.ask(self, commit.clone()).await?
        {
            return Ok(Concluded::Stored(Box::new(row)));
        }
        Ok(match self.write_refresh(&COMMIT, commit).await? {
            Some(row) => Concluded::Stored(Box::new(row)),
            None => Concluded::Fenced,
        })
    }

    pub(super) async fn store_late_refresh(&self, commit: &RefreshCommit) -> StoreResult<Replayed> {
        if let Some(row) = self.write_refresh(&REPLAY, commit).await? {
            self.announce(&commit.id).await;
            return Ok(Replayed::Stored(Box::new(row)));
        }
        let present = self.load_integration(&commit.id).await?;
        let waits = present
            .filter(|row| row.standing.status != Status::Revoked)
            .and_then(|row| row.grant)
            .is_some_and(|grant| grant.generation == commit.generation);
        // Nothing but a claim was in its way, even if that has ended by now.
        Ok(if waits { Replayed::Held } else { Replayed::Fenced })
    }

    pub(super) async fn give_claim_back(&self, claim: &ClaimReturn) -> StoreResult<Commit> {
        let stale = claim.stale.as_ref();
        let client = self.system().await?;
        let touched = client
            .execute(
                RETURN_CLAIM,
                &[
                    &claim.id.uuid,
                    &claim.attempt.0,
                    &stale.map(|stale| stale.attempt.0),
                    &stale.map(|stale| stale.node.0),
                    &stale.map(|stale| stale.since),
                    &stale.map(|stale| stale.unsettled_since),
                    &stale.map(|stale| stale.until),
                    &claim.planned_at,
                ],
            )
            .await?;
        Ok(done_if(touched == 1))
    }

    async fn write_refresh(
        &self,
        statement: &Statement,
        commit: &RefreshCommit,
    ) -> StoreResult<Option<StoredIntegration>> {
        let audit = AuditRow::of(&commit.audit);
        let client = self.system().await?;
        let reason = commit.standing.reason.as_ref().map(ReasonCode::as_str);
        let who_must_act = commit.standing.who_must_act.map(WhoMustAct::as_str);
        let refresh_token = commit.refresh_token.as_ref().map(|sealed| &sealed.0);
        let (scopes, failures) = (commit.scopes.to_strings(), count(commit.failures));
        let (event, warning, told) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let status = commit.standing.status.as_str();
        let mut params = audit.params_and(&[
            &event,
            &commit.id.uuid,
            &commit.generation,
            &commit.attempt.0,
            &commit.access_token.0,
            &refresh_token,
            &commit.token_type,
            &commit.issued_at,
            &commit.expires_at,
            &commit.refresh_token_expires_at,
            &commit.next_refresh_at,
            &failures,
            &scopes,
            &status,
            &reason,
            &who_must_act,
            &commit.refreshed,
        ]);
        let mut sql = statement.plain;
        if reason == Some(REFRESH_TOKEN_ENDING) {
            sql = statement.ending;
            params.extend([&warning as &(dyn ToSql + Sync), &told]);
        }
        let row = client.query_opt(sql, &params).await?;
        row.as_ref().map(row::integration).transpose()
    }

    pub(super) async fn store_failure(&self, commit: &FailureCommit) -> StoreResult<Concluded> {
        let audit = AuditRow::of(&commit.audit);
        let client = self.system().await?;
        let row = client
            .query_opt(
                COMMIT_FAILURE,
                &audit.params_and(&[
                    &Uuid::now_v7(),
                    &commit.id.uuid,
                    &commit.generation,
                    &commit.attempt.0,
                    &count(commit.failures),
                    &commit.next_refresh_at,
                    &commit.forget_tokens,
                    &commit.keep_claim,
                    &commit.standing.status.as_str(),
                    &commit.standing.reason.as_ref().map(ReasonCode::as_str),
                    &commit.standing.who_must_act.map(WhoMustAct::as_str),
                ]),
            )
            .await?;
        drop(client);
        let Some(row) = row else {
            return Ok(Concluded::Fenced);
        };
        if row.try_get("changed").unwrap_or(true) {
            self.announce(&commit.id).await;
        }
        Ok(Concluded::Stored(Box::new(row::integration(&row)?)))
    }
}

/// A row that was claimed.
pub(super) fn claimed(row: &Row) -> StoreResult<ClaimOutcome> {
    let mut integration = row::integration(row)?;
    // Whoever claims is told what was planned, and not that it is due because it is claimed.
    if let Some(grant) = &mut integration.grant {
        grant.next_refresh_at = row::planned_at(row)?;
    }
    Ok(ClaimOutcome::Claimed {
        integration: Box::new(integration),
        stale: row::stale_claim(row)?,
    })
}

/// Why a claim was refused; `None`: nothing is in its way any more.
fn refusal(present: StoredIntegration, request: &ClaimRequest) -> Option<ClaimOutcome> {
    let dead = matches!(present.standing.status, Status::Revoked | Status::ReauthRequired);
    let Some(grant) = present.grant.as_ref().filter(|_| !dead) else {
        return Some(ClaimOutcome::Gone);
    };
    if grant.generation != request.generation {
        return Some(ClaimOutcome::Moved(Box::new(present)));
    }
    let held = grant.claim.as_ref().is_some_and(|claim| !claim.stale);
    held.then(|| ClaimOutcome::Held(Box::new(present)))
}

/// A count as the database keeps it.
pub(super) fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn done_if(written: bool) -> Commit {
    if written { Commit::Done } else { Commit::Fenced }
}
