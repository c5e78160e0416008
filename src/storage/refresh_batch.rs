//! Claims and commits of many refreshes in one statement each: the usual case of what `refresh` does for one.
//!
//! The fences are the same and hold row by row. Tokens that somebody else locks are passed over and not waited for, so that
//! nobody can deadlock with a batch, and whoever was passed over asks alone. The accounts' own rows are locked after them,
//! as everywhere; who waits for one of those is gone past by the next batch.

use std::sync::LazyLock;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        Timestamp,
        integration::StoredIntegration,
        reason::{REFRESH_TOKEN_ENDING, ReasonCode, WhoMustAct},
    },
    ports::store::{ClaimOutcome, ClaimRequest, RefreshCommit, StoreResult},
};

use super::{
    Storage,
    arrays::{Slices, rows_of},
    audit::{AUDIT_ARRAYS, AuditColumns, AuditRow, audit_columns},
    combiner::{Answers, Batch, by_row},
    refresh::{self, count},
    refresh_commit::new_tokens,
    row::{self, integration_columns},
};

/// Claims, passing over what is locked.
static CLAIMS: LazyLock<String> = LazyLock::new(|| claims("SKIP LOCKED"));
/// The same, waiting for what is locked.
static CLAIMS_PATIENT: LazyLock<String> = LazyLock::new(|| claims(""));

fn claims(where_locked: &str) -> String {
    let rows = rows_of(
        1,
        &[
            ("integration_id", "uuid"),
            ("provider", "text"),
            ("generation", "bigint"),
            ("attempt", "uuid"),
            ("node", "uuid"),
            ("lease", "double precision"),
        ],
    );
    format!("WITH w AS ({rows}), old AS ({CLAIMABLE} {where_locked}), {TAKE}")
}

const CLAIMABLE: &str = "\
SELECT t.integration_id, t.claim_attempt, t.claim_node, t.claim_since, t.claim_until, t.next_refresh_at,
    coalesce(t.claim_unsettled_since, t.claim_since) AS unsettled_since, w.attempt, w.node, w.lease
FROM w JOIN oauth_tokens t ON t.integration_id = w.integration_id
    JOIN oauth_integrations i ON i.id = w.integration_id
WHERE i.provider = w.provider AND t.generation = w.generation
    AND (t.claim_until IS NULL OR t.claim_until <= now())
    AND t.revoked_at IS NULL AND t.access_token IS NOT NULL
    AND i.status NOT IN ('revoked', 'reauth_required')
FOR UPDATE OF t";
/// What is claimed is due, and nobody's by dispatch: should the attempt vanish, somebody finds out as soon as its claim has
/// run out, whatever was planned before and whoever was given it.
const TAKE: &str = concat!(
    "t AS (
        UPDATE oauth_tokens AS new
        SET claim_attempt = old.attempt, claim_node = old.node, claim_since = now(),
            claim_unsettled_since = CASE WHEN old.claim_attempt IS NULL THEN now() ELSE old.unsettled_since END,
            claim_until = now() + old.lease * interval '1 second',
            next_refresh_at = least(new.next_refresh_at, now()), dispatched_to = NULL, dispatched_until = NULL
        FROM old WHERE new.integration_id = old.integration_id
        RETURNING new.*, old.claim_attempt AS stale_attempt, old.claim_node AS stale_node,
            old.claim_since AS stale_since, old.unsettled_since AS stale_unsettled_since,
            old.claim_until AS stale_until, old.next_refresh_at AS planned_at
    )
    SELECT ",
    integration_columns!(),
    ", t.stale_attempt, t.stale_node, t.stale_since, t.stale_unsettled_since, t.stale_until, true AS stale_stale,
        t.planned_at
    FROM t JOIN oauth_integrations i ON i.id = t.integration_id"
);

