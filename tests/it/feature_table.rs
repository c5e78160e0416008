//! Every feature of the four providers, with every box of the provider's consent page unticked in turn: the feature's
//! state, the hand-out, the consents and the audit say the same, and what they say is what was ticked.

use std::collections::BTreeSet;

use oauth_manager::dev::simulator::Consent;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{APPLICATION, Api, End, Service, ServiceOptions, eventually};

/// What says who somebody is: granted with every consent, and no box of the page.
const SIGN_IN: [&str; 4] = ["openid", "email", "profile", "offline_access"];

type Scopes = BTreeSet<String>;

/// A feature as the catalogue declares it.
struct Feature {
    key: String,
    /// What is on when it is.
    on: BTreeSet<String>,
    /// Required scopes, each with those that include it.
    needs: Vec<(String, Scopes)>,
    is_capability: bool,
}

/// What the audit is to tell of a user in the end: hand-outs are written in batches.
struct Expected {
    user: String,
    granted: Scopes,
    handed_out: usize,
    refused: usize,
}

struct Table {
    service: Service,
    consumer: Api,
    provider: &'static str,
    /// Of every feature, for the levels' sake.
    features: Vec<Feature>,
}

fn texts(list: &Value) -> Scopes {
    let items = list.as_array().unwrap_or_else(|| panic!("no list: {list:#}"));
    items
        .iter()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

impl Feature {
    fn of(declared: &Value, all: &[Value]) -> Self {
        let key = declared["key"].as_str().unwrap().to_owned();
        let base = &declared["level_of"];
        let is_narrower = |other: &&Value| {
            !base.is_null()
                && (other["key"] == *base
                    || (other["level_of"] == *base
                        && other["level"] == "read"
                        && declared["level"] == "write"))
        };
        let scopes = declared["scopes"].as_array().unwrap();
        let required = scopes.iter().filter(|spec| spec["required"] == true);
        Self {
            on: all
                .iter()
                .filter(is_narrower)
                .chain([declared])
                .map(|on| on["key"].as_str().unwrap().to_owned())
                .collect(),
            needs: required
                .map(|spec| {
                    (
                        spec["scope"].as_str().unwrap().to_owned(),
                        texts(&spec["implied_by"]),
                    )
                })
                .collect(),
            is_capability: scopes.iter().all(|spec| spec["kind"] == "capability"),
            key,
        }
    }

    fn missing(&self, granted: &Scopes) -> Scopes {
        let lacks =
            |(scope, wider): &&(String, Scopes)| !granted.contains(scope) && granted.is_disjoint(wider);
        self.needs
            .iter()
            .filter(lacks)
            .map(|(scope, _)| scope.clone())
            .collect()
    }
}

impl Table {
    async fn of(provider: &'static str) -> Self {
        let service = Service::start_with(ServiceOptions {
            consent: Consent::Ask,
            ..ServiceOptions::default()
        })
        .await;
        let consumer = service.service(&["*:*"]).await;
        let providers = consumer.get("/providers").await.expect_status(200);
        let all = providers["items"].as_array().unwrap();
        let declared = all.iter().find(|item| item["key"] == provider).unwrap();
        let declared = declared["features"].as_array().unwrap();
        Self {
            consumer,
            provider,
            features: declared
                .iter()
                .map(|feature| Feature::of(feature, declared))
                .collect(),
            service,
        }
    }

    fn feature(&self, key: &str) -> &Feature {
        self.features.iter().find(|feature| feature.key == key).unwrap()
    }

    /// Goes as far as the provider's page; the boxes of it, and what to send with it.
    async fn consent_page(
        &self,
        user: &str,
        feature: &Feature,
    ) -> (crate::harness::Browser, End, Vec<String>) {
        let request =
            json!({ "provider": self.provider, "features": [feature.key], "return_to": APPLICATION });
        let begun = self
            .service
            .user(user)
            .post("/authorizations", request)
            .await
            .expect_status(201);
        let mut browser = self.service.browser();
        let page = browser.open(begun["authorization_url"].as_str().unwrap()).await;
        assert_eq!(page.status, 200, "{page:?}");
        let boxes: Vec<String> = page
            .body
            .split("name=\"scope\" value=\"")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned())
            .collect();
        let asked: Scopes = texts(&begun["requested_scopes"])
            .into_iter()
            .filter(|scope| !SIGN_IN.contains(&scope.as_str()))
            .collect();
        if feature.is_capability {
            assert!(boxes.is_empty(), "{boxes:?}");
        } else {
            assert_eq!(boxes.iter().cloned().collect::<Scopes>(), asked);
        }
        (browser, page, boxes)
    }

    /// Connects with these boxes ticked; the integration, or how it ended instead.
    async fn connect(
        &self,
        user: &str,
        feature: &Feature,
        unticked: &dyn Fn(&str) -> bool,
    ) -> Result<(Value, Scopes), End> {
        let (mut browser, page, boxes) = self.consent_page(user, feature).await;
        let ticked: Vec<&str> = boxes
            .iter()
            .map(String::as_str)
            .filter(|scope| !unticked(scope))
            .collect();
        let mut fields: Vec<(&str, &str)> = ticked.iter().map(|scope| ("scope", *scope)).collect();
        fields.extend([("_sim_user", user), ("decision", "allow")]);
        let end = browser.submit(page.url.as_str(), &fields).await;
        let Some(confirmation) = end.query("confirmation") else {
            return Err(end);
        };
        let path = format!(
            "/authorizations/{}/confirm",
            end.query("authorization_id").unwrap()
        );
        let confirmed = self
            .service
            .user(user)
            .post(&path, json!({ "confirmation": confirmation }))
            .await;
        if confirmed.status != 200 {
            return Err(end);
        }
        Ok((
            confirmed.expect_status(200),
            ticked.into_iter().map(str::to_owned).collect(),
        ))
    }

    /// One row: connected so, everything agrees.
    async fn row(&self, user: &str, feature: &Feature, unticked: &dyn Fn(&str) -> bool) -> Expected {
        let (view, ticked) = match self.connect(user, feature, unticked).await {
            Ok(connected) => connected,
            Err(end) => panic!("{user}: {} did not connect: {end:?}", feature.key),
        };
        let granted = texts(&view["scopes"]);
        if !feature.is_capability {
            let said: Scopes = granted
                .iter()
                .filter(|scope| !SIGN_IN.contains(&scope.as_str()))
                .cloned()
                .collect();
            assert_eq!(said, ticked, "{user}: granted is what was ticked");
        }
        let ada = self.service.user(user);
        let list = ada.get("/features").await.expect_status(200);
        let id = view["id"].as_str().unwrap();
        let consents = ada
            .get(&format!("/integrations/{id}/consents"))
            .await
            .expect_status(200);
        let consents = consents["items"].as_array().unwrap();
        assert_eq!(
            consents.len(),
            feature.on.len(),
            "{user}: one consent for each feature: {consents:#?}"
        );
        let states: BTreeSet<_> = view["features"]
            .as_array()
            .unwrap()
            .iter()
            .map(|state| state["key"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(states, feature.on, "{user}");
        let mut handed_out = 0;
        for key in &feature.on {
            let missing = self.feature(key).missing(&granted);
            let status = if missing.is_empty() {
                "active"
            } else {
                "missing_scopes"
            };
            let state = view["features"]
                .as_array()
                .unwrap()
                .iter()
                .find(|state| state["key"] == key.as_str())
                .unwrap();
            assert_eq!(
                (&state["status"], texts(&state["missing_scopes"])),
                (&json!(status), missing.clone()),
                "{user}: {key}"
            );
            let listed = list["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|item| item["key"] == key.as_str())
                .unwrap();
            assert_eq!(listed["status"], status, "{user}: {key}");
            assert_eq!(
                texts(&listed["accounts"][0]["missing_scopes"]),
                missing,
                "{user}: {key}"
            );

            let answer = self
                .consumer
                .get(&format!("/users/{user}/token?feature={key}"))
                .await;
            if missing.is_empty() {
                assert_eq!(texts(&answer.expect_status(200)["scopes"]), granted);
                handed_out += 1;
            } else {
                let problem = answer.expect_problem(403, "insufficient_scope");
                assert_eq!(
                    (texts(&problem["missing_scopes"]), &problem["reason"]),
                    (missing.clone(), &json!("not_granted"))
                );
            }

            let consent = consents
                .iter()
                .find(|consent| consent["features"] == json!([key]));
            let consent = consent.unwrap_or_else(|| panic!("{user}: no consent for {key}: {consents:#?}"));
            let (asked, given) = (
                texts(&consent["requested_scopes"]),
                texts(&consent["granted_scopes"]),
            );
            assert!(given.is_subset(&granted), "{user}: {key}: {given:?}");
            let needed: Scopes = self
                .feature(key)
                .needs
                .iter()
                .map(|(scope, _)| scope.clone())
                .collect();
            let in_part: Scopes = needed.intersection(&granted).cloned().collect();
            assert!(
                in_part.is_subset(&given),
                "{user}: {key}: {given:?} of {in_part:?}"
            );
            if feature.key == *key && !feature.is_capability {
                assert!(needed.is_subset(&asked), "{user}: {key}: {asked:?}");
            }
        }
        Expected {
            user: user.to_owned(),
            granted,
            handed_out,
            refused: feature.on.len() - handed_out,
        }
    }

    /// The audit tells what was granted, and every hand-out and refusal.
    async fn audited(&self, expected: &Expected) {
        let Expected { user, granted, .. } = expected;
        let ada = self.service.user(user);
        let count = |rows: &[Value], action: &str| -> usize {
            let of = rows.iter().filter(|row| row["action"] == action);
            of.map(|row| {
                row["count"]
                    .as_u64()
                    .map_or(1, |count| usize::try_from(count).unwrap())
            })
            .sum()
        };
        eventually(&format!("{user}: the audit tells it"), || async {
            let rows = ada.get("/audit?limit=200").await.expect_status(200);
            let rows = rows["items"].as_array().unwrap();
            let connect = rows.iter().find(|row| row["action"] == "connect").unwrap();
            assert_eq!(texts(&connect["scopes"]), *granted, "{user}");
            let mut refusals = rows.iter().filter(|row| row["action"] == "denied");
            assert!(
                refusals.all(|row| row["error"] == "insufficient_scope"),
                "{user}: {rows:#?}"
            );
            let (issued, denied) = (count(rows, "token_issued"), count(rows, "denied"));
            let (given, refused) = (expected.handed_out, expected.refused);
            assert!(
                issued <= given && denied <= refused,
                "{user}: more than was done: {rows:#?}"
            );
            // The first of a minute are written at once, the rest of it when it is over.
            ((issued > 0) == (given > 0) && (denied > 0) == (refused > 0)).then_some(())
        })
        .await;
    }

    /// Everything ticked, then the feature switched off and on again.
    async fn whole(&self, user: &str, feature: &Feature) -> Expected {
        let expected = self.row(user, feature, &|_| false).await;
        let ada = self.service.user(user);
        let list = ada.get("/integrations").await.expect_status(200);
        let id = list["items"][0]["id"].as_str().unwrap();
        let (path, token) = (
            format!("/integrations/{id}/features/{}", feature.key),
            format!("/users/{user}/token?feature={}", feature.key),
        );
        let off = ada.delete(&path).await.expect_status(200);
        assert_eq!(off["features"].as_array().unwrap().len(), feature.on.len() - 1);
        let problem = self
            .consumer
            .get(&token)
            .await
            .expect_problem(403, "insufficient_scope");
        assert_eq!(
            (&problem["missing_scopes"], &problem["reason"]),
            (&json!([]), &json!("feature_off")),
            "{problem:#}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(&path), "{problem:#}");
        ada.send(Method::PUT, &path, None).await.expect_status(200);
        self.consumer.get(&token).await.expect_status(200);
        Expected {
            handed_out: expected.handed_out + 1,
            refused: expected.refused + 1,
            ..expected
        }
    }

    async fn denied(&self, user: &str, feature: &Feature) {
        let (mut browser, page, _) = self.consent_page(user, feature).await;
        let end = browser.submit(page.url.as_str(), &[("decision", "deny")]).await;
        assert_eq!(end.query("status").as_deref(), Some("denied"), "{end:?}");
        let ada = self.service.user(user);
        let list = ada.get("/integrations").await.expect_status(200);
        assert_eq!(list["items"], json!([]));
        let token = self
            .consumer
            .get(&format!("/users/{user}/token?feature={}", feature.key))
            .await;
        token.expect_problem(404, "not_connected");
    }
}

async fn every_feature_of(provider: &'static str, expected: &[&str]) {
    let table = Table::of(provider).await;
    for key in expected {
        table.feature(key);
    }
    let mut rows = Vec::new();
    for (number, feature) in table.features.iter().enumerate() {
        let user = |case: &str| format!("{provider}-{number}-{case}");
        rows.push(table.whole(&user("all"), feature).await);
        table.denied(&user("deny"), feature).await;
        if feature.is_capability {
            continue;
        }
        let (_, _, boxes) = table.consent_page(&user("look"), feature).await;
        for (index, unticked) in boxes.iter().enumerate() {
            let user = user(&format!("without-{index}"));
            rows.push(table.row(&user, feature, &|scope| scope == unticked).await);
        }
        rows.push(table.row(&user("none"), feature, &|_| true).await);
    }
    for row in &rows {
        table.audited(row).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_of_google_is_what_was_ticked() {
    every_feature_of(
        "google",
        &[
            "google.calendar",
            "google.drive",
            "google.gmail",
            "google.tasks",
            "google.gmail.write",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_of_microsoft_is_what_was_ticked() {
    every_feature_of(
        "microsoft",
        &[
            "microsoft.calendar",
            "microsoft.mail",
            "microsoft.onedrive",
            "microsoft.teams",
            "microsoft.sharepoint",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_of_notion_is_what_its_settings_allow() {
    every_feature_of(
        "notion",
        &[
            "notion.pages",
            "notion.databases",
            "notion.templates",
            "notion.collaboration",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_of_youtube_is_what_was_ticked() {
    every_feature_of(
        "youtube",
        &["youtube.playlists", "youtube.history", "youtube.recommendations"],
    )
    .await;
}
