//! The map from errors to HTTP, row by row.

use std::time::Duration;

use http_body_util::BodyExt;
use oauth_manager_actors::domain::{ids::IntegrationId, reason::ReasonCode, scope::ScopeSet};

use super::*;

async fn json_of(problem: Problem) -> (StatusCode, http::HeaderMap, Value) {
    let response = problem.into_response("req-1");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (
        parts.status,
        parts.headers,
        serde_json::from_slice(&bytes).unwrap(),
    )
}

fn integration() -> IntegrationId {
    "google_00000000000000000000000000000abc".parse().unwrap()
}

#[tokio::test]
async fn every_error_has_its_status_code_and_who_must_act() {
    let wait = Duration::from_millis(1500);
    let reason = ReasonCode::new("invalid_grant");
    let rows: Vec<(ServiceError, u16, &str, &str)> = vec![
        (ServiceError::invalid("x"), 400, "invalid_request", "developer"),
        (
            ServiceError::Unauthenticated { detail: "x".into() },
            401,
            "unauthenticated",
            "developer",
        ),
        (
            ServiceError::Forbidden { detail: "x".into() },
            403,
            "forbidden",
            "developer",
        ),
        (
            ServiceError::InsufficientScope {
                missing_scopes: ScopeSet::from_iter(["a"]),
                provider: "google".parse().unwrap(),
                feature: Some("google.calendar".parse().unwrap()),
                integration_id: integration(),
            },
            403,
            "insufficient_scope",
            "user",
        ),
        (
            ServiceError::not_found("integration"),
            404,
            "not_found",
            "developer",
        ),
        (ServiceError::NotConnected, 404, "not_connected", "user"),
        (
            ServiceError::ReauthRequired {
                reason: reason.clone(),
                integration_id: integration(),
            },
            409,
            "reauth_required",
            "user",
        ),
        (
            ServiceError::AdminRequired {
                reason: reason.clone(),
                integration_id: integration(),
            },
            409,
            "admin_required",
            "admin",
        ),
        (ServiceError::AccountMismatch, 409, "account_mismatch", "user"),
        (ServiceError::BindingMismatch, 409, "binding_mismatch", "user"),
        (ServiceError::Expired { what: "link" }, 410, "expired", "user"),
        (
            ServiceError::RateLimited { retry_after: wait },
            429,
            "rate_limited",
            "nobody",
        ),
        (
            ServiceError::ProviderError {
                reason: reason.clone(),
                who_must_act: WhoMustAct::Operator,
            },
            502,
            "provider_error",
            "operator",
        ),
        (
            ServiceError::ProviderUnavailable {
                reason: reason.clone(),
                retry_after: wait,
            },
            503,
            "provider_unavailable",
            "nobody",
        ),
        (
            ServiceError::ProviderPaused {
                reason,
                retry_after: wait,
            },
            503,
            "provider_paused",
            "operator",
        ),
        (
            ServiceError::Overloaded {
                detail: "x",
                retry_after: wait,
            },
            503,
            "overloaded",
            "nobody",
        ),
        (ServiceError::DeadlineExceeded, 504, "deadline_exceeded", "nobody"),
        (ServiceError::Internal, 500, "internal", "operator"),
    ];
    for (error, status, code, who) in rows {
        let waits = error.retry_after().is_some();
        let (got, headers, body) = json_of(error.into()).await;
        assert_eq!(got.as_u16(), status, "{code}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["code"], code);
        assert_eq!(body["who_must_act"], who, "{code}");
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"], "req-1");
        assert_eq!(body["type"], format!("urn:oauth-manager:problem:{code}"));
        assert!(body["title"].is_string() && body["detail"].is_string());
        let retry = headers
            .get(header::RETRY_AFTER)
            .map(|value| value.to_str().unwrap());
        assert_eq!(retry, waits.then_some("2"), "{code}");
        assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
    }
}

#[tokio::test]
async fn extras_are_named_as_the_contract_says() {
    let (_, _, body) = json_of(
        ServiceError::InsufficientScope {
            missing_scopes: ScopeSet::from_iter(["a", "b"]),
            provider: "google".parse().unwrap(),
            feature: None,
            integration_id: integration(),
        }
        .into(),
    )
    .await;
    assert_eq!(body["missing_scopes"], json!(["a", "b"]));
    assert_eq!(
        body["upgrade"],
        json!({"provider": "google", "feature": null, "integration_id": integration().to_string()})
    );

    let unknown = ServiceError::InvalidRequest {
        detail: "x".into(),
        known: vec!["google".into()],
    };
    let (_, _, body) = json_of(unknown.into()).await;
    assert_eq!(body["known"], json!(["google"]));

    let (_, _, body) = json_of(ServiceError::not_found("integration").into()).await;
    assert!(body.get("known").is_none());
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    const ALLOWED: &[Method] = &[Method::GET, Method::HEAD];
    let (status, headers, body) = json_of(Problem::MethodNotAllowed(ALLOWED)).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(headers[header::ALLOW], "GET, HEAD");
    assert_eq!(body["code"], "method_not_allowed");
}
