//! A provider's interface rejects a token, and services say so: one forced refresh for that generation however many report it,
//! and nobody is handed what was rejected. And users who force refreshes cost the provider one call, not one each.

use std::{fmt::Write as _, time::Duration};

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use ring::digest;
use serde_json::{Value, json};

use crate::harness::{APPLICATION, Api, Browser, Service, ServiceOptions, eventually, logs};

fn sha256(token: &str) -> String {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    let mut text = String::new();
    for byte in digest.as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

struct Bench {
    service: Service,
    consumer: Api,
    id: String,
}

impl Bench {
    async fn start(provider: &str) -> Self {
        let service = Service::start_with(ServiceOptions {
            adjust: |settings| settings.breaker_interval = Duration::from_millis(100),
            ..ServiceOptions::default()
        })
        .await;
        let consumer = service.service(&["*:*"]).await;
        let id = service.connect("ada", provider).await["id"]
            .as_str()
            .unwrap()
            .to_owned();
        Self {
            service,
            consumer,
            id,
        }
    }

    async fn token(&self) -> String {
        let answer = self
            .consumer
            .get(&format!("/integrations/{}/token", self.id))
            .await;
        answer.expect_status(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn report(&self, body: Value) -> crate::harness::Answer {
        self.consumer
            .post(&format!("/integrations/{}/token/rejected", self.id), body)
            .await
    }

    async fn is_current(&self, body: Value) -> bool {
        let answer = self.report(body).await.expect_status(202);
        answer["generation_current"].as_bool().unwrap()
    }

    fn refreshes(&self, provider: Provider) -> usize {
        self.service
            .simulator
            .requests_to(provider, Endpoint::Refresh)
            .len()
    }

    async fn another_token_than(&self, old: &str) -> String {
        eventually("another token", || async {
            let token = self.token().await;
            (token != old).then_some(token)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reports_of_one_token_from_two_nodes_force_one_refresh() {
    let bench = Bench::start("google").await;
    let node = bench.service.second_node().await;
    let other = Api::new(
        bench.service.http.clone(),
        &node.base_url,
        Some(bench.consumer.token().to_owned()),
    );
    let old = bench.token().await;
    // Awake on both.
    other
        .get(&format!("/integrations/{}/token", bench.id))
        .await
        .expect_status(200);
    let (path, body) = (
        format!("/integrations/{}/token/rejected", bench.id),
        json!({ "token_sha256": sha256(&old), "status": 401 }),
    );
    let reports = (0..100).map(|round| {
        let api = if round % 2 == 0 { &bench.consumer } else { &other };
        api.post(&path, body.clone())
    });
    for answer in futures_util::future::join_all(reports).await {
        answer.expect_status(202);
    }
    let new = bench.another_token_than(&old).await;
    assert_eq!(bench.refreshes(Provider::Google), 1);
    // Late reports of the old one cause nothing.
    for _ in 0..5 {
        assert!(!bench.is_current(body.clone()).await);
        assert_eq!(bench.token().await, new);
    }
    assert_eq!(bench.refreshes(Provider::Google), 1);
    // The new one may be rejected as well: it was really handed out.
    assert!(
        bench
            .is_current(json!({ "token_sha256": sha256(&new), "status": 401 }))
            .await
    );
    bench.another_token_than(&new).await;
    assert_eq!(bench.refreshes(Provider::Google), 2);
    let audit = bench.service.user("ada").get("/audit").await.expect_status(200);
    let reported = audit["items"].as_array().unwrap().iter();
    assert_eq!(
        reported.filter(|item| item["action"] == "token_rejected").count(),
        2,
        "{audit:#}"
    );
    bench.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_without_the_token_counts_once_and_not_for_a_young_token() {
    let bench = Bench::start("google").await;
    let old = bench.token().await;
    // Just connected: what was rejected is most likely another one.
    assert!(bench.is_current(json!({ "status": 401 })).await);
    assert_eq!(bench.token().await, old);
    assert_eq!(bench.refreshes(Provider::Google), 0);
    let sql = bench.service.sql().await;
    sql.execute(
        "UPDATE oauth_tokens SET issued_at = issued_at - interval '31 seconds'",
        &[],
    )
    .await
    .unwrap();
    // Another node, that reads the row as it is now.
    let node = bench.service.second_node().await;
    let other = Api::new(
        bench.service.http.clone(),
        &node.base_url,
        Some(bench.consumer.token().to_owned()),
    );
    for _ in 0..20 {
        other
            .post(
                &format!("/integrations/{}/token/rejected", bench.id),
                json!({ "status": 401 }),
            )
            .await
            .expect_status(202);
    }
    eventually("it is refreshed", || async {
        (bench.refreshes(Provider::Google) == 1).then_some(())
    })
    .await;
    let token = other
        .get(&format!("/integrations/{}/token", bench.id))
        .await
        .expect_status(200);
    assert_ne!(token["access_token"], old.as_str());
    assert_eq!(bench.refreshes(Provider::Google), 1);
    bench.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_token_is_not_handed_out_while_its_refresh_fails() {
    let bench = Bench::start("google").await;
    let old = bench.token().await;
    bench.service.simulator.inject(
        Provider::Google,
        Endpoint::Refresh,
        Fault::ServerError { status: 503 },
        1000,
    );
    assert!(
        bench
            .is_current(json!({ "token_sha256": sha256(&old), "status": 401 }))
            .await
    );
    let refused = bench
        .consumer
        .get(&format!("/integrations/{}/token", bench.id))
        .await;
    let problem = refused.expect_problem(503, "provider_unavailable");
    assert_eq!(problem["who_must_act"], "nobody", "{problem:#}");
    // It goes on being refused, whoever reports what.
    for _ in 0..5 {
        bench
            .report(json!({ "token_sha256": sha256(&old), "status": 401 }))
            .await
            .expect_status(202);
        let refused = bench
            .consumer
            .get(&format!("/integrations/{}/token", bench.id))
            .await;
        assert_eq!(refused.status, 503, "{refused:?}");
    }
    bench.service.simulator.clear_faults();
    eventually("it is refreshed by itself", || async {
        let answer = bench
            .consumer
            .get(&format!("/integrations/{}/token", bench.id))
            .await;
        (answer.status == 200 && answer.body["access_token"] != old.as_str()).then_some(())
    })
    .await;
    bench.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_service_that_may_receive_the_token_reports_and_only_what_can_be() {
    let bench = Bench::start("google").await;
    let path = format!("/integrations/{}/token/rejected", bench.id);
    let body = json!({ "token_sha256": sha256(&bench.token().await), "status": 401 });
    bench
        .service
        .anonymous()
        .post(&path, body.clone())
        .await
        .expect_problem(401, "unauthenticated");
    bench
        .service
        .user("ada")
        .post(&path, body.clone())
        .await
        .expect_problem(403, "forbidden");
    let stranger = bench.service.service(&["notion:*"]).await;
    stranger
        .post(&path, body.clone())
        .await
        .expect_problem(403, "forbidden");
    let narrow = bench.service.service(&["google:gmail"]).await;
    assert_eq!(narrow.post(&path, body).await.status, 403);
    for odd in [
        json!({ "status": 500 }),
        json!({ "status": 200 }),
        json!({}),
        json!({ "status": "401" }),
        json!({ "status": 401, "token_sha256": "abc" }),
        json!({ "status": 401, "token": "the token itself" }),
    ] {
        bench
            .report(odd.clone())
            .await
            .expect_problem(400, "invalid_request");
    }
    let nobody = "/integrations/google_00000000000000000000000000000000/token/rejected";
    assert_eq!(
        bench.consumer.post(nobody, json!({ "status": 401 })).await.status,
        404
    );
    assert_eq!(bench.refreshes(Provider::Google), 0);
    // A token nobody has now: no refresh, and it is said.
    assert!(
        !bench
            .is_current(json!({ "token_sha256": sha256("another"), "status": 403 }))
            .await
    );
    assert_eq!(bench.refreshes(Provider::Google), 0);
    bench.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claims_challenge_goes_into_the_next_flow_of_that_account_and_no_other() {
    const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#;
    let bench = Bench::start("microsoft").await;
    let token = bench.token().await;
    let challenge = "Bearer realm=\"\", error=\"insufficient_claims\", \
         claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNjA0MTA2NjUxIn19fQ==\"";
    let report = json!({ "token_sha256": sha256(&token), "status": 401, "www_authenticate": challenge });
    assert!(bench.is_current(report).await);
    bench.another_token_than(&token).await;
    let sent = async |request: Value| {
        let begun = bench
            .service
            .user("ada")
            .post("/authorizations", request)
            .await
            .expect_status(201);
        let mut browser: Browser = bench.service.browser();
        browser
            .step(begun["authorization_url"].as_str().unwrap())
            .await
            .query("claims")
    };
    let request = json!({ "provider": "microsoft", "return_to": APPLICATION });
    assert_eq!(sent(request.clone()).await, None);
    let mut again = request;
    again["integration_id"] = bench.id.clone().into();
    assert_eq!(sent(again.clone()).await.as_deref(), Some(CLAIMS));
    // Connected again, it is met.
    bench
        .service
        .connect_with(
            "ada",
            json!({ "provider": "microsoft", "integration_id": bench.id }),
        )
        .await;
    assert_eq!(sent(again).await, None);
    bench.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_refreshes_of_one_account_cost_one_call_in_thirty_seconds() {
    let service = Service::start_with(ServiceOptions {
        adjust: |settings| settings.forced_refresh_interval = Duration::from_secs(30),
        ..ServiceOptions::default()
    })
    .await;
    let consumer = service.service(&["*:*"]).await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/integrations/{id}/refresh");
    let user = service.user("ada");
    let first = user.post(&path, json!({})).await.expect_status(200);
    for _ in 0..20 {
        let view = user.post(&path, json!({})).await.expect_status(200);
        assert_eq!(view["last_refreshed_at"], first["last_refreshed_at"], "{view:#}");
    }
    let refreshes = || {
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Refresh)
            .len()
    };
    assert_eq!(refreshes(), 1);
    // Of another account nothing is held back.
    let other = service.connect("bea", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    service
        .user("bea")
        .post(&format!("/integrations/{other}/refresh"), json!({}))
        .await
        .expect_status(200);
    assert_eq!(refreshes(), 2);
    // What a service reports as rejected is refreshed all the same.
    let token = consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    let report = json!({ "token_sha256": sha256(token["access_token"].as_str().unwrap()), "status": 401 });
    consumer
        .post(&format!("/integrations/{id}/token/rejected"), report)
        .await
        .expect_status(202);
    eventually("it is refreshed", || async { (refreshes() == 3).then_some(()) }).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forced_refreshes_that_fail_cost_one_call_in_thirty_seconds_as_well() {
    logs::capture();
    let service = Service::start_with(ServiceOptions {
        adjust: |settings| settings.forced_refresh_interval = Duration::from_secs(30),
        ..ServiceOptions::default()
    })
    .await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let refusal = Fault::PlainOauthError {
        code: "an_odd_refusal".to_owned(),
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Refresh, refusal, 1000);
    for _ in 0..20 {
        let refused = service
            .user("ada")
            .post(&format!("/integrations/{id}/refresh"), json!({}))
            .await;
        assert!(refused.status >= 409, "{refused:?}");
    }
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Refresh)
            .len(),
        1
    );
    service.stop().await;
}
