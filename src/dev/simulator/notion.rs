//! Notion's dialect: Basic authentication and JSON, no lifetimes, no scopes, and a refresh ends the pair it came from.

use serde_json::{Value, json};

use super::account::Account;
use super::answer::Answer;
use super::authorize::{Refusal, Wish};
use super::client_auth::{self, BasicEncoding, Method};
use super::clock::seconds;
use super::ledger::{AccessToken, GrantId, RefreshToken, RefreshTokenState, Scopes, request_id};
use super::provider::Provider;
use super::random;
use super::request::BodyKind;
use super::world::{Call, World};

pub fn read_wish(call: &Call<'_>) -> Result<Wish, Refusal> {
    let params = &call.request.query;
    if params.get("owner") != Some("user") {
        return Err(Refusal::page(400, "invalid_request", "owner=user is missing"));
    }
    // A PKCE challenge is tolerated and gives nothing; there is no `scope`.
    Ok(Wish {
        offline: true,
        ignores_pkce: true,
        ignores_login_hint: true,
        ..Wish::default()
    })
}

pub fn token(world: &mut World, call: &Call<'_>) -> Answer {
    let client_id = match admit(world, call) {
        Ok(client_id) => client_id,
        Err(answer) => return answer,
    };
    match call.request.field("grant_type") {
        Some("authorization_code") => exchange(world, call, &client_id),
        Some("refresh_token") => refresh(world, call, &client_id),
        Some(other) => error("unsupported_grant_type").because(other),
        None => error("validation_error").because("grant_type is missing"),
    }
}

/// What all three POSTs ask for: Basic, JSON and a version. Returns the client's id.
fn admit(world: &World, call: &Call<'_>) -> Result<String, Answer> {
    let request = call.request;
    let client_id = client_auth::authenticate(world, call, &[Method::Basic], BasicEncoding::Raw)
        .map_err(|refusal| error("invalid_client").because(refusal.to_string()))?;
    check_version(call)?;
    match request.body_kind {
        BodyKind::Json => Ok(client_id),
        BodyKind::BrokenJson => Err(error("invalid_json").because("the body is not a JSON object")),
        BodyKind::Absent | BodyKind::Form | BodyKind::Other => {
            Err(error("validation_error").because("the body is not application/json"))
        }
    }
}

fn check_version(call: &Call<'_>) -> Result<(), Answer> {
    let version = call.request.header("notion-version");
    let dated = |version: &str| version.len() == 10 && version.parse::<jiff::civil::Date>().is_ok();
    match version {
        Some(version) if dated(version) => Ok(()),
        Some(_) => Err(error("validation_error").because("Notion-Version is not a date")),
        None => Err(error("missing_version").because("Notion-Version is missing")),
    }
}

fn exchange(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let request = call.request;
    let Some(text) = request.field("code") else {
        return error("validation_error").because("code is missing");
    };
    let client = (Provider::Notion, client_id);
    // The verifier of a tolerated challenge is tolerated, too.
    let mut code = match world
        .ledger
        .check_code(text, client, request.field("redirect_uri"), None, call.now)
    {
        Ok(code) => code,
        Err(refusal) => return error("invalid_grant").because(refusal.to_string()),
    };
    if let Some(other) = &call.shaping.account_instead {
        code.account = world.account(call.provider, Some(other));
    }
    // Every authorization gives fresh tokens; those of earlier ones live on.
    let id = world.ledger.new_grant(Provider::Notion, client_id, &code.account);
    world.ledger.spend_code(text, id);
    Answer::tokens(issue(world, call, id))
}

fn refresh(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let Some(text) = call.request.field("refresh_token") else {
        return error("validation_error").because("refresh_token is missing");
    };
    let Some(token) = world.ledger.refresh_token_mut(text) else {
        return error("invalid_grant").because("this refresh token was never issued");
    };
    if token.state != RefreshTokenState::Live {
        let why = if token.state == RefreshTokenState::Rotated {
            "has been used already"
        } else {
            "is revoked"
        };
        return error("invalid_grant").because(format!("this refresh token {why}"));
    }
    let id = token.grant;
    let owned = world
        .ledger
        .grant(id)
        .is_some_and(|grant| grant.alive && grant.client_id == client_id);
    if !owned {
        return error("invalid_grant").because("the grant is dead or another client's");
    }
    if let Some(token) = world.ledger.refresh_token_mut(text) {
        token.state = RefreshTokenState::Rotated;
    }
    world.ledger.end_access_tokens(id);
    Answer::tokens(issue(world, call, id))
}

