//! The authorization endpoint, as far as the providers agree: who asks, what for, what the person says, and the way
//! back. The dialects say which wishes they understand.

use std::sync::Arc;

use http::Method;
use url::Url;

use super::account::Account;
use super::answer::Answer;
use super::config::Consent;
use super::ledger::{Code, code_text};
use super::pkce::Challenge;
use super::provider::Provider;
use super::request::Pairs;
use super::world::{Call, World};
use super::{consent_page, google, microsoft, notion, oidc};

/// What an authorization request asks for, in the terms of the ledger.
#[derive(Debug, Default)]
pub struct Wish {
    /// Normalised by the dialect.
    pub scopes: Vec<String>,
    pub offline: bool,
    pub consent_forced: bool,
    pub include_granted: bool,
    /// What was consented to before is neither listed nor asked for again.
    pub only_new: bool,
    /// RFC 9207: `iss` for the way back.
    pub issuer: Option<String>,
    /// Google tells in the redirect, too, what was granted.
    pub scopes_in_callback: bool,
    pub ignores_pkce: bool,
    pub ignores_login_hint: bool,
}

/// Why an authorization request goes no further.
#[derive(Debug)]
pub enum Refusal {
    /// Shown to the person, never redirected: the way back cannot be trusted, or the provider prefers it so.
    Page {
        status: u16,
        code: &'static str,
        text: String,
    },
    /// Told to the application.
    Redirect { code: &'static str, text: String },
}

impl Refusal {
    pub fn page(status: u16, code: &'static str, text: impl Into<String>) -> Self {
        Self::Page {
            status,
            code,
            text: text.into(),
        }
    }

