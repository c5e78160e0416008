//! A strict OpenID provider of no vendor: PKCE always, refresh tokens for one use, and a stolen one ends its family.
//! An application may be registered with a milder rotation.

use serde_json::{Value, json};

use super::answer::Answer;
use super::authorize::{Refusal, Wish};
use super::client_auth::{self, BasicEncoding, Method};
use super::clock::{Millis, seconds};
use super::config::Rotation;
use super::id_token::{IdTokenDraft, at_hash};
use super::ledger::{AccessToken, CodeRefusal, Grant, GrantId, RefreshToken, RefreshTokenState, Scopes};
use super::provider::Provider;
use super::random;
use super::request::BodyKind;
use super::world::{Call, World};

const SCOPES: [&str; 6] = [
    "openid",
    "profile",
    "email",
    "offline_access",
    "notes.read",
    "notes.write",
];

pub fn issuer(base: &str) -> String {
    format!("{base}/oidc")
}

pub fn discovery(call: &Call<'_>) -> Answer {
    let issuer = issuer(call.base);
    let methods = ["client_secret_basic", "client_secret_post"];
    let body = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": SCOPES,
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
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
        if !SCOPES.contains(&scope) {
            return Err(Refusal::redirect(
                "invalid_scope",
                format!("unknown scope {scope}"),
            ));
        }
        if !scopes.iter().any(|known| known == scope) {
            scopes.push(scope.to_owned());
        }
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        return Err(Refusal::redirect("invalid_scope", "openid is missing"));
    }
    if params.get("code_challenge_method") != Some("S256") || params.get("code_challenge").is_none() {
        return Err(Refusal::redirect("invalid_request", "PKCE with S256 is required"));
    }
    if params.get("state").is_none() {
        return Err(Refusal::redirect("invalid_request", "state is required"));
    }
    let offline = scopes.iter().any(|scope| scope == "offline_access");
    Ok(Wish {
        offline,
        scopes,
        issuer: Some(issuer(call.base)),
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
        Some(_) => error("unsupported_grant_type"),
        None => error("invalid_request").because("grant_type is missing"),
    }
}

fn admit(world: &World, call: &Call<'_>) -> Result<String, Answer> {
    let request = call.request;
    if request.body_kind != BodyKind::Form {
        return Err(error("invalid_request").because("the body is not a form"));
    }
    if let Some(name) = request.fields.repeated() {
        return Err(error("invalid_request").because(format!("{name} occurs more than once")));
    }
    let offered = [Method::Basic, Method::Post];
    client_auth::authenticate(world, call, &offered, BasicEncoding::FormEncoded)
        .map_err(|refusal| error("invalid_client").because(refusal.to_string()))
}

fn exchange(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let request = call.request;
    let Some(text) = request.field("code") else {
        return error("invalid_request").because("code is missing");
    };
    let (redirect_uri, verifier) = (request.field("redirect_uri"), request.field("code_verifier"));
    let client = (Provider::Oidc, client_id);
    let mut code = match world
        .ledger
        .check_code(text, client, redirect_uri, verifier, call.now)
    {
        Ok(code) => code,
        Err(refusal) => {
            // RFC 6749, 4.1.2: a code used twice has been stolen, and so have the tokens it gave.
            if let CodeRefusal::Spent(grant) = refusal {
                world.ledger.kill_grant(grant);
            }
            return error("invalid_grant").because(refusal.to_string());
        }
    };
    if let Some(other) = &call.shaping.account_instead {
        code.account = world.account(call.provider, Some(other));
    }
    let id = world.ledger.new_grant(Provider::Oidc, client_id, &code.account);
    world.ledger.spend_code(text, id);
    let scopes: Scopes = call.shaping.apply(code.scopes).into_iter().collect();
    if let Some(grant) = world.ledger.grant_mut(id) {
        grant.scopes.clone_from(&scopes);
    }
    let body = issue(world, call, id, &scopes, &scopes, Renewal::New);
    let draft = world
        .ledger
        .grant(id)
        .map(|grant| draft(call, grant, &scopes, code.nonce.as_deref(), &body));
    Answer {
        id_token: draft,
        ..Answer::tokens(body)
    }
}

