//! Who calls: a user by the application's JWT or by our session, or a service by its credential.
//!
//! The user is always the one the credential names; a parameter names a user only where a service asks (security.md, J4).

use std::sync::Arc;

use http::header;
use oauth_manager_actors::domain::{
    caller::{Actor, RequestContext},
    client::{Policy, ServiceClient},
    error::ServiceError,
    ids::{ProviderKey, Subject},
    secret::{ServiceCredential, SessionToken},
    session::Session,
};

use super::{Api, problem::Problem, request_context::RequestHead};

pub(crate) mod csrf;
mod service;
pub(crate) mod session_cookie;
pub(crate) mod user_jwt;

/// Every service credential begins with this.
const SERVICE_PREFIX: &str = "oms_";

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The end user.
    User(Subject),
    /// An internal service.
    Service(Arc<ServiceClient>),
}

/// Whether the caller comes with our session, from our own pages, and not with a credential of the application.
pub(crate) fn comes_with_session(head: &RequestHead) -> bool {
    !head.headers.contains_key(header::AUTHORIZATION)
}

/// The caller, proved, with one more request under way from now on.
pub(crate) async fn authenticate(api: &Api, head: &RequestHead) -> Result<Caller, Problem> {
    if comes_with_session(head) {
        // To have come without a credential is no guess at one.
        return session_user(api, head).await.map(Caller::User);
    }
    // Whether a user's token holds is found out without asking anybody.
    let is_known = || service_credential(head).is_none_or(|service| api.manager.knows_service(&service));
    let proving = prove(api, head);
    let caller = api
        .bounds
        .credentials
        .watch(head, is_known, is_refused, proving)
        .await?;
    begin(api, head, &caller)?;
    Ok(caller)
}

async fn prove(api: &Api, head: &RequestHead) -> Result<Caller, Problem> {
    let credential = bearer(head)?;
    if credential.starts_with(SERVICE_PREFIX) {
        service::client(api, credential).await.map(Caller::Service)
    } else {
        api.users.subject(credential).await.map(Caller::User)
    }
}

/// The session that this cookie opens on our pages, with one more request of its user under way from now on.
pub(crate) async fn session(
    api: &Api,
    head: &RequestHead,
    cookie: &SessionToken,
) -> Result<Session, Problem> {
    let finding = async { api.manager.session(cookie).await.map_err(Problem::from) };
    let session = api
        .bounds
        .credentials
        .watch(head, || false, is_refused, finding)
        .await?;
    let _ = head.session.set(session.clone());
    begin(api, head, &Caller::User(session.subject.clone()))?;
    Ok(session)
}

fn begin(api: &Api, head: &RequestHead, caller: &Caller) -> Result<(), Problem> {
    if head.turn.get().is_none() {
        let turn = api.bounds.callers.begin(caller)?;
        let _ = head.turn.set(turn);
    }
    Ok(())
}

/// Whether a credential does not hold.
fn is_refused<T>(proved: &Result<T, Problem>) -> bool {
    matches!(
        proved,
        Err(Problem::Service(ServiceError::Unauthenticated { .. }))
    )
}

/// The service that calls; users are turned away.
pub(crate) async fn authenticate_service(
    api: &Api,
    head: &RequestHead,
) -> Result<Arc<ServiceClient>, Problem> {
    match authenticate(api, head).await? {
        Caller::Service(client) => Ok(client),
        Caller::User(_) => Err(Problem::forbidden(
            "this is for services; a user's credential does not reach it",
        )),
    }
}

/// The credential of the service that calls, if it has the form of one.
pub(crate) fn service_credential(head: &RequestHead) -> Option<ServiceCredential> {
    let credential = bearer(head).ok()?;
    let is_service = credential.starts_with(SERVICE_PREFIX);
    is_service.then(|| service::read(credential))?
}

/// The user who calls; services are turned away.
pub(crate) async fn authenticate_user(api: &Api, head: &RequestHead) -> Result<Subject, Problem> {
    match authenticate(api, head).await? {
        Caller::User(subject) => Ok(subject),
        Caller::Service(_) => Err(Problem::forbidden(
            "this is for users; a service's credential does not reach it",
        )),
    }
}

