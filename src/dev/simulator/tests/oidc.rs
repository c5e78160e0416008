//! The strict OpenID provider.

use std::time::Duration;

use super::{Bench, Got, bench, bench_with, text};
use crate::dev::simulator::Provider::Oidc;
use crate::dev::simulator::{Client, Consent, IdTokenFlaw, Rotation, Settings, SimulatorConfig};
use crate::dev::simulator::{Endpoint, Fault};

const SCOPE: (&str, &str) = ("scope", "openid email offline_access notes.read");

async fn revoke(bench: &Bench, token: &str) -> Got {
    let (id, secret) = bench.simulator.client(Oidc);
    let fields = [("token", token), ("client_id", &id), ("client_secret", &secret)];
    bench
        .send(bench.form_request("oidc/revoke", &fields))
        .await
        .unwrap()
}

#[tokio::test]
async fn happy_path_follows_discovery() {
    let bench = bench().await;
    let discovery = bench.get("oidc/.well-known/openid-configuration").await.json();
    assert_eq!(text(&discovery, "issuer"), bench.url("oidc"));
    let callback = bench.authorize(Oidc, &[SCOPE]).await.callback();
    assert_eq!(callback["iss"], bench.url("oidc"));
    let tokens = bench.exchange(Oidc, &callback["code"]).await.json();
    let claims = bench
        .verify("oidc/jwks", &tokens["id_token"], "simulator-client")
        .await
        .unwrap();
    assert_eq!(text(&claims, "nonce"), "a nonce");
    let access_token = text(&tokens, "access_token");
    assert_eq!(
        bench.get_as("oidc/userinfo", access_token).await.json()["sub"],
        claims["sub"]
    );
    assert_eq!(bench.get_as("oidc/api/notes", access_token).await.status, 200);
}

#[tokio::test]
async fn refresh_token_used_twice_ends_the_family() {
    let bench = bench().await;
    let first = bench.connect(Oidc, &[SCOPE]).await;
    let second = bench.refresh(Oidc, text(&first, "refresh_token")).await.json();
    assert!(
        bench
            .simulator
            .refresh_token_is_live(text(&second, "refresh_token"))
    );
    assert_eq!(
        bench
            .refresh(Oidc, text(&first, "refresh_token"))
            .await
            .refusal()
            .1,
        "invalid_grant"
    );
    assert!(
        !bench
            .simulator
            .refresh_token_is_live(text(&second, "refresh_token"))
    );
    assert!(
        !bench
            .simulator
            .access_token_is_live(text(&second, "access_token"))
    );
    assert_eq!(
        bench
            .refresh(Oidc, text(&second, "refresh_token"))
            .await
            .refusal()
            .1,
        "invalid_grant"
    );
}

#[tokio::test]
async fn code_used_twice_takes_its_tokens_with_it() {
    let bench = bench().await;
    let code = bench.code(Oidc, &[SCOPE]).await;
    let tokens = bench.exchange(Oidc, &code).await.json();
    assert_eq!(bench.exchange(Oidc, &code).await.refusal().1, "invalid_grant");
    assert!(
        !bench
            .simulator
            .access_token_is_live(text(&tokens, "access_token"))
    );
}

#[tokio::test]
async fn pkce_and_state_are_not_optional() {
    let bench = bench().await;
    for change in [
        ("code_challenge", ""),
        ("code_challenge_method", "plain"),
        ("state", ""),
    ] {
        let callback = bench.authorize(Oidc, &[SCOPE, change]).await.callback();
        assert_eq!(callback["error"], "invalid_request", "{change:?}");
    }
    let callback = bench
        .authorize(Oidc, &[("scope", "openid unheard.of")])
        .await
        .callback();
    assert_eq!(callback["error"], "invalid_scope");
}

