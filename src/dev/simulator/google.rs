//! Google's dialect, which YouTube shares: one grant per person and client, refresh tokens that stay, scopes as URIs.

use serde_json::{Value, json};

use super::answer::Answer;
use super::authorize::{Refusal, Wish};
use super::client_auth::{self, BasicEncoding, Method};
use super::clock::{Millis, seconds};
use super::google_errors::{api_error, client_error, code_error, described, error};
use super::id_token::{IdTokenDraft, at_hash};
use super::ledger::{AccessToken, Grant, GrantId, RefreshToken, RefreshTokenState, Scopes};
use super::random;
use super::request::BodyKind;
use super::world::{Call, World};

const SCOPE_PREFIX: &str = "https://www.googleapis.com/auth/";
/// A refresh token that nobody uses for half a year dies.
const IDLE_MAX_MS: Millis = 183 * 24 * 3600 * 1000;

pub fn issuer(base: &str) -> String {
    // YouTube is the same authorization server.
    format!("{base}/google")
}

pub fn discovery(call: &Call<'_>) -> Answer {
    let (base, key) = (call.base, call.provider.key());
    let body = json!({
        "issuer": issuer(base),
        "authorization_endpoint": format!("{base}/{key}/o/oauth2/v2/auth"),
        "token_endpoint": format!("{base}/{key}/token"),
        "userinfo_endpoint": format!("{base}/{key}/v1/userinfo"),
        "revocation_endpoint": format!("{base}/{key}/revoke"),
        "jwks_uri": format!("{base}/{key}/oauth2/v3/certs"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "claims_supported": ["aud", "email", "email_verified", "exp", "family_name", "given_name", "iat", "iss",
            "name", "picture", "sub"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "authorization_response_iss_parameter_supported": true,
    });
    Answer::json(200, body).with_header("cache-control", "public, max-age=3600")
}

/// Where a receiver of security events learns who signs them.
pub fn risc_configuration(call: &Call<'_>) -> Answer {
    let base = call.base;
    let body = json!({
        "issuer": issuer(base),
        "jwks_uri": format!("{base}/google/oauth2/v3/certs"),
        "delivery_methods_supported": ["https://schemas.openid.net/secevent/risc/delivery-method/push"],
    });
    Answer::json(200, body)
}

pub fn read_wish(call: &Call<'_>) -> Result<Wish, Refusal> {
    let params = &call.request.query;
    let mut scopes: Vec<String> = Vec::new();
    for scope in params
        .get("scope")
        .unwrap_or_default()
        .split(' ')
        .filter(|scope| !scope.is_empty())
    {
        let known = matches!(scope, "openid" | "email" | "profile" | "https://mail.google.com/")
            || scope
                .strip_prefix(SCOPE_PREFIX)
                .is_some_and(|name| !name.is_empty());
        if !known {
            return Err(Refusal::page(
                400,
                "invalid_scope",
                format!("Some requested scopes were invalid: {scope}"),
            ));
        }
        let scope = normalise(scope);
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        return Err(Refusal::page(
            400,
            "invalid_request",
            "Missing required parameter: scope",
        ));
    }
    let portability = scopes
        .iter()
        .filter(|scope| scope.contains("/auth/dataportability."))
        .count();
    if portability != 0 && portability != scopes.len() {
        let text = "Data Portability scopes cannot be combined with other scopes.";
        return Err(Refusal::page(400, "invalid_scope", text));
    }
    let access_type = params.get("access_type").unwrap_or("online");
    if !matches!(access_type, "online" | "offline") {
        return Err(Refusal::page(
            400,
            "invalid_request",
            format!("access_type={access_type}"),
        ));
    }
    let mut prompts = params
        .get("prompt")
        .unwrap_or_default()
        .split(' ')
        .filter(|prompt| !prompt.is_empty());
    if let Some(unknown) = prompts
        .clone()
        .find(|one| !matches!(*one, "none" | "consent" | "select_account"))
    {
        return Err(Refusal::page(
            400,
            "invalid_request",
            format!("Invalid prompt: {unknown}"),
        ));
    }
    let consent_forced = prompts.any(|one| one == "consent");
    Ok(Wish {
        scopes,
        offline: access_type == "offline",
        consent_forced,
        only_new: !consent_forced,
        include_granted: params.get("include_granted_scopes") == Some("true"),
        issuer: Some(issuer(call.base)),
        scopes_in_callback: true,
        ..Wish::default()
    })
}

fn normalise(scope: &str) -> String {
    match scope {
        "email" | "profile" => format!("{SCOPE_PREFIX}userinfo.{scope}"),
        other => other.to_owned(),
    }
}

pub fn token(world: &mut World, call: &Call<'_>) -> Answer {
    let request = call.request;
    if request.body_kind != BodyKind::Form {
        return error("invalid_request").because("the body is not a form");
    }
    if let Some(name) = request.fields.repeated() {
        let text = format!("OAuth 2 parameters can only have a single value: {name}");
        return described("invalid_request", &text);
    }
    let offered = [Method::Basic, Method::Post];
    let client_id = match client_auth::authenticate(world, call, &offered, BasicEncoding::FormEncoded) {
        Ok(client_id) => client_id,
        Err(refusal) => return client_error(refusal),
    };
    match request.field("grant_type") {
        Some("authorization_code") => exchange(world, call, &client_id),
        Some("refresh_token") => refresh(world, call, &client_id),
        Some(other) => described("unsupported_grant_type", &format!("Invalid grant_type: {other}")),
        None => described("invalid_request", "Required parameter is missing: grant_type"),
    }
}

fn exchange(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let request = call.request;
    let Some(text) = request.field("code") else {
        return described("invalid_request", "Missing required parameter: code");
    };
    let redirect_uri = request.field("redirect_uri");
    let verifier = request.field("code_verifier");
    let client = (call.provider, client_id);
    let mut code = match world
        .ledger
        .check_code(text, client, redirect_uri, verifier, call.now)
    {
        Ok(code) => code,
        Err(refusal) => return code_error(refusal),
    };
    if let Some(other) = &call.shaping.account_instead {
        code.account = world.account(call.provider, Some(other));
    }
    let id = world.ledger.shared_grant(call.provider, client_id, &code.account);
    world.ledger.spend_code(text, id);
    let asked: Scopes = call.shaping.apply(code.scopes).into_iter().collect();
    let Some(grant) = world.ledger.grant_mut(id) else {
        return error("internal_failure");
    };
    grant.scopes.extend(asked.iter().cloned());
    let scopes = if code.include_granted {
        grant.scopes.clone()
    } else {
        asked
    };
    // The refresh token comes with the first consent only, unless the application insists on consent.
    let first = !grant.ever_gave_refresh_token;
    let mut body = issue_access(world, call, id, &scopes);
    if code.offline && (first || code.consent_forced) {
        let refresh_token = random::opaque("1//0g");
        world.ledger.issue_refresh_token(
            &refresh_token,
            RefreshToken {
                grant: id,
                scopes: scopes.clone(),
                last_used_at: call.now,
                state: RefreshTokenState::Live,
                successor: None,
            },
        );
        let max = world.settings.google_refresh_tokens_max;
        world.ledger.forget_oldest_refresh_tokens(id, max);
        body["refresh_token"] = json!(refresh_token);
    }
    let draft = world
        .ledger
        .grant(id)
        .and_then(|grant| draft(call, grant, &scopes, code.nonce.as_deref(), &body));
    Answer {
        id_token: draft,
        ..Answer::tokens(body)
    }
}

fn refresh(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let Some(text) = call.request.field("refresh_token") else {
        return described("invalid_request", "Missing required parameter: refresh_token");
    };
    let usable = world.ledger.refresh_token_mut(text).filter(|token| {
        token.state == RefreshTokenState::Live && call.now - token.last_used_at < IDLE_MAX_MS
    });
    let Some(token) = usable else {
        return described("invalid_grant", "Token has been expired or revoked.");
    };
    token.last_used_at = call.now;
    let (id, mut scopes) = (token.grant, token.scopes.clone());
    let Some(grant) = world.ledger.grant(id).filter(|grant| grant.alive) else {
        return described("invalid_grant", "Token has been expired or revoked.");
    };
    if grant.client_id != client_id {
        return described("unauthorized_client", "Unauthorized").because("the token is another client's");
    }
    if let Some(wanted) = call.request.field("scope") {
        let wanted: Scopes = wanted.split(' ').map(normalise).collect();
        if !wanted.is_subset(&scopes) {
            return described("invalid_scope", "Some requested scopes were invalid.");
        }
        scopes = wanted;
    }
    scopes = call.shaping.apply(scopes).into_iter().collect();
    let body = issue_access(world, call, id, &scopes);
    let with_id_token = world.settings.id_token_on_refresh;
    let draft = world.ledger.grant(id).filter(|_| with_id_token);
    let draft = draft.and_then(|grant| draft_for(call, grant, &scopes, &body));
    Answer {
        id_token: draft,
        ..Answer::tokens(body)
    }
}

fn issue_access(world: &mut World, call: &Call<'_>, grant: GrantId, scopes: &Scopes) -> Value {
    let access_token = random::long_opaque("ya29.a0");
    let lifetime = world.access_token_lifetime(call.provider).unwrap_or_default();
    let expires_at = Some(call.now + lifetime);
    let token = AccessToken {
        grant,
        scopes: scopes.clone(),
        issued_at: call.now,
        expires_at,
    };
    world.ledger.issue_access_token(&access_token, token);
    // The order of scopes means nothing, so it is one that nobody asked for: by their ends.
    let mut listed: Vec<&str> = scopes.iter().map(String::as_str).collect();
    listed.sort_by_key(|scope| scope.chars().rev().collect::<String>());
    json!({
        "access_token": access_token,
        "expires_in": seconds(lifetime),
        "scope": listed.join(" "),
        "token_type": "Bearer",
    })
}

fn draft_for(call: &Call<'_>, grant: &Grant, scopes: &Scopes, body: &Value) -> Option<IdTokenDraft> {
    draft(call, grant, scopes, None, body)
}

fn draft(
    call: &Call<'_>,
    grant: &Grant,
    scopes: &Scopes,
    nonce: Option<&str>,
    body: &Value,
) -> Option<IdTokenDraft> {
    if !scopes.contains("openid") {
        return None;
    }
    let now = seconds(call.now);
    let mut claims = profile(call, grant, scopes);
    claims["iss"] = json!(issuer(call.base));
    claims["azp"] = json!(grant.client_id);
    claims["aud"] = json!(grant.client_id);
    claims["at_hash"] = json!(at_hash(body["access_token"].as_str().unwrap_or_default()));
    claims["iat"] = json!(now);
    claims["exp"] = json!(now + 3600);
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    Some(IdTokenDraft::new(claims))
}

/// The claims about the person that these scopes open.
fn profile(call: &Call<'_>, grant: &Grant, scopes: &Scopes) -> Value {
    let account = &grant.account;
    let mut claims = json!({ "sub": account.subject });
    if scopes.contains(&normalise("email")) {
        claims["email"] = json!(account.email);
        claims["email_verified"] = json!(true);
    }
    if scopes.contains(&normalise("profile")) {
        claims["name"] = json!(account.name);
        claims["given_name"] = json!(account.given_name);
        claims["family_name"] = json!(account.family_name);
        claims["picture"] = json!(format!("{}/google/a/{}.png", call.base, account.key));
    }
    claims
}

pub fn userinfo(world: &World, call: &Call<'_>) -> Answer {
    let live = call
        .request
        .bearer_token()
        .and_then(|token| world.ledger.live_access_token(token, call.now));
    let Some((token, grant)) = live else {
        let body = json!({ "error": "invalid_request", "error_description": "Invalid Credentials" });
        return Answer::json(401, body)
            .with_header(
                "www-authenticate",
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
            )
            .because("no live access token");
    };
    if grant.provider != call.provider {
        return api_error(401).because("the token is another provider's");
    }
    Answer::json(200, profile(call, grant, &token.scopes))
}

/// No client authentication; either token ends the whole grant.
pub fn revoke(world: &mut World, call: &Call<'_>) -> Answer {
    let token = call.request.field("token").or(call.request.query.get("token"));
    let Some(token) = token else {
        return described("invalid_request", "Bad Request").because("token is missing");
    };
    match world.ledger.grant_of_token(token, call.now) {
        Some(grant) => {
            world.ledger.kill_grant(grant);
            Answer::json(200, json!({}))
        }
        None => described("invalid_token", "Token expired or revoked"),
    }
}
