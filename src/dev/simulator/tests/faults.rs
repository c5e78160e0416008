//! What goes wrong on demand.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, bench, text};
use crate::dev::simulator::Provider::{Google, Microsoft, Notion, Oidc};
use crate::dev::simulator::{Endpoint, Fault, Gate, Outcome, Provider, ScopeStyle};

async fn connected(bench: &Bench, provider: Provider) -> String {
    let scope = match provider {
        Google => "openid https://www.googleapis.com/auth/tasks",
        _ => "openid offline_access Mail.Read",
    };
    let scope = if provider == Oidc {
        "openid offline_access"
    } else {
        scope
    };
    let tokens = bench
        .connect(provider, &[("scope", scope), ("access_type", "offline")])
        .await;
    text(&tokens, "refresh_token").to_owned()
}

async fn refresh_under(bench: &Bench, provider: Provider, refresh_token: &str, fault: Fault) -> super::Got {
    bench.simulator.inject(provider, Endpoint::Refresh, fault, 1);
    bench.refresh(provider, refresh_token).await
}

fn error(code: &str) -> Fault {
    Fault::Error {
        code: code.to_owned(),
    }
}

#[tokio::test]
async fn errors_come_in_the_dialect_and_do_no_work() {
    let bench = bench().await;
    let token = connected(&bench, Google).await;
    let rapt = refresh_under(&bench, Google, &token, error("invalid_rapt")).await;
    assert_eq!(rapt.json()["error_subtype"], "invalid_rapt");
    assert_eq!(rapt.refusal(), (400, "invalid_grant".into()));
    assert_eq!(
        refresh_under(&bench, Google, &token, error("internal_failure"))
            .await
            .status,
        500
    );
    let token = connected(&bench, Microsoft).await;
    let mfa = refresh_under(&bench, Microsoft, &token, error("AADSTS50076"))
        .await
        .json();
    assert_eq!(text(&mfa, "error"), "interaction_required");
    assert!(text(&mfa, "claims").contains("access_token"));
    let loops = refresh_under(&bench, Microsoft, &token, error("50196"))
        .await
        .json();
    assert_eq!(
        (&loops["error"], &loops["error_codes"][0]),
        (&json!("invalid_grant"), &json!(50196))
    );
    assert_eq!(
        refresh_under(&bench, Microsoft, &token, error("90033"))
            .await
            .status,
        503
    );
    let busy = Fault::TooManyRequests {
        retry_after: Some("7".into()),
    };
    let busy = refresh_under(&bench, Microsoft, &token, busy).await;
    assert_eq!(
        (busy.status, busy.header("retry-after"), busy.text.as_str()),
        (429, "7", "Too Many Requests")
    );
    let token = connected(&bench, Notion).await;
    let coded = refresh_under(&bench, Notion, &token, error("invalid_grant"))
        .await
        .json();
    assert_eq!(
        (text(&coded, "code"), text(&coded, "object")),
        ("invalid_grant", "error")
    );
    let plain = Fault::PlainOauthError {
        code: "invalid_grant".into(),
    };
    assert_eq!(
        text(
            &refresh_under(&bench, Notion, &token, plain).await.json(),
            "error"
        ),
        "invalid_grant"
    );
    assert_eq!(
        refresh_under(&bench, Notion, &token, Fault::ServerError { status: 529 })
            .await
            .status,
        529
    );
    let blocked = refresh_under(&bench, Notion, &token, Fault::HtmlBody { status: 403 }).await;
    assert!(blocked.header("content-type").starts_with("text/html") && blocked.text.starts_with("<!DOCTYPE"));
    assert_eq!(
        bench.refresh(Notion, &token).await.status,
        200,
        "none of it did any work"
    );
}

#[tokio::test]
async fn lost_answer_has_done_its_work() {
    let bench = bench().await;
    let token = connected(&bench, Notion).await;
    bench
        .simulator
        .inject(Notion, Endpoint::Refresh, Fault::LoseAnswer, 1);
    assert!(bench.try_refresh(Notion, &token).await.is_err());
    assert!(!bench.simulator.refresh_token_is_live(&token));
    let requests = bench.simulator.token_requests(Notion, "refresh_token");
    assert_eq!((requests.len(), requests[0].outcome), (1, Some(Outcome::Dropped)));
    assert_eq!(requests[0].refresh_token(), Some(token.as_str()));
    assert_eq!(requests[0].faults, ["lose_answer"]);
}

#[tokio::test]
async fn reset_has_done_nothing() {
    let bench = bench().await;
    let token = connected(&bench, Notion).await;
    bench.simulator.inject(Notion, Endpoint::Refresh, Fault::Reset, 1);
    assert!(bench.try_refresh(Notion, &token).await.is_err());
    assert_eq!(bench.refresh(Notion, &token).await.status, 200);
}

