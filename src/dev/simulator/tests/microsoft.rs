//! Microsoft.

use std::time::Duration;

use super::{Bench, bench, text};
use crate::dev::simulator::Provider::Microsoft;

const SCOPE: (&str, &str) = ("scope", "openid profile email offline_access User.Read Mail.Read");

async fn refresh_with(bench: &Bench, refresh_token: &str, scope: &str) -> super::Got {
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("scope", scope),
    ];
    bench.send(bench.token_request(Microsoft, &fields)).await.unwrap()
}

#[tokio::test]
async fn happy_path_gives_prefixed_scopes_and_an_issuer_by_tenant() {
    let bench = bench().await;
    let tokens = bench.connect(Microsoft, &[SCOPE]).await;
    let scope = text(&tokens, "scope");
    assert!(scope.contains("https://graph.microsoft.com/Mail.Read"), "{scope}");
    assert!(
        scope.contains("openid") && !scope.contains("offline_access"),
        "{scope}"
    );
    assert!((3599..=5400).contains(&tokens["ext_expires_in"].as_i64().unwrap()));
    let ada = bench.simulator.account(Microsoft, "ada");
    let (client_id, _) = bench.simulator.client(Microsoft);
    let keys = "microsoft/common/discovery/v2.0/keys";
    let claims = bench.verify(keys, &tokens["id_token"], &client_id).await.unwrap();
    assert_eq!(
        text(&claims, "iss"),
        bench.url(&format!("microsoft/{}/v2.0", ada.tenant))
    );
    assert_eq!(
        (text(&claims, "tid"), text(&claims, "oid")),
        (ada.tenant.as_str(), ada.subject.as_str())
    );
    let access_token = text(&tokens, "access_token");
    assert_eq!(
        bench
            .get_as("microsoft/v1.0/me?$select=id", access_token)
            .await
            .status,
        200
    );
    assert_eq!(
        bench
            .get_as("microsoft/v1.0/me/mailFolders?$top=1", access_token)
            .await
            .status,
        200
    );
    let denied = bench
        .get_as("microsoft/v1.0/me/calendars?$top=1", access_token)
        .await;
    assert_eq!(
        (denied.status, denied.json()["error"]["code"].as_str()),
        (403, Some("ErrorAccessDenied"))
    );
    assert_eq!(
        bench.get_as("microsoft/oidc/userinfo", access_token).await.json()["email"],
        ada.email
    );
}

#[tokio::test]
async fn discovery_of_common_has_a_placeholder() {
    let bench = bench().await;
    let common = bench
        .get("microsoft/common/v2.0/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(
        text(&common, "issuer"),
        format!("{}microsoft/{{tenantid}}/v2.0", bench.simulator.url())
    );
    assert!(common["revocation_endpoint"].is_null());
    let nowhere = bench
        .get("microsoft/nowhere/v2.0/.well-known/openid-configuration")
        .await;
    assert_eq!(nowhere.status, 404);
}

