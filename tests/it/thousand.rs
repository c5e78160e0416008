//! A thousand people connect at once.

use std::{collections::BTreeMap, sync::Arc};

use oauth_manager::dev::simulator::{Endpoint, Provider};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{APPLICATION, Api, Service, parameter};

const FLOWS: usize = 1_000;
/// Fewer than flows: each user connects several accounts at the same time.
const USERS: usize = 20;

async fn connect(service: &Service, api: &Api, number: usize) -> Result<String, String> {
    let provider = if number.is_multiple_of(2) {
        "google"
    } else {
        "notion"
    };
    // A name nobody has registered makes a new person.
    let request = json!({
        "provider": provider, "return_to": APPLICATION, "login_hint": format!("person-{number}@example.com"),
    });
    let begun = api.post("/authorizations", request).await;
    if begun.status != 201 {
        return Err(format!("{begun:?}"));
    }
    // Notion takes no hint: who is at its consent page is the browser's affair.
    let mut browser = service.browser();
    let provider_page = browser
        .step(begun.body["authorization_url"].as_str().unwrap())
        .await;
    if provider_page.status != 303 {
        return Err(format!("{provider_page:?}"));
    }
    let mut url = provider_page.url;
    url.query_pairs_mut()
        .append_pair("_sim_user", &format!("person-{number}"));
    let end = browser.open(url.as_str()).await;
    let (Some(id), Some(confirmation)) = (
        parameter(&end.url, "authorization_id"),
        parameter(&end.url, "confirmation"),
    ) else {
        return Err(format!("{end:?}"));
    };
    let path = format!("/authorizations/{id}/confirm");
    let connected = api.post(&path, json!({ "confirmation": confirmation })).await;
    if connected.status != 200 || connected.body["status"] != "active" {
        return Err(format!("{connected:?}"));
    }
    Ok(connected.body["id"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_flows_at_once_all_connect() {
    let service = Arc::new(Service::start().await);
    let users: Vec<Api> = (0..USERS)
        .map(|number| service.user(&format!("user-{number}")))
        .collect();
    let mut flows = JoinSet::new();
    for number in 0..FLOWS {
        let (service, api) = (Arc::clone(&service), users[number % USERS].clone());
        flows.spawn(async move { connect(&service, &api, number).await });
    }
    let results = flows.join_all().await;

    let failures: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {FLOWS} failed, the first with {}",
        failures.len(),
        failures[0]
    );
    let ids: std::collections::BTreeSet<_> = results.iter().flatten().collect();
    assert_eq!(ids.len(), FLOWS);
    for (provider, expected) in [(Provider::Google, FLOWS / 2), (Provider::Notion, FLOWS / 2)] {
        let sent = service.simulator.requests_to(provider, Endpoint::Exchange);
        assert_eq!(sent.len(), expected, "a code is exchanged once");
    }
    assert!(service.simulator.refusals().is_empty());

    // Everybody's are theirs: as many as they began, and each audited.
    let rows = service
        .sql()
        .await
        .query(
            "SELECT subject, count(*) FROM oauth_integrations WHERE status = 'active' GROUP BY 1",
            &[],
        )
        .await
        .unwrap();
    let of_each: BTreeMap<String, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(of_each.len(), USERS);
    assert!(of_each.values().all(|count| *count == (FLOWS / USERS) as i64));
    let audited: i64 = service
        .sql()
        .await
        .query_one(
            "SELECT count(*) FROM oauth_audit_log WHERE action = 'connect' AND outcome = 'success'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(audited, FLOWS as i64);
}