fn refresh(world: &mut World, call: &Call<'_>, client_id: &str) -> Answer {
    let Some(text) = call.request.field("refresh_token") else {
        return error("invalid_request").because("refresh_token is missing");
    };
    let Some(token) = world.ledger.refresh_token(text).cloned() else {
        return error("invalid_grant").because("this refresh token was never issued");
    };
    let owned = world
        .ledger
        .grant(token.grant)
        .is_some_and(|grant| grant.client_id == client_id);
    if !owned {
        return error("invalid_grant").because("the token is another client's");
    }
    let rotation = world
        .client(Provider::Oidc, client_id)
        .map_or(Rotation::Strict, |client| client.rotation);
    let renewal = match (token.state, rotation) {
        (RefreshTokenState::Live, Rotation::Never) => Renewal::Kept,
        (RefreshTokenState::Live, Rotation::Strict | Rotation::Grace(_)) => Renewal::New,
        (RefreshTokenState::Revoked, _) => return error("invalid_grant").because("the grant is revoked"),
        (RefreshTokenState::Rotated, Rotation::Grace(window)) if is_forgiven(&token, window, call.now) => {
            Renewal::Again(token.successor.clone().map(|(_, successor)| successor))
        }
        (RefreshTokenState::Rotated, _) => {
            // RFC 9700, 4.14.2: two parties hold it, and nobody can tell who is the thief.
            world.ledger.kill_grant(token.grant);
            return error("invalid_grant").because("used twice: the whole family is revoked");
        }
    };
    let mut scopes = token.scopes.clone();
    if let Some(wanted) = call.request.field("scope") {
        let wanted: Scopes = wanted.split(' ').map(str::to_owned).collect();
        if !wanted.is_subset(&scopes) {
            return error("invalid_scope").because("more than was granted");
        }
        scopes = wanted;
    }
    let scopes: Scopes = call.shaping.apply(scopes).into_iter().collect();
    let is_new = matches!(renewal, Renewal::New);
    let body = issue(world, call, token.grant, &scopes, &token.scopes, renewal);
    if is_new && let Some(token) = world.ledger.refresh_token_mut(text) {
        token.state = RefreshTokenState::Rotated;
        let successor = body["refresh_token"].as_str();
        token.successor = successor.map(|successor| (call.now, successor.to_owned()));
    }
    let with_id_token = world.settings.id_token_on_refresh;
    let draft = world.ledger.grant(token.grant).filter(|_| with_id_token);
    let draft = draft.map(|grant| draft_for(call, grant, &scopes, &body));
    Answer {
        id_token: draft,
        ..Answer::tokens(body)
    }
}

fn draft_for(call: &Call<'_>, grant: &Grant, scopes: &Scopes, body: &Value) -> IdTokenDraft {
    draft(call, grant, scopes, None, body)
}

/// Was it replaced so lately that presenting it again is taken for a lost answer?
fn is_forgiven(token: &RefreshToken, window: std::time::Duration, now: Millis) -> bool {
    let since = token.successor.as_ref().map(|(at, _)| now - at);
    since.is_some_and(|since| u128::try_from(since).unwrap_or_default() <= window.as_millis())
}

/// Which refresh token an answer brings.
enum Renewal {
    New,
    /// None: the one presented stays.
    Kept,
    /// The one that replaced it before.
    Again(Option<String>),
}

fn issue(
    world: &mut World,
    call: &Call<'_>,
    grant: GrantId,
    scopes: &Scopes,
    granted: &Scopes,
    renewal: Renewal,
) -> Value {
    let access_token = random::opaque("at_");
    let of_client = world
        .ledger
        .grant(grant)
        .and_then(|grant| world.client(Provider::Oidc, &grant.client_id))
        .and_then(|client| client.access_token_lifetime)
        .and_then(|lifetime| Millis::try_from(lifetime.as_millis()).ok());
    let of_provider = || world.access_token_lifetime(call.provider);
    let lifetime = of_client.or_else(of_provider).unwrap_or_default();
    let expires_at = Some(call.now + lifetime);
    let token = AccessToken {
        grant,
        scopes: scopes.clone(),
        issued_at: call.now,
        expires_at,
    };
    world.ledger.issue_access_token(&access_token, token);
    let mut body = json!({
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": seconds(lifetime),
        "scope": scopes.iter().cloned().collect::<Vec<_>>().join(" "),
    });
    if let Renewal::Again(Some(refresh_token)) = renewal {
        body["refresh_token"] = json!(refresh_token);
    } else if granted.contains("offline_access") && matches!(renewal, Renewal::New) {
        let refresh_token = random::opaque("rt_");
        world.ledger.issue_refresh_token(
            &refresh_token,
            RefreshToken {
                grant,
                scopes: granted.clone(),
                last_used_at: call.now,
                state: RefreshTokenState::Live,
                successor: None,
            },
        );
        body["refresh_token"] = json!(refresh_token);
    }
    body
}

