//! The only map from errors to HTTP: RFC 9457 `application/problem+json` with the codes of the contract.
//!
//! A body names the code, who must act and the request's id, and nothing of this service's inside. The bodies of
//! "missing" and "somebody else's" are equal but for the request id.

use http::{HeaderValue, Method, StatusCode, header};
use oauth_manager_actors::domain::{error::ServiceError, reason::WhoMustAct};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::reply::{Response, bytes};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// What the system answered.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// No route of this path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path exists, the method does not.
    #[error("this path does not answer this method")]
    MethodNotAllowed(&'static [Method]),
    /// More body than is taken.
    #[error("the body is larger than {max} bytes")]
    BodyTooLarge {
        /// How many are taken.
        max: usize,
    },
    /// A body that did not come in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// A longer address than is taken.
    #[error("the address is longer than {max} bytes")]
    UriTooLong {
        /// How many are taken.
        max: usize,
    },
}

/// The answer of a handler.
pub(crate) type Answer = Result<Response, Problem>;

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    who_must_act: WhoMustAct,
    request_id: &'a str,
    #[serde(flatten)]
    extras: Map<String, Value>,
}

impl Problem {
    /// A refused request, in one sentence.
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        ServiceError::invalid(detail).into()
    }

    /// A refused credential, in one sentence.
    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        ServiceError::Unauthenticated {
            detail: detail.into(),
        }
        .into()
    }

    /// A credential that does not reach this far.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        ServiceError::Forbidden {
            detail: detail.into(),
        }
        .into()
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Service(error) => error.code(),
            Self::NoSuchPath => "not_found",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::BodyTooLarge { .. } => "payload_too_large",
            Self::BodyTimeout => "request_timeout",
            Self::UriTooLong { .. } => "uri_too_long",
        }
    }

    /// Whose move it is.
    pub(crate) fn who_must_act(&self) -> WhoMustAct {
        match self {
            Self::Service(error) => error.who_must_act(),
            Self::NoSuchPath
            | Self::MethodNotAllowed(_)
            | Self::BodyTooLarge { .. }
            | Self::BodyTimeout
            | Self::UriTooLong { .. } => WhoMustAct::Developer,
        }
    }

    /// The status of the contract.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Service(error) => service_status(error),
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::UriTooLong { .. } => StatusCode::URI_TOO_LONG,
        }
    }

    /// As JSON for programs.
    pub(crate) fn into_response(self, request_id: &str) -> Response {
        let body = Body {
            r#type: format!("urn:oauth-manager:problem:{}", self.code()),
            title: title(self.status()),
            status: self.status().as_u16(),
            detail: self.to_string(),
            code: self.code(),
            who_must_act: self.who_must_act(),
            request_id,
            extras: self.extras(),
        };
        // Strings and numbers only: this cannot fail, and an empty body is still the right status if it did.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = bytes(self.status(), "application/problem+json", body);
        self.set_headers(&mut response);
        response
    }

    /// The headers that belong to the status, whatever the form of the body.
    pub(crate) fn set_headers(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Self::Service(error) = self {
            if let Some(wait) = error.retry_after() {
                // Rounded up: coming a moment early would only be refused again.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            }
            if matches!(error, ServiceError::Unauthenticated { .. }) {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
        }
        if let Self::MethodNotAllowed(allowed) = self {
            let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            if let Ok(value) = HeaderValue::from_str(&allowed) {
                headers.insert(header::ALLOW, value);
            }
        }
        if matches!(self, Self::BodyTimeout | Self::BodyTooLarge { .. }) {
            // What is left of the body is not worth reading.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    fn extras(&self) -> Map<String, Value> {
        let Self::Service(error) = self else {
            return Map::new();
        };
        let extras = match error {
            ServiceError::InvalidRequest { known, .. } | ServiceError::NotFound { known, .. }
                if !known.is_empty() =>
            {
                json!({ "known": known })
            }
            ServiceError::InsufficientScope {
                missing_scopes,
                provider,
                feature,
                integration_id,
            } => json!({
                "missing_scopes": missing_scopes,
                "reason": if missing_scopes.is_empty() { "feature_off" } else { "not_granted" },
                "upgrade": { "provider": provider, "feature": feature, "integration_id": integration_id },
            }),
            ServiceError::ConsentRequired {
                lapse,
                provider,
                feature,
                integration_id,
            } => json!({
                "missing_scopes": [],
                "reason": lapse.as_str(),
                "upgrade": { "provider": provider, "feature": feature, "integration_id": integration_id },
            }),
            ServiceError::ReauthRequired {
                reason,
                integration_id,
            }
            | ServiceError::AdminRequired {
                reason,
                integration_id,
            } => {
                json!({ "reason": reason, "integration_id": integration_id })
            }
            ServiceError::ProviderError { reason, .. }
            | ServiceError::ProviderUnavailable { reason, .. }
            | ServiceError::ProviderPaused { reason, .. } => json!({ "reason": reason }),
            ServiceError::InvalidRequest { .. }
            | ServiceError::NotFound { .. }
            | ServiceError::Unauthenticated { .. }
            | ServiceError::Forbidden { .. }
            | ServiceError::NotConnected
            | ServiceError::AccountMismatch
            | ServiceError::BindingMismatch
            | ServiceError::Expired { .. }
            | ServiceError::RateLimited { .. }
            | ServiceError::Overloaded { .. }
            | ServiceError::DeadlineExceeded
            | ServiceError::Internal => Value::Null,
        };
        match extras {
            Value::Object(extras) => extras,
            _ => Map::new(),
        }
    }
}

fn service_status(error: &ServiceError) -> StatusCode {
    match error {
        ServiceError::InvalidRequest { .. } => StatusCode::BAD_REQUEST,
        ServiceError::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        ServiceError::Forbidden { .. }
        | ServiceError::InsufficientScope { .. }
        | ServiceError::ConsentRequired { .. } => StatusCode::FORBIDDEN,
        ServiceError::NotFound { .. } | ServiceError::NotConnected => StatusCode::NOT_FOUND,
        ServiceError::ReauthRequired { .. }
        | ServiceError::AdminRequired { .. }
        | ServiceError::AccountMismatch
        | ServiceError::BindingMismatch => StatusCode::CONFLICT,
        ServiceError::Expired { .. } => StatusCode::GONE,
        ServiceError::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        ServiceError::ProviderError { .. } => StatusCode::BAD_GATEWAY,
        ServiceError::ProviderUnavailable { .. }
        | ServiceError::ProviderPaused { .. }
        | ServiceError::Overloaded { .. } => StatusCode::SERVICE_UNAVAILABLE,
        ServiceError::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ServiceError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
