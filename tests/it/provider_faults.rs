//! Whatever a provider answers to a refresh: a typed refusal, the account no worse than degraded, and well again by
//! itself once the provider is.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::{Value, json};

use crate::harness::{Api, Service, ServiceOptions, eventually};

/// Short, so that a provider that hangs costs a test little; the breaker looks again at once.
pub fn impatient() -> ServiceOptions {
    ServiceOptions {
        extra_toml: "[timings]\nprovider_deadline = \"1500ms\"\nrefresh_lease = \"4s\"\n".to_owned(),
        adjust: |settings| settings.breaker_interval = Duration::from_millis(40),
        ..ServiceOptions::default()
    }
}

/// What a refresh that meets the fault comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// To new tokens all the same.
    ToTokens,
    /// To a refusal; the provider had done nothing, or what it did can be done again.
    ToNothing,
}

use Comes::{ToNothing, ToTokens};

fn answer(status: u16, content_type: &str, body: &str) -> Fault {
    Fault::Answer {
        status,
        content_type: content_type.to_owned(),
        headers: Vec::new(),
        body: body.to_owned(),
    }
}

fn expires_in(value: Value) -> Fault {
    Fault::ExpiresIn { value }
}

fn set(field: &str, value: Value) -> Fault {
    Fault::Set {
        field: field.to_owned(),
        value,
    }
}

