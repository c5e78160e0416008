//! Two users: what is one's does not exist for the other. The answers are equal to the last byte but for the request id.

use oauth_manager::dev::simulator::Endpoint;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Flow, Service};

/// Of the same provider, and nobody's.
const NOBODYS_UUID: &str = "01890a5dac96774bbcceb302099a8057";

/// Everything a caller can compare, without what differs by design.
fn comparable(mut answer: Answer) -> (u16, Vec<(String, String)>, Value) {
    assert!(answer.body["request_id"].is_string(), "{answer:?}");
    answer.body["request_id"] = Value::Null;
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "x-request-id" | "date"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (answer.status, headers, answer.body)
}

/// The same request about another's and about nobody's gets the same answer.
async fn equal(api: &Api, method: Method, template: &str, theirs: &str, nobodys: &str, body: Option<Value>) {
    let mut answers = Vec::new();
    for id in [theirs, nobodys] {
        let path = template.replace("{}", id);
        let body = body.as_ref().map(Value::to_string);
        answers.push(comparable(api.send(method.clone(), &path, body).await));
    }
    assert_eq!(answers[0], answers[1], "{method} {template}");
    assert_eq!(answers[0].0, 404, "{method} {template}: {:?}", answers[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_users_accounts_do_not_exist_for_another() {
    let service = Service::start().await;
    for provider in ["google", "notion"] {
        let integration = service.connect("ada", provider).await;
        let adas = integration["id"].as_str().unwrap();
        let nobodys = format!("{provider}_{NOBODYS_UUID}");
        let ben = service.user("ben");
        let before = service.simulator.requests().len();
        equal(&ben, Method::GET, "/integrations/{}", adas, &nobodys, None).await;
        equal(
            &ben,
            Method::POST,
            "/integrations/{}/refresh",
            adas,
            &nobodys,
            None,
        )
        .await;
        equal(
            &ben,
            Method::GET,
            "/integrations/{}/consents",
            adas,
            &nobodys,
            None,
        )
        .await;
        equal(&ben, Method::DELETE, "/integrations/{}", adas, &nobodys, None).await;

        // A service that acts for the other user sees as little, however far its policy reaches.
        let consumer = service.service(&["*:*"]).await;
        equal(
            &consumer,
            Method::GET,
            "/integrations/{}?user=ben",
            adas,
            &nobodys,
            None,
        )
        .await;
        equal(
            &consumer,
            Method::POST,
            "/integrations/{}/refresh?user=ben",
            adas,
            &nobodys,
            None,
        )
        .await;
        equal(
            &consumer,
            Method::DELETE,
            "/integrations/{}?user=ben",
            adas,
            &nobodys,
            None,
        )
        .await;
        let by_account = "/users/ben/token?account={}&provider=";
        let by_account = format!("{by_account}{provider}");
        equal(&consumer, Method::GET, &by_account, adas, &nobodys, None).await;
        assert_eq!(
            service.simulator.requests().len(),
            before,
            "the provider was asked"
        );

        // Lists and audit hold nothing of it.
        for path in ["/integrations", "/audit"] {
            let list = ben.get(path).await.expect_status(200);
            assert!(!list.to_string().contains(adas), "{list:#}");
        }
        // The control: for its owner all of it works.
        let ada = service.user("ada");
        ada.get(&format!("/integrations/{adas}")).await.expect_status(200);
        ada.get(&format!("/integrations/{adas}/consents"))
            .await
            .expect_status(200);
        let by_account = by_account.replace("ben", "ada").replace("{}", adas);
        consumer.get(&by_account).await.expect_status(200);
        ada.post(&format!("/integrations/{adas}/refresh"), json!({}))
            .await
            .expect_status(200);
        consumer
            .delete(&format!("/integrations/{adas}?user=ada"))
            .await
            .expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_users_flows_do_not_exist_for_another() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let end = flow.arrive().await;
    let nobodys = "01890a5d-ac96-774b-bcce-b302099a8057";
    let ben = service.user("ben");
    let consumer = service.service(&["*:*"]).await;
    equal(&ben, Method::GET, "/authorizations/{}", &flow.id, nobodys, None).await;
    equal(
        &consumer,
        Method::GET,
        "/authorizations/{}?user=ben",
        &flow.id,
        nobodys,
        None,
    )
    .await;
    // A guess at the confirmation tells nothing, and harms nothing.
    let guess = Some(json!({ "confirmation": "guess" }));
    equal(
        &ben,
        Method::POST,
        "/authorizations/{}/confirm",
        &flow.id,
        nobodys,
        guess,
    )
    .await;
    let guess = Some(json!({ "confirmation": "guess", "user": "ben" }));
    equal(
        &consumer,
        Method::POST,
        "/authorizations/{}/confirm",
        &flow.id,
        nobodys,
        guess,
    )
    .await;
    let right = json!({ "confirmation": end.query("confirmation").unwrap(), "user": "ada" });
    consumer
        .post(&format!("/authorizations/{}/confirm", flow.id), right)
        .await
        .expect_status(200);
}

/// Widening or reconnecting another's account from one's own flow.
#[tokio::test(flavor = "multi_thread")]
async fn a_flow_cannot_be_begun_for_anothers_account() {
    let service = Service::start().await;
    let adas = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let ben = service.user("ben");
    let mut answers = Vec::new();
    for id in [adas.clone(), format!("google_{NOBODYS_UUID}")] {
        let body =
            json!({ "provider": "google", "integration_id": id, "return_to": crate::harness::APPLICATION });
        answers.push(comparable(ben.post("/authorizations", body).await));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, 404);
    let body =
        json!({ "provider": "google", "integration_id": adas, "return_to": crate::harness::APPLICATION });
    service
        .user("ada")
        .post("/authorizations", body)
        .await
        .expect_status(201);
}

/// Two users may hold the same account at the provider; each has their own connection to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_account_of_two_users_is_two_connections() {
    let service = Service::start().await;
    let adas = service.connect("ada", "notion").await;
    let bens = service.connect("ben", "notion").await;
    assert_ne!(adas["id"], bens["id"]);
    assert_eq!(adas["account"]["id"], bens["account"]["id"]);
    let consumer = service.service(&["*:*"]).await;
    let token = |answer: Value| answer["access_token"].as_str().unwrap().to_owned();
    let of_ada = token(
        consumer
            .get("/users/ada/token?provider=notion")
            .await
            .expect_status(200),
    );
    let of_ben = token(
        consumer
            .get("/users/ben/token?provider=notion")
            .await
            .expect_status(200),
    );
    assert_ne!(of_ada, of_ben);
    assert_eq!(
        service
            .simulator
            .requests_to(
                oauth_manager::dev::simulator::Provider::Notion,
                Endpoint::Exchange
            )
            .len(),
        2
    );
}
