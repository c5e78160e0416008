//! Google and YouTube.

use std::time::Duration;

use super::{CALLBACK, VERIFIER, bench, text};
use crate::dev::simulator::Provider::{Google, YouTube};

const OFFLINE: (&str, &str) = ("access_type", "offline");
const SCOPE: (&str, &str) = (
    "scope",
    "openid email https://www.googleapis.com/auth/calendar.readonly",
);

#[tokio::test]
async fn happy_path_gives_tokens_that_open_what_was_granted() {
    let bench = bench().await;
    let callback = bench.authorize(Google, &[SCOPE, OFFLINE]).await.callback();
    assert_eq!(callback["iss"], bench.url("google"));
    let tokens = bench.exchange(Google, &callback["code"]).await;
    assert_eq!((tokens.status, tokens.header("cache-control")), (200, "no-store"));
    let tokens = tokens.json();
    assert_eq!(
        (&tokens["expires_in"], &tokens["token_type"]),
        (&3599.into(), &"Bearer".into())
    );
    let mut scopes: Vec<&str> = text(&tokens, "scope").split(' ').collect();
    scopes.sort_unstable();
    assert_eq!(
        scopes,
        [
            "https://www.googleapis.com/auth/calendar.readonly",
            "https://www.googleapis.com/auth/userinfo.email",
            "openid"
        ]
    );
    let (client_id, _) = bench.simulator.client(Google);
    let claims = bench
        .verify("google/oauth2/v3/certs", &tokens["id_token"], &client_id)
        .await
        .unwrap();
    let ada = bench.simulator.account(Google, "ada");
    assert_eq!(text(&claims, "iss"), bench.url("google"));
    assert_eq!(
        (text(&claims, "sub"), text(&claims, "nonce")),
        (ada.subject.as_str(), "a nonce")
    );
    let access_token = text(&tokens, "access_token");
    assert_eq!(
        bench.get_as("google/v1/userinfo", access_token).await.json()["email"],
        ada.email
    );
    let calendars = "google/calendar/v3/users/me/calendarList?maxResults=1";
    assert_eq!(bench.get_as(calendars, access_token).await.status, 200);
    let drive = bench
        .get_as("google/drive/v3/about?fields=user", access_token)
        .await;
    assert_eq!(
        drive.json()["error"]["details"][0]["reason"],
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    );
    assert_eq!(drive.status, 403);
    assert_eq!(
        bench.get_as(calendars, "made up").await.json()["error"]["status"],
        "UNAUTHENTICATED"
    );
}

#[tokio::test]
async fn refresh_token_comes_with_the_first_consent_or_a_forced_one() {
    let bench = bench().await;
    assert!(
        bench.connect(Google, &[SCOPE]).await["refresh_token"].is_null(),
        "online access"
    );
    assert!(
        bench.connect(Google, &[SCOPE, OFFLINE]).await["refresh_token"].is_string(),
        "first"
    );
    assert!(
        bench.connect(Google, &[SCOPE, OFFLINE]).await["refresh_token"].is_null(),
        "second"
    );
    let forced = bench
        .connect(Google, &[SCOPE, OFFLINE, ("prompt", "consent")])
        .await;
    assert!(forced["refresh_token"].is_string());
}

#[tokio::test]
async fn refresh_does_not_rotate_and_revocation_ends_the_whole_grant() {
    let bench = bench().await;
    let tokens = bench.connect(Google, &[SCOPE, OFFLINE]).await;
    let refresh_token = text(&tokens, "refresh_token");
    for _ in 0..2 {
        let refreshed = bench.refresh(Google, refresh_token).await;
        assert_eq!(refreshed.status, 200);
        assert!(refreshed.json()["refresh_token"].is_null());
    }
    let token = text(&tokens, "access_token");
    let revoked = bench
        .send(bench.form_request("google/revoke", &[("token", token)]))
        .await
        .unwrap();
    assert_eq!(revoked.status, 200);
    assert_eq!(
        bench.refresh(Google, refresh_token).await.refusal(),
        (400, "invalid_grant".into())
    );
    let again = bench
        .send(bench.form_request("google/revoke", &[("token", token)]))
        .await
        .unwrap();
    assert_eq!(again.refusal(), (400, "invalid_token".into()));
}

#[tokio::test]
async fn incremental_consent_unites_scopes() {
    let bench = bench().await;
    bench.connect(Google, &[SCOPE, OFFLINE]).await;
    let more = [
        ("scope", "openid https://www.googleapis.com/auth/tasks"),
        ("include_granted_scopes", "true"),
    ];
    let tokens = bench.connect(Google, &more).await;
    assert_eq!(text(&tokens, "scope").split(' ').count(), 4);
    let fewer = bench.connect(Google, &more[..1]).await;
    assert_eq!(text(&fewer, "scope").split(' ').count(), 2);
}

