//! Whatever a provider answers while an account is connected: the flow fails with a reason, nothing is connected, and the
//! next one works.

use oauth_manager::dev::simulator::{Endpoint, Fault, IdTokenFlaw, Provider};
use serde_json::{Value, json};

use crate::{
    harness::{Answer, Service},
    provider_faults::impatient,
};

/// A flow up to its confirmation.
async fn flow(service: &Service, mut request: Value) -> Answer {
    let user = service.user("ada");
    request["return_to"] = crate::harness::APPLICATION.into();
    let begun = user.post("/authorizations", request).await.expect_status(201);
    let end = service
        .browser()
        .open(begun["authorization_url"].as_str().unwrap())
        .await;
    let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
    let path = format!(
        "/authorizations/{}/confirm",
        end.query("authorization_id").unwrap()
    );
    user.post(&path, confirmation).await
}

async fn connected(service: &Service) -> Vec<Value> {
    let list = service.user("ada").get("/integrations").await.expect_status(200);
    list["items"].as_array().unwrap().clone()
}

async fn fails_and_leaves_nothing(service: &Service, provider: Provider, name: &str, fault: Fault) {
    let case = format!("{}: {name}", provider.key());
    service.simulator.inject(provider, Endpoint::Exchange, fault, 1);
    let answer = flow(service, json!({ "provider": provider.key() })).await;
    assert_eq!(service.simulator.pending_faults(), 0, "{case}: met nothing");
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
    assert!(connected(service).await.is_empty(), "{case}");
}

async fn then_works(service: &Service, provider: Provider) {
    crate::harness::eventually("the next flow works", || async {
        let answer = flow(service, json!({ "provider": provider.key() })).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(connected(service).await[0]["status"], "active");
}

async fn every_flaw_of_an_id_token(provider: Provider) {
    let service = Service::start_with(impatient()).await;
    for flaw in [
        IdTokenFlaw::BadSignature,
        IdTokenFlaw::UnknownKey,
        IdTokenFlaw::Unsigned,
        IdTokenFlaw::SymmetricWithPublicKey,
        IdTokenFlaw::WrongNonce,
        IdTokenFlaw::MissingNonce,
        IdTokenFlaw::WrongAudience,
        IdTokenFlaw::WrongAuthorizedParty,
        IdTokenFlaw::WrongIssuer,
        IdTokenFlaw::Expired,
        IdTokenFlaw::IssuedInTheFuture,
        IdTokenFlaw::WrongAccessTokenHash,
        IdTokenFlaw::MissingSubject,
        IdTokenFlaw::Garbage,
    ] {
        fails_and_leaves_nothing(&service, provider, &format!("{flaw:?}"), Fault::IdToken { flaw }).await;
    }
    fails_and_leaves_nothing(&service, provider, "no ID token", Fault::OmitIdToken).await;
    then_works(&service, provider).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_of_googles_with_any_flaw_connects_nobody() {
    every_flaw_of_an_id_token(Provider::Google).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_of_microsofts_with_any_flaw_connects_nobody() {
    every_flaw_of_an_id_token(Provider::Microsoft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_goes_wrong_connects_nobody_and_the_next_one_works() {
    for provider in [
        Provider::Google,
        Provider::Microsoft,
        Provider::Notion,
        Provider::YouTube,
    ] {
        let service = Service::start_with(impatient()).await;
        for (name, fault) in [
            ("a page", Fault::HtmlBody { status: 502 }),
            ("nothing", Fault::EmptyBody { status: 200 }),
            ("nonsense", Fault::NonsenseJson),
            ("too much", Fault::HugeBody { mebibytes: 16 }),
            ("a reset", Fault::Reset),
            ("silence", Fault::Hang),
            ("a lost answer", Fault::LoseAnswer),
            ("half an answer", Fault::TruncateQuietly),
            ("a server error", Fault::ServerError { status: 503 }),
            ("too many requests", Fault::TooManyRequests { retry_after: None }),
            (
                "a wrong code",
                Fault::Error {
                    code: "invalid_grant".to_owned(),
                },
            ),
            (
                "a wrong client",
                Fault::Error {
                    code: "invalid_client".to_owned(),
                },
            ),
            (
                "no access token",
                Fault::Remove {
                    field: "access_token".to_owned(),
                },
            ),
        ] {
            // The fault of the one before may have opened the breaker for a moment.
            crate::harness::eventually("the provider is called again", || async {
                let observed = service
                    .manager
                    .observe(&provider.key().parse().unwrap())
                    .await
                    .unwrap();
                if observed.breaker.is_none() {
                    return Some(());
                }
                service.simulator.clear_faults();
                flow(&service, json!({ "provider": provider.key() })).await;
                for integration in connected(&service).await {
                    let path = format!("/integrations/{}", integration["id"].as_str().unwrap());
                    service.user("ada").delete(&path).await;
                }
                None
            })
            .await;
            fails_and_leaves_nothing(&service, provider, name, fault).await;
        }
        then_works(&service, provider).await;
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_than_the_one_to_reconnect_is_refused_and_the_present_one_works_on() {
    for provider in [
        Provider::Google,
        Provider::Microsoft,
        Provider::Notion,
        Provider::YouTube,
    ] {
        let service = Service::start_with(impatient()).await;
        let consumer = service.service(&["*:*"]).await;
        let integration = service.connect("ada", provider.key()).await;
        let request = json!({ "provider": provider.key(), "integration_id": integration["id"] });
        let fault = Fault::OtherAccount {
            key: "grace".to_owned(),
        };
        service.simulator.inject(provider, Endpoint::Exchange, fault, 1);
        flow(&service, request.clone())
            .await
            .expect_problem(409, "account_mismatch");
        let views = connected(&service).await;
        assert_eq!(views.len(), 1, "{}", provider.key());
        assert_eq!(views[0]["account"], integration["account"]);
        let path = format!("/integrations/{}/token", integration["id"].as_str().unwrap());
        let token = consumer.get(&path).await.expect_status(200);
        assert!(
            service
                .simulator
                .access_token_is_live(token["access_token"].as_str().unwrap())
        );
        // The same account is welcome.
        let again = flow(&service, request).await.expect_status(200);
        assert_eq!(again["id"], integration["id"]);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_refresh_about_another_account_is_never_taken_over() {
    let service = Service::start_with(impatient()).await;
    let consumer = service.service(&["*:*"]).await;
    let integration = service.connect("ada", "notion").await;
    let id = integration["id"].as_str().unwrap();
    let before = consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    let fault = Fault::Set {
        field: "bot_id".to_owned(),
        value: json!("00000000-1111-2222-3333-444444444444"),
    };
    service
        .simulator
        .inject(Provider::Notion, Endpoint::Refresh, fault, 1);
    let answer = service
        .user("ada")
        .post(&format!("/integrations/{id}/refresh"), json!({}))
        .await;
    assert!(matches!(answer.status, 409 | 502 | 503), "{:#}", answer.body);
    let view = service
        .user("ada")
        .get(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    assert_eq!(view["account"], integration["account"]);
    let after = consumer.get(&format!("/integrations/{id}/token")).await;
    assert!(
        after.status != 200 || after.body["access_token"] == before["access_token"],
        "{:#}",
        after.body
    );
    service.stop().await;
}
