//! What a provider says of itself, fetched and checked before anything is asked about an account; and what is the matter
//! where that does not succeed.

use http::header;
use oauth_manager_actors::{
    domain::ids::ProviderKey, domain::provider_problem::ProviderProblem, ports::oauth::FailureKind,
};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{
    classify::{self, Step, Verdict},
    declaration::Object,
    engine::Engine,
    json,
    problems::{Part, Trouble},
    registration::Registration,
    transport::{ADDRESS_REFUSED, Answer, CERTIFICATE_REFUSED, NoAnswer},
};

/// The document's members that are endpoints.
const ENDPOINTS: [&str; 5] = [
    "authorization_endpoint",
    "token_endpoint",
    "revocation_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
];

impl Engine {
    /// A document of the provider about itself, as an object.
    pub(super) async fn metadata(
        &self,
        registration: &Registration,
        of: &'static str,
        url: &Url,
        deadline: Instant,
    ) -> Result<Object, Trouble> {
        let answer = self.document(registration, of, url, deadline).await?;
        json::object(&answer.body).ok_or_else(|| {
            Trouble::operators(format!("{of}_unreadable"))
                .found("no JSON object")
                .expected(format!("a document at {url}"))
        })
    }

    /// A document of the provider about itself, whole. `of`: what its troubles are named after.
    pub(super) async fn document(
        &self,
        registration: &Registration,
        of: &'static str,
        url: &Url,
        deadline: Instant,
    ) -> Result<Answer, Trouble> {
        let named = |what: &str| format!("{of}_{what}");
        let expected = || format!("a document at {url}");
        let unreachable = |verdict: Verdict, found: String| {
            Trouble::new(Verdict {
                kind: FailureKind::Passing,
                reason: named("unreachable"),
                ..verdict
            })
            .found(found)
            .expected(expected())
        };
        let answer = match self.get(registration, url.clone(), None, deadline).await {
            Ok(answer) => answer,
            Err(verdict) if [ADDRESS_REFUSED, CERTIFICATE_REFUSED].contains(&verdict.reason.as_str()) => {
                return Err(Trouble::operators(named(&verdict.reason))
                    .found(url)
                    .expected(must_be(&verdict.reason)));
            }
            Err(verdict) => {
                let found = verdict.reason.clone();
                return Err(unreachable(verdict, found));
            }
        };
        let status = answer.status;
        if status.is_redirection() {
            let location = answer
                .headers
                .get(header::LOCATION)
                .and_then(|value| value.to_str().ok());
            let target = location.and_then(|location| url.join(location).ok());
            let found = target.map_or_else(
                || format!("HTTP {}", status.as_u16()),
                |to| format!("redirected to {}", plain(to)),
            );
            return Err(Trouble::operators(named("redirected"))
                .found(found)
                .expected(expected()));
        }
        if matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error() {
            let verdict = classify::answer(
                registration.dialect.as_ref(),
                Step::Repeatable,
                &answer,
                self.clock.now(),
            );
            return Err(unreachable(verdict, format!("HTTP {}", status.as_u16())));
        }
        if !status.is_success() {
            let found = format!("HTTP {}", status.as_u16());
            return Err(Trouble::operators(named("refused"))
                .found(found)
                .expected(expected()));
        }
        if let Some(cut) = answer.cut {
            return Err(unreachable(
                Verdict::new(FailureKind::Passing, cut.reason()),
                cut.reason().to_owned(),
            ));
        }
        Ok(answer)
    }

    /// Takes note of how a part of the provider was found, and passes it on.
    pub(super) fn found<T>(
        &self,
        registration: &Registration,
        part: Part,
        result: Result<T, Trouble>,
    ) -> Result<T, Verdict> {
        let provider = &registration.provider.key;
        match result {
            Ok(value) => {
                self.problems.fine(provider, part);
                Ok(value)
            }
            Err(trouble) => {
                self.problems.met(provider, part, &trouble, self.clock.now());
                Err(trouble.verdict)
            }
        }
    }

