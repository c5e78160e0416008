//! At three in the morning the service explains itself to operators, and to nobody else.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use oauth_manager_actors::domain::client::Policy;
use serde_json::{Value, json};

use crate::harness::{Api, Program, Service, eventually};

const PATHS: [&str; 5] = [
    "/admin/providers",
    "/admin/actors",
    "/admin/integrations",
    "/admin/integrations/google_00000000000000000000000000000000",
    "/admin/keys",
];

async fn operator(service: &Service) -> Api {
    let policy = Policy {
        admin: true,
        ..Policy::default()
    };
    service.client(policy).await
}

fn item<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    assert_eq!(list["next"], Value::Null, "{list:#}");
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .find(|item| item[key] == value)
        .unwrap_or_else(|| panic!("no {value}: {list:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_operators_are_told() {
    let service = Service::start().await;
    let trusted = service.service(&["*:*"]).await;
    for path in PATHS {
        service
            .anonymous()
            .get(path)
            .await
            .expect_problem(401, "unauthenticated");
        service
            .with_token("oms_nobody_has_this_credential_at_all_0123456789")
            .get(path)
            .await
            .expect_problem(401, "unauthenticated");
        service
            .user("ada")
            .get(path)
            .await
            .expect_problem(403, "forbidden");
        trusted.get(path).await.expect_problem(403, "forbidden");
    }
    // The same questions of an operator: answered, or about an account that does not exist.
    let operator = operator(&service).await;
    for path in PATHS {
        let answer = operator.get(path).await;
        let expected = if path.ends_with("000") { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
    }
    // An operator is not thereby a service that receives tokens.
    let id = service.connect("ada", "google").await["id"].clone();
    operator
        .get(&format!("/integrations/{}/token", id.as_str().unwrap()))
        .await
        .expect_problem(403, "forbidden");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_this_services_registration_is_told_with_cause_and_next_probe() {
    let service = Service::start().await;
    let operator = operator(&service).await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = operator.get("/admin/providers").await.expect_status(200);
    let google = item(&before, "provider", "google");
    assert_eq!(google["egress"]["breaker"], "closed");
    assert_eq!(
        (&google["egress"]["in_flight"], &google["egress"]["queued"]),
        (&json!(0), &json!(0))
    );
    assert!(google["egress"]["max_concurrency"].as_u64().unwrap() > 0);
    assert!(google["egress"]["retries_left"].is_u64(), "{google:#}");
    assert_eq!(google["client_secret"], json!(null), "one is configured");

    service
        .simulator
        .set_client_secret(Provider::Google, "not-the-configured-one");
    let refresh = format!("/integrations/{id}/refresh");
    service
        .user("ada")
        .post(&refresh, json!({}))
        .await
        .expect_problem(503, "provider_paused");
    let after = operator.get("/admin/providers").await.expect_status(200);
    let google = item(&after, "provider", "google");
    assert_eq!(google["egress"]["breaker"], "open", "{google:#}");
    assert_eq!(google["egress"]["cause"], "operator");
    assert_eq!(google["egress"]["reason"], "invalid_client");
    assert_eq!(google["who_must_act"], "operator");
    assert!(
        google["egress"]["since"].is_string() && google["egress"]["next_probe_at"].is_string(),
        "{google:#}"
    );
    assert_eq!(
        item(&after, "provider", "microsoft")["egress"]["breaker"],
        "closed"
    );

    // The account stands as it stood, and says why its refresh does not come.
    let account = operator
        .get(&format!("/admin/integrations/{id}"))
        .await
        .expect_status(200);
    assert_eq!(account["status"], "active", "{account:#}");
    assert_eq!(account["user"], "ada");
    assert!(
        account["history"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["action"] == "refresh" && row["error"] == "invalid_client"),
        "{account:#}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_need_somebody_are_listed_with_why_since_when_and_whose() {
    let service = Service::start().await;
    let operator = operator(&service).await;
    let dead = service.connect("grace", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let weather = service.connect("linus", "microsoft").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    service.simulator.revoke(Provider::Google, None);
    let well = service.connect("ada", "google").await["id"].clone();
    service
        .user("grace")
        .post(&format!("/integrations/{dead}/refresh"), json!({}))
        .await
        .expect_problem(409, "reauth_required");
    let fault = Fault::PlainOauthError {
        code: "temporarily_unavailable".into(),
    };
    service
        .simulator
        .inject(Provider::Microsoft, Endpoint::Refresh, fault, 1_000);
    let refused = service
        .user("linus")
        .post(&format!("/integrations/{weather}/refresh"), json!({}))
        .await;
    assert_eq!(refused.status, 503, "{refused:?}");

    let listed = async |query: &str| {
        operator
            .get(&format!("/admin/integrations{query}"))
            .await
            .expect_status(200)
    };
    let ids = |list: &Value| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let needing = listed("").await;
    assert_eq!(ids(&needing), [dead.as_str()], "{needing:#}");
    let grace = &needing["items"][0];
    assert_eq!(grace["user"], "grace");
    assert_eq!(grace["explanation"]["who_must_act"], "user");
    assert!(
        grace["explanation"]["because"]
            .as_str()
            .unwrap()
            .contains("invalid_grant"),
        "{grace:#}"
    );
    assert!(grace["explanation"]["since"].is_string());
    assert_eq!(ids(&listed("?who=user").await), [dead.as_str()]);
    assert!(ids(&listed("?who=admin").await).is_empty());
    assert_eq!(ids(&listed("?status=degraded").await), [weather.as_str()]);
    assert_eq!(ids(&listed("?who=nobody").await), [weather.as_str()]);
    assert_eq!(ids(&listed("?status=active").await), [well.as_str().unwrap()]);
    for query in ["?who=me", "?status=fine", "?limit=0", "?since=1"] {
        operator
            .get(&format!("/admin/integrations{query}"))
            .await
            .expect_problem(400, "invalid_request");
    }

    // The command line says the same of the database alone.
    let program = Program::new(&service.toml);
    let shown = program
        .run(&["integrations", "show", &weather])
        .await
        .expect_success();
    for said in [
        "degraded",
        "temporarily_unavailable",
        "the next try is",
        "nobody has to act",
        "linus",
        "refresh",
    ] {
        assert!(shown.contains(said), "{said} is not in\n{shown}");
    }
    let list = program
        .run(&["integrations", "list", "--status", "reauth_required"])
        .await
        .expect_success();
    assert!(
        list.contains(&dead) && list.contains("invalid_grant") && !list.contains(&weather),
        "{list}"
    );
    let troubled = program
        .run(&["integrations", "list", "--troubled", "--json"])
        .await
        .expect_success();
    let troubled: Value = serde_json::from_str(&troubled).unwrap();
    assert_eq!(troubled.as_array().unwrap().len(), 1, "{troubled:#}");
    assert_eq!(troubled[0]["explanation"]["who_must_act"], "user");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn troubled_accounts_come_in_pages() {
    let service = Service::start().await;
    let operator = operator(&service).await;
    for user in ["ada", "grace", "linus"] {
        service.connect(user, "google").await;
    }
    let sql = service.sql().await;
    sql.batch_execute(
        "UPDATE oauth_integrations SET status = 'paused', status_reason = 'policy', who_must_act = 'admin'",
    )
    .await
    .unwrap();
    let (mut users, mut after) = (Vec::new(), String::new());
    loop {
        let page = operator
            .get(&format!("/admin/integrations?limit=2{after}"))
            .await
            .expect_status(200);
        users.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["user"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(users, ["linus", "grace", "ada"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actors_and_keys_are_shown_and_no_key_is() {
    let service = Service::start().await;
    let operator = operator(&service).await;
    let consumer = service.service(&["*:*"]).await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    let victim = id.parse().unwrap();
    for failures in 1..=5 {
        service.manager.inject_panic(&victim);
        eventually("it is back, or in quarantine", || async {
            let seen = service.manager.observe(&"google".parse().unwrap()).await.unwrap();
            (seen.restarts == failures && seen.in_transit == 0).then_some(())
        })
        .await;
    }
    let actors = eventually("it is in quarantine and work was looked for", || async {
        let actors = operator.get("/admin/actors").await.expect_status(200);
        let quarantined = actors["providers"]
            .as_array()?
            .iter()
            .any(|provider| provider["quarantined"] == 1);
        (quarantined && actors["scheduler"]["last_look_at"].is_string()).then_some(actors)
    })
    .await;
    let google = actors["providers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|provider| provider["provider"] == "google")
        .unwrap();
    assert_eq!(google["quarantine"][0]["id"], id.as_str(), "{google:#}");
    assert!(google["quarantine"][0]["until"].is_string(), "{google:#}");
    assert_eq!(google["restarts"], 5);
    assert_eq!(actors["registry"], "running");
    assert_eq!(actors["scheduler"]["blind"], false);
    assert!(actors["audit"]["pending_rows"].is_u64(), "{actors:#}");

    let keys = operator.get("/admin/keys").await;
    let text = keys.body.to_string();
    assert!(!text.contains(crate::harness::ENCRYPTION_KEY), "{text}");
    let keys = keys.expect_status(200);
    let test = item(&keys, "id", "test");
    assert_eq!(
        (&test["active"], &test["configured"], &test["data_keys"]),
        (&json!(true), &json!(true), &json!(1)),
        "{keys:#}"
    );
    service.stop().await;
}