#[tokio::test]
async fn tokens_end_with_their_time() {
    let bench = bench().await;
    let tokens = bench.connect(Google, &[SCOPE, OFFLINE]).await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    bench.simulator.advance(Duration::from_hours(1));
    assert_eq!(bench.get_as("google/v1/userinfo", access).await.status, 401);
    assert_eq!(bench.refresh(Google, refresh).await.status, 200);
    bench.simulator.advance(Duration::from_hours(190 * 24));
    assert_eq!(
        bench.refresh(Google, refresh).await.refusal(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn codes_are_for_one_use_one_client_one_verifier_and_ten_minutes() {
    let bench = bench().await;
    let code = bench.code(Google, &[SCOPE]).await;
    let fields = |redirect_uri, verifier| {
        [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ]
    };
    let wrong_uri = bench.token_request(Google, &fields("http://127.0.0.1:9/other", VERIFIER));
    assert_eq!(
        bench.send(wrong_uri).await.unwrap().refusal().1,
        "redirect_uri_mismatch"
    );
    let wrong = "a-verifier-that-belongs-to-some-other-flow-0000";
    let wrong_verifier = bench.token_request(Google, &fields(CALLBACK, wrong));
    assert_eq!(
        bench.send(wrong_verifier).await.unwrap().refusal().1,
        "invalid_grant"
    );
    let no_verifier = bench.token_request(Google, &fields(CALLBACK, VERIFIER)[..3]);
    assert_eq!(
        bench.send(no_verifier).await.unwrap().refusal().1,
        "invalid_grant"
    );
    assert_eq!(bench.exchange(YouTube, &code).await.refusal().1, "invalid_grant");
    assert_eq!(bench.exchange(Google, &code).await.status, 200);
    assert_eq!(
        bench.exchange(Google, &code).await.refusal(),
        (400, "invalid_grant".into())
    );
    let late = bench.code(Google, &[SCOPE]).await;
    bench.simulator.advance(Duration::from_secs(601));
    assert_eq!(
        bench.exchange(Google, &late).await.refusal(),
        (400, "invalid_grant".into())
    );
}

#[tokio::test]
async fn wrong_clients_are_refused() {
    let bench = bench().await;
    let (id, _) = bench.simulator.client(Google);
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", "x"),
        ("client_id", &id),
        ("client_secret", "no"),
    ];
    let got = bench
        .send(bench.form_request("google/token", &fields))
        .await
        .unwrap();
    assert_eq!(got.refusal(), (401, "invalid_client".into()));
    let got = bench
        .send(bench.form_request("google/token", &fields[..2]))
        .await
        .unwrap();
    assert_eq!(got.refusal(), (400, "invalid_request".into()));
    assert_eq!(
        bench
            .authorize(Google, &[SCOPE, ("client_id", "nobody")])
            .await
            .status,
        401
    );
    assert_eq!(
        bench
            .authorize(Google, &[SCOPE, ("redirect_uri", "https://evil.example/")])
            .await
            .status,
        400
    );
    assert_eq!(
        bench.authorize(Google, &[("scope", "nonsense")]).await.status,
        400
    );
    assert_eq!(bench.simulator.refusals().len(), 5);
}

#[tokio::test]
async fn youtube_tells_the_channel_and_shares_the_issuer() {
    let bench = bench().await;
    let discovery = bench.get("youtube/.well-known/openid-configuration").await.json();
    assert_eq!(text(&discovery, "issuer"), bench.url("google"));
    let scope = ("scope", "openid https://www.googleapis.com/auth/youtube.readonly");
    let channels = "youtube/youtube/v3/channels?part=id,snippet&mine=true";
    let tokens = bench.connect(YouTube, &[scope]).await;
    let answer = bench.get_as(channels, text(&tokens, "access_token")).await.json();
    let ada = bench.simulator.account(YouTube, "ada");
    assert_eq!(answer["items"][0]["id"].as_str(), ada.channel_id.as_deref());
    let tokens = bench.connect(YouTube, &[scope, ("_sim_user", "chiyo")]).await;
    let answer = bench.get_as(channels, text(&tokens, "access_token")).await.json();
    assert_eq!(answer["items"].as_array().unwrap().len(), 0, "no channel");
}

#[tokio::test]
async fn oldest_refresh_token_beyond_the_cap_dies_silently() {
    let bench = bench().await;
    bench
        .simulator
        .configure(|settings| settings.google_refresh_tokens_max = 2);
    let forced = [SCOPE, OFFLINE, ("prompt", "consent")];
    let first = bench.connect(Google, &forced).await;
    bench.connect(Google, &forced).await;
    assert_eq!(
        bench.refresh(Google, text(&first, "refresh_token")).await.status,
        200
    );
    bench.connect(Google, &forced).await;
    assert_eq!(
        bench
            .refresh(Google, text(&first, "refresh_token"))
            .await
            .refusal()
            .1,
        "invalid_grant"
    );
}
