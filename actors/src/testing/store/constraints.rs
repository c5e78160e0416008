//! What Postgres and the schema refuse for good, refused here as well: texts with NUL, and the checks of `migrations/` on
//! what comes from outside. So that a test, or a simulated world, finds what could not be stored.

use serde_json::Value;

use crate::{
    domain::{
        scope::{Scope, ScopeSet},
        storable::{ISSUER_CHARS_MAX, METADATA_BYTES_MAX, SCOPES_MAX, TOKEN_TYPE_CHARS_MAX},
    },
    ports::store::{ConnectCommit, NewAuthorization, RefreshCommit, StoreError, StoreResult},
};

/// The schema's own, wider than what readers let pass.
const PROVIDER_USER_ID_CHARS_MAX: usize = 512;
const FEATURES_MAX: usize = 200;
const SEALED_BYTES_MAX: usize = 65_536;
const RETURN_TO_CHARS_MAX: usize = 4096;
const REDIRECT_URI_CHARS_MAX: usize = 2048;
const INTEGRATIONS: &str = "oauth_integrations";
const TOKENS: &str = "oauth_tokens";
const AUTHORIZATIONS: &str = "oauth_authorizations";

fn refused(table: &'static str, constraint: &str, sqlstate: &str) -> StoreError {
    StoreError::Refused {
        table,
        constraint: constraint.into(),
        sqlstate: sqlstate.into(),
    }
}

fn check(holds: bool, table: &'static str, constraint: &str) -> StoreResult<()> {
    if holds {
        Ok(())
    } else {
        Err(refused(table, constraint, "23514"))
    }
}

/// A text parameter: Postgres has no character for NUL.
fn text(text: &str) -> StoreResult<()> {
    if text.contains('\0') {
        return Err(refused("-", "-", "22021"));
    }
    Ok(())
}

fn scopes(scopes: &ScopeSet, table: &'static str) -> StoreResult<()> {
    scopes.iter().try_for_each(|scope| text(scope.as_str()))?;
    check(scopes.len() <= SCOPES_MAX, table, "scopes_check")
}

/// JSON may say `\u0000`; what is kept as JSONB may not.
fn json(value: &Value) -> StoreResult<()> {
    let untranslatable = |text: &str| {
        if text.contains('\0') {
            Err(refused("-", "-", "22P05"))
        } else {
            Ok(())
        }
    };
    match value {
        Value::String(text) => untranslatable(text),
        Value::Array(items) => items.iter().try_for_each(json),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            untranslatable(name)?;
            json(value)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

fn tokens(token_type: &str, access_token: usize, refresh_token: Option<usize>) -> StoreResult<()> {
    text(token_type)?;
    let type_length = token_type.chars().count();
    check(
        (1..=TOKEN_TYPE_CHARS_MAX).contains(&type_length),
        TOKENS,
        "oauth_tokens_token_type_check",
    )?;
    let fits = access_token.max(refresh_token.unwrap_or(0)) <= SEALED_BYTES_MAX;
    check(fits, TOKENS, "oauth_tokens_access_token_check")
}

pub(super) fn refresh(commit: &RefreshCommit) -> StoreResult<()> {
    scopes(&commit.scopes, INTEGRATIONS)?;
    let refresh_token = commit.refresh_token.as_ref().map(|sealed| sealed.0.len());
    tokens(&commit.token_type, commit.access_token.0.len(), refresh_token)
}

pub(super) fn connect(commit: &ConnectCommit) -> StoreResult<()> {
    let account = &commit.account;
    let issuer = account.issuer.as_deref().unwrap_or_default();
    text(&account.id)?;
    text(issuer)?;
    json(&commit.metadata)?;
    scopes(&commit.scopes, INTEGRATIONS)?;
    for consent in &commit.consents {
        let named = consent
            .requested_scopes
            .iter()
            .chain(consent.granted_scopes.iter());
        named.map(Scope::as_str).try_for_each(text)?;
    }
    let id_length = account.id.chars().count();
    check(
        (1..=PROVIDER_USER_ID_CHARS_MAX).contains(&id_length),
        INTEGRATIONS,
        "oauth_integrations_provider_user_id_check",
    )?;
    check(
        issuer.chars().count() <= ISSUER_CHARS_MAX,
        INTEGRATIONS,
        "oauth_integrations_provider_issuer_check",
    )?;
    check(
        commit.metadata.is_object() && commit.metadata.to_string().len() <= METADATA_BYTES_MAX,
        INTEGRATIONS,
        "oauth_integrations_metadata_check",
    )?;
    check(
        commit.features.len() <= FEATURES_MAX,
        INTEGRATIONS,
        "oauth_integrations_features_check",
    )?;
    let refresh_token = commit.refresh_token.as_ref().map(|sealed| sealed.0.len());
    tokens(&commit.token_type, commit.access_token.0.len(), refresh_token)
}

pub(super) fn authorization(new: &NewAuthorization) -> StoreResult<()> {
    scopes(&new.requested_scopes, AUTHORIZATIONS)?;
    let return_to = new
        .return_to
        .as_ref()
        .map_or(0, |url| url.as_str().chars().count());
    check(
        return_to <= RETURN_TO_CHARS_MAX,
        AUTHORIZATIONS,
        "oauth_authorizations_return_to_check",
    )?;
    check(
        new.redirect_uri.as_str().chars().count() <= REDIRECT_URI_CHARS_MAX,
        AUTHORIZATIONS,
        "oauth_authorizations_redirect_uri_check",
    )?;
    check(
        new.features.len() <= FEATURES_MAX,
        AUTHORIZATIONS,
        "oauth_authorizations_features_check",
    )
}
