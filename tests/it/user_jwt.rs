//! Users' JWTs checked by the application's published keys: fetched by HTTP, with its issuer and audience.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_manager::dev::simulator::{Endpoint, Provider, Simulator};
use reqwest::header;
use serde_json::json;
use url::Url;

use crate::harness::{APPLICATION, Api, Service, ServiceOptions, http_client, jwt, start_simulator};

const VERIFIER: &str = "a-verifier-of-this-test-that-is-long-enough-0123456789";

/// The application of this test signs its users in at the simulator's OpenID provider, and hands its ID tokens on.
async fn id_token(simulator: &Simulator) -> String {
    let at = simulator.provider_url(Provider::Oidc);
    let (id, secret) = simulator.client(Provider::Oidc);
    let digest = ring::digest::digest(&ring::digest::SHA256, VERIFIER.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let mut url = Url::parse(&format!("{at}/authorize")).unwrap();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &id)
        .append_pair("redirect_uri", APPLICATION)
        .append_pair("scope", "openid")
        .append_pair("state", "s")
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    let back = http_client().get(url).send().await.unwrap();
    let location = Url::parse(back.headers()[header::LOCATION].to_str().unwrap()).unwrap();
    let code = location.query_pairs().find(|(name, _)| name == "code").unwrap().1;
    let body = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("code", &code)
        .append_pair("redirect_uri", APPLICATION)
        .append_pair("code_verifier", VERIFIER)
        .append_pair("client_id", &id)
        .append_pair("client_secret", &secret)
        .finish();
    let request = http_client().post(format!("{at}/token"));
    let answer = request
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body)
        .send();
    let answer: serde_json::Value =
        serde_json::from_str(&answer.await.unwrap().text().await.unwrap()).unwrap();
    answer["id_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:#}"))
        .to_owned()
}

async fn start(audience: &str) -> Service {
    let simulator = start_simulator(&ServiceOptions::default()).await;
    let at = simulator.provider_url(Provider::Oidc);
    let auth = format!("jwks_url = \"{at}/jwks\"\nissuer = \"{at}\"\naudience = \"{audience}\"");
    let options = ServiceOptions {
        auth_toml: Some(auth),
        ..ServiceOptions::default()
    };
    Service::start_before(simulator, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_comes_with_a_jwt_of_the_applications_published_keys() {
    let simulator = start_simulator(&ServiceOptions::default()).await;
    let (audience, _) = simulator.client(Provider::Oidc);
    simulator.stop().await;
    let service = start(&audience).await;
    let api = |token: String| Api::new(http_client(), &service.base_url, Some(token));

    let token = id_token(&service.simulator).await;
    api(token.clone()).get("/integrations").await.expect_status(200);
    // Signed by the shared secret of other set-ups, or altered: refused, and never tried as the other kind.
    service
        .user("ada")
        .get("/integrations")
        .await
        .expect_problem(401, "unauthenticated");
    let (head, tail) = token.split_at(token.len() - 20);
    let other = if tail.starts_with('A') { 'B' } else { 'A' };
    let altered = format!("{head}{other}{}", &tail[1..]);
    api(altered)
        .get("/integrations")
        .await
        .expect_problem(401, "unauthenticated");

    let fetched = service
        .simulator
        .requests_to(Provider::Oidc, Endpoint::Jwks)
        .len();
    assert_eq!(fetched, 1, "one fetch serves everybody");
    api(token).get("/integrations").await.expect_status(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_for_another_audience_is_refused() {
    let service = start("another-application").await;
    let token = id_token(&service.simulator).await;
    let api = Api::new(http_client(), &service.base_url, Some(token));
    api.get("/integrations")
        .await
        .expect_problem(401, "unauthenticated");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_jwt_may_be_as_long_as_a_requests_head() {
    let service = Service::start().await;
    let token = jwt(&json!({ "sub": "ada", "exp": 4_000_000_000_u32, "groups": "g".repeat(7_000) }));
    assert!(token.len() > 9_000, "{}", token.len());
    service
        .with_token(&token)
        .get("/integrations")
        .await
        .expect_status(200);
    service.stop().await;
}
