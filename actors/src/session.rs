//! Sessions: a one-time link opens our pages as one user.

use uuid::Uuid;

use crate::{
    authorization::begin::ours,
    chance,
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        error::ServiceError,
        sealed::DigestPurpose,
        secret::SessionToken,
        session::{OpenedSession, Session, SessionLink, SessionRequest},
    },
    records::store_error,
    shared::{Shared, after},
};

pub(crate) async fn create_link(
    shared: &Shared,
    request: SessionRequest,
    context: RequestContext,
) -> ServiceResult<SessionLink> {
    let settings = &shared.settings;
    let token = chance::secret(&*shared.ports.rng);
    let expires_at = after(shared.now(), settings.session_link_lifetime);
    let mut audit = AuditEntry::new(AuditAction::Session, AuditOutcome::Success, context);
    audit.subject = Some(request.subject.clone());
    let session = Session {
        subject: request.subject,
        return_to: request.return_to,
        features: request.features,
        expires_at: after(shared.now(), settings.session_lifetime),
    };
    let digest = shared.ports.vault.digest(DigestPurpose::Session, &token);
    let sessions = &shared.ports.sessions;
    let stored = sessions
        .create_link(
            Uuid::now_v7(),
            &digest,
            &session,
            settings.session_link_lifetime,
            &audit,
        )
        .await;
    stored.map_err(|error| store_error(&error))?;
    shared.made.hold(&token);
    Ok(SessionLink {
        url: ours(shared, &["session", &token])?,
        expires_at,
    })
}

pub(crate) async fn open(shared: &Shared, link: &SessionToken) -> ServiceResult<OpenedSession> {
    let vault = &*shared.ports.vault;
    let token = SessionToken::new(chance::secret(&*shared.ports.rng));
    let link = vault.digest(DigestPurpose::Session, link.expose());
    let cookie = vault.digest(DigestPurpose::Session, token.expose());
    let opened = shared
        .ports
        .sessions
        .open(&link, &cookie, shared.settings.session_lifetime)
        .await;
    let session = opened.map_err(|error| store_error(&error))?;
    session
        .map(|session| OpenedSession { token, session })
        .ok_or(ServiceError::Expired { what: "this link" })
}

pub(crate) async fn find(shared: &Shared, cookie: &SessionToken) -> ServiceResult<Session> {
    let digest = shared.ports.vault.digest(DigestPurpose::Session, cookie.expose());
    let found = shared
        .ports
        .sessions
        .find(&digest)
        .await
        .map_err(|error| store_error(&error))?;
    found.ok_or_else(|| ServiceError::Unauthenticated {
        detail: "this session is over".into(),
    })
}

pub(crate) async fn end(shared: &Shared, cookie: &SessionToken) -> ServiceResult<()> {
    let digest = shared.ports.vault.digest(DigestPurpose::Session, cookie.expose());
    shared
        .ports
        .sessions
        .end(&digest)
        .await
        .map_err(|error| store_error(&error))
}