/// Faults in place of the provider's work.
fn without_work() -> Vec<(&'static str, Fault, Comes)> {
    let json = "application/json";
    vec![
        ("a proxy's page, 502", Fault::HtmlBody { status: 502 }, ToNothing),
        ("a proxy's page, 403", Fault::HtmlBody { status: 403 }, ToNothing),
        (
            "a page with status 200",
            Fault::HtmlBody { status: 200 },
            ToNothing,
        ),
        ("nothing, 200", Fault::EmptyBody { status: 200 }, ToNothing),
        ("nothing, 204", Fault::EmptyBody { status: 204 }, ToNothing),
        ("nothing, 400", Fault::EmptyBody { status: 400 }, ToNothing),
        ("nothing, 500", Fault::EmptyBody { status: 500 }, ToNothing),
        ("nonsense", Fault::NonsenseJson, ToNothing),
        ("null", answer(200, json, "null"), ToNothing),
        ("a list", answer(200, json, "[]"), ToNothing),
        ("an empty object", answer(200, json, "{}"), ToNothing),
        (
            "a number for a token",
            answer(200, json, r#"{"access_token": 7}"#),
            ToNothing,
        ),
        (
            "a token with a line break",
            answer(200, json, r#"{"access_token": "a\r\nb", "token_type": "Bearer"}"#),
            ToNothing,
        ),
        (
            "not even UTF-8",
            answer(200, "text/plain", "\u{fffd}\u{0}"),
            ToNothing,
        ),
        ("not found", answer(404, "text/plain", "no such page"), ToNothing),
        ("too much", Fault::HugeBody { mebibytes: 64 }, ToNothing),
        (
            "sent elsewhere",
            Fault::Redirect {
                to: "http://127.0.0.1:9/token".to_owned(),
            },
            ToNothing,
        ),
        (
            "too many requests",
            Fault::TooManyRequests { retry_after: None },
            ToNothing,
        ),
        (
            "too many requests, with a pause",
            Fault::TooManyRequests {
                retry_after: Some("1".to_owned()),
            },
            ToNothing,
        ),
        (
            "too many requests, with a pause nobody understands",
            Fault::TooManyRequests {
                retry_after: Some("soon".to_owned()),
            },
            ToNothing,
        ),
        (
            "a server error, 500",
            Fault::ServerError { status: 500 },
            ToNothing,
        ),
        (
            "a server error, 503",
            Fault::ServerError { status: 503 },
            ToNothing,
        ),
        ("a reset", Fault::Reset, ToNothing),
        ("silence", Fault::Hang, ToNothing),
        (
            "an error code nobody knows",
            Fault::PlainOauthError {
                code: "the_moon_is_full".to_owned(),
            },
            ToNothing,
        ),
        (
            "temporarily unavailable",
            Fault::PlainOauthError {
                code: "temporarily_unavailable".to_owned(),
            },
            ToNothing,
        ),
    ]
}

/// Faults in an answer that holds all that matters.
fn odd_successes() -> Vec<(&'static str, Fault, Comes)> {
    vec![
        ("no scope", Fault::OmitScope, ToTokens),
        ("no token type", Fault::MissingTokenType, ToTokens),
        ("a life in quotes", Fault::quoted_expires_in(), ToTokens),
        (
            "a life of 600 million years",
            expires_in(json!(u64::MAX)),
            ToTokens,
        ),
        ("no life at all", expires_in(json!(0)), ToTokens),
        ("a life that ended", expires_in(json!(-5)), ToTokens),
        ("a life with a fraction", expires_in(json!(3599.5)), ToTokens),
        (
            "a life nobody understands",
            expires_in(json!("an hour")),
            ToTokens,
        ),
        ("no life", expires_in(Value::Null), ToTokens),
        (
            "more than was asked for",
            set("surprise", json!({ "deep": [1, 2, 3] })),
            ToTokens,
        ),
    ]
}

/// Faults after the work, where the same refresh token may be presented again.
fn after_the_work() -> Vec<(&'static str, Fault, Comes)> {
    vec![
        ("a lost answer", Fault::LoseAnswer, ToNothing),
        ("silence after the work", Fault::HangAfterWork, ToNothing),
        ("half an answer", Fault::TruncateAfterRefreshToken, ToNothing),
        (
            "half an answer that looks whole",
            Fault::TruncateQuietly,
            ToNothing,
        ),
        (
            "a trickle",
            Fault::SlowDrip {
                per_byte: Duration::from_millis(400),
            },
            ToNothing,
        ),
        (
            "an answer behind a mountain of spaces",
            Fault::PaddedBody { mebibytes: 8 },
            ToNothing,
        ),
        ("no refresh token", Fault::OmitRefreshToken, ToTokens),
        ("a null refresh token", Fault::NullRefreshToken, ToTokens),
        (
            "no access token",
            Fault::Remove {
                field: "access_token".to_owned(),
            },
            ToNothing,
        ),
        (
            "a token of another kind",
            set("token_type", json!("mac")),
            ToNothing,
        ),
    ]
}

/// Answers in which a rotated refresh token can still be found.
fn salvageable() -> Vec<(&'static str, Fault, Comes)> {
    vec![
        ("half an answer", Fault::TruncateAfterRefreshToken, ToNothing),
        (
            "half an answer that looks whole",
            Fault::TruncateQuietly,
            ToNothing,
        ),
        (
            "no access token",
            Fault::Remove {
                field: "access_token".to_owned(),
            },
            ToNothing,
        ),
        ("a null access token", set("access_token", Value::Null), ToNothing),
        (
            "a token of another kind",
            set("token_type", json!("mac")),
            ToNothing,
        ),
    ]
}

struct Bench {
    service: Service,
    provider: Provider,
    key: &'static str,
    id: String,
    user: Api,
    consumer: Api,
}

impl Bench {
    async fn new(service: Service, provider: Provider, key: &'static str) -> Self {
        let consumer = service.service(&["*:*"]).await;
        let integration = service.connect("ada", key).await;
        Self {
            id: integration["id"].as_str().unwrap().to_owned(),
            user: service.user("ada"),
            service,
            provider,
            key,
            consumer,
        }
    }

    async fn refresh(&self) -> crate::harness::Answer {
        self.user
            .post(&format!("/integrations/{}/refresh", self.id), json!({}))
            .await
    }

    async fn view(&self) -> Value {
        self.user
            .get(&format!("/integrations/{}", self.id))
            .await
            .expect_status(200)
    }

    async fn token(&self) -> String {
        let token = self
            .consumer
            .get(&format!("/integrations/{}/token", self.id))
            .await
            .expect_status(200);
        token["access_token"].as_str().unwrap().to_owned()
    }

    /// A single-use refresh token whose fate nobody knows is presented again only when the claim has run out and the access
    /// token is about to end: that moment is made now.
    async fn hasten(&self) {
        let about_to_end = "UPDATE oauth_tokens SET claim_until = now() - interval '1 second', \
                            expires_at = least(expires_at, now() + interval '40 seconds') WHERE claim_attempt IS NOT NULL";
        self.service.sql().await.execute(about_to_end, &[]).await.unwrap();
    }

    async fn meets(&self, name: &str, fault: Fault, comes: Comes) {
        let case = format!("{}: {name}", self.key);
        let before = self.token().await;
        self.service
            .simulator
            .inject(self.provider, Endpoint::Refresh, fault, 1);
        let answer = self.refresh().await;
        assert_eq!(self.service.simulator.pending_faults(), 0, "{case}: met nothing");
        match comes {
            ToTokens => {
                assert_eq!(answer.status, 200, "{case}: {:#}", answer.body);
            }
            ToNothing => {
                let code = answer.body["code"].as_str().unwrap_or_default();
                let typed = [
                    (502, "provider_error"),
                    (503, "provider_unavailable"),
                    (503, "provider_paused"),
                ];
                assert!(
                    typed.contains(&(answer.status, code)),
                    "{case}: {:#}",
                    answer.body
                );
                assert_eq!(
                    answer.headers["content-type"], "application/problem+json",
                    "{case}"
                );
                let view = self.view().await;
                assert!(
                    matches!(view["status"].as_str(), Some("active" | "degraded")),
                    "{case}: {view:#}"
                );
                // The working token goes on working; it may have been replaced by a retry meanwhile.
                let served = self.token().await;
                let status = view["status"].as_str().unwrap().to_owned();
                assert!(
                    served == before || self.service.simulator.access_token_is_live(&served),
                    "{case}, {status}"
                );
            }
        }
        self.service.simulator.clear_faults();
        eventually(&format!("well again after {case}"), || async {
            self.hasten().await;
            (self.refresh().await.status == 200).then_some(())
        })
        .await;
        let view = self.view().await;
        assert_eq!(view["status"], "active", "{case}: {view:#}");
        let after = self.token().await;
        assert_ne!(after, before, "{case}");
        assert!(self.service.simulator.access_token_is_live(&after), "{case}");
    }

    async fn meets_all(self, cases: impl IntoIterator<Item = (&'static str, Fault, Comes)>) {
        for (name, fault, comes) in cases {
            self.meets(name, fault, comes).await;
        }
        // Nothing of all this made us do what a provider refuses.
        let refusals = self.service.simulator.refusals();
        assert!(refusals.is_empty(), "{refusals:#?}");
        self.service.stop().await;
    }
}

async fn built_in(provider: Provider) -> Bench {
    let service = Service::start_with(impatient()).await;
    Bench::new(service, provider, provider.key()).await
}

async fn acme() -> Bench {
    let mut options = impatient();
    let simulator = crate::harness::start_simulator(&options).await;
    options
        .extra_toml
        .push_str(&crate::foreign_provider::openid(&simulator));
    Bench::new(
        Service::start_before(simulator, options).await,
        Provider::Oidc,
        "acme",
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn google_may_answer_a_refresh_with_anything() {
    let cases = without_work()
        .into_iter()
        .chain(odd_successes())
        .chain(after_the_work());
    built_in(Provider::Google).await.meets_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn youtube_may_answer_a_refresh_with_anything() {
    let cases = without_work()
        .into_iter()
        .chain(odd_successes())
        .chain(after_the_work());
    built_in(Provider::YouTube).await.meets_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn microsoft_may_answer_a_refresh_with_anything() {
    let cases = without_work()
        .into_iter()
        .chain(odd_successes())
        .chain(after_the_work());
    built_in(Provider::Microsoft).await.meets_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notion_may_answer_a_refresh_with_anything_that_leaves_a_refresh_token() {
    let cases = without_work()
        .into_iter()
        .chain(odd_successes())
        .chain(salvageable());
    built_in(Provider::Notion).await.meets_all(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_use_provider_may_answer_a_refresh_with_anything_that_leaves_a_refresh_token() {
    let cases = without_work()
        .into_iter()
        .chain(odd_successes())
        .chain(salvageable());
    acme().await.meets_all(cases).await;
}
