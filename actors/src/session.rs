//! Sessions of our pages. A link names a user and proves nothing about who opens it: the browser gets a *pending* session
//! and is sent to the application, which knows by its own cookie who sits there and confirms it, or not. Only then, and
//! only in the browser that holds the pending cookie, it becomes a session (design of the confirmation: as with connect
//! flows, `authorization/confirm.rs`).

use uuid::Uuid;

use crate::{
    authorization::begin::ours,
    chance,
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        client::ServiceClient,
        error::ServiceError,
        ids::Subject,
        reason::ReasonCode,
        sealed::{Digest, DigestPurpose},
        secret::{Confirmation, SessionToken},
        session::{Entry, OpenedLink, Session, SessionLink, SessionRequest},
    },
    ports::store::{NewOpening, SessionConfirmation, SessionConfirmed},
    records::store_error,
    shared::{Shared, after},
};

const GONE: ServiceError = ServiceError::Expired { what: "this link" };

pub(crate) async fn create_link(
    shared: &Shared,
    request: SessionRequest,
    context: RequestContext,
) -> ServiceResult<SessionLink> {
    let lifetime = shared.settings.session_link_lifetime;
    let token = chance::secret(&*shared.ports.rng);
    let session_id = Uuid::now_v7();
    let mut audit = AuditEntry::new(AuditAction::Session, AuditOutcome::Success, context);
    audit.subject = Some(request.subject.clone());
    let digest = shared.ports.vault.digest(DigestPurpose::Session, &token);
    let sessions = &shared.ports.sessions;
    let stored = sessions
        .create_link(session_id, &digest, &request, lifetime, &audit)
        .await;
    stored.map_err(|error| store_error(&error))?;
    shared.made.hold(&token);
    Ok(SessionLink {
        session_id,
        url: ours(shared, &["session", &token])?,
        expires_at: after(shared.now(), lifetime),
    })
}

/// Where a link leads, for whoever only wants to know (`HEAD`).
pub(crate) async fn return_address(shared: &Shared, link: &SessionToken) -> ServiceResult<url::Url> {
    let link = digest(shared, link);
    let found = shared.ports.sessions.return_address(&link).await;
    found.map_err(|error| store_error(&error))?.ok_or(GONE)
}

/// `held`: the pending cookies that the browser came with.
pub(crate) async fn open(
    shared: &Shared,
    link: &SessionToken,
    held: &[SessionToken],
) -> ServiceResult<OpenedLink> {
    let vault = &*shared.ports.vault;
    let fresh = SessionToken::new(chance::secret(&*shared.ports.rng));
    let confirmation = Confirmation::new(chance::secret(&*shared.ports.rng));
    let opening = NewOpening {
        id: Uuid::now_v7(),
        pending: digest(shared, &fresh),
        held: digests(shared, held),
        confirmation: vault.digest(DigestPurpose::Confirmation, confirmation.expose()),
        lifetime: shared.settings.session_pending_lifetime,
    };
    let stored = shared.ports.sessions.open(&digest(shared, link), &opening).await;
    let stored = stored.map_err(|error| store_error(&error))?.ok_or(GONE)?;
    let known = held.iter().find(|token| digest(shared, token) == stored.pending);
    Ok(OpenedLink {
        session_id: stored.link_id,
        pending: known.cloned().unwrap_or(fresh),
        expires_at: stored.expires_at,
        confirmation,
        return_to: stored.return_to,
    })
}

/// Returns where the browser goes in. A confirmation that was made up changes nothing, whoever is named with it: only who
/// holds a real one can end what is pending.
pub(crate) async fn confirm(
    shared: &Shared,
    client: &ServiceClient,
    link_id: Uuid,
    user: &Subject,
    confirmation: &Confirmation,
    context: RequestContext,
) -> ServiceResult<url::Url> {
    let mut confirmed = AuditEntry::new(AuditAction::Session, AuditOutcome::Success, context.clone());
    confirmed.subject = Some(user.clone());
    let refused = AuditEntry::new(AuditAction::Session, AuditOutcome::Denied, context)
        .with_error(ReasonCode::new("binding_mismatch"));
    let digest = shared
        .ports
        .vault
        .digest(DigestPurpose::Confirmation, confirmation.expose());
    let outcome = shared.ports.sessions.confirm(SessionConfirmation {
        link_id,
        client: client.id,
        user,
        confirmation: &digest,
        lifetime: shared.settings.session_pending_lifetime,
        confirmed: &confirmed,
        refused: &refused,
    });
    match outcome.await.map_err(|error| store_error(&error))? {
        SessionConfirmed::Done => ours(shared, &["session", &link_id.to_string(), "enter"]),
        SessionConfirmed::OtherUser => {
            tracing::warn!(session.id = %link_id, "a session link was opened where another user sits: it is dead");
            Err(ServiceError::BindingMismatch)
        }
        SessionConfirmed::Gone => Err(GONE),
    }
}

/// The browser goes in. `held`: the pending cookies it came with; `current`: its session, if it has one; `replace`: whether
/// it was asked about that one.
pub(crate) async fn enter(
    shared: &Shared,
    link_id: Uuid,
    held: &[SessionToken],
    current: Option<&SessionToken>,
    replace: bool,
) -> ServiceResult<Entry> {
    let store = &shared.ports.sessions;
    let held = digests(shared, held);
    let current = current.map(|token| digest(shared, token));
    let living = match &current {
        Some(cookie) => store.find(cookie).await.map_err(|error| store_error(&error))?,
        None => None,
    };
    let coming = store.confirmed(link_id, &held).await;
    let coming = coming.map_err(|error| store_error(&error))?;
    let coming = match (coming, &living) {
        (Some(coming), _) => coming,
        (None, Some(living)) if living.link_id == link_id => return Ok(Entry::Already),
        (None, _) => return Err(GONE),
    };
    if !replace && living.is_some_and(|living| living.subject != coming.subject) {
        return Ok(Entry::Occupied { coming });
    }
    // A fresh value: what the browser held while nobody had vouched for it opens nothing.
    let token = SessionToken::new(chance::secret(&*shared.ports.rng));
    let lifetime = shared.settings.session_lifetime;
    let cookie = digest(shared, &token);
    let entered = store
        .enter(link_id, &held, &cookie, lifetime, current.as_ref())
        .await;
    let session = entered.map_err(|error| store_error(&error))?.ok_or(GONE)?;
    Ok(Entry::Entered { token, session })
}

pub(crate) async fn find(shared: &Shared, cookie: &SessionToken) -> ServiceResult<Session> {
    let found = shared
        .ports
        .sessions
        .find(&digest(shared, cookie))
        .await
        .map_err(|error| store_error(&error))?;
    found.ok_or_else(|| ServiceError::Unauthenticated {
        detail: "this session is over".into(),
    })
}

pub(crate) async fn end(shared: &Shared, cookie: &SessionToken) -> ServiceResult<()> {
    shared
        .ports
        .sessions
        .end(&digest(shared, cookie))
        .await
        .map_err(|error| store_error(&error))
}

fn digest(shared: &Shared, token: &SessionToken) -> Digest {
    shared.ports.vault.digest(DigestPurpose::Session, token.expose())
}

fn digests(shared: &Shared, tokens: &[SessionToken]) -> Vec<Digest> {
    tokens.iter().map(|token| digest(shared, token)).collect()
}
