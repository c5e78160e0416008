//! One grant at Google behind several connections: shown before one of them is taken back, and true afterwards.

use oauth_manager::dev::simulator::{Endpoint, Provider};

use super::{connect, refresh, service, service_with, token, view};
use crate::harness::{Api, Service};

/// YouTube under Google's client id, as in one project. The simulator's YouTube has a token endpoint of its own, which the
/// real one has not.
fn one_project(toml: String) -> String {
    let mut toml = toml;
    for (youtube, google) in [
        ("407408718193-simulator", "407408718192-simulator"),
        ("GOCSPX-simulator_YouTube-0", "GOCSPX-simulator_Google-0"),
        ("/youtube/o/oauth2", "/google/o/oauth2"),
        ("/youtube/token", "/google/token"),
        ("/youtube/revoke", "/google/revoke"),
        ("/youtube/oauth2/v3/certs", "/google/oauth2/v3/certs"),
    ] {
        assert!(toml.contains(youtube), "{toml}");
        toml = toml.replace(youtube, google);
    }
    toml
}

fn told(service: &Service) -> usize {
    service
        .simulator
        .requests_to(Provider::Google, Endpoint::Revoke)
        .len()
}

async fn take_back(api: &Api, id: &str) -> serde_json::Value {
    api.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_one_of_two_connections_that_share_a_grant_is_shown_before_and_true_after() {
    let service = service_with(one_project).await;
    let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    let calendar = connect(&service, "ada", &["google.calendar"]).await;
    let tube = connect(&service, "ada", &["youtube.playlists"]).await;
    let held = token(&consumer, "google.calendar").await;

    let mut browser = service.browser_of("ada").await;
    let url = format!(
        "{}/connections/disconnect?integration_id={tube}",
        service.base_url
    );
    let page = browser.open(&url).await.body;
    assert!(
        page.contains("also used by") && page.contains("These go on working"),
        "{page}"
    );
    assert!(!page.contains("somebody else"), "{page}");

    let report = take_back(&ada, &tube).await;
    assert_eq!(report["provider_revocation"], "unsupported");
    assert!(
        report["detail"].as_str().unwrap().contains("the last of them"),
        "{report:#}"
    );
    assert_eq!(told(&service), 0, "the grant is still needed");
    assert_eq!(view(&ada, &calendar).await["status"], "active");
    assert_eq!(token(&consumer, "google.calendar").await, held);
    assert!(service.simulator.access_token_is_live(&held));
    refresh(&ada, &calendar).await;
    let kept = "SELECT count(*) FROM oauth_tokens WHERE access_token IS NOT NULL";
    let kept: i64 = service.sql().await.query_one(kept, &[]).await.unwrap().get(0);
    assert_eq!(kept, 1, "what was taken back is forgotten");

    let url = format!(
        "{}/connections/disconnect?integration_id={calendar}",
        service.base_url
    );
    let page = browser.open(&url).await.body;
    assert!(!page.contains("also used by"), "{page}");
    let held = token(&consumer, "google.calendar").await;
    let report = take_back(&ada, &calendar).await;
    assert_eq!(report["provider_revocation"], "confirmed");
    assert_eq!(told(&service), 1);
    assert!(!service.simulator.access_token_is_live(&held));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_connected_by_two_users_outlives_the_first_of_them_to_leave() {
    let service = service().await;
    let (ada, ben) = (service.user("ada"), service.user("ben"));
    let adas = connect(&service, "ada", &["google.calendar"]).await;
    let bens = connect(&service, "ben", &["google.calendar"]).await;
    let mut browser = service.browser_of("ada").await;
    let url = format!(
        "{}/connections/disconnect?integration_id={adas}",
        service.base_url
    );
    let page = browser.open(&url).await.body;
    assert!(page.contains("somebody else") && !page.contains(&bens), "{page}");
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap().to_owned();
    let url = format!("{}/connections/disconnect", service.base_url);
    let page = browser
        .submit(&url, &[("csrf", &csrf), ("integration_id", &adas)])
        .await;
    assert!(page.body.contains("stays there until the last"), "{page:?}");
    assert_eq!(told(&service), 0);
    assert_eq!(view(&ada, &adas).await["status"], "revoked");
    refresh(&ben, &bens).await;
    assert_eq!(take_back(&ben, &bens).await["provider_revocation"], "confirmed");
    assert_eq!(told(&service), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_grants_of_their_own_end_at_the_provider_one_by_one() {
    let service = service().await;
    let (ada, ben) = (service.user("ada"), service.user("ben"));
    let adas = connect(&service, "ada", &["acme.profile"]).await;
    let bens = connect(&service, "ben", &["acme.profile"]).await;
    assert_eq!(take_back(&ada, &adas).await["provider_revocation"], "confirmed");
    refresh(&ben, &bens).await;
    // A dead connection holds nothing that could be hurt.
    let adas = connect(&service, "ada", &["google.calendar"]).await;
    connect(&service, "ben", &["google.calendar"]).await;
    let dead = "UPDATE oauth_integrations SET status = 'reauth_required', status_reason = 'invalid_grant', \
                who_must_act = 'user' WHERE subject = 'ben' AND provider = 'google'";
    service.sql().await.execute(dead, &[]).await.unwrap();
    assert_eq!(take_back(&ada, &adas).await["provider_revocation"], "confirmed");
}