/// The user of our session, for scripts on our own pages: what changes something needs the CSRF token too.
async fn session_user(api: &Api, head: &RequestHead) -> Result<Subject, Problem> {
    let cookie = session_cookie::of(head, api.https()).ok_or_else(|| {
        Problem::unauthenticated(
            "a credential is needed: Authorization: Bearer, with a user's JWT or a service credential",
        )
    })?;
    if !head.method.is_safe() {
        let token = head.header(&csrf::X_CSRF_TOKEN).unwrap_or_default();
        csrf::check(head, &cookie, token, &api.settings)?;
    }
    Ok(session(api, head, &cookie).await?.subject)
}

fn bearer(head: &RequestHead) -> Result<&str, Problem> {
    let refused = || Problem::unauthenticated("the Authorization header must be one Bearer credential");
    let value = head.header(&header::AUTHORIZATION).ok_or_else(refused)?;
    let (scheme, credential) = value.split_once(' ').ok_or_else(refused)?;
    if scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty() {
        Ok(credential)
    } else {
        Err(refused())
    }
}

impl Caller {
    /// For whom this is done: a user for themselves, a service for the user it names.
    pub(crate) fn on_behalf_of(&self, named: Option<Subject>) -> Result<Subject, Problem> {
        match (self, named) {
            (Self::User(subject), None) => Ok(subject.clone()),
            (Self::User(_), Some(_)) => Err(Problem::invalid(
                "user is for services; with a user's credential it is always that user",
            )),
            (Self::Service(_), Some(user)) => Ok(user),
            (Self::Service(_), None) => Err(Problem::invalid("a service names the user it acts for: user")),
        }
    }

    /// Refuses a service whose policy does not reach this provider; users reach what is theirs.
    pub(crate) fn must_reach(&self, provider: &ProviderKey) -> Result<(), Problem> {
        self.must(|policy| policy.allows_provider(provider))
    }

    /// Refuses a service that may neither act as users nor reach this provider.
    pub(crate) fn must_connect(&self, provider: &ProviderKey) -> Result<(), Problem> {
        self.must(|policy| policy.sessions || policy.allows_provider(provider))
    }

    fn must(&self, allowed: impl FnOnce(&Policy) -> bool) -> Result<(), Problem> {
        match self {
            Self::Service(client) if !allowed(&client.policy) => Err(Problem::forbidden(
                "this service's policy does not reach that provider",
            )),
            Self::Service(_) | Self::User(_) => Ok(()),
        }
    }

    /// For the audit.
    pub(crate) fn context(&self, head: &RequestHead) -> RequestContext {
        head.context(match self {
            Self::User(subject) => Actor::User(subject.clone()),
            Self::Service(client) => Actor::Service(Arc::clone(client)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(allow: &[&str], sessions: bool) -> Caller {
        Caller::Service(Arc::new(ServiceClient {
            id: uuid::Uuid::nil(),
            name: "calendar-sync".into(),
            policy: Policy {
                allow: allow.iter().map(|entry| entry.parse().unwrap()).collect(),
                sessions,
                admin: false,
            },
            created_at: "2030-01-01T00:00:00Z".parse().unwrap(),
            revoked_at: None,
        }))
    }

    #[test]
    fn user_id_in_body_is_ignored_or_400() {
        let alice: Subject = "alice".parse().unwrap();
        let bob: Subject = "bob".parse().unwrap();
        let user = Caller::User(alice.clone());
        assert_eq!(user.on_behalf_of(None).unwrap(), alice);
        assert_eq!(user.on_behalf_of(Some(bob.clone())).unwrap_err().status(), 400);
        assert_eq!(user.on_behalf_of(Some(alice)).unwrap_err().status(), 400);
        assert_eq!(service(&[], false).on_behalf_of(Some(bob.clone())).unwrap(), bob);
        assert_eq!(service(&[], false).on_behalf_of(None).unwrap_err().status(), 400);
    }

    #[test]
    fn service_policy_enforced() {
        let (google, notion) = ("google".parse().unwrap(), "notion".parse().unwrap());
        let sync = service(&["google:calendar"], false);
        assert!(sync.must_reach(&google).is_ok());
        assert!(matches!(
            sync.must_reach(&notion),
            Err(Problem::Service(ServiceError::Forbidden { .. }))
        ));
        assert!(sync.must_connect(&notion).is_err());
        assert!(service(&[], true).must_connect(&notion).is_ok());
        assert!(service(&[], true).must_reach(&notion).is_err());
    }
}