    /// What it means that a request to the token endpoint was not answered. An address that we may not call, or whose
    /// certificate does not hold, is the operator's matter, and the same for every account.
    pub(super) fn unanswered(&self, registration: &Registration, step: Step, failure: NoAnswer) -> Verdict {
        match failure {
            NoAnswer::NeverLeft(reason @ (ADDRESS_REFUSED | CERTIFICATE_REFUSED)) => {
                let trouble =
                    Trouble::operators(format!("token_endpoint_{reason}")).expected(must_be(reason));
                self.problems.met(
                    &registration.provider.key,
                    Part::TokenEndpoint,
                    &trouble,
                    self.clock.now(),
                );
                trouble.verdict
            }
            other => classify::no_answer(step, other),
        }
    }

    /// Fetches and checks what every use of this provider needs. `Ok(None)`: it is not configured.
    ///
    /// # Errors
    /// What is the matter with it.
    pub async fn try_out(&self, key: &ProviderKey) -> Result<Option<&'static str>, ProviderProblem> {
        let Ok(registration) = self.registration(key) else {
            return Ok(None);
        };
        let deadline = self.deadline();
        let problem = |verdict: Verdict| {
            self.problems
                .of(key)
                .unwrap_or_else(|| Trouble::new(verdict).since(self.clock.now()))
        };
        let said = |reason: &str| problem(Verdict::new(FailureKind::Operator, reason));
        let endpoints = self
            .endpoints(registration, &Value::Null, deadline)
            .await
            .map_err(|failure| said(failure.reason.as_str()))?;
        let has_id_token = registration.dialect.facts().identity.has_id_token();
        if let Some(jwks) = endpoints.jwks.as_ref().filter(|_| has_id_token) {
            self.keys(registration, jwks, deadline).await.map_err(problem)?;
        }
        Ok(Some(match (&registration.discovery, has_id_token) {
            (Some(_), true) => "discovery and keys ok",
            (Some(_), false) => "discovery ok",
            (None, true) => "keys ok",
            (None, false) => "nothing to fetch",
        }))
    }
}

/// What is the matter with a document that was read: what it says, and what it should.
pub(super) fn unfit(document: &Object, issuer: &str, reason: &'static str) -> Trouble {
    let trouble = Trouble::operators(reason.to_owned());
    let said = |key: &str| document.get(key).and_then(Value::as_str);
    let elsewhere = |text: &str| {
        let host = |text: &str| {
            Url::parse(text)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned))
        };
        host(text) != host(issuer)
    };
    let of_endpoint = |is_odd: &dyn Fn(&str) -> bool| {
        let mut odd = ENDPOINTS
            .iter()
            .filter_map(|key| said(key).map(|text| (key, text)));
        let (key, text) = odd.find(|(_, text)| is_odd(text))?;
        let text = Url::parse(text).map_or_else(|_| text.to_owned(), plain);
        Some(format!("{key} {text}"))
    };
    match reason {
        "discovery_issuer_mismatch" => trouble
            .found(said("issuer").unwrap_or("no issuer"))
            .expected(issuer),
        "discovery_endpoint_elsewhere" => {
            let found = of_endpoint(&elsewhere).unwrap_or_default();
            trouble.found(found).expected(format!(
                "endpoints on the host of {issuer}; one that is rightly elsewhere is configured"
            ))
        }
        "discovery_endpoint_unusable" => {
            let is_unusable = |text: &str| !text.starts_with("https://") || Url::parse(text).is_err();
            let found = of_endpoint(&is_unusable).or_else(|| of_endpoint(&elsewhere));
            trouble
                .found(found.unwrap_or_default())
                .expected(must_be(ADDRESS_REFUSED))
        }
        _ => trouble.expected(issuer),
    }
}

fn must_be(reason: &str) -> &'static str {
    if reason == CERTIFICATE_REFUSED {
        "a certificate that this machine's authorities vouch for, of this name and not expired"
    } else {
        "https, and an address that providers may have: none on this machine or in a private network, unless configured"
    }
}

/// An address without what may be secret in it.
fn plain(mut url: Url) -> String {
    url.set_query(None);
    url.set_fragment(None);
    // Only an address that can have none refuses this.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}
