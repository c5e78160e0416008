//! Microsoft's dialect: tenants, one resource per token, refresh tokens that rotate while the old ones stay good.

use serde_json::{Value, json};

use super::account::{Account, CONSUMERS_TENANT};
use super::answer::Answer;
use super::authorize::{Refusal, Wish};
use super::client_auth::{self, BasicEncoding, Method};
use super::clock::{Millis, seconds};
use super::id_token::IdTokenDraft;
use super::ledger::{AccessToken, Grant, GrantId, RefreshToken, RefreshTokenState, Scopes};
use super::microsoft_errors::{aadsts, client_error, code_error, graph_error};
use super::microsoft_scopes::{OIDC_SCOPES, narrow, normalise, resource_scopes, shown, whole_resource};
use super::provider::Provider;
use super::random;
use super::request::BodyKind;
use super::world::{Call, World};

const REFRESH_IDLE_MAX_MS: Millis = 90 * 24 * 3600 * 1000;
/// Permissions that personal accounts cannot give.
const WORK_ONLY: [&str; 6] = [
    "Team.",
    "TeamSettings.",
    "Channel",
    "Chat.",
    "Sites.",
    "OnlineMeetings.",
];

pub fn issuer(base: &str, tenant: &str) -> String {
    format!("{base}/microsoft/{tenant}/v2.0")
}

/// Tenants by alias, as GUIDs and by domain; anything else does not exist.
pub fn tenant_exists(tenant: &str) -> bool {
    matches!(tenant, "common" | "organizations" | "consumers")
        || uuid::Uuid::try_parse(tenant).is_ok()
        || tenant.contains('.')
}

