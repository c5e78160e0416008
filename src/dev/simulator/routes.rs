//! From a path to a provider and an endpoint, and from there to the dialect.

use super::answer::{Answer, AnswerBody};
use super::authorize;
use super::keys::Keys;
use super::provider::{Endpoint, Provider};
use super::request::Request;
use super::world::{Call, World};
use super::{google, microsoft, notion, oidc, probes};

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    pub provider: Provider,
    pub endpoint: Endpoint,
    /// Microsoft: the tenant of the path.
    pub tenant: &'a str,
    /// The path below the provider's prefix.
    pub rest: &'a str,
}

pub fn resolve<'a>(path: &'a str, request: &Request) -> Option<Target<'a>> {
    let (key, rest) = path.strip_prefix('/')?.split_once('/')?;
    let provider = Provider::from_key(key)?;
    let (endpoint, tenant) = match provider {
        Provider::Google | Provider::YouTube => (google_endpoint(rest), ""),
        Provider::Microsoft => microsoft_endpoint(rest),
        Provider::Notion => (notion_endpoint(rest), ""),
        Provider::Oidc => (oidc_endpoint(rest), ""),
    };
    let endpoint = match endpoint {
        Some(Endpoint::Token) => match request.field("grant_type") {
            Some("authorization_code") => Endpoint::Exchange,
            Some("refresh_token") => Endpoint::Refresh,
            _ => Endpoint::UnknownGrant,
        },
        Some(endpoint) => endpoint,
        None if probes::serves(provider, rest) => Endpoint::Api,
        None => return None,
    };
    Some(Target {
        provider,
        endpoint,
        tenant,
        rest,
    })
}

fn google_endpoint(rest: &str) -> Option<Endpoint> {
    Some(match rest {
        "o/oauth2/v2/auth" => Endpoint::Authorize,
        "token" => Endpoint::Token,
        "revoke" => Endpoint::Revoke,
        "v1/userinfo" | "oauth2/v3/userinfo" => Endpoint::Userinfo,
        "oauth2/v3/certs" => Endpoint::Jwks,
        ".well-known/openid-configuration" | ".well-known/risc-configuration" => Endpoint::Discovery,
        _ => return None,
    })
}

fn microsoft_endpoint(rest: &str) -> (Option<Endpoint>, &str) {
    if rest == "oidc/userinfo" {
        return (Some(Endpoint::Userinfo), "");
    }
    let Some((tenant, rest)) = rest.split_once('/') else {
        return (None, "");
    };
    let endpoint = match rest {
        "oauth2/v2.0/authorize" => Endpoint::Authorize,
        "oauth2/v2.0/token" => Endpoint::Token,
        "v2.0/.well-known/openid-configuration" => Endpoint::Discovery,
        "discovery/v2.0/keys" => Endpoint::Jwks,
        _ => return (None, ""),
    };
    (Some(endpoint), tenant)
}

fn notion_endpoint(rest: &str) -> Option<Endpoint> {
    Some(match rest {
        "v1/oauth/authorize" => Endpoint::Authorize,
        "v1/oauth/token" => Endpoint::Token,
        "v1/oauth/revoke" => Endpoint::Revoke,
        "v1/oauth/introspect" => Endpoint::Introspect,
        _ => return None,
    })
}

fn oidc_endpoint(rest: &str) -> Option<Endpoint> {
    Some(match rest {
        "authorize" => Endpoint::Authorize,
        "token" => Endpoint::Token,
        "revoke" => Endpoint::Revoke,
        "introspect" => Endpoint::Introspect,
        "userinfo" => Endpoint::Userinfo,
        "jwks" => Endpoint::Jwks,
        ".well-known/openid-configuration" => Endpoint::Discovery,
        _ => return None,
    })
}

/// Does what the endpoint does. Everything under the lock, nothing awaited, nothing signed.
pub fn work(world: &mut World, keys: &Keys, call: &Call<'_>, target: Target<'_>) -> Answer {
    if let Some(refusal) = wrong_method(call, target.endpoint) {
        return refusal;
    }
    match target.endpoint {
        Endpoint::Authorize => {
            let (answer, code) = authorize::authorize(world, call);
            if let Some((text, code)) = code {
                world.ledger.issue_code(text, code);
            }
            answer
        }
        Endpoint::Token | Endpoint::Exchange | Endpoint::Refresh | Endpoint::UnknownGrant => {
            match target.provider {
                Provider::Google | Provider::YouTube => google::token(world, call),
                Provider::Microsoft => microsoft::token(world, call),
                Provider::Notion => notion::token(world, call),
                Provider::Oidc => oidc::token(world, call),
            }
        }
        Endpoint::Revoke => match target.provider {
            Provider::Google | Provider::YouTube => google::revoke(world, call),
            Provider::Notion => notion::revoke(world, call),
            Provider::Oidc => oidc::revoke(world, call),
            Provider::Microsoft => nothing_here(),
        },
        Endpoint::Introspect => match target.provider {
            Provider::Notion => notion::introspect(world, call),
            Provider::Oidc => oidc::introspect(world, call),
            Provider::Google | Provider::YouTube | Provider::Microsoft => nothing_here(),
        },
        Endpoint::Userinfo => match target.provider {
            Provider::Google | Provider::YouTube => google::userinfo(world, call),
            Provider::Microsoft => microsoft::userinfo(world, call),
            Provider::Oidc => oidc::userinfo(world, call),
            Provider::Notion => nothing_here(),
        },
        Endpoint::Discovery => match target.provider {
            Provider::Google | Provider::YouTube if target.rest.ends_with("risc-configuration") => {
                google::risc_configuration(call)
            }
            Provider::Google | Provider::YouTube => google::discovery(call),
            Provider::Microsoft if !microsoft::tenant_exists(call.tenant) => nothing_here(),
            Provider::Microsoft => microsoft::discovery(call),
            Provider::Oidc => oidc::discovery(call),
            Provider::Notion => nothing_here(),
        },
        Endpoint::Jwks => {
            Answer::json(200, keys.jwks(world.rotation)).with_header("cache-control", "public, max-age=21600")
        }
        Endpoint::Api => probes::probe(world, call, target.rest),
    }
}

fn wrong_method(call: &Call<'_>, endpoint: Endpoint) -> Option<Answer> {
    let method = &call.request.method;
    let fits = match endpoint {
        Endpoint::Token
        | Endpoint::Exchange
        | Endpoint::Refresh
        | Endpoint::UnknownGrant
        | Endpoint::Revoke
        | Endpoint::Introspect => method == http::Method::POST,
        Endpoint::Discovery | Endpoint::Jwks => method == http::Method::GET,
        Endpoint::Authorize | Endpoint::Userinfo | Endpoint::Api => true,
    };
    (!fits).then(|| Answer::new(405, AnswerBody::Empty).because(format!("{method} is not allowed here")))
}

pub fn nothing_here() -> Answer {
    Answer::text(404, "Nothing here.").because("no such endpoint")
}