/// New tokens under the fences of generation, claim and revocation, with audit and outbox, as `refresh::COMMIT_REFRESH`
/// stores those of one account. The first two parameters are the scopes of all audit rows, and of all accounts.
static COMMITS: LazyLock<String> = LazyLock::new(|| {
    let rows = rows_of(3, &[AUDIT_ARRAYS.as_slice(), COMMIT_ARRAYS.as_slice()].concat());
    format!("WITH w AS ({rows}){COMMIT_ROWS}")
});
/// The columns of [`Columns`] beside the audit's, named apart from those of the tables, and their types.
const COMMIT_ARRAYS: [(&str, &str); 18] = [
    ("scopes_from", "int"),
    ("scopes_to", "int"),
    ("event_id", "uuid"),
    ("id", "uuid"),
    ("old_generation", "bigint"),
    ("attempt", "uuid"),
    ("new_access_token", "bytea"),
    ("new_refresh_token", "bytea"),
    ("new_token_type", "text"),
    ("new_issued_at", "timestamptz"),
    ("new_expires_at", "timestamptz"),
    ("new_end", "timestamptz"),
    ("new_next_refresh_at", "timestamptz"),
    ("new_failures", "int"),
    ("status", "text"),
    ("reason", "text"),
    ("new_who_must_act", "text"),
    ("refreshed", "boolean"),
];
const COMMIT_ROWS: &str = concat!(
    ", held AS (
        SELECT w.* FROM w JOIN oauth_tokens t ON t.integration_id = w.id
        WHERE t.generation = w.old_generation AND t.claim_attempt = w.attempt
            AND t.revoked_at IS NULL AND t.data_key IS NOT NULL
        FOR UPDATE OF t SKIP LOCKED
    ), t AS (
        UPDATE oauth_tokens AS own
        SET ",
    new_tokens!(
        access_token: "new_access_token", refresh_token: "new_refresh_token", token_type: "new_token_type",
        issued_at: "new_issued_at", expires_at: "new_expires_at", end: "new_end",
        warned: "CASE WHEN refreshed THEN NULL ELSE refresh_token_warned_at END",
        next_refresh_at: "new_next_refresh_at", failures: "new_failures"
    ),
    "
        FROM held
        WHERE own.integration_id = held.id AND own.generation = held.old_generation
            AND own.claim_attempt = held.attempt
        RETURNING own.*, held.*
    ), i AS (
        UPDATE oauth_integrations AS i
        SET scopes = ($2::text[])[t.scopes_from:t.scopes_to], status = t.status, status_reason = t.reason,
            who_must_act = t.new_who_must_act,
            last_refreshed_at = CASE WHEN t.refreshed THEN now() ELSE i.last_refreshed_at END, updated_at = now()
        FROM t WHERE i.id = t.integration_id
        RETURNING ",
    integration_columns!(),
    "
    ), audit AS (
        INSERT INTO oauth_audit_log (",
    audit_columns!(),
    ")
        SELECT audit_id, actor, audit_subject, action, outcome, audit_provider, audit_integration, authorization_id,
            ($1::text[])[audit_scopes_from:audit_scopes_to], error, audit_count, request_id, ip, user_agent FROM t
    ), event AS (
        INSERT INTO oauth_events (id, kind, subject, provider, integration_id, generation, status, status_reason)
        SELECT event_id, 'refreshed', subject, provider, integration_id, generation, status, reason FROM t
    )
    SELECT * FROM i"
);

/// Claims.
pub(super) struct Claims;

impl Batch for Claims {
    type Question = ClaimRequest;
    type Answer = ClaimOutcome;
    const NAME: &'static str = "integrations.claim_batch";

    fn written(request: &ClaimRequest) -> Option<Uuid> {
        Some(request.id.uuid)
    }

    async fn run(storage: &Storage, requests: &[ClaimRequest]) -> StoreResult<Answers<Self>> {
        claim(storage, &CLAIMS, requests).await
    }
}

/// Claims one, waiting for whoever locks it; `None`: it is not to be had.
pub(super) async fn claim_alone(
    storage: &Storage,
    request: &ClaimRequest,
) -> StoreResult<Option<ClaimOutcome>> {
    let claimed = claim(storage, &CLAIMS_PATIENT, std::slice::from_ref(request)).await?;
    claimed.into_iter().flatten().next().transpose()
}

async fn claim(storage: &Storage, sql: &str, requests: &[ClaimRequest]) -> StoreResult<Answers<Claims>> {
    let column = |value: fn(&ClaimRequest) -> Uuid| requests.iter().map(value).collect::<Vec<_>>();
    let ids = column(|wish| wish.id.uuid);
    let (attempts, nodes) = (column(|wish| wish.attempt.0), column(|wish| wish.node.0));
    let providers: Vec<_> = requests.iter().map(|wish| wish.id.provider.as_str()).collect();
    let generations: Vec<_> = requests.iter().map(|wish| wish.generation).collect();
    let leases: Vec<_> = requests.iter().map(|wish| wish.lease.as_secs_f64()).collect();
    let params: [&(dyn ToSql + Sync); 6] = [&ids, &providers, &generations, &attempts, &nodes, &leases];
    let client = storage.system().await?;
    let rows = client.query(sql, &params).await?;
    drop(client);
    let mut claimed = by_row(&rows, refresh::claimed);
    Ok(ids.iter().map(|id| claimed.remove(id)).collect())
}