#[tokio::test]
async fn reset_is_a_reset_and_a_drop_is_not() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bench = bench().await;
    let mut endings = Vec::new();
    for fault in [Fault::Reset, Fault::LoseAnswer] {
        bench.simulator.inject(Oidc, Endpoint::Jwks, fault, 1);
        let address = bench.simulator.url().socket_addrs(|| None).unwrap()[0];
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /oidc/jwks HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        endings.push(
            stream
                .read_to_end(&mut answer)
                .await
                .map_err(|error| error.kind()),
        );
        assert!(answer.is_empty());
    }
    assert_eq!(endings, [Err(std::io::ErrorKind::ConnectionReset), Ok(0)]);
}

#[tokio::test]
async fn truncated_answer_keeps_the_refresh_token() {
    let bench = bench().await;
    let token = connected(&bench, Oidc).await;
    bench
        .simulator
        .inject(Oidc, Endpoint::Refresh, Fault::TruncateAfterRefreshToken, 1);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let mut response = bench.token_request(Oidc, &fields).send().await.unwrap();
    let part = response.chunk().await.unwrap().unwrap();
    assert!(response.chunk().await.is_err(), "the body breaks off");
    let token = std::str::from_utf8(&part)
        .unwrap()
        .rsplit('"')
        .nth(1)
        .unwrap()
        .to_owned();
    assert!(bench.simulator.refresh_token_is_live(&token));
    let quiet = refresh_under(&bench, Oidc, &token, Fault::TruncateQuietly).await;
    assert!(serde_json::from_str::<Value>(&quiet.text).is_err());
    let salvaged = quiet.text.rsplit('"').nth(1).unwrap();
    assert!(bench.simulator.refresh_token_is_live(salvaged), "{}", quiet.text);
}

