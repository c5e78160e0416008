//! The control interface over HTTP, and how the simulator bears a crowd.

use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{bench, text};
use crate::dev::simulator::Provider::{Google, Notion};
use crate::dev::simulator::{Endpoint, SecurityEvent};

#[tokio::test]
async fn faults_can_be_planned_from_another_process() {
    let bench = bench().await;
    let tokens = bench.connect(Notion, &[]).await;
    let refresh_token = text(&tokens, "refresh_token");
    let rule = json!({
        "provider": "notion", "endpoint": "token",
        "fault": { "kind": "error", "code": "service_overload" },
        "times": 2, "only_if_sent": refresh_token,
    });
    assert_eq!(bench.post_json("_sim/faults", rule).await.status, 200);
    assert_eq!(
        bench.refresh(Notion, "another").await.status,
        400,
        "not the one that was meant"
    );
    assert_eq!(bench.refresh(Notion, refresh_token).await.status, 529);
    assert_eq!(bench.get("_sim/faults").await.json()["items"][0]["times"], 1);
    assert_eq!(
        bench
            .send(bench.http.delete(bench.url("_sim/faults")))
            .await
            .unwrap()
            .status,
        200
    );
    assert_eq!(bench.refresh(Notion, refresh_token).await.status, 200);
    let foreign = bench
        .http
        .delete(bench.url("_sim/faults"))
        .header("origin", "https://evil.example");
    assert_eq!(bench.send(foreign).await.unwrap().status, 403);
    let nonsense = json!({ "provider": "notion", "endpoint": "token", "fault": { "kind": "gate" } });
    assert_eq!(bench.post_json("_sim/faults", nonsense).await.status, 400);
}

#[tokio::test]
async fn any_answer_can_be_given_to_one_accounts_refresh_or_flow_and_to_nobody_else() {
    let bench = bench().await;
    let ada = bench.connect(Notion, &[("_sim_user", "ada")]).await;
    let ben = bench.connect(Notion, &[("_sim_user", "ben")]).await;
    let rule = |endpoint: &str| {
        json!({
            "provider": "notion", "endpoint": endpoint, "only_for_account": "ben",
            "fault": {
                "kind": "answer", "status": 418, "content_type": "text/plain",
                "headers": [["retry-after", "0.529"]], "body": "no, {\"error\""
            },
        })
    };
    assert_eq!(bench.post_json("_sim/faults", rule("refresh")).await.status, 200);
    let served = bench.refresh(Notion, text(&ada, "refresh_token")).await;
    assert_eq!(served.status, 200);
    let answered = bench.refresh(Notion, text(&ben, "refresh_token")).await;
    assert_eq!(
        (
            answered.status,
            answered.header("retry-after"),
            answered.header("content-type"),
            answered.text.as_str()
        ),
        (418, "0.529", "text/plain", "no, {\"error\"")
    );
    let again = bench.refresh(Notion, text(&ben, "refresh_token")).await;
    assert_eq!(again.status, 200, "once, and nothing was done");

    assert_eq!(bench.post_json("_sim/faults", rule("exchange")).await.status, 200);
    bench.connect(Notion, &[("_sim_user", "ada")]).await;
    assert_eq!(bench.simulator.pending_faults(), 1, "it waits for ben's code");
}

#[tokio::test]
async fn settings_revocation_and_records_are_at_hand() {
    let bench = bench().await;
    let settings = json!({ "access_token_lifetime": 60 });
    assert_eq!(
        bench.post_json("_sim/settings", settings).await.json()["consent"],
        "auto"
    );
    let scope = [("scope", "openid"), ("access_type", "offline")];
    let tokens = bench.connect(Google, &scope).await;
    assert_eq!(tokens["expires_in"], 60);
    let notion = bench.connect(Notion, &[]).await;
    assert!(notion.get("expires_in").is_none());
    bench.post_json("_sim/advance", json!({ "seconds": 61 })).await;
    assert!(
        !bench
            .simulator
            .access_token_is_live(text(&tokens, "access_token"))
    );
    assert!(
        bench
            .simulator
            .access_token_is_live(text(&notion, "access_token")),
        "it knows no lifetime"
    );
    let revoked = bench
        .post_json("_sim/revoke", json!({ "provider": "google", "account": "ada" }))
        .await;
    assert_eq!(revoked.json()["grants_ended"], 1);
    assert_eq!(
        bench.refresh(Google, text(&tokens, "refresh_token")).await.status,
        400
    );
    let recorded = bench
        .get("_sim/requests?provider=google&endpoint=token")
        .await
        .json();
    let recorded = recorded["items"].as_array().unwrap();
    assert_eq!(recorded.len(), 2);
    assert_eq!(recorded[1]["outcome"], json!({ "status": 400 }));
    assert!(recorded[1]["refusal"].as_str().unwrap().contains("invalid_grant"));
    assert_eq!(
        bench.get("_sim/").await.json()["providers"]
            .as_array()
            .unwrap()
            .len(),
        5
    );
    assert!(bench.get("").await.text.contains("Provider simulator"));
    assert_eq!(
        bench
            .post_json("_sim/settings", json!({ "unheard": 1 }))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn security_events_are_signed_by_the_published_key() {
    let bench = bench().await;
    let ada = bench.simulator.account(Google, "ada");
    let event = SecurityEvent::TokenRevoked {
        refresh_token: "1//0gabcdefghijklmnopq".into(),
    };
    let token = bench.simulator.security_event_token(&event, &ada);
    let jwk = bench.get("google/oauth2/v3/certs").await.json()["keys"][0].clone();
    let key = DecodingKey::from_rsa_components(text(&jwk, "n"), text(&jwk, "e")).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.required_spec_claims.clear();
    validation.set_audience(&[bench.simulator.client(Google).0]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation)
        .unwrap()
        .claims;
    let events = claims["events"].as_object().unwrap();
    assert_eq!(
        events.values().next().unwrap()["subject"]["token"],
        "1//0gabcdefghijk"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_flows_at_once() {
    let bench = bench().await;
    let people: Vec<String> = (0..1000).map(|number| format!("crowd-{number}")).collect();
    let flows = people.iter().map(|person| async {
        let scope = [
            ("scope", "openid"),
            ("access_type", "offline"),
            ("_sim_user", person.as_str()),
        ];
        let tokens = bench.connect(Google, &scope).await;
        bench.refresh(Google, text(&tokens, "refresh_token")).await.status
    });
    assert!(join_all(flows).await.into_iter().all(|status| status == 200));
    assert_eq!(bench.simulator.requests_to(Google, Endpoint::Token).len(), 2000);
    assert!(bench.simulator.refusals().is_empty());
}