/// Commits of new tokens.
pub(super) struct Commits;

/// Whether a commit is a usual one. Where the user must be told that the refresh token ends, there is more to write.
pub(super) fn is_usual(commit: &RefreshCommit) -> bool {
    commit.standing.reason.as_ref().map(ReasonCode::as_str) != Some(REFRESH_TOKEN_ENDING)
}

/// What is written, column by column.
#[derive(Default)]
struct Columns<'a> {
    audit: AuditColumns<'a>,
    scopes: Slices,
    event: Vec<Uuid>,
    id: Vec<Uuid>,
    generation: Vec<i64>,
    attempt: Vec<Uuid>,
    access_token: Vec<&'a [u8]>,
    refresh_token: Vec<Option<&'a [u8]>>,
    token_type: Vec<&'a str>,
    issued_at: Vec<Timestamp>,
    expires_at: Vec<Option<Timestamp>>,
    refresh_token_expires_at: Vec<Option<Timestamp>>,
    next_refresh_at: Vec<Option<Timestamp>>,
    failures: Vec<i32>,
    status: Vec<&'static str>,
    reason: Vec<Option<&'a str>>,
    who_must_act: Vec<Option<&'static str>>,
    refreshed: Vec<bool>,
}

impl<'a> Columns<'a> {
    fn of(commits: &'a [RefreshCommit]) -> Self {
        let mut columns = Self::default();
        for commit in commits {
            columns.push(commit);
        }
        columns
    }

    fn push(&mut self, commit: &'a RefreshCommit) {
        self.audit.push(AuditRow::of(&commit.audit));
        self.scopes.push(commit.scopes.to_strings());
        self.event.push(Uuid::now_v7());
        self.id.push(commit.id.uuid);
        self.generation.push(commit.generation);
        self.attempt.push(commit.attempt.0);
        self.access_token.push(&commit.access_token.0);
        let refresh_token = commit.refresh_token.as_ref();
        self.refresh_token.push(refresh_token.map(|sealed| &*sealed.0));
        self.token_type.push(&commit.token_type);
        self.issued_at.push(commit.issued_at);
        self.expires_at.push(commit.expires_at);
        self.refresh_token_expires_at
            .push(commit.refresh_token_expires_at);
        self.next_refresh_at.push(commit.next_refresh_at);
        self.failures.push(count(commit.failures));
        self.status.push(commit.standing.status.as_str());
        self.reason
            .push(commit.standing.reason.as_ref().map(ReasonCode::as_str));
        self.who_must_act
            .push(commit.standing.who_must_act.map(WhoMustAct::as_str));
        self.refreshed.push(commit.refreshed);
    }
}

impl Batch for Commits {
    type Question = RefreshCommit;
    type Answer = StoredIntegration;
    const NAME: &'static str = "integrations.commit_refresh_batch";

    fn written(commit: &RefreshCommit) -> Option<Uuid> {
        Some(commit.id.uuid)
    }

    async fn run(storage: &Storage, commits: &[RefreshCommit]) -> StoreResult<Answers<Self>> {
        let columns = Columns::of(commits);
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![columns.audit.scopes(), &columns.scopes.all];
        params.extend(columns.audit.params());
        let own: [&(dyn ToSql + Sync); COMMIT_ARRAYS.len()] = [
            &columns.scopes.from,
            &columns.scopes.to,
            &columns.event,
            &columns.id,
            &columns.generation,
            &columns.attempt,
            &columns.access_token,
            &columns.refresh_token,
            &columns.token_type,
            &columns.issued_at,
            &columns.expires_at,
            &columns.refresh_token_expires_at,
            &columns.next_refresh_at,
            &columns.failures,
            &columns.status,
            &columns.reason,
            &columns.who_must_act,
            &columns.refreshed,
        ];
        params.extend(own);
        let client = storage.system().await?;
        let rows = client.query(&COMMITS, &params).await?;
        drop(client);
        let mut stored = by_row(&rows, row::integration);
        Ok(columns.id.iter().map(|id| stored.remove(id)).collect())
    }
}
