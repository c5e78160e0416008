//! Whatever a provider answers to a refresh: a typed refusal, the account no worse than degraded, and well again by
//! itself once the provider is.

mod cases;

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::{Value, json};

use crate::harness::{Api, Service, ServiceOptions, eventually};

use self::cases::{Comes, after_the_work, odd_successes, salvageable, without_work};

/// Short, so that a provider that hangs costs a test little; the breaker looks again at once.
pub fn impatient() -> ServiceOptions {
    ServiceOptions {
        extra_toml: "[timings]\nprovider_deadline = \"1500ms\"\nrefresh_lease = \"4s\"\n".to_owned(),
        adjust: |settings| settings.breaker_interval = Duration::from_millis(40),
        ..ServiceOptions::default()
    }
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
        let about_to_end = "UPDATE oauth_tokens SET claim_until = now() - interval '1 minute', \
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
            Comes::ToTokens => {
                assert_eq!(answer.status, 200, "{case}: {:#}", answer.body);
            }
            Comes::ToNothing => {
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