#[tokio::test]
async fn refresh_rotates_and_the_old_token_stays_good() {
    let bench = bench().await;
    let tokens = bench.connect(Microsoft, &[SCOPE]).await;
    let first = text(&tokens, "refresh_token");
    let second = bench.refresh(Microsoft, first).await.json();
    assert_ne!(text(&second, "refresh_token"), first);
    assert_eq!(bench.refresh(Microsoft, first).await.status, 200);
    bench.simulator.advance(Duration::from_hours(91 * 24));
    let dead = bench.refresh(Microsoft, first).await;
    assert_eq!(dead.json()["error_codes"][0], 700_082);
    assert_eq!(dead.refusal(), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn revoked_consent_is_50173() {
    let bench = bench().await;
    let tokens = bench.connect(Microsoft, &[SCOPE]).await;
    assert_eq!(bench.simulator.revoke(Microsoft, Some("ada")), 1);
    let dead = bench
        .refresh(Microsoft, text(&tokens, "refresh_token"))
        .await
        .json();
    assert_eq!(dead["error_codes"][0], 50173);
    assert!(text(&dead, "error_description").starts_with("AADSTS50173: "));
}

#[tokio::test]
async fn without_offline_access_there_is_no_refresh_token() {
    let bench = bench().await;
    assert!(bench.connect(Microsoft, &[("scope", "openid User.Read")]).await["refresh_token"].is_null());
}

#[tokio::test]
async fn one_access_token_is_for_one_resource() {
    let bench = bench().await;
    let scope = "openid offline_access Mail.Read https://acme.sharepoint.com/AllSites.Read";
    let tokens = bench.connect(Microsoft, &[("scope", scope)]).await;
    let refresh_token = text(&tokens, "refresh_token");
    let mixed = refresh_with(
        &bench,
        refresh_token,
        "Mail.Read https://acme.sharepoint.com/AllSites.Read",
    )
    .await;
    assert_eq!(mixed.json()["error_codes"][0], 28002);
    let other = refresh_with(&bench, refresh_token, "https://acme.sharepoint.com/AllSites.Read")
        .await
        .json();
    assert_eq!(text(&other, "scope"), "https://acme.sharepoint.com/AllSites.Read");
    let case = refresh_with(&bench, refresh_token, "https://graph.microsoft.com/mail.read")
        .await
        .json();
    assert_eq!(text(&case, "scope"), "https://graph.microsoft.com/Mail.Read");
    let unasked = refresh_with(&bench, refresh_token, "Files.Read").await.json();
    assert_eq!(unasked["error_codes"][0], 65001);
}

#[tokio::test]
async fn confidential_clients_send_no_origin_and_the_right_secret() {
    let bench = bench().await;
    let fields = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let origin = bench
        .token_request(Microsoft, &fields)
        .header("origin", "https://app.example");
    assert_eq!(
        bench.send(origin).await.unwrap().json()["error_codes"][0],
        9_002_326
    );
    bench.simulator.set_client_secret(Microsoft, "another");
    let right = bench.token_request(Microsoft, &fields);
    assert_eq!(bench.send(right).await.unwrap().json()["error_codes"][0], 70000);
    let (id, _) = bench.simulator.client(Microsoft);
    let post = [
        fields[0],
        fields[1],
        ("client_id", &id),
        ("client_secret", "stale"),
    ];
    let stale = bench
        .send(bench.form_request("microsoft/common/oauth2/v2.0/token", &post))
        .await
        .unwrap();
    assert_eq!(
        (stale.status, &stale.json()["error_codes"][0]),
        (401, &7_000_215.into())
    );
}

#[tokio::test]
async fn personal_accounts_stay_out_of_organizations() {
    let bench = bench().await;
    let url = bench.authorization_url(Microsoft, &[SCOPE, ("_sim_user", "chiyo")]);
    let organizations = url.replace("/common/", "/organizations/");
    assert_eq!(
        bench.send(bench.http.get(organizations)).await.unwrap().status,
        400
    );
    assert_eq!(bench.send(bench.http.get(url)).await.unwrap().status, 302);
    let ada = bench.connect(Microsoft, &[SCOPE]).await;
    for (person, status) in [("ada", 200), ("chiyo", 400)] {
        let tenant = bench.simulator.account(Microsoft, person).tenant;
        let (id, secret) = bench.simulator.client(Microsoft);
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", text(&ada, "refresh_token")),
            ("client_id", &id),
            ("client_secret", &secret),
        ];
        let path = format!("microsoft/{tenant}/oauth2/v2.0/token");
        assert_eq!(
            bench
                .send(bench.form_request(&path, &fields))
                .await
                .unwrap()
                .status,
            status,
            "{person}"
        );
    }
    let teams = [("scope", "openid Team.ReadBasic.All"), ("_sim_user", "chiyo")];
    assert_eq!(
        bench.authorize(Microsoft, &teams).await.callback()["error"],
        "invalid_scope"
    );
}
