//! The control interface over HTTP, for tests in other processes and for people: everything under `/_sim`.
//!
//! | request | body | what it does |
//! |---|---|---|
//! | `GET /_sim/` | | providers, their clients' ids, people, settings |
//! | `GET /_sim/requests?provider=&endpoint=&after=` | | the record; `DELETE` empties it |
//! | `GET`, `POST`, `DELETE /_sim/faults` | a [`FaultRule`] | faults still to come |
//! | `POST /_sim/revoke` | `{"provider", "account"?}` | the user removes the application |
//! | `POST /_sim/expire` | `{"provider"}` | all access tokens end now |
//! | `GET`, `POST /_sim/settings` | any of [`Settings`] | consent mode, lifetimes … |
//! | `POST /_sim/secret` | `{"provider", "client_secret"}` | the client's secret changes |
//! | `POST /_sim/rotate-keys` | | the other key signs from now on |
//! | `POST /_sim/advance` | `{"seconds"}` | the simulator's clock runs ahead |
//!
//! A fault reaches every request to its endpoint, or only those that present something of one account (`only_for_account`:
//! key, subject or e-mail) or that hold one value (`only_if_sent`: a refresh token, a code, a client id). So one account's next
//! refresh is answered with whatever a real provider was seen to say, and everybody else is served:
//!
//! ```json
//! {"provider": "oidc", "endpoint": "refresh", "only_for_account": "ada",
//!  "fault": {"kind": "answer", "status": 403, "headers": [["retry-after", "30"]], "body": "{\"error\": \"unauthorized_client\"}"}}
//! ```
//!
//! With `"endpoint": "exchange"` it is the account's next flow that is answered so.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::config::Settings;
use super::fault::FaultRule;
use super::provider::{Endpoint, Provider};
use super::request::Request;
use super::turn::Shared;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    provider: Provider,
    /// Key, subject or e-mail; everybody if absent.
    #[serde(default)]
    account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretChange {
    provider: Provider,
    client_secret: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderOnly {
    provider: Provider,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    seconds: u64,
}

pub fn control(shared: &Shared, request: &Request) -> Answer {
    // Any web page can send a plain POST to this machine; only our own pages may steer the simulator.
    if request
        .header("origin")
        .is_some_and(|origin| origin != shared.base)
    {
        return Answer::json(403, json!({ "error": "a page from elsewhere has no say here" }));
    }
    let resource = request.path.strip_prefix("/_sim").unwrap_or_default();
    match (request.method.clone(), resource) {
        (Method::GET, "" | "/") => Answer::json(200, overview(shared)),
        (Method::GET, "/requests") => Answer::json(200, requests(shared, request)),
        (Method::DELETE, "/requests") => {
            shared.world().recorder.clear();
            done()
        }
        (Method::GET, "/faults") => Answer::json(200, json!({ "items": shared.world().faults.pending() })),
        (Method::POST, "/faults") => with(request, |rule: FaultRule| {
            shared.world().faults.add(rule);
            done()
        }),
        (Method::DELETE, "/faults") => {
            shared.world().faults.clear();
            done()
        }
        (Method::POST, "/revoke") => with(request, |revocation: Revocation| {
            let ended = shared
                .world()
                .ledger
                .kill_grants_of(revocation.provider, revocation.account.as_deref());
            Answer::json(200, json!({ "grants_ended": ended }))
        }),
        (Method::POST, "/expire") => with(request, |which: ProviderOnly| {
            let now = shared.clock.now();
            shared.world().ledger.expire_access_tokens(which.provider, now);
            done()
        }),
        (Method::GET, "/settings") => Answer::json(200, json!(shared.world().settings)),
        (Method::POST, "/settings") => change_settings(shared, request),
        (Method::POST, "/secret") => with(request, |change: SecretChange| {
            shared
                .world()
                .set_client_secret(change.provider, &change.client_secret);
            done()
        }),
        (Method::POST, "/rotate-keys") => {
            shared.world().rotation.rotate();
            done()
        }
        (Method::POST, "/advance") => with(request, |advance: Advance| {
            shared
                .clock
                .advance(std::time::Duration::from_secs(advance.seconds));
            done()
        }),
        _ => Answer::json(404, json!({ "error": "no such control" })),
    }
}

fn done() -> Answer {
    Answer::json(200, json!({ "ok": true }))
}

fn refused(why: impl std::fmt::Display) -> Answer {
    Answer::json(400, json!({ "error": why.to_string() }))
}

/// Acts on the body, read as `T`; its content type is not looked at, so that `curl -d` will do.
fn with<T: serde::de::DeserializeOwned>(request: &Request, act: impl FnOnce(T) -> Answer) -> Answer {
    match serde_json::from_slice(&request.body) {
        Ok(value) => act(value),
        Err(error) => refused(error),
    }
}

/// Only the settings named are changed.
fn change_settings(shared: &Shared, request: &Request) -> Answer {
    with(request, |changes: serde_json::Map<String, Value>| {
        let mut world = shared.world();
        let mut merged = json!(world.settings);
        for (name, value) in changes {
            merged[name] = value;
        }
        match serde_json::from_value::<Settings>(merged) {
            Ok(settings) => {
                world.settings = settings;
                Answer::json(200, json!(world.settings))
            }
            Err(error) => refused(error),
        }
    })
}

/// `?provider=…&endpoint=…&after=<sequence>` narrow the list.
fn requests(shared: &Shared, request: &Request) -> Value {
    let provider = request.query.get("provider").and_then(Provider::from_key);
    let endpoint: Option<Endpoint> = request
        .query
        .get("endpoint")
        .and_then(|name| serde_json::from_value(json!(name)).ok());
    let after: u64 = request
        .query
        .get("after")
        .and_then(|after| after.parse().ok())
        .unwrap_or(0);
    let world = shared.world();
    let items: Vec<_> = world
        .recorder
        .iter()
        .filter(|one| one.sequence > after)
        .filter(|one| provider.is_none_or(|provider| one.provider == provider))
        .filter(|one| endpoint.is_none_or(|endpoint| endpoint.covers(one.endpoint)))
        .collect();
    json!({ "items": items })
}

fn overview(shared: &Shared) -> Value {
    let world = shared.world();
    let providers: Vec<Value> = Provider::ALL
        .into_iter()
        .map(|provider| {
            json!({
                "provider": provider,
                "base": format!("{}/{}", shared.base, provider.key()),
                "client_id": world.first_client(provider).map(|client| &client.client_id),
                "accounts": world.accounts(provider).iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "providers": providers, "settings": world.settings })
}
