//! Providers that nobody wrote code for: one line of configuration each, and the same flow as the built-in ones.

use std::fmt::Write as _;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider, Simulator};
use serde_json::json;

use crate::harness::{Service, ServiceOptions, start_simulator};

fn client(toml: &mut String, simulator: &Simulator) {
    let (id, secret) = simulator.client(Provider::Oidc);
    writeln!(toml, "client_id = {id:?}\nclient_secret = {secret:?}").unwrap();
    toml.push_str("refresh_class = \"single_use\"\nallow_loopback = true\n");
}

pub fn openid(simulator: &Simulator) -> String {
    let issuer = simulator.provider_url(Provider::Oidc);
    let mut toml =
        format!("[providers.acme]\ntype = \"oidc\"\ndisplay_name = \"Acme\"\nissuer = \"{issuer}\"\n");
    client(&mut toml, simulator);
    toml.push_str(
        "[providers.acme.features]\n\
         \"acme.profile\" = [\"openid\", \"profile\", \"offline_access\"]\n\
         \"acme.notes\" = [\"openid\", \"offline_access\", \"notes.read\"]\n",
    );
    toml
}

fn plain(simulator: &Simulator) -> String {
    let at = simulator.provider_url(Provider::Oidc);
    let mut toml = format!(
        "[providers.acme]\ntype = \"oauth2\"\ndisplay_name = \"Acme\"\n\
         authorization_endpoint = \"{at}/authorize\"\ntoken_endpoint = \"{at}/token\"\n\
         revocation_endpoint = \"{at}/revoke\"\nuserinfo_endpoint = \"{at}/userinfo\"\n\
         account_id_pointer = \"/sub\"\n"
    );
    client(&mut toml, simulator);
    toml.push_str(
        "[providers.acme.features]\n\"acme.profile\" = [\"openid\", \"profile\", \"offline_access\"]\n",
    );
    toml
}

pub async fn start(configuration: fn(&Simulator) -> String) -> Service {
    let simulator = start_simulator(&ServiceOptions::default()).await;
    let extra_toml = configuration(&simulator);
    let options = ServiceOptions {
        extra_toml,
        ..ServiceOptions::default()
    };
    Service::start_before(simulator, options).await
}

async fn the_whole_flow(service: Service) {
    let user = service.user("ada");
    let consumer = service.service(&["acme:*"]).await;
    let integration = service
        .connect_with("ada", json!({ "provider": "acme", "features": ["acme.profile"] }))
        .await;
    let id = integration["id"].as_str().unwrap();
    assert!(id.starts_with("acme_"), "{id}");
    assert_eq!(integration["status"], "active", "{integration:#}");
    assert!(integration["account"]["id"].is_string(), "{integration:#}");

    let first = consumer
        .get("/users/ada/token?feature=acme.profile")
        .await
        .expect_status(200);
    assert!(
        service
            .simulator
            .access_token_is_live(first["access_token"].as_str().unwrap())
    );

    // Each refresh presents the token of the one before: presenting any twice would end the family.
    for round in 1..=4 {
        let view = user
            .post(&format!("/integrations/{id}/refresh"), json!({}))
            .await
            .expect_status(200);
        assert_eq!(view["status"], "active", "round {round}: {view:#}");
        let token = consumer
            .get(&format!("/integrations/{id}/token?min_ttl=60"))
            .await
            .expect_status(200);
        assert!(
            service
                .simulator
                .access_token_is_live(token["access_token"].as_str().unwrap()),
            "round {round}"
        );
    }
    let refreshes = service.simulator.token_requests(Provider::Oidc, "refresh_token");
    let mut presented: Vec<_> = refreshes
        .iter()
        .map(|request| request.refresh_token().unwrap().to_owned())
        .collect();
    presented.sort();
    presented.dedup();
    assert_eq!((refreshes.len(), presented.len()), (4, 4));

    // PKCE, always.
    let exchange = &service.simulator.requests_to(Provider::Oidc, Endpoint::Exchange)[0];
    assert!(exchange.field("code_verifier").is_some());

    let report = user
        .delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    assert_eq!(report["provider_revocation"], "confirmed", "{report:#}");
    consumer
        .get("/users/ada/token?feature=acme.profile")
        .await
        .expect_problem(404, "not_connected");
    let refusals = service.simulator.refusals();
    assert!(refusals.is_empty(), "{refusals:#?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openid_provider_known_only_from_configuration_goes_through_the_whole_flow() {
    the_whole_flow(start(openid).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_oauth_server_known_only_from_configuration_goes_through_the_whole_flow() {
    the_whole_flow(start(plain).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_feature_of_a_configured_provider_widens_the_same_account() {
    let service = start(openid).await;
    let consumer = service.service(&["acme:*"]).await;
    let first = service
        .connect_with("ada", json!({ "provider": "acme", "features": ["acme.profile"] }))
        .await;
    consumer
        .get("/users/ada/token?feature=acme.notes")
        .await
        .expect_problem(403, "insufficient_scope");
    let second = service
        .connect_with(
            "ada",
            json!({ "provider": "acme", "features": ["acme.notes"], "integration_id": first["id"] }),
        )
        .await;
    assert_eq!(first["id"], second["id"]);
    for feature in ["acme.profile", "acme.notes"] {
        consumer
            .get(&format!("/users/ada/token?feature={feature}"))
            .await
            .expect_status(200);
    }
    service.stop().await;
}

/// GitHub's way: `user:email` asked for together with `user` comes back as `user` alone.
fn with_inclusion(simulator: &Simulator) -> String {
    openid(simulator) + "[providers.acme.scopes.\"notes.read\"]\nimplied_by = [\"notes\"]\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_wider_scope_makes_the_feature_active_and_an_undeclared_one_does_not() {
    for (configuration, status) in [(with_inclusion as fn(&Simulator) -> String, 200), (openid, 403)] {
        let service = start(configuration).await;
        let consumer = service.service(&["acme:*"]).await;
        let told = Fault::Set {
            field: "scope".to_owned(),
            value: json!("openid offline_access notes"),
        };
        service
            .simulator
            .inject(Provider::Oidc, Endpoint::Exchange, told, 1);
        service
            .connect_with("ada", json!({ "provider": "acme", "features": ["acme.notes"] }))
            .await;
        consumer
            .get("/users/ada/token?feature=acme.notes")
            .await
            .expect_status(status);
        service.stop().await;
    }
}
