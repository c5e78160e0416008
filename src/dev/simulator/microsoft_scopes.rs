//! Microsoft's scopes: short and long names, and the rule of one resource per access token.

use super::answer::Answer;
use super::ledger::Scopes;
use super::microsoft_errors::aadsts;
use super::world::Call;

pub const GRAPH: &str = "https://graph.microsoft.com";
pub const OIDC_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// Scopes of Graph are kept by their short name, those of other resources in full.
pub fn normalise(scope: &str) -> Option<String> {
    let short = scope
        .strip_prefix(GRAPH)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(scope);
    let oidc = OIDC_SCOPES.iter().find(|known| known.eq_ignore_ascii_case(short));
    if let Some(known) = oidc {
        return Some((*known).to_owned());
    }
    if short.contains("://") {
        return Some(short.to_owned());
    }
    let permission = short.contains('.')
        && short
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    permission.then(|| short.to_owned())
}

fn resource(scope: &str) -> &str {
    scope.rsplit_once('/').map_or(GRAPH, |(resource, _)| resource)
}

pub fn resource_scopes<'a>(scopes: impl IntoIterator<Item = &'a String>) -> impl Iterator<Item = &'a String> {
    scopes
        .into_iter()
        .filter(|scope| !OIDC_SCOPES.contains(&scope.as_str()))
}

/// The scopes of one access token: those asked for in this request, or else all; of one resource only.
pub fn narrow(call: &Call<'_>, consented: &Scopes) -> Result<Scopes, Answer> {
    let Some(asked) = call.request.field("scope") else {
        // Without a wish the first resource wins.
        let first = resource_scopes(consented)
            .next()
            .map_or(GRAPH, |scope| resource(scope))
            .to_owned();
        let of_first = |scope: &&String| {
            OIDC_SCOPES.contains(&scope.as_str()) || resource(scope).eq_ignore_ascii_case(&first)
        };
        return Ok(consented.iter().filter(of_first).cloned().collect());
    };
    let mut scopes = Scopes::new();
    for scope in asked.split(' ').filter(|scope| !scope.is_empty()) {
        let Some(scope) = normalise(scope) else {
            return Err(aadsts(call, 70011));
        };
        if scope.ends_with(".default") {
            scopes.extend(
                consented
                    .iter()
                    .filter(|known| resource(known) == resource(&scope))
                    .cloned(),
            );
            continue;
        }
        let known = consented.iter().find(|known| known.eq_ignore_ascii_case(&scope));
        match known {
            Some(known) => scopes.insert(known.clone()),
            // What only says who someone is needs no consent of its own.
            None if OIDC_SCOPES.contains(&scope.as_str()) => false,
            None => return Err(aadsts(call, 65001).because(format!("{scope} was not consented to"))),
        };
    }
    let mut resources = resource_scopes(&scopes).map(|scope| resource(scope));
    let first = resources.next();
    if resources.any(|other| Some(other) != first) {
        return Err(aadsts(call, 28002));
    }
    drop(resources);
    Ok(scopes)
}

/// What a token carries that was asked for with these scopes of one resource, given everything consented to.
pub fn whole_resource(asked: &Scopes, consented: &Scopes) -> Scopes {
    let of = resource_scopes(asked).next().map(|scope| resource(scope));
    let more = resource_scopes(consented).filter(|scope| of == Some(resource(scope)));
    asked.iter().chain(more).cloned().collect()
}

/// Graph's scopes with their prefix, `offline_access` never.
pub fn shown(scopes: &Scopes) -> String {
    let shown = scopes
        .iter()
        .filter(|scope| *scope != "offline_access")
        .map(|scope| {
            if OIDC_SCOPES.contains(&scope.as_str()) || scope.contains("://") {
                scope.clone()
            } else {
                format!("{GRAPH}/{scope}")
            }
        });
    shown.collect::<Vec<_>>().join(" ")
}