#[tokio::test]
async fn revocation_is_authenticated_and_always_succeeds() {
    let bench = bench().await;
    let tokens = bench.connect(Oidc, &[SCOPE]).await;
    let bare = bench.form_request("oidc/revoke", &[("token", text(&tokens, "refresh_token"))]);
    assert_eq!(
        bench.send(bare).await.unwrap().refusal(),
        (401, "invalid_client".into())
    );
    for _ in 0..2 {
        assert_eq!(revoke(&bench, text(&tokens, "refresh_token")).await.status, 200);
    }
    assert_eq!(
        bench
            .get_as("oidc/userinfo", text(&tokens, "access_token"))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn keys_rotate_and_flawed_id_tokens_do_not_verify() {
    let bench = bench().await;
    let before = bench.connect(Oidc, &[SCOPE]).await;
    bench.simulator.rotate_signing_key();
    let after = bench.connect(Oidc, &[SCOPE]).await;
    for tokens in [before, after] {
        bench
            .verify("oidc/jwks", &tokens["id_token"], "simulator-client")
            .await
            .unwrap();
    }
    for flaw in [
        IdTokenFlaw::BadSignature,
        IdTokenFlaw::Unsigned,
        IdTokenFlaw::SymmetricWithPublicKey,
        IdTokenFlaw::WrongAudience,
        IdTokenFlaw::Expired,
        IdTokenFlaw::Garbage,
    ] {
        bench
            .simulator
            .inject(Oidc, Endpoint::Exchange, Fault::IdToken { flaw }, 1);
        let tokens = bench.connect(Oidc, &[SCOPE]).await;
        let verdict = bench
            .verify("oidc/jwks", &tokens["id_token"], "simulator-client")
            .await;
        assert!(verdict.is_err(), "{flaw:?}");
    }
    for (flaw, claim) in [
        (IdTokenFlaw::WrongNonce, "nonce"),
        (IdTokenFlaw::WrongIssuer, "iss"),
        (IdTokenFlaw::WrongAccessTokenHash, "at_hash"),
    ] {
        bench
            .simulator
            .inject(Oidc, Endpoint::Exchange, Fault::IdToken { flaw }, 1);
        let tokens = bench.connect(Oidc, &[SCOPE]).await;
        let claims = bench
            .verify("oidc/jwks", &tokens["id_token"], "simulator-client")
            .await
            .unwrap();
        let honest = match claim {
            "nonce" => "a nonce".to_owned(),
            "iss" => bench.url("oidc"),
            _ => crate::dev::simulator::id_token::at_hash(text(&tokens, "access_token")),
        };
        assert_ne!(text(&claims, claim), honest, "{flaw:?}");
    }
}

async fn rotating(rotation: Rotation) -> Bench {
    let client = Client {
        rotation,
        access_token_lifetime: Some(Duration::from_secs(5)),
        ..Client::built_in(Oidc)
    };
    bench_with(SimulatorConfig {
        settings: Settings {
            consent: Consent::Auto,
            ..Settings::default()
        },
        clients: vec![client],
        ..SimulatorConfig::default()
    })
    .await
}

#[tokio::test]
async fn an_application_with_a_grace_window_gets_the_same_successor_again_and_loses_the_family_after_it() {
    let bench = rotating(Rotation::Grace(Duration::from_secs(10))).await;
    let first = bench.connect(Oidc, &[SCOPE]).await;
    assert_eq!(first["expires_in"], 5);
    let second = bench.refresh(Oidc, text(&first, "refresh_token")).await.json();
    bench.simulator.advance(Duration::from_secs(9));
    let again = bench.refresh(Oidc, text(&first, "refresh_token")).await.json();
    assert_eq!(again["refresh_token"], second["refresh_token"]);
    assert!(bench.simulator.access_token_is_live(text(&again, "access_token")));
    bench.simulator.advance(Duration::from_secs(2));
    let late = bench.refresh(Oidc, text(&first, "refresh_token")).await.refusal();
    assert_eq!(late.1, "invalid_grant");
    assert!(
        !bench
            .simulator
            .refresh_token_is_live(text(&second, "refresh_token"))
    );
}

#[tokio::test]
async fn an_application_without_rotation_keeps_its_refresh_token() {
    let bench = rotating(Rotation::Never).await;
    let first = bench.connect(Oidc, &[SCOPE]).await;
    for _ in 0..3 {
        let answer = bench.refresh(Oidc, text(&first, "refresh_token")).await.json();
        assert!(answer["refresh_token"].is_null());
        assert!(
            bench
                .simulator
                .access_token_is_live(text(&answer, "access_token"))
        );
    }
    let known = bench.simulator.access_token_of(text(&first, "access_token"));
    assert!(known.is_some());
}