fn issue(world: &mut World, call: &Call<'_>, grant: GrantId) -> Value {
    let (access_token, refresh_token) = (random::alphanumeric("ntn_"), random::alphanumeric("nrt_"));
    let access = AccessToken {
        grant,
        scopes: Scopes::new(),
        issued_at: call.now,
        expires_at: None,
    };
    world.ledger.issue_access_token(&access_token, access);
    world.ledger.issue_refresh_token(
        &refresh_token,
        RefreshToken {
            grant,
            scopes: Scopes::new(),
            last_used_at: call.now,
            state: RefreshTokenState::Live,
            successor: None,
        },
    );
    let Some(owner) = world.ledger.grant(grant) else {
        return Value::Null;
    };
    let account = &owner.account;
    json!({
        "access_token": access_token,
        "token_type": "bearer",
        "refresh_token": refresh_token,
        "bot_id": account.bot_id(&owner.client_id),
        "workspace_icon": null,
        "workspace_name": account.tenant_name,
        "workspace_id": account.tenant,
        "duplicated_template_id": null,
        "owner": { "type": "user", "user": person(account) },
        "request_id": request_id(),
    })
}

fn person(account: &Account) -> Value {
    json!({
        "object": "user",
        "id": account.subject,
        "name": account.name,
        "avatar_url": null,
        "type": "person",
        "person": { "email": account.email },
    })
}

pub fn revoke(world: &mut World, call: &Call<'_>) -> Answer {
    if let Err(answer) = admit(world, call) {
        return answer;
    }
    let Some(token) = call.request.field("token") else {
        return error("validation_error").because("token is missing");
    };
    // A token that is gone already is as good as revoked (RFC 7009, 2.2).
    if let Some(grant) = world.ledger.grant_of_token(token, call.now) {
        world.ledger.kill_grant(grant);
    }
    Answer::json(200, json!({ "request_id": request_id() }))
}

pub fn introspect(world: &World, call: &Call<'_>) -> Answer {
    if let Err(answer) = admit(world, call) {
        return answer;
    }
    let Some(token) = call.request.field("token") else {
        return error("validation_error").because("token is missing");
    };
    let mut body = json!({ "active": false, "request_id": request_id() });
    if let Some((token, _)) = world.ledger.live_access_token(token, call.now) {
        body["active"] = json!(true);
        body["iat"] = json!(seconds(token.issued_at));
    } else if world.ledger.grant_of_token(token, call.now).is_some() {
        body["active"] = json!(true);
    }
    Answer::json(200, body)
}

/// `GET /v1/users/me`: the bot, its owner and its workspace.
pub fn me(world: &World, call: &Call<'_>) -> Answer {
    let live = call
        .request
        .bearer_token()
        .and_then(|token| world.ledger.live_access_token(token, call.now));
    let Some((_, grant)) = live.filter(|(_, grant)| grant.provider == Provider::Notion) else {
        return error("unauthorized").because("no live access token");
    };
    let account = &grant.account;
    let body = json!({
        "object": "user",
        "id": account.bot_id(&grant.client_id),
        "name": "Demo application",
        "avatar_url": null,
        "type": "bot",
        "bot": {
            "owner": { "type": "user", "user": person(account) },
            "workspace_id": account.tenant,
            "workspace_name": account.tenant_name,
        },
        "request_id": request_id(),
    });
    Answer::json(200, body)
}

/// Resources ask for a version as the token endpoint does.
pub fn check_api_call(call: &Call<'_>) -> Result<(), Answer> {
    check_version(call)
}

/// The documented shape of errors, and the other one in which failed client authentication is told.
pub fn error(code: &str) -> Answer {
    let (status, text) = match code {
        "invalid_client" => {
            let body = json!({ "error": "invalid_client", "request_id": request_id() });
            return Answer::json(401, body).because(code);
        }
        "unauthorized" => (401, "API token is invalid."),
        "restricted_resource" => (403, "Insufficient permissions for this endpoint."),
        "test_env_error" => (403, "This is not available in the test environment."),
        "object_not_found" => (
            404,
            "Could not find the object. Make sure it is shared with your integration.",
        ),
        "conflict_error" => (409, "Conflict occurred while saving. Please try again."),
        "rate_limited" => (
            429,
            "You have been rate limited. Please try again in a few minutes.",
        ),
        "internal_server_error" => (500, "Unexpected error occurred."),
        "service_unavailable" | "database_connection_unavailable" => {
            (503, "Notion is unavailable, please try again later.")
        }
        "gateway_timeout" => (504, "Notion timed out, please try again later."),
        "service_overload" => (529, "Notion is overloaded, please try again later."),
        "missing_version" => (
            400,
            "Notion-Version header failed validation: it should be defined.",
        ),
        "invalid_grant" => (400, "Invalid code or refresh token."),
        _ => (400, "The request was refused."),
    };
    let mut body = json!({
        "object": "error", "status": status, "code": code, "message": text, "request_id": request_id(),
    });
    if code == "rate_limited" {
        body["additional_data"] = json!({ "rate_limit_reason": "public_api_request_rate_limit" });
    }
    Answer::json(status, body).because(format!("{code}: {text}"))
}