    pub fn redirect(code: &'static str, text: impl Into<String>) -> Self {
        Self::Redirect {
            code,
            text: text.into(),
        }
    }
}

/// How the person decided, or that they have not yet.
#[derive(Debug)]
enum Decision {
    /// What the page lists.
    Undecided(Vec<String>),
    Denied,
    Granted(Vec<String>),
}

pub fn authorize(world: &World, call: &Call<'_>) -> (Answer, Option<(String, Code)>) {
    match proceed(world, call) {
        Ok(result) => result,
        Err(Refusal::Page { status, code, text }) => {
            let page = consent_page::refusal(call.provider, code, &text);
            (
                Answer::html(status, page).because(format!("{code}: {text}")),
                None,
            )
        }
        Err(Refusal::Redirect { code, text }) => (
            back_with_error(call, code, &text).because(format!("{code}: {text}")),
            None,
        ),
    }
}

fn proceed(world: &World, call: &Call<'_>) -> Result<(Answer, Option<(String, Code)>), Refusal> {
    let params = &call.request.query;
    if call.request.method != Method::GET && call.request.method != Method::POST {
        return Err(Refusal::page(
            405,
            "method_not_allowed",
            "GET, or POST from the page itself",
        ));
    }
    if let Some(name) = params.repeated() {
        return Err(Refusal::page(
            400,
            "invalid_request",
            format!("{name} occurs more than once"),
        ));
    }
    let client_id = params
        .get("client_id")
        .ok_or_else(|| Refusal::page(400, "invalid_request", "client_id is missing"))?;
    let client = world
        .client(call.provider, client_id)
        .ok_or_else(|| Refusal::page(401, "invalid_client", "The OAuth client was not found."))?;
    let redirect_uri = params
        .get("redirect_uri")
        .ok_or_else(|| Refusal::page(400, "invalid_request", "redirect_uri is missing"))?;
    if !client.redirect_uris.allow(redirect_uri) {
        let text = format!("{redirect_uri} is not registered for this client (AADSTS50011 at Microsoft)");
        return Err(Refusal::page(400, "redirect_uri_mismatch", text));
    }
    match params.get("response_type") {
        Some("code") => {}
        None => return Err(Refusal::redirect("invalid_request", "response_type is missing")),
        Some(other) => return Err(Refusal::redirect("unsupported_response_type", other)),
    }
    let wish = match call.provider {
        Provider::Google | Provider::YouTube => google::read_wish(call),
        Provider::Microsoft => microsoft::read_wish(call),
        Provider::Notion => notion::read_wish(call),
        Provider::Oidc => oidc::read_wish(call),
    }?;
    let challenge = if wish.ignores_pkce {
        None
    } else {
        Challenge::read(params.get("code_challenge"), params.get("code_challenge_method"))
            .map_err(|text| Refusal::redirect("invalid_request", text))?
    };
    let account = choose_account(world, call, &wish);
    if call.provider == Provider::Microsoft {
        microsoft::check_account(call, &account, &wish)?;
    }
    let granted = match decide(world, call, &wish, &account)? {
        Decision::Undecided(listed) => {
            let page = consent_page::ask(
                call.provider,
                &client.display_name,
                &listed,
                world.accounts(call.provider),
                &account,
            );
            return Ok((
                Answer::html(200, page).with_header("cache-control", "no-store"),
                None,
            ));
        }
        Decision::Denied => {
            return Err(Refusal::redirect(
                "access_denied",
                "The person denied the request.",
            ));
        }
        Decision::Granted(scopes) => call.shaping.apply(scopes),
    };
    let mut back = vec![];
    if wish.scopes_in_callback {
        back.push(("scope", granted.join(" ")));
    }
    if let Some(issuer) = &wish.issuer {
        back.push(("iss", issuer.clone()));
    }
    let text = code_text(call.provider);
    back.push(("code", text.clone()));
    let code = Code {
        provider: call.provider,
        client_id: client_id.to_owned(),
        redirect_uri: Some(redirect_uri.to_owned()),
        account,
        scopes: granted,
        challenge,
        nonce: params.get("nonce").map(str::to_owned),
        offline: wish.offline,
        consent_forced: wish.consent_forced,
        include_granted: wish.include_granted,
        issued_at: call.now,
        spent_on: None,
    };
    Ok((way_back(call, back), Some((text, code))))
}

/// A choice on the page wins over one in the URL, and that over the hint.
fn choose_account(world: &World, call: &Call<'_>, wish: &Wish) -> Arc<Account> {
    let request = call.request;
    let hint = request
        .query
        .get("login_hint")
        .filter(|_| !wish.ignores_login_hint);
    let chosen = call.shaping.account_instead.as_deref();
    let chosen = chosen
        .or(request.field("_sim_user"))
        .or(request.query.get("_sim_user"))
        .or(hint);
    world.account(call.provider, chosen)
}

fn decide(world: &World, call: &Call<'_>, wish: &Wish, account: &Account) -> Result<Decision, Refusal> {
    let request = call.request;
    let listed = listed(world, call, wish, account);
    if request.method == Method::POST {
        let shown_to = request.field(consent_page::SHOWN_TO);
        return Ok(match request.field("decision") {
            // Another person has consented to other things: a page of their own.
            Some("allow") if wish.only_new && shown_to.is_some_and(|key| key != account.key) => {
                Decision::Undecided(listed)
            }
            Some("allow") => Decision::Granted(ticked(&wish.scopes, &listed, &request.fields)),
            _ => Decision::Denied,
        });
    }
    let silent = request
        .query
        .get("prompt")
        .is_some_and(|prompt| prompt.split(' ').any(|one| one == "none"));
    if silent {
        let client_id = request.query.get("client_id").unwrap_or_default();
        let consented = world.ledger.consented(call.provider, client_id, account);
        let covered =
            consented.is_some_and(|grant| wish.scopes.iter().all(|scope| grant.scopes.contains(scope)));
        let code = if call.provider == Provider::Microsoft {
            "interaction_required"
        } else {
            "consent_required"
        };
        return if covered {
            Ok(Decision::Granted(wish.scopes.clone()))
        } else {
            Err(Refusal::redirect(
                code,
                "prompt=none, and the person has not consented to all of this",
            ))
        };
    }
    let is_named = request.query.get("login_hint").is_some() || request.query.get("_sim_user").is_some();
    Ok(match world.settings.consent {
        Consent::Auto => Decision::Granted(wish.scopes.clone()),
        // Nothing to ask, and nobody to choose.
        Consent::Ask if wish.only_new && listed.is_empty() && is_named => {
            Decision::Granted(wish.scopes.clone())
        }
        Consent::Ask => Decision::Undecided(listed),
    })
}

/// What the page asks this person for.
fn listed(world: &World, call: &Call<'_>, wish: &Wish, account: &Account) -> Vec<String> {
    let client_id = call.request.query.get("client_id").unwrap_or_default();
    let before = world.ledger.consented(call.provider, client_id, account);
    let Some(before) = before.filter(|_| wish.only_new) else {
        return wish.scopes.clone();
    };
    let is_new = |scope: &&String| {
        let mut known = before.scopes.iter();
        !known.any(|known| known.eq_ignore_ascii_case(scope))
    };
    wish.scopes.iter().filter(is_new).cloned().collect()
}

/// The scopes the person left ticked, and those they were not asked for. Those that only say who they are cannot be
/// unticked.
fn ticked(scopes: &[String], listed: &[String], fields: &Pairs) -> Vec<String> {
    let ticked = |scope: &str| fields.all("scope").any(|one| one == scope);
    scopes
        .iter()
        .filter(|scope| !listed.contains(scope) || consent_page::is_identity(scope) || ticked(scope))
        .cloned()
        .collect()
}

/// The redirect (or form) that takes an error back to the application.
pub fn back_with_error(call: &Call<'_>, code: &str, text: &str) -> Answer {
    let mut back = vec![("error", code.to_owned())];
    if matches!(call.provider, Provider::Microsoft | Provider::Oidc) {
        back.push(("error_description", text.to_owned()));
    }
    if call.provider == Provider::Oidc {
        back.push(("iss", oidc::issuer(call.base)));
    }
    way_back(call, back)
}

fn way_back(call: &Call<'_>, mut parameters: Vec<(&str, String)>) -> Answer {
    let params = &call.request.query;
    // `state` goes back exactly as it came, even empty.
    if let Some(state) = params.all("state").next() {
        parameters.insert(0, ("state", state.to_owned()));
    }
    let Some(mut uri) = params.get("redirect_uri").and_then(|uri| Url::parse(uri).ok()) else {
        let page = consent_page::refusal(call.provider, "invalid_request", "there is no way back");
        return Answer::html(400, page);
    };
    match params.get("response_mode") {
        Some("form_post") => return Answer::html(200, consent_page::form_post(&uri, &parameters)),
        Some("fragment") => {
            let fragment = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(parameters)
                .finish();
            uri.set_fragment(Some(&fragment));
        }
        _ => {
            uri.query_pairs_mut().extend_pairs(parameters);
        }
    }
    let mut answer = Answer::redirect(uri.as_str());
    if call.request.method == Method::POST {
        answer.status = http::StatusCode::SEE_OTHER;
    }
    answer
}