#[tokio::test]
async fn gate_holds_a_request_until_released() {
    let bench = bench().await;
    let token = connected(&bench, Notion).await;
    let before = bench.simulator.gate(Notion, Endpoint::Refresh);
    let test = async {
        before.arrived().await;
        assert!(
            bench.simulator.refresh_token_is_live(&token),
            "nothing is done yet"
        );
        before.release();
    };
    let (got, ()) = tokio::join!(bench.refresh(Notion, &token), test);
    let token = text(&got.json(), "refresh_token").to_owned();
    let after = bench.simulator.gate_answer(Notion, Endpoint::Refresh);
    let test = async {
        after.arrived().await;
        assert!(
            !bench.simulator.refresh_token_is_live(&token),
            "it is done, but not answered"
        );
        after.release();
    };
    let (got, ()) = tokio::join!(bench.refresh(Notion, &token), test);
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn gate_lets_through_one_by_one() {
    let bench = bench().await;
    let token = connected(&bench, Google).await;
    let gate = Gate::new();
    bench
        .simulator
        .inject(Google, Endpoint::Refresh, Fault::Gate(gate.clone()), 2);
    let steps = async {
        gate.arrived_at_least(2).await;
        gate.release_one();
        bench.simulator.answered(Google, Endpoint::Refresh, 1).await;
        assert_eq!(gate.arrivals(), 2);
        gate.release_one();
    };
    let (one, other, ()) = tokio::join!(
        bench.refresh(Google, &token),
        bench.refresh(Google, &token),
        steps
    );
    assert_eq!((one.status, other.status), (200, 200));
}

#[tokio::test]
async fn odd_successes() {
    let bench = bench().await;
    let token = connected(&bench, Microsoft).await;
    let quoted = refresh_under(&bench, Microsoft, &token, Fault::quoted_expires_in())
        .await
        .json();
    assert_eq!(quoted["expires_in"], "3600");
    let huge = Fault::ExpiresIn {
        value: json!(u64::MAX),
    };
    assert_eq!(
        refresh_under(&bench, Microsoft, &token, huge).await.json()["expires_in"],
        u64::MAX
    );
    let null = refresh_under(&bench, Microsoft, &token, Fault::NullRefreshToken)
        .await
        .json();
    assert!(null.as_object().unwrap().contains_key("refresh_token") && null["refresh_token"].is_null());
    let bare = Fault::ScopeStyle {
        style: ScopeStyle::Unprefixed,
    };
    let bare = refresh_under(&bench, Microsoft, &token, bare).await.json();
    assert_eq!(text(&bare, "scope"), "Mail.Read openid");
    let several = Fault::All {
        faults: vec![Fault::OmitScope, Fault::MissingTokenType, Fault::OmitRefreshToken],
    };
    let several = refresh_under(&bench, Microsoft, &token, several).await.json();
    for absent in ["scope", "token_type", "refresh_token"] {
        assert!(several.get(absent).is_none(), "{absent}");
    }
    let nonsense = refresh_under(&bench, Microsoft, &token, Fault::NonsenseJson).await;
    assert!(serde_json::from_str::<Value>(&nonsense.text).is_err());
    let big = refresh_under(&bench, Microsoft, &token, Fault::HugeBody { mebibytes: 3 }).await;
    assert!(big.text.len() > 3 * 1024 * 1024);
    let padded = refresh_under(&bench, Microsoft, &token, Fault::PaddedBody { mebibytes: 2 }).await;
    assert!(padded.text.len() > 2 * 1024 * 1024 && padded.json()["access_token"].is_string());
    let drip = Fault::SlowDrip {
        per_byte: Duration::from_micros(10),
    };
    assert!(refresh_under(&bench, Microsoft, &token, drip).await.json()["access_token"].is_string());
    assert_eq!(bench.simulator.pending_faults(), 0);
}

#[tokio::test]
async fn consent_can_differ_from_the_wish() {
    let bench = bench().await;
    let scope = (
        "scope",
        "openid https://www.googleapis.com/auth/tasks https://www.googleapis.com/auth/drive",
    );
    let fewer = Fault::FewerScopes {
        without: vec!["drive".into()],
    };
    bench.simulator.inject(Google, Endpoint::Exchange, fewer, 1);
    let tokens = bench.connect(Google, &[scope]).await;
    assert!(!text(&tokens, "scope").contains("drive"));
    assert_eq!(
        bench
            .get_as("google/drive/v3/about", text(&tokens, "access_token"))
            .await
            .status,
        403
    );
    let extra = Fault::ExtraScopes {
        scopes: vec!["Calendars.Read".into()],
    };
    bench.simulator.inject(Microsoft, Endpoint::Exchange, extra, 1);
    let tokens = bench.connect(Microsoft, &[("scope", "openid User.Read")]).await;
    assert!(text(&tokens, "scope").contains("Calendars.Read"));
    bench.simulator.inject(
        Notion,
        Endpoint::Exchange,
        Fault::OtherAccount { key: "ben".into() },
        1,
    );
    let tokens = bench.connect(Notion, &[]).await;
    assert_eq!(
        tokens["owner"]["user"]["id"],
        bench.simulator.account(Notion, "ben").subject
    );
}

#[tokio::test]
async fn redirects_back_can_be_tampered_with() {
    let bench = bench().await;
    let scope = ("scope", "openid");
    bench
        .simulator
        .inject(Google, Endpoint::Authorize, error("admin_policy_enforced"), 1);
    let callback = bench.authorize(Google, &[scope]).await.callback();
    assert_eq!(
        (callback["error"].as_str(), callback["state"].as_str()),
        ("admin_policy_enforced", "a state")
    );
    let other = Fault::CallbackParameter {
        name: "iss".into(),
        value: Some("https://evil.example".into()),
    };
    bench.simulator.inject(Google, Endpoint::Authorize, other, 1);
    assert_eq!(
        bench.authorize(Google, &[scope]).await.callback()["iss"],
        "https://evil.example"
    );
    let none = Fault::CallbackParameter {
        name: "state".into(),
        value: None,
    };
    bench.simulator.inject(Google, Endpoint::Authorize, none, 1);
    assert!(
        !bench
            .authorize(Google, &[scope])
            .await
            .callback()
            .contains_key("state")
    );
}

#[tokio::test]
async fn stop_ends_requests_that_hang() {
    let bench = bench().await;
    let token = connected(&bench, Notion).await;
    bench.simulator.inject(Notion, Endpoint::Refresh, Fault::Hang, 1);
    let request = bench.token_request(
        Notion,
        &[("grant_type", "refresh_token"), ("refresh_token", &token)],
    );
    let Bench { simulator, .. } = bench;
    let stop = async {
        simulator
            .until(|all| all.iter().any(|one| one.endpoint == Endpoint::Refresh))
            .await;
        simulator.stop().await;
    };
    let (answer, ()) = tokio::join!(request.send(), stop);
    assert!(answer.is_err());
}

#[tokio::test]
async fn client_that_leaves_early_is_on_record_and_the_work_is_done() {
    let bench = bench().await;
    let token = connected(&bench, Notion).await;
    let gate = bench.simulator.gate_answer(Notion, Endpoint::Refresh);
    tokio::select! {
        _ = bench.try_refresh(Notion, &token) => panic!("the gate is closed"),
        () = gate.arrived() => {}
    }
    bench.simulator.answered(Notion, Endpoint::Refresh, 1).await;
    let requests = bench.simulator.token_requests(Notion, "refresh_token");
    assert_eq!(requests[0].outcome, Some(Outcome::Dropped));
    assert!(!bench.simulator.refresh_token_is_live(&token));
}
