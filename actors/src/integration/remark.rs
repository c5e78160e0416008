//! What is odd about an answer that could be used: one reason code, the weightiest, for the audit row of its refresh.
//!
//! Each has its rule elsewhere: scopes are stored as granted, a life nobody understands counts as unknown, a life shorter
//! than the margin is used up to its half, a refresh token that is not replaced is kept.

use crate::{
    domain::{
        integration::StoredIntegration,
        provider::{Provider, RefreshClass},
        reason::ReasonCode,
        token::TokenAnswer,
    },
    integration::schedule,
    shared::until,
};

/// The provider granted less than before (RFC 6749 6 allows it).
const SCOPES_NARROWED: &str = "scopes_narrowed";
/// A provider that rotates refresh tokens gave none: the present one is kept.
const REFRESH_TOKEN_KEPT: &str = "refresh_token_kept";
/// The token lives shorter than the margin before its end at which it would be refreshed.
const LIFE_SHORTER_THAN_MARGIN: &str = "life_shorter_than_margin";

/// What is odd about it.
pub(super) fn of(
    provider: &Provider,
    before: &StoredIntegration,
    answer: &TokenAnswer,
    sent_at: crate::domain::Timestamp,
) -> Option<ReasonCode> {
    let narrowed = answer
        .scopes
        .as_ref()
        .is_some_and(|granted| !before.scopes.is_subset(granted));
    if narrowed {
        return Some(ReasonCode::new(SCOPES_NARROWED));
    }
    if let Some(remark) = &answer.remark {
        return Some(remark.clone());
    }
    let life = answer.expires_at.map(|end| until(sent_at, end));
    if life.is_some_and(|life| schedule::is_shorter_than_margin(life, provider.refresh_margin)) {
        return Some(ReasonCode::new(LIFE_SHORTER_THAN_MARGIN));
    }
    let rotates = provider.refresh_class != RefreshClass::Safe;
    (rotates && answer.refresh_token.is_none()).then(|| ReasonCode::new(REFRESH_TOKEN_KEPT))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{
            scope::ScopeSet,
            secret::{AccessToken, RefreshToken},
        },
        ports::clock::Clock as _,
        shared::after,
        testing::{
            provider::provider,
            universe::{SINGLE_USE, Universe},
        },
    };

    #[tokio::test(start_paused = true)]
    async fn each_odd_answer_has_its_reason_code_and_a_plain_one_has_none() {
        let universe = Universe::new().await;
        let before = universe.store.row(&universe.connect("ada", SINGLE_USE).await);
        let now = universe.clock.now();
        let plain = TokenAnswer {
            access_token: AccessToken::new("new"),
            token_type: "Bearer".into(),
            expires_at: Some(after(now, Duration::from_secs(3600))),
            refresh_token: Some(RefreshToken::new("rotated")),
            refresh_token_expires_at: None,
            scopes: Some(before.scopes.clone()),
            remark: None,
        };
        let single_use = Provider {
            refresh_class: RefreshClass::SingleUse,
            ..provider(SINGLE_USE)
        };
        let remark =
            |answer: TokenAnswer| of(&single_use, &before, &answer, now).map(|code| code.as_str().to_owned());
        assert_eq!(remark(plain.clone()), None);
        for (answer, expected) in [
            (
                TokenAnswer {
                    scopes: Some(ScopeSet::from_iter(["openid"])),
                    ..plain.clone()
                },
                SCOPES_NARROWED,
            ),
            (
                TokenAnswer {
                    expires_at: Some(after(now, Duration::from_secs(100))),
                    ..plain.clone()
                },
                LIFE_SHORTER_THAN_MARGIN,
            ),
            (
                TokenAnswer {
                    refresh_token: None,
                    ..plain.clone()
                },
                REFRESH_TOKEN_KEPT,
            ),
            (
                TokenAnswer {
                    expires_at: None,
                    remark: Some(ReasonCode::new("expires_in_invalid")),
                    ..plain.clone()
                },
                "expires_in_invalid",
            ),
        ] {
            assert_eq!(remark(answer).as_deref(), Some(expected));
        }
        // Whoever does not rotate has nothing to explain.
        let kept = TokenAnswer {
            refresh_token: None,
            ..plain
        };
        assert_eq!(of(&provider("google"), &before, &kept, now), None);
        universe.end().await;
    }
}