pub fn discovery(call: &Call<'_>) -> Answer {
    let (base, tenant) = (call.base, call.tenant);
    let issuing = match tenant {
        "common" | "organizations" => "{tenantid}",
        "consumers" => CONSUMERS_TENANT,
        own => own,
    };
    let body = json!({
        "issuer": issuer(base, issuing),
        "authorization_endpoint": format!("{base}/microsoft/{tenant}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{base}/microsoft/{tenant}/oauth2/v2.0/token"),
        "userinfo_endpoint": format!("{base}/microsoft/oidc/userinfo"),
        "jwks_uri": format!("{base}/microsoft/{tenant}/discovery/v2.0/keys"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": OIDC_SCOPES,
        "request_uri_parameter_supported": false,
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nonce", "preferred_username", "name", "tid", "ver",
            "email"],
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
        let scope = normalise(scope).ok_or_else(|| {
            Refusal::redirect(
                "invalid_client",
                format!("AADSTS650053: the application asked for {scope}"),
            )
        })?;
        if !scopes.iter().any(|known| known.eq_ignore_ascii_case(&scope)) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() {
        let text = "AADSTS900144: The request body must contain the following parameter: 'scope'.";
        return Err(Refusal::redirect("invalid_request", text));
    }
    if scopes.iter().any(|scope| scope.ends_with(".default")) && resource_scopes(&scopes).count() > 1 {
        return Err(Refusal::redirect(
            "invalid_scope",
            "AADSTS70011: .default can't be combined",
        ));
    }
    let prompt = params.get("prompt").unwrap_or_default();
    if !matches!(prompt, "" | "login" | "none" | "consent" | "select_account") {
        return Err(Refusal::redirect(
            "invalid_request",
            "AADSTS90023: Unsupported 'prompt' value.",
        ));
    }
    if prompt == "select_account" && params.get("login_hint").is_some() {
        let text = "AADSTS9000411: login_hint cannot be joined with prompt=select_account.";
        return Err(Refusal::redirect("invalid_request", text));
    }
    if !matches!(
        params.get("response_mode"),
        None | Some("query" | "fragment" | "form_post")
    ) {
        return Err(Refusal::redirect(
            "invalid_request",
            "AADSTS900021: response_mode",
        ));
    }
    Ok(Wish {
        offline: scopes.iter().any(|scope| scope == "offline_access"),
        consent_forced: prompt == "consent",
        only_new: prompt != "consent",
        scopes,
        ..Wish::default()
    })
}

/// Does this tenant sign this account in?
fn serves(tenant: &str, account: &Account) -> bool {
    match tenant {
        "common" => true,
        "organizations" => !account.personal,
        "consumers" | CONSUMERS_TENANT => account.personal,
        own => uuid::Uuid::try_parse(own).is_err() || own == account.tenant,
    }
}

/// Who may sign in at this tenant, and with what.
pub fn check_account(call: &Call<'_>, account: &Account, wish: &Wish) -> Result<(), Refusal> {
    if !tenant_exists(call.tenant) {
        let text = format!("AADSTS90002: Tenant '{}' not found.", call.tenant);
        return Err(Refusal::page(400, "invalid_request", text));
    }
    if !serves(call.tenant, account) {
        let text = "AADSTS50020: User account does not exist in this tenant.";
        return Err(Refusal::page(400, "invalid_request", text));
    }
    let work_only =
        |scope: &&String| WORK_ONLY.iter().any(|start| scope.starts_with(start)) || scope.ends_with(".All");
    if account.personal
        && let Some(scope) = wish.scopes.iter().find(work_only)
    {
        let text = format!("AADSTS70011: {scope} is not available to personal accounts.");
        return Err(Refusal::redirect("invalid_scope", text));
    }
    Ok(())
}

pub fn token(world: &mut World, call: &Call<'_>) -> Answer {
    let request = call.request;
    if !tenant_exists(call.tenant) {
        return aadsts(call, 90002);
    }
    if request.header("origin").is_some() {
        return aadsts(call, 9_002_326).because("a confidential client sent an Origin header");
    }
    if request.body_kind != BodyKind::Form {
        return aadsts(call, 900_144).because("the body is not a form");
    }
    if let Some(name) = request.fields.repeated() {
        return aadsts(call, 9_002_313).because(format!("{name} occurs more than once"));
    }
    let offered = [Method::Basic, Method::Post];
    let client_id = match client_auth::authenticate(world, call, &offered, BasicEncoding::FormEncoded) {
        Ok(client_id) => client_id,
        Err(refusal) => return client_error(call, refusal),
    };
    match request.field("grant_type") {
        Some("authorization_code") => exchange(world, call, &client_id),
        Some("refresh_token") => refresh(world, call, &client_id),
        Some(_) => aadsts(call, 70003),
        None => aadsts(call, 900_144).because("grant_type is missing"),
    }
}

fn exchange(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let request = call.request;
    let Some(text) = request.field("code") else {
        return aadsts(call, 900_144).because("code is missing");
    };
    let (redirect_uri, verifier) = (request.field("redirect_uri"), request.field("code_verifier"));
    let client = (Provider::Microsoft, client_id);
    let mut code = match world
        .ledger
        .check_code(text, client, redirect_uri, verifier, call.now)
    {
        Ok(code) => code,
        Err(refusal) => return code_error(call, refusal),
    };
    if let Some(other) = &call.shaping.account_instead {
        code.account = world.account(call.provider, Some(other));
    }
    if !serves(call.tenant, &code.account) {
        return aadsts(call, 50020);
    }
    let consented: Scopes = call.shaping.apply(code.scopes).into_iter().collect();
    let scopes = match narrow(call, &consented) {
        Ok(scopes) => scopes,
        Err(answer) => return answer,
    };
    let id = world.ledger.shared_grant(call.provider, client_id, &code.account);
    world.ledger.spend_code(text, id);
    let mut scopes = scopes;
    if let Some(grant) = world.ledger.grant_mut(id) {
        grant.scopes.extend(consented.iter().cloned());
        // An answer lists everything consented to at this resource, asked for or not.
        scopes = whole_resource(&scopes, &grant.scopes);
    }
    let body = issue(world, call, id, &scopes, &consented);
    let draft = world
        .ledger
        .grant(id)
        .and_then(|grant| draft(call, grant, &consented, code.nonce.as_deref()));
    Answer {
        id_token: draft,
        ..Answer::tokens(body)
    }
}

fn refresh(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let Some(text) = call.request.field("refresh_token") else {
        return aadsts(call, 900_144).because("refresh_token is missing");
    };
    let Some(token) = world.ledger.refresh_token_mut(text) else {
        return aadsts(call, 70000).because("this refresh token was never issued");
    };
    if token.state == RefreshTokenState::Revoked {
        return aadsts(call, 50173);
    }
    // Each new token starts its own ninety days; using one does not lengthen them.
    if call.now - token.last_used_at >= REFRESH_IDLE_MAX_MS {
        return aadsts(call, 700_082);
    }
    let (id, consented) = (token.grant, token.scopes.clone());
    let Some(grant) = world.ledger.grant(id).filter(|grant| grant.alive) else {
        return aadsts(call, 50173);
    };
    if grant.client_id != client_id {
        return aadsts(call, 70000).because("the token is another client's");
    }
    if !serves(call.tenant, &grant.account) {
        return aadsts(call, 50020);
    }
    // It serves everything this person has consented to for this client by now.
    let everything: Scopes = grant.scopes.union(&consented).cloned().collect();
    let offered = if call.request.field("scope").is_some() {
        everything
    } else {
        consented.clone()
    };
    let offered: Scopes = call.shaping.apply(offered).into_iter().collect();
    let scopes = match narrow(call, &offered) {
        Ok(scopes) => scopes,
        Err(answer) => return answer,
    };
    let body = issue(world, call, id, &scopes, &consented);
    let with_id_token = world.settings.id_token_on_refresh;
    let draft = world
        .ledger
        .grant(id)
        .filter(|_| with_id_token)
        .and_then(|grant| draft(call, grant, &consented, None));
    Answer {
        id_token: draft,
        ..Answer::tokens(body)
    }
}

fn issue(world: &mut World, call: &Call<'_>, grant: GrantId, scopes: &Scopes, consented: &Scopes) -> Value {
    let access_token = random::long_opaque("EwB4A8l6BAAU");
    let lifetime = world.access_token_lifetime(call.provider).unwrap_or_default();
    let token = AccessToken {
        grant,
        scopes: scopes.clone(),
        issued_at: call.now,
        expires_at: Some(call.now + lifetime),
    };
    world.ledger.issue_access_token(&access_token, token);
    let mut body = json!({
        "token_type": "Bearer",
        "scope": shown(scopes),
        "expires_in": seconds(lifetime),
        "ext_expires_in": seconds(lifetime),
        "access_token": access_token,
    });
    if consented.contains("offline_access") {
        let refresh_token = random::long_opaque("1.AXkA");
        world.ledger.issue_refresh_token(
            &refresh_token,
            RefreshToken {
                grant,
                scopes: consented.clone(),
                last_used_at: call.now,
                state: RefreshTokenState::Live,
                successor: None,
            },
        );
        body["refresh_token"] = json!(refresh_token);
    }
    body
}

fn draft(call: &Call<'_>, grant: &Grant, scopes: &Scopes, nonce: Option<&str>) -> Option<IdTokenDraft> {
    if !scopes.contains("openid") {
        return None;
    }
    let (account, now) = (&grant.account, seconds(call.now));
    let mut claims = json!({
        "aud": grant.client_id,
        "iss": issuer(call.base, &account.tenant),
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
        "tid": account.tenant,
        "sub": account.pairwise_subject(&grant.client_id),
        "ver": "2.0",
        "uti": random::opaque(""),
        "rh": "1.AXkA.",
    });
    if scopes.contains("profile") {
        claims["oid"] = json!(account.subject);
        claims["name"] = json!(account.name);
        claims["preferred_username"] = json!(account.email);
    }
    if scopes.contains("email") {
        claims["email"] = json!(account.email);
    }
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    Some(IdTokenDraft::new(claims))
}

pub fn userinfo(world: &World, call: &Call<'_>) -> Answer {
    let live = call
        .request
        .bearer_token()
        .and_then(|token| world.ledger.live_access_token(token, call.now));
    let Some((token, grant)) = live.filter(|(_, grant)| grant.provider == Provider::Microsoft) else {
        return graph_error("InvalidAuthenticationToken").because("no live access token");
    };
    if !token.scopes.contains("openid") {
        return graph_error("Authorization_RequestDenied").because("the token lacks openid");
    }
    let account = &grant.account;
    let mut body = json!({ "sub": account.pairwise_subject(&grant.client_id) });
    if token.scopes.contains("profile") {
        body["name"] = json!(account.name);
        body["family_name"] = json!(account.family_name);
        body["given_name"] = json!(account.given_name);
        body["picture"] = json!(format!("{}/microsoft/v1.0/me/photo/$value", call.base));
    }
    if token.scopes.contains("email") {
        body["email"] = json!(account.email);
    }
    Answer::json(200, body)
}