fn draft(call: &Call<'_>, grant: &Grant, scopes: &Scopes, nonce: Option<&str>, body: &Value) -> IdTokenDraft {
    let now = seconds(call.now);
    let mut claims = profile(grant, scopes);
    claims["iss"] = json!(issuer(call.base));
    claims["aud"] = json!(grant.client_id);
    claims["azp"] = json!(grant.client_id);
    claims["iat"] = json!(now);
    claims["exp"] = json!(now + 600);
    claims["at_hash"] = json!(at_hash(body["access_token"].as_str().unwrap_or_default()));
    if let Some(nonce) = nonce {
        claims["nonce"] = json!(nonce);
    }
    IdTokenDraft::new(claims)
}

fn profile(grant: &Grant, scopes: &Scopes) -> Value {
    let account = &grant.account;
    let mut claims = json!({ "sub": account.subject });
    if scopes.contains("profile") {
        claims["name"] = json!(account.name);
    }
    if scopes.contains("email") {
        claims["email"] = json!(account.email);
        claims["email_verified"] = json!(true);
    }
    claims
}

pub fn userinfo(world: &World, call: &Call<'_>) -> Answer {
    let live = call
        .request
        .bearer_token()
        .and_then(|token| world.ledger.live_access_token(token, call.now));
    match live.filter(|(_, grant)| grant.provider == Provider::Oidc) {
        Some((token, grant)) => Answer::json(200, profile(grant, &token.scopes)),
        None => api_error(401).because("no live access token"),
    }
}

/// RFC 7009: authenticated, and always 200 for a token that is no longer there.
pub fn revoke(world: &mut World, call: &Call<'_>) -> Answer {
    let client_id = match admit(world, call) {
        Ok(client_id) => client_id,
        Err(answer) => return answer,
    };
    let Some(token) = call.request.field("token") else {
        return error("invalid_request").because("token is missing");
    };
    if let Some(id) = world.ledger.grant_of_token(token, call.now) {
        if world
            .ledger
            .grant(id)
            .is_some_and(|grant| grant.client_id != client_id)
        {
            return error("unauthorized_client").because("the token is another client's");
        }
        world.ledger.kill_grant(id);
    }
    Answer::new(200, super::answer::AnswerBody::Empty)
}

/// RFC 7662.
pub fn introspect(world: &World, call: &Call<'_>) -> Answer {
    if let Err(answer) = admit(world, call) {
        return answer;
    }
    let token = call.request.field("token").unwrap_or_default();
    let body = match world.ledger.live_access_token(token, call.now) {
        Some((token, grant)) => json!({
            "active": true,
            "client_id": grant.client_id,
            "sub": grant.account.subject,
            "scope": token.scopes.iter().cloned().collect::<Vec<_>>().join(" "),
            "iat": seconds(token.issued_at),
            "exp": token.expires_at.map(seconds),
        }),
        None => json!({ "active": false }),
    };
    Answer::json(200, body)
}

pub fn error(code: &str) -> Answer {
    let status = match code {
        "invalid_client" => 401,
        "temporarily_unavailable" => 503,
        "server_error" => 500,
        _ => 400,
    };
    let answer = Answer::json(status, json!({ "error": code })).because(code);
    if status == 401 {
        answer.with_header("www-authenticate", "Basic realm=\"simulator\"")
    } else {
        answer
    }
}

pub fn api_error(status: u16) -> Answer {
    let code = if status == 401 {
        "invalid_token"
    } else {
        "insufficient_scope"
    };
    Answer::json(status, json!({ "error": code }))
        .with_header("www-authenticate", format!("Bearer error=\"{code}\""))
        .because(code)
}
