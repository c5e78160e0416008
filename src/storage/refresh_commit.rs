//! The statements that store refreshed tokens: of an attempt that holds its claim, and of one that comes late. Each exists
//! twice, because the one that also tells the user that the refresh token ends writes a second event.

use super::{audit::insert_audit, events::insert_event, row::integration_columns};

/// What a row of tokens is set to when new ones come: from these values, `$warned` being whether the user was told that the
/// refresh token ends.
macro_rules! new_tokens {
    (
        access_token: $access_token:literal, refresh_token: $refresh_token:literal, token_type: $token_type:literal,
        issued_at: $issued_at:literal, expires_at: $expires_at:literal, end: $end:literal, warned: $warned:expr,
        next_refresh_at: $next_refresh_at:expr, failures: $failures:literal
    ) => {
        concat!(
            "generation = generation + 1, access_token = ",
            $access_token,
            ", refresh_token = ",
            $refresh_token,
            ",
            token_type = ",
            $token_type,
            ", issued_at = ",
            $issued_at,
            ", expires_at = ",
            $expires_at,
            ",
            refresh_token_since = CASE WHEN ",
            $end,
            "::timestamptz > refresh_token_expires_at + interval '1 minute'
                OR refresh_token_expires_at IS NULL AND ",
            $end,
            " IS NOT NULL THEN ",
            $issued_at,
            "
                ELSE refresh_token_since END,
            refresh_token_expires_at = coalesce(",
            $end,
            ", refresh_token_expires_at),
            refresh_token_warned_at = ",
            $warned,
            ",
            next_refresh_at = ",
            $next_refresh_at,
            ", failures = ",
            $failures,
            ",
            dispatched_to = NULL, dispatched_until = NULL,
            claim_attempt = NULL, claim_node = NULL, claim_since = NULL, claim_unsettled_since = NULL,
            claim_until = NULL, updated_at = now()"
        )
    };
}
pub(super) use new_tokens;

/// Stores new tokens under the fences of generation and revocation, and this one of the claim; the row as it is then.
/// `$old`, `$in_doubt`: what the row was before, and whether another attempt may have presented the same refresh token;
/// `$warned`: whether the user was told that the refresh token ends; `$told`: what tells it.
macro_rules! store_refresh {
    ($old:expr, $in_doubt:expr, $claim:expr, $event:literal, $warned:expr, $told:expr) => {
        concat!(
            "WITH ",
            $old,
            "t AS (
        UPDATE oauth_tokens
        SET ",
            new_tokens!(
                access_token: "$19", refresh_token: "$20", token_type: "$21", issued_at: "$22", expires_at: "$23",
                end: "$24", warned: $warned,
                next_refresh_at: concat!("CASE WHEN ", $in_doubt, " THEN now() ELSE $25 END"), failures: "$26"
            ),
            "
        WHERE integration_id = $16 AND generation = $17 AND (", $claim, ")
            AND revoked_at IS NULL AND data_key IS NOT NULL
        RETURNING *
    ), i AS (
        UPDATE oauth_integrations AS own
        SET scopes = $27,
            status = CASE WHEN ",
            $in_doubt,
            " THEN 'degraded' ELSE $28 END,
            status_reason = CASE WHEN ",
            $in_doubt,
            " THEN 'answer_late' ELSE $29 END,
            who_must_act = CASE WHEN ",
            $in_doubt,
            " THEN 'nobody' ELSE $30 END,
            last_refreshed_at = CASE WHEN $31::boolean THEN now() ELSE last_refreshed_at END, updated_at = now()
        FROM t WHERE own.id = t.integration_id
        RETURNING own.*
    ), audit AS (",
            insert_audit!(),
            " FROM t), event AS (",
            insert_event!("$15", $event),
            " FROM i JOIN t ON t.integration_id = i.id)",
            $told,
            " SELECT ",
            integration_columns!(),
            " FROM i JOIN t ON t.integration_id = i.id"
        )
    };
}

/// The claim is the one that was taken for this attempt.
macro_rules! own_claim {
    () => {
        "claim_attempt = $18"
    };
}
/// Nobody else is at it: the claim is gone, has run out, or is this attempt's.
macro_rules! no_living_claim {
    () => {
        "claim_attempt = $18 OR claim_until IS NULL OR claim_until <= now()"
    };
}
/// Another attempt's claim, though it has run out: it may have presented the refresh token too.
macro_rules! old_claim {
    () => {
        "old AS (
        SELECT claim_attempt IS NOT NULL AND claim_attempt <> $18 AS in_doubt
        FROM oauth_tokens WHERE integration_id = $16 FOR UPDATE
    ), "
    };
}
macro_rules! in_doubt {
    () => {
        "(SELECT in_doubt FROM old)"
    };
}
macro_rules! not_warned {
    () => {
        "CASE WHEN $31 THEN NULL ELSE refresh_token_warned_at END"
    };
}
macro_rules! warned {
    () => {
        "coalesce(refresh_token_warned_at, now())"
    };
}
/// The user is told once, in the audit and in the outbox, until a refresh token comes that lives longer.
macro_rules! tell {
    () => {
        concat!(
            ", first AS (
        SELECT 1 FROM oauth_tokens WHERE integration_id = $16 AND refresh_token_warned_at IS NULL
    ), warning AS (
        INSERT INTO oauth_audit_log (id, actor, subject, action, outcome, provider, integration_id, scopes, error, count)
        SELECT $32::uuid, $2, $3, 'warn', 'success', $6, $7, $9, $29, 1 FROM t, first
    ), told AS (",
            insert_event!("$33", "'refresh_token_ending'"),
            " FROM i JOIN t ON t.integration_id = i.id, first)"
        )
    };
}

const COMMIT_REFRESH: &str = store_refresh!("", "false", own_claim!(), "'refreshed'", not_warned!(), "");
/// The same where the refresh token is about to end.
const COMMIT_ENDING: &str = store_refresh!("", "false", own_claim!(), "'refreshed'", warned!(), tell!());
/// The same from an attempt whose claim may be gone. An event of a change: whoever holds the row took the answer for lost.
const REPLAY_REFRESH: &str = store_refresh!(
    old_claim!(),
    in_doubt!(),
    no_living_claim!(),
    "'status_changed'",
    not_warned!(),
    ""
);
const REPLAY_ENDING: &str = store_refresh!(
    old_claim!(),
    in_doubt!(),
    no_living_claim!(),
    "'status_changed'",
    warned!(),
    tell!()
);

/// A statement, and the one that tells the user as well that the refresh token is about to end.
pub(super) struct Statement {
    pub(super) plain: &'static str,
    pub(super) ending: &'static str,
}

pub(super) const COMMIT: Statement = Statement {
    plain: COMMIT_REFRESH,
    ending: COMMIT_ENDING,
};
pub(super) const REPLAY: Statement = Statement {
    plain: REPLAY_REFRESH,
    ending: REPLAY_ENDING,
};
