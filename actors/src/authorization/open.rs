//! Opening a connect link: the browser is bound to the flow and sent to the provider.
//!
//! State, nonce and verifier are made here and not when the flow begins, because of the state only its digest is stored.
//! Opening the link again makes new ones beside the old, so that a scanner or a second tab shuts nobody out: each browser
//! comes back with what it left with, and the first good callback wins.

use crate::{
    authorization::unusable_or,
    chance,
    domain::error::ServiceResult,
    domain::{
        authorization::{AuthorizationStatus, ConnectRedirect, StoredAuthorization},
        error::ServiceError,
        integration::Standing,
        sealed::{DigestPurpose, SealContext, SealedColumn},
        secret::{BrowserBinding, ConnectHandle, PkceVerifier, State},
    },
    ports::{
        oauth::AuthorizationUrlRequest,
        store::{Commit, RedirectRecord},
    },
    records::store_error,
    shared::Shared,
};

/// How often a link can be opened: more than a user, the scanners of their mail and a few tabs do, few enough that whoever
/// holds a link cannot fill the database with it.
const REDIRECTS_MAX: u32 = 32;

pub(crate) async fn open(
    shared: &Shared,
    handle: ConnectHandle,
    held: Vec<BrowserBinding>,
) -> ServiceResult<ConnectRedirect> {
    let digest = shared
        .ports
        .vault
        .digest(DigestPurpose::ConnectHandle, handle.expose());
    let found = shared
        .ports
        .authorizations
        .find_by_handle(&digest)
        .await
        .map_err(|error| store_error(&error))?;
    let flow = found.ok_or(ServiceError::not_found("connect link"))?;
    let openable = matches!(
        flow.status,
        AuthorizationStatus::Created | AuthorizationStatus::Redirected
    );
    if !openable || flow.redirects >= REDIRECTS_MAX || flow.expires_at <= shared.now() {
        return Err(ServiceError::Expired {
            what: "this connect link",
        });
    }

    let rng = &*shared.ports.rng;
    let state = State::new(chance::secret(rng));
    let browser = match known(shared, &flow, held).await? {
        Some(browser) => browser,
        None => BrowserBinding::new(chance::secret(rng)),
    };
    let nonce = chance::secret(rng);
    let verifier = PkceVerifier::new(chance::secret(rng));

    let request = AuthorizationUrlRequest {
        scopes: flow.requested_scopes.clone(),
        state: state.clone(),
        verifier: verifier.clone(),
        nonce: nonce.clone(),
        redirect_uri: flow.redirect_uri.clone(),
        login_hint: flow.login_hint.clone(),
        claims: claims(shared, &flow).await?,
        has_grant: has_grant(shared, &flow).await,
    };
    let location = shared
        .ports
        .oauth
        .authorization_url(&flow.provider, request)
        .await
        .map_err(|failure| unusable_or(shared, &failure))?;

    let record = seal(shared, &flow, &state, &browser, nonce, &verifier)?;
    match shared
        .ports
        .authorizations
        .redirect(flow.id, &record, REDIRECTS_MAX)
        .await
        .map_err(|error| store_error(&error))?
    {
        Commit::Done => {
            shared.made.hold(state.expose());
            Ok(ConnectRedirect {
                authorization_id: flow.id,
                browser,
                location,
                expires_at: flow.expires_at,
            })
        }
        Commit::Fenced => Err(ServiceError::Expired {
            what: "this connect link",
        }),
    }
}

/// What this browser holds for this flow: one that opens the link again stays the same browser.
async fn known(
    shared: &Shared,
    flow: &StoredAuthorization,
    held: Vec<BrowserBinding>,
) -> ServiceResult<Option<BrowserBinding>> {
    if held.is_empty() || flow.redirects == 0 {
        return Ok(None);
    }
    let browsers = shared.ports.authorizations.browsers(flow.id).await;
    let browsers = browsers.map_err(|error| store_error(&error))?;
    let vault = &*shared.ports.vault;
    Ok(held
        .into_iter()
        .find(|value| browsers.contains(&vault.digest(DigestPurpose::BrowserBinding, value.expose()))))
}

fn seal(
    shared: &Shared,
    flow: &StoredAuthorization,
    state: &State,
    browser: &BrowserBinding,
    nonce: String,
    verifier: &PkceVerifier,
) -> ServiceResult<RedirectRecord> {
    let vault = &*shared.ports.vault;
    let sealed = || {
        let data_key = vault.new_data_key(&flow.key_context())?;
        let context = SealContext {
            key: flow.key_context(),
            column: SealedColumn::PkceVerifier,
            generation: 0,
        };
        let pkce_verifier = vault.seal(&data_key, &context, verifier.expose().as_bytes())?;
        Ok::<_, crate::ports::vault::VaultError>((data_key, pkce_verifier))
    };
    let (data_key, pkce_verifier) = sealed().map_err(|error| {
        tracing::error!(error = %error, "a flow's verifier cannot be sealed");
        ServiceError::Internal
    })?;
    Ok(RedirectRecord {
        state: vault.digest(DigestPurpose::State, state.expose()),
        browser: vault.digest(DigestPurpose::BrowserBinding, browser.expose()),
        nonce,
        data_key,
        pkce_verifier,
    })
}

/// What the provider demands of this sign-in, by a report that it rejected the account's token.
async fn claims(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<Option<String>> {
    let Some(id) = &flow.integration_id else {
        return Ok(None);
    };
    let claims = shared.ports.integrations.claims_wanted(id).await;
    claims.map_err(|error| store_error(&error))
}

/// Whether the account to be reconnected holds a refresh token that is good for all that is asked for: then the provider
/// need not ask for consent again. One of a narrower consent stays narrow, and one about to end is to be replaced.
async fn has_grant(shared: &Shared, flow: &StoredAuthorization) -> bool {
    let Some(id) = &flow.integration_id else {
        return false;
    };
    match shared.ports.integrations.load(id).await {
        Ok(Some(stored)) => {
            let provider = shared.provider(&flow.provider);
            stored.standing == Standing::active()
                && stored.grant.is_some_and(|grant| grant.refresh_token.is_some())
                && provider.is_some_and(|provider| {
                    let asked = flow.requested_scopes.difference(&provider.base_scopes);
                    provider.uncovered(&asked, &stored.scopes).is_empty()
                })
        }
        // Not knowing, ask: consent once too often is better than a connection that cannot be refreshed.
        Ok(None) | Err(_) => false,
    }
}
